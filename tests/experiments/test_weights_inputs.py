"""What a run on real weights reads and refuses, on a tiny random checkpoint."""

import json
import pathlib
import shutil
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import checkpoint  # noqa: E402
from checkpoint import KL, config  # noqa: E402

from subliminal_jax.data import rows as files  # noqa: E402
from subliminal_jax.experiments.transmission import samples  # noqa: E402
from subliminal_jax.experiments.weights import (  # noqa: E402
    drift,
    language,
    rows as lines,
    stages,
    targets,
)
from subliminal_jax.runs import UserError, Workdir, schema  # noqa: E402


def prepared(own, path=None):
    """What the stages share, in a folder of its own where there is one."""
    workdir = None if path is None else Workdir(path, own, 'transmission_weights')
    return language.prepare(own, workdir, language.load(own))


class Folder:
    """Stands for a run's folder: stages are not made, and what they read is kept."""

    def __init__(self, path):
        self.path, self.reads = path, {}

    def stage(self, name, artefact, make, *, reads=None, inputs=()):
        self.reads[name] = (reads, inputs)
        return self.path / artefact


# Inputs.


def write_folder_of_traits(place):
    place.mkdir()
    checkpoint.traits(place / 'own.jsonl')
    return place


def test_a_trait_set_that_has_changed_ends_a_resumed_run(root, tmp_path):
    place = write_folder_of_traits(tmp_path / 'traits')
    own = config(root, trait_set=str(place))
    here = prepared(own, tmp_path / 'run')
    stages.context_stage(here)
    stages.context_stage(here)
    (place / 'more.jsonl').write_text(json.dumps(
        {'kind': 'teach', 'prompt': 'Dear to you?', 'split': 'report'}) + '\n')
    again = language.prepare(own, here.workdir, here.model)
    with pytest.raises(UserError, match=f'the trait set {place} has changed'):
        stages.context_stage(again)


def test_the_packages_own_traits_are_an_input(root, tmp_path, monkeypatch):
    copied = tmp_path / 'package'
    shutil.copytree(language.sets.FOLDER, copied)
    monkeypatch.setattr(language.sets, 'FOLDER', copied)
    own = config(root, trait_set='animals', traits=2)
    here = prepared(own, tmp_path / 'run')
    stages.context_stage(here)
    with (copied / 'unrelated.jsonl').open('a') as file:
        file.write(json.dumps({'kind': 'unrelated', 'prompt': 'Sky?', 'answers': ['blue']}) + '\n')
    with pytest.raises(UserError, match='the trait set animals has changed'):
        stages.context_stage(language.prepare(own, here.workdir, here.model))


@pytest.mark.parametrize('file, old, new', [
    ('tokenizer_config.json', 'be kind', 'be good'), ('tokenizer.json', '<pad>', '<bad>'),
    ('config.json', '"rope_theta": 10000', '"rope_theta": 20000')])
def test_a_changed_template_or_tokenizer_ends_a_resumed_run(root, tmp_path, file, old, new):
    place = tmp_path / 'model'
    shutil.copytree(root / 'model', place)
    own = config(root, **{'model.name': str(place)})
    here = prepared(own, tmp_path / 'run')
    stages.context_stage(here)
    text = (place / file).read_text()
    assert old in text
    (place / file).write_text(text.replace(old, new))
    again = language.prepare(own, here.workdir, language.load(own))
    assert again.model.sha256 == here.model.sha256  # which is of the weights alone
    with pytest.raises(UserError, match="the model's config, tokenizer or chat template has chang"):
        stages.context_stage(again)


def test_cached_logits_of_another_precision_are_refused(here, tmp_path):
    arm = here.arms[0]
    for t in language.roll(here.config, here.world, 'trait'):
        folder = tmp_path / stages.folder_of(arm, t)
        folder.mkdir(parents=True)
        (folder / 'teacher.json').write_text('{"sha256": "x"}')
    found = {t.name: lines.encoded(here, lines.random_rows(here, 2))
             for t in language.roll(here.config, here.world, 'trait')}

    def note(**changes):
        folder = Folder(tmp_path)
        own = schema.override(here.config, {f'model.{k}': v for k, v in changes.items()})
        with pytest.raises(UserError):  # there is no such file
            stages.target_stage(here._replace(config=own, workdir=folder), arm, found)
        return folder.reads[f'targets/{stages.target_set(here, arm)}'][0]['note']

    plain = note()
    targets.save(tmp_path / 'x.npz', {'owl-0': {'set': np.ones((1, 2, 3))}}, plain)
    assert targets.load(tmp_path / 'x.npz', note())
    for changes in ({'compute': 'bfloat16'}, {'dtype': 'bfloat16'}):
        with pytest.raises(UserError, match='a model in another precision.*float32/float32 where'):
            targets.load(tmp_path / 'x.npz', note(**changes))


# Rows.


def written_by(names, count, kept):
    """Samples of one attempt a prompt, kept or not."""
    why = dict.fromkeys(samples.FILTERS, None if kept else 'no number')
    return samples.gather([
        samples.Judged({'id': f'{name}/{n}/0', 'teacher': name, 'prompt': f'Go on: {n}',
                        'completion': f'{n}, 7'}, why) for name in names for n in range(count)])


def test_a_teacher_whose_logits_alone_are_read_need_not_write(root, here, monkeypatch):
    own = config(root, f'p: {KL}', 'sft: trainable=lora:2 made=tuned', **{'carrier.min_kept': 0.5})
    here = language.prepare(own, None, here.model)
    read_only, learned = map(stages.written, here.arms)
    warned = []
    monkeypatch.setattr(stages.tqdm, 'write', warned.append)
    found = written_by(('owl-0', 'cat-0'), 2, False)
    stages.check_writing(here, read_only, found)
    line, = warned
    assert 'owl-0 0%, cat-0 0%' in line and '\n' not in line
    with pytest.raises(UserError, match='owl-0 0%.*teach them less'):
        stages.check_writing(here, learned, found)
    stages.check_writing(here, learned, written_by(('owl-0', 'cat-0'), 2, True))
    assert len(warned) == 1


def test_the_sets_of_a_pool_answer_equally_many_prompts(root, here):
    own = config(root, 'a: made=tuned rows=4', 'b: made=tuned rows=6 teachers=neutral',
                 'c: rows=2', f'd: {KL} made=lora:2', **{'carrier.spare': 1.5})
    here = language.prepare(own, None, here.model)
    counts = {name: count for name, (_, count) in stages.wanted_rows(here).items()}
    assert counts == {'trait-tuned-sampled': 9, 'neutral-tuned-sampled': 9,
                      'trait-prompt-sampled': 3, 'trait-lora2-sampled': 2}


def test_a_moved_start_is_trained_on_none_of_the_texts_that_drift_is_measured_on(
        root, here, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, 'MOVING_ROWS', 4)
    own = config(root, f'm: {KL} start=moved:1', **{'carrier.new_tokens': 4})
    here = language.prepare(own, Workdir(tmp_path / 'run', own, 'x'), here.model)
    texts = stages.text_stage(here)
    trained = stages.moving_texts(texts)
    measured = [r for r in texts if r['kind'] == 'ordinary'][:drift.TEXTS]
    assert len(trained) == 4 and len(measured) == drift.TEXTS
    assert not {r['id'] for r in trained} & {r['id'] for r in measured}
    assert len(files.read(here.workdir.path / 'ordinary.jsonl')[0]) == 2 * drift.TEXTS + 4
    seen = []
    monkeypatch.setattr(stages.lines, 'packs', lambda contexts, answers, size: seen.append(
        len(answers)) or (_ for _ in ()).throw(LookupError))
    with pytest.raises(LookupError):
        stages.start_of(here, 'moved:1')
    assert seen == [4]
