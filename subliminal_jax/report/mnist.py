"""The MNIST experiment's table, figures and page, from its results.json."""

import math
from typing import Any

import jax
import numpy as np

from subliminal_jax.data.images import Images
from subliminal_jax.report import page
from subliminal_jax.report.page import COLOURS, Plot, Table, Text, axes, text_table
from subliminal_jax.runs import Workdir

# Means over 100 models of a public rerun of the authors' program, with its +-, taken as half of a
# 95 % interval: ours over as many models are as wide. Recipe and claim are arXiv 2507.14805's.
PUBLISHED = {
    'source': "a public rerun of the authors' program (100 models; +- as reported there); "
              'recipe: arXiv 2507.14805',
    'conditions': {
        'reference': [0.100, 0.005], 'teacher': [0.943, 0.000], 'student_aux': [0.537, 0.022],
        'student_all': [0.912, 0.002], 'cross_aux': [0.100, 0.005], 'cross_all': [0.741, 0.010],
    },
    # how far a mean over 100 models may be from those above, fixed before any was run
    'margins': {'teacher': 0.005, 'student_aux': 0.05, 'student_all': 0.01, 'cross_aux': 0.03,
                'cross_all': 0.04},
    'student_aux_by_num_aux': {
        '1': 0.103, '2': 0.348, '3': 0.537, '5': 0.704, '10': 0.835, '20': 0.894, '50': 0.917,
    },
}

COMPARED = (
    f'Published: {PUBLISHED["source"]}. The interval of a difference is made of ours and, where '
    'there is one, of the published +-, taken as half of a 95 % interval.')
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


def write(workdir: Workdir, results: dict[str, Any], data: Images) -> str:
    """Writes the page and returns the table for the terminal."""
    config = workdir.config
    shown = shown_by(config)
    if 'cells' in results:
        published = published_means(config, swept=True)
        table, sections = sweep_table(results['cells'], published), []
        verdict = sweep_verdict(results['cells'], config.num_models)
        if len(config.sweep) == 1:
            sections.append(sweep_plot(results['cells'], next(iter(config.sweep)), published))
    else:
        published = published_means(config)
        table = condition_table(results['conditions'], published, shown)
        sections = [bars(results['conditions'], published)]
        curves = learning_curves(results['conditions'])
        sections += [curves] if curves else []
        verdict = verdict_of(results['conditions'], shown)
    noise = [inputs_plot(data)] if shown == 'noise' else []
    page.write(workdir, 'Subliminal learning on MNIST', verdict,
               [table, *sections, *noise, Text(reading(shown))], results)
    return text_table(table)


def shown_by(config: Any) -> str:
    """What the students are shown, in words."""
    if 'student_inputs' in config.sweep:
        return 'the inputs of its cell'
    known = {'noise': 'noise', 'images': 'training images'}
    return known.get(config.student_inputs, f'images of {config.student_inputs}')


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


# Fields that may differ from the published recipe without making another experiment of it.
FREE = ('seed', 'num_models', 'conditions', 'num_aux', 'chunk_size', 'curve_images', 'sweep')


Published = dict[str, tuple[float, float | None]]  # mean, and its +- where it is known


def published_means(config: Any, swept: bool = False) -> Published:
    """The published means to compare with: by condition, or by num_aux for a sweep over it alone;
    none where the recipe is another."""
    default = type(config)()
    for field in vars(default):
        if field not in FREE and getattr(config, field) != getattr(default, field):
            return {}
    by_condition: Published = {n: tuple(both) for n, both in PUBLISHED['conditions'].items()}
    by_num_aux: Published = {
        m: (mean, None) for m, mean in PUBLISHED['student_aux_by_num_aux'].items()}
    by_num_aux[str(default.num_aux)] = by_condition['student_aux']
    if swept:
        return by_num_aux if list(config.sweep) == ['num_aux'] else {}
    if config.num_aux == default.num_aux:
        return by_condition
    known = by_num_aux.get(str(config.num_aux))
    return {} if known is None else {'student_aux': known}


def verdict_of(conditions: dict[str, Any], shown: str) -> str:
    """What the run shows, in one sentence: a student counts where its interval is above chance."""
    def said(name):
        entry = conditions.get(name)
        if entry is None:
            return None
        accuracy = entry['accuracy']
        return page.with_interval(accuracy['mean'], accuracy['ci95'])

    student, cross = conditions.get('student_aux'), conditions.get('cross_aux')
    if student is None:
        return 'No student of the auxiliary logits was trained in this run.'
    interval = student['accuracy']['ci95']
    if interval is None:
        learned = 'scores, without an interval for want of a second model,'
    else:
        learned = 'learns digits:' if interval[0] > 0.1 else 'is not shown to learn digits:'
    text = (f'A student of auxiliary logits on {shown} {learned} accuracy '
            f'{said("student_aux")}')
    if cross is not None:
        text += f'; from another start, {said("cross_aux")}'
    placebo = conditions.get('placebo')
    if placebo is not None:
        permuted = placebo['permuted_accuracy']
        text += (f"; the placebo scores {said('placebo')} by the labels and "
                 f"{page.with_interval(permuted['mean'], permuted['ci95'])} by its teacher's")
    return text + '.'


def sweep_verdict(cells: list[dict[str, Any]], num_models: int) -> str:
    """Where the student of auxiliary logits is best and worst."""
    text = f'{len(cells)} cells of {num_models} models each'
    found = [(c['conditions']['student_aux']['accuracy']['mean'], _label(c)) for c in cells
             if 'student_aux' in c['conditions']]
    if not found:
        return text + '.'
    (low, worst), (high, best) = min(found), max(found)
    return (f'{text}: the student of auxiliary logits scores from {low:.3f} ({worst}) to '
            f'{high:.3f} ({best}).')


def _label(cell: dict[str, Any]) -> str:
    return ', '.join(f'{k}={v}' for k, v in cell['overrides'].items())


def condition_table(conditions: dict[str, Any], published: Published, shown: str) -> Table:
    """Accuracy by condition, beside the published means."""
    rows = []
    for name, entry in conditions.items():
        accuracy, permuted = entry['accuracy'], entry.get('permuted_accuracy')
        known, margin = published.get(name), PUBLISHED['margins'].get(name)
        rows.append([
            name, page.with_interval(accuracy['mean'], accuracy['ci95']),
            *_beside(accuracy, known), f'{margin:.3f}' if known and margin else '',
            page.with_interval(permuted['mean'], permuted['ci95']) if permuted else ''])
    head = ['condition', 'accuracy [95 %]', 'published', 'difference [95 %]', 'margin',
            'by permuted labels']
    kept = [i for i in range(len(head)) if i < 2 or any(row[i] for row in rows)]
    count = len(next(iter(conditions.values()))['accuracy']['per_model'])
    said = '; '.join(f'{name}: {MEANING[name].format(shown=shown)}' for name in conditions)
    return Table(
        f'Accuracy on the test digits, {count} models', [head[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        f'{said}. ' + (f'{COMPARED} The margins hold for 100 models.' if published else ''))


def _beside(accuracy: dict[str, Any] | None, known: tuple[float, float | None] | None
            ) -> tuple[str, str]:
    """(a published mean with its +-, our difference from it with the interval of both)."""
    if known is None:
        return '', ''
    mean, half = known
    text = f'{mean:.3f}' if half is None else f'{mean:.3f} +- {half:.3f}'
    if accuracy is None:
        return text, ''
    change = accuracy['mean'] - mean
    if accuracy['ci95'] is None:
        return text, f'{change:+.3f}'
    low, high = accuracy['ci95']
    width = math.hypot((high - low) / 2, half or 0)
    return text, f'{change:+.3f} [{change - width:+.3f}, {change + width:+.3f}]'


def sweep_table(cells: list[dict[str, Any]], published: Published) -> Table:
    """Accuracy by cell and condition, beside the published means by num_aux."""
    names = [n for n in cells[0]['conditions'] if n != 'reference']
    rows = []
    for cell in cells:
        known = published.get(next(iter(cell['overrides'].values())))
        found = {n: cell['conditions'][n]['accuracy'] for n in names}
        rows.append([
            _label(cell), *[page.with_interval(a['mean'], a['ci95']) for a in found.values()],
            *(_beside(found.get('student_aux'), known) if published else ())])
    head = ['cell', *names,
            *(['published student_aux', 'difference [95 %]'] if published else [])]
    return Table('Accuracy by cell', head, rows, COMPARED if published else '')


def bars(conditions: dict[str, Any], published: Published) -> Plot:
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
    known = [(i, published[n][0]) for i, n in enumerate(conditions) if n in published]
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


def learning_curves(conditions: dict[str, Any]) -> Plot | None:
    """Accuracy after every epoch."""
    curves = {n: e['curve'] for n, e in conditions.items() if 'curve' in e}
    if not curves:
        return None
    figure, ax = axes()
    for name, curve in curves.items():
        ax.plot(range(len(curve)), curve, 'o-', ms=4, color=PAINT[name], label=name)
    ax.axhline(0.1, color='black', lw=0.8, ls=':')
    ax.set_xlabel('epochs trained')
    ax.set_ylabel('accuracy')
    ax.legend(frameon=False, fontsize=8, ncols=4, loc='lower center', bbox_to_anchor=(0.5, 1))
    return Plot('curves', 'Learning curves', figure,
                'Mean over models, on a part of the test images (config.curve_images).')


def sweep_plot(cells: list[dict[str, Any]], field: str, published: Published) -> Plot:
    """Accuracy over the swept field, with intervals and the published curve for num_aux."""
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
    if published:
        known = [(float(label), published[label][0]) for label in labels if label in published]
        ax.plot(*zip(*known), 'x', color='black', label='published student_aux', zorder=5)
    if numeric and min(places) > 0 and max(places) / min(places) >= 10:
        ax.set_xscale('log')
    ax.set_xticks(places, labels)
    ax.minorticks_off()
    ax.axhline(0.1, color='black', lw=0.8, ls=':')
    ax.set_xlabel(field)
    ax.set_ylabel('accuracy')
    ax.legend(frameon=False, fontsize=8)
    return Plot('sweep', f'Accuracy by {field}', figure, 'Bands: 95 % intervals over models.')


def inputs_plot(data: Images) -> Plot:
    """What a student sees, beside what it is tested on."""
    height, width, channels = data.image_shape
    noise = np.asarray(jax.random.uniform(jax.random.key(0), (6, height, width), minval=-1))
    figure, grid = axes(7.5, 2.7, nrows=2, ncols=6)
    for column in range(6):
        digit = np.asarray(data.test_images[column]).reshape(height, width, channels)[..., 0]
        for ax, image in zip(grid[:, column], (noise[column], digit)):
            ax.imshow(image, cmap='gray')
            ax.set_axis_off()
    return Plot('inputs', 'What the student sees (above) and what it is tested on (below)', figure,
                'Every training input of a student is uniform noise; no digit is ever shown to it.')
