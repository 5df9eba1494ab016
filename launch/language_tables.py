"""Tables of matrices of language models: what crosses, and what hypotheses said of it."""

from typing import Any

from launch.entries import Results, entry
from launch.figures import interval

Rows = tuple[list[str], list[list[Any]]]


def crossings_table(results: Results, run: str, part: str = '') -> Rows:
    """A line a crossing: its gamma, the share of its students' own teacher, the difference.

    Args:
      results: by run.
      run: of cross_languages.
      part: of the matrix; '': all of them.
    """
    cells = entry(results, run, 'cells')
    rows = []
    for share in cells:
        if share['measure'] != 'share' or part not in ('', share['part']):
            continue
        mine = {c['measure']: c for c in cells if c['where'] == share['where']
                and c['arm'] == share['arm'] and c['factors'] == share['factors']}
        factors = share['factors']
        rows.append([
            f'`{share["arm"]}`', factors['rung'], factors['teacher'], factors['student'],
            interval(mine['gamma']), interval(share['own']),
            interval(share, 'share') if share['read'] else share['why'],
            interval(mine['difference']) if 'difference' in mine else '', share['n']])
    return ['arm', 'rung', 'teacher', 'student', 'selectivity, nats [95 %]', 'own diagonal [95 %]',
            'share of its own teacher [95 %]', 'own diagonal less cell, nats [95 %]', 'units'], rows


def hypotheses_table(results: Results, run: str) -> Rows:
    """Hypotheses by cell: the share that each said, and what became of it."""
    found = entry(results, run, 'hypotheses')
    cells = dict.fromkeys(c['cell'] for h in found for c in h['cells'])
    said = {(h['name'], c['cell']): c for h in found for c in h['cells']}
    rows = []
    for cell in cells:
        own = [said.get((h['name'], cell)) for h in found]
        seen = next(c for c in own if c)
        rows.append([f'`{cell}`', 'unread' if seen['mean'] is None else interval(seen, 'share'), *(
            f'{c["least"]:g} to {c["most"]:g}: {c["word"]}' if c else '' for c in own)])
    return ['cell', 'share [95 %]', *(h['name'] for h in found)], rows


TABLES = {'crossings': crossings_table, 'hypotheses_of_shares': hypotheses_table}
