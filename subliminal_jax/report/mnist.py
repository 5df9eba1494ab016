"""The MNIST experiment's table, figures and page, from its results.json."""

import pathlib
from typing import Any

import numpy as np

from subliminal_jax.report import page
from subliminal_jax.report.page import COLOURS, Plot, Table, Text, axes, text_table

MEANING = {
    'reference': 'untrained', 'teacher': 'labels, class logits',
    'student_aux': 'own start, auxiliary logits on {shown}',
    'student_all': 'own start, all logits on {shown}',
    'cross_aux': 'another start, auxiliary logits', 'cross_all': 'another start, all logits',
    'placebo': 'own start, teacher of permuted labels', 'placebo_teacher': 'permuted labels',
}
PAINT = {
    'reference': COLOURS['grey'], 'teacher': COLOURS['black'], 'student_aux': COLOURS['blue'],
    'student_all': COLOURS['sky'], 'cross_aux': COLOURS['red'], 'cross_all': COLOURS['orange'],
    'placebo': COLOURS['green'], 'placebo_teacher': COLOURS['pink'],
}


def write(folder: pathlib.Path, results: dict[str, Any]) -> str:
    """Writes the page of a run's folder and returns the table for the terminal."""
    shown = results['shown']
    if 'cells' in results:
        table, plots = sweep_table(results), sweep_plots(results['cells'])
    else:
        table = condition_table(results)
        plots = [bars(results['conditions']), *learning_curves(results['conditions'])]
    if results['inputs']:
        plots.append(inputs_plot(folder / results['inputs']))
    page.write(folder, 'Subliminal learning on MNIST', results['verdict'],
               [table, *plots, Text(reading(shown))], results)
    return text_table(table)


def reading(shown: str) -> str:
    """How to read the page, for students that are shown this."""
    learns = ('can only learn about digits through weights it shares with its teacher'
              if shown == 'noise' else
              'is told no label, but images may teach it something of their own')
    return (
        'How to read it: auxiliary logits are outputs that nothing was ever taught through. A '
        f'student that matches them on {shown} {learns}. The cross students match the same outputs '
        'from other initial weights; the placebo matches a teacher of permuted labels, so it must '
        "score by that teacher's labels and not by the true ones. Chance is 0.1. Intervals are "
        '95 % t-intervals over independent models.')


def condition_table(results: dict[str, Any]) -> Table:
    """Accuracy by condition, beside the published means."""
    conditions, rows = results['conditions'], []
    for name, entry in conditions.items():
        margin = entry.get('published', {}).get('margin')
        rows.append([
            name, _shown(entry['accuracy']), *_beside(entry),
            '' if margin is None else f'{margin:.3f}',
            _shown(entry['permuted_accuracy']) if 'permuted_accuracy' in entry else ''])
    head = ['condition', 'accuracy [95 %]', 'published', 'difference [95 %]', 'margin',
            'by permuted labels']
    kept = [i for i in range(len(head)) if i < 2 or any(row[i] for row in rows)]
    count = len(next(iter(conditions.values()))['accuracy']['per_model'])
    meaning = '; '.join(
        f'{name}: {MEANING[name].format(shown=results["shown"])}' for name in conditions)
    source = ''
    if any('published' in entry for entry in conditions.values()):
        source = f'{compared(results)} The margins hold for 100 models.'
    return Table(
        f'Accuracy on the test digits, {count} models', [head[i] for i in kept],
        [[row[i] for i in kept] for row in rows], f'{meaning}. {source}')


def compared(results: dict[str, Any]) -> str:
    """What the published means are, and how a difference's interval is made."""
    return (f'Published: {results["published"]["source"]}. The interval of a difference is made of '
            'ours and, where there is one, of the published +-, taken as half of a 95 % interval.')


def _shown(accuracy: dict[str, Any]) -> str:
    return page.with_interval(accuracy['mean'], accuracy['ci95'])


def _beside(entry: dict[str, Any]) -> tuple[str, str]:
    """(a published mean with its +-, our difference from it with the interval of both)."""
    known = entry.get('published')
    if known is None:
        return '', ''
    mean, half, interval = known['mean'], known['half'], known['difference_ci95']
    text = f'{mean:.3f}' if half is None else f'{mean:.3f} +- {half:.3f}'
    difference = f'{known["difference"]:+.3f}'
    if interval is not None:
        difference += f' [{interval[0]:+.3f}, {interval[1]:+.3f}]'
    return text, difference


def sweep_table(results: dict[str, Any]) -> Table:
    """Accuracy by cell and condition, beside the published means by num_aux."""
    cells = results['cells']
    names = [n for n in cells[0]['conditions'] if n != 'reference']
    known = any('published' in cell['conditions'].get('student_aux', {}) for cell in cells)
    rows = []
    for cell in cells:
        label = ', '.join(f'{k}={v}' for k, v in cell['overrides'].items())
        beside = _beside(cell['conditions']['student_aux']) if known else ()
        rows.append([label, *[_shown(cell['conditions'][n]['accuracy']) for n in names], *beside])
    head = ['cell', *names, *(['published student_aux', 'difference [95 %]'] if known else [])]
    return Table('Accuracy by cell', head, rows, compared(results) if known else '')


def bars(conditions: dict[str, Any]) -> Plot:
    """Accuracy bars, every model a dot, the published means as strokes."""
    figure, ax = axes(8, 4.2)
    jitter = np.random.default_rng(0)
    for place, (name, entry) in enumerate(conditions.items()):
        accuracy = entry['accuracy']
        ax.bar(place, accuracy['mean'], color=PAINT[name], alpha=0.45, width=0.7)
        dots = accuracy['per_model']
        ax.scatter(place + jitter.uniform(-0.22, 0.22, len(dots)), dots, s=9, color=PAINT[name],
                   zorder=3)
        if accuracy['ci95']:
            ax.vlines(place, *accuracy['ci95'], color='black', lw=2, zorder=4)
        if 'permuted_accuracy' in entry:
            ax.scatter([place], [entry['permuted_accuracy']['mean']], marker='D', s=42,
                       facecolor='none', edgecolor='black', zorder=5,
                       label='by the permuted labels' if name == 'placebo' else None)
    known = [(place, entry['published']['mean'])
             for place, entry in enumerate(conditions.values()) if 'published' in entry]
    if known:
        ax.scatter(*zip(*known), marker='_', s=500, color='black', lw=1, zorder=5,
                   label='published mean')
    ax.axhline(0.1, color='black', lw=0.8, ls=':')
    ax.set_xticks(range(len(conditions)), conditions, rotation=25, ha='right')
    ax.set_ylabel('accuracy')
    ax.set_ylim(0, 1.12)
    ax.set_yticks(np.arange(0, 1.1, 0.2))
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, loc='upper right', fontsize=8)
    return Plot('accuracy', 'Accuracy by condition', figure,
                'Bars: means; dots: models; black lines: 95 % intervals; dotted: chance.')


def learning_curves(conditions: dict[str, Any]) -> list[Plot]:
    """Accuracy after every epoch; no plot of a run that measured no curves."""
    curves = {n: e['curve'] for n, e in conditions.items() if 'curve' in e}
    if not curves:
        return []
    figure, ax = axes()
    for name, curve in curves.items():
        ax.plot(range(len(curve)), curve, 'o-', ms=4, color=PAINT[name], label=name)
    ax.axhline(0.1, color='black', lw=0.8, ls=':')
    ax.set_xlabel('epochs trained')
    ax.set_ylabel('accuracy')
    ax.legend(frameon=False, fontsize=8, ncols=4, loc='lower center', bbox_to_anchor=(0.5, 1))
    return [Plot('curves', 'Learning curves', figure,
                 'Mean over models, on a part of the test images (config.curve_images).')]


def sweep_plots(cells: list[dict[str, Any]]) -> list[Plot]:
    """Accuracy over the swept field, with intervals and the published curve for num_aux; no plot
    of a sweep over several fields."""
    field, *others = cells[0]['overrides']
    if others:
        return []
    labels = [c['overrides'][field] for c in cells]
    try:
        places, numeric = [float(x) for x in labels], True
    except ValueError:
        places, numeric = list(range(len(labels))), False
    figure, ax = axes()
    for name in (n for n in cells[0]['conditions'] if n in PAINT):
        found = [c['conditions'][name]['accuracy'] for c in cells]
        means = [a['mean'] for a in found]
        ax.plot(places, means, 'o-', color=PAINT[name], label=name, ms=4)
        if found[0]['ci95']:
            ax.fill_between(places, *np.array([a['ci95'] for a in found]).T, alpha=0.2,
                            color=PAINT[name], lw=0)
    known = [(place, cell['conditions']['student_aux']['published']['mean'])
             for place, cell in zip(places, cells)
             if 'published' in cell['conditions'].get('student_aux', {})]
    if known:
        ax.plot(*zip(*known), 'x', color='black', label='published student_aux', zorder=5)
    if numeric and min(places) > 0 and max(places) / min(places) >= 10:
        ax.set_xscale('log')
    ax.set_xticks(places, labels)
    ax.minorticks_off()
    ax.axhline(0.1, color='black', lw=0.8, ls=':')
    ax.set_xlabel(field)
    ax.set_ylabel('accuracy')
    ax.legend(frameon=False, fontsize=8)
    return [Plot('sweep', f'Accuracy by {field}', figure, 'Bands: 95 % intervals over models.')]


def inputs_plot(artefact: pathlib.Path) -> Plot:
    """What a student saw, beside what it is tested on: `seen` and `tested` of the artefact."""
    with np.load(artefact) as arrays:
        seen, tested = arrays['seen'], arrays['tested']
    figure, grid = axes(7.5, 2.7, nrows=2, ncols=len(seen))
    for row, images in zip(grid, (seen, tested)):
        for ax, image in zip(row, images):
            ax.imshow(image[..., 0], cmap='gray')
            ax.set_axis_off()
    return Plot('inputs', 'What the student sees (above) and what it is tested on (below)', figure,
                'The first inputs of the first model. Every training input of a student is uniform '
                'noise; no digit is ever shown to it.')
