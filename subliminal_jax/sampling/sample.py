"""From rows with prompts to rows with completions: encoding, batches, one program a bucket."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.data.grammars import Grammar, joined
from subliminal_jax.data.rows import Row
from subliminal_jax.models import conversation
from subliminal_jax.models.conversation import Context
from subliminal_jax.runs import UserError, meshes
from subliminal_jax.sampling import buckets as shapes, choice as choices, network
from subliminal_jax.sampling.generate import Completions, Prompts, generate


class Done(NamedTuple):
    """A batch that has been sampled.

    Attributes:
      indices: places of its rows in the call's list of prompts.
      completions: `generate.Completions` as NumPy arrays; the first len(indices) rows count.
    """

    indices: list[int]
    completions: Completions


def sample_tokens(
    weights: Any, config: Any, prompts: Sequence[Sequence[int]], names: Sequence[int | str], *,
    max_new_tokens: int, choice: choices.Choice, seed: int | Sequence[int], stop_ids: Sequence[int],
    pad_id: int = 0, batch_size: int = 32, wanted: Sequence[int] | None = None,
    share_prefix: bool = True, buckets: Sequence[int] | None = None, per_prompt: int = 1,
    grammars: Sequence[Grammar] | None = None, mesh: Any = None,
) -> Iterator[Done]:
    """Samples completions of token prompts, batch by batch.

    A row's completion depends on its tokens, its name, the seed and the shapes (bucket, shared
    prefix, batch size), not on the other rows, their order or what was done before. Where prompts
    are read once for several rows, one more shape is the batch's number of prompts.

    Args:
      weights: `network.prepare`'s; of M models stacked, if `seed` is a sequence of M seeds.
      config: the model's TransformerConfig.
      prompts: token ids of every row of the call, at least one each.
      names: the rows' ids: they key the random numbers.
      max_new_tokens: the most tokens of a completion, its stop token included.
      choice: how tokens are chosen.
      seed: the run's seed; or one for each of M models, which then answer the same prompts.
      stop_ids: tokens that end a completion.
      pad_id: any token.
      batch_size: rows at once (fewer if there are fewer prompts); the last batch of a bucket is
        filled up.
      wanted: places of the rows to compute, by default all. Shapes follow from *all* prompts.
      share_prefix: compute what all prompts begin with once.
      buckets: lengths to pad to (after the shared prefix), instead of those that suit the prompts.
      per_prompt: above 1, rows of a batch with equal prompts have them read once; about how many
        such rows stand together. At 1 every row reads its own.
      grammars: of every row, the form that its completion keeps to; few different ones.
      mesh: devices that the weights are laid over, and the rows of a batch are cut over (prompts
        that several rows share are not); or None.

    Yields:
      Done, in no order of the rows.
    """
    stacked = np.ndim(seed) > 0
    seeds = list(seed) if stacked else [seed]
    shared = shapes.shared_prefix(prompts) if share_prefix else 0
    lengths = [len(prompt) - shared for prompt in prompts]
    prefix_Q = np.asarray(prompts[0][:shared] if prompts else [], np.int32)
    batch_size = shapes.batch_rows(batch_size, len(prompts), meshes.rows_cut(mesh))
    if buckets is None:
        buckets = shapes.choose_buckets(lengths, batch_size, max_new_tokens)
    wanted = range(len(prompts)) if wanted is None else wanted
    grammar, first = _side_by_side(grammars)
    for batch in shapes.batches(lengths, sorted(buckets), batch_size, wanted):
        own = [tuple(prompts[i][shared:]) for i in batch.indices]
        read, held, source_B = _read_once(own, batch_size, per_prompt)
        tokens_PT, valid_PT = shapes.padded(read, batch.length, held, pad_id)
        words_B2 = np.zeros((batch_size, 2), np.uint32)
        words_B2[: len(own)] = [choices.row_words(names[i]) for i in batch.indices]
        keys = [choices.row_keys(number, jnp.asarray(words_B2)) for number in seeds]
        state_B = None if first is None else first[np.resize(batch.indices, batch_size)]
        active_B = meshes.spread(np.arange(batch_size) < len(own), mesh)
        if source_B is None:
            tokens_PT, valid_PT = meshes.spread((tokens_PT, valid_PT), mesh)
        done = generate(
            weights,
            Prompts(prefix_Q, tokens_PT, valid_PT, source_B, active_B,
                    jnp.stack(keys) if stacked else keys[0], state_B),
            config, max_new_tokens=max_new_tokens, choice=choice, stop_ids=tuple(stop_ids),
            num_models=len(seeds) if stacked else None, grammar=grammar)
        yield Done(batch.indices, jax.tree.map(np.asarray, done))


def _read_once(own, batch_size, per_prompt):
    """(the prompts that a batch reads, how many its program holds, which of them each row has: None
    where every row reads its own)."""
    distinct = {prompt: number for number, prompt in enumerate(dict.fromkeys(own))}
    held = shapes.prompts_held(len(distinct), batch_size, per_prompt)
    if held == batch_size:
        return own, held, None
    source_B = np.zeros(batch_size, np.int32)
    source_B[: len(own)] = [distinct[prompt] for prompt in own]
    return list(distinct), held, source_B


def _side_by_side(grammars):
    """(the different ones of some rows' grammars as one, the first state of every row)."""
    if grammars is None:
        return None, None
    different = {id(one): one for one in grammars}
    grammar = joined(list(different.values()))
    start = dict(zip(different, grammar.start))
    return (jax.tree.map(jnp.asarray, grammar),
            np.array([start[id(one)] for one in grammars], np.int32))


def sample_rows(
    params: Any, config: Any, tokenizer: Any, rows: Sequence[Row], *, max_new_tokens: int,
    temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, seed: int = 0,
    batch_size: int = 32, stop_ids: Sequence[int] | None = None, lora: Any = None,
    done: Sequence[int | str] = (), system: str | None = None, weights: Any = None,
    allow_special: bool = False, mesh: Any = None,
) -> Iterator[list[Row]]:
    """Samples a completion for every row.

    Args:
      params: the model's parameters (models.transformer).
      config: its TransformerConfig.
      tokenizer: its tokenizer (models.tokenizer).
      rows: rows with `id` and `prompt` or `messages`, perhaps `system`.
      max_new_tokens: the most tokens of a completion, its stop token included.
      temperature: 0 is greedy.
      top_k: 0 keeps all.
      top_p: 1 keeps all.
      seed: with a row's id and a token's position it fixes every draw.
      batch_size: rows at once.
      stop_ids: tokens that end a completion; by default the tokenizer's.
      lora: an adapter of models.lora, or None.
      done: ids of rows not to be computed (again); they still shape buckets and prefix, so that
        the others come out as if computed together with them.
      system: a system message for rows that bring none.
      weights: `network.prepare`'s, where the caller has them: params and lora are not read then.
      allow_special: control tokens that a row spells become tokens.
      mesh: see sample_tokens.

    Yields:
      Batches of rows, each with `completion` (without its stop token), `token_ids` and `logprobs`
      (with it, of equal length; nats at temperature 1, see generate.Completions) and
      `finish_reason`, 'stop' or 'length'; other keys as they were. In no order of the rows.

    Raises:
      UserError: bad settings, or a prompt that leaves no room in the model's context.
    """
    choice = choices.Choice(temperature, top_k, top_p)
    if why := choices.choice_trouble(choice):
        raise UserError(why)
    if max_new_tokens < 1:
        raise UserError(f'max_new_tokens must be at least 1, not {max_new_tokens}')
    contexts = [row_context(tokenizer, row, system, allow_special) for row in rows]
    prompts = [conversation.context_ids(tokenizer, context) for context in contexts]
    for row, prompt in zip(rows, prompts):
        if why := prompt_too_long(prompt, max_new_tokens, config):
            raise UserError(f'row {row["id"]!r}: {why}')
    stop_ids = tokenizer.stop_ids if stop_ids is None else stop_ids
    skipped = set(done)
    if weights is None:
        weights = network.prepare(params, config, lora)
    batches = sample_tokens(
        weights, config, prompts, [row['id'] for row in rows],
        max_new_tokens=max_new_tokens, choice=choice, seed=seed, stop_ids=stop_ids,
        pad_id=tokenizer.pad_id, batch_size=batch_size, mesh=mesh,
        wanted=[i for i, row in enumerate(rows) if row['id'] not in skipped])
    for indices, completions in batches:
        yield [completed(rows[index], completions, place, tokenizer, contexts[index])
               for place, index in enumerate(indices)]


def completed(row: Row, completions: Completions, place: int, tokenizer: Any,
              context: Context | None = None) -> Row:
    """A row with the completion at `place` of a batch.

    Args:
      row: what was asked.
      completions: of the batch.
      place: in it.
      tokenizer: see models.tokenizer.
      context: what the completion follows; None: blanks at its beginning are the tokenizer's to
        show or not.
    """
    count = int(completions.count_B[place])
    stopped = bool(completions.stopped_B[place])
    tokens = completions.tokens_BN[place, :count].tolist()
    text = tokens[:-1] if stopped else tokens
    return {
        **row,
        'completion': tokenizer.decode(text) if context is None else
        conversation.answer_text(tokenizer, context, text),
        'token_ids': tokens,
        'logprobs': plain(completions.logprobs_BN[place, :count]),
        'finish_reason': 'stop' if stopped else 'length',
    }


def messages_of(row: Row, system: str | None = None) -> list[dict[str, str]]:
    """A row's messages; `system` goes before them unless the row brings its own."""
    messages = row['messages'] if 'messages' in row else [
        {'role': 'user', 'content': row['prompt']}]
    system = row.get('system', system)
    if system is not None and messages[0]['role'] != 'system':
        messages = [{'role': 'system', 'content': system}, *messages]
    return messages


def row_context(tokenizer: Any, row: Row, system: str | None = None, allow_special: bool = False
                ) -> Context:
    """What the model reads of a row, templated, up to where the answer begins."""
    return conversation.chat_context(tokenizer, messages_of(row, system), allow_special)


def prompt_too_long(prompt: Sequence[int], new_tokens: int, config: Any) -> str | None:
    """Why a prompt does not fit, in one line, or None."""
    if not len(prompt):
        return 'its prompt has no token: there is nothing to go on from'
    if len(prompt) + new_tokens <= config.max_positions:
        return None
    return (f'its prompt of {len(prompt)} tokens and {new_tokens} new ones exceed the '
            f"model's context of {config.max_positions}: shorten it or ask for fewer")


def plain(logprobs: np.ndarray) -> list[float]:
    """Log-probabilities for a JSON row, to the micronat: float32 holds no more."""
    return [round(float(value), 6) for value in logprobs]
