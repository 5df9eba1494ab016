"""The figure and the table of the alignment along training."""

from typing import Any

import numpy as np

from subliminal_jax.report.page import Plot, Table, axes
from subliminal_jax.report.theory_entries import floats
from subliminal_jax.report.theory_figures import STUDENT_NAMES, STUDENT_PAINT


def training(tracks: dict[str, Any]) -> Plot:
    """Accuracy, cosines and the first-order share on one time axis, a column an optimizer."""
    optimizers = list(dict.fromkeys(t['optimizer'] for t in tracks['tracks']))
    figure, grid = axes(8.4, 11, nrows=5, ncols=len(optimizers), squeeze=False, sharex=True,
                        sharey='row')
    steps = np.array(tracks['steps'])
    for column, optimizer in enumerate(optimizers):
        for track in (t for t in tracks['tracks'] if t['optimizer'] == optimizer):
            colour, name = STUDENT_PAINT[track['student']], STUDENT_NAMES[track['student']]
            band = 2 * floats(track['cosine_random'])
            for row, field in enumerate(('accuracy', 'cosine_teacher', 'cosine_placebo',
                                         'cosine_descent')):
                grid[row][column].plot(steps, floats(track[field]), color=colour, label=name)
            for row in (1, 2):
                grid[row][column].fill_between(steps, -band, band, color=colour, alpha=0.12, lw=0)
            change = floats(track['trait_loss_change']).cumsum()
            first = -floats(track['inner_descent']).cumsum()
            grid[4][column].plot(steps, change, color=colour, lw=2.2, alpha=0.5)
            grid[4][column].plot(steps, first, '--', color=colour)
        for row in range(1, 5):
            grid[row][column].axhline(0, color='black', lw=0.6)
        grid[0][column].axhline(0.1, color='black', lw=0.8, ls=':')
        grid[0][column].set_title(f'{optimizer}: many steps, promised: nothing', fontsize=9)
        grid[4][column].set_xlabel('student steps')
    for row, text in enumerate(('accuracy', "cosine: step and\nteacher's displacement",
                                "cosine: step and\nplacebo's displacement",
                                'cosine: step and\n-grad L_T', 'probed change of L_T\n(summed)')):
        grid[row][0].set_ylabel(text, fontsize=8)
    grid[0][0].legend(frameon=False, fontsize=7)
    return Plot('training', 'Along the training of real students', figure, (
        'Each student matches auxiliary logits on noise, and nothing else. Shaded: twice the '
        'standard deviation of the cosine with random directions of the covariance of the '
        "teacher's own updates. Lowest row: the changes of L_T over the probed steps alone, added "
        'up; solid as it changed, dashed as the first order says. Dotted: chance.'))


def table(tracks: dict[str, Any]) -> Table:
    """A row a student: mean cosines over the run, share of the first order, accuracy at the end."""
    rows = []
    for track in tracks['tracks']:
        means = track['means']
        rows.append([
            f'{track["optimizer"]}, {STUDENT_NAMES[track["student"]]}',
            f'{means["cosine_teacher"]:+.4f}', f'{means["cosine_placebo"]:+.4f}',
            f'{means["cosine_random"]:.4f}', f'{means["cosine_descent"]:+.4f}',
            '' if track['share'] is None else f'{track["share"]:.2f}',
            f'{track["accuracy"][-1]:.3f}', f'{track["permuted_accuracy"][-1]:.3f}'])
    return Table('Along training, means over the probed steps', [
        'student', 'cos teacher', 'cos placebo', 'random sd', 'cos -grad L_T', 'share',
        'accuracy', 'by placebo labels'], rows,
        'Share: of the fall of L_T over the probed steps, how much the first-order term gives; '
        'empty where the probed steps lower L_T by less than 0.001.')
