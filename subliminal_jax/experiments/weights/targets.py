"""Teachers' logits, computed once and kept with hashes of the model, the teacher and the rows.

A KL reads them in place of a teacher; a file that was made of another model or of other rows is
refused, whoever made it.
"""

import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.weights import measures
from subliminal_jax.experiments.weights.rows import Lines, packs
from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError
from subliminal_jax.training import losses, tries as packing

CHUNK = 2  # packed rows read at once
OTHERS = {  # what a file holds whose note differs in a field
    'model': 'another model', 'precision': 'a model in another precision',
    'teachers': 'other teachers', 'rows': 'other rows', 'tokens': 'other tokens'}


@functools.partial(jax.jit, static_argnames=('config', 'top'))
def read(params: Any, lora: Any, tries: packing.Tries, ids_C: jax.Array, config: Any,
         top: int | None) -> dict[str, jax.Array]:
    """A teacher's float32 logits of the set at every prediction, or buckets of all tokens.

    With `top`, log-probabilities over the whole vocabulary of the set, of the `top` likeliest
    others and of all the rest (training/losses.py, kl_cached).
    """
    x_BUD = packing.states(params, tries, config, lora)
    head = measures.float_head(config)
    edges = functools.partial(packing.per_edge, tries=tries)
    if top is None:
        return {'set': edges(transformer.unembed(params, x_BUD, head, ids_C))}
    logits_BUV = transformer.unembed(params, x_BUD, head)
    others = logits_BUV.at[..., ids_C].set(transformer.NEVER)
    _, best = jax.lax.top_k(others, top)
    return {'buckets': edges(losses.bucket_logprobs(logits_BUV, ids_C, best)),
            'top_ids': edges(best)}


def teacher_logits(params: Any, lora: Any, config: Any, contexts: Sequence[Sequence[int]],
                   lines: Lines, ids: Sequence[int], top: int | None, packed: int
                   ) -> dict[str, np.ndarray]:
    """What `read` gives at every place of every answer: arrays [N, A, ...].

    Args:
      params, lora, config: the teacher.
      contexts: of the rows as the teacher reads them.
      lines: the rows.
      ids: the set.
      top: None for the set alone.
      packed: rows packed together.
    """
    tries = packing.pack(packs(contexts, lines.answers, packed))
    longest = max(map(len, lines.answers))
    made: dict[str, np.ndarray] = {}
    for begin in range(0, len(tries.tokens_BT), CHUNK):
        index = np.minimum(np.arange(begin, begin + CHUNK), len(tries.tokens_BT) - 1)
        part = packing.take(tries, index)
        found = read(params, lora, part, jnp.asarray(ids), config, top)
        row_BK = index[:, None] * packed + part.row_BK
        real = np.asarray(part.weight_BK) > 0
        for name, values in found.items():
            values = np.asarray(values)
            if name not in made:
                made[name] = np.zeros((len(lines.answers), longest, values.shape[-1]),
                                      values.dtype)
            made[name][row_BK[real], part.offset_BK[real]] = values[real]
    return made


def save(path: pathlib.Path, found: Mapping[str, Mapping[str, np.ndarray]], note: Any) -> None:
    """Writes the logits of several teachers with the note that says whose they are."""
    arrays = {f'{teacher}/{name}': x for teacher, own in found.items() for name, x in own.items()}
    with path.open('wb') as file:
        np.savez(file, note=np.array(json.dumps(note, sort_keys=True)), **arrays)


def load(path: pathlib.Path, note: Mapping[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """Reads what `save` wrote.

    Args:
      path: of the file.
      note: whose logits they must be.

    Raises:
      UserError: no such file, or one whose note differs (`OTHERS`).
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            kept = json.loads(str(arrays['note']))
            found: dict[str, dict[str, np.ndarray]] = {}
            for name in arrays.files:
                teacher, slash, what = name.rpartition('/')
                if slash:
                    found.setdefault(teacher, {})[what] = arrays[name]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f'{path} cannot be read as cached teacher logits: {error}') from None
    for field, wanted in note.items():
        if kept.get(field) != wanted:
            raise UserError(
                f'{path} holds the logits of {OTHERS[field]}: its note of {field} says '
                f'{str(kept.get(field, "nothing"))[:24]} where {str(wanted)[:24]} is wanted; '
                'leave config.carrier.targets empty to compute them')
    return found
