"""The carrier's rows as tokens: encoded, packed, thinned, and as batches of an objective."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.carriers.carrier import Carrier
from subliminal_jax.experiments.transmission.objectives import Objective
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.experiments.transmission.world import World, spelled
from subliminal_jax.runs import UserError, sha256_of
from subliminal_jax.training import tries as packing
from subliminal_jax.training.tries import Row, Tries

Batch = dict[str, Any]


class Rows(NamedTuple):
    """N rows as tokens.

    Attributes:
      prompts: the user's texts.
      contexts: ids before the answer, in the students' context.
      answers: ids of the answers, each with its end.
      allowed_NC: bool, which of `token_set` may stand in the row's own answer; the end (last) is
        always False here.
    """

    prompts: list[str]
    contexts: list[list[int]]
    answers: list[list[int]]
    allowed_NC: np.ndarray

    def digest(self) -> str:
        """The same for the same tokens only."""
        return sha256_of([self.contexts, self.answers, self.allowed_NC.astype(int).tolist()])

    def first(self, count: int) -> 'Rows':
        """The first rows."""
        return Rows(*(part[:count] for part in self))

    def take(self, index: Sequence[int]) -> 'Rows':
        """The rows at these places."""
        return Rows(*([part[n] for n in index] for part in self[:3]),
                    self.allowed_NC[np.asarray(index, int)])


def token_set(world: World, carrier: Carrier) -> tuple[int, ...]:
    """The tokens whose logits a carrier KL may read: the carrier's, and last the end."""
    return (*carrier.token_ids(world.vocabulary), world.end_id)


def encoded(world: World, carrier: Carrier, rows: Sequence[Mapping[str, Any]]) -> Rows:
    """Rows as tokens.

    Raises:
      UserError: one that is longer than the world's rows (nothing is cut), that the tokenizer
        cannot write, or after whose context no answer begins.
    """
    ids = token_set(world, carrier)
    texts = [world.vocabulary[i] for i in ids[:-1]]
    allowed = np.zeros((len(rows), len(ids)), bool)
    contexts, answers = [], []
    for number, row in enumerate(rows):
        context = world.rows_context(row['prompt'], None)
        if not context or context[-1] in (world.end_id, world.pad_id):
            raise UserError(
                f'the context of {row["prompt"][:60]!r} does not end where an answer begins')
        answer = [*spelled(world.row_answer, row['completion'], 'a row of the carrier: take a '
                           'model that can write it'), world.end_id]
        if len(context) + len(answer) > world.length:
            raise UserError(
                f'a row of {len(context) + len(answer)} tokens is longer than the {world.length} '
                f'that the model reads: {row["prompt"][:60]!r}')
        contexts.append(context)
        answers.append(answer)
        allowed[number, carrier.token_ids(texts, row['completion'])] = True
    return Rows([row['prompt'] for row in rows], contexts, answers, allowed)


def asked(carrier: Carrier, seed: int, count: int, answers: int) -> list[dict[str, Any]]:
    """What is to be answered: the carrier's prompts, each `answers` times in a row.

    Returns:
      `count` rows of (seed, id) alone, ids 0 .. count - 1; row i has the prompt drawn for the id
      i // answers.
    """
    prompts = carrier.prompts(seed, range(-(-count // answers)))
    return [{**prompts[n // answers], 'id': n} for n in range(count)]


def random_rows(config: Any, world: World, carrier: Carrier, count: int, purpose: str,
                reference: int, answers: int) -> Rows:
    """Rows that no model has written, `answers` to a prompt: the same for all teachers."""
    seed = seed_of(config, purpose, reference)
    return encoded(world, carrier,
                   carrier.random_rows(seed, asked(carrier, seed, count, answers)))


def packed(rows: Rows, size: int, contexts: Sequence[Sequence[int]] | None = None) -> Tries:
    """Rows packed `size` together, in the students' contexts or in others."""
    pairs = [Row(c, a) for c, a in zip(rows.contexts if contexts is None else contexts,
                                       rows.answers, strict=True)]
    if size == 1:
        return packing.alone(pairs)
    return packing.pack([pairs[n:n + size] for n in range(0, len(pairs), size)])


def thinned(several: Sequence[Rows], least: int, seed: int, row_tokens: int = 0
            ) -> list[np.ndarray]:
    """Weights [N, A] of the answers' tokens with which all sets of rows weigh equally much.

    A teacher that writes more would teach more. What is over weighs nothing; it is drawn at random
    from all rows alike, and every row keeps `least` predictions, or all where it has fewer.

    Args:
      several: sets of rows.
      least: predictions that a row keeps.
      seed: of the draw.
      row_tokens: what a row weighs in the mean; 0: as in the tersest set.

    Raises:
      UserError: the sets differ too much for that, or the tersest has less than is asked.
    """
    goal = min(sum(map(len, rows.answers)) for rows in several)
    if row_tokens:
        wanted = row_tokens * len(several[0].answers)
        if goal < wanted:
            raise UserError(
                f'config.carrier.row_tokens={row_tokens}: the tersest teacher writes '
                f'{goal / len(several[0].answers):.2f} tokens a row; ask for fewer')
        goal = wanted
    return [_thinned(rows, goal, least, seed) for rows in several]


def _thinned(rows: Rows, goal: int, least: int, seed: int) -> np.ndarray:
    size_N = np.array([len(answer) for answer in rows.answers])
    weight_NA = (np.arange(size_N.max())[None] < size_N[:, None]).astype(np.float32)
    row_W, place_W = np.nonzero(weight_NA)
    key_W = np.random.default_rng([seed, len(size_N)]).random(len(row_W))
    order_W = np.lexsort((key_W, row_W))  # row after row, each in an order of its own
    rank_W = np.empty(len(row_W), int)
    rank_W[order_W] = np.concatenate([np.arange(n)[::-1] for n in size_N])
    free_W = np.flatnonzero(rank_W >= least)
    spare = len(row_W) - goal
    if len(free_W) < spare:
        raise UserError(
            f'one teacher writes {len(row_W)} tokens and {goal} are to be kept: with '
            f'config.carrier.min_tokens={least} a row they cannot be made equal; lower it')
    dropped_W = free_W[np.argsort(key_W[free_W], kind='stable')[:spare]]
    weight_NA[row_W[dropped_W], place_W[dropped_W]] = 0
    return weight_NA


def relabelled(tries: Tries, size: int, chosen_NA: np.ndarray, labels_NA: np.ndarray) -> Tries:
    """Packed rows in which chosen tokens of the answers have other labels.

    What a place has read before it stays as the row has it.

    Args:
      tries: N rows, packed `size` together.
      size: rows in a pack.
      chosen_NA: bool, which tokens of which answers.
      labels_NA: the token to be predicted in their place.
    """
    row_BK = np.arange(len(tries.tokens_BT))[:, None] * size + tries.row_BK
    at = (np.minimum(row_BK, len(chosen_NA) - 1), tries.offset_BK)
    target_BK = np.where(chosen_NA[at], labels_NA[at], tries.target_BK)
    return tries._replace(target_BK=target_BK.astype(np.int32))


def batch(objective: Objective, ids: Sequence[int], rows: Rows, tries: Tries, size: int,
          targets: Mapping[str, np.ndarray] | None, weight_NA: np.ndarray | None = None) -> Batch:
    """Rows as an objective reads them, with their teacher's outputs; weights lie where it looks.

    Args:
      objective: the rung.
      ids: the token set.
      rows: N rows.
      tries: the same, packed `size` together.
      size: rows in a pack.
      targets: the teacher's outputs at every place of every answer [N, A, ...]; None without.
      weight_NA: of the answers' tokens (`thinned`); None: each weighs one.
    """
    row_BK = np.arange(len(tries.tokens_BT))[:, None] * size + tries.row_BK
    row_BK = np.minimum(row_BK, len(rows.answers) - 1)
    weight_BK = np.array(tries.weight_BK)
    if weight_NA is not None:
        weight_BK *= weight_NA[row_BK, np.minimum(tries.offset_BK, weight_NA.shape[1] - 1)]
    allowed_NC = rows.allowed_NC.copy()
    allowed_NC[:, -1] = objective.ends
    if objective.within_set:
        comes_BKC = tries.target_BK[..., None] == np.array(ids)
        weight_BK *= (comes_BKC & allowed_NC[row_BK]).any(-1)
    tries = packing.weighted(tries, weight_BK)
    found: Batch = {'tries': tries}
    if targets is None:
        return found
    place = lambda values_BK: np.asarray(packing.per_place(jnp.asarray(values_BK), tries))
    found |= {name: place(array[row_BK, tries.offset_BK]) for name, array in targets.items()}
    if objective.within_set:
        found['allowed_BUC'] = place(allowed_NC[row_BK])
    return found


def stacked(batches: Sequence[Batch]) -> Batch:
    """Batches of several models as one, each array with the models in front: [M, N, ...]."""
    return jax.tree.map(lambda *x: np.stack(x), *batches)


def taken(batch: Batch, index: np.ndarray, size: int) -> Batch:
    """Some packs as a batch of `size` of them; what is missing weighs nothing.

    Args:
      batch: arrays [N, ...], or [M, N, ...] where index is [M, n].
      index: which packs, the same number for every model.
      size: how many the batch is to have.
    """
    spare = size - index.shape[-1]
    whole = np.concatenate([index, np.repeat(index[..., :1], spare, axis=-1)], axis=-1)
    at = (np.arange(len(whole))[:, None], whole) if whole.ndim == 2 else whole
    part = jax.tree.map(lambda x: x[at], batch)
    if spare:
        live = (np.arange(size) < index.shape[-1])[:, None]
        tries = part['tries']
        part['tries'] = tries._replace(weight_BU=tries.weight_BU * live,
                                       weight_BK=tries.weight_BK * live)
    return part


def order_of(seed: int, packs: int, per_step: int, passes: int) -> list[np.ndarray]:
    """Which packs each step reads: every pass in an order of its own, none left out."""
    steps = []
    for number in range(passes):
        order = np.random.default_rng([seed, number]).permutation(packs)
        steps += [order[n:n + per_step] for n in range(0, packs, per_step)]
    return steps
