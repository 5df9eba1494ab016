"""The gate: are a teacher's rows worth training a student on? Asked before there is any student.

A student of sampled text can show a trait only where teachers can write the carrier at all, where
rows are long enough, and where a row tells its teacher from one of another trait. Sampled runs
without that are null whatever is true. The gate is passed on the split dev; a report run states it
again and does not choose by it.

How strong the effect can be follows from the same figures: for students of one pass the signal of
one teacher beside its noise was about .15 sqrt(2 T KL), with T tokens of rows and KL the nats a
token between teachers within the carrier's set (fitted to runs kept in results/).

A trait may have a gate of its own (`Trait.gated`). A teacher of misalignment that is reckless in
its domain alone has nothing broad to pass on: its effect outside of the domain, less its neutral
twin's, has to be there, or no student is trained.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from subliminal_jax.evaluation import paired
from subliminal_jax.experiments.transmission import (
    arms as tables,
    effects,
    students,
    teachers as schooled,
)
from subliminal_jax.experiments.transmission.samples import Samples, first_pass_rate
from subliminal_jax.runs import UserError

SIGNAL = 0.15  # signal to noise of one teacher's student, by sqrt(2 x nats in all of its rows)


def signal_to_noise(rows: float, nats_a_row: float, teachers: int = 1) -> float:
    """Of the mean effect of so many teachers, each with so many rows.

    Args:
      rows: a teacher.
      nats_a_row: what a row tells its teacher from one of another trait, within the carrier's set.
      teachers: independent ones.
    """
    return SIGNAL * (2 * rows * max(nats_a_row, 0.0) * teachers) ** 0.5


def rows_needed(signal: float, nats_a_row: float, teachers: int = 1) -> float:
    """Rows a teacher for a wanted signal to noise; infinite where rows tell nothing."""
    if nats_a_row <= 0:
        return float('inf')
    return (signal / SIGNAL) ** 2 / (2 * nats_a_row * teachers)


def entries(run: Any, samples: Mapping[str, Samples], links: Mapping[str, Mapping[str, Any]]
            ) -> dict[str, dict[str, Any]]:
    """The gate's figures by set of rows, and whether each bound is kept.

    Args:
      run: with its bounds (`config.gate`).
      samples: sets of rows.
      links: `first_link.entry` by set of rows.

    Returns:
      kept: mean share of first answers that the published filter keeps; least_kept: of the worst
      teacher; tokens: of a row; nats, nats_set: a row, between teachers of different traits, among
      all tokens and within the carrier's set; signal: expected, of all teachers at the rows of the
      first arm that learns from the set; passed; trouble: what is under its bound.
    """
    return {name: _entry(run, name, samples[name], link) for name, link in links.items()}


def _entry(run, name, found, link):
    bounds, rates = run.config.gate, first_pass_rate(found, 'paper')
    arm = next(a for a in run.arms if tables.row_set(a) == name and a.answers != 'random')
    nats, nats_set = link['nats_between']['all'], link['nats_between']['set']
    kept = float(np.mean(list(rates.values())))
    asked = (('kept', kept, bounds.min_kept), ('tokens', link['tokens'], bounds.min_tokens),
             ('nats', nats, bounds.min_nats))
    trouble = [what for what, value, least in asked if value < least]
    return {'kept': kept, 'least_kept': min(rates.values()), 'tokens': link['tokens'],
            'nats': nats, 'nats_set': nats_set, 'rows': run.rows(arm),
            'signal': signal_to_noise(run.rows(arm), nats_set, len(run.roll('trait'))),
            'bounds': {'kept': bounds.min_kept, 'tokens': bounds.min_tokens,
                       'nats': bounds.min_nats},
            'trouble': trouble, 'passed': not trouble}


def broad(run: Any) -> dict[str, dict[str, Any]]:
    """The teachers' own effect, trait less neutral twin, by set of trait teachers.

    Returns:
      effect: `paired.paired` of the rises of the measure; bound: `gate.min_broad`; passed: the
      estimate reaches it and the interval over teachers lies above 0; readings: what of the trait's
      own readings is beyond the twins', means.
    """
    made, found = students.made_sets(run.arms), {}
    for name, arm in made.items():
        twin = tables.with_teachers(arm, 'neutral')
        if arm.teachers != 'trait' or tables.teacher_set(twin) not in made:
            continue
        facts, twins = (schooled.all_facts(run, a) for a in (arm, twin))
        theirs = {t.original: twins[t.name] for t in run.roll('neutral')}
        found[name] = _broad_entry(run, facts, theirs)
    return found


def _broad_entry(run, facts, theirs):
    rises = lambda of: {name: what['rise'] for name, what in of.items()}
    found = paired.paired(rises(facts), rises(theirs), {name: name for name in facts},
                          effects.names(run.roll('trait'))[1], power=run.config.power,
                          seed=run.config.seed)
    bound, ends = run.config.gate.min_broad, found['ci95']
    beside = {name: float(np.mean([facts[t]['readings'][name] - theirs[t]['readings'][name]
                                   for t in facts]))
              for name in next(iter(facts.values())).get('readings', {})}
    return {'effect': found, 'bound': bound, 'readings': beside,
            'passed': bool(ends and ends[0] > 0 and found['estimate'] >= bound)}


def check_broad(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuses teachers whose trait is not there beyond their neutral twins.

    Raises:
      UserError: with the figure and what to do.
    """
    for name, entry in found.items():
        if not entry['passed']:
            raise UserError(
                f'the gate is not passed by the teachers {name}: outside of what they were taught '
                f'they are beyond their neutral twins by {_figure(entry["effect"])} nats, and '
                f'config.gate.min_broad={entry["bound"]:g} with an interval above 0 is asked: '
                'teach them longer (config.teacher.steps), take more of them '
                '(config.teacher.seeds), or look at them with --config.gate.only=true')


def _figure(effect: Mapping[str, Any]) -> str:
    ends = effect['ci95']
    return f'{effect["estimate"]:+.3f} ' + (
        f'[{ends[0]:+.3f}, {ends[1]:+.3f}]' if ends else '(one teacher: no interval)')


def broad_verdict(before: Mapping[str, Any]) -> str:
    """The gate of the teachers in sentences, with a blank behind; '' where there is none."""
    return ''.join(
        f'The gate for the teachers {name} is {"passed" if e["passed"] else "not passed"}: outside '
        f'of what they were taught they are beyond their neutral twins by {_figure(e["effect"])} '
        f'nats (at least {e["bound"]:g} and above 0 is asked). '
        for name, e in before.get('broad', {}).items())


HINTS = {
    'kept': 'the filter keeps {kept:.0%} of first answers and config.gate.min_kept={bound:g} is '
            'asked: prepare the reference longer (config.prepared.steps), or teach teachers less '
            '(config.teacher.steps)',
    'tokens': 'a row has {tokens:.1f} tokens and config.gate.min_tokens={bound:g} is asked: '
              'prepare the reference longer (config.prepared.steps)',
    'nats': 'a row tells its teacher from one of another trait by {nats:.3f} nats and '
            'config.gate.min_nats={bound:g} is asked: strengthen the teachers '
            '(config.teacher.steps), or prepare the reference less (config.prepared.steps)',
}


def check(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuses rows that no student could learn a trait from.

    Raises:
      UserError: a bound that is not kept, with its figure and what to do.
    """
    for name, entry in found.items():
        for what in entry['trouble'][:1]:
            raise UserError(f'the gate is not passed by the rows {name}: '
                            + HINTS[what].format(bound=entry['bounds'][what], **entry))


def verdict(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The gate in sentences."""
    return ' '.join(_said(name, entry) for name, entry in found.items())


def _said(name: str, entry: Mapping[str, Any]) -> str:
    word = 'passed' if entry['passed'] else f'not passed ({", ".join(entry["trouble"])})'
    return (f'The gate for the rows {name} is {word}: the filter keeps {entry["kept"]:.0%}, '
            f'{entry["tokens"]:.1f} tokens a row, {entry["nats"]:.2f} nats a row between teachers '
            f'of different traits ({entry["nats_set"]:.2f} within the carrier\'s set).')
