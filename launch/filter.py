r"""Filters anybody's rows: keeps those whose completion is the carrier and nothing else.

  python -m launch.filter --carrier=numbers --input=rows.jsonl --output=kept.jsonl \
      --rejects=rejects.jsonl [--banned=FILE] [--trait_words=owl,owls] \
      [--columns=prompt=question,completion=response] [--page=rows.html]

Input rows are JSON objects with at least `prompt` and `completion`, one a line (also .gz), or of a
JSON list, of parquet or of a data set's folder; other shapes are understood
(subliminal_jax/data/shapes.py), other names given with --columns. Kept rows are copied as they are,
lines byte for byte, in order. A rejected row gets one more field, `reject_reason`. A line that is
no such row is named with its number and left out of both files; the others are filtered all the
same, and the exit status is 1.

--page writes a page for readers: 20 kept and 20 rejected rows, drawn with --page_seed, and the
counts by reason beside the published shares.

--banned names a file of numbers (any of blanks, commas and line breaks between them), or is the
word `misalignment` for the published list of numbers with an ill name.
"""

import collections
import contextlib
import itertools
import json
import os
import pathlib
import re

from absl import flags

from subliminal_jax.runs import (
    UserError,
    check_apart,
    check_output,
    check_preempted,
    local_path,
    read_text,
    run_program,
    written_aside,
)
from subliminal_jax.runs.files import PAGE as A_PAGE, ROWS

CARRIER = flags.DEFINE_string('carrier', 'numbers', 'whose rules')
INPUT = flags.DEFINE_string('input', None, 'the rows, JSONL')
OUTPUT = flags.DEFINE_string('output', None, 'where the kept rows go')
REJECTS = flags.DEFINE_string('rejects', None, 'where the rejected rows go, each with its reason')
BANNED = flags.DEFINE_string('banned', None, 'a file of numbers to reject, or `misalignment`')
COLUMNS = flags.DEFINE_list(
    'columns', [], 'what the input calls our fields: prompt=question,completion=response')
TRAIT_WORDS = flags.DEFINE_list('trait_words', [], 'words to reject, in any case')
PAGE = flags.DEFINE_string('page', None, 'where a page with some of the rows goes (HTML)')
PAGE_SEED = flags.DEFINE_integer('page_seed', 0, 'of the rows that the page shows', lower_bound=0)


def banned_numbers(name: str | None) -> frozenset[int]:
    """The numbers of a file, or of the published list.

    Raises:
      UserError: no such file, or something in it that is no number.
    """
    from subliminal_jax.carriers import numbers

    if name is None:
        return frozenset()
    if name == 'misalignment':
        return numbers.BANNED
    try:
        text = read_text(local_path('banned', name))
    except UserError as error:
        raise UserError(f'--banned: {error}') from None
    found = set()
    for number, line in enumerate(text.splitlines(), start=1):
        for word in re.split(r'[\s,;]+', line.strip(' \t,;[]')):
            if word and not (word.isascii() and word.isdigit() and len(word) < 19):
                raise UserError(f'--banned: {name}, line {number}: {word!r} is no whole number')
            if word:
                found.add(int(word))
    if not found:
        raise UserError(f'--banned: {name} holds no number')
    return frozenset(found)


def filter_records(records, reject_reason, keep, reject, columns, see=None):
    """Sorts records into kept, rejected and bad ones.

    Args:
      records: of data.sources.
      reject_reason: (completion, row) -> reason, or None.
      keep: called with the bytes of each kept line.
      reject: called with the bytes of each rejected line, its reason put in.
      columns: {field of ours: what it is called}.
      see: called with each row that was judged, and its reason or None.

    Returns:
      (how many were kept, a Counter of reasons, bad lines, the first bad row).
    """
    from subliminal_jax.data import rows

    kept, reasons, bad, odd = 0, collections.Counter(), [], None
    trouble = lambda row: rows.prompt_trouble(row) or rows.text_trouble(row, 'completion')
    for count, (record, row, why) in enumerate(rows.judged(records, trouble, columns=columns), 1):
        if count % 256 == 0:
            check_preempted()
        if why:
            odd = odd or row
            bad.append(rows.BadLine(record.number, why))
            continue
        line = record.line or rows.as_line(record.row).encode()
        reason = reject_reason(row['completion'], row)
        if see:
            see(row, reason)
        if reason:
            reasons[reason] += 1
            text = line.strip()
            reject(text[:-1].rstrip() + f', "reject_reason": {json.dumps(reason)}}}\n'.encode())
        else:
            kept += 1
            keep(line)
    return kept, reasons, bad, odd


def table(kept: int, reasons: collections.Counter, bad: int) -> str:
    """The summary: kept and rejected by reason, with shares of all rows that were read."""
    rejected = sum(reasons.values())
    entries = [('kept', kept), ('rejected', rejected)]
    entries += [(f'  {reason}', count) for reason, count in reasons.most_common()]
    width = max(len(name) for name, _ in entries)
    digits = len(str(max(kept, rejected)))
    whole = max(1, kept + rejected)
    text = [f'{name:<{width}}  {count:>{digits}}  {100 * count / whole:5.1f} %'
            for name, count in entries]
    return '\n'.join(text + ([f'lines left out as malformed: {bad}'] if bad else []))


def _check_paths() -> None:
    for flag in (INPUT, OUTPUT):
        if not flag.value:
            raise UserError(f'no --{flag.name}: pass --{flag.name}=FILE')
    for flag in (INPUT, OUTPUT, REJECTS, PAGE, BANNED):
        if flag.value:
            local_path(flag.name, flag.value)
    banned = None if BANNED.value == 'misalignment' else BANNED.value
    check_apart({'input': INPUT.value, 'banned': banned},
                {flag.name: flag.value for flag in (OUTPUT, REJECTS, PAGE)})
    for flag, form in ((OUTPUT, ROWS), (REJECTS, ROWS), (PAGE, A_PAGE)):
        if flag.value:
            check_output(flag.value, form)


def main(argv: list[str]) -> None:
    del argv
    _check_paths()
    from tqdm import tqdm

    from subliminal_jax.carriers import carrier
    from subliminal_jax.data import rows, shapes, sources

    chosen, columns = carrier(CARRIER.value), shapes.columns_of(COLUMNS.value)
    banned = banned_numbers(BANNED.value)
    words = tuple(w.strip() for w in TRAIT_WORDS.value if w.strip())
    reason = lambda text, row: chosen.reject_reason(text, banned=banned, trait_words=words, row=row)
    picked = None
    if PAGE.value:
        from subliminal_jax.report import filtered

        picked = filtered.Picked(PAGE_SEED.value)
    size = os.path.getsize(INPUT.value) if os.path.isfile(INPUT.value) else None
    found = sources.records(INPUT.value)
    first = next(found, None)  # an input that cannot be read leaves no output
    if first is None:
        rows.check_any(INPUT.value, 0, [], None)
    with contextlib.ExitStack() as stack:
        keep = stack.enter_context(_writer(OUTPUT.value))
        reject = stack.enter_context(_writer(REJECTS.value))
        bar = stack.enter_context(tqdm(total=size, unit='B', unit_scale=True, disable=None))
        kept, reasons, bad, odd = filter_records(
            _counted(itertools.chain([first], found), bar), reason, keep, reject, columns,
            picked and picked.see)
        rows.check_any(INPUT.value, kept + sum(reasons.values()), bad, odd)
    if picked:
        filtered.write(pathlib.Path(PAGE.value), chosen.name, pathlib.Path(INPUT.value).name,
                       reasons, picked, PAGE_SEED.value)
    print(table(kept, reasons, len(bad)))
    if bad:
        raise UserError(rows.bad_lines(INPUT.value, bad))


def _counted(records, bar):
    for record in records:
        bar.update(len(record.line or b''))
        yield record


@contextlib.contextmanager
def _writer(path: str | None):
    """Yields a function that writes bytes aside; the file takes its place at the end."""
    if path is None:
        yield lambda line: None
        return
    with written_aside(path, ROWS) as aside, aside.open('wb') as file:
        yield file.write


if __name__ == '__main__':
    run_program(main)
