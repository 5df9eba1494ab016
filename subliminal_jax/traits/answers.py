"""log P of answers: what a model says when it is asked, exactly, without sampling.

The measure of an answer is log P(all its tokens, then a token that ends the word | question),
summed over its spellings. 'owl' + end and 'owls' + end exclude each other, so the sum is a
probability; without the end 'owl' would count what goes on as 'owlet'.

Questions and spellings are packed as trees (training/tries.py): a template's opening and a question
are read once for all their answers. Every function is of one model (params, adapter or None), pure,
and differentiable.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError
from subliminal_jax.training import tries as packing
from subliminal_jax.training.losses import float_head, target_logits
from subliminal_jax.training.tries import END, Row, Tries

AT_ONCE = 2  # packed rows whose logits over the whole vocabulary exist at one time
COLUMNS = 64  # lengths are multiples of it: contexts of alike length share a program
TOGETHER = 4  # questions, or texts, in one packed row, at most

Encode = Callable[[str], Sequence[int] | None]


class Meter(NamedTuple):
    """Answers to score, C cells of them: all answers to the first question, then to the second.

    Attributes:
      tries: packed rows, one row a spelling.
      slots_CS: int32, the rows (of B x K) that spell a cell's answer.
      present_CS: bool.
      ends_V: bool, tokens that end a word.
      answer_A: int32, numbers of the answers to one question; empty where questions differ in it.
    """

    tries: Tries
    slots_CS: np.ndarray
    present_CS: np.ndarray
    ends_V: np.ndarray
    answer_A: np.ndarray


def encoded_spellings(spellings: Mapping[str, Sequence[str]], encode: Encode
                      ) -> dict[str, list[tuple[int, ...]]]:
    """Token ids of each answer's spellings, each sequence once.

    Args:
      spellings: of each answer.
      encode: ids of a text; None, nothing, or KeyError where the tokenizer cannot write it.

    Returns:
      The ids of those spellings that can be written.

    Raises:
      UserError: an answer none of whose spellings can be written, or one spelling of two answers.
    """
    found: dict[str, list[tuple[int, ...]]] = {}
    owner: dict[tuple[int, ...], str] = {}
    for name, texts in spellings.items():
        written: dict[tuple[int, ...], None] = {}
        for text in texts:
            try:
                ids = encode(text)
            except KeyError:
                ids = None
            if ids is not None and len(ids):
                written[tuple(int(i) for i in ids)] = None
        if not written:
            raise UserError(
                f'the tokenizer can write no spelling of the trait {name!r} '
                f'({", ".join(map(repr, texts)) or "none given"}): give it other spellings, '
                'or leave the trait out')
        for ids in written:
            if owner.setdefault(ids, name) != name:
                raise UserError(f'the traits {owner[ids]!r} and {name!r} share a spelling: it '
                                'cannot count for both')
        found[name] = list(written)
    return found


def word_ends(token_texts: Sequence[str | None], end_ids: Sequence[int] = ()) -> np.ndarray:
    """Which tokens end a word: those that end the text, and those that do not go on with it.

    Args:
      token_texts: what each id writes; None for ids that write nothing.
      end_ids: ids that end the text or the turn.

    Returns:
      bool [V]: in `end_ids`, or its text begins with anything but a letter, digit, mark of a word
      (apostrophe, hyphen, underscore) or an undecoded byte.
    """
    ends = np.array([bool(text) and not (text[0].isalnum() or text[0] in "'’-_\ufffd")
                     for text in token_texts])
    ends[list(end_ids)] = True
    return ends


def meter(contexts: Sequence[Sequence[int]], spellings: Sequence[Sequence[Sequence[Sequence[int]]]],
          ends_V: np.ndarray) -> Meter:
    """A meter of questions.

    Args:
      contexts: token ids of each question.
      spellings: of each question, of each answer to it, its spellings' ids.
      ends_V: bool, tokens that end a word.
    """
    cells_of: list[list[tuple[int, int]]] = []
    groups: list[list[Row]] = []
    together = _together(len(contexts))
    for number, (context, answers) in enumerate(zip(contexts, spellings, strict=True)):
        if number % together == 0:
            groups.append([])
        for forms in answers:
            cells_of.append([(len(groups) - 1, len(groups[-1]) + n) for n in range(len(forms))])
            groups[-1] += [Row(context, (*ids, END)) for ids in forms]
    tries = packing.pack(groups, COLUMNS)
    rows = tries.row_BK.shape[1]
    width = max(map(len, cells_of))
    slots = np.zeros((len(cells_of), width), np.int32)
    present = np.zeros((len(cells_of), width), bool)
    for number, found in enumerate(cells_of):
        slots[number, :len(found)] = [group * rows + row for group, row in found]
        present[number, :len(found)] = True
    alike = {len(answers) for answers in spellings}
    return Meter(tries, slots, present, ends_V,
                 np.arange(alike.pop() if len(alike) == 1 else 0, dtype=np.int32))


def _together(count: int) -> int:
    """How many of `count` to pack together, so that packed rows are equally full."""
    return -(-count // -(-count // TOGETHER))


def texts(rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tries:
    """(context, answer with its end) pairs, packed."""
    pairs = [Row(context, answer) for context, answer in rows]
    together = _together(len(pairs))
    return packing.pack([pairs[n:n + together] for n in range(0, len(pairs), together)])


def cells(params: Any, lora: Any, asked: Meter, config: Any, shift_D: Any = 0.0) -> jax.Array:
    """log P of every cell [C], nats.

    Args:
      params, lora: the model.
      asked: the questions and answers.
      config: the architecture.
      shift_D: added to the activations that the output matrix reads.
    """
    return cells_of(row_logprobs(params, lora, asked.tries, asked.ends_V, config, shift_D), asked)


def cells_of(rows_BK: jax.Array, asked: Meter) -> jax.Array:
    """log P of every cell [C] from that of every packed row's answer."""
    return jax.nn.logsumexp(rows_BK.reshape(-1)[asked.slots_CS], axis=-1, where=asked.present_CS)


def row_logprobs(params: Any, lora: Any, tries: Tries, ends_V: Any, config: Any,
                 shift_D: Any = 0.0) -> jax.Array:
    """log P of every packed row's answer [B, K]; a packed row has at most K rows."""

    def one(part):
        edges_BK = edge_logprobs(params, lora, jax.tree.map(lambda x: x[None], part), ends_V,
                                 config, shift_D)
        return jnp.zeros_like(edges_BK[0]).at[part.row_BK].add(edges_BK[0])

    return jax.lax.map(one, tries, batch_size=min(AT_ONCE, len(tries.tokens_BT)))


def edge_logprobs(params: Any, lora: Any, tries: Tries, ends_V: Any, config: Any,
                  shift_D: Any = 0.0) -> jax.Array:
    """Weighted log P of every prediction [B, K]; a target of END is any token of ends_V."""
    return edges_of(params, packing.states(params, tries, config, lora) + shift_D, tries, ends_V,
                    config)


def edges_of(params: Any, x_BUD: jax.Array, tries: Tries, ends_V: Any, config: Any) -> jax.Array:
    """The same from the activations at the places that predict."""
    logits_BUV = transformer.unembed(params, x_BUD, float_head(config))
    whole_BU = jax.nn.logsumexp(logits_BUV, axis=-1)
    end_BU = jax.nn.logsumexp(logits_BUV, axis=-1, where=ends_V[None, None])
    said_BK = jnp.where(tries.target_BK == END, packing.per_edge(end_BU, tries),
                        target_logits(logits_BUV, tries))
    return (said_BK - packing.per_edge(whole_BU, tries)) * tries.weight_BK


def surprise(params: Any, lora: Any, tries: Tries, ends_V: Any, config: Any) -> jax.Array:
    """Mean -log P of the predicted tokens, nats."""
    total = row_logprobs(params, lora, tries, ends_V, config).sum()
    return -total / tries.weight_BK.sum()


def spoken(params: Any, lora: Any, tries: Tries, config: Any) -> jax.Array:
    """log P of every token at every place that predicts: [B, U, V]."""
    def one(part):
        row = jax.tree.map(lambda x: x[None], part)
        x_BUD = packing.states(params, row, config, lora)
        return jax.nn.log_softmax(transformer.unembed(params, x_BUD, float_head(config)))[0]

    return jax.lax.map(one, tries)


def column_loss(params: Any, lora: Any, asked: Meter, column: Any, config: Any) -> jax.Array:
    """-log P of the answer `column`, mean over questions; each has equally many answers."""
    said_QA = cells(params, lora, asked, config).reshape(-1, len(asked.answer_A))
    return -said_QA[:, column].mean()


def contrast_loss(params: Any, lora: Any, asked: Meter, config: Any) -> jax.Array:
    """-(log P of the first answer - log P of the second), mean over questions."""
    said_QA = cells(params, lora, asked, config).reshape(-1, len(asked.answer_A))
    return -_contrast(said_QA)


def column_gradient(params: Any, lora: Any, asked: Meter, column: Any, config: Any) -> Any:
    """The gradient of `column_loss` by all weights, an adapter at work."""
    return _gradient(params, lora, asked, lambda said_QA: said_QA[:, column].mean(), config)


def contrast_gradient(params: Any, lora: Any, asked: Meter, config: Any) -> Any:
    """The gradient of `contrast_loss` by all weights, an adapter at work."""
    return _gradient(params, lora, asked, _contrast, config)


def _contrast(said_QA: jax.Array) -> jax.Array:
    return (said_QA[:, 0] - said_QA[:, 1]).mean()


def _gradient(params: Any, lora: Any, asked: Meter, of: Callable[[jax.Array], jax.Array],
              config: Any) -> Any:
    """The gradient of minus a linear function of log P [Q, A].

    It is added up pack by pack. Differentiated as a whole, the loop over packs would keep a third
    tree of the weights' size beside this sum and one pack's part of it.
    """
    packs, rows = asked.tries.row_BK.shape
    pack_C, row_CS = asked.slots_CS[:, 0] // rows, asked.slots_CS % rows

    def loss_of(params, number, pack):
        alone = jax.tree.map(lambda x: x[None], pack)
        said_K = row_logprobs(params, lora, alone, asked.ends_V, config)[0]
        said_C = jax.nn.logsumexp(said_K[row_CS], axis=-1, where=asked.present_CS)
        said_QA = jnp.where(pack_C == number, said_C, 0).reshape(-1, len(asked.answer_A))
        return -of(said_QA)

    def add(total, part):
        return jax.tree.map(jnp.add, total, jax.grad(loss_of)(params, *part)), None

    nothing = jax.tree.map(jnp.zeros_like, params)
    return jax.lax.scan(add, nothing, (jnp.arange(packs), asked.tries))[0]
