"""The page of a matrix of language models: its cells and hypotheses, then the run's whole page."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.report import page, transmission
from subliminal_jax.report.page import COLOURS, Plot, Section, Table, Text, axes, text_table

SQUARE = ('references', 'tokenisations', 'widths', 'models')  # parts with students of every kind
PAINT = ('orange', 'sky', 'pink', 'yellow', 'red')  # of hypotheses, in their order
READING = (
    'How to read it. A cell is what students of one kind of model learn from teachers of another, '
    'by selectivity (gamma, nats). On the diagonal teacher and student begin alike. Off it stands '
    "the share: the cell's gamma over that of the same students with a teacher of their own, with "
    "Fieller's 95 % interval. It is read only where both diagonals transmit (interval above 0 and "
    'p <= .05); elsewhere the cell is unread, and no share of nothing is taken. The difference is '
    'own diagonal less cell, and since gamma compares traits, a difference of differences. Units '
    'are independent: blocks of references where the next one of a block is crossed, else '
    'references; traits where there is one reference.')


def write(folder: pathlib.Path, results: dict[str, Any]) -> str:
    """Draws report.html and figures/ from results.json and the rows beside it; returns the table
    for the terminal."""
    if not results['arms']:
        return transmission.write(folder, results)
    cells = results['cells']
    verdict = results['verdict'] + (
        '' if results['split'] == 'report' else ' (Split dev: for tuning, not a finding.)')
    table = share_table(cells)
    found: list[Section] = [*squares(cells), Text(READING), table,
                            shares_plot(cells, results['hypotheses'])]
    if results['hypotheses']:
        found.append(hypothesis_table(results['hypotheses']))
    if any('distance' in c for c in cells):
        found += [twin_table(cells), twin_plot(cells)]
    found += [cell_table(cells), Text('Part by part. ' + results['verdict_by_part']),
              Text('Arm by arm: ' + results['verdict_by_arm'])]
    page.write(folder, f'Who can learn from whom, {results["world"]}', verdict,
               [*found, *transmission.sections(folder, results)], results)
    return f'{text_table(table)}\n{verdict}'


def told(cell: Mapping[str, Any]) -> str:
    """A cell's mean with its interval; of one that is unread why."""
    if cell['mean'] is None:
        return cell['why']
    return page.with_interval(cell['mean'], cell['ci95'], 2)


def squares(cells: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """A picture of teachers by students for every part that has both ways, a panel a rung."""
    found = []
    for part in SQUARE:
        mine = [c for c in cells if c['part'] == part and c['where'] in ('diagonal', 'off')]
        if mine:
            found.append(_square(part, mine))
    return found


def _square(part, cells):
    rungs = list(dict.fromkeys(c['factors']['rung'] for c in cells))
    figure, panels = axes(4.6 * len(rungs), 4.2, ncols=len(rungs))
    most = max(abs(c['mean']) for c in cells if c['measure'] == 'gamma')
    for ax, rung in zip(np.atleast_1d(panels), rungs):
        _panel(ax, rung, [c for c in cells if c['factors']['rung'] == rung], most)
    return Plot(f'matrix_{part}', f'{part.capitalize()}: teachers by students', figure, (
        'Selectivity in nats with its 95 % interval; below it, off the diagonal, the share of the '
        "same students' own teacher (the diagonal of their column)."))


def _panel(ax, rung, cells, most):
    names = list(dict.fromkeys(n for c in cells for n in (
        c['factors']['teacher'], c['factors']['student'])))
    at = {(c['factors']['teacher'], c['factors']['student'], c['measure']): c for c in cells}
    value = np.full((len(names), len(names)), np.nan)
    for i, teacher in enumerate(names):
        for j, student in enumerate(names):
            gamma = at.get((teacher, student, 'gamma'))
            if gamma is None:
                ax.text(j, i, 'not run', ha='center', va='center', fontsize=8)
                continue
            value[i, j] = gamma['mean']
            share = at.get((teacher, student, 'share'))
            lines = [told(gamma).replace(' [', '\n[')]
            if share:
                lines.append(f'share {share["mean"]:.2f}' if share['read'] else 'unread')
            ink = 'white' if gamma['mean'] > 0.6 * most else 'black'
            ax.text(j, i, '\n'.join(lines), ha='center', va='center', fontsize=8, color=ink)
    ax.imshow(value, cmap='Blues', vmin=0, vmax=most)
    ax.set_xticks(range(len(names)), names, fontsize=8)
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.grid(False)
    ax.set_xlabel('student begins as')
    ax.set_ylabel('teacher made of')
    ax.set_title(rung, fontsize=10)


def share_table(cells: Sequence[Mapping[str, Any]]) -> Table:
    """A line a crossing: its gamma, its own diagonal, the share and the difference."""
    rows = []
    for share in (c for c in cells if c['measure'] == 'share'):
        mine = {c['measure']: c for c in cells if c['arm'] == share['arm']
                and c['where'] == share['where'] and c['factors'] == share['factors']}
        factors = share['factors']
        difference = mine.get('difference')
        rows.append([share['arm'], share['part'], factors['rung'], factors['teacher'],
                     factors['student'], told(mine['gamma']), told(share['own']), told(share),
                     told(difference) if difference else '', str(share['n'])])
    return Table('Off the diagonal', [
        'arm', 'part', 'rung', 'teacher', 'student', 'gamma, nats [95 %]', 'own diagonal [95 %]',
        'share of its own teacher [95 %]', 'own diagonal less cell, nats [95 %]', 'units'], rows,
        'A share of 1: as much as from a teacher of their own; 0: nothing. Unread: a diagonal does '
        'not transmit.')


def cell_table(cells: Sequence[Mapping[str, Any]]) -> Table:
    """Every cell's gamma."""
    rows = [[c['part'], c['factors']['rung'], c['factors']['teacher'], c['factors']['student'],
             c['where'], told(c), f'{c["p"]:.2g}', '' if c['mde'] is None else f'{c["mde"]:.2f}',
             str(c['n']), c['arm']]
            for c in cells if c['measure'] == 'gamma']
    return Table('Every cell', ['part', 'rung', 'teacher', 'student', 'where', 'gamma, nats [95 %]',
                                'p', 'smallest visible', 'units', 'arm'], rows,
                 'Diagonals and offs: means over the places of a block.')


def shares_plot(cells: Sequence[Mapping[str, Any]], hypotheses: Sequence[Mapping[str, Any]]
                ) -> Plot:
    """Shares with their intervals, and below each what hypotheses said."""
    shares = [c for c in cells if c['measure'] == 'share' and (
        c['part'] != 'references' or c['where'] == 'offs')]
    figure, ax = axes(8, 1.4 + 0.55 * len(shares))
    for place, share in enumerate(shares):
        y = len(shares) - 1 - place
        if share['read']:
            ax.hlines(y, *share['ci95'], color=COLOURS['blue'], lw=2.6)
            ax.plot(share['mean'], y, 'o', ms=6, color=COLOURS['blue'], mec='black', mew=0.6)
        else:
            ax.text(0.02, y, 'unread', va='center', fontsize=8, color=COLOURS['grey'])
        for number, hypothesis in enumerate(hypotheses):
            for cell in hypothesis['cells']:
                if cell['cell'] == share['arm']:
                    ax.hlines(y - 0.17 - 0.11 * number, cell['least'], cell['most'], lw=3.5,
                              color=COLOURS[PAINT[number % len(PAINT)]], alpha=0.8)
    for number, hypothesis in enumerate(hypotheses):
        ax.plot([], [], lw=3.5, color=COLOURS[PAINT[number % len(PAINT)]],
                label=f'said by {hypothesis["name"]}')
    ax.set_yticks(range(len(shares)), [f'{c["arm"]}  ({c["factors"]["rung"]})'
                                       for c in shares][::-1], fontsize=8)
    ax.set_ylim(-0.8, len(shares) - 0.4)
    for x in (0, 1):
        ax.axvline(x, color='black', lw=0.8, ls=':')
    ax.set_xlabel("share of the transmission from the students' own teacher")
    if hypotheses:
        ax.legend(frameon=False, fontsize=8, loc='lower left', bbox_to_anchor=(0, 1),
                  ncols=len(hypotheses))
    return Plot('shares', 'Shares, and what was said of them before', figure,
                'Dots and bars: the share with its 95 % interval. Below it, in colour: between '
                'which bounds each hypothesis said that it lies.')


def hypothesis_table(hypotheses: Sequence[Mapping[str, Any]]) -> Table:
    """What each hypothesis said of each cell, and what became of it."""
    names = [h['name'] for h in hypotheses]
    by_cell: dict[str, dict[str, Any]] = {}
    for hypothesis in hypotheses:
        for cell in hypothesis['cells']:
            by_cell.setdefault(cell['cell'], {})[hypothesis['name']] = cell
    rows = []
    for name, said in by_cell.items():
        first = next(iter(said.values()))
        rows.append([name, 'unread' if first['mean'] is None else page.with_interval(
            first['mean'], first['ci95'], 2), *(
                f'{said[n]["least"]:g} to {said[n]["most"]:g}: {said[n]["word"]}' if n in said
                else '' for n in names)])
    sentences = ' '.join(f'{h["name"]}: {h["says"]}.' for h in hypotheses)
    return Table('Hypotheses, written before the run', ['cell', 'share [95 %]', *names], rows, (
        f'{sentences} Contradicted: an interval lies outside of what was said, at a level that is '
        'raised for the number of cells. Held: the 95 % interval lies within it. Open: neither.'))


def twin_table(cells: Sequence[Mapping[str, Any]]) -> Table:
    """Disturbed twins: how far they are, and what passes to them."""
    rows = [[c['factors']['student'], c['factors']['rung'], told(c), f'{c["perplexity"]:.2f}',
             f'{c["distance"]:.4f}'] for c in cells if 'distance' in c]
    return Table('Disturbed twins', ['start', 'rung', 'share of its own teacher [95 %]',
                                     'perplexity of the start', 'distance'], rows,
                 'Perplexity: of the twin, on texts of the reference. Distance: of all its '
                 'weights from the reference, as a share of their length. A gauge twin is the same '
                 'function with its hidden units in another order.')


def twin_plot(cells: Sequence[Mapping[str, Any]]) -> Plot:
    """Shares of disturbed twins by perplexity and by distance."""
    twins = [c for c in cells if 'distance' in c and c['read']]
    figure, panels = axes(8.4, 3.6, ncols=2)
    for ax, (field, text) in zip(panels, (('distance', 'distance from the reference'),
                                          ('perplexity', 'perplexity of the twin'))):
        for number, cell in enumerate(twins):
            ax.vlines(cell[field], *cell['ci95'], color=COLOURS['blue'], alpha=0.6)
            ax.plot(cell[field], cell['mean'], 'osD^v<>Px*'[number % 10], ms=6, mec='black',
                    mew=0.5, color=COLOURS['blue'], label=f'{cell["factors"]["student"]}, '
                                                          f'{cell["factors"]["rung"]}')
        for y in (0, 1):
            ax.axhline(y, color='black', lw=0.8, ls=':')
        ax.set_xlabel(text)
        ax.set_ylabel('share of its own teacher')
    if twins:
        panels[0].legend(frameon=False, fontsize=7)
    return Plot('twins', 'What passes to disturbed twins', figure,
                'Bars: 95 % intervals. Twins whose share is unread are left out.')
