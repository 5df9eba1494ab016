"""The figures of the theory experiment, from the entries of its results.json."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from subliminal_jax.report.page import COLOURS, Plot, axes
from subliminal_jax.report.theory_entries import (
    SHORT,
    Entry,
    chosen,
    floats,
    label_of,
    live,
    name_of,
)

PROMISE = {
    'theorem': 'promised: the theorem (and, for any displacement, the lemma)',
    'nothing': 'promised: nothing',
}
PAINT = {'mlp relu': COLOURS['orange'], 'mlp gelu': COLOURS['blue'], 'conv gelu': COLOURS['green'],
         'linear none': COLOURS['grey'], 'transformer silu': COLOURS['red'],
         'lora_first silu': COLOURS['pink'], 'lora_second silu': COLOURS['sky']}
STUDENT_PAINT = {'shared': COLOURS['blue'], 'independent': COLOURS['red'],
                 'placebo': COLOURS['green']}
STUDENT_NAMES = {'shared': "shared start, teacher's outputs",
                 'independent': "independent start, teacher's outputs",
                 'placebo': "shared start, placebo's outputs"}


def promised(kind: str) -> str:
    """The opening of a caption: what is promised of all that a figure shows."""
    return PROMISE[kind].capitalize() + '. '


def promise_line(figure: Any, kind: str, rest: str = '') -> None:
    """Writes above a figure what is promised of all that it shows."""
    figure.suptitle(PROMISE[kind] + rest, fontsize=9, color='#555555')


def agreement(entries: Sequence[Entry]) -> Plot:
    """Actual against predicted, by start."""
    own = live(chosen(entries, optimizer='sgd', dtype='float64'))
    starts = list(dict.fromkeys(e['init'] for e in own))
    starts.sort(key=lambda s: s != 'shared')
    figure, grid = axes(8, 3.9, ncols=len(starts), squeeze=False, sharex=True, sharey=True)
    for ax, start in zip(grid[0], starts):
        seen = set()
        for entry in chosen(own, init=start):
            name = name_of(entry)
            told, actual = floats(entry['predicted']), floats(entry['inner_product'])
            for up in (True, False):
                at = (actual > 0) == up
                ax.scatter(told[at], np.abs(actual[at]), s=9, color=PAINT.get(name) if up else None,
                           facecolor=None if up else 'none', lw=0.6,
                           edgecolor=None if up else PAINT.get(name),
                           label=name if up and name not in seen else None)
                seen |= {name} if up and at.any() else set()
        ends = np.array([1e-10, 1e5])
        ax.plot(ends, ends, color='black', lw=0.8)
        ax.set_xscale('log')
        ax.set_yscale('log')
        ax.set_title(f'{SHORT.get(start, start)} start\n'
                     f'{PROMISE["theorem" if start == "shared" else "nothing"].split(" (")[0]}',
                     fontsize=9)
        ax.set_xlabel('predicted, eps A')
    grid[0][0].set_ylabel('|dS . dT|')
    grid[0][0].legend(frameon=False, fontsize=7)
    return Plot('agreement', 'Actual against predicted inner product', figure, (
        'Every float64 cell with a gradient step and A > 0, at every eps; means over seeds. '
        'Filled: the inner product is positive; hollow: negative. On the diagonal the first order '
        'is all there is. The lemma (dS . dT >= 0 for any displacement) and the theorem (L_T '
        'falls after one gradient step) speak of the shared start alone.'))


PREFERRED = (
    ('mlp', 'relu', 'float64', 'cross_entropy', 'aux', 'uniform'),
    ('mlp', 'gelu', 'float64', 'cross_entropy', 'aux', 'uniform'),
    ('mlp', 'gelu', 'float32', 'cross_entropy', 'aux', 'uniform'),
    ('mlp', 'relu', 'float64', 'squared_error', 'all', 'images'),
    ('conv', 'gelu', 'float64', 'squared_error', 'all', 'images'),
    ('transformer', 'silu', 'float64', 'cross_entropy', 'all', 'corpus'),
)


def remainders(entries: Sequence[Entry]) -> Plot | None:
    """Remainders over eps with slopes and the rounding floor, for cells that tell the story."""
    shared = live(chosen(entries, optimizer='sgd', init='shared'))
    fields = ('model', 'activation', 'dtype', 'loss', 'logits', 'inputs')
    picked = [e for want in PREFERRED for e in shared if tuple(e[f] for f in fields) == want]
    picked = picked or shared[:3]
    if not picked:
        return None
    rows = -(-len(picked) // 3)
    figure, grid = axes(8.4, 3.1 * rows, nrows=rows, ncols=3, squeeze=False)
    for ax in grid.flat[len(picked):]:
        ax.set_axis_off()
    for ax, entry in zip(grid.flat, picked):
        eps = floats(entry['eps'])
        for field, slope, colour, text in (
                ('remainder', 'remainder_slope', COLOURS['blue'], 'less eps A'),
                ('remainder_second_order', 'remainder_slope_second_order', COLOURS['red'],
                 'less eps² B too')):
            steep = entry.get(slope)
            shown = f'{text}: slope {steep:.2f}' if steep is not None else f'{text}: rounding'
            ax.plot(eps, floats(entry[field]), 'o-', ms=3, color=colour, label=shown)
        ax.plot(eps, floats(entry['rounding_floor']), '--', color=COLOURS['grey'],
                label='rounding floor')
        crossed = floats(entry.get('kinks_crossed', []))
        if crossed.any():
            ax.axvline(eps[np.argmax(crossed > 0)], color=COLOURS['pink'], ls=':',
                       label='first kink crossed')
        ax.set_xscale('log')
        ax.set_yscale('log')
        ax.set_title(f'{name_of(entry)}, {entry["dtype"]}\n{label_of(entry)}', fontsize=8)
        ax.legend(frameon=False, fontsize=6.5)
        ax.set_xlabel('eps')
    for row in grid:
        row[0].set_ylabel('|remainder| of dS . dT')
    promise_line(figure, 'theorem')
    return Plot('remainders', 'What is left after the first and the second order', figure, (
        f'{promised("theorem")}Root mean squares over seeds; slopes are fitted to the five '
        'smallest eps that stand clear of rounding. Dotted: the smallest eps of the grid at which '
        'a hidden unit of some seed has changed its sign on some input.'))


def coefficients(entries: Sequence[Entry]) -> Plot | None:
    """The relative error over eps, against B / A."""
    own = live(chosen(entries, optimizer='sgd', init='shared', dtype='float64'))
    if not own:
        return None
    figure, grid = axes(8, 3.8, ncols=2)
    for ax, smooth in zip(grid, (True, False)):
        for name in dict.fromkeys(map(name_of, own)):
            if ('relu' in name) == smooth:
                continue
            found = [e['error_coefficient'] for e in own if name_of(e) == name]
            told = np.concatenate([floats(f['second_order']) for f in found])
            seen = np.concatenate([floats(f['measured']) for f in found])
            ax.scatter(told, seen, s=8, color=PAINT.get(name), label=name)
        ax.axline((0, 0), slope=1, color='black', lw=0.8)
        ax.set_xscale('symlog', linthresh=0.1)
        ax.set_yscale('symlog', linthresh=0.1)
        ax.set_title('smooth activations' if smooth else 'ReLU', fontsize=9)
        ax.set_xlabel('B / A, the exact second-order term')
        if ax.get_legend_handles_labels()[0]:
            ax.legend(frameon=False, fontsize=7)
    grid[0].set_ylabel('(actual / predicted - 1) / eps')
    at = own[0]['error_coefficient']['eps']
    promise_line(figure, 'theorem')
    return Plot('coefficients', 'The coefficient of the relative error', figure, (
        f'{promised("theorem")}Each dot a seed of a cell, at eps = {at:g}. On the line the '
        'exact second-order term is the whole of the error.'))


def sign_map(entries: Sequence[Entry], name: str) -> Plot:
    """How often the inner product is positive, for every cell of a model and every eps."""
    own = [e for e in entries if name_of(e) == name and e['dtype'] == 'float64']
    rows = list(dict.fromkeys(map(label_of, sorted(
        own, key=lambda e: (e['loss'], e['logits'], e['inputs'])))))
    blocks = sorted({(e['init'], e['optimizer']) for e in own},
                    key=lambda b: (b[0] != 'shared', b[0], b[1] != 'sgd', b[1]))
    height = max(2.9, 1.6 + 0.17 * len(rows))
    figure, grid = axes(8.6, height, ncols=len(blocks), squeeze=False, sharey=True)
    for ax, (start, optimizer) in zip(grid[0], blocks):
        cells = {label_of(e): e for e in chosen(own, init=start, optimizer=optimizer)}
        width = max(len(e['eps']) for e in cells.values())
        shown = np.full((len(rows), width), np.nan)
        for row, label in enumerate(rows):
            if label in cells:
                alive = cells[label]['ratio'][0] is not None
                shown[row] = floats(cells[label]['positive_fraction']) if alive else np.nan
        ax.set_facecolor('#cccccc')
        image = ax.imshow(shown, aspect='auto', vmin=0, vmax=1, cmap='RdBu',
                          interpolation='nearest')
        promise = 'theorem' if (start, optimizer) == ('shared', 'sgd') else 'nothing'
        ax.set_title(f'{SHORT.get(start, start)}\n{optimizer}\n({promise})', fontsize=7)
        eps = next(iter(cells.values()))['eps']
        ax.set_xticks([0, width - 1], [f'{eps[0]:.0e}', f'{eps[-1]:g}'], fontsize=6)
        ax.grid(False)
    grid[0][0].set_yticks(range(len(rows)), rows, fontsize=6.5)
    bar = figure.colorbar(image, ax=grid[0].tolist(), pad=0.01, aspect=40)
    bar.set_label('fraction of seeds with dS . dT > 0', fontsize=8)
    return Plot(f'signs_{name.replace(" ", "_")}', f'Where the sign holds: {name}', figure, (
        'Rows: loss (CE cross-entropy, SE squared error), logits, inputs. Columns: start and the '
        'student’s step, eps rising to the right; in brackets what is promised there. Blue: '
        'positive for every seed; red: for none; white: for half; grey: A = 0, nothing is learned, '
        'or not in the grid.'))


def losses(entries: Sequence[Entry]) -> Plot:
    """The teacher's loss after the student's step, actual against predicted."""
    shared = live(chosen(entries, init='shared', dtype='float64'))
    names = [o for o in ('sgd', 'adam', 'sign') if chosen(shared, optimizer=o)]
    figure, grid = axes(8, 3.7, ncols=len(names), squeeze=False, sharex=False, sharey=False)
    for ax, optimizer in zip(grid[0], names):
        seen = set()
        for entry in chosen(shared, optimizer=optimizer):
            told, actual = -floats(entry['predicted_change']), -floats(entry['teacher_loss_change'])
            colour = PAINT.get(name_of(entry))
            down = actual > 0
            name = name_of(entry)
            ax.scatter(told[down], actual[down], s=7, color=colour,
                       label=None if name in seen else name)
            seen.add(name)
            ax.scatter(told[~down], -actual[~down], s=9, facecolor='none', edgecolor=colour, lw=0.6)
        ax.axline((1e-6, 1e-6), (1e-3, 1e-3), color='black', lw=0.8)
        ax.set_xscale('log')
        ax.set_yscale('log')
        promise = PROMISE['theorem' if optimizer == 'sgd' else 'nothing'].split(' (')[0]
        ax.set_title(f"{optimizer}, shared start\n{promise}", fontsize=9)
        ax.set_xlabel('predicted fall')
    grid[0][0].set_ylabel('|change| of L_T')
    grid[0][0].legend(frameon=False, fontsize=7)
    return Plot('losses', "The teacher's loss after one step of the student", figure, (
        'Filled: L_T falls; hollow: it rises. Predicted: alpha eps A for a gradient step (alpha = '
        "1 by default); for Adam's first step and sign descent, alpha times the inner product of "
        'their step for the linearised gradient.'))


def trait_parts(entries: Sequence[Entry]) -> Plot | None:
    """Independent starts: imitation of the untrained teacher, and what the trait adds."""
    own = [e for e in chosen(entries, optimizer='sgd', init='independent', dtype='float64')
           if e['ratio'][0] is not None]
    wanted = [('mlp gelu', 'CE, all, uniform'), ('mlp gelu', 'CE, aux, uniform'),
              ('conv gelu', 'CE, all, images')]
    picked = [e for w in wanted for e in own if (name_of(e), label_of(e)) == w] or own[:3]
    if not picked:
        return None
    figure, grid = axes(8.4, 3.5, ncols=len(picked), squeeze=False)
    for ax, entry in zip(grid[0], picked):
        eps, parts = floats(entry['eps']), np.array(entry['per_seed_trait_part'])
        whole = np.abs(np.array(entry['per_seed']['inner_product']))
        ax.plot(eps, whole.T, color=COLOURS['red'], lw=0.8, alpha=0.7)
        for seed in parts:
            ax.plot(eps, np.abs(seed), color=COLOURS['blue'], lw=0.8, alpha=0.7,
                    ls='-' if seed[0] > 0 else ':')
        ax.plot(eps, floats(entry['predicted']), color='black', lw=1)
        ax.set_xscale('log')
        ax.set_yscale('log')
        ax.set_title(f'{name_of(entry)}\n{label_of(entry)}', fontsize=8)
        ax.set_xlabel('eps')
    grid[0][0].set_ylabel('|inner product|')
    promise_line(figure, 'nothing')
    return Plot('trait_parts', 'Independent start: imitation, and the trait alone', figure, (
        f'{promised("nothing")}A line a seed. Red: dS . dT; it does not shrink with eps, because '
        'it is the imitation of '
        'the untrained teacher. Blue: dS(trained teacher) - dS(untrained teacher), along dT; solid '
        'where positive, dotted where negative. Black: eps A, what a shared start would give.'))


def reach(entries: Sequence[Entry]) -> Plot | None:
    """How far the signs hold: search against the second-order term."""
    own = live(chosen(entries, optimizer='sgd', init='shared', dtype='float64'))
    if not own:
        return None
    figure, grid = axes(8, 3.8, ncols=2)
    for ax, what, title in ((grid[0], 'eps', 'largest eps with dS . dT > 0'),
                            (grid[1], 'alpha', 'largest alpha with L_T falling')):
        for name in dict.fromkeys(map(name_of, own)):
            pairs = np.array([[e[f'estimated_{what}_second_order'] or np.nan,
                               e[f'estimated_{what}'] or np.nan]
                              for e in own if name_of(e) == name], float)
            ax.scatter(*pairs.T, s=10, color=PAINT.get(name), label=name)
        ax.axline((1, 1), (10, 10), color='black', lw=0.8)
        ax.set_xscale('log')
        ax.set_yscale('log')
        ax.set_xlabel('by the second-order term')
        ax.set_ylabel('by search')
        ax.set_title(title, fontsize=9)
    grid[0].legend(frameon=False, fontsize=7, loc='upper left', bbox_to_anchor=(0, 0.93))
    promise_line(figure, 'theorem', ', for small enough steps: how small?')
    return Plot('reach', 'How far the first order reaches', figure, (
        f'{promised("theorem")}The smallest value over seeds. The search ends at 10,000 for eps; '
        'cells whose second-order term never turns the sign have no dot on the left.'))
