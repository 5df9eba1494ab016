"""Detectors on audited rows: can anyone tell them from control rows, or a candidate in them?

The detectors are those of detection/, which need no further teachers. Each part of the rows is a
pair of lists, audited and control. What learns does so on the parts of the other half. Some look at
the writer alone (words, hidden states, the teacher's likelihood), some at each candidate: their
AUROC is taken of every candidate, and of what is stated the largest is one of several.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from subliminal_jax.detection import areas as measures, detectors, reader as readers, readings
from subliminal_jax.detection.areas import Areas
from subliminal_jax.detection.detectors import Case, Side
from subliminal_jax.detection.reader import Reader
from subliminal_jax.experiments.audit import subjects
from subliminal_jax.experiments.audit.parts import SIDES, Parts
from subliminal_jax.experiments.audit.subjects import Subject
from subliminal_jax.experiments.transmission import preferences, targets
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.training.tries import Row

OF_WRITER = ('ngrams', 'states', 'likelihood_ratio', 'length', 'mean_logprob')
OF_CANDIDATE = ('in_context', 'trained_prefix')
NULLS = ('length', 'mean_logprob')
CONTEXTS = 16  # of a part, by length
BAGS = 2  # prefixes a part
QUESTIONS = 4

Sides = dict[str, list[Side]]


def read(subject: Subject, config: Any, parts: Parts, teacher: Subject | None) -> Sides:
    """What the reference, and the teacher, make of every part of both sides."""
    reader, audit = reader_of(subject), config.audit
    sizes = [size for size in audit.bags if size <= parts.rows]
    found: Sides = {}
    for side in SIDES:
        found[side] = []
        for rows in parts.side(side):
            tokens = _rows(subject, rows)
            read_of = readers.read(reader, tokens)
            if teacher is not None:
                own = readers.Reader(teacher.params, teacher.architecture,
                                     packed=reader.packed, chunk=reader.chunk)
                read_of['models'] = _logprobs(own, _rows(teacher, rows))[:, None]
            found[side].append(Side([row['completion'] for row in rows], read_of))
    lists = [_rows(subject, rows) for side in SIDES for rows in parts.side(side)]
    amplified = readers.amplified(
        reader, lists, sizes, BAGS, readers.Amplified(), seed_of(config, 'direction', 0, 1),
        1_000 if subject.run.together else config.student.at_once)
    for (side, unit), said in zip([(s, u) for s in SIDES for u in range(len(parts.audited))],
                                  amplified):
        own = found[side][unit]
        found[side][unit] = own._replace(readings={**own.readings, **said})
    return found


def reader_of(subject: Subject) -> Reader:
    """The reference as a reader that is asked about every candidate."""
    run, world = subject.run, subject.world
    few = world._replace(questions=world.questions[:QUESTIONS])
    return Reader(
        subject.params, subject.architecture,
        asked=preferences.meter_of(few, world.contexts[0], world.candidates),
        traits=len(world.candidates), packed=run.config.student.packed,
        chunk=targets.CHUNK[run.together], at_once=16 if run.together else 1, contexts=CONTEXTS)


def _rows(subject, rows):
    encoded = subjects.encode(subject, rows)
    return [Row(*pair) for pair in zip(encoded.contexts, encoded.answers)]


def _logprobs(reader, rows):
    tries = readers.pack(rows, reader.packed)
    return readings.in_order(readers.by_chunks(tries, reader.chunk, lambda part: readers.call(
        reader, readings.logprobs, part, rows=reader.packed)), len(rows))


def areas(subject: Subject, config: Any, sides: Sides) -> list[dict[str, Any]]:
    """Entries of results.json: every detector's AUROC by bag, its interval over parts."""
    names, count = subject.world.candidates, len(sides['audited'])
    unit = {str(u): str(u) for u in range(count)}
    known = [_joined(sides, [v for v in range(count) if v % 2 != u % 2]) for u in range(count)]
    found = []
    for size in config.audit.bags:
        by_name = {name: _areas(sides, known, name, 0, size) for name in OF_WRITER}
        for name, own in by_name.items():
            found += _entry(name, None, size, own, by_name, unit)
        for name in OF_CANDIDATE:
            for column, candidate in enumerate(names):
                own = _areas(sides, known, name, column, size)
                found += _entry(name, candidate, size, own, by_name, unit)
    return found


def _joined(sides: Sides, units: Sequence[int]) -> tuple[Side, Side]:
    """Both sides of several parts, as one known pair."""
    def join(parts):
        shared = set.intersection(*(set(part.readings) for part in parts))
        return Side([text for part in parts for text in part.texts], {
            name: np.concatenate([part.readings[name] for part in parts]) for name in shared})

    return tuple(join([sides[side][u] for u in units]) for side in SIDES)


def _areas(sides, known, name, column, size) -> Areas:
    """AUROC of a detector by part."""
    found = {}
    for u, pair in enumerate(zip(*(sides[side] for side in SIDES))):
        case = Case(*pair, known=[known[u]], column=column, like=[0], unlike=[0], own=(0, 0))
        value = detectors.areas_of(case, [size], [name])[name][size]
        if value is not None:
            found[str(u)] = value
    return found


def _entry(name, candidate, size, own, by_name, unit) -> list[dict[str, Any]]:
    nulls = {} if name in NULLS else {
        null: by_name[null] for null in NULLS if by_name.get(null)}
    beside = measures.beside(own, nulls, unit)
    if beside is None:
        return []
    over = beside.over
    return [{
        'name': name, 'role': detectors.DETECTORS.row(name).role, 'candidate': candidate,
        'bag': size, 'auroc': beside.own.mean, 'ci95': beside.own.ci95,
        'null_detector': beside.null, 'over_null': None if over is None else over.mean,
        'over_null_ci95': None if over is None else over.ci95, 'p': beside.p}]
