"""The matrix of language models: transmission's own pipeline, with arms that cross models.

A run is one of transmission: the same worlds, stages and artefacts, and every arm's effect stands
on its page as ever. What is added are `cells` (languages_cells.py), and what hypotheses said of
them before (languages_hypotheses.py).
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.cross_model import (
    languages_cells as matrix,
    languages_hypotheses as hypotheses,
)
from subliminal_jax.experiments.transmission.run import finish, results_of
from subliminal_jax.report import cross_languages as report
from subliminal_jax.runs import UserError, Workdir, nested, spec
from subliminal_jax.runs.experiment import Experiment

PUBLISHED = {
    'source': 'arXiv 2507.14805; davidcrispell/Polypythia-SL for the PolyPythias',
    'same_base': 'students of GPT-4.1 nano and of Qwen2.5-7B learn from their own base alone',
    'polypythia_160m': 'sampled numbers +.123 logits [.110, .136]; another data order in '
                       'pre-training keeps 39 %, a foreign initialisation about 0',
}


@dataclasses.dataclass(frozen=True)
class MatrixConfig:
    """What was said of the matrix before it was run."""

    hypotheses: tuple[str, ...] = spec((), doc="'NAME: SENTENCE'")
    predictions: tuple[str, ...] = spec(
        (), doc="'NAME: ARM=LEAST..MOST ...', shares that a hypothesis predicts, by the crossing's "
                'arm')


@functools.cache
def with_matrix(schema: type) -> type:
    """A world's schema with the group `matrix`."""
    return dataclasses.make_dataclass(
        f'Matrix{schema.__name__}', [('matrix', MatrixConfig, nested(MatrixConfig))],
        bases=(schema,), frozen=True,
        namespace={'__doc__': schema.__doc__, '__module__': __name__})


def config_of(values: Mapping[str, Any]) -> Any:
    """The config whose values hold where a config file is silent: its world's."""
    return with_matrix(type(transmission.config_of(values)))()


def said_of(config: Any) -> list[hypotheses.Hypothesis]:
    """The hypotheses of a config.

    Raises:
      UserError: a line that cannot be read.
    """
    return hypotheses.parse(config.matrix.hypotheses, config.matrix.predictions)


def plan(config: Any) -> Sequence[Any]:
    """What a run would do, stage by stage; crossings without a diagonal are refused when it runs.

    Raises:
      UserError: what a user can mend.
    """
    said_of(config)
    return transmission.plan(config)


def check(prepared: Any) -> None:
    """Raises UserError, before any stage, for a crossing without its diagonals or a prediction of a
    cell that is not there."""
    if prepared.trait.estimator != 'gamma':
        raise UserError(f'trait={prepared.trait.name}: a matrix compares selectivities, which take '
                        'several traits: use trait=preference')
    crossed = matrix.crossings(prepared)
    hypotheses.check(said_of(prepared.config), [c.arm.name for c in crossed])


def run(config: Any, workdir: Workdir) -> str:
    """Runs the experiment and returns its table as text.

    Raises:
      UserError: whatever a user can mend, in one line.
    """
    prepared, body = results_of(config, workdir, check)
    if not body['arms']:  # it ended at its gate
        return finish(prepared, body)
    return finish(prepared, {**body, **of_matrix(prepared, body)}, report.write)


def of_matrix(prepared: Any, body: Mapping[str, Any]) -> dict[str, Any]:
    """What the matrix adds to results.json, or says in place of transmission's verdict."""
    found = matrix.cells(prepared, body['arms'])
    shares = {c['arm']: c for c in found if c['measure'] == 'share' and matrix.is_whole(c)}
    judged = hypotheses.judged(said_of(prepared.config), shares)
    return {'cells': found, 'hypotheses': judged, 'published': PUBLISHED,
            'verdict': verdict(found, judged), 'headline': headline(found),
            'verdict_by_part': by_part(found), 'verdict_by_arm': body['verdict']}


def verdict(cells: Sequence[Mapping[str, Any]], judged: Sequence[Mapping[str, Any]]) -> str:
    """The page's opening: what became of the hypotheses, or without any every part."""
    return hypotheses.sentence(judged) or by_part(cells)


def by_part(cells: Sequence[Mapping[str, Any]]) -> str:
    """Every part by its figures, in words."""
    said = []
    for part in dict.fromkeys(c['part'] for c in cells):
        mine = [c for c in cells if c['part'] == part and matrix.is_whole(c)]
        told = [_said(c, mine) for c in mine if c['measure'] == 'share']
        said.append(f'{part.capitalize()}: {"; ".join(told)}.')
    return ' '.join(said)


def _said(share, cells):
    of_arm = {c['measure']: c for c in cells if c['arm'] == share['arm']
              and c['where'] in ('off', 'offs')}
    factors, text = share['factors'], matrix.figure(of_arm['gamma'])
    if not matrix.transmits(of_arm['gamma']) and of_arm['gamma']['mde'] is not None:
        text += f', not shown (would have seen {of_arm["gamma"]["mde"]:.2f})'
    head = (f'{factors["rung"]}, {factors["teacher"]} to {factors["student"]}: {text} nats (own '
            f'diagonal {matrix.figure(share["own"])})')
    if not share['read']:
        return f'{head}, {share["why"]}'
    return (f'{head}, a share of {matrix.figure(share)} of their own teacher\'s; difference '
            f'{matrix.figure(of_arm["difference"])}')


def headline(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What experiments.jsonl keeps: the mean, interval and p of every arm's measures."""
    return {f'{c["arm"]} {c["measure"]}': [c['mean'], c['ci95'], c['p']]
            for c in cells if matrix.is_whole(c)}


def check_config(config: Any) -> None:
    """Raises UserError for arms that transmission refuses, and for hypotheses that cannot be
    read."""
    transmission.checks.check(config)
    said_of(config)


EXPERIMENT = Experiment(config_of, plan, run, report.write, transmission.steps, transmission.design,
                        transmission.to_compile, check_config, transmission.estimate)
