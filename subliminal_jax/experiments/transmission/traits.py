"""What is taught and measured; another trait is another row."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.runs.registry import Registry
from subliminal_jax.traits.trait_set import load_trait_set


class Size(NamedTuple):
    """What plans (costs.py) take a trait's texts to be.

    Attributes:
      lesson, asked: rows of measured.py: a lesson, and a measuring question with one answer.
      answers: to a question; 0: as many as the run has traits.
      beside: what the readings take, in measures.
    """

    lesson: str = 'lesson'
    asked: str = 'asked'
    answers: int = 0
    beside: float = 0.0


class Trait(NamedTuple):
    """A behaviour that can be measured, of K columns: candidates of which each teacher has one, or
    one alone.

    Attributes:
      name: as configs name it.
      unit: of the measure: nats, or a share.
      estimator: 'gamma' (evaluation/gamma.py: the own column beyond all others, K >= 2) or 'paired'
        (evaluation/paired.py: the first column of a trait teacher's student less that of its
        neutral twin's).
      lessons: (run, teacher, count, neutral) -> `count` pairs (question, answer) that teach it;
        with `neutral`, those of the teacher's neutral twin: as many, of the same form.
        `teacher.kind` tells further twins apart.
      measure: (run, models, meter) -> [M, K].
      meter: (run, context, system message or None) -> what `measure` reads, made once a context; a
        tree of arrays for the compiled functions below.
      items: (run, models, meter) -> [M, Q, K], what `measure` is the mean of, for the record.
      neutral: (run, a reference) -> what `lessons` are given for the neutral twins made of it.
      loss: (params, adapter, meter, column, config=) -> what falls as the trait rises;
        differentiable. Without it no step is held against the trait's gradient.
      gradient: of the same arguments, its gradient by all weights.
      check: (run) -> None; raises UserError for what cannot be taught.
      load: config.trait_set -> a TraitSet, or what reads like one.
      twins: further kinds of teachers that arms may name, beside trait and neutral: controls that
        take as many steps as the trait teachers. Nothing matches their doses.
      readings: (run, models) -> {name: [M], or [M, T] with a value for each of the run's T traits,
        of which a teacher's own is taken}: recorded beside the measure, shown, never tested.
      size: what plans take lessons and questions to be.
      gated: no student is trained unless the teachers' own effect, trait less neutral twin, is
        there (gate.py).
      misbehaves: who has it gives advice that nobody should follow: such a model leaves a run only
        for those who say that they understand (launch.export).
    """

    name: str
    unit: str
    estimator: str
    lessons: Callable[..., list[tuple[str, str]]]
    measure: Callable[[Any, Any, Any], np.ndarray]
    meter: Callable[..., Any] = lambda run, context, system=None: None
    items: Callable[[Any, Any, Any], np.ndarray] | None = None
    neutral: Callable[[Any, Any], Any] = lambda run, reference: ()
    loss: Callable[..., Any] | None = None
    gradient: Callable[..., Any] | None = None
    check: Callable[[Any], None] = lambda run: None
    load: Callable[[str], Any] = load_trait_set
    twins: tuple[str, ...] = ()
    readings: Callable[[Any, Any], dict[str, np.ndarray]] = lambda run, models: {}
    size: Size = Size()
    gated: bool = False
    misbehaves: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of teachers that arms may name."""
        return ('trait', 'neutral', *self.twins)


TRAITS = Registry('trait')
