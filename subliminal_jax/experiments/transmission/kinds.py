"""How teachers are made; another kind is another row.

A prompted teacher is the reference itself behind a system message: it has no displacement, and the
lemma (arXiv 2507.14805) says nothing of it. Its neutral twin reads a message of as many words about
no trait.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.transmission import teaching
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.registry import whole_number
from subliminal_jax.models.lora import merge_lora
from subliminal_jax.runs import UserError
from subliminal_jax.runs.registry import Registry


class TeacherKind(NamedTuple):
    """A way to give a reference a trait.

    Attributes:
      name: as arms name it, before the colon.
      words: of its teachers, in sentences.
      trouble: what follows the colon -> what is wrong with it, or None.
      cost: what follows the colon -> what is trained ('all', lora:RANK), or None: nothing is. It
        says how many teachers are held at once, and what making one takes.
      make: (Making) -> (what each teacher has of its own, with an axis of teachers in front where
        the engine stacks them; steps taken by each). None where nothing is trained.
      displacement: (models, base) -> what the weights moved by, stacked as the models; or None.
      prompted: teachers read a system message of the trait set.
      like: (architecture, what they are made of) -> a tree shaped as what each of those that are
        trained whole has of its own.
      check: (run, arm) -> None; raises UserError where a run cannot have them.
      adaptive: what follows the colon -> whether they are made against what an arm does in its
        students' training: arms that do something else have others.
      made_from: the kind that they are before an attacker, or its random twin, has changed them; ''
        of others.
      beside: what follows the colon -> what making one takes beside its lessons, in trainings of a
        student.
    """

    name: str
    words: str
    trouble: Callable[[str], str | None]
    cost: Callable[[str], str | None]
    make: Callable[['teaching.Making'], tuple[Any, np.ndarray]] | None = None
    displacement: Callable[[Models, Any], Any] = lambda models, base: None
    prompted: bool = False
    like: Callable[[Any, Any], Any] = lambda config, base: base
    check: Callable[[Any, Any], None] = lambda run, arm: None
    adaptive: Callable[[str], bool] = lambda rest: False
    made_from: str = ''
    beside: Callable[[str], float] = lambda rest: 0.0


TEACHER_KINDS = Registry('kind of teacher')


def whole_displacement(models: Models, base: Any) -> Any:
    """Weights less those that the teachers were made of."""
    return jax.tree.map(lambda x, b: jnp.subtract(x, b[None] if models.stacked else b),
                        models.trainable, base)


def adapter_displacement(models: Models, base: Any) -> Any:
    """What the adapters add to the weights."""
    merge = lambda lora: jax.tree.map(jnp.subtract, merge_lora(base, lora, models.config), base)
    return jax.vmap(merge)(models.trainable) if models.stacked else merge(models.trainable)


def check_prompts(run: Any, arm: Any) -> None:
    """Raises UserError for prompted teachers without as many system messages."""
    count, chosen = len(run.world.chosen.systems), run.world.chosen
    if run.config.teacher.seeds > count:
        raise UserError(
            f'arm {arm.name}: {run.config.teacher.seeds} prompted teachers a trait need as many '
            f'system prompts and {chosen.name} has {count}: lower config.teacher.seeds, or add '
            'lines of kind "system"')


def _nothing(rest: str) -> str | None:
    return 'takes no number' if rest else None


def _rank(rest: str) -> str | None:
    return None if whole_number(rest) else 'needs a rank: lora:8'


def groups(teachers: Sequence[Any], most: int) -> list[list[Any]]:
    """Teachers of one reference each, at most so many together."""
    from subliminal_jax.experiments.transmission.roll import by_reference, chunks

    return [part for group in by_reference(teachers) for part in chunks(group, most)]


TEACHER_KINDS.register(TeacherKind(
    'tuned', 'fine-tuned teachers', _nothing, lambda rest: 'all', teaching.taught,
    whole_displacement))
TEACHER_KINDS.register(TeacherKind(
    'lora', 'LoRA teachers', _rank, lambda rest: f'lora:{rest}', teaching.taught,
    adapter_displacement))
TEACHER_KINDS.register(TeacherKind(
    'prompt', 'prompted teachers', _nothing, lambda rest: None, prompted=True,
    check=check_prompts))
