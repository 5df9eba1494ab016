"""The frontier of a run with held-out rows: what students learned of their teacher's writing,
against what else they took from it."""

from collections.abc import Mapping, Sequence
from typing import Any

from subliminal_jax.report import page
from subliminal_jax.report.page import COLOURS, Plot, Section, Table, axes
from subliminal_jax.report.transmission_more import digits_of

Entry = Mapping[str, Any]


def sections(results: Mapping[str, Any]) -> list[Section]:
    """What this run has of it: nothing where no rows were held out."""
    if not results.get('frontier'):
        return []
    arms = [a for a in results['arms'] if a['utility'] and a['effect']]
    return [frontier_plot(arms, results['unit']), frontier_table(arms, results)]


def colour_of(arm: Entry, first: Entry) -> str:
    """Black without defence, grey of random twins, green of controls, else blue."""
    if arm is first:
        return COLOURS['black']
    if arm['random_twin']:
        return COLOURS['grey']
    return COLOURS['green'] if arm['is_control'] else COLOURS['blue']


def frontier_plot(arms: Sequence[Entry], unit: str) -> Plot:
    """A point an arm; attacked ones hollow, joined to themselves with rows as they come."""
    figure, ax = axes(9, 6)
    by_name = {a['name']: a for a in arms}
    for arm in arms:
        colour, x, y = colour_of(arm, arms[0]), *_place(arm)
        hollow = arm['attack_of'] is not None
        if arm['effect']['ci95']:
            ax.vlines(x, *arm['effect']['ci95'], color=colour, lw=1.2, alpha=0.5)
        if arm['utility']['ci95']:
            ax.hlines(y, *arm['utility']['ci95'], color=colour, lw=1.2, alpha=0.5)
        ax.plot(x, y, 'o', ms=7, color=colour, mfc='white' if hollow else colour, mec=colour,
                mew=1.4, zorder=3)
        ax.annotate(arm['name'], (x, y), xytext=(5, 4), textcoords='offset points', fontsize=7)
        if arm['attack_of'] in by_name:
            before = _place(by_name[arm['attack_of']])
            ax.plot([before[0], x], [before[1], y], color=colour, lw=1, ls='--', zorder=2)
    fewer = sorted((a for a in arms if only_rows(a, arms[0])), key=lambda a: a['rows'])
    if len(fewer) > 1:
        ax.plot(*zip(*map(_place, fewer)), color=COLOURS['black'], lw=0.8, ls=':', zorder=1)
    ax.axhline(0, color='black', lw=0.8, ls=':')
    ax.set_xlabel("held-out loss below the reference's, nats a token")
    ax.set_ylabel(f'selectivity (gamma), {unit}')
    return Plot('frontier', 'Use against transmission', figure, (
        "Right: students learned more of their teacher's writing. Down: less of its trait. Black: "
        'without defence, dotted line by fewer rows; blue: defences; grey: their random twins; '
        'green: controls. Hollow, joined by a dashed line: the same with rows that an attacker '
        'picked, or teachers that it made. Bars: 95 % intervals.'))


def only_rows(arm: Entry, first: Entry) -> bool:
    """Whether an arm is the first one, by how many rows its students see."""
    drop = lambda fields: {k: v for k, v in fields.items() if k != 'rows'}
    return drop(arm['fields']) == drop(first['fields'])


def _place(arm):
    return arm['utility']['mean'], arm['effect']['estimate']


def frontier_table(arms: Sequence[Entry], results: Mapping[str, Any]) -> Table:
    """Every arm on the frontier in numbers."""
    digits, found = digits_of(arms), {f['arm']: f for f in results['frontier']}
    cell = lambda x: '' if x is None else page.with_interval(x['estimate'], x['ci95'], digits)
    rows = []
    for arm in arms:
        use, own = arm['utility'], found.get(arm['name'], {})
        share = '' if use['share'] is None else page.with_interval(use['share'], use['share_ci95'])
        rows.append([
            arm['name'], ' '.join(f'{k}={v}' for k, v in arm['fields'].items()),
            page.with_interval(use['mean'], use['ci95'], 3), share,
            cell(arm['effect']), cell(own.get('taken')), own.get('twin') or '',
            cell(own.get('beyond_twin')), cell(own.get('gained')),
            'yes' if own.get('defends') else ''])
    base = arms[0]['utility']
    return Table(
        'Use against transmission', [
            'arm', 'fields', 'use: nats a token [95 %]', "share of the first arm's", 'selectivity',
            'taken off', 'random twin', "taken off the twin's", 'gained by the attacker',
            'defends'], rows,
        f'Use: by how much the loss on {results["held_out"]} rows a teacher, which no arm has '
        f"seen, is below the reference's ({base['reference']:.3f} nats a token; the teachers' own "
        f"{base['teacher']:.3f}). Shares have Fieller's interval, and are left out where the first "
        "arm's gain is not told from 0. Taken off: selectivity of the first arm, or of the random "
        "twin, less this arm's, paired by teacher. Defends: both are above 0 with p <= 0.05 "
        "(the first by Holm, over all defences), or the first where there is no twin.")
