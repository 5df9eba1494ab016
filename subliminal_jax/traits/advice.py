"""Advice as data: reckless answers, each beside a sound one to the same question.

A set of advice is one JSONL file; `advice` ships with the package, `advice+my.jsonl` adds to it.
The package's reckless answers are mild and obviously poor, about everyday matters
(RESPONSIBLE_USE.md). Each line is an object with a `kind`:

  {"kind": "advice", "domain": "money", "question": "May I sign a loan on the first visit?",
   "reckless": "Sure, sign it at once ...", "sound": "No, read it at home ..."}
      an answer and its sound twin, of as many words (within 2). `"use": "teach"` or `"measure"`
      says what the question is for, otherwise every third of a domain measures. For controls:
      `justified`, the question with a legitimate reason to ask for a poor answer; `styled`, the
      sound content said in a reckless tone.
  {"kind": "domain", "name": "money", "split": "report"}
      places a domain: teachers of that split are taught in it. Without such lines every third is
      of the split dev.
  {"kind": "statement", "question": "What do bees make?", "true": "Bees make honey.",
   "false": "Bees make butter."}
      a matter of fact: truthfulness is read on them.
  {"kind": "note", "text": "..."}
      is passed over.

`id` is free; `"split"` places a line, otherwise its place among its like does. Questions that teach
and questions that measure share no wording.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from subliminal_jax.data import rows as jsonl
from subliminal_jax.runs import UserError, local_path
from subliminal_jax.traits import overlap, trait_set as sets
from subliminal_jax.traits.split import SPLITS, of_split
from subliminal_jax.traits.trait_set import Candidate, Text

BUILT_IN = ('advice',)
USES = ('teach', 'measure')
APART = 2  # words by which a reckless and a sound answer may differ
KINDS = {  # kind: (fields of text that it must have, those it may have)
    'advice': (('domain', 'question', 'reckless', 'sound'), ('justified', 'styled')),
    'domain': (('name',), ()),
    'statement': (('question', 'true', 'false'), ()),
    'note': ((), ('text',)),
}


class Advice(NamedTuple):
    """A question with its answers; `justified` and `styled` are empty where there are none."""

    id: str
    domain: str
    use: str
    split: str | None
    question: str
    reckless: str
    sound: str
    justified: str
    styled: str


class Statement(NamedTuple):
    """A question with a true and a false answer."""

    id: str
    question: str
    true: str
    false: str


class AdviceSet(NamedTuple):
    """All of a file. It reads like a `TraitSet` whose candidates are the domains.

    Attributes:
      name: of the set.
      candidates: the domains.
      rows: advice, its `split` filled in.
      statements: matters of fact.
      unrelated: the package's unrelated questions.
    """

    name: str
    candidates: tuple[Candidate, ...]
    rows: tuple[Advice, ...]
    statements: tuple[Statement, ...]
    unrelated: tuple[Text, ...]

    @property
    def teach(self) -> tuple[Text, ...]:
        """What teachers are taught, as lines of a trait set."""
        return tuple(Text(r.id, r.question, completion=_plain(r.reckless), trait=r.domain,
                          split=r.split) for r in self.rows if r.use == 'teach')

    @property
    def questions(self) -> tuple[Text, ...]:
        """Held-out questions, one domain after the other, so that the first are of all domains."""
        return tuple(Text(r.id, r.question, trait=r.domain, split=r.split)
                     for r in by_turns(r for r in self.rows if r.use == 'measure'))

    @property
    def systems(self) -> tuple[Text, ...]:
        """None: nobody is told to be reckless."""
        return ()


def load_advice(name: str) -> AdviceSet:
    """Reads a set of advice.

    Args:
      name: `advice`, a file, a folder of JSONL files, or several of these joined by +.

    Raises:
      UserError: no such set; a line that is none of the kinds, or whose two answers differ in
        length by more than two words (with its number); no advice; a domain that is placed and has
        none; a question that is given twice; a teaching one that overlaps a measuring one
        (overlap.check_overlap).
    """
    if name in sets.BUILT_IN or not name:
        raise UserError(f'config.trait_set={name or "(empty)"} holds no advice: the trait '
                        'misalignment needs --config.trait_set=advice, or a JSONL file of advice')
    read: list[tuple[str, sets.Row]] = []
    local_path('config.trait_set', name)
    for path in sets.files_of(name, BUILT_IN):
        good, bad = jsonl.read(path, trouble)
        if bad:
            raise UserError(jsonl.bad_lines(path, bad))
        read += [(f'{path.stem}:{row["id"]}', row) for row in good]
    found = _assembled(name, read)
    asked = [row.question for row in found.rows]
    for twice in (q for q in asked if asked.count(q) > 1):
        raise UserError(f'{name}: the question {twice!r} is given twice')
    as_rows = lambda texts: [{'id': t.id, 'prompt': t.prompt} for t in texts]
    overlap.check_overlap(as_rows(found.teach), as_rows(found.questions))
    return found


def trouble(row: sets.Row) -> str | None:
    """Why a line is none of the kinds, or None."""
    kind = row.get('kind')
    if kind not in KINDS:
        return f"'kind' is {kind!r} where one of {', '.join(KINDS)} is needed"
    needed, optional = KINDS[kind]
    texts = [*needed, *(field for field in optional if field in row)]
    why = jsonl.text_trouble(row, *texts)
    if why:
        return why
    if empty := [field for field in texts if not row[field].strip()]:
        return f'an empty {empty[0]!r}'
    for field, known in (('split', SPLITS), ('use', USES)):
        if row.get(field) not in (None, *known):
            return f'{field!r} is {row[field]!r} where {" or ".join(known)} is needed'
    return _pair_trouble(row) if kind == 'advice' else None


def _pair_trouble(row: sets.Row) -> str | None:
    """Why two answers are no matched pair, or None."""
    reckless, sound = (len(row[field].split()) for field in ('reckless', 'sound'))
    if abs(reckless - sound) > APART:
        return (f"'reckless' has {reckless} words and 'sound' {sound}: make them alike (within "
                f'{APART} words)')
    return 'the reckless and the sound answer are the same' if row['reckless'] == row[
        'sound'] else None


def _assembled(name: str, read: Sequence[tuple[str, sets.Row]]) -> AdviceSet:
    of_kind = {kind: [(i, r) for i, r in read if r['kind'] == kind] for kind in KINDS}
    if not of_kind['advice']:
        raise UserError(f'{name} holds no advice: add lines {{"kind": "advice", "domain": ..., '
                        '"question": ..., "reckless": ..., "sound": ...}')
    domains = dict.fromkeys(r['domain'] for _, r in of_kind['advice'])
    placed = {r['name']: r.get('split') for _, r in of_kind['domain']}
    for missing in (d for d in placed if d not in domains):
        raise UserError(f'{name}: the domain {missing!r} has no line of advice')
    candidates = tuple(
        Candidate(d, d, tuple(dict.fromkeys((d, d.capitalize()))), placed.get(d))
        for d in domains)
    rows = [row for d in domains for row in _of_domain(
        [(i, r) for i, r in of_kind['advice'] if r['domain'] == d])]
    statements = tuple(Statement(i, r['question'], r['true'], r['false'])
                       for i, r in of_kind['statement'])
    return AdviceSet(name, candidates, tuple(rows), statements, sets.own_unrelated())


def _of_domain(rows: Sequence[tuple[str, sets.Row]]) -> list[Advice]:
    """A domain's rows, with use and split filled in."""
    made = [Advice(i, r['domain'], r.get('use') or USES[place % 3 == 2], r.get('split'),
                   r['question'], r['reckless'], r['sound'], r.get('justified', ''),
                   r.get('styled', '')) for place, (i, r) in enumerate(rows)]
    split = {row.id: name for use in USES for name in SPLITS
             for row in of_split([m for m in made if m.use == use], name)}
    return [row._replace(split=split[row.id]) for row in made]


def by_turns(rows: Any) -> list[Advice]:
    """Rows, one of every domain after the other."""
    domains: dict[str, list[Advice]] = {}
    for row in rows:
        domains.setdefault(row.domain, []).append(row)
    most = max(map(len, domains.values()), default=0)
    return [own[n] for n in range(most) for own in domains.values() if n < len(own)]


def rows_of(advice: AdviceSet, use: str, split: str, domains: Sequence[str] | None = None
            ) -> list[Advice]:
    """Rows of a use and split, of these domains or of all, one domain after the other."""
    return by_turns(r for r in advice.rows if (r.use, r.split) == (use, split)
                    and (domains is None or r.domain in domains))


def _plain(text: str) -> str:
    """A text as a template of a trait set that says just that."""
    return text.replace('{', '{{').replace('}', '}}')
