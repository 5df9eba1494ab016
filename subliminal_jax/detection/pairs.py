"""Who is told from whom: writers in pairs, rows on the same prompts, and splits by writer."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from subliminal_jax.runs import UserError

TASKS = {'twin': 'trait against neutral twin', 'other': 'trait against another trait'}


class Writer(NamedTuple):
    """Who has written rows.

    Attributes:
      name: of the writer; unique.
      reference: number of the reference that it is made of.
      trait: its trait; of a neutral writer, the trait of the one that it is a twin of.
      number: which of its trait's and reference's writers it is: its seed.
      neutral: whether it has no trait.
      sha256: of the model; '' where there is none to be hashed.
    """

    name: str
    reference: int
    trait: str
    number: int
    neutral: bool
    sha256: str


class Pair(NamedTuple):
    """Two writers of one reference, whose rows answer the same prompts.

    Attributes:
      task: a key of TASKS.
      positive: has the trait.
      negative: its neutral twin, or a writer with another trait.
    """

    task: str
    positive: Writer
    negative: Writer

    @property
    def name(self) -> str:
        """As files name it."""
        return f'{self.positive.name}/{self.negative.name}'


def paired(writers: Sequence[Writer]) -> dict[str, list[Pair]]:
    """All pairs by task. Every trait writer stands in one pair a task as the positive one.

    The other trait is the next of the reference's, in the order in which they come, around.

    Raises:
      UserError: writers of one class only, or a trait writer without its twin.
    """
    with_trait = [w for w in writers if not w.neutral]
    neutral = {(w.reference, w.trait, w.number): w for w in writers if w.neutral}
    if not with_trait or not neutral:
        raise UserError('one class only: a detector needs rows of writers with the trait and of '
                        'writers without it')
    traits = list(dict.fromkeys(w.trait for w in with_trait))
    own = {(w.reference, w.trait, w.number): w for w in with_trait}
    found: dict[str, list[Pair]] = {task: [] for task in TASKS}
    for key, writer in own.items():
        if key not in neutral:
            raise UserError(f'{writer.name} has no neutral twin: its rows are of one class only')
        found['twin'].append(Pair('twin', writer, neutral[key]))
        following = traits[(traits.index(writer.trait) + 1) % len(traits)]
        other = own.get((writer.reference, following, writer.number))
        if other is not None and following != writer.trait:
            found['other'].append(Pair('other', writer, other))
    return {task: pairs for task, pairs in found.items() if pairs}


def known_to(pair: Pair, pairs: Sequence[Pair]) -> list[Pair]:
    """What a detector may learn from before it reads a pair: the same traits and reference, other
    seeds. Weights of another reference say nothing of what a trait does to these.

    Raises:
      UserError: there are none, or one of their writers is also in the pair that is read.
    """
    alike = lambda p: (p.task, p.positive.reference, p.positive.trait, p.negative.trait)
    found = [p for p in pairs if alike(p) == alike(pair)
             and p.positive.number != pair.positive.number]
    if not found:
        raise UserError(f'no other seed of {pair.positive.trait} on reference '
                        f'{pair.positive.reference} for a detector to learn from: give a trait two '
                        'or more teachers a reference (config.teacher.seeds)')
    check_apart([w for p in found for w in p[1:]], pair[1:])
    return found


def check_apart(known: Sequence[Writer], read: Sequence[Writer]) -> None:
    """Refuses a split whose two sides share a model, whatever its name.

    Raises:
      UserError: the first that they share.
    """
    hashes = {w.sha256: w for w in known if w.sha256}
    names = {w.name: w for w in known}
    for writer in read:
        same = hashes.get(writer.sha256) or names.get(writer.name)
        if same is not None:
            raise UserError(
                f'{writer.name} is the model {same.name} (SHA-256 {writer.sha256[:12]}), which the '
                'detector has learned from: give the two sides of a split different teachers')


def check_rows(count: int, bags: Sequence[int], what: str) -> None:
    """Raises UserError for fewer rows than the largest bag holds."""
    if count < max(bags):
        raise UserError(f'{what}: {count} rows are fewer than the largest bag of {max(bags)}: give '
                        'more rows, or smaller bags')


def unit_of(pairs: Sequence[Pair]) -> tuple[str, Mapping[str, str]]:
    """(what an interval is over, the unit of every pair by its name).

    As for selectivity (evaluation/gamma.py): references; of one reference, its traits from three
    on; else the pairs themselves.
    """
    references = {p.positive.reference for p in pairs}
    traits = {p.positive.trait for p in pairs}
    if len(references) > 1:
        return 'reference', {p.name: f'r{p.positive.reference}' for p in pairs}
    if len(traits) > 2:
        return 'trait', {p.name: p.positive.trait for p in pairs}
    return 'teacher', {p.name: p.name for p in pairs}
