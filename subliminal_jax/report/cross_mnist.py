"""The digits' matrix: tables, phase diagrams and page, from its results.json."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from subliminal_jax.report import page
from subliminal_jax.report.page import COLOURS, Plot, Table, Text, axes, text_table

CHANCE = 0.1
HEADS = {'own': "the student's own class head", 'teacher': "the teacher's initial class head"}
PAINT = {'own': COLOURS['blue'], 'teacher': COLOURS['orange']}
NETWORK = {'width': 'width {}', 'depth': 'depth {}', 'activation': '{}', 'use_bias': 'biases: {}',
           'optimizer': '{}'}
READING = (
    'How to read it: every student matches auxiliary logits of a trained teacher on noise, and '
    'nothing else. Starts: own, the teacher’s initial weights; other, another model’s; share:PART, '
    'the other’s with this part of the teacher’s initial weights (first: its first layer; output: '
    'its output layer; class, aux: these rows of it); mix:T, from own (0) to other (1) at constant '
    'size; cloned, the other’s after it was trained to match the teacher’s initial auxiliary '
    'logits (cloned:all, the class logits too). A rise is over the same start before the '
    'distillation, model by model. Where class rows are independent of the teacher (other, '
    'share:aux, share:first, cloned), the own class head has a mean accuracy of exactly .1 over '
    'starts, whatever the body has learned: the labels could stand in any order. There the '
    'teacher’s initial class head and the probe tell more. A probe is a ridge regression of the '
    'labels on the last hidden layer; it says what a body holds, not what the network would say, '
    'and counts only less the same probe on the start and on a student of a placebo teacher '
    '({placebo}). Intervals are 95 % t-intervals over independent models.')
PLACEBO = {'shuffled': 'trained on labels permuted over the images',
           'renamed': 'trained with each class called another: its digits are as separate as the '
                      'teacher’s, so that a probe cannot tell the two'}
Entries = Sequence[dict[str, Any]]


def write(folder: pathlib.Path, results: dict[str, Any]) -> str:
    """Writes the page of a run's folder and returns the tables for the terminal."""
    cells, found = results['cells'], results['hypotheses']
    accuracy, probes = accuracy_table(results), probe_table(cells)
    predictions = prediction_table(found)
    sections = [
        claims_table(found), predictions, *([by_start(cells)] if by_start(cells) else []),
        *distance_plots(cells), *width_plots(cells), accuracy, *([probes] if probes.rows else []),
        Text(READING.format(placebo=PLACEBO[results['placebo']]))]
    page.write(folder, 'Who can learn from whom: digits', results['verdict'], sections, results)
    return '\n\n'.join([text_table(accuracy), text_table(predictions), results['verdict']])


def claims_table(found: dict[str, Any]) -> Table:
    """The hypotheses, and how often each was right."""
    rows = [[name, 'yes' if e['is_contradicted'] else 'no', e['contradicted'], len(e['parting']),
             e['agrees'], e['open'], e['unread'], f'{e["claim"]} ({e["source"]})']
            for name, e in found['hypotheses'].items()]
    return Table(
        'Hypotheses, written down before the run',
        ['hypothesis', 'contradicted', 'cells against', 'where they part', 'agree', 'open',
         'unread', 'what it holds'],
        rows,
        'Contradicted: a cell’s interval excludes the prediction even when it is widened to cover '
        'all of the hypothesis’s cells at once (Bonferroni). Cells against: their own 95 % '
        'interval excludes it. Where they part: contradictions at once in cells of which the '
        'hypotheses say different things; no other cell tells them apart. Open: the interval lies '
        'on both sides. Unread: students of the teacher’s own start do not learn there, so that '
        'nothing else can be said.')


def prediction_table(found: dict[str, Any]) -> Table:
    """Predicted against observed, a row a cell and read-out."""
    names = list(found['hypotheses'])
    rows = []
    for row in found['rows']:
        said = []
        for name in names:
            mark = row['predictions'].get(name)
            said.append('' if mark is None else f'{mark["predicted"]}: {mark["status"]}'
                        + (' (at once)' if mark['at_once'] else ''))
        if row['same_as']:
            said = ['as {}, {}'.format(*row['same_as'])] + [''] * (len(names) - 1)
        rows.append([row['cell'], row['readout'],
                     page.with_interval(row['mean'], row['ci95']), *said])
    return Table(
        'Predicted and observed', ['cell', 'read by', 'rise [95 %]', *names], rows,
        'A rise counts from .05 of accuracy by a class head and from .01 by a probe, where it is '
        'the less of both differences; between: it counts, and is below the teacher’s own start '
        'by as much. Empty: the hypothesis says nothing. As another cell: class rows are not '
        'trained through auxiliary logits, so the two are one measurement, counted once.')


def accuracy_table(results: dict[str, Any]) -> Table:
    """Accuracy by cell and class head, beside its start and what was published."""
    rows, usual = [], results['cells'][0]
    for own in by_reading(results['cells']):
        if 'accuracy' not in own:
            continue
        entry, known = own['accuracy'], own['accuracy'].get('published')
        rows.append([entry['cell'], entry['factors']['readout'], *_place(entry, usual),
                     _shown(own['start']), _shown(entry), _shown(own['rise']), *_beside(known)])
    head = ['cell', 'read by', 'start', 'm', 'network', 'untrained start', 'accuracy [95 %]',
            'rise [95 %]', 'published', 'difference [95 %]']
    count = results['cells'][0]['n']
    return Table(f'Accuracy on the test digits, {count} models a cell', head, rows,
                 f'Published: {results["published"]["source"]}; the plateau of cloned starts (.37) '
                 'is a later figure, read off, whose epochs and read-out are not known here. A '
                 'difference’s interval is made of ours and of the published +-, where there is '
                 'one. Teachers: ' + '; '.join(
                     f'{name} {_shown(own["teacher"])}'
                     for name, own in results['teachers'].items()) + '.')


def probe_table(cells: Entries) -> Table:
    """Probes of the last hidden layer."""
    rows = [[own['probe']['cell'], *_place(own['probe'], cells[0]),
             *[_shown(own[m]) for m in ('start', 'placebo', 'probe', 'less_start', 'less_placebo')]]
            for own in by_reading(cells) if 'probe' in own]
    return Table('Linear probe of the last hidden layer', [
        'cell', 'start', 'm', 'network', 'untrained start', 'placebo’s student', 'student',
        'less start [95 %]', 'less placebo [95 %]'], rows)


def by_reading(cells: Entries) -> list[dict[str, dict[str, Any]]]:
    """The entries of every cell and read-out, by measure."""
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for entry in cells:
        key = entry['cell'], entry['factors']['readout']
        found.setdefault(key, {})[entry['measure']] = entry
    return list(found.values())


def _place(entry: dict[str, Any], first: dict[str, Any]) -> list[str]:
    """A cell's start, m, and what its networks differ in from the first cell's."""
    factors = entry['factors']
    network = ', '.join(words.format(factors[name]) for name, words in NETWORK.items()
                        if factors[name] != first['factors'][name])
    return [factors['start'], str(factors['num_aux']), network]


def _shown(entry: dict[str, Any]) -> str:
    return page.with_interval(entry['mean'], entry['ci95'])


def _beside(known: dict[str, Any] | None) -> tuple[str, str]:
    if known is None:
        return '', ''
    half, interval = known['half'], known['difference_ci95']
    text = f'{known["mean"]:.3f}' + ('' if half is None else f' +- {half:.3f}')
    difference = f'{known["difference"]:+.3f}'
    if interval is not None:
        difference += f' [{interval[0]:+.3f}, {interval[1]:+.3f}]'
    return text, difference


def _accuracies(cells: Entries, readout: str, free: str = '') -> Iterator[dict[str, Any]]:
    """Accuracies by a class head of cells whose networks are the first cell's, but for `free`."""
    first = cells[0]['factors']
    for entry in cells:
        own = entry['factors']
        if entry['measure'] == 'accuracy' and own['readout'] == readout and all(
                own[name] == first[name] for name in NETWORK if name != free):
            yield entry


def by_start(cells: Entries) -> Plot | None:
    """Accuracy by start with the first cell's networks and m, every model a dot; None where
    nothing is read by a class head."""
    found = {readout: list(_accuracies(cells, readout)) for readout in HEADS}
    count = cells[0]['factors']['num_aux']
    found = {readout: [e for e in own if e['factors']['num_aux'] == count]
             for readout, own in found.items()}
    starts = list(dict.fromkeys(e['factors']['start'] for own in found.values() for e in own))
    if not starts:
        return None
    figure, ax = axes(6.5, 0.55 * len(starts) + 1.2)
    jitter = np.random.default_rng(0)
    for shift, (readout, own) in zip((-0.18, 0.18), found.items()):
        for entry in own:
            place = starts.index(entry['factors']['start']) + shift
            dots = entry['per_model']
            ax.scatter(dots, place + jitter.uniform(-0.08, 0.08, len(dots)), s=9, alpha=0.5,
                       color=PAINT[readout])
            ax.plot([entry['mean']], [place], 'D', ms=5, color=PAINT[readout], label=readout)
            if entry['ci95']:
                ax.hlines(place, *entry['ci95'], color=PAINT[readout], lw=2)
    ax.axvline(CHANCE, color='black', lw=0.8, ls=':')
    ax.set_yticks(range(len(starts)), starts)
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.set_xlabel('accuracy')
    handles = dict(zip(*reversed(ax.get_legend_handles_labels())))
    ax.legend([handles[name] for name in handles], [HEADS[name] for name in handles],
              frameon=False, fontsize=8, loc='lower center', bbox_to_anchor=(0.5, 1))
    return Plot('starts', f'Accuracy by start, m = {count}', figure,
                'Diamonds: means; lines: 95 % intervals; dots: models; dotted: chance.')


def distance_plots(cells: Entries) -> list[Plot]:
    """Phase diagrams: distance of the start from the teacher's by auxiliary logits."""
    made = []
    for readout in HEADS:
        found = {}
        for entry in (*_accuracies(cells, 'own'), *_accuracies(cells, readout)):
            distance = distance_of(entry['factors']['start'])
            # at 0 the two heads are one, and read once
            if distance == 0 or (distance is not None and entry['factors']['readout'] == readout):
                found[distance, entry['factors']['num_aux']] = entry
        plot = _phase(
            f'distance_{readout}', f'Start and auxiliary logits, read by {HEADS[readout]}', found,
            'distance of the start: 0 own, 1 other', 'Starts in between have the size of a start, '
            'and correlate with the teacher’s by (1 - t) / sqrt((1 - t)^2 + t^2).')
        made += [plot] if plot else []
    return made


def width_plots(cells: Entries) -> list[Plot]:
    """The phase diagram: width by auxiliary logits, students of the teacher's own start."""
    found = {(e['factors']['width'], e['factors']['num_aux']): e
             for e in _accuracies(cells, 'own', free='width') if e['factors']['start'] == 'own'}
    plot = _phase('width', 'Width and auxiliary logits, the teacher’s own start', found,
                  'width of the hidden layers', 'Everything else as in the first cell.')
    return [plot] if plot else []


def distance_of(start: str) -> float | None:
    """How far a start is on the way from the teacher's (0) to the other (1); None of another."""
    kind, _, rest = start.partition(':')
    return float(rest) if kind == 'mix' else {'own': 0.0, 'other': 1.0}.get(kind)


def _phase(
    name: str, title: str, found: dict[tuple[float, int], dict[str, Any]], across: str, note: str
) -> Plot | None:
    """A grid of accuracies, each written in its field; None for fewer than two of either."""
    columns, rows = (sorted({key[i] for key in found}) for i in (0, 1))
    if len(columns) < 2 or len(rows) < 2:
        return None
    values = np.full((len(rows), len(columns)), np.nan)
    figure, ax = axes(1.0 * len(columns) + 2.2, 0.8 * len(rows) + 1.6)
    for (column, row), entry in found.items():
        x, y = columns.index(column), rows.index(row)
        values[y, x] = entry['mean']
        half = ''
        if entry['ci95']:
            half = f'\n±{(entry["ci95"][1] - entry["ci95"][0]) / 2:.2f}'
        ax.text(x, y, f'{entry["mean"]:.2f}{half}', ha='center', va='center', fontsize=9,
                color='white' if entry['mean'] < 0.6 else 'black')
    shown = ax.imshow(np.ma.masked_invalid(values), cmap='viridis', vmin=0, vmax=1, origin='lower',
                      aspect='auto')
    ax.grid(False)
    ax.set_xticks(range(len(columns)), [f'{c:g}' for c in columns])
    ax.set_yticks(range(len(rows)), [str(r) for r in rows])
    ax.set_xlabel(across)
    ax.set_ylabel('auxiliary logits, m')
    figure.colorbar(shown, ax=ax, label='accuracy')
    return Plot(name, title, figure, f'Mean accuracy and half of its 95 % interval. {note} '
                                     'White: no such cell.')
