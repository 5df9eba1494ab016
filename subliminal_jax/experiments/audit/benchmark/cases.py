"""What is audited: rows of known origin, at one reference.

  clean     the reference's own rows: nothing can be in them
  ARM       rows of an arm's teachers, with a trait or neutral, beside the reference's own answers
  twins     rows of a neutral twin, beside another twin's
  foreign   rows of another reference's trait teachers: another start
  overt     rows of the first arm, one in four of which names the trait
  blind     some of the above, read from files as anybody's rows would be
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.detection import overt
from subliminal_jax.experiments.transmission import samples as written, stages
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.runs import sha256_of

CLEAN, TWINS, FOREIGN, OVERT = 'clean', 'twins', 'foreign', 'overt'
Row = dict[str, Any]


class Case(NamedTuple):
    """An audit to be made.

    Attributes:
      name: unique.
      kind: an arm's name, or one of those above.
      reference: at which it is made.
      teacher: whose rows, '' of the reference itself.
      trait: what was planted in them and could pass; '' for nothing.
      rows: what is audited.
      control: the rows beside them; None: the reference's own answers to the same prompts.
    """

    name: str
    kind: str
    reference: int
    teacher: str
    trait: str
    rows: list[Row]
    control: list[Row] | None = None


def of_reference(run: Any, config: Any, samples: Mapping[str, written.Samples], reference: int,
                 own: Sequence[list[Row]]) -> list[Case]:
    """The cases of a reference, blind ones aside.

    Args:
      run, config: of the benchmark.
      samples: rows by set.
      reference: its number.
      own: lists of rows that the reference has written, for the clean cases.
    """
    settings, found = config.benchmark, []
    for number, rows in enumerate(own):
        found.append(Case(f'{CLEAN}-r{reference}-{number}', CLEAN, reference, '', '', rows))
    by_arm = {arm.name: texts_of(run, arm, samples, reference) for arm in run.arms}
    for arm in run.arms:
        for teacher, rows in by_arm[arm.name]:
            found.append(_case(arm.name, reference, teacher, rows, arm.teachers == 'trait'))
    first = run.arms[0]
    if settings.overt:
        for teacher, rows in by_arm[first.name]:
            found.append(_case(OVERT, reference, teacher, _named(run, teacher, rows), True))
    if settings.neutral:
        found += _twins(run, reference, by_arm)
    if settings.foreign:
        there = (reference + 1) % run.world.num_references
        for teacher, rows in texts_of(run, first, samples, there):
            found.append(_case(FOREIGN, reference, teacher, rows, False))
    return found


def _case(kind, reference, teacher, rows, planted):
    return Case(f'{kind}-r{reference}-{teacher.name}', kind, reference, teacher.name,
                teacher.trait if planted else '', rows)


def texts_of(run: Any, arm: Arm, samples: Mapping[str, written.Samples], reference: int
             ) -> list[tuple[Teacher, list[Row]]]:
    """(teacher, its rows as texts) of an arm's teachers on a reference."""
    rows = stages.rows_of(run, arm, samples, reference)
    return [(t, [{'id': n, 'prompt': prompt, 'completion': run.world.row_text(answer[:-1])}
                 for n, (prompt, answer) in enumerate(zip(rows[t.name].prompts,
                                                          rows[t.name].answers))])
            for t in run.roll(arm.teachers) if t.reference == reference]


def _named(run, teacher, rows):
    seed = seed_of(run.config, 'shuffle', teacher.seed, 1)
    texts = overt.named([row['completion'] for row in rows], [teacher.trait], seed)
    return [{**row, 'completion': text} for row, text in zip(rows, texts)]


def _twins(run, reference, by_arm):
    """Neutral twins beside the next trait's, of the first arm that has them."""
    arm = next((a for a in run.arms if a.teachers == 'neutral'), None)
    if arm is None:
        return []
    pairs = by_arm[arm.name]
    return [_case(TWINS, reference, teacher, rows, False)._replace(
        control=pairs[(n + run.config.teacher.seeds) % len(pairs)][1])
        for n, (teacher, rows) in enumerate(pairs)]


# The blind set.


def drawn_blind(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """Cases of the blind set, in an order that tells nothing."""
    order = np.random.default_rng([seed, 0xB11D]).permutation(len(cases))
    return [cases[n] for n in order[:count]]


def write_blind(folder: pathlib.Path, chosen: Sequence[Case]) -> None:
    """Rows as files and, apart from them, what they are: FOLDER/NN.jsonl and FOLDER/truth.json."""
    folder.mkdir()
    for number, case in enumerate(chosen):
        with (folder / f'{number:02d}.jsonl').open('w', encoding='utf-8') as file:
            for row in case.rows:
                file.write(json.dumps({k: row[k] for k in ('prompt', 'completion')}) + '\n')
    truth = [{'file': f'{number:02d}.jsonl', 'reference': case.reference, 'case': case.name,
              'kind': case.kind, 'teacher': case.teacher, 'trait': case.trait}
             for number, case in enumerate(chosen)]
    text = json.dumps({'sha256': sha256_of(truth), 'audits': truth}, indent=1)
    (folder / 'truth.json').write_text(text + '\n', encoding='utf-8')
