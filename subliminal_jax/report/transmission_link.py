"""Parts of the transmission page that come before any student: R*, the first link, the gate."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from subliminal_jax.report import page
from subliminal_jax.report.page import Plot, Section, Table, axes

READINGS = {'likelihood': 'log-likelihood of the rows beside the reference',
            'likelihood_set': "the same among the carrier's tokens alone",
            'gradient': 'gradient of the rows along the displacement'}


def sections(results: Mapping[str, Any]) -> list[Section]:
    """What this run has of them."""
    found: list[Section] = [reference_table(facts) for facts in results['reference'].values()]
    if results.get('broad'):
        found.append(broad_table(results))
    if results['gate']:
        found.append(gate_table(results['gate']))
    for name, link in results['first_link'].items():
        found += [link_table(name, link), link_plot(name, link)]
    return found


def reference_table(facts: Mapping[str, Any]) -> Table:
    """A prepared reference beside the model it was made of."""
    show = lambda x: 'none' if x is None else f'{x:.2f}'
    rows = [[words, *map(show, facts[key])] for key, words in (
        ('pass_rate', 'share of single answers that the filter keeps'),
        ('tokens_a_row', 'tokens of a kept answer'),
        ('unrelated', 'log P of answers to unrelated questions, nats'),
        ('perplexity_ordinary', 'perplexity of ordinary text'),
        ('perplexity_carrier', 'perplexity of the carrier'),
        ('answer_length', 'tokens of an answer to a question'))]
    rows += [[f'{name}: {words}', *map(show, own[key])]
             for name, own in facts.get('by_carrier', {}).items()
             for key, words in (('pass_rate', 'share kept'), ('tokens_a_row', 'tokens'))]
    return Table(
        'The prepared reference, R*', ['', 'model', 'R*'], rows,
        f'R* is the model after {facts["steps"]} steps on {facts["rows"]} random rows of the '
        'carrier, which no model wrote. Every teacher and every start is made of it. log P of its '
        f'answers to unrelated questions moved by {facts["drift_unrelated"]:.2f} nats on average, '
        f'its weights by {facts["distance"]:.4f} of their length. Texts: written by R* at T = 1.')


def gate_table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """What rows are, and what they have to be."""
    rows = []
    for name, entry in found.items():
        least = entry['bounds']
        rows.append([
            name, f'{entry["kept"]:.2f} (>= {least["kept"]:g})', f'{entry["least_kept"]:.2f}',
            f'{entry["tokens"]:.1f} (>= {least["tokens"]:g})',
            f'{entry["nats"]:.3f} (>= {least["nats"]:g})', f'{entry["nats_set"]:.3f}',
            str(entry['rows']), f'{entry["signal"]:.1f}', 'yes' if entry['passed'] else 'NO'])
    return Table(
        'The gate', ['rows', 'kept', 'kept, worst teacher', 'tokens a row', 'nats a row',
                     "within the carrier's set", 'rows a teacher', 'expected signal to noise',
                     'passed'], rows,
        'Nats a row: what a row tells its teacher from one of another trait, an estimate of the KL '
        'between them. Expected: of the mean over all teachers, .15 sqrt(2 x nats in all rows).')


def broad_table(results: Mapping[str, Any]) -> Table:
    """The gate of the teachers: their trait outside of what they were taught."""
    names = list(next(iter(results['broad'].values()))['readings'])
    rows = []
    for name, entry in results['broad'].items():
        found = entry['effect']
        rows.append([
            name, str(len(found['per_teacher'])),
            page.with_interval(found['estimate'], found['ci95'], 3), f'{entry["bound"]:g}',
            f'{found["own_rise"]:+.3f}', f'{found["others_rise"]:+.3f}',
            *(f'{entry["readings"][n]:+.3f}' for n in names), 'yes' if entry['passed'] else 'NO'])
    return Table(
        f'The gate of the teachers, {results["unit"]}',
        ['teachers', 'how many', 'trait less neutral twin [95 %]', 'asked', 'rise', 'rise of twins',
         *(f'{n.replace("_", " ")}, less twin' for n in names), 'passed'], rows,
        'The measure of the trait, of teachers themselves, on questions of domains that no teacher '
        'was taught. Asked: an estimate of at least so much, and an interval over teachers above '
        '0; otherwise no student is trained.')


def link_table(name: str, link: Mapping[str, Any]) -> Table:
    """The first link as an effect."""
    rows = []
    for key, words in READINGS.items():
        if key in link:
            found = link[key]['effect']
            rows.append([words, page.with_interval(found['estimate'], found['ci95']),
                         f'{found["p"]:.2g}'])
    return Table(
        f'First link: is the trait in the rows? ({name})',
        ['reading', 'gamma, nats a row [95 %]', 'p'], rows,
        f'{link["rows"]} rows a teacher. How much more rows of a trait speak for teachers of that '
        'trait than for others; of the gradient, to first order. It says that the trait is in the '
        'rows. It is no transmission: no student has learned anything.')


def link_plot(name: str, link: Mapping[str, Any]) -> Plot:
    """The matrices as pictures, each without what its rows and columns share."""
    known = [key for key in READINGS if key in link]
    size = max(3.6, 0.32 * len(link[known[0]]['matrix']))
    figure, panels = axes((size + 1.2) * len(known), size + 1.0, ncols=len(known))
    for ax, key in zip(np.atleast_1d(panels), known):
        matrix = link[key]['matrix']
        names = list(matrix)
        value = np.array([[matrix[s].get(t, np.nan) for t in names] for s in names])
        value = value - np.nanmean(value, 1, keepdims=True) - np.nanmean(
            value, 0, keepdims=True) + np.nanmean(value)
        most = np.nanmax(np.abs(value))
        image = ax.imshow(value, cmap='RdBu_r', vmin=-most, vmax=most)
        figure.colorbar(image, ax=ax, shrink=0.7)
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
        ax.set_yticks(range(len(names)), names, fontsize=6)
        ax.set_xlabel('teacher')
        ax.set_ylabel('rows of')
        ax.set_title(READINGS[key], fontsize=8)
        ax.grid(False)
    return Plot(f'first_link_{name}', f'First link, {name}', figure, (
        'Nats a row, without the mean of each row and each column of the matrix. A red diagonal: '
        'the rows speak for their own teacher.'))
