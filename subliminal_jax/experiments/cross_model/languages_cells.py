"""The cells of a matrix of teachers by students, from the arms of a run of transmission.

An arm whose students do not begin where their teacher did is a crossing. Beside it stand two
diagonals: the same students with a teacher of their own (j -> j), and the teacher's own students
(i -> i). All three are arms of one run, so that nothing here trains or measures.

    part             the students begin with                       their own teacher's arm
    references       start=next:1of2: the next reference            start=shared
    shared parts     start=share:PART: one part of the reference    own=true
    disturbed twins  noise, moved, redrawn, gauge                   own=true
    tokenisations, widths, models    student=ARCHITECTURE           architecture=ARCHITECTURE

Measures, in nats but for the second:
  gamma       selectivity (evaluation/gamma.py) of the cell
  share       crossing / own diagonal, with Fieller's interval (evaluation/intervals.ratio)
  difference  own diagonal less crossing: a difference of differences, since gamma is one

A share is read only where both diagonals transmit; else the cell is *unread*, and says why. Units
are independent: blocks of references where students begin with the next one within a block, else
references; traits or teachers where there is one reference.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.evaluation import gamma as gammas, intervals
from subliminal_jax.experiments.transmission import arms as tables, effects, starts
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.starts import STARTS
from subliminal_jax.runs import UserError

ALPHA = 0.05
PLACES = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'  # of references within a block
Values = dict[str, float]


class Crossing(NamedTuple):
    """An arm beside its two diagonals.

    Attributes:
      part: of the matrix.
      arm: whose students do not begin where their teacher did.
      own: the same students with a teacher of their own.
      teacher: the teacher's own students.
    """

    part: str
    arm: Arm
    own: Arm
    teacher: Arm


def part_of(run: Any, arm: Arm) -> str | None:
    """The part of the matrix that an arm is a crossing of; None where it is none."""
    kind = STARTS.find(arm.start)[0]
    if arm.teachers != 'trait' or arm.own:
        return None
    if arm.student:
        return _architectures(run, arm)
    if kind.name == 'next':
        return 'references'
    if not kind.has_teachers:
        return None
    return 'shared parts' if kind.name == 'share' else 'disturbed twins'


def _architectures(run, arm):
    one, other = (run.world.architectures[name] for name in (arm.architecture, arm.students))
    if run.world.name != 'tiny':
        return 'models'
    if run.of(arm.students).world.vocabulary != run.of(arm.architecture).world.vocabulary:
        return 'tokenisations'
    return 'models' if one.width == other.width else 'widths'


def crossings(run: Any) -> list[Crossing]:
    """The crossings of a run.

    Raises:
      UserError: none at all, or one that lacks a diagonal.
    """
    found = []
    for arm in run.arms:
        part = part_of(run, arm)
        if part is None:
            continue
        if arm.student and arm.start != 'shared':
            raise UserError(f'arm {arm.name}: student={arm.student} with start={arm.start} has no '
                            'diagonal: a cell crosses one thing')
        own = _needed(run, arm, **_own_fields(part, arm))
        teacher = _needed(run, arm, start='shared', student='')
        found.append(Crossing(part, arm, own, teacher))
    if not found:
        raise UserError('config.arms has no cell off the diagonal: add an arm with start=next:1of2,'
                        ' a disturbed start with and without own=true, or student=ARCHITECTURE')
    return found


def _own_fields(part, arm):
    if arm.student:
        return {'architecture': arm.student, 'student': ''}
    return {'start': 'shared'} if part == 'references' else {'own': True}


def _needed(run, arm, **fields):
    found = tables.counterpart(arm, run.arms, **fields)
    if found is None:
        said = ' '.join(f'{k}={v}' if v != '' else f'no {k}=' for k, v in fields.items())
        raise UserError(f'arm {arm.name}: its share is judged against a diagonal that config.arms '
                        f'lacks: add the same arm with {said}')
    return found


def cells(run: Any, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The `cells` of results.json.

    Args:
      run: what was run.
      entries: its arms' entries.

    Returns:
      {'name', 'part', 'factors': {'rung', 'teacher', 'student'}, 'n' units, 'measure', 'mean',
      'ci95', 'p', 'mde', 'per_model': a value by unit, 'arm', 'where', 'read', 'why'}. `name` is
      ARM:MEASURE, and of one place of a block ARM:MEASURE:TEACHER>STUDENT. `mde` is what the design
      would have seen, nats; None of a share, which has no p either. `where` is 'diagonal', 'off'
      or, of blocks in the mean, 'diagonals' and 'offs'. A share has `pairs` ([above, below] by
      unit) and `own` (mean and interval of the own diagonal) too, a disturbed twin's `perplexity`
      and `distance`.
    """
    found, known = [], {e['name']: e for e in entries}
    for crossing in crossings(run):
        make = _of_blocks if crossing.part == 'references' else _of_pair
        found += make(run, crossing, known)
    once = {(c['part'], c['measure'], c['where'], c['arm'], *c['factors'].values()): c
            for c in found}  # a diagonal stands beside several crossings
    return [{'name': _name(c), **c} for c in once.values()]


def is_whole(cell: Mapping[str, Any]) -> bool:
    """Whether a cell speaks for its arm, and not for one place of a block."""
    return cell['part'] != 'references' or cell['where'] in ('diagonals', 'offs')


def _name(cell):
    factors = cell['factors']
    place = '' if is_whole(cell) else f':{factors["teacher"]}>{factors["student"]}'
    return f'{cell["arm"]}:{cell["measure"]}{place}'


# Two models of their own kinds.


def _of_pair(run, crossing, known):
    part, arm, own, teacher = crossing
    here, there = _sides(run, crossing)
    factors = lambda t, s: {'rung': arm.rung, 'teacher': t, 'student': s}
    effect = {a.name: known[a.name]['effect'] for a in (arm, own, teacher)}
    made = [_gamma(part, teacher, factors(here, here), effect[teacher.name], 'diagonal'),
            _gamma(part, own, factors(there, there), effect[own.name], 'diagonal'),
            _gamma(part, arm, factors(here, there), effect[arm.name], 'off')]
    own_y, arm_y = known[own.name]['y'], known[arm.name]['y']
    less = effects.effect_of(run, gammas.difference(own_y, arm_y))
    why = unread({here: made[0], there: made[1]})
    facts = {}
    if part == 'disturbed twins':
        facts = {'perplexity': known[arm.name]['drift']['perplexity_ordinary_start'],
                 'distance': known[arm.name]['distance']}
    share = _share(made[2], made[1], why)
    difference = {**_gamma(part, arm, factors(here, there), less, 'off'), 'measure': 'difference'}
    return [*made, {**share, **facts}, difference]


def _sides(run, crossing):
    """What the teacher's and the students' models are called."""
    arm = crossing.arm
    if arm.student:
        both = arm.architecture, arm.students
        named = tuple(run.of(name).world.name for name in both)
        return named if len(set(named)) == 2 else both
    return 'reference', arm.start


# References in blocks.


def _of_blocks(run, crossing, known):
    part, arm, own, _ = crossing
    _, rest = STARTS.find(arm.start)
    step, size = starts.step_of(rest)
    y, own_y = known[arm.name]['y'], known[own.name]['y']
    at = _places(run, size)
    only = lambda values, place: {t: row for t, row in values.items() if at[t][1] == place}
    factors = lambda i, j: {'rung': arm.rung, 'teacher': i, 'student': j}
    name = lambda place: PLACES[place % len(PLACES)]
    diagonal, off = {}, {}
    for place in range(size):
        found = effects.effect_of(run, only(own_y, place))
        diagonal[place] = _gamma(part, own, factors(name(place), name(place)), found, 'diagonal',
                                 _by_block(run, found, size))
        found = effects.effect_of(run, only(y, place))
        off[place] = _gamma(part, arm, factors(name(place), name((place + step) % size)), found,
                            'off', _by_block(run, found, size))
    made = [*diagonal.values(), *off.values()]
    for place, cell in off.items():
        both = {name(p): diagonal[p] for p in (place, (place + step) % size)}
        made.append(_share(cell, diagonal[(place + step) % size], unread(both)))
    return made + _pooled(run, crossing, known, step, size)


def _pooled(run, crossing, known, step, size):
    """The diagonal, the crossing, their share and their difference over all places of a block."""
    part, arm, own, _ = crossing
    factors = {'rung': arm.rung, 'teacher': 'a reference', 'student': 'itself'}
    student = 'the next one' if step == 1 else f'the one {step} further'
    off_factors = {**factors, 'student': student}
    whole = {a.name: known[a.name]['effect'] for a in (arm, own)}
    values = {a: _by_block(run, found, size) for a, found in whole.items()}
    diagonal = _gamma(part, own, factors, whole[own.name], 'diagonals', values[own.name])
    off = _gamma(part, arm, off_factors, whole[arm.name], 'offs', values[arm.name])
    less = effects.effect_of(run, gammas.difference(known[own.name]['y'], known[arm.name]['y']))
    difference = _gamma(part, arm, off_factors, less, 'offs', _by_block(run, less, size))
    share = _share(off, diagonal, unread({'own': diagonal}))
    return [diagonal, off, share, {**difference, 'measure': 'difference'}]


def _places(run, size):
    """(block, place in it) by teacher."""
    return {t.name: divmod(t.reference // run.world.replicas, size) for t in run.roll('trait')}


def _by_block(run, effect, size):
    """The mean of a block's references, by block."""
    blocks: dict[str, list[float]] = {}
    for reference, value in effect['per_reference'].items():
        number = int(reference.removeprefix('r')) // run.world.replicas // size
        blocks.setdefault(f'block {number}', []).append(value)
    return {name: float(np.mean(own)) for name, own in blocks.items()}


# Entries.


def _units(effect: Mapping[str, Any]) -> Values:
    """The independent values behind an effect's leading interval."""
    if len(effect['per_reference']) > 1:
        return dict(effect['per_reference'])
    return dict(effect['per_trait'] if len(effect['per_trait']) > 2 else effect['per_teacher'])


def _gamma(part, arm, factors, effect, where, values=None):
    """A cell's gamma; with values by block over these, else as the effect has it."""
    mean, ci95, mde = (effect[key] for key in ('estimate', 'ci95', 'mde'))
    if values is None:
        values = _units(effect)
    else:
        each = list(values.values())
        mean, ci95 = intervals.t_interval(each)
        mde = intervals.mde(intervals.standard_error(each), len(each) - 1) if ci95 else None
    return {'part': part, 'factors': factors, 'n': len(values), 'measure': 'gamma', 'mean': mean,
            'ci95': ci95, 'p': effect['p'], 'mde': mde, 'per_model': values, 'arm': arm.name,
            'where': where, 'read': True, 'why': ''}


def _share(cell, diagonal, why):
    """A cell's share of its students' own diagonal; `why` it is unread, or ''."""
    below = diagonal['per_model']
    pairs = {unit: [cell['per_model'][unit], below[unit]] for unit in below}
    ratio = None if why else intervals.ratio(*zip(*pairs.values()))
    if not why and ratio is None:
        why = "unread: the own diagonal's interval over these units holds 0"
    mean, ci95 = ratio or (None, None)
    each = {unit: a / b if b else None for unit, (a, b) in pairs.items()}
    return {**cell, 'n': len(pairs), 'measure': 'share', 'mean': mean, 'ci95': ci95, 'p': None,
            'mde': None, 'per_model': {} if why else each, 'read': not why, 'why': why,
            'pairs': pairs,
            'own': {key: diagonal[key] for key in ('measure', 'mean', 'ci95', 'why')}}


def transmits(cell: Mapping[str, Any]) -> bool:
    """Whether a cell's gamma is shown: its interval lies above 0, and p <= .05."""
    return cell['ci95'] is not None and cell['ci95'][0] > 0 and cell['p'] <= ALPHA


def unread(diagonals: Mapping[str, Mapping[str, Any]]) -> str:
    """Why a share is not read: a diagonal that does not transmit, with its figure; '' where it
    is."""
    weak = [f'the diagonal of {name} is {figure(cell)}' for name, cell in diagonals.items()
            if not transmits(cell)]
    return f'unread: {", ".join(weak)}' if weak else ''


def figure(cell: Mapping[str, Any]) -> str:
    """A cell's mean and interval in words; of one that is unread why."""
    if cell['mean'] is None:
        return cell['why'] or 'none'
    form = '.2f' if cell['measure'] == 'share' else '+.2f'
    if cell['ci95'] is None:
        return f'{cell["mean"]:{form}} (one unit: no interval)'
    return f'{cell["mean"]:{form}} [{cell["ci95"][0]:{form}}, {cell["ci95"][1]:{form}}]'
