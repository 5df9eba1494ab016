"""The audited rows: read as a stream, filtered, and a sample of them kept.

A file may have any number of lines: what is in memory is the sample, the counts, and one line. The
sample is drawn by a hash of (seed, place): the rows with the smallest are kept, so that it is the
same however often it is drawn, and does not hang on how many rows come after.
"""

import collections
import hashlib
import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tqdm import tqdm

from subliminal_jax.carriers.carrier import trait_word_in
from subliminal_jax.data import rows as files, shapes, sources
from subliminal_jax.experiments.audit import subjects
from subliminal_jax.experiments.audit.subjects import Row, Subject
from subliminal_jax.runs import UserError, check_preempted
from subliminal_jax.traits import trait_set as sets

SEVERAL = 'several turns: a row of an audit is one prompt and its answer'
OFTEN = 1024  # rows after which SIGTERM is looked for


class Intake(NamedTuple):
    """What a file holds.

    Attributes:
      rows: the sample, in the file's order: `id` (the place), `prompt`, `completion`.
      counts: read, malformed, kept (before the sample), sampled; `reasons` by reject reason;
        `overt`, rows by the candidate that they name; `system`, rows with a system message, which
        students are not shown.
    """

    rows: list[dict[str, Any]]
    counts: dict[str, Any]


def reason_of(subject: Subject, config: Any) -> Callable[[Row], str | None]:
    """The filter of an audit: (row with prompt and completion) -> why it is left out, or None.

    The carrier's own rules come first, where one is named; then, unless `keep_overt`, whether the
    answer names a candidate; then whether the model can learn it.
    """
    audit, carrier = config.audit, None
    if audit.filtered and config.carrier.name:
        carrier = subject.run.carrier()
    words = overt_words(subject)

    def reason(row: Row) -> str | None:
        text = row['completion']
        if not text.strip():
            return 'an empty answer'
        if carrier is not None:
            why = carrier.reject_reason(text, banned=config.carrier.banned, row=row)
            if why:
                return why
        if not audit.keep_overt and (named := trait_word_in(text, tuple(words))):
            return f'names {words[named]}'
        return subjects.trouble(subject, row)

    return reason


def overt_words(subject: Subject) -> dict[str, str]:
    """{spelling of a candidate: its name}."""
    world = subject.world
    return {text: name for name, texts in sets.spellings(world.chosen, world.candidates).items()
            for text in texts}


def read(paths: Sequence[str], reason: Callable[[Row], str | None], words: Mapping[str, str],
         columns: Mapping[str, str], most: int, seed: int) -> Intake:
    """Reads files of rows.

    Args:
      paths: of the files, or folders.
      reason: the filter.
      words: {spelling: candidate}, for the count of rows that name one.
      columns: {field of ours: what it is called}.
      most: rows in the sample.
      seed: of the sample.

    Raises:
      UserError: a file that cannot be read, is empty, or is of no known shape.
    """
    tally = collections.Counter()
    reasons, overt = collections.Counter(), collections.Counter()
    heap: list[tuple[int, int, dict[str, Any]]] = []
    for path in paths:
        good, bad, odd = 0, [], None
        found = sources.records(path)
        for record, row, why in tqdm(files.judged(found, trouble, repeats=True, columns=columns),
                                     desc='rows', unit='row', leave=False):
            if tally['read'] % OFTEN == 0:
                check_preempted()
            place = tally['read']
            tally['read'] += 1
            odd = odd or row
            if why and why != SEVERAL:
                tally['malformed'] += 1
                if len(bad) < OFTEN:
                    bad.append(files.BadLine(record.number, why))
                continue
            good += 1
            if why:
                reasons[why] += 1
                continue
            row = single(row)
            tally['system'] += 'system' in row
            if named := trait_word_in(row['completion'], tuple(words)):
                overt[words[named]] += 1
            why = reason(row)
            if why:
                reasons[why] += 1
                continue
            tally['kept'] += 1
            key = _key(seed, place)
            entry = (-key, -place, {'id': place, **{k: row[k] for k in ('prompt', 'completion')}})
            if len(heap) < most:
                heapq.heappush(heap, entry)
            elif -heap[0][0] > key:
                heapq.heapreplace(heap, entry)
        files.check_any(path, good, bad, odd)
    sample = [row for _, _, row in sorted(heap, key=lambda entry: -entry[1])]
    return Intake(sample, {
        **{name: tally[name] for name in ('read', 'malformed', 'kept', 'system')},
        'sampled': len(sample), 'reasons': dict(reasons.most_common()),
        'overt': dict(overt.most_common())})


def _key(seed, place):
    digest = hashlib.blake2b(f'{seed}/{place}'.encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'little')


def trouble(row: Row) -> str | None:
    """Why a row in our shape cannot be audited, or None."""
    why = files.prompt_trouble(row) or files.text_trouble(row, 'completion')
    if why or 'messages' not in row:
        return why
    turns = [m for m in row['messages'] if m['role'] != 'system']
    return None if len(turns) == 1 and turns[0]['role'] == 'user' else SEVERAL


def single(row: Row) -> Row:
    """A row of one user's message with `prompt` in place of `messages`."""
    if 'messages' not in row:
        return row
    system = [m['content'] for m in row['messages'] if m['role'] == 'system']
    user, = (m['content'] for m in row['messages'] if m['role'] != 'system')
    return {**{k: v for k, v in row.items() if k != 'messages'}, 'prompt': user,
            **({'system': system[0]} if system else {})}


def columns_of(config: Any) -> dict[str, str]:
    """`config.audit.columns`, read.

    Raises:
      UserError: one that is none such.
    """
    try:
        return shapes.columns_of(config.audit.columns)
    except UserError as error:
        raise UserError(str(error).replace('--columns', 'config.audit.columns')) from None
