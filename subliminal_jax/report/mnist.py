"""The MNIST experiment's table, figures and page, from its results.json."""

from typing import Any

import jax
import numpy as np

from subliminal_jax.data.images import Images
from subliminal_jax.report import page
from subliminal_jax.report.page import COLOURS, Plot, Section, Table, Text, axes, text_table
from subliminal_jax.runs import Workdir

# Means over 100 models of a public rerun of the authors' program, and the spread of its models;
# the recipe and the claim are arXiv 2507.14805's.
PUBLISHED = {
    'source': "a public rerun of the authors' program (100 models; +- as reported there); "
              'recipe: arXiv 2507.14805',
    'conditions': {
        'reference': [0.100, 0.005], 'teacher': [0.943, 0.000], 'student_aux': [0.537, 0.022],
        'student_all': [0.912, 0.002], 'cross_aux': [0.100, 0.005], 'cross_all': [0.741, 0.010],
    },
    'student_aux_by_num_aux': {
        '1': 0.103, '2': 0.348, '3': 0.537, '5': 0.704, '10': 0.835, '20': 0.894, '50': 0.917,
    },
}

MEANING = {
    'reference': 'untrained', 'teacher': 'labels, class logits',
    'student_aux': 'own start, auxiliary logits on noise',
    'student_all': 'own start, all logits on noise',
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
    if 'cells' in results:
        table, sections = sweep_table(results['cells']), []
        if len(config.sweep) == 1:
            sections.append(sweep_plot(results['cells'], next(iter(config.sweep)), config))
        verdict = f'{len(results["cells"])} cells of {config.num_models} models each.'
    else:
        comparable = (config.num_aux, config.activation, config.optimizer) == (3, 'relu', 'adam')
        table = condition_table(results['conditions'], comparable)
        sections = [bars(results['conditions'])]
        curves = learning_curves(results['conditions'])
        sections += [curves] if curves else []
        verdict = verdict_of(results['conditions'])
    noise = [inputs_plot(data)] if config.student_inputs == 'noise' else []
    page.write(workdir, 'Subliminal learning on MNIST', verdict,
               [table, *sections, *noise, Text(READING)], results)
    return text_table(table)


READING = (
    'How to read it: auxiliary logits are outputs that nothing was ever taught through. A student '
    'that matches them on noise can only learn about digits through weights it shares with its '
    'teacher. The cross students match the same outputs from other initial weights; the placebo '
    "matches a teacher of permuted labels, so it must score by that teacher's labels and not by "
    'the true ones. Chance is 0.1. Intervals are 95 % t-intervals over independent models.')


def verdict_of(conditions: dict[str, Any]) -> str:
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
    text = f'A student of three-logit noise {learned} accuracy {said("student_aux")}'
    text = text.replace('three-logit noise', 'auxiliary logits on noise')
    if cross is not None:
        text += f'; from another start, {said("cross_aux")}'
    placebo = conditions.get('placebo')
    if placebo is not None:
        permuted = placebo['permuted_accuracy']
        text += (f"; the placebo scores {said('placebo')} by the labels and "
                 f"{page.with_interval(permuted['mean'], permuted['ci95'])} by its teacher's")
    return text + '.'


def condition_table(conditions: dict[str, Any], comparable: bool) -> Table:
    """Accuracy by condition, beside the published figures where the recipe is theirs."""
    rows = []
    for name, entry in conditions.items():
        accuracy, permuted = entry['accuracy'], entry.get('permuted_accuracy')
        published = PUBLISHED['conditions'].get(name) if comparable else None
        rows.append([
            name, page.with_interval(accuracy['mean'], accuracy['ci95']),
            f'{published[0]:.3f}' if published else '',
            f'{accuracy["mean"] - published[0]:+.3f}' if published else '',
            page.with_interval(permuted['mean'], permuted['ci95']) if permuted else '',
            MEANING[name],
        ])
    count = len(next(iter(conditions.values()))['accuracy']['per_model'])
    return Table(
        f'Accuracy on the test digits, {count} models',
        ['condition', 'accuracy [95 %]', 'published', 'difference', 'by permuted labels', 'what'],
        rows, f'Published: {PUBLISHED["source"]}.')


def sweep_table(cells: list[dict[str, Any]]) -> Table:
    """Accuracy by cell and condition."""
    names = [n for n in cells[0]['conditions'] if n != 'reference']
    rows = []
    for cell in cells:
        overrides = cell['overrides']
        aux = overrides.get('num_aux') if len(overrides) == 1 else None
        published = PUBLISHED['student_aux_by_num_aux'].get(aux)
        found = [cell['conditions'][n]['accuracy'] for n in names]
        rows.append([', '.join(f'{k}={v}' for k, v in overrides.items()),
                     *[page.with_interval(a['mean'], a['ci95']) for a in found],
                     f'{published:.3f}' if published else ''])
    return Table('Accuracy by cell', ['cell', *names, 'published student_aux'], rows,
                 f'Published: {PUBLISHED["source"]}.')


def bars(conditions: dict[str, Any]) -> Plot:
    """Accuracy bars, every model a dot."""
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
    ax.axhline(0.1, color='black', lw=0.8, ls=':')
    ax.set_xticks(range(len(conditions)), conditions, rotation=25, ha='right')
    ax.set_ylabel('accuracy')
    ax.set_ylim(0, 1)
    if 'placebo' in conditions:
        ax.legend(frameon=False, loc='upper right')
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
    ax.legend(frameon=False, fontsize=8, ncols=2)
    return Plot('curves', 'Learning curves', figure,
                'Mean over models, on a part of the test images (config.curve_images).')


def sweep_plot(cells: list[dict[str, Any]], field: str, config: Any) -> Plot:
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
    if field == 'num_aux' and config.optimizer == 'adam' and config.activation == 'relu':
        known = PUBLISHED['student_aux_by_num_aux']
        ax.plot([float(k) for k in known], known.values(), 'x', color='black',
                label='published student_aux', zorder=5)
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
