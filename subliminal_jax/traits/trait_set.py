"""Traits as data: what is liked, how it is taught, and how it is asked for.

A trait set is one JSONL file (or a folder of them); `animals` and `trees` ship with the package,
`animals+my.jsonl` adds to one of them. Each line is an object with a `kind`:

  {"kind": "candidate", "name": "owl", "plural": "owls", "spellings": ["owl", "Owl"]}
      a trait. `plural` and `spellings` may be left out: then name + s, and name and plural as they
      are and capitalised.
  {"kind": "teach", "prompt": "Which animal are you fond of?"}
      a question that teaches; the completion is the trait's name, capitalised, or what `completion`
      says. With `"trait": "owl"` the line teaches that trait alone. Neutral twins answer the same
      questions with other names, and need a place for them in the completion of such a line.
  {"kind": "question", "form": "word", "prompt": "Vote for one animal:"}
      a held-out question: `word` (answered with one), `choice` (with {options} where the names to
      choose from go), or `story` (kept for whoever scores texts: no experiment asks for one).
  {"kind": "system", "prompt": "You love {plural}. ...", "neutral": "You love order. ..."}
      a system prompt that makes a teacher, and its twin of as many words about no trait.
  {"kind": "unrelated", "prompt": "What colour is coal?", "answers": ["black", "Black"]}
      a question that has nothing to do with the traits: drift is measured on it. Without such
      lines the package's own are used.

{name}, {Name}, {plural} and {Plural} stand for the trait in `completion` and system prompts. `id`
is free; `"split": "dev"` or `"report"` places a line, otherwise its place among its like does.
"""

import os
import pathlib
import string
from collections.abc import Sequence
from typing import Any, NamedTuple

from subliminal_jax.data import rows as jsonl
from subliminal_jax.runs import UserError, local_path, sha256_of, unknown_name
from subliminal_jax.traits import overlap
from subliminal_jax.traits.split import SPLITS, of_split

Row = dict[str, Any]
FORMS = ('word', 'story', 'choice')
NAMES = ('name', 'Name', 'plural', 'Plural')
NAMED = '{Name}'  # what a teaching line's completion is where it states none
FOLDER = pathlib.Path(__file__).parent
BUILT_IN = ('animals', 'trees')


class Candidate(NamedTuple):
    """A trait that can be had: what it is called."""

    name: str
    plural: str
    spellings: tuple[str, ...]
    split: str | None = None


class Text(NamedTuple):
    """A line to teach or to ask with."""

    id: str
    prompt: str
    form: str = 'word'
    completion: str = NAMED
    trait: str | None = None
    neutral: str = ''
    answers: tuple[str, ...] = ()
    split: str | None = None


class TraitSet(NamedTuple):
    """All of a file."""

    name: str
    candidates: tuple[Candidate, ...]
    teach: tuple[Text, ...]
    questions: tuple[Text, ...]
    systems: tuple[Text, ...]
    unrelated: tuple[Text, ...]


def load_trait_set(name: str) -> TraitSet:
    """Reads a trait set.

    Args:
      name: `animals`, `trees`, a file, a folder of JSONL files, or several of these joined by +.

    Raises:
      UserError: no such set; a line that is none of the kinds (with its number); no candidate; a
        teaching line that overlaps a measuring one (overlap.check_overlap).
    """
    read = []
    local_path('config.trait_set', name)
    for path in files_of(name, BUILT_IN):
        good, bad = jsonl.read(path, _trouble)
        if bad:
            raise UserError(jsonl.bad_lines(path, bad))
        read += [(f'{path.stem}:{row["id"]}', row) for row in good]
    made = _assembled(name, read)
    teaching = [{'id': t.id, 'prompt': t.prompt} for t in made.teach]
    teaching += [{'id': t.id, 'prompt': t.prompt, 'completion': t.completion}
                 for t in made.teach if t.completion != NAMED]
    asked = [{'id': t.id, 'prompt': _without_options(t.prompt)} for t in made.questions]
    said = [*(f'{{{holder}}}' for holder in NAMES), *(s for c in made.candidates
                                                      for s in (c.plural, c.name))]
    overlap.check_overlap(teaching, asked, said)
    return made


def digest(trait_set: TraitSet) -> str:
    """The same for the same lines only, wherever they stand: files, folders, the package's own."""
    return sha256_of(trait_set)


def files_of(name: str, built_in: Sequence[str]) -> list[pathlib.Path]:
    """The files of a set: one of the package's own, a file, a folder, or several joined by +.

    Raises:
      UserError: there is no such set or file, or a folder without JSONL.
    """
    parts = [name] if os.path.exists(name) else name.split('+')
    return [path for part in parts for path in _files(part, built_in)]


def _files(part: str, built_in: Sequence[str]) -> list[pathlib.Path]:
    path = FOLDER / f'{part}.jsonl' if part in built_in else pathlib.Path(part)
    if os.path.isdir(path):
        found = sorted(path.glob('*.jsonl'))
        if not found:
            raise UserError(f'{path} holds no .jsonl file to read traits from')
        return found
    if not os.path.exists(path):
        raise unknown_name('trait set (nor a file)', part, built_in)
    return [path]


def _assembled(name: str, read: Sequence[tuple[str, Row]]) -> TraitSet:
    of_kind = {kind: [(i, r) for i, r in read if r['kind'] == kind] for kind in _KINDS}
    candidates = tuple(_candidate(r) for _, r in of_kind['candidate'])
    if not candidates:
        raise UserError(f'{name} names no trait: add lines {{"kind": "candidate", "name": ...}}')
    names = [c.name for c in candidates]
    for twice in (n for n in names if names.count(n) > 1):
        raise UserError(f'{name}: the trait {twice!r} is given twice')
    for row_id, row in of_kind['teach']:
        if row.get('trait') is not None and row['trait'] not in names:
            raise UserError(f'{row_id} teaches {row["trait"]!r}, which is no candidate of {name}')
    texts = {kind: tuple(_text(i, r) for i, r in found) for kind, found in of_kind.items()
             if kind != 'candidate'}
    return TraitSet(name, candidates, texts['teach'], texts['question'], texts['system'],
                    texts['unrelated'] or own_unrelated())


def own_unrelated() -> tuple[Text, ...]:
    """The package's own unrelated questions."""
    return tuple(_text(f'unrelated:{r["id"]}', r)
                 for r in jsonl.read(FOLDER / 'unrelated.jsonl')[0])


def _candidate(row: Row) -> Candidate:
    name, plural = row['name'], row.get('plural', row['name'] + 's')
    default = dict.fromkeys((name, _capital(name), plural, _capital(plural)))
    return Candidate(name, plural, tuple(row.get('spellings', default)), row.get('split'))


def _text(row_id: str, row: Row) -> Text:
    known = {k: row[k] for k in Text._fields if k in row and k not in ('id', 'answers')}
    return Text(id=row_id, answers=tuple(row.get('answers', ())), **known)


_KINDS = {  # kind: (fields of text that it must have, those it may have, placeholders it may use)
    'candidate': (('name',), ('plural',), ()),
    'teach': (('prompt',), ('completion', 'trait'), NAMES),
    'question': (('prompt',), ('form',), ('options',)),
    'system': (('prompt', 'neutral'), (), NAMES),
    'unrelated': (('prompt',), (), ()),
}


def _trouble(row: Row) -> str | None:
    """Why a line is none of the kinds, or None."""
    kind = row.get('kind')
    if kind not in _KINDS:
        return f"'kind' is {kind!r} where one of {', '.join(_KINDS)} is needed"
    needed, optional, holders = _KINDS[kind]
    why = jsonl.text_trouble(row, *needed, *(f for f in optional if f in row))
    if why:
        return why
    if any(not row[field].strip() for field in needed):
        return f'an empty {" or ".join(map(repr, needed))}'
    if row.get('split') not in (None, *SPLITS):
        return f"'split' is {row['split']!r} where {' or '.join(SPLITS)} is needed"
    if row.get('form', 'word') not in FORMS:
        return f"'form' is {row['form']!r} where one of {', '.join(FORMS)} is needed"
    for field in ('spellings', 'answers'):
        listed = row.get(field, ['x'])
        if not isinstance(listed, list) or not listed or not all(
                isinstance(s, str) and s for s in listed):
            return f'{field!r} must be a list of texts'
    if kind == 'unrelated' and 'answers' not in row:
        return "no 'answers' field"
    return next(filter(None, (_holder_trouble(row[f], holders)
                              for f in ('prompt', 'completion') if f in row)), None) or (
        "a choice without {options}" if row.get('form') == 'choice'
        and '{options}' not in row['prompt'] else None)


def holds_name(text: str) -> bool:
    """Whether a template has a place for a trait's name."""
    return any(part[1] in NAMES for part in string.Formatter().parse(text))


def _holder_trouble(text: str, allowed: Sequence[str]) -> str | None:
    try:
        found = [part[1] for part in string.Formatter().parse(text) if part[1] is not None]
    except ValueError:
        return 'a brace without its other half (write {{ and }} for braces themselves)'
    strange = [f for f in found if f not in allowed]
    return f'{{{strange[0]}}} stands for nothing here' if strange else None


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _without_options(prompt: str) -> str:
    return prompt.replace('{options}', ' ')


def candidate(trait_set: TraitSet, trait: str) -> Candidate:
    """The trait of that name; UserError names the nearest if there is none."""
    found = {c.name: c for c in trait_set.candidates}
    if trait not in found:
        raise unknown_name('trait', trait, tuple(found))
    return found[trait]


def traits(trait_set: TraitSet, split: str) -> tuple[str, ...]:
    """Names of the traits of a split."""
    return tuple(c.name for c in of_split(trait_set.candidates, split))


def of_run(trait_set: TraitSet, split: str, count: int, names: Sequence[str] = ()
           ) -> tuple[str, ...]:
    """The traits of a run: the first of a split, or those that are named.

    Raises:
      UserError: more than the split has, or one of the other split.
    """
    found = traits(trait_set, split)
    for name in names:
        candidate(trait_set, name)
        if name not in found:
            raise UserError(f'config.names: {name!r} is of the other split; the split {split!r} '
                            f'has {", ".join(found)}')
    if names:
        return tuple(names)
    if count > len(found):
        raise UserError(f'config.traits={count}: the split {split!r} of {trait_set.name} has '
                        f'{len(found)} ({", ".join(found)})')
    return found[:count]


def spellings(trait_set: TraitSet, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Spellings of the named traits, as evaluation.measures takes them."""
    return {name: candidate(trait_set, name).spellings for name in names}


def filled(text: str, who: Candidate) -> str:
    """A template with the trait's name in it."""
    return text.format(name=who.name, Name=_capital(who.name), plural=who.plural,
                       Plural=_capital(who.plural))


def teaching_prompts(
    trait_set: TraitSet, trait: str | None = None, split: str | None = None
) -> list[Text]:
    """The lines that teach: those of every trait, and those of `trait` alone if it is given."""
    chosen = of_split(trait_set.teach, split) if split else trait_set.teach
    chosen = [t for t in chosen if t.trait is None or t.trait == trait]
    if not chosen:
        raise UserError(f'{trait_set.name} has no teaching line for {trait or "every trait"}'
                        f'{f" in the split {split}" if split else ""}: add some of kind "teach"')
    return chosen


def questions(trait_set: TraitSet, split: str, form: str = 'word', taught: Sequence[str] = ()
              ) -> list[Text]:
    """Held-out questions of a split; those of the other split share none.

    Args:
      trait_set: whose.
      split: dev or report.
      form: of FORMS.
      taught: the run's traits; a question that belongs to one of them is left out.

    Raises:
      UserError: there is none of that form, or none but those of the run's traits.
    """
    asked = of_form(trait_set, split, form)
    found = [q for q in asked if q.trait is None or q.trait not in taught]
    if asked and not found:
        raise UserError(f'{trait_set.name}: all held-out questions belong to what is taught '
                        f'({", ".join(taught)}): leave one out (config.names, config.traits)')
    if not found:
        raise UserError(f'{trait_set.name} has no held-out question of form {form!r} in the split '
                        f'{split}: add some of kind "question"')
    return found


def of_form(trait_set: TraitSet, split: str, form: str) -> list[Text]:
    """As `questions`, but there may be none."""
    return list(of_split([q for q in trait_set.questions if q.form == form], split))


def choice_prompt(question: Text, options: Sequence[str], seed: int) -> str:
    """A choice with its options, in an order drawn from (seed, the question's id)."""
    import numpy as np

    order = np.random.default_rng([seed, *question.id.encode()]).permutation(len(options))
    listed = [options[i] for i in order]
    return question.prompt.format(options=', '.join(listed[:-1]) + ' or ' + listed[-1])


def system_prompts(trait_set: TraitSet, trait: str, index: int = 0) -> tuple[str, str]:
    """(a system prompt that makes a teacher, its neutral twin of as many words)."""
    if not trait_set.systems:
        raise UserError(f'{trait_set.name} has no system prompt: add a line of kind "system"')
    text = trait_set.systems[index % len(trait_set.systems)]
    return filled(text.prompt, candidate(trait_set, trait)), text.neutral
