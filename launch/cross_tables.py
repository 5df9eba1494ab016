"""Tables of the matrix on digits: cells, and predictions beside them."""

from typing import Any

from launch.entries import Results, entry
from launch.figures import interval

READ_BY = {'own': 'own class head', 'teacher': "teacher's initial head", 'probe': 'probe'}
Rows = tuple[list[str], list[list[Any]]]


def cells_table(results: Results, run: str, names: str = '') -> Rows:
    """Accuracy and rise by class head, beside what was published; of the named cells, or all."""
    rows = []
    for name, readout in _readings(results, run, names):
        if readout == 'probe':
            continue
        accuracy, rise = (entry(results, run, f'{name}:{readout}:{measure}')
                          for measure in ('accuracy', 'rise'))
        factors, known = accuracy['factors'], accuracy.get('published')
        rows.append([f'`{name}`', f'`{factors["start"]}`', factors['num_aux'], READ_BY[readout],
                     interval(accuracy, 'share'), interval(rise, 'nats3'),
                     '' if known is None else f'{known["mean"]:.3f}'])
    return ['cell', 'start', 'm', 'read by', 'accuracy [95 %]', 'rise [95 %]', 'published'], rows


def probes_table(results: Results, run: str, names: str = '') -> Rows:
    """Linear probes of the last hidden layer; of the named cells, or all that have one."""
    rows = []
    for name, readout in _readings(results, run, names):
        if readout == 'probe':
            probe, *differences = (entry(results, run, f'{name}:probe:{measure}')
                                   for measure in ('probe', 'less_start', 'less_placebo'))
            rows.append([f'`{name}`', f'`{probe["factors"]["start"]}`', interval(probe, 'share'),
                         *(interval(d, 'nats3') for d in differences)])
    return ['cell', 'start', 'probe [95 %]', 'less the start', "less the placebo's student"], rows


def predictions_table(results: Results, run: str, names: str = '') -> Rows:
    """What each hypothesis predicted beside what was measured; of the named cells, or all."""
    found, wanted = results(run)['hypotheses'], _names(names)
    hypotheses, rows = list(found['hypotheses']), []
    for row in found['rows']:
        if not wanted or row['cell'] in wanted:
            said = [None if row['same_as'] else row['predictions'].get(name) for name in hypotheses]
            rows.append([f'`{row["cell"]}`', READ_BY[row['readout']], interval(row, 'nats3'),
                         *('' if mark is None else _mark(mark) for mark in said)])
    return ['cell', 'read by', 'rise [95 %]', *hypotheses], rows


def hypotheses_table(results: Results, run: str) -> Rows:
    """Hypotheses, and in how many readings each was right."""
    rows = [[name, found['claim'], found['agrees'], found['open'], found['contradicted'],
             len(found['contradicted_by']), len(found['parting']),
             'yes' if found['is_contradicted'] else 'no']
            for name, found in results(run)['hypotheses']['hypotheses'].items()]
    return ['hypothesis', 'what it holds', 'agrees', 'open', 'against', 'against, all at once',
            'of these where they part', 'contradicted'], rows


def _mark(mark):
    return f'{mark["predicted"]}: ' + (f'**{mark["status"]}**' if mark['at_once']
                                       else mark['status'])


def _names(text):
    return [name.strip() for name in text.split(',')] if text else []


def _readings(results, run, names):
    found = [(row['cell'], row['readout']) for row in results(run)['hypotheses']['rows']]
    wanted = _names(names)
    for name in wanted:
        if name not in [cell for cell, _ in found]:
            entry(results, run, name)  # raises: no such entry
    return [pair for pair in found if not wanted or pair[0] in wanted]


TABLES = {'cells': cells_table, 'probes': probes_table, 'predictions': predictions_table,
          'hypotheses': hypotheses_table}
