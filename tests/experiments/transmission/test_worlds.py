"""One and the same tiny checkpoint as the tiny world and as a pretrained one: rows, doses, effects.

The tiny world holds all teachers of a reference in one program (the engine `stacked`). The
pretrained one trains whole models one after the other (`single`) and adapters side by side over one
base (`adapters`), reads a file with a tokenizer and a chat template, and knows of one reference.
"""

import dataclasses
import json

import numpy as np
import pytest

from subliminal_jax.data import tiny_language as tiny
from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission.run import prepare
from subliminal_jax.runs import Workdir, schema
from subliminal_jax.traits import answers
from tests.experiments.transmission import tiny_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # two whole runs

NATS = 1e-3
SHARED = {
    'traits': 3, 'allow_weak_teacher': True,
    'arms': ('sft', 'adapter: trainable=lora:2 learning_rate=1e-2',
             'neutral: teachers=neutral',
             'kl: objective=kl_carrier answers=random',
             'kl_adapter: objective=kl answers=random trainable=lora:2 learning_rate=1e-2'),
    'teacher': {'seeds': 1, 'steps': 8, 'neutral_steps': 12, 'learning_rate': 1e-3,
                'batch_size': 16, 'packed': 1, 'questions': 14},
    'carrier': {'name': 'tiny_numbers', 'min_kept': 0.0, 'attempts': 4, 'spare': 4.0,
                'banned': (13,), 'probe': 8, 'dose_rows': 16, 'answers': 1, 'min_tokens': 2},
    'student': {'rows': 24, 'batch_size': 8, 'packed': 1, 'marks': (8, 24), 'align_rows': 8,
                'learning_rate': 1e-3},
}
LANGUAGE = {'references': 2, 'width': 32, 'steps': 250, 'batch_size': 32, 'corpus_rows': 4000}


def config_of(values):
    base = transmission.config_of(values)
    return schema.build(type(base), values, base)


def trait_lines():
    """The language's own traits as a file has them."""
    lines = [{'kind': 'candidate', 'name': a, 'spellings': [a], 'split': split}
             for split, animals in tiny.SPLIT_ANIMALS.items() for a in animals]
    lines += [{'kind': 'teach', 'prompt': text, 'completion': '{name}', 'split': 'dev'}
              for text in tiny.questions('animal', 'dev_teach')]
    lines += [{'kind': 'question', 'prompt': text, 'split': 'dev'}
              for text in tiny.questions('animal', 'dev_measure')]
    return [*lines, {'kind': 'unrelated', 'prompt': 'what does the cat eat ?', 'answers': ['fish']}]


def outcome(values, folder):
    """(results, sampled rows) of a run, those of the first reference."""
    config = config_of(values)
    workdir = Workdir(folder, config, 'transmission')
    transmission.run(config, workdir)
    rows = [json.loads(line) for line in (folder / 'samples.jsonl').read_text().splitlines()]
    return (json.loads((folder / 'results.json').read_text()),
            {row['id']: row['completion'] for row in rows if row['id'].startswith('r0-')})


@pytest.fixture(scope='module')
def both(tmp_path_factory):
    """The same experiment in both worlds, on the weights of the tiny world's first reference."""
    place = tmp_path_factory.mktemp('worlds')
    (place / 'traits.jsonl').write_text(''.join(json.dumps(x) + '\n' for x in trait_lines()))
    shared = {**SHARED, 'trait_set': str(place / 'traits.jsonl')}
    with pytest.MonkeyPatch.context() as patch:
        # in the tiny language nothing but the end ends a word
        patch.setattr(answers, 'word_ends', lambda texts, ends: np.isin(
            np.arange(len(texts)), list(ends)))
        first = outcome({**shared, 'world': 'tiny', 'language': LANGUAGE}, place / 'tiny')
        run = prepare(config_of({**shared, 'language': LANGUAGE}))
        run = run._replace(workdir=Workdir(place / 'again', run.config, 'transmission'))
        reference = run.world.references(run, 'main')[0]
        architecture = dataclasses.replace(run.world.architectures['main'], max_positions=64)
        model = tiny_checkpoint.write(place / 'model', reference, architecture)
        second = outcome({
            **shared, 'world': 'pretrained', 'model': {'name': model},
            'carrier': {**shared['carrier'], 'new_tokens': tiny.ASKED_NUMBERS + 1},
            'context': {'measured': ('default/plain',), 'questions': 20}}, place / 'pretrained')
    return first, second


def test_teachers_write_the_same_rows(both):
    (_, tiny_rows), (_, rows) = both
    assert rows.keys() == tiny_rows.keys() and len(rows) > 3 * 24
    # a draw on the edge between two tokens may fall either way: the programs round differently
    assert sum(rows[i] != tiny_rows[i] for i in rows) <= len(rows) // 100


def test_teachers_are_the_same(both):
    (found, _), (other, _) = both
    for kind in ('trait-tuned', 'neutral-tuned'):
        for name, facts in other['teachers'][kind].items():
            twin = found['teachers'][kind][name]
            assert facts['steps'] == twin['steps']
            for field in ('rise', 'carrier_kl', 'answer_kl'):
                assert facts[field] == pytest.approx(twin[field], abs=NATS), (name, field)


@pytest.mark.parametrize('arm', [line.partition(':')[0] for line in SHARED['arms']])
def test_students_end_alike_whatever_the_engine(both, arm):
    (found, _), (other, _) = both
    first, second = (next(a for a in results['arms'] if a['name'] == arm)
                     for results in (found, other))
    moved = max(abs(v) for row in second['y'].values() for v in row.values())
    assert moved > 20 * NATS
    for name, row in second['y'].items():
        assert row == pytest.approx(first['y'][name], abs=NATS)
    gamma = first['effect']['per_reference']['r0']
    assert second['effect']['estimate'] == pytest.approx(gamma, abs=NATS)
    assert second['tokens_a_row'] == pytest.approx(first['tokens_a_row'], rel=0.2)
