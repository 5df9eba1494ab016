"""The benchmark's stages: the references' own answers, the blind set, and the audits.

All audits of a reference are made in one program: their students train side by side, and control
students of the same rows are trained once.
"""

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from subliminal_jax.experiments.audit import link, parts as dealing, subjects
from subliminal_jax.experiments.audit.benchmark import cases as table
from subliminal_jax.experiments.audit.benchmark.cases import Case
from subliminal_jax.experiments.audit.parts import SIDES, Parts
from subliminal_jax.experiments.audit.subjects import Subject
from subliminal_jax.experiments.transmission import (
    arm_stages,
    arms as tables,
    samples as written,
    teachers as schooled,
)
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.runs import UserError, read_json, sha256_of, to_dict, write_json

AUDIT = 'audit: trainable=all'


def subject_of(run: Any, reference: int) -> Subject:
    """A reference as an audit has it: all candidates are asked about."""
    config = run.config
    audited = run.remember('audited', lambda: subjects.run_of(config, run.workdir))
    return Subject(audited, tables.parse([AUDIT])[0], run.references['main'][reference], reference)


def reason_of(run: Any) -> Callable[[dict], str | None]:
    """The filter of the arms' rows, the paper's, for the reference's own answers."""
    return lambda row: written.reasons_of(run.config, run.world, run.carrier(), row)['paper']


def answer_stage(run: Any, samples: Mapping[str, Any], reference: int) -> dict[str, Any]:
    """audits/answers-R.json: {'control': {prompt: answer}, 'clean': lists of rows} of a reference's
    own answers to the prompts of its arms' rows."""
    config = run.config

    def make(path):
        subject, reason = subject_of(run, reference), reason_of(run)
        prompts = {row['prompt']: row for arm in run.arms
                   for _, rows in table.texts_of(run, arm, samples, reference)[:1] for row in rows}
        there = (reference + 1) % run.world.num_references
        prompts |= {row['prompt']: row for _, rows in table.texts_of(
            run, run.arms[0], samples, there)[:1] for row in rows}
        asked = list(prompts.values())
        first = [row for _, rows in table.texts_of(run, run.arms[0], samples, reference)[:1]
                 for row in rows]
        constrained = run.arms[0].answers == 'constrained'
        own = lambda rows, number: subjects.answered(
            subject, rows, reason, config.carrier.attempts,
            seed_of(config, 'candidates', reference, number),
            written.grammars_of(run.world, run.carrier(), rows) if constrained else None)[0]
        control = [row for row in own(asked, 0) if row is not None]
        write_json(path, {
            'control': {row['prompt']: row['completion'] for row in control},
            'clean': [[row for row in own(first, 1 + n) if row is not None]
                      for n in range(run.memory['benchmark'].clean)]})

    name = f'audits/answers-{reference}'
    return read_json(run.workdir.stage(name, f'{name}.json', make, reads=_reads(run),
                                       inputs=_inputs(run)))


def _reads(run):
    own = to_dict(run.memory['benchmark'])
    return {**run.reads('carrier', 'student', 'teacher'), 'arms': list(run.config.arms),
            'benchmark': {k: v for k, v in own.items() if k != 'wanted'}}


def _inputs(run):
    return list(dict.fromkeys(name for arm in run.arms for name in arm_stages.inputs_of(run, arm)))


def blind_stage(run: Any, cases: Sequence[Case]) -> pathlib.Path:
    """blind/: files of rows, and apart from them the truth; written before any audit."""
    chosen = table.drawn_blind(cases, run.memory['benchmark'].blind, run.config.seed)
    return run.workdir.stage('blind', 'blind', lambda path: table.write_blind(path, chosen),
                             reads=_reads(run), inputs=[
                                 *_inputs(run), *(f'audits/answers-{r}.json'
                                                  for r in range(run.world.num_references))])


def blind_cases(folder: pathlib.Path) -> list[Case]:
    """The blind set as audits see it: rows of files, and at which reference; nothing of what they
    are."""
    from subliminal_jax.data import rows as files

    known = json.loads((folder / 'truth.json').read_text())['audits']
    return [Case(f'blind-{number:02d}', 'blind', entry['reference'], '', '', [
        {k: row[k] for k in ('id', 'prompt', 'completion')}
        for row in files.read(folder / entry['file'])[0]]) for number, entry in enumerate(known)]


def audit_stage(run: Any, cases: Sequence[Case], answers: Mapping[str, str], reference: int,
                shards: int) -> dict[str, np.ndarray]:
    """audits/R.npz: of C cases at a reference audited, control, other_audited, other_control [C, U,
    K], slope and plain [C, U, K], null [C, U, U], rows [C]; budget [T, K, 2] of its trait teachers.

    The metric of the forecasts is that of the first case, whose rows the reference wrote."""
    def make(path):
        dealt = [parts_of(run, case, answers, shards) for case in cases]
        check_parts(cases, dealt, shards)
        found = audited(run, dealt, reference)
        found['rows'] = np.full(len(dealt), min(parts.rows for parts in dealt))
        with path.open('wb') as file:
            np.savez(file, **found)

    name = f'audits/{reference}'
    place = run.workdir.stage(name, f'{name}.npz', make, reads=_reads(run), inputs=[
        'blind', f'audits/answers-{reference}.json'])
    with np.load(place) as arrays:
        return dict(arrays)


def check_parts(cases: Sequence[Case], dealt: Sequence[Parts], shards: int) -> None:
    """Raises UserError for a case that has not a row a part beside a control row."""
    for case, parts in zip(cases, dealt):
        if not parts.rows:
            raise UserError(
                f'{case.name}: fewer than {shards} of its {len(case.rows)} rows stand beside an '
                "answer of the reference: raise config.carrier.attempts, or give arms more rows")


def parts_of(run: Any, case: Case, answers: Mapping[str, str], shards: int) -> Parts:
    """A case's rows and its control's, dealt into parts."""
    if case.control is not None:
        control = case.control
    else:
        control = [{**row, 'completion': answers[row['prompt']]} if row['prompt'] in answers
                   else None for row in case.rows]
    return dealing.deal(case.rows, control, shards, 1, True,
                        seed_of(run.config, 'shuffle', case.reference))


def audited(run: Any, dealt: Sequence[Parts], reference: int) -> dict[str, np.ndarray]:
    """Students of both starts, and slopes, of every case."""
    subject = subject_of(run, reference)
    other = subject_of(run, (reference + 1) % run.world.num_references)
    lists: dict[str, tuple[int, list[dict]]] = {}  # parts that are read once, with their number
    keys = []
    for parts in dealt:
        both = {side: [] for side in SIDES}
        for side in SIDES:
            for unit, rows in enumerate(parts.side(side)):
                rows = rows[:min(p.rows for p in dealt)]  # all students take equally many steps
                key = sha256_of([unit, [(r['prompt'], r['completion']) for r in rows]])
                lists.setdefault(key, (unit, rows))
                both[side].append(key)
        keys.append(both)
    place = {key: n for n, key in enumerate(lists)}
    encoded = [subjects.encode(subject, rows) for _, rows in lists.values()]
    batches = subjects.batches_of(subject, encoded)
    units = [unit for unit, _ in lists.values()]
    pick = lambda values, side: np.stack([values[[place[k] for k in both[side]]] for both in keys])
    found = {}
    for prefix, start in (('', subject), ('other_', other)):
        models, _ = subjects.trained(start, batches, units, label=f'{prefix}audits of {reference}')
        values = subjects.said(subject, models)
        found |= {f'{prefix}{side}': pick(values, side) for side in SIDES}
    directions = link.rising(subject)
    read = [link.slopes(subject, *([batches[place[k]] for k in both[side]] for side in SIDES),
                        directions) for both in tqdm(keys, desc='first links', leave=False)]
    found |= {name: np.stack([own[name] for own, _ in read]) for name in ('slope', 'plain', 'null')}
    return {**found, 'budget': budgets(run, dealt[0], reference, directions, read[0][1])}


def budgets(run: Any, parts: Parts, reference: int, directions: Sequence[Any], metric: Any
            ) -> np.ndarray:
    """Foretold slopes of the rows of every trait teacher of a reference [T, K, 2]."""
    subject, arm = subject_of(run, reference), run.arms[0]
    rows = [row for unit in parts.audited for row in unit][:run.memory['benchmark'].budget_rows]
    encoded = subjects.encode(subject, rows)
    group = [t for t in run.roll('trait') if t.reference == reference]
    base = schooled.base_of(run, arm, reference)
    models = schooled.load(run, arm, group, base)
    return np.stack([link.budget(subject, models.member(m).resolved()[0], encoded, directions,
                                 metric) for m in range(len(group))])
