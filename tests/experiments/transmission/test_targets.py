"""Cached logits: kept with what they are of, and refused for anything else."""

import json

import numpy as np
import pytest

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import rows as carried, stages, targets
from subliminal_jax.experiments.transmission.teachers import groups_of
from subliminal_jax.runs import UserError, Workdir
from tests.experiments.transmission.checkpoint import KL, config, loaded

NOTE = {'model': 'a', 'teachers': 'b', 'rows': 'c', 'tokens': 'd', 'precision': 'e'}


def test_logits_come_back_and_those_of_others_are_refused(tmp_path):
    path = tmp_path / 'x.npz'
    targets.save(path, {'r0-owl-0': {'target_BUC': np.ones((1, 2, 3))}}, NOTE)
    np.testing.assert_array_equal(targets.load(path, NOTE)['r0-owl-0']['target_BUC'],
                                  np.ones((1, 2, 3)))
    for field, said in targets.OTHERS.items():
        with pytest.raises(UserError, match=said) as error:
            targets.load(path, {**NOTE, field: 'z'})
        assert '\n' not in str(error.value)
    path.write_bytes(b'nothing')
    with pytest.raises(UserError, match='cannot be read'):
        targets.load(path, NOTE)


def test_a_folder_without_the_logits_that_are_wanted_is_refused(root, tmp_path):
    wanted = 'trait-prompt-random-8-set.npz'
    for folder, said in ((tmp_path / 'none', 'no such folder'), (tmp_path, f'has no {wanted}')):
        settings = config(root, f'p: {KL}', **{'carrier.targets': str(folder)})
        with pytest.raises(UserError, match=said):
            transmission.run(settings, Workdir(tmp_path / said, settings, 'transmission'))


class Folder:
    """Stands for a run's folder: stages are not made, and what they read is kept."""

    def __init__(self, path):
        self.path, self.reads = path, {}

    def stage(self, name, artefact, make, *, reads=None, inputs=()):
        self.reads[name] = reads
        return self.path / artefact


def note_of(root, tmp_path, arm=KL, count=2, **changes):
    """The note beside the logits of an arm of a run with these settings."""
    folder = Folder(tmp_path)
    run = loaded(config(root, f'p: {arm}', **changes), folder)
    for place, group in groups_of(run, run.arms[0]).items():
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / 'teachers.json').write_text(
            json.dumps({t.name: {'sha256': 'x'} for t in group}))
    rows = carried.random_rows(run.config, run.world, run.carrier(), count, 'random', 0, 2)
    with pytest.raises(UserError):  # there is no such file
        stages.target_stage(run, run.arms[0], {t.name: rows for t in run.roll('trait')})
    found, = (reads['note'] for name, reads in folder.reads.items()
              if name.startswith('targets/'))
    return found


def test_cached_logits_of_another_precision_are_refused(root, tmp_path):
    plain = note_of(root, tmp_path)
    path = tmp_path / 'x.npz'
    targets.save(path, {'r0-owl-0': {'target_BUC': np.ones((1, 2, 3))}}, plain)
    assert targets.load(path, note_of(root, tmp_path))
    for changes in ({'model.compute': 'bfloat16'}, {'model.dtype': 'bfloat16'}):
        with pytest.raises(UserError, match='a model in another precision.*float32 where'):
            targets.load(path, note_of(root, tmp_path, **changes))


@pytest.mark.parametrize('field, changes', [
    ('model', {'model.name': 'other'}), ('model', {'arm': f'{KL} matrix=replaced'}),
    ('rows', {'count': 3}), ('rows', {'seed': 1}), ('tokens', {'student.top': 3}),
    ('tokens', {'carrier.form': 'list'})])
def test_every_difference_shows_in_the_note(root, tmp_path, field, changes):
    if 'model.name' in changes:
        changes = {'model.name': str(root / changes['model.name'])}
    plain, other = note_of(root, tmp_path), note_of(root, tmp_path, **changes)
    assert plain[field] != other[field]
