"""The experiment: its stages, in order, and its results."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from subliminal_jax.experiments.transmission.run import record
from subliminal_jax.experiments.weights import (
    arm_stages,
    arms as tables,
    geometry,
    language,
    results,
    stages,
    teachers as schools,
)
from subliminal_jax.experiments.weights.config import Config
from subliminal_jax.experiments.weights.language import Here
from subliminal_jax.report import transmission as page, weights as report
from subliminal_jax.runs import Workdir


def run(config: Config, workdir: Workdir) -> str:
    """Runs the experiment and returns its table as text.

    Raises:
      UserError: whatever a user can mend, in one line.
    """
    here = language.prepare(config, workdir, language.load(config))
    if config.carrier.targets:
        stages.check_targets(here)
    with jax.default_matmul_precision('highest'):
        kit = schools.kit_of(here)
        stages.context_stage(here)
        texts = stages.text_stage(here)
        stages.teacher_stages(here, kit)
        rows = stages.row_stages(here)
        trained = arm_stages.student_stages(here, kit, rows, texts)
        predicted = arm_stages.geometry_stage(here, kit)
    arm_stages.answers_stage(here, trained)
    return finish(here, kit, rows, trained, predicted)


def finish(here: Here, kit: Any, rows: Any, trained: Mapping[str, Any],
           predicted: Mapping[str, np.ndarray]) -> str:
    """results.json, experiments.jsonl, the page; returns the table."""
    span = geometry.shares(here.model.params, here.world.carrier_ids,
                           *geometry.words_of(here, kit), here.model.config.tied)
    body = results.body(here, trained, predicted, rows, known(here), span)
    teachers = language.roll(here.config, here.world, 'trait')
    seeds = {'root': here.config.seed, 'split': here.config.split,
             'teachers': {t.name: t.seed for t in teachers}}
    made = here.workdir.write_results(body, seeds=seeds, published=report.PUBLISHED)
    if here.config.split == 'report':
        record(here.workdir, made)
    return report.write(here.workdir, made, page.Examples.read(here.workdir.path))


def known(here: Here) -> dict[str, dict[str, Any]]:
    """What each teacher is, by set and name."""
    made: dict[str, dict[str, Any]] = {}
    for arm in here.arms:
        for teacher in language.roll(here.config, here.world, arm.teachers):
            found = schools.facts(here.workdir.path / stages.folder_of(arm, teacher))
            made.setdefault(tables.teacher_set(arm), {})[teacher.name] = found
    return made
