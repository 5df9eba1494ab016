"""Who the teachers are."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from subliminal_jax.experiments.transmission.seeds import seed_of


class Teacher(NamedTuple):
    """Who a teacher is.

    Attributes:
      name: 'r0-owl-1', or of a twin 'r0-owl-1-neutral'.
      reference: number of its reference.
      trait: its trait; of a twin, the trait of the teacher that it is a twin of.
      number: which of its trait's and reference's teachers it is.
      seed: of its data, their order, its questions; twins share it.
      kind: 'trait', 'neutral', or a further kind of twin (`Trait.twins`).
    """

    name: str
    reference: int
    trait: str
    number: int
    seed: int
    kind: str = 'trait'

    @property
    def twin(self) -> str:
        """The name of the trait teacher, or of its neutral twin."""
        return self.original if self.kind != 'trait' else f'{self.name}-neutral'

    @property
    def original(self) -> str:
        """The name of the trait teacher that it is, or is a twin of."""
        return self.name if self.kind == 'trait' else self.name.removesuffix(f'-{self.kind}')


def roll(config: Any, traits: Sequence[str], references: int, kind: str) -> list[Teacher]:
    """All teachers of a kind, by reference, then trait, then number."""
    suffix = '' if kind == 'trait' else f'-{kind}'
    return [Teacher(f'r{r}-{trait}-{n}{suffix}', r, trait, n,
                    seed_of(config, 'teacher', r, t, n), kind)
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
