"""What can be said of a config before a world is made: nothing is found out hours later."""

from collections.abc import Sequence
from typing import Any

from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.run import checked_arms
from subliminal_jax.experiments.transmission.worlds import WORLDS
from subliminal_jax.models.tokenizer import check_date
from subliminal_jax.runs import UserError, check_file

MOST_STUDENTS = 1_000_000  # of a run; each is trained


def check(config: Any) -> None:
    """Refuses a config that could not run to its end.

    Raises:
      UserError: an arm, a curve, a mark, a date or a file that cannot be; more students than could
        ever be trained.
    """
    WORLDS.find(config.world)
    arms = checked_arms(config)
    check_curves(config.curves, arms)
    marks = config.student.marks
    if list(marks) != sorted(marks):
        raise UserError(f'config.student.marks={",".join(map(str, marks))} must rise')
    for part in filter(None, config.carrier.samples.split(',')):
        check_file(part.rpartition('=')[2])
    if config.carrier.problems:
        check_file(config.carrier.problems)
    if hasattr(config, 'model') and config.model.chat_date:
        check_date(config.model.chat_date)
    check_count(config, arms)


def check_curves(curves: Sequence[str], arms: Sequence[Arm]) -> None:
    """Raises UserError for a curve that is none, or over an arm that the run has not."""
    names = {arm.name for arm in arms}
    for line in curves:
        title, colon, rest = line.partition(':')
        points = [part.partition('=') for part in rest.split()]
        if not colon or not title.strip() or not points or not all(x and y for x, _, y in points):
            raise UserError(f"config.curves: {line[:60]!r} is not 'TITLE: x=arm x=arm ...'")
        if lost := [arm for _, _, arm in points if arm not in names]:
            raise UserError(f'config.curves: {title!r} is drawn over the arm {lost[0]!r}, and '
                            f'config.arms has {", ".join(sorted(names)[:8])}')


def check_count(config: Any, arms: Sequence[Arm]) -> None:
    """Raises UserError for more students than could ever be trained."""
    language = getattr(config, 'language', None)
    references = language.references * language.replicas if language else 1
    count = references * config.traits * config.teacher.seeds * config.student.seeds * len(arms)
    if count > MOST_STUDENTS:
        raise UserError(f'this run has {count} students, and {MOST_STUDENTS} are the most: take '
                        'fewer references, traits or seeds')
