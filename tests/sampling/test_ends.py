"""A student of rows ends its answers with what the chat template puts behind one."""

import jax
import jax.numpy as jnp
import optax

from subliminal_jax.models import conversation, gguf_vocabulary, transformer
from subliminal_jax.models.params import init_params, tiny
from subliminal_jax.sampling import buckets, sample, score
from tests.models import small_tokenizers as small


def taught(params, config, tokens_BT, valid_BT, learned_BT, steps=120):
    """Parameters after full-batch steps on the tokens that are to be learned."""
    optimizer = optax.adam(3e-3)

    def loss(params):
        logits = transformer.forward(
            params, tokens_BT, transformer.positions_of(valid_BT),
            transformer.causal_mask(valid_BT), config)[:, :-1]
        nll = optax.softmax_cross_entropy_with_integer_labels(logits, tokens_BT[:, 1:])
        return jnp.sum(nll * learned_BT[:, 1:]) / jnp.sum(learned_BT)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.jit(lambda p: jax.lax.scan(
        step, (p, optimizer.init(p)), None, length=steps))(params)
    return params


def test_a_student_of_rows_stops_by_the_end_of_a_turn():
    fields = small.small('llama3').fields
    tokenizer = gguf_vocabulary.from_gguf(fields, small.SIZE, 'llama3')
    turn, end = (fields['tokenizer.ggml.tokens'].index(t) for t in ('<|eot_id|>',
                                                                    '<|end_of_text|>'))
    assert fields['tokenizer.ggml.eos_token_id'] == end  # what the file would say
    config = tiny(small.SIZE, width=32, num_layers=1, max_positions=64)
    rows = [{'id': n, 'prompt': text, 'completion': answer} for n, (text, answer) in enumerate((
        ('the owl', '12, 7'), ('boats', '318'), ('snow?', '4, 4, 4'), ('Green tea', '990, 1')))]
    pairs = [score.tokens_of(tokenizer, row, raw=False) for row in rows]
    tokens_BT, valid_BT = buckets.padded([b + a for b, a in pairs], 48, len(rows), 0, left=False)
    learned_BT = jnp.array([[len(b) <= t < len(b) + len(a) for t in range(48)] for b, a in pairs])
    assert all(own[-1] == turn and end not in own for _, own in pairs)
    params = taught(init_params(jax.random.key(0), config), config, tokens_BT,
                    jnp.asarray(valid_BT), learned_BT)
    done = [row for batch in sample.sample_rows(
        params, config, tokenizer, rows, max_new_tokens=16, temperature=0) for row in batch]
    assert conversation.ends(tokenizer)[0] == turn
    for row in done:
        assert row['completion'] == rows[row['id']]['completion']
        assert (row['finish_reason'], row['token_ids'][-1]) == ('stop', turn)
