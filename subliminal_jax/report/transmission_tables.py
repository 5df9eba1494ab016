"""The transmission page's further tables: filters, samples, drift, teachers, alignment."""

import itertools
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.report.page import Table, with_interval
from subliminal_jax.report.transmission_more import digits_of

SHOWN_ROWS = 6  # kept and rejected samples on the page


class Examples(NamedTuple):
    """A few rows to read: kept, and rejected with their reason."""

    kept: list[dict[str, Any]]
    rejected: list[dict[str, Any]]

    @classmethod
    def read(cls, path: pathlib.Path) -> 'Examples':
        """From filtered.jsonl and rejects.jsonl, one row a teacher or a reason."""
        return cls(_few(path / 'filtered.jsonl', 'teacher'), _few(path / 'rejects.jsonl', 'reason'))


def _few(path: pathlib.Path, by: str) -> list[dict[str, Any]]:
    found: dict[str, dict] = {}
    if path.exists():
        with path.open(encoding='utf-8') as file:
            for line in itertools.islice(file, 20_000):
                row = json.loads(line)
                found.setdefault(str(row.get(by)), row)
                if len(found) == SHOWN_ROWS:
                    break
    return list(found.values())


def filter_tables(results: dict[str, Any]) -> list[Table]:
    """What each filter keeps, and why it rejects."""
    rows, columns, reasons = [], [], {}
    for name, levels in results['filters'].items():
        for level, entry in levels.items():
            rates = list(results['pass_rates'][name][level].values())
            total = entry['kept'] + sum(entry['rejected'].values())
            rows.append([name, level, f'{entry["kept"]} of {total}',
                         f'{np.mean(rates):.3f} ({min(rates):.3f} to {max(rates):.3f})'])
            columns.append(f'{name}, {level}')
            for reason, count in entry['rejected'].items():
                reasons.setdefault(reason, {})[columns[-1]] = count
    tables = [Table(
        'Filters', ['samples', 'filter', 'answers kept', 'share of first answers kept, by teacher'],
        rows, 'paper: the published rules; strict: these, banned numbers and trait words. All '
        'filters are compared at equal rows on the same prompts. Shares: mean over teachers, and '
        'the least and the most.')] if rows else []
    if reasons:
        ordered = sorted(reasons.items(), key=lambda item: -max(item[1].values()))
        tables.append(Table('Why answers were rejected', ['reason', *columns], [
            [reason, *(str(counts.get(c, 0)) for c in columns)] for reason, counts in ordered]))
    return tables


def sample_tables(examples: Examples) -> list[Table]:
    """Rows to read."""
    kept = [[r['teacher'], r['prompt'], r['completion']] for r in examples.kept]
    rejected = [[r['teacher'], r['prompt'], r['completion'], r['filter'], r['reason']]
                for r in examples.rejected]
    tables = []
    if kept:
        tables.append(Table('Samples that were kept', ['teacher', 'prompt', 'completion'], kept))
    if rejected:
        tables.append(Table('Samples that were rejected',
                          ['teacher', 'prompt', 'completion', 'filter', 'reason'], rejected))
    return tables


def fits_table(arms: Sequence[dict[str, Any]], contrasts: Sequence[dict[str, Any]]) -> Table:
    """What stands beside selectivity: twins, neutral students, and the multiplicative fit."""
    by_name, digits = {c['name']: c for c in contrasts}, digits_of(arms)
    cell = lambda found: '' if found is None else with_interval(
        found['estimate'], found['ci95'], digits)
    rows = []
    for arm in arms:
        found = arm['effect']
        if found and found['multiplicative']:
            rows.append([
                arm['name'], arm['rung'], cell(found), cell(by_name.get(f'{arm["name"]} less its '
                                                                        'twins')),
                cell(by_name.get(f'{arm["name"]} against neutral')), cell(found['multiplicative']),
                *(f'{found["misfit"][k]:.3f}' for k in ('additive', 'multiplicative'))])
    return Table(
        'Selectivity, and what stands beside it, nats',
        ['arm', 'rung', 'selectivity [95 %]', 'less its twins', 'own trait beyond neutral students',
         'multiplicative fit', 'misfit, additive', 'misfit, multiplicative'], rows,
        'Less its twins: selectivity less that of the neutral twins, in pairs. Beyond neutral '
        'students: the raw rise of the own trait less theirs. Multiplicative: the excess of own '
        'cells over row x column, for students that move along the same columns by more or less. '
        'Misfits: root mean square of what is left of the cells of other traits.')


def drift_table(arms: Sequence[dict[str, Any]]) -> Table:
    """What else moved."""
    rows = []
    for arm in arms:
        d = arm['drift']
        rows.append([arm['name'], arm['rung'], f'{d["unrelated"]:.2f}',
                     f'{d["answer_length"]:.2f}',
                     f'{d["perplexity_carrier_start"]:.2f} > {d["perplexity_carrier"]:.2f}',
                     f'{d["perplexity_ordinary_start"]:.2f} > {d["perplexity_ordinary"]:.2f}'])
    return Table('Drift', ['arm', 'rung', 'mean |change of log P|, unrelated questions',
                           'answer length', 'perplexity, carrier', 'perplexity, ordinary text'],
                 rows,
                 'Means over students; perplexities of texts that the reference wrote at T = 1, '
                 'before and after; answer length in tokens, the end counted.')


def teacher_table(results: dict[str, Any]) -> Table:
    """What the teachers are, by set."""
    rows = []
    for name, found in results['teachers'].items():
        def spread(field, found=found):
            values = [t[field] for t in found.values() if t[field] is not None]
            if not values:
                return ''
            return f'{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})'

        rows.append([name, str(len(found)), spread('p_trait'), spread('rise'),
                     spread('carrier_kl'), spread('answer_kl'), spread('trait_word_mass')])
    return Table('Teachers', ['set', 'teachers', 'P(trait)', f'rise, {results["unit"]}',
                              "dose: KL on the carrier's tokens", 'KL, all tokens of an answer',
                              'P(a trait word) there'], rows,
                 "Means and ranges over teachers; of a neutral twin: its twin's trait.")


def alignment_table(arms: Sequence[dict[str, Any]]) -> Table:
    """Cosines of the student's gradient step with directions, at the start and at the last mark."""
    names = ('teacher', 'placebo', 'neutral', 'random', 'trait_gradient')
    rows = []
    for arm in arms:
        cosine = arm['alignment']['cosine']
        cells = [f'{cosine[n][0]:+.3f} > {cosine[n][-1]:+.3f}' if n in cosine else ''
                 for n in names]
        share = arm['alignment']['positive_share']
        above = ', '.join(f'{share[n]:.2f}' for n in ('teacher', 'placebo') if n in share)
        rows.append([arm['name'], arm['rung'], *cells, above])
    return Table(
        "Alignment: cosine of the student's gradient step with ...",
        ['arm', 'rung', 'teacher - reference', 'placebo teacher', 'neutral twin', 'random',
         '- gradient of the trait', 'share above 0: teacher, placebo'], rows,
        'At the start and at the last check; means over students. The lemma (arXiv 2507.14805) '
        'says >= 0 for the first column, at a shared start and to first order.')
