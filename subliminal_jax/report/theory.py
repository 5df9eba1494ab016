"""The theory experiment's tables and page, from its results.json."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from subliminal_jax.report import page, theory_figures as figures, theory_tracks
from subliminal_jax.report.page import Section, Table, Text, text_table
from subliminal_jax.report.theory_entries import (
    SHORT,
    Entry,
    at,
    chosen,
    label_of,
    live,
    name_of,
    span,
)


def write(folder: pathlib.Path, results: dict[str, Any]) -> str:
    """Writes the page of a run's folder and returns the table for the terminal."""
    cells, tracks = results['cells'], results['training']
    table = summary_table(results['summary'])
    names = [n for n in dict.fromkeys(map(name_of, cells)) if n != 'linear none']
    sections: list[Section | None] = [
        Text(PLAINLY), Text(INTRODUCTION), table, worst_table(cells), figures.agreement(cells),
        Text(AGREEMENT), figures.remainders(cells), Text(REMAINDERS),
        Text(kinks_text(results['kinks'])) if results['kinks'] else None,
        figures.coefficients(cells), Text(COEFFICIENTS),
        *[figures.sign_map(cells, name) for name in sorted(names)], Text(signs_text(results)),
        figures.losses(cells), Text(LOSSES), figures.trait_parts(cells), Text(trait_text(results)),
        figures.reach(cells), Text(REACH),
    ]
    if tracks:
        sections += [theory_tracks.training(tracks), theory_tracks.table(tracks),
                     Text(training_text(tracks))]
    sections += [promised_table(cells), other_table(cells)]
    page.write(folder, 'The theorem of subliminal learning, checked', results['verdict'],
               [s for s in sections if s is not None], results)
    return text_table(table) + '\n\n' + results['verdict']


PLAINLY = (
    'In plain words: a teacher network learns something (here: digits, or an animal’s name as an '
    'answer). A student network that began with the same weights never sees that lesson. It only '
    'sees what the teacher now says to inputs that have nothing to do with it, and is nudged once '
    'to say the same. The theorem claims that this nudge, if both steps are small, cannot lead '
    'away from the lesson. Every plot says what is promised of what it shows: the lemma (the nudge '
    'points the teacher’s way, wherever the teacher went), the theorem (if the teacher took a '
    'small gradient step on its own loss, that loss falls for the student too), or nothing.')
INTRODUCTION = (
    'The teacher moves from the start by eps dT, dT = -grad L_T. The student sees the teacher’s '
    'outputs on inputs of any kind and moves by alpha dS, one gradient step of its own loss. With '
    'v = J dT, the change of the outputs along the teacher’s step, and M the curvature of the '
    'student’s loss, dS . dT = eps A + O(eps²) with A = E[v’ M v]: never negative, so the student '
    'moves towards the teacher whatever it was shown. This page checks it cell by cell, shows how '
    'far it reaches, and follows it into training, where nothing is promised any more.')
AGREEMENT = (
    'From a shared start the two sides agree over many decades, for noise, constants and '
    'photographs as for digits: nothing in the inputs needs to be about the trait. From another '
    'start the inner product neither follows eps A nor keeps its sign: most of it is the student’s '
    'wish to imitate the untrained teacher, which is there at any eps. The exception proves the '
    'rule: at LoRA’s first step B = 0, so two adapters with another A (pink) are the same function '
    'and there is nothing to imitate. Their dots run parallel to the diagonal: where half of A is '
    'shared at half its height, where none is, far below, with either sign.')
REMAINDERS = (
    'What the first order leaves falls as eps², and what the second order (one nested '
    'Jacobian-vector product, exact) leaves falls as eps³, down to the floor where two nearly '
    'equal outputs are subtracted. float32 reaches its floor some nine decades earlier: there '
    'eps = 1e-4 is already noise for auxiliary logits on noise.')
LOSSES = (
    'The theorem’s own claim: the teacher’s loss, which the student never sees, falls by alpha '
    'eps A as long as the step is small. Where eps and alpha are large the curvature of L_T takes '
    'over and the dots leave the diagonal upwards, as rises. Adam’s first step and sign descent '
    'are not covered; they mostly fall too, since a sign keeps the direction of each coordinate.')
COEFFICIENTS = (
    'How wrong is the first order, and does the theory know? For smooth activations the relative '
    'error per unit of eps is B / A, seed by seed, over three decades and both signs; the few dots '
    'beside the line are those whose third order already shows at this eps. For ReLU the dots '
    'scatter: the formula does not see the kinks between the start and the teacher.')
REACH = (
    'The second-order term predicts the reach in alpha well (it is the curvature of L_T along the '
    'student’s step). In eps it says only where a parabola would turn back: real curves saturate '
    'and often never change sign. A certificate needs Lipschitz constants and exists here for the '
    'linear model alone; it is far smaller than what is found by search.')


def kinks_text(found: dict[str, Any]) -> str:
    """Why ReLU's remainders bend, with this run's numbers."""
    (least, middle, most), crossed = found['eps'], found['crossed']
    text = (f'ReLU’s slope jumps where a hidden unit changes its sign. On its way to eps = '
            f'{least:.0e} a teacher crosses {crossed[0]:.2g} such kinks in the mean over cells, to '
            f'{middle:.0e} {crossed[1]:.2g}, to {most:g} {crossed[2]:.0f}. What one adds grows '
            'with eps, and so does their number: together a term of the order of eps² that no '
            'derivative at the start knows. So beyond the first kink the remainder keeps no clean '
            'slope, with or without the second-order term.')
    if found['slope'] is not None:
        text += (f' Before the first kink the function is smooth and the slope is '
                 f'{found["slope"]:.2f} (mean over {found["pairs"]} pairs of neighbouring eps).')
    return text


def summary_table(summary: Sequence[dict[str, Any]]) -> Table:
    """A row a model and precision: the promised cells."""
    rows = []
    for row in summary:
        alive = row['live']
        rows.append([
            f'{row["model"]}, {row["dtype"]}', row['cells'], row['cells'] - alive,
            f'{row["least_form"]:.1e}', _number(row['median_error'], '.1e'),
            _number(row['worst_error'], '.1e'), f'{row["near"]}/{alive}', span(row['slopes']),
            span(row['slopes_second_order']), f'{row["held"]}/{alive}', f'{row["fell"]}/{alive}'])
    return Table(
        'Under the promise: shared start, one gradient step', [
            'model', 'cells', 'A = 0', 'least A', 'median off', 'worst seed', 'below 1e-3', 'slope',
            '2nd off', 'sign', 'L_T falls'],
        rows, 'At eps = 1e-4: |actual / predicted - 1| of the median cell (means over seeds) and '
        'of the worst seed of the worst cell; cells that are off by less than 1e-3; cells where '
        'the sign holds for every seed. Slopes: of the remainder over eps, and with the '
        'second-order term taken off; 2 and 3 for smooth activations. L_T falls: for every seed, '
        'at the smallest eps.')


def _fractions(found: dict[str, Any]) -> str:
    """'0.50 [0.34, 0.66] (all .., class .., aux ..)'."""
    shown = lambda f: page.with_interval(f['positive_fraction'], f['ci95'], 2)
    kinds = ', '.join(f'{name} {shown(f)}' for name, f in found['by_logits'].items())
    return f'{shown(found)} ({kinds})'


def signs_text(results: dict[str, Any]) -> str:
    """The fractions of positive signs by start, with intervals over seeds."""
    parts = [f'{start}: {_fractions(found)}' for start, found in results['signs'].items()]
    return ('How to read the maps: the first block is the theorem’s, and it is blue from edge to '
            'edge but for the largest eps, where the step is no longer small. Adam’s first step '
            'and sign descent mostly follow it without a promise. Rows of other starts are blue '
            'or red as a whole, because the sign is that of an imitation that eps does not touch. '
            'Fraction of positive inner products for gradient steps of the image models at eps = '
            f'1e-4, with a 95 % interval over seeds, by start, and by the logits that the student '
            f'sees: {"; ".join(parts)}. Half is what a coin gives. Cells share their seeds’ '
            'weights, so the interval treats a seed as one unit.')


def trait_text(results: dict[str, Any]) -> str:
    """What another start leaves of the trait, by logits."""
    text = ('From another start the trait is in the student’s gradient as well, as the small blue '
            'part: proportional to eps, with a sign that the theorem does not fix, under an '
            'imitation that is orders of magnitude larger for small eps.')
    found = results['signs'].get('independent', {}).get('trait_part')
    if not found:
        return text
    return (f'{text} The sign of that part at eps = 1e-4 is positive in {_fractions(found)} of '
            'independent starts. Where the student’s logits include the class logits, on which '
            'L_T acts, any two networks share the output’s biases and the meaning of each output, '
            'and that alone points the same way; auxiliary logits mean nothing of their own, and '
            'there it is a coin’s.')


def training_text(tracks: dict[str, Any]) -> str:
    """What the tracks show, with the numbers of this run."""
    by = {(t['optimizer'], t['student']): t for t in tracks['tracks']}
    parts = []
    for optimizer in dict.fromkeys(t['optimizer'] for t in tracks['tracks']):
        shared = by[optimizer, 'shared']
        own, other, placebo = (by[optimizer, s]['means']
                               for s in ('shared', 'independent', 'placebo'))
        fall = shared['trait_loss'][0] - shared['trait_loss'][-1]
        share = f'falls by {fall:.3f}' + ('' if shared['share'] is None else (
            f', and of its fall over the probed steps the first order gives {shared["share"]:.0%}'))
        parts.append(
            f'{optimizer}: the student of the teacher has a mean cosine of '
            f'{own["cosine_teacher"]:+.3f} with the teacher’s displacement and '
            f'{own["cosine_placebo"]:+.3f} with the placebo’s; the student of the placebo '
            f'{placebo["cosine_teacher"]:+.3f} and {placebo["cosine_placebo"]:+.3f}; from another '
            f'start {other["cosine_teacher"]:+.4f} (random directions: '
            f'{own["cosine_random"]:.3f}). For the first of them L_T {share}, while the accuracy '
            f'goes from {shared["accuracy"][0]:.3f} to {shared["accuracy"][-1]:.3f}.')
    return (' '.join(parts) + ' Random directions are drawn from the covariance of the teacher’s '
            'own updates, so they hold pieces of its way: a strict null. The theorem is about one '
            'step; here every step is small, and what is no longer promised is that each of them '
            'starts where the teacher started.')


def _number(value: float | None, form: str = '.2g') -> str:
    return '' if value is None or np.isnan(value) else f'{value:{form}}'


def worst_table(cells: Sequence[Entry], count: int = 8) -> Table:
    """The promised float64 cells that are furthest from the first order."""
    rows = []
    for e in live(chosen(cells, promise='theorem', dtype='float64'))[:count]:
        kinks = f'{at(e, "kinks_crossed"):.1f}' if 'kinks_crossed' in e else 'smooth'
        rows.append([
            f'{name_of(e)}, {label_of(e)}', f'{at(e, "ratio"):.5f}',
            f'{at(e, "relative_error"):.1e}', kinks, _number(e['error_coefficient']['largest']),
            _number(e['remainder_slope'], '.2f')])
    return Table('The worst promised cells', [
        'cell', 'actual / predicted', 'worst seed off by', 'kinks crossed', 'largest |B / A|',
        'slope'], rows,
        'At eps = 1e-4. What goes wrong is one of two things: kinks of ReLU between the start and '
        'the teacher, or a second order B that is large beside A, as the theory itself says.')


def promised_table(cells: Sequence[Entry]) -> Table:
    """Every promised cell, worst first."""
    rows = [[
        f'{name_of(e)}, {label_of(e)}' + (', float32' if e['dtype'] == 'float32' else ''),
        f'{e["gauss_newton"]:.2g}',
        _number(at(e, 'relative_error'), '.1e'), _number(e['remainder_slope'], '.2f'),
        _number(e.get('remainder_slope_second_order'), '.2f'),
        _number(e.get('change_slope_second_order'), '.2f'), _number(e['estimated_eps']),
        _number(e['estimated_eps_second_order']), _number(e['estimated_alpha']),
        _number(e['estimated_alpha_second_order']), _number(e['certified_eps'], '.1e'),
    ] for e in chosen(cells, promise='theorem')]
    return Table('Every promised cell, worst first', [
        'cell', 'A', 'worst error at 1e-4', 'slope', '2nd off', 'L_T, 2nd off', 'eps, search',
        'eps, 2nd order', 'alpha, search', 'alpha, 2nd order', 'eps, certified'], rows,
        'Empty: A = 0, a remainder that is rounding, a second-order term that never turns the '
        'sign, or no Lipschitz constant. Smallest values over seeds.')


def other_table(cells: Sequence[Entry]) -> Table:
    """Every cell of which nothing is promised: signs and falls at eps = 1e-4, worst row first."""
    others = chosen(cells, promise='nothing')
    columns = sorted({(e['init'], e['optimizer']) for e in others},
                     key=lambda c: (c[0] != 'shared', c))
    grouped: dict[str, dict[tuple[str, str], str]] = {}
    for e in others:
        key = f'{name_of(e)}, {label_of(e)}' + (', float32' if e['dtype'] == 'float32' else '')
        shown = f'{at(e, "positive_fraction"):.2f} / {at(e, "fall_fraction"):.2f}'
        grouped.setdefault(key, {})[e['init'], e['optimizer']] = shown
    rows = [[key, *[found.get(c, '') for c in columns]] for key, found in grouped.items()]
    return Table('Every other cell, worst first: nothing is promised', [
        'cell', *[f'{SHORT.get(s, s)}, {o}' for s, o in columns]], rows,
        'Fraction of seeds with dS . dT > 0 / with L_T falling, at eps = 1e-4.')
