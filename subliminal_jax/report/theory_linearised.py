"""The linearised student's table, figures and page, from its results.json."""

import pathlib
from typing import Any

from subliminal_jax.report import page
from subliminal_jax.report.page import COLOURS, Plot, Table, Text, axes, text_table

CHANCE = 0.1
PAINT = {'teacher': COLOURS['black'], 'real': COLOURS['blue'], 'linearised': COLOURS['orange']}
READING = (
    'A linearised student is the network’s first-order Taylor expansion around its start, trained '
    'on the same noise, the same auxiliary logits, in the same order, with the same optimizer. It '
    'can only move within the tangent space at the start, where the one-step theorem lives at '
    'every step. Where it scores as the real student, the kernel picture explains the effect; '
    'where it scores less, the student’s features must move. Cosine: between the displacements of '
    'the real and the linearised student; same guess: the share of test digits on which both say '
    'the same. Widths of one model have no interval. The theorem promises nothing here: many steps '
    'of Adam.')


def write(folder: pathlib.Path, results: dict[str, Any]) -> str:
    """Writes the page of a run's folder and returns the table for the terminal."""
    widths = results['widths']
    table = width_table(widths, results['published']['source'])
    page.write(folder, 'Real and linearised students by width', results['verdict'],
               [table, by_width(widths), curves(widths), Text(READING)], results)
    return text_table(table) + '\n\n' + results['verdict']


def width_table(widths: list[dict[str, Any]], source: str) -> Table:
    """A row a width, with the source of what was published."""
    def shown(entry, kind):
        accuracy = entry[kind]['accuracy']
        return page.with_interval(accuracy['mean'], accuracy['ci95'])

    rows = [[f'{e["width"]}', e['num_models'], shown(e, 'teacher'), shown(e, 'real'),
             shown(e, 'linearised'), page.with_interval(e['gap']['mean'], e['gap']['ci95']),
             f'{e["cosine_students"]:.2f}', f'{e["same_guess"]:.2f}',
             f'{e["real"]["relative_move"]:.3f}', f'{e["linearised"]["relative_move"]:.3f}']
            for e in widths]
    return Table('Accuracy on the test digits', [
        'width', 'models', 'teacher [95 %]', 'real [95 %]', 'linearised [95 %]', 'gap [95 %]',
        'cosine', 'same guess', 'real moved', 'lin. moved'], rows,
        'Gap: real minus linearised, in pairs. Moved: length of the displacement over that of the '
        f'start. Published: {source}.')


def by_width(widths: list[dict[str, Any]]) -> Plot:
    """Accuracy by width, every model a dot."""
    figure, ax = axes()
    places = [e['width'] for e in widths]
    for kind, colour in PAINT.items():
        found = [e[kind]['accuracy'] for e in widths]
        ax.plot(places, [a['mean'] for a in found], 'o-', ms=4, color=colour, label=kind)
        for place, accuracy in zip(places, found):
            ax.scatter([place] * len(accuracy['per_model']), accuracy['per_model'], s=10,
                       color=colour, alpha=0.5)
    ax.axhline(CHANCE, color='black', lw=0.8, ls=':')
    ax.set_xscale('log', base=2)
    ax.set_xticks(places, [str(p) for p in places])
    ax.set_xlabel('width of the hidden layers')
    ax.set_ylabel('accuracy')
    ax.set_ylim(0, 1)
    ax.legend(frameon=False, fontsize=8)
    return Plot('by_width', 'Accuracy by width (promised: nothing, many steps of Adam)', figure,
                'Lines: means over models; dots: models; dotted: chance.')


def curves(widths: list[dict[str, Any]]) -> Plot:
    """Accuracy after every epoch, real and linearised."""
    figure, grid = axes(8, 3.6, ncols=2, sharey=True)
    for ax, kind in zip(grid, ('real', 'linearised')):
        for shade, entry in enumerate(widths):
            curve = entry[kind]['curve']
            strength = 0.25 + 0.75 * (shade + 1) / len(widths)
            ax.plot(range(len(curve)), curve, 'o-', ms=3, color=PAINT[kind], alpha=strength,
                    label=f'width {entry["width"]}')
        ax.axhline(CHANCE, color='black', lw=0.8, ls=':')
        ax.set_title(f'{kind} student', fontsize=9)
        ax.set_xlabel('epochs trained')
        ax.legend(frameon=False, fontsize=7)
    grid[0].set_ylabel('accuracy')
    return Plot('curves', 'Learning curves', figure, 'Means over models; darker is wider.')
