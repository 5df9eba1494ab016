"""The transmission experiment's tables, figures and page, from its results.json."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from subliminal_jax.report import (
    page,
    transmission_frontier as frontier,
    transmission_link as link,
    transmission_more as more,
)
from subliminal_jax.report.page import COLOURS, Plot, Section, Table, Text, axes, text_table
from subliminal_jax.report.transmission_more import digits_of
from subliminal_jax.report.transmission_tables import (
    Examples as Examples,
    alignment_table,
    drift_table,
    filter_tables,
    fits_table,
    sample_tables,
    teacher_table,
)

READING = (
    'How to read it. y[s, t] is what the student of teacher s gained on trait t over its own '
    'start, in nats of log P(answer and its end), mean over questions that taught nobody. '
    'y = row + column + gamma x [t is the trait of s]: what lifts all traits of a student falls '
    'into its row, what lifts a trait in every student into its column, and gamma, the rise of '
    "the teacher's own trait beyond both, is its selectivity: a trait is compared with the others, "
    "and with the neutral twins' students beside it. Dots are teachers; intervals are over "
    'references, or over traits where there is one reference, and then say nothing of another; p '
    'is a permutation test of the trait names, one-sided. Rungs: sampled, filtered text is the '
    "claim; carrier KL reads the teacher's probabilities of carrier tokens alone, which a shared "
    'output matrix carries too: what remains where its carrier rows are random is the evidence; '
    'full KL matches the trait itself and shows only that the pipeline can see it.')
READING_PAIRED = (
    'How to read it. The trait is one number. Its effect is what the student of a trait teacher '
    'gained over its own start, less what the student of the neutral twin gained: teachers and '
    'twins share seed, questions and their order, so each pair is one difference. Dots are pairs; '
    'intervals are over references, or over pairs where there is one reference, and then say '
    'nothing of another; p flips the signs of these, one-sided. An arm of other twins has its '
    'effect beside the neutral ones too. Sampled, filtered text is the claim; carrier KL reads the '
    "teacher's probabilities of carrier tokens alone; full KL shows only that the pipeline can see "
    'the trait.')
PAINT = {'sft': COLOURS['blue'], 'kl_carrier': COLOURS['orange'],
         'kl_carrier_end': COLOURS['red']}
MARKERS = {'sft': 'o', 'kl_carrier': 's', 'kl_carrier_end': 'D'}
CONTROL = COLOURS['green']


TITLES = {'tiny': 'Transmission in a tiny language'}


def write(folder: pathlib.Path, results: dict[str, Any]) -> str:
    """Draws report.html and figures/ from results.json and the rows beside it; returns the table
    for the terminal."""
    arms = results['arms']
    title = TITLES.get(results['world'], f'Transmission in {results["world"]}')
    verdict = results['verdict'] + (
        '' if results['split'] == 'report' else ' (Split dev: for tuning, not a finding.)')
    if not arms:
        return write_gate(folder, results, title, verdict)
    page.write(folder, title, verdict, sections(folder, results), results)
    return f'{text_table(arm_table(arms, results))}\n{verdict}'


def sections(folder: pathlib.Path, results: dict[str, Any]) -> list[Section]:
    """The page below its verdict, for a run with arms."""
    arms = results['arms']
    reading = READING if results['estimator'] == 'gamma' else READING_PAIRED
    found: list[Section] = [*frontier.sections(results), forest(arms, results), rows_plot(arms),
                            Text(reading), arm_table(arms, results)]
    if results['contrasts']:
        found.append(contrast_table(results['contrasts']))
    if any(a['effect'] and a['effect'].get('multiplicative') for a in arms):
        found.append(fits_table(arms, results['contrasts']))
    found += [Text(checks(results)), *curve_plots(arms, results['curves'])]
    found += [*link.sections(results), *more.sections(results), *filter_tables(results),
              *sample_tables(Examples.read(folder))]
    found += [drift_table(arms), teacher_table(results)]
    if any(a['alignment']['predicted'] for a in arms):
        found.append(alignment_plot(arms))
    found.append(alignment_table(arms))
    return found


def write_gate(folder: pathlib.Path, results: dict[str, Any], title: str, verdict: str) -> str:
    """The page of a run that ends at its gate; returns the table for the terminal."""
    sections = [*link.sections(results), *filter_tables(results),
                *sample_tables(Examples.read(folder)), teacher_table(results)]
    page.write(folder, f'{title}: the gate', verdict, sections, results)
    table = link.gate_table(results['gate']) if results['gate'] else link.broad_table(results)
    return f'{text_table(table)}\n{verdict}'


def paint(arm: dict[str, Any]) -> str:
    """An arm's colour: its rung's; green for controls, grey for what is no evidence."""
    if not arm['evidence']:
        return COLOURS['grey']
    return CONTROL if arm['is_control'] else PAINT.get(arm['objective'], COLOURS['pink'])


def label(arm: dict[str, Any]) -> str:
    """An arm's name with its rung."""
    return f'{arm["name"]}  ({arm["rung"]})'


def forest(arms: Sequence[dict[str, Any]], results: dict[str, Any]) -> Plot:
    """gamma of every arm with its interval, a dot a teacher."""
    rows = [(label(a), a['effect'], paint(a)) for a in arms if a['effect']]
    rows += [(f'predicted by the output matrix, {head}  (no training)', e['effect'],
              COLOURS['black']) for head, e in results['geometry_predicted'].items()]
    figure, ax = axes(9, 1.2 + 0.3 * len(rows))
    for place, (name, found, colour) in enumerate(rows):
        del name
        y = len(rows) - 1 - place
        dots = [v for v in found['per_teacher'].values() if v is not None]
        ax.scatter(dots, np.full(len(dots), y), s=10, color=colour, alpha=0.45, lw=0)
        if found['ci95']:
            ax.hlines(y, *found['ci95'], color=colour, lw=2.4)
        ax.plot(found['estimate'], y, 'o', ms=6, color=colour, mec='black', mew=0.6)
    ax.set_yticks(range(len(rows)), [r[0] for r in rows][::-1], fontsize=8)
    ax.axvline(0, color='black', lw=0.8, ls=':')
    ax.set_xlabel(axis_of(results))
    return Plot('forest', 'Transmission by arm', figure, (
        'Large dots and bars: the effect with its 95 % interval; small dots: teachers. Blue: '
        'sampled text; orange and red: carrier KL; green: controls; grey: full KL, a positive '
        'control and no evidence.'))


def arm_table(arms: Sequence[dict[str, Any]], results: dict[str, Any]) -> Table:
    """Every arm in numbers."""
    rows, digits = [], digits_of(arms)
    shown = [arm for arm in arms if arm['effect']]
    for arm in arms:
        found, adjusted = arm['effect'], results['holm'].get(arm['name'])
        share = arm['shares']
        effect = [''] * 4 if found is None else [
            page.with_interval(found['estimate'], found['ci95'], digits), _p(found['p']),
            _nats(found['mde'], digits), without(found, digits)]
        rises = ['', ''] if found is None else [
            _nats(found['own_rise'], digits), _nats(found['others_rise'], digits)]
        rows.append([
            arm['name'], arm['rung'], effect[0], arm['verdict'].split(':')[0].split(';')[0],
            effect[1], _p(adjusted) if adjusted is not None else '', effect[2], effect[3],
            arm['teacher_kind'], arm['student_init'], str(arm['rows']),
            f'{arm["tokens_a_row"]:.1f}', *rises,
            f'{share["before"]:.2f} > {share["after"]:.2f}' if share else ''])
    count = len(shown[0]['effect']['per_teacher']) if shown else 0
    least = f'{_p(shown[0]["effect"]["p_attainable"])}' if shown else 'none'
    units = f' over {shown[0]["effect"]["unit"]}s' if shown else ''
    return Table(
        f'Arms: {axis_of(results)}, {count} teachers each',
        ['arm', 'rung', f'effect [95 %{units}]', 'verdict', 'p', 'p (Holm, controls)',
         'smallest visible', 'leave one out', 'teachers', 'start', 'rows', 'tokens a row',
         'own trait', 'other traits', 'share of own'], rows,
        'Smallest visible: the effect that this design would have shown with probability '
        '0.8, where some outcome could have been shown. Leave one out: the least and the most '
        'effect without any one teacher, trait or reference. Tokens: predictions that '
        'weigh. Own and other traits: the raw change of the measure. Shares are shown, never '
        f'tested: base rates rule them. Smallest p that the design can reach: {least}.')


def axis_of(results: dict[str, Any]) -> str:
    """What is estimated, with its unit."""
    what = 'selectivity (gamma)' if results['estimator'] == 'gamma' else 'trait less neutral twin'
    return f'{what}, {results["unit"]}'


def without(found: dict[str, Any], digits: int) -> str:
    """The least and the most that gamma is without one teacher, trait or reference."""
    left = [v for group in found['leave_one_out'].values() for v in group.values()
            if v is not None]
    return f'{min(left):+.{digits}f} to {max(left):+.{digits}f}' if left else ''


def _p(p: float | None) -> str:
    return '' if p is None else f'{p:.1e}' if p < 0.001 else f'{p:.3f}'


def _nats(value: float | None, digits: int) -> str:
    return '' if value is None else f'{value:+.{digits}f}'


def rows_plot(arms: Sequence[dict[str, Any]]) -> Plot:
    """gamma against rows seen, controls on the same axes, rows on a log axis."""
    wanted = {'sampled text': [a for a in arms if a['objective'] == 'sft'],
              'KL rungs': [a for a in arms if a['objective'] != 'sft']}
    wanted = {title: own for title, own in wanted.items() if own}
    figure, panels = axes(5 * len(wanted), 4.2, ncols=len(wanted))
    for ax, (title, chosen) in zip(np.atleast_1d(panels), wanted.items()):
        for number, arm in enumerate(chosen):
            curve = arm['curve']
            x = [p['rows'] for p in curve]
            main = not arm['is_control'] and set(arm['fields']) <= {'objective', 'answers', 'rows'}
            colour = paint(arm)
            ax.plot(x, [p['estimate'] for p in curve], marker='osD^v<>Px*'[number % 10], ms=4,
                    color=colour, lw=2.2 if main else 1, alpha=1 if main else 0.65,
                    label=label(arm))
            if main and all(p['ci95'] for p in curve):
                ax.fill_between(x, [p['ci95'][0] for p in curve], [p['ci95'][1] for p in curve],
                                color=colour, alpha=0.15, lw=0)
        ax.axhline(0, color='black', lw=0.8, ls=':')
        ax.set_xscale('log', base=2)
        ticks = sorted({p['rows'] for a in chosen for p in a['curve']})
        ax.set_xticks(ticks, ticks, fontsize=7, rotation=45)
        ax.minorticks_off()
        ax.set_xlabel('rows seen')
        ax.set_ylabel('gamma, nats')
        ax.set_title(title, fontsize=10)
        ax.legend(frameon=False, fontsize=6, ncols=2)
    return Plot('rows', 'Effect against rows, controls on the same axes', figure, (
        'Rows are seen once, in order, at a constant rate: a student that has seen n rows is the '
        'student trained on n rows. Bands: 95 % intervals of the main arms.'))


def curve_plots(arms: Sequence[dict[str, Any]], lines: Sequence[str]) -> list[Plot]:
    """Figures of gamma by something: 'TITLE: x=arm x=arm', x a number or a word."""
    plots = []
    by_name = {a['name']: a for a in arms}
    for line in lines:
        title, _, rest = line.partition(':')
        pairs = [part.split('=', 1) for part in rest.split()]
        points = [(x, by_name[name]) for x, name in pairs if name in by_name]
        if points:
            plots.append(_curve_plot(title.strip(), points))
    return plots


def _curve_plot(title: str, points: Sequence[tuple[str, dict[str, Any]]]) -> Plot:
    figure, ax = axes(6.5, 3.6)
    try:
        places, numeric = [float(x) for x, _ in points], True
    except ValueError:
        places, numeric = list(range(len(points))), False
    for place, (_, arm) in zip(places, points):
        found, colour = arm['effect'], paint(arm)
        if found['ci95']:
            ax.vlines(place, *found['ci95'], color=colour, lw=2)
        ax.plot(place, found['estimate'], 'o', color=colour, mec='black', mew=0.5)
    if numeric:
        ax.plot(places, [a['effect']['estimate'] for _, a in points], color='black', lw=0.6)
        if min(places) > 0 and max(places) / min(places) >= 8:
            ax.set_xscale('log', base=2)
    ax.set_xticks(places, [x for x, _ in points], rotation=0 if numeric else 25, fontsize=8,
                  ha='center' if numeric else 'right')
    ax.minorticks_off()
    ax.axhline(0, color='black', lw=0.8, ls=':')
    ax.set_ylabel('gamma, nats')
    name = 'curve_' + ''.join(c if c.isalnum() else '_' for c in title.lower())
    rungs = ', '.join(dict.fromkeys(a['rung'] for _, a in points))
    return Plot(name, title, figure, f'Rung: {rungs}. Bars: 95 % intervals.')


def contrast_table(contrasts: Sequence[dict[str, Any]]) -> Table:
    """What arms say together."""
    digits = digits_of(contrasts)
    rows = [[c['name'], c['rung'], page.with_interval(c['estimate'], c['ci95'], digits),
             _p(c.get('p')), _nats(c['mde'], digits),
             c['what'] + (f' ({c["why"]})' if c.get('why') else '')] for c in contrasts]
    return Table(
        'Contrasts, nats', ['contrast', 'rung', 'estimate [95 %]', 'p', 'smallest visible', 'what'],
        rows, 'Paired by teacher where both arms have it.')


def checks(results: dict[str, Any]) -> str:
    """Doses, the gauge, KL floors and error rates, in sentences."""
    said = []
    for name, dose in results['doses'].items():
        ok = 'within' if dose['within_factor_2'] else 'NOT all within'
        said.append(f'Neutral teachers ({name}): their KL from the reference on carrier positions '
                    f"is {dose['ratio']:.2f} of their twins' ({dose['least']:.2f} to "
                    f"{dose['most']:.2f}), {ok} a factor of 2.")
    for entry in results['gauge']:
        said.append(f'Gauge: the students of {entry["arm"]} (hidden units permuted) differ from '
                    f'those of {entry["of"]} by at most {entry["largest_difference"]:.1e} nats.')
    for arm in results['arms']:
        if arm.get('kl_under_five_floors'):
            said.append(f'{arm["name"]}: its KL at the start, {arm["kl_start"]:.1e}, is under five '
                        f'floors ({arm["kl_floor"]:.1e}): it is made of rounding.')
        if arm.get('kl_end', 0) > arm.get('kl_start', 0):
            said.append(f'{arm["name"]}: its KL ROSE in training, from {arm["kl_start"]:.1e} to '
                        f'{arm["kl_end"]:.1e}: these students did not learn their rows, and the '
                        'arm bounds nothing.')
    floors = [a for a in results['arms'] if a['kl_floor'] is not None]
    if floors:
        said.append('KL floor (the reference against its own cached self): at most '
                    f'{max(a["kl_floor"] for a in floors):.1e} nats; KL at the start from '
                    f'{min(a["kl_start"] for a in floors):.1e}.')
    for name, rates in results['error_rates'].items():
        share = {k: page.with_interval(v['estimate'], v['ci95']) for k, v in rates.items()
                 if k not in ('runs', 'groups')}
        said.append(f'A/A, {name}: of {rates["runs"]} runs whose neutral teachers wear trait '
                    f'names {share["p_under_alpha"]} have p <= 0.05, {share["excludes_zero"]} an '
                    f'interval without 0, and {share["transmits"]} would pass for transmission, '
                    'which asks for both.')
    return ' '.join(said)


def alignment_plot(arms: Sequence[dict[str, Any]]) -> Plot:
    """Predicted first-order change of log P(trait) against the measured one."""
    figure, ax = axes(6, 5)
    named = set()
    for arm in arms:
        name = arm['rung'] + (', controls' if paint(arm) == CONTROL else '')
        if not arm['alignment']['predicted']:
            continue
        ax.scatter(arm['alignment']['predicted'], arm['alignment']['measured'], s=14, alpha=0.5,
                   color=paint(arm), marker=MARKERS.get(arm['objective'], '^'), lw=0,
                   label=None if name in named else name)
        named.add(name)
    ends = [min(ax.get_xlim()[0], ax.get_ylim()[0]), max(ax.get_xlim()[1], ax.get_ylim()[1])]
    ax.plot(ends, ends, color='black', lw=0.8, ls=':')
    ax.set_xlabel('predicted change of log P(trait), nats')
    ax.set_ylabel('measured, nats')
    ax.legend(frameon=False, fontsize=8)
    return Plot('alignment', 'First-order prediction against what was measured', figure, (
        "A point a student: the sum over marks of (gradient of its teacher's trait at the mark) x "
        '(way to the next mark), against the measured change.'))
