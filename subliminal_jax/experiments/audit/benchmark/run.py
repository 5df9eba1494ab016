"""The benchmark: transmission's own stages, then audits of its rows."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from subliminal_jax.experiments.audit import subjects
from subliminal_jax.experiments.audit.benchmark import cases as table, results, stages
from subliminal_jax.experiments.audit.benchmark.cases import Case
from subliminal_jax.experiments.transmission import arm_stages, checks, results as transmitted
from subliminal_jax.experiments.transmission.extended import without_group
from subliminal_jax.experiments.transmission.run import (
    before_students,
    checked_arms,
    prepare,
    record,
)
from subliminal_jax.report import audit_benchmark as report
from subliminal_jax.runs import UserError, Workdir, read_json


def check(config: Any) -> None:
    """Raises UserError for what can be said of a config by itself."""
    checks.check(without_group(config))
    if config.world != 'tiny':
        raise UserError(f'world={config.world}: the benchmark trains thousands of students and is '
                        'of the tiny world; single rows of any model: launch.audit')
    arms = checked_arms(without_group(config))
    for arm in arms:
        if arm.answers == 'random' or arm.objective != 'sft' or arm.start != 'shared':
            raise UserError(f'arm {arm.name}: audits read text: use objective=sft, written answers '
                            'and start=shared')
    if arms[0].teachers != 'trait':
        raise UserError('the first arm has to be one of trait teachers')


def run(config: Any, workdir: Workdir) -> str:
    """Runs the benchmark and returns its table as text.

    Raises:
      UserError: whatever a user can mend, in one line.
    """
    check(config)
    prepared = prepare(without_group(config), workdir)
    prepared.memory['benchmark'] = config.benchmark
    with jax.default_matmul_precision('highest'):
        prepared, samples, texts, _ = before_students(prepared)
        trained = arm_stages.student_stages(prepared, samples, texts)
        body = audited(prepared, config, samples, trained)
    written = workdir.write_results(
        body, seeds={'root': config.seed, 'split': config.split}, published=results.PUBLISHED)
    if config.split == 'report':
        record(workdir, written)
    return report.write(workdir.path, read_json(workdir.path / 'results.json'))


def audited(run: Any, config: Any, samples: Any, trained: Any) -> dict[str, Any]:
    """All audits, and results.json's own part."""
    count, settings = run.world.num_references, config.benchmark
    answers = {r: stages.answer_stage(run, samples, r)
               for r in tqdm(range(count), desc="references' answers", leave=False)}
    known = [case for r in range(count) for case in table.of_reference(
        run, config, samples, r, answers[r]['clean'])]
    folder = stages.blind_stage(run, known)
    everything = [*known, *stages.blind_cases(folder)]
    entries: list[dict[str, Any]] = []
    budgets = []
    names = list(run.world.candidates)
    for r in tqdm(range(count), desc='audits, references', leave=False):
        own = [case for case in everything if case.reference == r]
        arrays = stages.audit_stage(run, own, answers[r]['control'], r, settings.shards)
        said = said_of(run, r)
        entries += [results.audit_entry(case, results.found_of(names, arrays, n, said),
                                        settings.wanted) for n, case in enumerate(own)]
        budgets.append(arrays['budget'])
    return body(run, config, _in_order(entries, everything), trained, budgets, folder)


def _in_order(entries: Sequence[dict[str, Any]], cases: Sequence[Case]) -> list[dict[str, Any]]:
    place = {entry['case']: entry for entry in entries}
    return [place[case.name] for case in cases]


def said_of(run: Any, reference: int) -> np.ndarray:
    """log P of every candidate at a reference."""
    subject = stages.subject_of(run, reference)
    return subjects.said(subject, subjects.single(subject))[0]


def body(run: Any, config: Any, entries: Sequence[dict[str, Any]], trained: Any,
         budgets: Sequence[np.ndarray], folder: Any) -> dict[str, Any]:
    """The benchmark's own part of results.json."""
    measured = results.transmission(run, trained)
    alarms, kinds = results.false_alarms(entries), results.shares(entries)
    blind = results.opened(entries, read_json(folder / 'truth.json'))
    return {
        **transmitted.about(run), 'shards': config.benchmark.shards, 'audits': list(entries),
        'false_alarms': alarms, 'kinds': kinds, 'transmission': measured,
        'by_teacher': results.by_teacher(entries, measured),
        'forecasts': results.forecasts(list(run.world.candidates), run.roll('trait'), budgets,
                                       entries, run.arms[0].name),
        'blind': blind, 'verdict': results.verdict(alarms, kinds, blind),
        'headline': {'false_alarms': alarms['students']['estimate'],
                     'found': {k['kind']: k['own']['estimate'] for k in kinds if k['planted']}}}
