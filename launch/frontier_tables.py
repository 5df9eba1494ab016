"""The table of defences: what each takes off transmission, what of the use is kept, who gets by."""

from typing import Any

from launch.entries import Results, effect, entry
from launch.figures import interval

Rows = tuple[list[str], list[list[Any]]]


def frontier_table(results: Results, run: str) -> Rows:
    """A line an arm of a run with held-out rows, in the arms' order."""
    of = {f['arm']: f for f in entry(results, run, 'frontier')}
    rows = []
    for arm in entry(results, run, 'arms'):
        use, own = arm.get('utility'), of.get(arm['name'], {})
        short = lambda found: '' if not found else interval(found)
        share = '' if not use or use.get('share') is None else f'{100 * use["share"]:.0f} %'
        rows.append([f'`{arm["name"]}`', interval(effect(results, run, arm['name'])),
                     '' if not use else interval(use, 'nats3'), share, short(own.get('taken')),
                     short(own.get('beyond_twin')), short(own.get('gained')),
                     'yes' if own.get('defends') else ''])
    return ['arm', 'selectivity, nats [95 %]', 'use, nats a token [95 %]', 'use kept',
            'taken off [95 %]', 'more than its random twin [95 %]', "the attacker's gain [95 %]",
            'defends'], rows


TABLES = {'frontier': frontier_table}
