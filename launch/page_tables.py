"""Tables of kept runs that are those of the run's own page: detection, and matrices of language
models."""

from typing import Any

from launch.entries import Results, entry
from subliminal_jax.report import cross_languages, detection, page

Rows = tuple[list[str], list[list[Any]]]


def _of(table: page.Table) -> Rows:
    return list(table.head), [list(row) for row in table.rows]


def detectors_table(results: Results, run: str, task: str = 'twin') -> Rows:
    """Every detector at the verdict's bag, beside its nulls, the ceiling and what was transmitted.

    Args:
      results, run: whose.
      task: twin or other.
    """
    entry(results, run, f'headline/{task}')  # or it raises: no such task
    return _of(detection.task_table(results(run), task))


def bags_table(results: Results, run: str, task: str = 'twin', kind: str = '') -> Rows:
    """AUROC by rows in a bag.

    Args:
      results, run: whose.
      task: twin or other.
      kind: of teachers; '' for the first.
    """
    entry(results, run, f'headline/{task}')
    return _of(detection.bag_table(results(run), task, kind or detection.kinds(results(run))[0]))


def transmitted_table(results: Results, run: str) -> Rows:
    """What students of the same rows show."""
    return _of(detection.transmission_table(results(run)))


def crossings_table(results: Results, run: str) -> Rows:
    """Cells off the diagonal of a matrix of language models: gamma, own diagonal and share."""
    return _of(cross_languages.share_table(entry(results, run, 'cells')))


def foretold_table(results: Results, run: str) -> Rows:
    """What each hypothesis said of every share, and what became of it."""
    return _of(cross_languages.hypothesis_table(entry(results, run, 'hypotheses')))


TABLES = {'detectors': detectors_table, 'bags': bags_table, 'transmitted': transmitted_table,
          'crossings': crossings_table, 'foretold': foretold_table}
