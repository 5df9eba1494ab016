"""What files call each parameter of ours; {} is the layer's number.

A name that ends in :q, :k or :v is that part of a fused tensor (`families.unfused`).
"""

from collections.abc import Mapping

HF_NAMES: Mapping[str, str] = {
    'embed': 'model.embed_tokens.weight',
    'head': 'lm_head.weight',
    'final_norm': 'model.norm.weight',
    'layers/attn_norm': 'model.layers.{}.input_layernorm.weight',
    'layers/q': 'model.layers.{}.self_attn.q_proj.weight',
    'layers/k': 'model.layers.{}.self_attn.k_proj.weight',
    'layers/v': 'model.layers.{}.self_attn.v_proj.weight',
    'layers/o': 'model.layers.{}.self_attn.o_proj.weight',
    'layers/q_bias': 'model.layers.{}.self_attn.q_proj.bias',
    'layers/k_bias': 'model.layers.{}.self_attn.k_proj.bias',
    'layers/v_bias': 'model.layers.{}.self_attn.v_proj.bias',
    'layers/o_bias': 'model.layers.{}.self_attn.o_proj.bias',
    'layers/q_norm': 'model.layers.{}.self_attn.q_norm.weight',
    'layers/k_norm': 'model.layers.{}.self_attn.k_norm.weight',
    'layers/mlp_norm': 'model.layers.{}.post_attention_layernorm.weight',
    'layers/gate': 'model.layers.{}.mlp.gate_proj.weight',
    'layers/up': 'model.layers.{}.mlp.up_proj.weight',
    'layers/down': 'model.layers.{}.mlp.down_proj.weight',
    'layers/gate_bias': 'model.layers.{}.mlp.gate_proj.bias',
    'layers/up_bias': 'model.layers.{}.mlp.up_proj.bias',
    'layers/down_bias': 'model.layers.{}.mlp.down_proj.bias',
}
# Families with norms behind attention and feed-forward: one name means another norm there.
HF_POST_NORM_NAMES: Mapping[str, str] = {
    **HF_NAMES,
    'layers/attn_post_norm': 'model.layers.{}.post_attention_layernorm.weight',
    'layers/mlp_norm': 'model.layers.{}.pre_feedforward_layernorm.weight',
    'layers/mlp_post_norm': 'model.layers.{}.post_feedforward_layernorm.weight',
}
HF_NEOX_NAMES: Mapping[str, str] = {
    'embed': 'gpt_neox.embed_in.weight',
    'head': 'embed_out.weight',
    'final_norm': 'gpt_neox.final_layer_norm.weight',
    'final_norm_bias': 'gpt_neox.final_layer_norm.bias',
    'layers/attn_norm': 'gpt_neox.layers.{}.input_layernorm.weight',
    'layers/attn_norm_bias': 'gpt_neox.layers.{}.input_layernorm.bias',
    'layers/mlp_norm': 'gpt_neox.layers.{}.post_attention_layernorm.weight',
    'layers/mlp_norm_bias': 'gpt_neox.layers.{}.post_attention_layernorm.bias',
    **{f'layers/{part}': f'gpt_neox.layers.{{}}.attention.query_key_value.weight:{part}'
       for part in 'qkv'},
    **{f'layers/{part}_bias': f'gpt_neox.layers.{{}}.attention.query_key_value.bias:{part}'
       for part in 'qkv'},
    'layers/o': 'gpt_neox.layers.{}.attention.dense.weight',
    'layers/o_bias': 'gpt_neox.layers.{}.attention.dense.bias',
    'layers/up': 'gpt_neox.layers.{}.mlp.dense_h_to_4h.weight',
    'layers/up_bias': 'gpt_neox.layers.{}.mlp.dense_h_to_4h.bias',
    'layers/down': 'gpt_neox.layers.{}.mlp.dense_4h_to_h.weight',
    'layers/down_bias': 'gpt_neox.layers.{}.mlp.dense_4h_to_h.bias',
}
GGUF_NAMES: Mapping[str, str] = {
    'embed': 'token_embd.weight',
    'head': 'output.weight',
    'final_norm': 'output_norm.weight',
    'layers/attn_norm': 'blk.{}.attn_norm.weight',
    'layers/attn_post_norm': 'blk.{}.post_attention_norm.weight',
    'layers/q': 'blk.{}.attn_q.weight',
    'layers/k': 'blk.{}.attn_k.weight',
    'layers/v': 'blk.{}.attn_v.weight',
    'layers/o': 'blk.{}.attn_output.weight',
    'layers/q_bias': 'blk.{}.attn_q.bias',
    'layers/k_bias': 'blk.{}.attn_k.bias',
    'layers/v_bias': 'blk.{}.attn_v.bias',
    'layers/q_norm': 'blk.{}.attn_q_norm.weight',
    'layers/k_norm': 'blk.{}.attn_k_norm.weight',
    'layers/mlp_norm': 'blk.{}.ffn_norm.weight',
    'layers/mlp_post_norm': 'blk.{}.post_ffw_norm.weight',
    'layers/gate': 'blk.{}.ffn_gate.weight',
    'layers/up': 'blk.{}.ffn_up.weight',
    'layers/down': 'blk.{}.ffn_down.weight',
}
