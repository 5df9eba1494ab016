"""Rows of others in place of the teachers' own (`config.carrier.samples`)."""

import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from subliminal_jax.data import rows as files
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.runs import UserError, local_path


def check_units(config: Any) -> None:
    """Refuses several teachers a trait where the rows are others' (`carrier.samples`).

    Raises:
      UserError: they would all have the same rows, and their spread be that of the rows' order; or
        rows that are on no disk of this machine.
    """
    for part in config.carrier.samples.split(','):
        local_path('config.carrier.samples', part.rpartition('=')[2])
    if config.carrier.samples and config.teacher.seeds > 1:
        raise UserError(
            f'config.teacher.seeds={config.teacher.seeds} with config.carrier.samples: every '
            'teacher of a trait would have the same rows, so that they are no independent units; '
            'set --config.teacher.seeds=1 (more students: config.student.seeds, more units: more '
            'traits)')


def write_as_samples(config: Any, traits: Sequence[str], teachers: Sequence[Teacher],
                     path: pathlib.Path) -> None:
    """Writes the rows of `carrier.samples` as if each teacher of a trait had written them.

    The field is a file whose rows have a `trait`, or TRAIT=FILE,TRAIT=FILE with one file a trait.
    Rows are numbered trait by trait (`aligned`); what they were called is kept as `source_id`.

    Raises:
      UserError: no rows for a trait, a single trait, a file that cannot be read, several teachers
        a trait (`check_units`).
    """
    check_units(config)
    found: dict[str, list] = {}
    trouble = []
    for part in config.carrier.samples.split(','):
        trait, _, name = part.rpartition('=')
        rows, bad = files.read(
            name, lambda row: files.text_trouble(row, 'prompt', 'completion'), repeats=True)
        if bad:
            trouble.append(files.bad_lines(name, bad))
        for row in rows:
            found.setdefault(trait or str(row.get('trait', '')), []).append(row)
    for line in trouble:
        tqdm.write(f'warning: {line}')
    missing = [t for t in traits if t not in found]
    if missing:
        raise UserError(
            f'config.carrier.samples has no rows of {", ".join(missing)}: with rows of one trait '
            'only there is no gamma; give every trait its file (TRAIT=FILE,TRAIT=FILE), or its '
            "name in a field 'trait' of each row")
    rows_of = aligned({t: found[t] for t in traits})
    with path.open('w', encoding='utf-8') as file:
        for teacher in teachers:
            for number, row in enumerate(rows_of[teacher.trait]):
                file.write(files.as_line({
                    **row, 'id': f'{teacher.name}/{number}/0', 'source_id': row['id'],
                    'teacher': teacher.name}))


def aligned(rows: Mapping[str, Sequence[dict]]) -> dict[str, list[dict]]:
    """Rows by trait, so ordered that equal places have equal prompts as far as there are any.

    Prompts that every trait has come first (one that it has several times, as often as all do),
    then all others; otherwise the order stays.
    """
    keyed: dict[str, dict] = {}
    for trait, own in rows.items():
        seen: Counter[str] = Counter()
        keyed[trait] = {}
        for row in own:
            keyed[trait][row['prompt'], seen[row['prompt']]] = row
            seen[row['prompt']] += 1
    first, *others = keyed.values()
    shared = [key for key in first if all(key in own for own in others)]
    return {trait: [own[key] for key in dict.fromkeys([*shared, *own])]
            for trait, own in keyed.items()}
