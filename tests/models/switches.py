"""Small architectures, one for each switch of TransformerConfig beside Llama's, and all at once."""

from subliminal_jax.models.params import RopeScaling, TransformerConfig, tiny

WINDOW = 4
ALTERNATE = (True, False, True)


def small(**switches) -> TransformerConfig:
    """Three layers of width 32, grouped heads."""
    return tiny(53, width=32, num_layers=3, num_kv_heads=2, ffn_width=40, norm_eps=1e-3,
                max_positions=64, **switches)


SWITCHES = {
    'biases everywhere': small(qkv_bias=True, out_bias=True, mlp_bias=True),
    'LayerNorm': small(norm='layer'),
    '1 + weight': small(norm_unit_offset=True),
    'norms behind': small(norm_placement='post'),
    'norms before and behind': small(norm_placement='sandwich'),
    'norm of each head': small(qk_norm='head'),
    'norm of all heads': small(qk_norm='full'),
    'parallel residual': small(parallel_residual=True),
    'GELU': small(activation='gelu'),
    'GELU by tanh': small(activation='gelu_tanh'),
    'no gate': small(mlp_gated=False, mlp_bias=True),
    'scaled embedding, tied': small(embed_scale=32**0.5, tied=True),
    'scale of queries': small(query_pre_attn_scalar=3.0),
    'part of a head': small(rotary_dim=2),
    'stretched rotation': small(rope_scaling=RopeScaling('linear', factor=3.0)),
    'all layers slide': small(sliding_layers=(True,) * 3, sliding_window=WINDOW),
    'some layers slide': small(sliding_layers=ALTERNATE, sliding_window=WINDOW),
    'sliding layers turn otherwise': small(sliding_layers=ALTERNATE, local_rope_theta=20.0),
    'as Gemma 3': small(
        norm_unit_offset=True, norm_placement='sandwich', qk_norm='head', activation='gelu_tanh',
        embed_scale=32**0.5, tied=True, query_pre_attn_scalar=5.0, sliding_layers=ALTERNATE,
        sliding_window=WINDOW, local_rope_theta=20.0,
        rope_scaling=RopeScaling('linear', factor=2.0)),
    'as GPT-NeoX': small(
        norm='layer', parallel_residual=True, activation='gelu', mlp_gated=False, qkv_bias=True,
        out_bias=True, mlp_bias=True, rotary_dim=4),
}
