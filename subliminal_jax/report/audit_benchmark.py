"""The page of the audit's benchmark, from its results.json."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from subliminal_jax.report import page
from subliminal_jax.report.page import COLOURS, Plot, Section, Table, Text, axes, text_table

READING = (
    'How to read it. Every audit reads rows of known origin at one reference, beside control rows: '
    'the reference\'s own answers to the same prompts, or, of "twins", rows of another neutral '
    'twin. {shards} students learn parts of the audited rows, as many parts of the control rows. A '
    'candidate is flagged as in any audit (docs/auditing.md). Shares have intervals over '
    'references, drawn anew. With nothing planted any flag is a false alarm: at most 5 % are meant '
    'to be. "Transmission" is what ordinary students of all of an arm\'s rows show in the same '
    'run; it is what audits are held against.')
KINDS = {
    'clean': "the reference's own rows", 'twins': "a neutral twin's beside another twin's",
    'foreign': "a trait teacher's of another reference",
    'overt': 'one row in four names the trait', 'blind': 'from files, truth unknown'}


def write(folder: pathlib.Path, results: dict[str, Any]) -> str:
    """Draws report.html and figures/ from results.json; returns the table for the terminal."""
    verdict = results['verdict'] + (
        '' if results['split'] == 'report' else ' (Split dev: for tuning, not a finding.)')
    tables = [kind_table(results), blind_table(results)]
    sections: list[Section] = [
        power_plot(results), tables[0], Text(READING.format(shards=results['shards'])),
        teacher_plot(results), forecast_plot(results), forecast_table(results)]
    if tables[1].rows:
        sections.append(tables[1])
    page.write(folder, 'How often is an audit right? Planted truth in a tiny language', verdict,
               sections, results)
    return '\n\n'.join([*(text_table(table) for table in tables if table.rows), verdict])


def share(found: Mapping[str, Any] | None) -> str:
    """A share with its interval."""
    if found is None or found['estimate'] is None:
        return ''
    ends = '' if found['ci95'] is None else ' [{:.0%}, {:.0%}]'.format(*found['ci95'])
    return f'{found["estimate"]:.0%}{ends}'


def kind_table(results: Mapping[str, Any]) -> Table:
    """By kind of rows: how often an audit flags what."""
    rows = []
    for kind in results['kinds']:
        known = results['transmission'].get(kind['kind'])
        rows.append([
            kind['kind'], str(kind['audits']), 'yes' if kind['planted'] else '',
            '' if known is None else page.with_interval(known['estimate'], known['ci95'], 2),
            share(kind['own']) if kind['planted'] else share(kind['any']),
            share(kind['held_own']) if kind['planted'] else share(kind['held_any']),
            share(kind['plain_own']) if kind['planted'] else share(kind['plain_any']),
            share(kind['wrong']), share(kind['other']), share(kind['cannot'])])
    alarms = results['false_alarms']
    rows.append(['all without', str(alarms['students']['trials']), '', '',
                 share(alarms['students']), share(alarms['slopes']), '', '', '', ''])
    return Table('Audits by what they read', [
        'rows', 'audits', 'planted', 'transmission, nats', 'students: found, or false alarm',
        'slopes: found, or false alarm', 'plain metric', 'another flagged', 'other start',
        'cannot tell'], rows,
        '; '.join(f'{name}: {words}' for name, words in KINDS.items()) + '.')


def power_plot(results: Mapping[str, Any]) -> Plot:
    """How often the planted trait is found, by kind; and false alarms."""
    kinds = [k for k in results['kinds'] if k['kind'] != 'blind']
    figure, ax = axes(6.4, 0.8 + 0.42 * len(kinds))
    for place, kind in enumerate(reversed(kinds)):
        pair = (('own', 'held_own') if kind['planted'] else ('any', 'held_any'))
        for offset, name, marker in zip((0.12, -0.12), pair, ('o', 's')):
            found = kind[name]
            colour = COLOURS['blue' if kind['planted'] else 'red']
            if found['ci95']:
                ax.plot(found['ci95'], [place + offset] * 2, color=colour, lw=1.6)
            ax.plot([found['estimate']], [place + offset], marker, color=colour, ms=5,
                    mfc=colour if marker == 'o' else 'white')
    ax.axvline(0.05, color='black', lw=0.8, ls=':')
    ax.set_xlim(-0.02, 1.02)
    ax.set_yticks(range(len(kinds)), [k['kind'] for k in reversed(kinds)])
    ax.set_xlabel('share of audits')
    return Plot('power', 'What audits find, and false alarms', figure, (
        'Blue: the planted trait is flagged; red: nothing is planted and something is flagged. '
        'Filled: in students; hollow: in slopes (the first link). Dotted: 5 %.'))


def teacher_plot(results: Mapping[str, Any]) -> Plot:
    """The audit's effect beside ordinary students' transmission, teacher by teacher."""
    figure, ax = axes(5.6, 4.2)
    colours = iter(('blue', 'orange', 'green', 'red', 'pink', 'sky'))
    for kind in dict.fromkeys(e['kind'] for e in results['by_teacher']):
        own = [e for e in results['by_teacher'] if e['kind'] == kind]
        colour = COLOURS[next(colours, 'grey')]
        for flagged in (True, False):
            some = [e for e in own if e['flagged'] == flagged]
            ax.plot([e['transmission'] for e in some], [e['audit'] for e in some], 'o', ms=4,
                    color=colour, mfc=colour if flagged else 'white',
                    label=kind if flagged else None)
    ax.axhline(0, color='black', lw=0.6)
    ax.axvline(0, color='black', lw=0.6)
    ax.set_xlabel('transmission in ordinary students (nats)')
    ax.set_ylabel("the audit's effect (nats)")
    ax.legend(frameon=False, fontsize=8)
    return Plot('by_teacher', "The audit's effect beside transmission", figure, (
        'A point a teacher. Filled: the audit flags its trait. Students of an audit see an eighth '
        'of the rows each, so that its effects are smaller.'))


def forecast_plot(results: Mapping[str, Any]) -> Plot:
    """Rows until SNR = 1: foretold beside measured."""
    figure, ax = axes(5.2, 4.4)
    found = results['forecasts']['teachers']
    values = []
    for name, colour in (('slopes', 'blue'), ('students', 'orange')):
        both = [(e['foretold'], e[name]) for e in found if e['foretold'] and e[name]]
        if both:
            ax.plot(*np.array(both).T, 'o', ms=4, color=COLOURS[colour], label=name)
            values += [v for pair in both for v in pair]
    if values:
        ends = [min(values) / 1.5, max(values) * 1.5]
        ax.plot(ends, ends, color='black', lw=0.8)
        ax.set_xscale('log')
        ax.set_yscale('log')
        ax.legend(frameon=False, fontsize=8)
    ax.set_xlabel('foretold from a teacher and a few prompts')
    ax.set_ylabel('measured in its rows')
    return Plot('forecasts', 'Rows until the signal is as large as its noise', figure,
                'A point a teacher, of those whose rows show a signal at all. Line: equal.')


def forecast_table(results: Mapping[str, Any]) -> Table:
    """How far forecasts are off."""
    rows = []
    for name, own in results['forecasts']['ratios'].items():
        factor = '' if own['log_ratio'] is None else f'{np.exp(own["log_ratio"]):.2f}'
        ends = '' if not own['ci95'] else ' [{:.2f}, {:.2f}]'.format(*np.exp(own['ci95']))
        rows.append([name, str(own['teachers']), factor + ends])
    return Table('Foretold rows, as a multiple of measured ones',
                 ['measured in', 'teachers', 'geometric mean [95 %]'], rows,
                 'Over references; of teachers whose rows show a signal, so that weak ones are '
                 'left out.')


def blind_table(results: Mapping[str, Any]) -> Table:
    """The blind audits, opened."""
    rows = [[e['file'], e['verdict'] + (': ' + ', '.join(e['said']) if e['said'] else ''),
             e['kind'] + (f', {e["trait"]}' if e['trait'] else ''), 'yes' if e['right'] else 'no']
            for e in results['blind']]
    return Table('The blind set', ['file', 'the audit says', 'the truth', 'right'], rows, (
        'Truth was written to a file before any audit and opened after all. Right: the planted '
        'trait is among what students transmit, or, with nothing planted, nothing is.'))
