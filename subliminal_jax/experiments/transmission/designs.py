"""How many teachers an effect asks for, and what they cost (`python -m launch.plan`)."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from subliminal_jax.evaluation import intervals, permutation
from subliminal_jax.experiments.transmission import arms as tables, costs, gate as gates
from subliminal_jax.experiments.transmission.kinds import TEACHER_KINDS
from subliminal_jax.experiments.transmission.traits import TRAITS
from subliminal_jax.runs import UserError, local_path, read_json
from subliminal_jax.runs.plan import Stage
from subliminal_jax.traits import trait_set as sets

Paced = Callable[[Sequence[Stage]], Sequence[Stage]]

MOST_SEEDS = 16  # teachers a trait
ALPHA = 0.05  # of evaluation.gamma.verdict, which asks for a permutation p besides an interval


class Design(NamedTuple):
    """Traits times teachers a trait, the smallest effect that they see, the least p they reach."""

    traits: int
    seeds: int
    mde: float
    least_p: float


def mde_of(traits: int, seeds: int, spread: float, power: float) -> float:
    """The smallest visible gamma of a balanced design with one reference.

    gamma is the mean of the teachers' own effects. From three traits on the interval is over the
    traits' means (evaluation/gamma.py), with traits - 1 degrees of freedom; with two it is over
    teachers. Traits that differ among themselves ask for more.
    """
    count = traits * seeds
    dof = traits - 1 if traits > 2 else count - traits
    return intervals.mde(spread / count**0.5, dof, power=power)


def least_p(traits: int, seeds: int) -> float:
    """The smallest p that any outcome can have: names are permuted over the teachers, and the one
    reference's assignments are the only ones (evaluation/permutation.py)."""
    count = permutation.assignments([seeds] * traits)
    return 1 / count if count <= permutation.EXACT_UP_TO else 1 / (1 + permutation.DRAWS)


def showable(most_traits: int, spread: float, power: float, most_seeds: int = MOST_SEEDS
             ) -> list[Design]:
    """Designs with two or more teachers a trait, some outcome of which would count as shown."""
    found = [Design(k, s, mde_of(k, s, spread, power), least_p(k, s))
             for k in range(2, most_traits + 1) for s in range(2, most_seeds + 1)]
    return [d for d in found if d.least_p <= ALPHA]


def smallest(mde: float, most_traits: int, spread: float, power: float,
             most_seeds: int = MOST_SEEDS) -> Design | None:
    """The design of fewest teachers that can show the effect and sees it; ties go to more traits.
    None: not even the largest does."""
    good = [d for d in showable(most_traits, spread, power, most_seeds) if d.mde <= mde]
    return min(good, key=lambda d: (d.traits * d.seeds, -d.traits), default=None)


def most_teachers(config: Any, chosen: sets.TraitSet) -> tuple[int, str]:
    """(the most teachers a trait that a run takes, why if they are fewer than MOST_SEEDS).

    Raises:
      UserError: prompted teachers, and fewer than two system prompts.
    """
    prompted = [a.name for a in tables.parse(config.arms)
                if TEACHER_KINDS.find(a.made)[0].prompted]
    count = len(chosen.systems)
    if not prompted or count >= MOST_SEEDS:
        return MOST_SEEDS, ''
    why = (f'the arm {prompted[0]} has prompted teachers, and {chosen.name} has {count} system '
           'prompts: add lines of kind "system" for more')
    if count < 2:
        raise UserError(f'a spread needs two teachers a trait; {why}')
    return count, why


def spread_of(run: str, arm: str) -> float:
    """The spread of gamma between teachers in a finished run.

    Raises:
      UserError: no such run or arm, or one without an error.
    """
    path = pathlib.Path(local_path('run', run)) / 'results.json'
    try:
        arms = {a['name']: a for a in read_json(path)['arms']}
    except (UserError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'--run={run}: {path} cannot be read as results of transmission: {error}'
                        ) from None
    if arm and arm not in arms:
        raise UserError(f'--arm={arm}: the run has {", ".join(arms)}')
    found = arms[arm or next(iter(arms))]['effect']
    if found is None or found['se_teachers'] is None:
        raise UserError(f'--run={run}: this arm has no spread between teachers; take a run with '
                        'two teachers a trait or more')
    return found['se_teachers'] * len(found['per_teacher'])**0.5


def gate_of(run: str) -> dict[str, Any]:
    """The gate's figures of a finished run, of its first set of rows.

    Raises:
      UserError: no such run, or one without a gate.
    """
    path = pathlib.Path(local_path('gate', run)) / 'results.json'
    try:
        return next(iter(read_json(path)['gate'].values()))
    except (UserError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise UserError(f'--gate={run}: {path} holds no gate ({error}): take a run of sampled '
                        'text with config.carrier.link_rows') from None


def by_gate(config: Any, run: str, signal: float, *, max_hours: float, rate: float,
            paced: Paced = list) -> str:
    """Rows, tokens and hours for a wanted signal to noise, from what a gate has read of rows.

    The arithmetic is gate.py's; teachers, traits, arms and the model are the config's.

    Args:
      config: the experiment.
      run: the folder of a finished run with a gate.
      signal: the mean effect over its standard error.
      max_hours, rate, paced: as `design`.

    Raises:
      UserError: rows that tell nothing, or no affordable number of them.
    """
    found = gate_of(run)
    chosen = TRAITS.find(config.trait)[0].load(config.trait_set)
    teachers = len(sets.of_run(chosen, config.split, config.traits, config.names)
                   ) * config.teacher.seeds
    needed = gates.rows_needed(signal, found['nats_set'], teachers)
    if needed == float('inf'):
        raise UserError(f"--gate={run}: within the carrier's set its rows tell no teacher from "
                        'one of another trait: no number of rows is enough; strengthen the '
                        'teachers (config.teacher.steps)')
    rows = max(1, math.ceil(needed))
    wanted = dataclasses.replace(config, student=dataclasses.replace(config.student, rows=rows))
    stages = paced(costs.plan(wanted))
    hours = sum(s.flops / s.efficiency for s in stages) / rate / 3600
    if hours > max_hours:
        raise UserError(
            f'a signal of {signal:g} takes {rows} rows a teacher and {hours:.1f} h at '
            f'{rate / 1e12:.2f} TFLOP/s, beyond --max_hours={max_hours:g}: take stronger teachers, '
            'a smaller signal, fewer arms, or faster hardware (--rate)')
    return '\n'.join([
        f'to see an effect of {signal:g} standard errors ({teachers} teachers; '
        f"{found['nats_set']:.3f} nats a row within the carrier's set, {found['tokens']:.1f} "
        f'tokens a row, of {run}):',
        f'  {rows} rows a teacher, {rows * found["tokens"]:.0f} tokens',
        f'  {rows / max(found["kept"], 1e-9):.0f} answers a teacher, of which the filter keeps '
        f'{found["kept"]:.0%}',
        f'  {hours:.2f} hours at {rate / 1e12:.2f} TFLOP/s',
        '(signal = .15 sqrt(2 x nats in all rows x teachers), fitted to runs kept in results/)'])


def design(config: Any, mde: float, *, spread: float, run: str = '', arm: str = '',
           max_hours: float, rate: float, paced: Paced = list) -> str:
    """The cheapest design for an effect, as text.

    Args:
      config: the experiment; its arms, rows and model are kept.
      mde: nats.
      spread: of gamma between teachers, nats; from `run` (and its `arm`) if that is given.
      max_hours: what can be afforded.
      rate: FLOP/s of one large matrix product; stages take longer by their efficiency.
      paced: stages -> the same with the efficiency that they have on the hardware planned for.

    Raises:
      UserError: no design sees the effect, or none that can be afforded or run.
    """
    source = 'assumed: --spread, or --run for a measured one'
    if run:
        spread, source = spread_of(run, arm), f'of {run}'
    chosen = TRAITS.find(config.trait)[0].load(config.trait_set)
    most = len(sets.traits(chosen, config.split))
    most_seeds, why = most_teachers(config, chosen)
    if not showable(most, spread, config.power, most_seeds):
        raise UserError(
            f'no design with up to {most} traits and {most_seeds} teachers each can show anything: '
            f'the least permutation p of its outcomes is {least_p(most, most_seeds):.2g}, and '
            f'p <= {ALPHA:g} is asked; add traits' + (f' ({why})' if why else ''))
    found = smallest(mde, most, spread, config.power, most_seeds)
    if found is None:
        least = mde_of(most, most_seeds, spread, config.power)
        raise UserError(
            f'no design with up to {most} traits and {most_seeds} teachers each sees gamma = '
            f'{mde:g} at a spread of {spread:g} nats: the smallest it could see is {least:.3f}; '
            'plan for a larger effect (more rows raise it), or add traits'
            + (f' ({why})' if why else ''))
    wanted = dataclasses.replace(
        config, traits=found.traits, names=(), teacher=dataclasses.replace(
            config.teacher, seeds=found.seeds))
    stages = paced(costs.plan(wanted))
    hours = sum(s.flops / s.efficiency for s in stages) / rate / 3600
    rows = max((a.rows or config.student.rows) for a in tables.parse(config.arms))
    if hours > max_hours:
        raise UserError(
            f'gamma = {mde:g} asks for {found.traits} traits x {found.seeds} teachers and '
            f'{hours:.1f} h at {rate / 1e12:.2f} TFLOP/s, beyond --max_hours={max_hours:g}: no '
            'affordable design could see it; plan for a larger effect, drop arms, or take faster '
            'hardware (--rate)')
    return '\n'.join([
        f'to see gamma >= {mde:g} nats with probability {config.power:g} '
        f'(spread between teachers {spread:.3f} nats, {source}):',
        f'  {found.traits} traits x {found.seeds} teachers = {found.traits * found.seeds} teachers '
        f'of each kind (mde {found.mde:.3f})',
        f'  least permutation p that it can reach: {found.least_p:.2g} (p <= {ALPHA:g} is asked)',
        *([f'  at most {most_seeds} teachers a trait: {why}'] if why else []),
        f'  {rows} rows a teacher, {len(config.arms)} arms, {config.student.seeds} student(s) a '
        'teacher',
        f'  {hours:.2f} hours at {rate / 1e12:.2f} TFLOP/s',
        f'  {max(s.peak_bytes for s in stages) / 1e9:.1f} GB of memory at most, about '
        f'{costs.disk_bytes(wanted) / 1e9:.1f} GB of disk for teachers '
        'and their logits',
        '(calculated from the traced and the compiled step; nothing was run)'])
