"""What arms say together: against neutral twins, other starts, geometry, order."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.evaluation import gamma as gammas, intervals
from subliminal_jax.experiments.transmission import (
    arms as tables,
    effects,
    paired_contrasts,
    starts,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.defences import twin_of
from subliminal_jax.experiments.transmission.kinds import TEACHER_KINDS
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.token_orders import selection_of

Y = dict[str, dict[str, float]]
RUNGS = {'sft': 'Sampled, filtered text', 'dpo': 'Preference pairs', 'kl_carrier': 'Carrier KL',
         'kl': 'Positive control, full KL', 'kl_top': 'Positive control, full KL (a lower bound)'}
SELECTED = 'Selected text, written by the reference'
IDLE = "bounds nothing: the control's students did not learn their rows"
ORIENTATION = ('an orientation, no bound: nothing is trained for it, and it can be more than what '
               'trained students show')
FREE = {'objective', 'answers', 'rows', 'made', 'trainable', 'carrier', 'learning_rate', 'passes'}


def is_main(arm: Arm, arms: Sequence[Arm] = ()) -> bool:
    """Whether an arm tests transmission itself: trait teachers, the shared start, rows as written.

    How its teachers are made (not by an attacker) and what its students train may be any. A
    stricter filter than the published one is as good, where no arm of a run has the same rows under
    that.
    """
    free = FREE | ({'filter'} if arm.filter == 'strict' and arms and tables.counterpart(
        arm, arms, filter='paper') is None else set())
    return (arm.objective in RUNGS and arm.teachers == 'trait' and tables.honest(arm) == arm
            and set(tables.changed_fields(arm)) <= free)


def named(arm: Arm) -> str:
    """A main arm, in a sentence."""
    made = TEACHER_KINDS.find(arm.made)[0].words
    rung = RUNGS[arm.objective]
    if arm.answers == 'selected':
        rung = {'sft': SELECTED}.get(arm.objective, f'{rung} on selected text')
    return f'{rung}, {made} ({arm.name})'


def contrasts(run: Any, entries: Sequence[Mapping[str, Any]], y: Mapping[str, Y],
              alone: Mapping[str, Y]) -> list[dict[str, Any]]:
    """All contrasts of a run.

    Args:
      run: with arms and trait.
      entries: the arms' entries.
      y: by arm.
      alone: what the output matrix alone predicts, by set of teachers.
    """
    if run.trait.estimator != 'gamma':
        return paired_contrasts.contrasts(run, y)
    found = []
    by_name = {e['name']: e for e in entries}
    for arm in run.arms:
        if arm.teachers == 'trait':
            found += _less_its_twins(run, arm, y)
        if (arm.teachers, arm.start, arm.matrix, arm.order) == ('trait', 'shared', 'own', 'kept'):
            found += _against_neutral(run, arm, y)
            found += _less(run, arm, by_name, y, alone)
    return found


def twins_name(arm: str) -> str:
    """The contrast of an arm's selectivity with that of its neutral twins' students."""
    return f'{arm} less its twins'


def neutral_name(arm: str) -> str:
    """The contrast of the own trait's rise with that of the neutral students."""
    return f'{arm} against neutral'


def _less_its_twins(run, arm, y):
    """The headline: gamma of the trait teachers' students less that of their twins', in pairs.
    Whatever a teacher of the same dose does to the named traits alike is off it."""
    twin = tables.counterpart(arm, run.arms, teachers='neutral')
    if twin is None:
        return []
    twins = effects.as_twins(run.roll('neutral'), y[twin.name])
    effect = effects.effect_of(run, gammas.difference(y[arm.name], twins))
    return [{'name': twins_name(arm.name), 'arm': arm.name, 'rung': arm.rung,
             'what': "selectivity less that of the neutral twins' students, in pairs",
             'geometry': False, 'bounds': True, **effect,
             'verdict': effects.verdict_of(run, effect, " beyond the neutral twins'")}]


def _against_neutral(run, arm, y):
    twin, other, other_twin = (tables.counterpart(arm, run.arms, **changes) for changes in (
        {'teachers': 'neutral'}, {'start': 'other'}, {'teachers': 'neutral', 'start': 'other'}))
    found = []

    def against(name, what, own, twins):
        found.append({'name': name, 'arm': arm.name, 'rung': arm.rung, 'what': what,
                      **neutral_contrast(run, arm, own, twins)})

    if twin:
        against(neutral_name(arm.name),
                "the own trait's rise beyond that of the neutral twins' students",
                y[arm.name], y[twin.name])
    if twin and other and other_twin:
        against(f'{arm.name} against neutral, shared less other start',
                '{trait, neutral} x {shared, other}: a difference of differences',
                gammas.difference(y[arm.name], y[other.name]),
                gammas.difference(y[twin.name], y[other_twin.name]))
    return found


def neutral_contrast(run: Any, arm: Arm, y: Y, twins: Y) -> dict[str, Any]:
    """How much more the own trait rose than in students of neutral teachers, the independent ones.

    Prompted neutral teachers of one number are the same model behind the same system message: their
    students count as one.
    """
    neutral = run.roll('neutral')
    trait, reference = effects.names([*run.roll('trait'), *neutral])
    if TEACHER_KINDS.find(arm.made)[0].prompted:
        groups: dict[tuple, list] = {}
        for teacher in neutral:
            groups.setdefault((teacher.reference, teacher.number), []).append(twins[teacher.name])
        twins = {f'prompt-{r}-{n}': {t: float(np.mean([row[t] for row in rows])) for t in rows[0]}
                 for (r, n), rows in groups.items()}
        reference |= {f'prompt-{r}-{n}': f'r{r}' for r, n in groups}
    trait |= dict.fromkeys(twins)
    everyone = [*y, *twins]
    return gammas.against_neutral({**y, **twins}, {n: trait[n] for n in everyone},
                                  {n: reference[n] for n in everyone}, power=run.config.power)


def _less(run, arm, by_name, y, alone):
    """gamma less that of other arms, and less what the output matrix alone predicts."""
    found = []

    def less(name, what, other, geometry, why=None):
        effect = effects.effect_of(run, gammas.difference(y[arm.name], other))
        found.append({'name': f'{arm.name} less {name}', 'arm': arm.name, 'rung': arm.rung,
                      'what': f'selectivity less {what}', 'geometry': geometry,
                      'bounds': why is None, 'why': why, **effect,
                      'verdict': effects.verdict_of(run, effect)})

    if OBJECTIVES[arm.objective].within_set and tables.teacher_set(arm) in alone:
        less('the matrix', 'what the output matrix alone predicts',
             alone[tables.teacher_set(arm)], True, ORIENTATION)
    for partner, what in _partners(run, arm):
        geometry = starts.geometry_bounds(partner.start) or partner.matrix == 'replaced'
        taught = not geometry or learned(by_name[partner.name], by_name[arm.name])
        less(partner.name, what, y[partner.name], geometry, None if taught else IDLE)
    return found


def _partners(run, arm):
    """Arms that differ from `arm` in a control, with what the difference leaves out."""
    for changes, what in (
            ({'start': 'other'}, 'that of the other start'),
            ({'matrix': 'replaced'},
             'that with random carrier rows in the matrix: what its geometry carries'),
            ({'order': 'within'}, 'that of parts shuffled within an answer'),
            ({'order': 'across'}, 'that of parts shuffled across answers')):
        partner = tables.counterpart(arm, run.arms, **changes)
        if partner:
            yield partner, what
    for partner in run.arms:
        if starts.geometry_bounds(partner.start) and _alike(arm, partner):
            yield partner, 'what embedding and output matrix alone carry'
        if selects_less(arm, partner):
            yield partner, f'that with tokens={partner.tokens}'
        if mixes_less(run, arm, partner):
            yield partner, f'that with mix={partner.mix:g} at {run.rows(partner)} rows'
        if run.config.student.held_out and (how := defends(arm, partner)):
            yield partner, how


def selects_less(arm: Arm, partner: Arm) -> bool:
    """Whether a partner leaves out tokens that an arm learns from: of all, or in place of as many
    random ones."""
    if partner.tokens == 'all' or partner.tokens == arm.tokens:
        return False
    selection = selection_of(partner.tokens)
    alike = ('all', f'{selection.way}:random:{selection.share:g}')
    return arm.tokens in alike and _same_but(arm, partner, 'tokens')


def defends(arm: Arm, partner: Arm) -> str:
    """What a partner does against transmission, in words, where an arm does nothing or its random
    twin's; '' of no such partner. Of an attacked arm it is the one with rows as they come."""
    for field, twins in (
            ('defence', ('none', partner.defence != 'none' and twin_of(partner.defence))),
            ('paraphrase', ('none', f'random:{partner.paraphrase.partition(":")[2]}'))):
        value = getattr(partner, field)
        if value not in ('none', getattr(arm, field)) and getattr(arm, field) in twins \
                and _same_but(arm, partner, field):
            return f'that with {field}={value}'
    if partner.temperature > arm.temperature and _same_but(arm, partner, 'temperature'):
        return f'that of answers at temperature {partner.temperature:g}'
    if arm.trainable == 'all' != partner.trainable and _same_but(
            arm, partner, 'trainable', 'learning_rate'):
        return f'that with trainable={partner.trainable}'
    attacked = arm.picked.startswith('attack') and not partner.picked.startswith('attack')
    if attacked and _same_but(arm, partner, 'picked'):
        return f'that with picked={partner.picked}: what the attacker gains'
    if tables.against(arm) and not tables.against(partner) and _same_but(arm, partner, 'made'):
        return f'that of teachers made={partner.made}: what the attacker gains'
    return ''


def mixes_less(run: Any, arm: Arm, partner: Arm) -> bool:
    """Whether a partner has rows of twins mixed into the arm's: in place of some of them, or added
    to as many."""
    own = lambda a: round(run.rows(a) * (1 - a.mix))
    return (partner.mix > arm.mix and _same_but(arm, partner, 'mix', 'rows')
            and (run.rows(partner) == run.rows(arm) or own(partner) == own(arm)))


def _same_but(arm, partner, *fields):
    loose = lambda a: dataclasses.replace(a, name='', **{f: getattr(arm, f) for f in fields})
    return loose(arm) == loose(partner)


def _alike(arm: Arm, partner: Arm) -> bool:
    """Whether an arm is another one with a body of its own; how much of that is trained may differ
    too."""
    loose = lambda a: dataclasses.replace(a, name='', start='', trainable='', learning_rate=None)
    same = dataclasses.replace(partner, name='', start=arm.start) == dataclasses.replace(
        arm, name='')
    return same or (partner.start == 'body' and loose(arm) == loose(partner))


def learned(control: Mapping[str, Any], main: Mapping[str, Any]) -> bool:
    """Whether a control's students came to match their teachers at all: a control that did not
    bounds nothing. Its KL has to fall, and to end below where the main arm's began."""
    if control['kl_floor'] is None:
        return True
    return control['kl_end'] < min(control['kl_start'], main['kl_start'])


def disturbed(arms: Sequence[Arm], entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Disturbed starts: the effect from the original teacher as a share of that from its own.

    The share has Fieller's interval, paired by teacher; there is none where its own teacher's
    effect is not told from 0.
    """
    by_name = {e['name']: e for e in entries}
    found = []
    for arm in arms:
        entry = by_name[arm.name]
        kind = arm.start.partition(':')[0]
        if arm.own or kind not in ('noise', 'moved', 'redrawn') or not entry['effect']:
            continue
        mine = tables.counterpart(arm, arms, own=True)
        twin = by_name[mine.name] if mine and by_name[mine.name]['effect'] else None
        ratio = None
        if twin:
            effects = [e['effect']['per_teacher'] for e in (entry, twin)]
            ratio = intervals.ratio(*([own[name] for name in effects[0]] for own in effects))
        share, ci95 = ratio or (None, None)
        found.append({
            'start': arm.start, 'arm': arm.name, 'effect': entry['effect']['estimate'],
            'ci95': entry['effect']['ci95'],
            'effect_own': twin['effect']['estimate'] if twin else None,
            'ci95_own': twin['effect']['ci95'] if twin else None,
            'share': share, 'share_ci95': ci95,
            'perplexity': entry['drift']['perplexity_ordinary_start'],
            'distance': entry['distance']})
    return found
