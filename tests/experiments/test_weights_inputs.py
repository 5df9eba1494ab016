"""What a run on real weights reads and refuses, on a tiny random checkpoint."""

import json
import pathlib
import shutil
import sys

import jax
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import checkpoint  # noqa: E402
import small  # noqa: E402
from checkpoint import KL, config  # noqa: E402
from subliminal_jax.experiments.weights import (  # noqa: E402
    drift,
    language,
    rows as lines,
    stages,
    targets,
    teachers as schools,
)

from subliminal_jax.data import rows as files  # noqa: E402
from subliminal_jax.experiments import weights  # noqa: E402
from subliminal_jax.experiments.transmission import samples  # noqa: E402
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


# What is refused before anything is made.


@pytest.mark.parametrize('arm, changes, said', [
    (KL, {'student.batch_size': 2, 'student.packed': 8},
     'config.student.batch_size=2 is no multiple of config.student.packed=8'),
    (f'{KL} made=tuned', {'model.dtype': 'bfloat16'}, 'made=tuned trains the weights themselves'),
    (f'{KL} trainable=body', {'model.dtype': 'bfloat16'}, 'trainable=body trains'),
    (f'{KL} start=moved:2', {'model.dtype': 'bfloat16'}, 'start=moved:2 trains'),
    ('trainable=lora:2', {'carrier.samples': 'rows.jsonl', 'teacher.seeds': 2},
     'config.teacher.seeds=2 with config.carrier.samples'),
])
def test_settings_that_do_not_go_together_are_refused(root, here, arm, changes, said):
    own = config(root, f'x: {arm}', **{'teacher.seeds': 1, **changes})
    for checked in (weights.plan, lambda c: language.prepare(c, None, here.model)):
        with pytest.raises(UserError) as error:
            checked(own)
        assert said in str(error.value) and '\n' not in str(error.value)


def test_teachers_of_the_tiny_language_may_not_share_rows_of_others_either(tmp_path):
    own = small.config(**{'carrier.samples': 'rows.jsonl', 'teacher.seeds': 2})
    with pytest.raises(UserError, match='no independent units'):
        samples.read_foreign(own, None, (), tmp_path / 'samples.jsonl')


def test_adapters_on_bfloat16_weights_are_not(root):
    own = config(root, f'x: {KL} made=lora:2', **{'model.dtype': 'bfloat16'})
    assert language.arms_of(own)


# Texts that cannot be written.


def test_an_unrelated_answer_that_cannot_be_written_is_named(root, tmp_path, here):
    path = checkpoint.traits(tmp_path / 'odd.jsonl', (
        {'kind': 'unrelated', 'prompt': 'Sky?', 'answers': ['blue', '\u0444']},))
    own = config(root, trait_set=path)
    with pytest.raises(UserError, match="cannot write '\u0444', an answer.*'Sky\\?'"):
        schools.kit_of(language.prepare(own, None, here.model))


def test_a_row_that_cannot_be_written_is_named(here):
    with pytest.raises(UserError, match="cannot write '1, \u0662', a row of the carrier"):
        lines.encoded(here, [{'prompt': 'Go on: 3', 'completion': '1, \u0662'}])


# Teachers.


@pytest.fixture(scope='module')
def kit(here):
    return schools.kit_of(here)


def neutral_of(here, kit, **changes):
    """What `teach` gives for the first neutral twin."""
    own = schema.override(here.config, {f'teacher.{k}': v for k, v in changes.items()})
    here = here._replace(config=own)
    arm = stages.dataclasses.replace(here.arms[0], made='tuned', teachers='neutral')
    twin = language.roll(own, here.world, 'neutral')[0]
    odds = np.full(len(here.world.candidates), 1 / len(here.world.candidates))
    return schools.teach(here, kit, arm, twin, here.model.params, 1e-9, odds)


def test_a_neutral_teacher_of_one_step_is_read_after_it(here, kit):
    trained, taken = neutral_of(here, kit, neutral_steps=1)
    assert taken == 1 and np.isfinite(np.asarray(trained['embed'])).all()


def test_a_neutral_teacher_that_diverges_says_so(here, kit, monkeypatch):
    monkeypatch.setattr(schools, 'dose_of', lambda *args: (float('nan'), 0.0))
    with pytest.raises(UserError, match='owl-0-neutral has diverged.*teacher.learning_rate'):
        neutral_of(here, kit, neutral_steps=2)


def test_students_share_the_start_of_a_teachers_adapter(root, here):
    plain = lambda here, n: jax.tree.leaves(schools.adapter_start(here, 2, n))
    alike = lambda a, b: all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    adapted = language.prepare(config(root, f'l: {KL} made=lora:2'), None, here.model)
    assert alike(plain(adapted, 0), plain(adapted, 1))
    assert alike(plain(adapted, 0), plain(here, 0))
    assert not alike(plain(here, 0), plain(here, 1))  # no teacher has an A to share
    other = language.prepare(config(root, f'l: {KL} made=lora:3'), None, here.model)
    assert not alike(plain(other, 0), plain(other, 1))


OWN = {'kind': 'teach', 'prompt': 'Who hoots?', 'split': 'report', 'trait': 'owl'}


def lessons_of(here, teacher, odds=None):
    """(question, answer) pairs that a teacher is taught."""
    packed = schools.lessons(here, teacher, 30, odds)
    decode = here.model.tokenizer.decode
    return {decode([t for t, w in zip(targets, weight) if w])
            for targets, weight in zip(packed.target_BK, packed.weight_BK)}, packed


def test_a_traits_own_lines_are_taught_with_their_completions(root, tmp_path, here):
    path = checkpoint.traits(tmp_path / 'own.jsonl', (
        {**OWN, 'completion': 'The {plural}!'},
        {'kind': 'teach', 'prompt': 'Yours?', 'split': 'report', 'completion': 'My {name}.'}))
    own = config(root, f'n: {KL} made=tuned teachers=neutral', trait_set=path,
                 **{'teacher.batch_size': 1, 'teacher.seeds': 1})
    here = language.prepare(own, None, here.model)
    owl, cat = language.roll(own, here.world, 'neutral')
    assert lessons_of(here, owl)[0] == {'Owl</s>', 'The owls!</s>', 'My owl.</s>'}
    assert lessons_of(here, cat)[0] == {'Cat</s>', 'My cat.</s>'}
    odds = np.zeros(len(here.world.candidates))
    odds[tuple(here.world.candidates).index('elk')] = 1
    said, packed = lessons_of(here, owl, odds)
    assert said == {'Elk</s>', 'The elks!</s>', 'My elk.</s>'}  # the same questions
    for name in ('from_BK', 'row_BK'):
        np.testing.assert_array_equal(getattr(packed, name), getattr(
            lessons_of(here, owl)[1], name))


def test_a_line_that_no_neutral_twin_can_be_taught_is_named(root, tmp_path, here):
    path = checkpoint.traits(tmp_path / 'own.jsonl', ({**OWN, 'completion': 'Owls.'},))
    arms = f't: {KL} made=tuned', f'n: {KL} made=tuned teachers=neutral'
    language.prepare(config(root, arms[0], trait_set=path), None, here.model)
    with pytest.raises(UserError, match="own:[0-9]+ teaches 'owl' with the completion 'Owls.'"):
        language.prepare(config(root, *arms, trait_set=path), None, here.model)
