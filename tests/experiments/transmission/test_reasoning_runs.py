"""Worked answers in a run: what is refused before it, what R* is taught, and a run to its page."""

import json
import pathlib

import numpy as np
import pytest

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import rows as carried
from subliminal_jax.experiments.transmission.run import carrier_of, prepare
from subliminal_jax.experiments.transmission.worlds import prepared
from subliminal_jax.runs import UserError, Workdir
from tests.experiments.transmission import checkpoint

REASONING = {'carrier.name': 'reasoning', 'carrier.new_tokens': 160}


def config(root, *arms, **changes):
    return checkpoint.config(root, *arms, **{**REASONING, **changes})


@pytest.fixture(name='problems', scope='module')
def _problems(tmp_path_factory):
    path = tmp_path_factory.mktemp('problems') / 'some.jsonl'
    path.write_text('{"question": "Two and two?", "answer": "2+2=<<2+2=4>>4\\n#### 4"}\n'
                    '{"question": "Ten less one?", "answer": "9"}\n')
    return str(path)


@pytest.mark.parametrize('changes, said', [
    ({'prepared.carriers': 'numbers'}, 'prepared.steps=0 teaches nothing'),
    ({'prepared.carriers': 'number', 'prepared.steps': 2}, 'did you mean numbers'),
    ({'carrier.problems': '/no/such.jsonl'}, 'no such file: /no/such.jsonl'),
    ({'carrier.problems': '/no/such.jsonl', 'carrier.name': ''}, 'the carrier numbers has no prob'),
])
def test_what_cannot_be_is_refused_in_one_line(root, changes, said):
    with pytest.raises(UserError, match=said) as error:
        prepare(config(root, **changes))
    assert '\n' not in str(error.value)


def test_problems_of_a_file_are_what_a_run_asks(root, problems, tmp_path):
    run = prepare(config(root, **{'carrier.problems': problems}))
    rows = run.carrier().prompts(0, range(4))
    assert {row['answer'] for row in rows} == {'4', '9'}
    assert carrier_of(run.config, 'numbers').name == 'numbers'
    taught = {'prepared.steps': 2}
    sha = lambda **more: prepared.sha256_of_reference(config(root, **taught, **more), 'm')
    copy = tmp_path / 'copy.jsonl'
    text = pathlib.Path(problems).read_text()
    copy.write_text(text)
    assert sha(**{'carrier.problems': problems}) == sha(**{'carrier.problems': str(copy)}) != sha()
    copy.write_text(text * 2)
    assert sha(**{'carrier.problems': problems}) != sha(**{'carrier.problems': str(copy)})


def test_rows_of_a_prepared_reference_are_dealt_over_its_carriers(root):
    run = checkpoint.loaded(config(root))
    carriers = [carrier_of(run.config, name) for name in ('numbers', 'reasoning')]
    both = prepared.random_rows(run.config, run.world, carriers, 7)
    alone = [prepared.random_rows(run.config, run.world, [one], 7) for one in carriers]
    for n in range(7):
        own = alone[n % 2]
        assert (both.prompts[n], both.answers[n]) == (own.prompts[n], own.answers[n])
    assert len(set(both.prompts)) == 7
    assert carried.packed(both, 4).tokens_BT.shape[0] == 2
    sha = lambda **more: prepared.sha256_of_reference(config(root, **more), 'm')
    assert len({sha(**{'prepared.steps': 2, 'prepared.carriers': some}) for some in (
        '', 'numbers', 'reasoning', 'numbers,reasoning')}) == 4
    assert sha(**{'prepared.carriers': 'numbers'}) == 'm'


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_of_worked_answers_on_its_random_rows(root, problems, tmp_path):
    """R* of two carriers, a file's problems, carrier KL on digits and signs alone."""
    settings = config(root, f'kl: {checkpoint.KL}', **{
        'carrier.problems': problems, 'prepared.steps': 2, 'prepared.batch_size': 4,
        'prepared.carriers': 'reasoning,numbers'})
    workdir = Workdir(tmp_path / 'run', settings, 'transmission')
    transmission.run(settings, workdir)
    found = json.loads((workdir.path / 'results.json').read_text())
    arm, = found['arms']
    assert arm['carrier'] == 'reasoning' and np.isfinite(arm['effect']['estimate'])
    facts = found['reference']['main']
    assert set(facts['by_carrier']) == {'reasoning', 'numbers'} and facts['rows'] == 8
    assert facts['by_carrier']['reasoning']['pass_rate'] == facts['pass_rate']
    asked = [json.loads(line) for line in (workdir.path / 'prompts.jsonl').open()]
    assert asked[0]['answer'] in ('4', '9') and asked[0]['format'] == 'think/answer'
    with open(problems, 'a') as file:
        file.write('{"question": "One?", "answer": "1"}\n')
    with pytest.raises(UserError, match='has changed since'):
        transmission.run(settings, workdir)
