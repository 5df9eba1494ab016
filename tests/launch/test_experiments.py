"""The table of experiments, and how a config file becomes a row of it and a config."""

import dataclasses
import pathlib

import pytest

from launch.experiments import EXPERIMENTS
from subliminal_jax.runs import UserError, config as configs, spec, to_dict
from subliminal_jax.runs.experiment import Experiment

ROOT = pathlib.Path(__file__).parents[2]
FILES = sorted(p for p in (ROOT / 'configs').glob('*.py') if p.name != '__init__.py')


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_every_config_file_names_an_experiment_and_fits_it(path):
    loaded = configs.load([f'--config={path}'], EXPERIMENTS)
    make = loaded.experiment.config
    base = make() if isinstance(make, type) else make(to_dict(loaded.config))
    assert isinstance(loaded.experiment, Experiment) and type(loaded.config) is type(base)


@dataclasses.dataclass(frozen=True)
class Config:
    world: str = spec('tiny', choices=('tiny', 'large'), doc='where')
    size: int = spec(1, ge=1, doc='of it')
    rate: float = spec(0.5, gt=0, doc='of learning')


def by_world(values):
    """What holds where a file is silent depends on its world."""
    return Config(size=100 if values.get('world') == 'large' else 1)


@pytest.mark.parametrize('fields, flags, expected', [
    ('', [], Config()),
    ('"world": "large"', [], Config('large', 100)),
    ('"world": "large", "size": 7', [], Config('large', 7)),
    ('"world": "large", "size": 7', ['size=8', 'rate=1'], Config('large', 8, 1.0)),
    ('"world": "large"', ['rate=2'], Config('large', 100, 2.0))])
def test_a_config_may_be_a_function_of_the_files_values(tmp_path, fields, flags, expected):
    path = tmp_path / 'mine.py'
    path.write_text('from ml_collections import ConfigDict\n'
                    f'def get_config(): return ConfigDict({{"experiment": "toy", {fields}}})')
    row = Experiment(by_world, plan=lambda c: [], run=lambda c, w: '', page=None)
    arguments = [f'--config={path}', *(f'--config.{flag}' for flag in flags)]
    assert configs.load(arguments, {'toy': lambda: row}).config == expected


def test_an_unknown_field_is_refused_beside_a_function_too(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text('from ml_collections import ConfigDict\n'
                    'def get_config(): return ConfigDict({"experiment": "toy", "siez": 1})')
    row = Experiment(by_world, plan=lambda c: [], run=lambda c, w: '', page=None)
    with pytest.raises(UserError, match="unknown config field 'siez'; did you mean size"):
        configs.load([f'--config={path}'], {'toy': lambda: row})
