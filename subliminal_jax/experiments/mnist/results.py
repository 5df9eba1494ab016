"""results.json of the MNIST experiment: accuracies, what was published, headline and verdict."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from subliminal_jax.evaluation.intervals import t_interval
from subliminal_jax.experiments.mnist import published
from subliminal_jax.experiments.mnist.arms import REPORTED
from subliminal_jax.experiments.mnist.chunk import Trained
from subliminal_jax.experiments.mnist.config import Config, cells
from subliminal_jax.report.page import with_interval

CHANCE = 0.1
Conditions = dict[str, dict[str, Any]]


def body(config: Config, trained: Sequence[Trained]) -> dict[str, Any]:
    """The experiment's own part of results.json.

    Args:
      config: the run's.
      trained: what each cell left, in the order of the cells.

    Returns:
      'shown' (what the students saw, in words), 'verdict', 'headline', and `conditions` by name,
      or for a sweep `cells`, each with `overrides` and `conditions`.
    """
    shown = shown_by(config)
    if not config.sweep:
        (only,) = trained
        conditions = with_published(conditions_of(only), published.by_condition(config))
        headline = {name: _short(entry) for name, entry in conditions.items()}
        return {'shown': shown, 'verdict': verdict(conditions, shown), 'headline': headline,
                'conditions': conditions}
    known, entries = published.by_cell(config), []
    for (overrides, _), part in zip(cells(config), trained):
        mean = known.get(next(iter(overrides.values())))
        entries.append({'overrides': overrides, 'conditions': with_published(
            conditions_of(part), {} if mean is None else {'student_aux': mean})})
    headline = {label_of(e['overrides']): _short(e['conditions']['student_aux'])
                for e in entries if 'student_aux' in e['conditions']}
    return {'shown': shown, 'verdict': sweep_verdict(entries, config.num_models),
            'headline': headline, 'cells': entries}


def summary(values: np.ndarray) -> dict[str, Any]:
    """{'mean', 'ci95', 'per_model'} of an accuracy over models."""
    mean, interval = t_interval(values)
    return {'mean': mean, 'ci95': interval, 'per_model': values.tolist()}


def conditions_of(trained: Trained) -> Conditions:
    """Every condition's accuracies, curves and losses, in the report's order."""
    found = {}
    for name in (n for n in REPORTED if n in trained.accuracy):
        entry = {'accuracy': summary(trained.accuracy[name])}
        if name in trained.permuted:
            entry['permuted_accuracy'] = summary(trained.permuted[name])
        if name in trained.curves:
            entry['curve'] = trained.curves[name].mean(axis=-1).tolist()
        if name in trained.losses:
            entry['loss'] = trained.losses[name].mean(axis=-1).tolist()
        found[name] = entry
    return found


def with_published(conditions: Conditions, known: dict[str, published.Mean]) -> Conditions:
    """Conditions with `published` (mean, difference, margin) wherever a mean is known."""
    margins = published.PUBLISHED['margins']
    return {name: entry if name not in known else {**entry, 'published': {
        **published.compared(entry['accuracy'], known[name]), 'margin': margins.get(name)}}
        for name, entry in conditions.items()}


def shown_by(config: Config) -> str:
    """What the students are shown, in words."""
    if 'student_inputs' in config.sweep:
        return 'the inputs of its cell'
    known = {'noise': 'noise', 'images': 'training images'}
    return known.get(config.student_inputs, f'images of {config.student_inputs}')


def verdict(conditions: Conditions, shown: str) -> str:
    """What the run shows, in one sentence: a student counts where its interval is above chance."""
    student = conditions.get('student_aux')
    if student is None:
        return 'No student of the auxiliary logits was trained in this run.'
    interval = student['accuracy']['ci95']
    if interval is None:
        learned = 'scores, without an interval for want of a second model,'
    elif interval[0] > CHANCE:
        learned = 'learns digits:'
    else:
        learned = 'is not shown to learn digits:'
    text = f'A student of auxiliary logits on {shown} {learned} accuracy {_said(student)}'
    if 'cross_aux' in conditions:
        text += f'; from another start, {_said(conditions["cross_aux"])}'
    if 'placebo' in conditions:
        placebo = conditions['placebo']
        text += (f'; the placebo scores {_said(placebo)} by the labels and '
                 f"{_said(placebo, 'permuted_accuracy')} by its teacher's")
    return text + '.'


def sweep_verdict(entries: Sequence[dict[str, Any]], num_models: int) -> str:
    """Where the student of auxiliary logits is best and worst."""
    text = f'{len(entries)} cells of {num_models} models each'
    found = [(e['conditions']['student_aux']['accuracy']['mean'], label_of(e['overrides']))
             for e in entries if 'student_aux' in e['conditions']]
    if not found:
        return text + '.'
    (low, worst), (high, best) = min(found), max(found)
    return (f'{text}: the student of auxiliary logits scores from {low:.3f} ({worst}) to '
            f'{high:.3f} ({best}).')


def label_of(overrides: dict[str, str]) -> str:
    """A cell's overrides as one text."""
    return ', '.join(f'{name}={value}' for name, value in overrides.items())


def _said(entry: dict[str, Any], field: str = 'accuracy') -> str:
    return with_interval(entry[field]['mean'], entry[field]['ci95'])


def _short(entry: dict[str, Any]) -> list:
    return [entry['accuracy']['mean'], entry['accuracy']['ci95']]
