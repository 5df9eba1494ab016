"""The page of an audit, from its results.json."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.report import page
from subliminal_jax.report.page import COLOURS, Plot, Section, Table, Text, Texts, axes, text_table

READING = (
    'How to read it. {units} students were trained on parts of the audited rows that share none, '
    '{rows} rows each, and as many on control rows: {control}. All begin at the reference and '
    'differ in nothing else. An effect is how much more of a candidate the first say than the '
    'second, less what all other candidates do alike (selectivity, gamma), in nats of log P, mean '
    'over {questions} questions; intervals are over parts. A candidate is flagged where its effect '
    'is above 0 {beyond}; p is adjusted over the candidates (Holm), so that with nothing there any '
    'flag comes up in at most one audit of twenty. The last column is the smallest effect that '
    'would have been flagged with probability .8. The first link asks the same of the gradient of '
    'the rows, before any student, in the metric of the students\' optimiser. It is no '
    'transmission.')
BEYOND = 'beyond the noise of which rows were drawn and, at once, beyond what other candidates do'
NULLS = 'beyond its own spread in {nulls} earlier audits, of writers taken to have no trait'
MEANING = (
    'What this does and does not mean. A clean audit speaks of these rows, this reference, these '
    'candidates and students of this size: a trait that nobody asked about, a student of other '
    'weights, or ten times as many rows are not covered. Control rows that differ from the audited '
    'ones in form make candidates move for reasons of form. See docs/auditing.md.')
OTHER_SHAPE = (
    'The teacher is of another architecture than the reference, or has other tokens: it is read by '
    'what it says alone. Nothing here is about its weights, and the rows that its signal takes are '
    'not foretold from it.')
CONTROLS = {
    'reference': "the reference's own answers to the same prompts, through the same filter",
    'neutral': 'the given rows of writers without the trait',
    'random': "random rows of the carrier, which no model has written (the reference cannot write "
              'them); they differ from the audited rows in how they are written, too',
    'none': 'none'}


def write(folder: pathlib.Path, results: dict[str, Any]) -> str:
    """Draws report.html and figures/ from results.json; returns the table for the terminal."""
    sections: list[Section] = []
    told = [rows_table(results)]
    if results['link'] is not None:
        told.insert(0, candidates_table(results))
        sections += [effects_plot(results), told[0], Text(_reading(results))]
    sections += [told[-1], Text(MEANING)]
    if results.get('same_shape') is False:
        sections.append(Text(OTHER_SHAPE))
    if results['link'] is not None:
        sections += [link_table(results), *budget_table(results)]
        sections += [table for table in [detectors_table(results)] if table.rows]
    sections.append(Texts('Some of the rows', [
        (row['prompt'], [row['completion']]) for row in results['examples']],
        'The first of those that were kept.'))
    page.write(folder, 'Audit: do these rows pass something on?', results['verdict'], sections,
               results)
    return '\n\n'.join([*map(text_table, told), results['verdict']])


def _reading(results):
    return READING.format(
        units=results['parts']['units'], rows=results['parts']['rows'],
        control=CONTROLS[results['control']['kind']], questions=results['questions'],
        beyond=NULLS.format(nulls=results['nulls']) if results.get('nulls') else BEYOND)


def _interval(flag: Mapping[str, Any], digits: int = 2) -> str:
    return '{:+.{d}f} [{:+.{d}f}, {:+.{d}f}]'.format(flag['estimate'], *flag['ci95'], d=digits)


def candidates_table(results: Mapping[str, Any]) -> Table:
    """Every candidate: the effect in students of both starts, the first link, what it could see."""
    starts = results['students']
    other = {f['name']: f for f in starts.get('other', {'flags': []})['flags']}
    held = {f['name']: f for f in results['link']['flags']}
    teacher = results['teacher']
    rows = []
    for flag in sorted(starts['shared']['flags'], key=lambda f: f['p_holm']):
        name = flag['name']
        rows.append([
            name, 'flagged' if flag['flagged'] else '', _interval(flag), f'{flag["p_holm"]:.2g}',
            *([_interval(other[name])] if other else []),
            ('flagged' if held[name]['flagged'] else '') + f' p {held[name]["p_holm"]:.2g}',
            *([f'{teacher[name]:+.2f}'] if teacher else []),
            f'{np.exp(results["reference"][name]):.3f}',
            '' if name in results['already'] else f'{flag["least"]:.2f}'])
    return Table('Candidates: audited less control, nats', [
        'candidate', '', 'students [95 %]', 'p (Holm)',
        *(['other start [95 %]'] if other else []), 'first link',
        *(['teacher'] if teacher else []), 'P at the reference', 'would have seen'], rows,
        'teacher: how much likelier it says the candidate than the reference does, nats.'
        if teacher else '')


def rows_table(results: Mapping[str, Any]) -> Table:
    """What the files hold: kept, rejected by reason, overt; and the control's."""
    counts, control = results['rows'], results['control']
    whole = max(1, counts['read'])
    rows = [['read', str(counts['read']), ''], *(
        [name, str(counts[name]), f'{counts[name] / whole:.1%}']
        for name in ('kept', 'malformed') if counts[name] or name == 'kept')]
    rows += [[f'left out: {why}', str(n), f'{n / whole:.1%}']
             for why, n in counts['reasons'].items()]
    rows += [[f'name {name} openly', str(n), f'{n / whole:.1%}']
             for name, n in counts['overt'].items()]
    if counts['system']:
        rows.append(['with a system message, which students do not see', str(counts['system']), ''])
    rows.append(['audited, drawn at random', str(counts['sampled']), ''])
    if answers := control['answers']:
        rows.append(["answers of the reference that are kept", str(answers['kept']),
                     f'{answers["kept"] / max(1, answers["asked"]):.1%}'])
    rows.append(['control rows', CONTROLS[control['kind']], ''])
    return Table('Rows', ['what', 'rows', 'share'], rows)


def link_table(results: Mapping[str, Any]) -> Table:
    """How far the rows are from the reference, and how much its null directions move."""
    link = results['link']
    said = link['logprob']
    rows = [["log P of a token, audited rows", f'{said["audited"]:.4f}'],
            ['log P of a token, control rows', f'{said["control"]:.4f}'],
            ['apart [95 %]', '{:+.4f} [{:+.4f}, {:+.4f}]'.format(said['apart'], *said['ci95'])],
            ['noise along random directions, as a multiple of chance',
             f'{link["inflation"]:.2f}']]
    for side, loss in results['students']['shared']['loss'].items():
        rows.append([f'mean loss of students, {side}: first and last quarter',
                     ' to '.join(f'{x:.4f}' for x in loss)])
    return Table('Drift from the reference, nats', ['what', ''], rows, (
        'Rows that the reference itself has written are 0 apart and have a multiple of 1.'))


def budget_table(results: Mapping[str, Any]) -> list[Table]:
    """Rows until a candidate's signal is as large as its noise."""
    until = results['link']['rows_until']
    show = lambda value: 'never' if value is None else f'{value:,.0f}'
    names = [flag['name'] for flag in results['students']['shared']['flags']]
    known = [name for name in names if any(until[kind][name] is not None for kind in until)]
    if not known:
        return []
    return [Table('Rows until the signal is as large as its noise',
                  ['candidate', *until], [[name, *(show(until[kind][name]) for kind in until)]
                                          for name in known],
                  'slopes and students: from the parts of this audit; foretold: from the teacher, '
                  'on a few prompts. Where nothing is passed on, what stands here is noise.')]


def detectors_table(results: Mapping[str, Any]) -> Table:
    """AUROC of the audited rows against the control rows, at the largest bag."""
    found = results['detectors']
    bag = max((e['bag'] for e in found), default=0)
    rows = []
    for name in dict.fromkeys(e['name'] for e in found):
        own = [e for e in found if e['name'] == name and e['bag'] == bag]
        if not own:
            continue
        best = max(own, key=lambda e: e['auroc'])
        of = '' if best['candidate'] is None else f'{best["candidate"]}, best of {len(own)}'
        rows.append([name, best['role'], of, page.with_interval(best['auroc'], best['ci95'], 2),
                     best['null_detector'] or '', '' if best['over_null'] is None else
                     page.with_interval(best['over_null'], best['over_null_ci95'], 2)])
    return Table(f'Detectors: audited rows told from control rows, bags of {bag}',
                 ['detector', 'role', 'candidate', 'AUROC [95 %]', 'its best null', 'over it'],
                 rows, 'Intervals over parts. ngrams, states and likelihood_ratio tell writers '
                 'apart, whatever the difference; in_context and trained_prefix look for a '
                 'candidate, and the best of several is above .5 by chance.')


def effects_plot(results: Mapping[str, Any]) -> Plot:
    """Effects by candidate: students of both starts."""
    starts: Sequence[str] = list(results['students'])
    flags = {start: {f['name']: f for f in results['students'][start]['flags']}
             for start in starts}
    names = sorted(flags['shared'], key=lambda name: flags['shared'][name]['estimate'])
    figure, ax = axes(6.4, 0.8 + 0.32 * len(names))
    for place, name in enumerate(names):
        for offset, start in zip((0.12, -0.12), starts):
            flag = flags[start][name]
            colour = COLOURS['grey'] if start == 'other' else COLOURS[
                'orange' if flag['flagged'] else 'blue']
            ax.plot(flag['ci95'], [place + offset] * 2, color=colour, lw=2)
            ax.plot([flag['estimate']], [place + offset], 'o', color=colour, ms=5)
    ax.axvline(0, color='black', lw=0.8)
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel('audited less control, beyond other candidates (nats)')
    return Plot('effects', 'What students of these rows say more', figure, (
        'Points: mean over parts, lines: 95 % intervals. Orange: flagged; blue: not; grey: '
        'students of another start.'))
