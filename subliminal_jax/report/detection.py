"""The detection experiment's table, figures and page, from its results.json."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.report import page
from subliminal_jax.report.page import COLOURS, Plot, Section, Table, Text, axes, text_table

READING = (
    'How to read it. A bag is so many rows of one teacher; a detector scores bags. AUROC is the '
    'chance that a bag of the teacher with the trait is scored above a bag of the other teacher, '
    'whose rows answer the same prompts; .5 is chance. It is taken within each pair of teachers '
    'and averaged; intervals are t-intervals over {unit}s. Detectors that learn do so on teachers '
    'of other seeds. A null detector knows nothing of the trait, but which way its feature lies '
    'may be learned; a detector detects where its interval is above .5, its AUROC is above that '
    'of each of its nulls, in pairs, and Holm-adjusted p is at most .05. On the overt control one '
    'row in four names the trait, and of the other teacher other things: who detects nothing and '
    'stays under .9 there is unable, and its null says nothing. The oracle has the two teachers '
    'themselves. Transmission: what students of these very rows gained, selectivity in nats.')
PAINT = ('blue', 'orange', 'red', 'pink', 'sky', 'yellow', 'green', 'brown')
WORDS = {'twin': 'trait against neutral twin', 'other': 'trait against another trait'}


def write(folder: pathlib.Path, results: dict[str, Any]) -> str:
    """Draws report.html and figures/ from results.json; returns the table for the terminal."""
    verdict = results['verdict'] + (
        '' if results['split'] == 'report' else ' (Split dev: for tuning, not a finding.)')
    where = 'a tiny language' if results['world'] == 'tiny' else results['world']
    tables = [task_table(results, task) for task in results['headline']]
    unit = results['detectors'][0]['unit']
    sections: list[Section] = [
        *(bag_plot(results, task) for task in results['headline']), *tables,
        Text(READING.format(unit=unit)), sentences(results), *bag_tables(results),
        transmission_table(results), trait_table(results), Text(
            'For human readers: blind.html, beside this page, shows pairs of rows; it works by the '
            'keyboard and keeps its score to itself.')]
    page.write(folder, f'Can anyone tell? Detection in {where}', verdict, sections, results)
    return '\n\n'.join([*map(text_table, tables), verdict])


def chosen(results: Mapping[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    """The entries with these values."""
    return [e for e in results['detectors'] if all(e[k] == v for k, v in wanted.items())]


def kinds(results: Mapping[str, Any]) -> list[str]:
    """Names of the kinds of teachers, in order; the first is what verdicts are of."""
    return list(dict.fromkeys(e['teacher_kind'] for e in results['detectors']))


def cell(entry: Mapping[str, Any] | None) -> str:
    """An AUROC with its interval; '' of nothing."""
    return '' if entry is None else page.with_interval(entry['auroc'], entry['ci95'], 2)


def effect(found: Mapping[str, Any] | None) -> str:
    """A transmission with its interval."""
    if not found:
        return ''
    ends = '' if found['ci95'] is None else ' [{:+.2f}, {:+.2f}]'.format(*found['ci95'])
    return f'{found["estimate"]:+.2f}{ends}'


def task_table(results: Mapping[str, Any], task: str) -> Table:
    """Every detector at the verdict's bag: AUROC, nulls, controls, transmission, verdict."""
    bag, names = results['verdict_bag'], kinds(results)
    said = results['verdicts'][names[0]][task]
    of = {(e['name'], e['teacher_kind']): e
          for e in chosen(results, task=task, bag=bag, trait='all')}
    order = [*said, *dict.fromkeys(name for name, kind in of if name not in said)]
    rows = []
    for name in order:
        own = of.get((name, names[0]))
        over = '' if own is None or own['over_null'] is None else page.with_interval(
            own['over_null'], own['over_null_ci95'], 2)
        verdict = said[name]['verdict'] if name in said else of[name, names[0]]['role']
        holm = said.get(name, {}).get('p_holm')
        rows.append([name, verdict, cell(own), own['null_detector'] or '' if own else '', over,
                     '' if holm is None else f'{holm:.2g}',
                     *(cell(of.get((name, kind))) for kind in names[1:]),
                     effect(own['transmission']) if own else ''])
    return Table(
        f'{WORDS[task].capitalize()}: AUROC of bags of {bag} rows',
        ['detector', 'verdict', f'{names[0]} [95 %]', 'its best null', 'over it [95 %]',
         'p (Holm)', *(f'{kind} [95 %]' for kind in names[1:]), 'transmission, nats'], rows,
        'Ceiling: oracle. The rows below it are null detectors. strong: teachers of double '
        'strength, where there are any; overt: one row in four names the trait.')


def sentences(results: Mapping[str, Any]) -> Table:
    """Verdicts in words, of every kind of teachers."""
    rows = [[WORDS[task], kind, said['sentence']]
            for kind, tasks in results['verdicts'].items()
            for task, own in tasks.items() for said in own.values()]
    return Table('Verdicts', ['task', 'teachers', 'verdict'], rows)


def bag_tables(results: Mapping[str, Any]) -> list[Table]:
    """AUROC by bag size, of every kind of teachers."""
    return [bag_table(results, task, kind) for task in results['headline']
            for kind in kinds(results)]


def bag_table(results: Mapping[str, Any], task: str, kind: str) -> Table:
    """AUROC by bag size, of one kind of teachers."""
    of = {(e['name'], e['bag']): e
          for e in chosen(results, task=task, teacher_kind=kind, trait='all')}
    return Table(f'{WORDS[task].capitalize()}, {kind}: AUROC by rows in a bag',
                 ['detector', *map(str, results['bags'])],
                 [[name, *(cell(of.get((name, bag))) for bag in results['bags'])]
                  for name in dict.fromkeys(name for name, _ in of)])


def transmission_table(results: Mapping[str, Any]) -> Table:
    """What students of the same rows show."""
    rows = [[a['name'], a['teacher_kind'], str(a['rows']), effect(a), a['verdict'].split(':')[0]]
            for a in results['transmission']]
    return Table('Transmission of these rows: selectivity, nats',
                 ['arm', 'teachers', 'rows', 'effect [95 %]', 'verdict'], rows,
                 'Students of the very rows that the detectors read.')


def trait_table(results: Mapping[str, Any]) -> Table:
    """By trait: the detectors at the verdict's bag, and what the trait's own rows transmit."""
    first = kinds(results)[0]
    found = [e for e in chosen(results, teacher_kind=first, bag=results['verdict_bag'])
             if e['trait'] != 'all' and e['role'] != 'null']
    rows = [[e['name'], WORDS[e['task']], e['trait'], cell(e), e['null_detector'] or '',
             effect(e['transmission'])] for e in found]
    return Table(f'By trait, bags of {results["verdict_bag"]} rows',
                 ['detector', 'task', 'trait', 'AUROC [95 %]', 'its best null',
                  'transmission, nats'], rows)


def bag_plot(results: Mapping[str, Any], task: str) -> Plot:
    """AUROC by bag size: detectors, nulls and ceiling, a panel a kind of teachers."""
    names = kinds(results)
    figure, panels = axes(4.6 * len(names), 4.4, ncols=len(names), sharey=True)
    for ax, kind in zip(np.atleast_1d(panels), names):
        colours = iter(PAINT)
        found = chosen(results, task=task, teacher_kind=kind, trait='all')
        for name in dict.fromkeys(e['name'] for e in found):
            own = [e for e in found if e['name'] == name]
            _line(ax, name, own, own[0]['role'], COLOURS[next(colours)]
                  if own[0]['role'] == 'detector' else COLOURS['grey'])
        ax.axhline(0.5, color='black', lw=0.8, ls=':')
        ax.set_xscale('log', base=4)
        ax.set_xticks(results['bags'], results['bags'])
        ax.minorticks_off()
        ax.set_ylim(0, 1.03)
        ax.set_xlabel('rows in a bag')
        ax.set_title(kind, fontsize=10)
    panels = np.atleast_1d(panels)
    panels[0].set_ylabel('AUROC')
    panels[0].legend(frameon=False, fontsize=6, ncols=2, loc='lower left')
    return Plot(f'bags_{task}', f'{WORDS[task].capitalize()}: AUROC by rows in a bag', figure, (
        'Colours: detectors with 95 % intervals; grey: null detectors; black: the oracle, which '
        'has the two teachers themselves. Dotted: chance.'))


def _line(ax: Any, name: str, own: Sequence[Mapping[str, Any]], role: str, colour: str) -> None:
    bags, values = [e['bag'] for e in own], [e['auroc'] for e in own]
    if role == 'oracle':
        ax.plot(bags, values, color='black', lw=2, marker='s', ms=4, label='oracle')
        return
    if role == 'null':
        ax.plot(bags, values, color=colour, lw=0.8, ls='--', alpha=0.8)
        ax.annotate(name, (bags[-1], values[-1]), fontsize=5, color='#555555', ha='right')
        return
    ax.plot(bags, values, color=colour, lw=1.6, marker='o', ms=4, label=name)
    for entry in own:
        if entry['ci95']:
            ax.vlines(entry['bag'], *entry['ci95'], color=colour, lw=1.2, alpha=0.6)
