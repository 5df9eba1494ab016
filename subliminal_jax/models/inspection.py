"""A model described: its architecture, and how it reads a conversation, ends and numbers."""

import collections
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from subliminal_jax.models import conversation
from subliminal_jax.models.controls import unmarked
from subliminal_jax.models.params import TransformerConfig, count_params
from subliminal_jax.models.tokenizer import PROBE
from subliminal_jax.runs import UserError

SAMPLE = ('Which numbers follow 12, 345?', '678, 9')  # a question and its answer
SHOWN = ('7', '42', '345', '1234', '12, 345', '12,345')
ROWS = 3  # shown whole


def pieces(tokenizer: Any, ids: Sequence[int]) -> str:
    """Token ids with what each stands for."""
    def one(token):
        try:
            return f"{token} {tokenizer.token_bytes(token).decode('utf-8', 'replace')!r}"
        except UserError:
            return f'{token} (not in the vocabulary)'

    return ' · '.join(map(one, ids))


def architecture(config: TransformerConfig) -> Iterator[str]:
    """Sizes, parameters and memory."""
    c = config
    yield (f'architecture: {c.num_layers} layers of width {c.width}, {c.num_heads} heads of '
           f'{c.head_dim} ({c.num_kv_heads} for keys and values), feed-forward {c.ffn_width}, '
           f'vocabulary {c.vocab_size}, {"tied" if c.tied else "untied"} head'
           f'{", biases of q, k and v" if c.qkv_bias else ""}')
    scaling = '' if c.rope_scaling is None else f', stretched ({c.rope_scaling.kind})'
    if parts := list(_switches(c)):
        yield f'layers: {", ".join(parts)}'
    yield (f'positions: {c.max_positions}, rotary base {c.rope_theta:g}{scaling}; norms add '
           f'{c.norm_eps:g}')
    count, token = count_params(c), 2 * c.num_layers * c.num_kv_heads * c.head_dim
    yield (f'memory: {count:,} parameters, {4 * count / 1e9:.2f} GB in float32, '
           f'{2 * count / 1e9:.2f} GB in bfloat16; keys and values {4 * token / 1e3:.0f} kB a '
           'token')


def _switches(c):
    """In what the layers are not Llama's."""
    placed = {'post': 'norms behind attention and feed-forward alone',
              'sandwich': 'norms before and behind attention and feed-forward'}
    if c.norm != 'rms':
        yield 'LayerNorm with biases'
    if c.norm_unit_offset:
        yield 'norms times 1 + weight'
    if c.norm_placement in placed:
        yield placed[c.norm_placement]
    if c.qk_norm:
        yield f'a norm of queries and keys ({c.qk_norm})'
    if c.parallel_residual:
        yield 'attention and feed-forward side by side'
    if c.activation != 'silu':
        yield c.activation
    if not c.mlp_gated:
        yield 'no gate'
    if c.out_bias or c.mlp_bias:
        yield f'biases of {" and ".join(["o"] * c.out_bias + ["feed-forward"] * c.mlp_bias)}'
    if c.embed_scale != 1:
        yield f'embedding times {c.embed_scale:g}'
    if c.query_pre_attn_scalar:
        yield f'scores divided by the root of {c.query_pre_attn_scalar:g}'
    if c.rotary_dim:
        yield f'{c.rotary_dim} of {c.head_dim} entries of a head rotated'
    if any(c.sliding_layers):
        seen = '' if c.sliding_window is None else f' see {c.sliding_window} tokens'
        base = '' if c.local_rope_theta is None else f' with a rotary base {c.local_rope_theta:g}'
        yield f'{sum(c.sliding_layers)} of {c.num_layers} layers{seen}{base}'


def text(tokenizer: Any) -> Iterator[str]:
    """What begins and ends texts and answers, the template, and how numbers are cut."""
    begin = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    yield f'a text begins with: {pieces(tokenizer, begin) or "no token of its own"}'
    yield f'a text ends with: {pieces(tokenizer, [tokenizer.eos_id])}'
    if tokenizer.has_chat:
        yield from _chat(tokenizer)
    else:
        yield ('chat template: none, as of base models: texts are read as they stand; a run takes '
               '--config.context.student=raw --config.context.measured=raw/plain,raw/numbers')
    yield from numbers(tokenizer)


def _chat(tokenizer):
    question, answer = SAMPLE
    said = [{'role': 'user', 'content': question}]
    first, *others = conversation.ends(tokenizer)
    yield f'an answer ends with: {pieces(tokenizer, [first])} (what the template puts behind one)'
    if others:
        yield f'sampling also stops at: {pieces(tokenizer, others)}'
    whole = tokenizer.chat([*said, {'role': 'assistant', 'content': PROBE}], False)
    shown = whole.replace(question, '{question}').replace(PROBE, '{answer}')
    yield f'the template: {shown!r}'
    context = conversation.chat_context(tokenizer, said)
    if context.lead:
        yield f'an answer is led by {context.lead!r}'
    yield f'a conversation: {pieces(tokenizer, conversation.context_ids(tokenizer, context))}'
    ids = conversation.answer_ids(tokenizer, context, answer)
    yield f'its answer: {pieces(tokenizer, [*ids, first])}'


def numbers(tokenizer: Any) -> Iterator[str]:
    """How 0 to 999 are cut at the beginning of a line, and a few numbers more."""
    context = conversation.text_context(tokenizer, 'Numbers:\n')

    def cut(written):
        ids = conversation.answer_ids(tokenizer, context, written)
        return '·'.join(tokenizer.token_bytes(i).decode('utf-8', 'replace') for i in ids), len(ids)

    try:
        counts = collections.Counter((len(str(n)), cut(str(n))[1]) for n in range(1000))
        yield 'numbers 0-999: ' + '; '.join(
            f'{count} of {digits} digit{"s" * (digits > 1)} in {tokens} token{"s" * (tokens > 1)}'
            for (digits, tokens), count in sorted(counts.items()))
        yield 'cut: ' + '  '.join(cut(written)[0] for written in SHOWN)
    except UserError as error:
        yield f'numbers: {error}'


def rows(tokenizer: Any, config: TransformerConfig, given: Sequence[Mapping[str, Any]]
         ) -> Iterator[str]:
    """Rows as the model reads them: the first whole, then lengths and what does not fit.

    Args:
      tokenizer: see models.tokenizer.
      config: the model's.
      given: with prompt or messages, perhaps system and completion.
    """
    lengths, refused, spelled = [], [], 0
    for row in given:
        messages = row.get('messages') or [{'role': 'user', 'content': row['prompt']}]
        if row.get('system') is not None:
            messages = [{'role': 'system', 'content': row['system']}, *messages]
        spelled += bool(conversation.spelled_controls(tokenizer, row))
        try:
            context = conversation.chat_context(tokenizer, messages)
            before = conversation.context_ids(tokenizer, context)
            answer = conversation.answer_ids(tokenizer, context, row.get('completion', ''))
        except UserError as error:
            refused.append((row['id'], str(error)))
            continue
        if 'completion' in row:
            answer = [*answer, conversation.ends(tokenizer)[0]]
        lengths.append((len(before) + len(answer), len(answer)))
        if len(lengths) <= ROWS:
            yield f'row {row["id"]!r} reads: {unmarked(context.text)!r}'
            yield f'  context: {pieces(tokenizer, before)}'
            if answer:
                yield f'  answer: {pieces(tokenizer, answer)}'
    if lengths:
        whole, answers = zip(*lengths)
        yield (f'{len(lengths)} rows of {min(whole)} to {max(whole)} tokens (median '
               f'{statistics.median(whole):g}), answers of {min(answers)} to {max(answers)}; '
               f'{sum(n > config.max_positions for n in whole)} exceed the context of '
               f'{config.max_positions}')
    if spelled:
        yield f'{spelled} of {len(given)} spell control tokens, which are read as text'
    if refused:
        yield f'{len(refused)} cannot be read, the first, {refused[0][0]!r}: {refused[0][1]}'
