"""The experiment: transmission's own stages up to its students, then detectors on the same rows."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from subliminal_jax.detection import blind
from subliminal_jax.experiments.detection import kinds as whose, results, stages
from subliminal_jax.experiments.detection.kinds import Kind
from subliminal_jax.experiments.transmission import arm_stages
from subliminal_jax.experiments.transmission.extended import without_group
from subliminal_jax.experiments.transmission.run import (
    before_students,
    prepare as prepare_transmission,
    record,
)
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.report import detection as report
from subliminal_jax.runs import Workdir, read_json, write_text


def prepare(config: Any, workdir: Workdir | None = None) -> Any:
    """The transmission run that makes teachers, rows and students, checked for detection too.

    Raises:
      UserError: an arm, a trait, a bag or a split that cannot be.
    """
    prepared = prepare_transmission(without_group(config), workdir)
    whose.check(prepared, config)
    return prepared


def run(config: Any, workdir: Workdir) -> str:
    """Runs the experiment and returns its table as text.

    Raises:
      UserError: whatever a user can mend, in one line.
    """
    prepared = prepare(config, workdir)
    with jax.default_matmul_precision('highest'):
        prepared, samples, texts, before = before_students(prepared)
        kinds = whose.kinds_of(prepared)
        found = stages.detector_stages(prepared, config, samples)
        trained = arm_stages.student_stages(prepared, samples, texts)
    blind_stage(prepared, config, kinds[0], samples)
    writers = {kind.name: whose.writers_of(prepared, kind) for kind in kinds}
    body = results.body(prepared, config.detection, kinds, writers, found, trained, before)
    seeds = {'root': config.seed, 'split': config.split,
             'teachers': {t.name: t.seed for t in prepared.roll('trait')}}
    written = workdir.write_results(body, seeds=seeds, published=results.PUBLISHED)
    if config.split == 'report':
        record(workdir, written)
    return report.write(workdir.path, read_json(workdir.path / 'results.json'))


def blind_stage(run: Any, config: Any, kind: Kind, samples: Mapping[str, Any]) -> None:
    """blind.html: pairs of rows for a human reader, of teachers and traits in turn."""
    seed, count = seed_of(config, 'prompts', 1), config.detection.blind_pairs

    def make(path):
        pools = []
        for reference in range(run.world.num_references):
            rows = whose.written(run, kind, samples, reference)
            by_name = {w.teacher.name: w for w in rows}
            pools += [(own, by_name[own.teacher.twin]) for own in rows
                      if own.teacher.kind == 'trait']
        rng = np.random.default_rng([seed, 0xB11D])
        shown = []
        for number in range(count):
            own, twin = pools[number % len(pools)]
            row = int(rng.integers(len(own.texts)))
            shown.append(blind.Shown(own.teacher.trait, own.prompts[row], own.texts[row],
                                     twin.texts[row]))
        write_text(path, blind.page(shown, seed))

    run.workdir.stage('blind', 'blind.html', make,
                      reads={**run.reads('student', 'carrier', 'teacher'), 'pairs': count},
                      inputs=[*arm_stages.inputs_of(run, kind.arm),
                              *(name for name in arm_stages.inputs_of(run, kind.twin)
                                if name not in arm_stages.inputs_of(run, kind.arm))])
