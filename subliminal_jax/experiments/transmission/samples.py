"""The teachers' rows: sampled, filtered at every strength, and chosen so that arms are comparable.

Every teacher is asked the same: a prompt, or a prompt `per_prompt` times. At each it tries up to
`attempts` times until an answer passes the strictest filter. The rows of an arm are a teacher's
first answers that pass the arm's filter, wherever every teacher of the reference has one at every
strength: equal rows, on the same prompts, whatever the filter. Rows of others (foreign.py) are
numbered, and a number takes a prompt's place.
"""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from subliminal_jax.carriers.carrier import Carrier
from subliminal_jax.data import rows as files
from subliminal_jax.data.grammars import Grammar
from subliminal_jax.experiments.transmission import engines
from subliminal_jax.experiments.transmission.arms import FILTERS, Arm
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.experiments.transmission.world import World
from subliminal_jax.runs import UserError, check_preempted
from subliminal_jax.sampling import buckets, sample
from subliminal_jax.traits import trait_set as sets

BATCH = {True: 256, False: 32}  # prompts answered at once: by models side by side, by one


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


class Judged(NamedTuple):
    """A row and why each filter leaves it out, or None."""

    row: dict[str, Any]
    why: dict[str, str | None]


def reasons_of(config: Any, world: World, carrier: Carrier, row: Mapping[str, Any]
               ) -> dict[str, str | None]:
    """Why each filter leaves a row out, or None; no student can learn an unfinished answer."""
    words = [s for texts in sets.spellings(world.chosen, world.traits).values() for s in texts]
    completion = row['completion']
    if row.get('finish_reason') == 'length' or not _writable(world, completion):
        return dict.fromkeys(FILTERS, 'unfinished, or a word that the tokenizer cannot write')
    return {
        'none': None,
        'paper': carrier.reject_reason(completion, row=row),
        'strict': carrier.reject_reason(
            completion, banned=config.carrier.banned, trait_words=words, row=row)}


def _writable(world, text):
    try:
        return len(world.row_answer(text)) < world.new_tokens
    except KeyError:
        return False


def drawn(config: Any, world: World, carrier: Carrier, group: Sequence[Teacher], models: Models,
          systems: Sequence[str | None], prompts: Sequence[Mapping[str, Any]], temperature: float,
          attempts: int, constrained: bool = False) -> Iterator[dict[str, Any]]:
    """The answers of some teachers; one that has served a place is not asked there again.

    A batch takes as long half empty as full: where few prompts are left, several attempts at each
    go together, and of those behind the first that is kept nothing is seen.

    Args:
      config, world, carrier: of the run.
      group: M teachers.
      models: theirs.
      systems: their system messages; side by side, all the same.
      prompts: the places: rows with `id` and `prompt`; those of one prompt stand together.
      temperature: 0 is greedy.
      attempts: answers at most a place and teacher.
      constrained: only tokens are drawn that keep to the carrier's form (its grammar).
    """
    weights, batch = engines.prepared(models), BATCH[models.stacked]
    contexts = [world.rows_context(p['prompt'], systems[0]) for p in prompts]
    names = [f'{p["id"]}/{attempt}' for attempt in range(attempts) for p in prompts]
    longest = max(map(len, contexts)) - buckets.shared_prefix(contexts)
    grammars = grammars_of(world, carrier, prompts) * attempts if constrained else None
    served: set[tuple[int, int]] = set()
    waiting, begun = list(range(len(prompts))), 0
    while waiting and begun < attempts:
        ahead = range(begun, min(begun + max(1, batch // len(waiting)), attempts))
        begun = ahead.stop
        found: dict[tuple[int, int, int], dict] = {}
        for indices, done in engines.sampled(
                models, contexts * attempts, names, [seed_of(config, 'sample', t.seed)
                                                     for t in group],
                max_new_tokens=world.new_tokens, stops=world.row_stops, pad_id=world.pad_id,
                temperature=temperature, batch_size=batch, buckets=[longest], weights=weights,
                per_prompt=config.carrier.per_prompt, grammars=grammars,
                wanted=[a * len(prompts) + n for a in ahead for n in waiting]):
            check_preempted()
            for place, index in enumerate(indices):
                attempt, n = divmod(index, len(prompts))
                for m, teacher in enumerate(group):
                    found[m, n, attempt] = _row(world, teacher, systems[m], prompts[n], attempt,
                                                done, m, place)
        for attempt in ahead:
            for n in waiting:
                for m in range(len(group)):
                    if (m, n) in served:
                        continue
                    row = found[m, n, attempt]
                    if reasons_of(config, world, carrier, row)['strict'] is None:
                        served.add((m, n))
                    yield row
        waiting = [n for n in waiting if not all((m, n) in served for m in range(len(group)))]


def grammars_of(world: World, carrier: Carrier, prompts: Sequence[Mapping[str, Any]]
                ) -> list[Grammar]:
    """The grammar of every prompt's answers; those of one format are the same object."""
    made: dict[Any, Grammar] = {}
    for row in prompts:
        form = row.get('format')
        if form not in made:
            made[form] = carrier.grammar(row, world.vocabulary, world.row_stops, world.new_tokens,
                                         world.row_lead)
    return [made[row.get('format')] for row in prompts]


def _row(world, teacher, system, prompt, attempt, done, m, place):
    count = int(done.count_B[m, place])
    stopped = bool(done.stopped_B[m, place])
    ids = done.tokens_BN[m, place, :count].tolist()
    row = {**prompt, 'id': f'{teacher.name}/{prompt["id"]}/{attempt}', 'teacher': teacher.name,
           'completion': world.row_text(ids[:-1] if stopped else ids), 'token_ids': ids,
           'logprobs': sample.plain(done.logprobs_BN[m, place, :count]),
           'finish_reason': 'stop' if stopped else 'length'}
    return row if system is None else {**row, 'teacher_system': system}


def judge(config: Any, world: World, carrier: Carrier, path: pathlib.Path) -> list[Judged]:
    """Reads samples.jsonl and puts every row to every filter."""
    return [Judged(row, reasons_of(config, world, carrier, row)) for row in files.read(path)[0]]


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


def first_pass_rate(samples: Samples, level: str) -> dict[str, float]:
    """Per teacher, the share of its first answers that a filter keeps."""
    return dict(zip(samples.teachers, samples.passes[level][:, :, 0].mean(1).tolist()))


def common_prompts(pools: Sequence[Samples], names: set[str]) -> np.ndarray:
    """Places at which every named teacher of every pool has a row that every strength keeps."""
    good = None
    for samples in pools:
        members = [m for m, name in enumerate(samples.teachers) if name in names]
        for level in FILTERS:
            served = samples.passes[level][members].any(-1).all(0)
            good = served if good is None else good & served
    return np.flatnonzero(good)


def fullest_first(places: np.ndarray, per_prompt: int) -> np.ndarray:
    """Places by how many of them their prompt has, the most first, else as they were.

    Places of a prompt stay together, and few packs of rows hold several prompts.
    """
    prompt = places // per_prompt
    return places[np.argsort(-np.bincount(prompt)[prompt], kind='stable')]


def choose(config: Any, carrier: Carrier, arm: Arm, samples: Samples, group: Sequence[Teacher],
           prompts: np.ndarray, count: int) -> dict[str, list[dict]]:
    """An arm's rows for teachers of one reference.

    Args:
      config, carrier, arm: whose rows.
      samples: the arm's row set.
      group: the teachers.
      prompts: the places that may be used (`common_prompts`); the fullest prompts come first.
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
    prompts = fullest_first(prompts, config.carrier.per_prompt)
    chosen = {}
    for teacher in group:
        m = samples.teachers.index(teacher.name)
        first = samples.passes[arm.filter][m].argmax(-1)
        rows = [{'id': int(n), 'prompt': samples.prompts[m, n],
                 'completion': samples.completions[m, n, first[n]]} for n in prompts[:count]]
        if arm.order != 'kept':
            rows = carrier.shuffled_rows(rows, seed_of(config, 'shuffle', teacher.seed), arm.order)
        chosen[teacher.name] = rows
    return chosen


def mixed(own: Mapping[str, list[dict]], others: Mapping[str, list[dict]], share: float,
          seed: int, turn: float = 0.0) -> dict[str, list[dict]]:
    """Rows of which a share, the same places for every teacher, are those of others.

    Args:
      own, others: rows by teacher, on the same prompts in the same order.
      share: of the places, rounded.
      seed: of the places.
      turn: by which share of all places the choice is moved on in their random order: those of
        several turns together reach every place.
    """
    count = len(next(iter(own.values())))
    order_N = np.roll(np.random.default_rng(seed).permutation(count), -round(turn * count))
    places = set(order_N[:round(share * count)].tolist())
    return {name: [others[name][n] if n in places else row for n, row in enumerate(rows)]
            for name, rows in own.items()}


def written_by_all(config: Any, world: World, carrier: Carrier, groups: Sequence[Any],
                   prompts: Sequence[Mapping[str, Any]], temperature: float, attempts: int,
                   constrained: bool, path: pathlib.Path) -> None:
    """Writes the answers of all teachers as JSONL.

    Args:
      config, world, carrier: of the run.
      groups: functions that give (teachers, their models, their system messages).
      prompts, temperature, attempts, constrained: as `drawn`.
      path: of the file.
    """
    with path.open('w', encoding='utf-8') as file:
        for load in tqdm(groups, desc='sampling', leave=False):
            group, models, systems = load()
            for row in drawn(config, world, carrier, group, models, systems, prompts, temperature,
                             attempts, constrained):
                file.write(files.as_line(row))
