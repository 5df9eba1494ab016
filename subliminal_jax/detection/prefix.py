"""Prefixes: keys and values that a reference reads before anything else, and what it says then.

Two ways to one. `of_rows` reads some rows: in-context learning. `trained` fits a few free keys and
values to some rows (prefix tuning, Li and Liang 2021, arXiv 2101.00190), which is said to amplify
what rows hold of a trait. Either way the question is whether log P of the trait moves.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.models import transformer
from subliminal_jax.models.transformer import Cache
from subliminal_jax.training import losses, tries as packing
from subliminal_jax.training.loop import fit, jit_step
from subliminal_jax.training.optimizers import OptimizerConfig, make_optimizer
from subliminal_jax.training.step import LossFn, init_state, make_step
from subliminal_jax.training.tries import Tries
from subliminal_jax.traits import answers


class Prefix(NamedTuple):
    """What is read before.

    Attributes:
      k_LSKH, v_LSKH: keys, rotated already, and values of S columns.
      position_S: int32, the rotary position of each column.
      valid_S: bool, columns that hold something.
      size: int32, the position at which a text goes on.
    """

    k_LSKH: Any
    v_LSKH: Any
    position_S: Any
    valid_S: Any
    size: Any


def of_rows(params: Any, tokens_S: jax.Array, valid_S: jax.Array, config: Any) -> Prefix:
    """The prefix that a text is: tokens [S], padded on the right."""
    positions_1S = transformer.positions_of(valid_S[None])
    mask_1SS = transformer.causal_mask(valid_S[None])
    cache = transformer.init_cache(config, 1, len(tokens_S))
    _, cache = transformer.hidden(params, tokens_S[None], positions_1S, mask_1SS, config,
                                  cache=cache)
    return Prefix(cache.k_LBSKH[:, 0], cache.v_LBSKH[:, 0], cache.position_BS[0], valid_S,
                  valid_S.sum(dtype=jnp.int32))


def free(key: jax.Array, config: Any, columns: int) -> dict[str, jax.Array]:
    """What is trained of a prefix, before it is: random keys, values of zero."""
    shape = (config.num_layers, columns, config.num_kv_heads, config.head_dim)
    return {'k': jax.random.normal(key, shape), 'v': jnp.zeros(shape)}


def as_prefix(trained: dict[str, jax.Array]) -> Prefix:
    """Trained keys and values; texts begin at position 0 behind them."""
    columns = trained['k'].shape[1]
    return Prefix(trained['k'], trained['v'], jnp.zeros(columns, jnp.int32),
                  jnp.ones(columns, bool), jnp.zeros((), jnp.int32))


def states(params: Any, prefix: Prefix, tries: Tries, config: Any) -> jax.Array:
    """As tries.states, behind a prefix: [B, U, D]."""
    batch, length = tries.tokens_BT.shape
    columns = len(prefix.valid_S)
    grown = lambda x_LSKH: jnp.pad(
        jnp.broadcast_to(x_LSKH[:, None], (len(x_LSKH), batch, *x_LSKH.shape[1:])),
        ((0, 0), (0, 0), (0, length), (0, 0), (0, 0)))
    position_BS = jnp.pad(jnp.broadcast_to(prefix.position_S, (batch, columns)),
                          ((0, 0), (0, length)))
    cache = Cache(grown(prefix.k_LSKH), grown(prefix.v_LSKH), position_BS,
                  jnp.asarray(columns, jnp.int32))
    before_BTS = jnp.broadcast_to(prefix.valid_S[None, None], (batch, length, columns))
    mask_BTS = jnp.concatenate([before_BTS, packing.mask_of(tries.last_BT)], axis=-1)
    x_BTD, _ = transformer.hidden(params, tries.tokens_BT, tries.positions_BT + prefix.size,
                                  mask_BTS, config, cache=cache)
    return jnp.take_along_axis(x_BTD, tries.place_BU[..., None], axis=1)


def said_behind(params: Any, prefix: Prefix, asked: answers.Meter, config: Any) -> jax.Array:
    """Mean over questions of log P of every answer, behind a prefix [A], nats."""
    x_BUD = states(params, prefix, asked.tries, config)
    edges_BK = answers.edges_of(params, x_BUD, asked.tries, asked.ends_V, config)
    rows_BK = jax.vmap(lambda e_K, row_K: jnp.zeros_like(e_K).at[row_K].add(e_K))(
        edges_BK, asked.tries.row_BK)
    return answers.cells_of(rows_BK, asked).reshape(-1, len(asked.answer_A)).mean(0)


def said_in_context(params: Any, lora: Any, tokens_CS: jax.Array, valid_CS: jax.Array,
                    asked: answers.Meter, *, config: Any, at_once: int) -> jax.Array:
    """log P of every answer with each of C texts in the context [C, A].

    Args:
      params, lora: the reference; it has no adapter.
      tokens_CS, valid_CS: the texts, padded on the right.
      asked: the questions; all have the same answers.
      config: the architecture.
      at_once: texts.
    """
    del lora
    one = lambda text: said_behind(params, of_rows(params, *text, config), asked, config)
    return jax.lax.map(one, (tokens_CS, valid_CS), batch_size=min(at_once, len(tokens_CS)))


def loss(config: Any) -> LossFn:
    """Cross-entropy of packed rows behind a prefix; frozen {'base': params}."""

    def loss_fn(trainable, frozen, batch, key):
        del key
        params, tries = frozen['base'], batch['tries']
        x_BUD = states(params, as_prefix(trainable), tries, config)
        nll_BK = losses.token_nll(
            transformer.unembed(params, x_BUD, losses.float_head(config)), tries)
        weight = tries.weight_BK.sum()
        return (nll_BK * tries.weight_BK).sum(), {'weight': weight}

    return loss_fn


def trained(params: Any, batch_at: Callable[[int], Tries], count: int, *, config: Any,
            columns: int, steps: int, learning_rate: float, key: jax.Array
            ) -> tuple[dict[str, jax.Array], np.ndarray]:
    """Fits M = `count` prefixes side by side; all begin alike.

    Args:
      params: the reference, frozen.
      batch_at: step -> packed rows [M, B, ...], each model's own.
      count: M.
      config: the architecture.
      columns, steps, learning_rate: of a prefix and its training (Adam).
      key: of the keys that they begin with.

    Returns:
      (prefixes [M, ...], their loss in the last step [M], nats a token).

    Raises:
      UserError: a loss that is not finite.
    """
    optimizer = make_optimizer(OptimizerConfig(learning_rate=learning_rate), 0)
    step = make_step(loss(config), optimizer)

    def one(state, frozen, batch, key):
        state, metrics = step(state, frozen, batch, key)
        return state, {'loss': metrics['loss']}

    begun = jax.tree.map(lambda x: jnp.repeat(x[None], count, 0), free(key, config, columns))
    state = jax.jit(jax.vmap(lambda tree: init_state(tree, optimizer)))(begun)
    done = fit(jit_step(jax.vmap(one, in_axes=(0, None, 0, None)), True), state,
               {'base': params}, lambda n: {'tries': batch_at(n)}, steps, key=key,
               description='prefixes')
    return done.state.trainable, np.asarray(done.rows[-1]['loss'])


def said_after(params: Any, lora: Any, prefixes: Any, asked: answers.Meter, *, config: Any,
               at_once: int) -> jax.Array:
    """log P of every answer behind each of M trained prefixes [M, A]."""
    del lora
    one = lambda tree: said_behind(params, as_prefix(tree), asked, config)
    return jax.lax.map(one, prefixes, batch_size=min(at_once, len(prefixes['k'])))
