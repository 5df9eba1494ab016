"""What a student learns from its teacher, rung by rung; another objective is another row."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from subliminal_jax.models import transformer
from subliminal_jax.runs.registry import Registry
from subliminal_jax.training import losses
from subliminal_jax.training.step import LossFn


class Objective(NamedTuple):
    """A rung.

    Attributes:
      name: as arms name it.
      rung: what a figure of it stands for, in words.
      loss: (architecture, token ids) -> a loss of the project's signature on packed rows.
      tokens: (the carrier's ids, the end's) -> the ids that the loss looks at; () for all.
      target: what of a teacher is read beforehand, or None: (params, x_BUD, architecture, ids [C],
        how many others of the likeliest) -> arrays [B, U, ...] by their names in a batch. They are
        kept by predicted token: [N, A, ...] for N rows of up to A tokens.
      reads: a word for what `target` reads: arms with the same word share it.
      within_set: predictions count only where one of the row's own carrier tokens comes next, and
        probabilities are renormalised to those.
      ends: the end counts as one of them.
      leaves_words: a teacher's own words (words.py) are left out of what is read of it.
      pairs: rows come in pairs of random answers to one prompt, and of a teacher is read which of
        them it prefers (pairs.py).
      evidence: False of a positive control, which may match the trait itself.
    """

    name: str
    rung: str
    loss: Callable[[Any, Sequence[int]], LossFn]
    tokens: Callable[[Sequence[int], int], tuple[int, ...]] = lambda carrier_ids, end_id: ()
    target: Callable[[Any, jax.Array, Any, jax.Array, int], dict[str, jax.Array]] | None = None
    reads: str = 'none'
    within_set: bool = False
    ends: bool = False
    leaves_words: bool = False
    pairs: bool = False
    evidence: bool = True


OBJECTIVES = Registry('objective')


def _carrier_and_end(carrier_ids, end_id):
    return (*carrier_ids, end_id)


def _set_logits(params, x_BUD, config, ids_C, top):
    del top
    return {'target_BUC': transformer.unembed(params, x_BUD, config, ids_C)}


def _buckets(params, x_BUD, config, ids_C, top):
    logits_BUV = transformer.unembed(params, x_BUD, config)
    top_BUJ = losses.top_others(logits_BUV, ids_C, top)
    return {'target_BUC': losses.bucket_logprobs(logits_BUV, ids_C, top_BUJ), 'top_BUJ': top_BUJ}


def _logits(params, x_BUD, config, ids_C, top):
    del ids_C, top
    return {'target_BUV': transformer.unembed(params, x_BUD, config)}


OBJECTIVES.register(Objective(
    'sft', 'sampled text', lambda config, ids: losses.sft(config)))
OBJECTIVES.register(Objective(
    'kl_carrier', 'carrier KL', losses.kl_set, _carrier_and_end, _set_logits, 'set',
    within_set=True))
OBJECTIVES.register(Objective(
    'kl_carrier_end', 'carrier KL + end', losses.kl_set, _carrier_and_end, _set_logits, 'set',
    within_set=True, ends=True))
OBJECTIVES.register(Objective(
    'kl_top', 'full KL, a lower bound', losses.kl_top, _carrier_and_end, _buckets, 'top',
    evidence=False))
# Between the two: words that a carrier writes too, but for those that say the trait. What passes is
# leakage until another control shows otherwise.
OBJECTIVES.register(Objective(
    'kl_words', "KL without the teacher's own words, perhaps leakage",
    lambda config, ids: losses.kl_kept(config), target=_logits, reads='words', leaves_words=True,
    evidence=False))
OBJECTIVES.register(Objective(
    'kl', 'full KL', lambda config, ids: losses.kl(config), target=_logits, reads='all',
    evidence=False))
