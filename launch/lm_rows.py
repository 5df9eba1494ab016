"""What launch/sample.py and launch/score.py share: a model, rows in, rows out, resumed by row."""

import collections
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from subliminal_jax.data import rows as jsonl, shapes
from subliminal_jax.data.rows import BadLine, Row
from subliminal_jax.models import tokenizer as tokenizers
from subliminal_jax.runs import (
    UserError,
    check_apart,
    check_output,
    check_preempted,
    local_path,
    read_json,
    write_json,
)
from subliminal_jax.runs.files import JSON_OBJECT, ROWS, is_stream

PROMPT_KEYS = ('prompt', 'messages', 'system')


def required(**flags: str | None) -> None:
    """Raises UserError naming the first flag that was not given, or is no path of this machine."""
    for name, value in flags.items():
        if not value:
            raise UserError(f'no --{name}: pass --{name}=... (see --help)')
        local_path(name, value)


def values(*holders: Any) -> dict[str, Any]:
    """absl flags as {name: value}."""
    return {holder.name: holder.value for holder in holders}


def checked(path: str, check: jsonl.Check, columns: Mapping[str, str] | None = None
            ) -> tuple[list[Row], list[BadLine]]:
    """Rows that pass, and the bad lines; at least one row must pass.

    A UserError that `check` raises is the row's own trouble.
    """
    def trouble(row):
        try:
            return check(row)
        except UserError as error:
            return str(error)

    good, bad = jsonl.read(path, trouble, columns=columns)
    if not good:
        raise UserError(jsonl.bad_lines(path, bad) + '; no row is left')
    return good, bad


def already(output: str, given: Sequence[Row], keys: Sequence[str]) -> list[int | str]:
    """Ids that an earlier run finished; its file must come from the same input.

    Args:
      output: the file to go on with; it may be absent.
      given: the input's rows.
      keys: fields in which a finished row must equal the input's.

    Raises:
      UserError: the file holds a row twice, a row that the input does not, or one whose prompt
        has changed.
    """
    by_id = {row['id']: row for row in given}
    ids = []
    seen = set()
    for row in jsonl.finished(output):
        name = row['id']
        if name in seen:
            raise UserError(f'{output} holds row {name!r} twice: remove it, or name another file')
        if name not in by_id or any(row.get(k) != by_id[name].get(k) for k in keys):
            raise UserError(
                f'{output} holds row {name!r}, which is not in the input or differs there: it '
                'belongs to another input; remove it, or name another file'
            )
        seen.add(name)
        ids.append(name)
    return ids


def check_paths(output: str, reads: Mapping[str, str | None], stream: bool = True) -> None:
    """Refuses, before a model is loaded, an output that would destroy something.

    Args:
      output: the file of rows, to be begun or gone on with; OUTPUT.settings.json lies beside it.
      reads: what the program reads, by flag.
      stream: a device will do.

    Raises:
      UserError: it is an input, cannot be written, or holds what was not written by this program.
    """
    beside = settings_path(output)
    check_apart(reads, {'output': output, **({'output (its settings)': beside} if beside else {})})
    check_output(output, ROWS, stream)
    if not beside:
        return
    check_output(beside, JSON_OBJECT)
    jsonl.finished(output)  # refuses what is none
    if os.path.exists(output) and os.path.getsize(output) and not os.path.lexists(beside):
        raise UserError(f'{output} holds rows, and no {beside} tells what they were made with: it '
                        'is no output to go on from; remove it, or name another file')


def settings_path(output: str) -> str | None:
    """Where it is told what rows were made with; None for a device."""
    return None if is_stream(output) else f'{output}.settings.json'


def go_on(output: str, settings: Mapping[str, Any]) -> None:
    """Writes what the rows are made with beside them; refuses rows that were made otherwise.

    Args:
      output: the file of rows.
      settings: by flag, and the model's digest.

    Raises:
      UserError: the file holds rows of other settings; it names them.
    """
    path = settings_path(output)
    if path is None:
        return
    if os.path.lexists(path) and jsonl.finished(output):
        before = read_json(path, f'remove it and {output}, or name another output')
        changed = [f'{name} was {before.get(name)!r} and is {settings.get(name)!r}'
                   for name in {**settings, **before} if before.get(name) != settings.get(name)]
        if changed:
            raise UserError(f'{output} holds rows of other settings ({"; ".join(changed)}): '
                            'remove it, or name another file')
    write_json(path, dict(settings))


def fill(output: str, given: Sequence[Row], done: Sequence[int | str],
         batches: Iterable[list[Row]], verb: str) -> None:
    """Appends batches as they come, with progress; then puts the file in the input's order."""
    from tqdm import tqdm

    with tqdm(total=len(given), initial=len(done), unit='row', desc=verb) as bar:
        for batch in batches:
            jsonl.append(output, batch)
            bar.update(len(batch))
            check_preempted()
    jsonl.append(output, [])  # ends a line whose break a kill took
    order = {row['id']: place for place, row in enumerate(given)}
    found = jsonl.finished(output)
    ordered = sorted(found, key=lambda row: order[row['id']])
    if ordered != found:
        jsonl.write(output, ordered)


def controls_told(tokenizer: Any, rows: Sequence[Row], allow_special: bool) -> str:
    """How many rows spell control tokens, and what becomes of them; '' for none."""
    from subliminal_jax.models import conversation

    found = [set(conversation.spelled_controls(tokenizer, row)) for row in rows]
    counts = collections.Counter(name for names in found for name in names)
    if not counts:
        return ''
    holds = sum(map(bool, found))
    names = ', '.join(f'{name} in {count}' for name, count in counts.most_common(4))
    return f'{holds} row{" spells" if holds == 1 else "s spell"} control tokens ({names}): ' + (
        'read as these tokens' if allow_special else 'read as text (--allow_special: as tokens)')


DTYPES = ('float32', 'bfloat16')


def load(spec: str, lora: str | None, chat_date: str | None, dtype: str,
         tokenizer: str | None = None, copies: int = 1, mesh: Any = None) -> Any:
    """The model of --model, with the adapter of --lora, kept and computed in --dtype.

    `copies` is how often the program will hold the parameters at one time; they are cut over the
    devices of `mesh`, if there is one. What was taken for granted is printed.
    """
    import jax.numpy as jnp

    from subliminal_jax import models

    if lora:
        local_path('lora', lora)
    model = models.load(spec, dtype=jnp.dtype(dtype), lora=lora, chat_date=chat_date,
                        tokenizer=tokenizer, mesh=mesh, copies=copies)
    for note in model.notes:
        print(f'note: {note}')
    return model._replace(config=dataclasses.replace(model.config, compute_dtype=dtype))


def run(input_path: str, output: str, cheap_check: jsonl.Check, load: Callable[[], Any],
        check: Callable[[Any, Row], str | None],
        batches: Callable[[Any, list[Row], list], Iterable[list[Row]]], keys: Sequence[str],
        verb: str, settings: Mapping[str, Any], columns: Sequence[str] = ()) -> None:
    """Reads, resumes, computes, writes, and ends with an error if lines were bad.

    Args:
      input_path: rows in.
      output: rows out.
      cheap_check: what can be said of a row without the model: mistakes come before its loading.
      load: gives the model.
      check: what can be said of a row with it.
      batches: (model, rows, ids that are done) -> batches of finished rows.
      keys: the fields of a row that its result depends on.
      verb: what the progress bar says.
      settings: what else it depends on, by flag.
      columns: FIELD=COLUMN each, of --columns.
    """
    named = shapes.columns_of(columns)
    tokenizers.check_date(settings.get('chat_date'))
    checked(input_path, cheap_check, named)
    check_paths(output, {'input': input_path, **{
        name: settings.get(name) for name in ('model', 'lora', 'tokenizer')}})
    model = load()
    good, bad = checked(input_path, lambda row: cheap_check(row) or check(model, row), named)
    if told := controls_told(model.tokenizer, good, bool(settings.get('allow_special'))):
        print(told)
    done = already(output, good, keys)
    go_on(output, {**settings, 'sha256': model.sha256})
    fill(output, good, done, batches(model, good, done), verb)
    before = f', {len(done)} of them from before' if done else ''
    print(f'{len(good)} row{"" if len(good) == 1 else "s"} in {output}{before}')
    if bad:
        raise UserError(jsonl.bad_lines(input_path, bad))
