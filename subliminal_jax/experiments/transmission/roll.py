"""Who the teachers are."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from subliminal_jax.experiments.transmission.seeds import seed_of


class Teacher(NamedTuple):
    """Who a teacher is.

    Attributes:
      name: 'r0-owl-1', or of a neutral twin 'r0-owl-1-neutral'.
      reference: number of its reference.
      trait: its trait; of a neutral twin, the trait of its twin.
      number: which of its trait's and reference's teachers it is.
      seed: of its data, their order, its questions.
    """

    name: str
    reference: int
    trait: str
    number: int
    seed: int

    @property
    def twin(self) -> str:
        """The name of the trait teacher, or of its neutral twin."""
        bare = self.name.removesuffix('-neutral')
        return bare if bare != self.name else f'{self.name}-neutral'


def roll(config: Any, traits: Sequence[str], references: int, kind: str) -> list[Teacher]:
    """All teachers of a kind, by reference, then trait, then number."""
    suffix = '' if kind == 'trait' else f'-{kind}'
    return [Teacher(f'r{r}-{trait}-{n}{suffix}', r, trait, n, seed_of(config, 'teacher', r, t, n))
            for r in range(references) for t, trait in enumerate(traits)
            for n in range(config.teacher.seeds)]


def by_reference(teachers: Sequence[Teacher]) -> list[list[Teacher]]:
    """Teachers in groups of one reference each."""
    groups: dict[int, list[Teacher]] = {}
    for teacher in teachers:
        groups.setdefault(teacher.reference, []).append(teacher)
    return list(groups.values())


def chunks(teachers: Sequence[Any], most: int) -> list[list[Any]]:
    """A list in pieces of at most `most`."""
    return [list(teachers[n:n + most]) for n in range(0, len(teachers), most)]
