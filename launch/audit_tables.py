"""Tables of the audit's benchmark: what audits find, and the blind set."""

from collections.abc import Mapping
from typing import Any

from launch.entries import Results, entry
from launch.figures import interval
from subliminal_jax.report.audit_benchmark import KINDS

Rows = tuple[list[str], list[list[Any]]]


def _share(found: Mapping[str, Any] | None) -> str:
    return '' if found is None else interval(found, 'percent')


def audits_table(results: Results, run: str) -> Rows:
    """By kind of rows: how many audits flag the planted trait, or anything where none is."""
    measured, rows = entry(results, run, 'transmission'), []
    for kind in entry(results, run, 'kinds'):
        if kind['kind'] == 'blind':
            continue
        own = ('own', 'held_own', 'plain_own') if kind['planted'] else (
            'any', 'held_any', 'plain_any')
        known = measured.get(kind['kind'])
        rows.append([
            f'`{kind["kind"]}`' + (f': {KINDS[kind["kind"]]}' if kind['kind'] in KINDS else ''),
            kind['audits'], 'found' if kind['planted'] else 'false alarm',
            '' if known is None else interval(known), *(_share(kind[name]) for name in own),
            _share(kind['other'])])
    return ['rows', 'audits', 'what is counted', 'transmission, nats [95 %]', 'students [95 %]',
            'slopes [95 %]', 'slopes, plain metric [95 %]', 'other start [95 %]'], rows


def blind_table(results: Results, run: str) -> Rows:
    """The blind audits beside their truth."""
    rows = [[f'`{e["file"]}`', ': '.join([e['verdict'], *filter(None, [', '.join(e['said'])])]),
             ', '.join(filter(None, (e['kind'], e['trait']))), 'yes' if e['right'] else 'no']
            for e in entry(results, run, 'blind')]
    return ['file', 'the audit says', 'the truth', 'right'], rows


TABLES = {'audits': audits_table, 'blind': blind_table}
