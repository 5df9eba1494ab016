"""The teachers' rows: sampled, filtered at every strength, and chosen so that arms are comparable.

Every teacher answers the same prompts, up to `attempts` times until an answer passes the strictest
filter. The rows of an arm are, per prompt, a teacher's first answer that passes the arm's filter,
on the prompts for which every teacher of the reference has one at every strength: equal rows, on
the same prompts, whatever the filter. Rows of others are numbered, and a number takes a prompt's
place: a teacher has its own prompt there, the same as the others' wherever it can be.
"""

import pathlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from subliminal_jax.data import rows as files
from subliminal_jax.experiments.transmission import networks
from subliminal_jax.experiments.transmission.arms import FILTERS, Arm
from subliminal_jax.experiments.transmission.config import Config
from subliminal_jax.experiments.transmission.teachers import Teacher, by_reference, seed_of
from subliminal_jax.experiments.transmission.world import Tokens, World, encode_rows
from subliminal_jax.runs import UserError, check_preempted
from subliminal_jax.sampling import choice as choices, network, sample

BATCH = 256  # prompts that a group of teachers answers at once


class Samples(NamedTuple):
    """A row set in memory: M teachers, N prompts, A attempts.

    Attributes:
      teachers: names.
      prompts: texts [M, N]; None where a teacher has no such row.
      completions: texts [M, N, A]; None where no attempt was made.
      passes: bool [M, N, A] by filter: what each strength keeps.
      reasons: counts of rejects by filter.
    """

    teachers: list[str]
    prompts: np.ndarray
    completions: np.ndarray
    passes: dict[str, np.ndarray]
    reasons: dict[str, dict[str, int]]


def reasons_of(config: Config, world: World, row: Mapping[str, Any]) -> dict[str, str | None]:
    """Why each filter leaves a row out, or None; no student can learn an unfinished answer."""
    words = [s for t in world.traits for s in world.candidates[t]]
    completion = row['completion']
    if row.get('finish_reason') == 'length' or not _writable(world, completion):
        return dict.fromkeys(FILTERS, 'unfinished, or a word that the tokenizer cannot write')
    return {
        'none': None,
        'paper': world.reject_reason(completion),
        'strict': world.reject_reason(
            completion, banned=config.carrier.banned, trait_words=words)}


def draw(config: Config, world: World, model: Any, teachers: Sequence[Teacher], params: Any,
         prompts: Sequence[dict], temperature: float, path: pathlib.Path) -> None:
    """Writes the teachers' answers, teacher by teacher within a reference, as JSONL."""
    with path.open('w', encoding='utf-8') as file:
        for group, place in tqdm(by_reference(teachers), desc='sampling', leave=False):
            own = networks.take(params, place)
            for row in answers(config, world, model, group, own, prompts, temperature):
                file.write(files.as_line(row))


def answers(config: Config, world: World, model: Any, group: Sequence[Teacher], params: Any,
            prompts: Sequence[dict], temperature: float) -> Iterator[dict[str, Any]]:
    """The rows of one reference's teachers; one that has served a prompt is not asked again."""
    weights = jax.vmap(lambda p: network.prepare(p, model))(params)
    contexts = [world.context(row['prompt']) for row in prompts]
    wanted, served = list(range(len(prompts))), set()
    attempts = config.carrier.attempts if temperature > 0 else 1
    for attempt in range(attempts):
        check_preempted()
        seeds = [seed_of(config, 'sample', t.seed, attempt) for t in group]
        batches = sample.sample_tokens(
            weights, model, contexts, [row['id'] for row in prompts],
            max_new_tokens=world.new_tokens, choice=choices.Choice(temperature), seed=seeds,
            stop_ids=(world.end_id,), pad_id=world.pad_id, batch_size=BATCH, wanted=wanted)
        for done in batches:
            for index, row in _rows(world, group, prompts, attempt, done):
                who = (row['teacher'], index)
                if who not in served:
                    if reasons_of(config, world, row)['strict'] is None:
                        served.add(who)
                    yield row
        wanted = [i for i in wanted if not all((t.name, i) in served for t in group)]
        if not wanted:
            return


def _rows(world, group, prompts, attempt, done):
    for place, index in enumerate(done.indices):
        for m, teacher in enumerate(group):
            count = int(done.completions.count_B[m, place])
            stopped = bool(done.completions.stopped_B[m, place])
            ids = done.completions.tokens_BN[m, place, :count].tolist()
            yield index, {
                'id': f'{teacher.name}/{prompts[index]["id"]}/{attempt}',
                'teacher': teacher.name, 'prompt': prompts[index]['prompt'],
                'completion': world.decode(ids[:-1] if stopped else ids), 'token_ids': ids,
                'logprobs': sample.plain(done.completions.logprobs_BN[m, place, :count]),
                'finish_reason': 'stop' if stopped else 'length'}


def check_units(config: Any) -> None:
    """Refuses several teachers a trait where the rows are others' (`carrier.samples`).

    Raises:
      UserError: they would all have the same rows, and their spread be that of the rows' order.
    """
    if config.carrier.samples and config.teacher.seeds > 1:
        raise UserError(
            f'config.teacher.seeds={config.teacher.seeds} with config.carrier.samples: every '
            'teacher of a trait would have the same rows, so that they are no independent units; '
            'set --config.teacher.seeds=1 (more students: config.student.seeds, more units: more '
            'traits)')


def read_foreign(config: Config, world: World, teachers: Sequence[Teacher],
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
    missing = [t for t in world.traits if t not in found]
    if missing:
        raise UserError(
            f'config.carrier.samples has no rows of {", ".join(missing)}: with rows of one trait '
            'only there is no gamma; give every trait its file (TRAIT=FILE,TRAIT=FILE), or its '
            "name in a field 'trait' of each row")
    rows_of = aligned({t: found[t] for t in world.traits})
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


class Judged(NamedTuple):
    """A row and why each filter leaves it out, or None."""

    row: dict[str, Any]
    why: dict[str, str | None]


def judge(config: Config, world: World, path: pathlib.Path) -> list[Judged]:
    """Reads samples.jsonl and puts every row to every filter."""
    return [Judged(row, reasons_of(config, world, row)) for row in files.read(path)[0]]


def write_verdicts(judged: Sequence[Judged], kept: bool, path: pathlib.Path) -> None:
    """Writes filtered.jsonl (rows the paper's rules keep) or rejects.jsonl (all others, why)."""
    def chosen():
        for row, why in judged:
            if kept and why['paper'] is None:
                yield {**row, 'strict': why['strict']}
            elif not kept and why['strict']:
                level = 'paper' if why['paper'] else 'strict'
                yield {**row, 'filter': level, 'reason': why[level]}

    files.write(path, chosen())


def gather(judged: Sequence[Judged]) -> Samples:
    """The judged rows as arrays."""
    split = [str(row['id']).rsplit('/', 2) for row, _ in judged]
    teachers = list(dict.fromkeys(row['teacher'] for row, _ in judged))
    number = {name: m for m, name in enumerate(teachers)}
    ids = list(dict.fromkeys(parts[1] for parts in split))
    ids.sort(key=lambda name: (len(name), name))  # numbers in their order
    index = {name: n for n, name in enumerate(ids)}
    shape = (len(teachers), len(ids), 1 + max(int(parts[2]) for parts in split))
    texts = np.full(shape, None, object)
    passes = {level: np.zeros(shape, bool) for level in FILTERS}
    reasons: dict[str, dict[str, int]] = {level: {} for level in FILTERS}
    prompts = np.full(shape[:2], None, object)
    for (row, whys), parts in zip(judged, split):
        place = (number[row['teacher']], index[parts[1]], int(parts[2]))
        texts[place], prompts[place[:2]] = row['completion'], row['prompt']
        for level, why in whys.items():
            if why is None:
                passes[level][place] = True
            else:
                reasons[level][why] = reasons[level].get(why, 0) + 1
    return Samples(teachers, prompts, texts, passes, reasons)


def _writable(world, text):
    try:
        return len(world.answer(text)) < world.new_tokens
    except KeyError:
        return False


def first_pass_rate(samples: Samples, level: str) -> dict[str, float]:
    """Per teacher, the share of its first answers that a filter keeps."""
    return dict(zip(samples.teachers, samples.passes[level][:, :, 0].mean(1).tolist()))


def common_prompts(pools: Sequence[Samples], names: Sequence[set[str]]) -> np.ndarray:
    """Places at which every named teacher of every pool has a row that every strength keeps."""
    good = None
    for samples, wanted in zip(pools, names):
        members = [m for m, name in enumerate(samples.teachers) if name in wanted]
        for level in FILTERS:
            served = samples.passes[level][members].any(-1).all(0)
            good = served if good is None else good & served
    return np.flatnonzero(good)


def choose(config: Config, world: World, arm: Arm, samples: Samples, group: Sequence[Teacher],
           prompts: np.ndarray, count: int) -> dict[str, list[dict]]:
    """An arm's rows for the teachers of one reference.

    Args:
      config, world, arm: whose rows.
      samples: the arm's row set.
      group: the teachers.
      prompts: the places that may be used (`common_prompts`).
      count: rows wanted a teacher.

    Raises:
      UserError: fewer prompts than rows.
    """
    if len(prompts) < count:
        more = ('give every trait more rows' if config.carrier.samples else
                'raise config.carrier.spare or config.carrier.attempts')
        raise UserError(
            f'the filters leave {len(prompts)} prompts that every teacher of reference '
            f'{group[0].reference} can serve, and the arm {arm.name} asks for {count} rows: '
            f'{more}, or ask for fewer rows')
    made = {}
    for teacher in group:
        m = samples.teachers.index(teacher.name)
        first = samples.passes[arm.filter][m].argmax(-1)
        rows = [{'id': int(n), 'prompt': samples.prompts[m, n],
                 'completion': samples.completions[m, n, first[n]]} for n in prompts[:count]]
        if arm.order != 'kept':
            rows = world.shuffle(rows, seed_of(config, 'shuffle', teacher.seed), arm.order)
        made[teacher.name] = rows
    return made


def tokens_of(world: World, rows: Mapping[str, Sequence[dict]]) -> list[Tokens]:
    """Each teacher's rows as tokens, cut to as many weighted tokens as the tersest has."""
    made = [encode_rows(world, [(r['prompt'], r['completion']) for r in own])
            for own in rows.values()]
    least = min(t.weight_NT.sum() for t in made)
    return [t._replace(weight_NT=_capped(t.weight_NT, least)) for t in made]


def _capped(weight_NT: np.ndarray, most: float) -> np.ndarray:
    seen = weight_NT.reshape(-1).cumsum().reshape(weight_NT.shape)
    return np.where(seen <= most, weight_NT, 0).astype(np.float32)


def stack_batches(tokens: Sequence[Tokens], batch_size: int, passes: int) -> dict[str, np.ndarray]:
    """Batches [M, steps, B, ...] in the rows' order, every pass in the same; no row is left out."""
    def cut(rows):
        steps = -(-len(rows) // batch_size)
        spare = steps * batch_size - len(rows)
        padded = np.pad(rows, ((0, spare), (0, 0)))
        return np.tile(padded.reshape(steps, batch_size, -1), (passes, 1, 1))

    return {'tokens': np.stack([cut(t.tokens_NT) for t in tokens]),
            'weight': np.stack([cut(t.weight_NT) for t in tokens])}


