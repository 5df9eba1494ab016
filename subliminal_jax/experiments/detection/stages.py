"""The stages of detection: what is read of every teacher's rows, and how well it tells them apart.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from subliminal_jax.detection import (
    detectors,
    pairs as pairing,
    prompted,
    reader as readers,
    readings,
)
from subliminal_jax.detection.detectors import Case, Side
from subliminal_jax.detection.pairs import Pair
from subliminal_jax.detection.reader import Reader
from subliminal_jax.experiments.detection import kinds as whose
from subliminal_jax.experiments.detection.kinds import Kind, Written
from subliminal_jax.experiments.transmission import (
    arm_stages,
    engines,
    preferences,
    targets,
    teachers as schooled,
)
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.runs import to_dict, write_json
from subliminal_jax.training import tries as packing

ROW_GRADIENTS = {True: 64, False: 1}  # that exist at once: of small models, of large ones

Areas = dict[str, dict[str, dict[str, dict[str, dict[str, float | None]]]]]


def detector_stages(run: Any, config: Any, samples: Mapping[str, Any]) -> Areas:
    """AUROC, or None, by kind, task, detector, bag and pair: readings/KIND-R.npz and
    detectors/KIND.json."""
    found = {}
    for kind in whose.kinds_of(run):
        for r in tqdm(range(run.world.num_references), desc=f'readings, {kind.name}', leave=False):
            reading_stage(run, config, kind, samples, r)
        found[kind.name] = area_stage(run, config, kind, samples)
    return found


def reading_stage(run: Any, config: Any, kind: Kind, samples: Mapping[str, Any], reference: int
                  ) -> pathlib.Path:
    """readings/KIND-R.npz: all that is read of a reference's rows, as TEACHER/READING."""
    own = config.detection

    def make(path):
        rows = whose.written(run, kind, samples, reference)
        found = read(run, own, kind, rows, reference)
        with path.open('wb') as file:
            np.savez(file, **{f'{name}/{what}': array for name, arrays in found.items()
                              for what, array in arrays.items()})

    name = f'readings/{kind.name}-{reference}'
    return run.workdir.stage(name, f'{name}.npz', make, reads=_reads(run, own),
                             inputs=_inputs(run, kind))


def _reads(run, own):
    skipped = ('blind_pairs', 'verdict_bag')
    return {**run.reads('student', 'carrier', 'teacher'),
            'detection': {k: v for k, v in to_dict(own).items() if k not in skipped}}


def _inputs(run, kind):
    return list(dict.fromkeys([*arm_stages.inputs_of(run, kind.arm),
                               *arm_stages.inputs_of(run, kind.twin)]))


def read(run: Any, own: Any, kind: Kind, rows: Sequence[Written], reference: int
         ) -> dict[str, dict[str, np.ndarray]]:
    """Readings by teacher, of all teachers of a reference."""
    reader = reader_of(run, own, kind, rows, reference)
    found = {w.teacher.name: readers.read(reader, w.rows) for w in rows}
    for name, models_NT in under_teachers(run, kind, rows, reference).items():
        found[name]['models'] = models_NT
    amplified = readers.amplified(
        reader, [w.rows for w in rows], own.bags, own.prefix_bags, own.prefix,
        seed_of(run.config, 'direction', reference, 1),
        1_000 if run.together else run.config.student.at_once)
    for written, said in zip(rows, amplified):
        found[written.teacher.name] |= said | asked(run, own, reader, written)
    return found


def reader_of(run: Any, own: Any, kind: Kind, rows: Sequence[Written], reference: int) -> Reader:
    """The reference as a reader: traits to ask about, directions to hold gradients against."""
    world, traits = run.world, run.world.traits
    few = world._replace(questions=world.questions[:own.questions])
    others = [name for name in world.candidates if name not in traits][:max(1, len(traits))]
    asked_of = preferences.meter_of(few, world.lesson_context, (*traits, *others))
    reader = Reader(
        run.references[kind.arm.architecture][reference],
        world.architectures[kind.arm.architecture], asked=asked_of, traits=len(traits),
        packed=run.config.student.packed, chunk=targets.CHUNK[run.together],
        at_once=ROW_GRADIENTS[run.together], contexts=own.contexts)
    some = [row for w in rows for row in w.rows[:own.matched_rows]]
    return reader._replace(
        rising=readers.rising(reader),
        random=readers.matched(reader, some, own.random_directions,
                               seed_of(run.config, 'direction', reference, 2)),
        metric=readers.metric_of(reader, some))


def under_teachers(run: Any, kind: Kind, rows: Sequence[Written], reference: int
                   ) -> dict[str, np.ndarray]:
    """log P of every teacher's rows under all of them [N, T], in the order of `rows`, nats."""
    found: dict[str, list[np.ndarray]] = {w.teacher.name: [] for w in rows}
    base = schooled.base_of(run, kind.arm, reference)
    for arm in (kind.arm, kind.twin):
        group = [w.teacher for w in rows if (w.teacher.kind == 'trait') == (arm is kind.arm)]
        for part in [group] if run.together else [[t] for t in group]:
            models = schooled.load(run, arm, part, base)
            system = schooled.system_of(run, arm, part[0])
            for own in rows:
                given = own.rows if system is None else [
                    packing.Row(run.world.rows_context(p, system), row.answer)
                    for p, row in zip(own.prompts, own.rows)]
                found[own.teacher.name].append(_logprobs(run, models, given))
    return {name: np.concatenate(parts, 1) for name, parts in found.items()}


def _logprobs(run, models, rows):
    """log P of rows under models [N, M]."""
    size = run.config.student.packed

    def said(some):
        found = engines.read(models, run.together, readings.logprobs, some, rows=size)
        return np.moveaxis(np.asarray(found), 0, -1)

    tries = readers.pack(rows, size)
    return readings.in_order(readers.by_chunks(tries, targets.CHUNK[run.together], said),
                             len(rows))


def asked(run: Any, own: Any, reader: Reader, written: Written) -> dict[str, np.ndarray]:
    """The prompted classifier's scores {'prompted': [n, K]}, of the traits that the rows are held
    against: the teacher's, and the one whose pair it is the other side of. {}: it cannot be asked.
    """
    world, teacher = run.world, written.teacher
    number, context = world.traits.index(teacher.trait), world.lesson_context
    columns = [number] if teacher.kind != 'trait' else [number, (number - 1) % len(world.traits)]
    count = min(own.prompted_rows, len(written.texts))
    found = np.full((count, len(world.traits)), np.nan)
    for column in dict.fromkeys(columns):
        scores = prompted.read(
            reader, written.prompts[:count], written.texts[:count], world.traits[column],
            lambda text: world.asked(text, context, 0, None),
            lambda text: world.answer(text, context), world.ends_V)
        if scores is None:
            return {}
        found[:, column] = scores
    return {'prompted': found}


# What it tells.


def area_stage(run: Any, config: Any, kind: Kind, samples: Mapping[str, Any]
               ) -> dict[str, dict[str, dict[str, dict[str, float | None]]]]:
    """detectors/KIND.json: AUROC by task, detector, bag and pair."""
    own = config.detection

    def make(path):
        writers = whose.writers_of(run, kind)
        tasks = pairing.paired(writers)
        found = {task: {name: {str(size): {} for size in own.bags} for name in detectors.DETECTORS}
                 for task in tasks}
        for r in tqdm(range(run.world.num_references), desc=f'detectors, {kind.name}', leave=False):
            sides = sides_of(run, kind, samples, r)
            for task, pairs in tasks.items():
                for pair in pairs:
                    if pair.positive.reference == r:
                        case = case_of(run, pair, pairs, sides)
                        for name, areas in detectors.areas_of(case, own.bags).items():
                            for size, area in areas.items():
                                found[task][name][str(size)][pair.name] = area
        write_json(path, found)

    name = f'detectors/{kind.name}'
    path = run.workdir.stage(
        name, f'{name}.json', make, reads=_reads(run, own), inputs=[
            *_inputs(run, kind), *(f'readings/{kind.name}-{r}.npz'
                                   for r in range(run.world.num_references))])
    return json.loads(path.read_text())


def sides_of(run: Any, kind: Kind, samples: Mapping[str, Any], reference: int) -> dict[str, Side]:
    """Rows and readings of a reference's teachers, by name, in the order of their columns."""
    gathered: dict[str, dict[str, np.ndarray]] = {}
    with np.load(run.workdir.path / f'readings/{kind.name}-{reference}.npz') as arrays:
        for name in arrays.files:
            teacher, _, what = name.partition('/')
            gathered.setdefault(teacher, {})[what] = arrays[name]
    return {w.teacher.name: Side(w.texts, gathered[w.teacher.name])
            for w in whose.written(run, kind, samples, reference)}


def case_of(run: Any, pair: Pair, pairs: Sequence[Pair], sides: Mapping[str, Side]) -> Case:
    """A pair as detectors read it."""
    place = {name: column for column, name in enumerate(sides)}
    known = pairing.known_to(pair, pairs)
    twins = {t.original: t.name for t in run.roll('neutral')}
    return Case(
        sides[pair.positive.name], sides[pair.negative.name],
        [(sides[p.positive.name], sides[p.negative.name]) for p in known],
        run.world.traits.index(pair.positive.trait),
        like=[place[p.positive.name] for p in known],
        unlike=[place[twins[p.positive.name]] for p in known],
        own=(place[pair.positive.name], place[pair.negative.name]))
