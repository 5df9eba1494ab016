"""config.json of a folder in Hugging Face layout: every setting is used, harmless or refused.

Where one thing can be said in several places or spellings, they must agree.
"""

import pathlib
from collections.abc import Mapping

from subliminal_jax.models import families, hf_switches
from subliminal_jax.models.families import Family
from subliminal_jax.models.params import RopeScaling, TransformerConfig
from subliminal_jax.models.vocabulary import read_json
from subliminal_jax.runs import UserError

USED = frozenset((
    'model_type', 'vocab_size', 'num_hidden_layers', 'hidden_size', 'num_attention_heads',
    'num_key_value_heads', 'head_dim', 'intermediate_size', 'rms_norm_eps', 'tie_word_embeddings',
    'max_position_embeddings', 'rope_theta', 'rope_scaling', 'rope_parameters', 'sliding_window',
    'use_sliding_window', 'max_window_layers', 'layer_types', 'architectures',
    'eos_token_id'))  # the last by the tokenizer
# Settings that change the function, with the values that are supported.
FIXED: Mapping[str, tuple] = {
    'hidden_act': ('silu', 'swish'), 'attention_bias': (False,), 'mlp_bias': (False,),
    'partial_rotary_factor': (1.0,), 'rope_interleaved': (False,), 'quantization_config': ({},),
    'pruned_heads': ({},), 'is_encoder_decoder': (False,), 'add_cross_attention': (False,),
    'chunk_size_feed_forward': (0,), 'embedding_multiplier': (1.0,), 'residual_multiplier': (1.0,),
    'logits_scaling': (1.0,), 'logit_scale': (1.0,), 'use_qk_norm': (False,), 'qk_norm': (False,),
    'tie_encoder_decoder': (False,), 'num_experts': (0,), 'num_local_experts': (0,),
}
# Settings that change nothing here: names, training, generation, what other programs keep there.
HARMLESS = frozenset((
    'transformers_version', '_name_or_path', 'name_or_path', '_commit_hash', 'model_name', 'dtype',
    'torch_dtype', 'tokenizer_class', 'license', 'is_llama_config', 'is_decoder',
    'transformers.js_config', 'unsloth_version', 'unsloth_fixed', '_attn_implementation',
    '_attn_implementation_autoset', 'attn_implementation', 'bos_token_id', 'pad_token_id',
    'unk_token_id', 'sep_token_id', 'decoder_start_token_id', 'initializer_range',
    'attention_dropout', 'hidden_dropout', 'resid_pdrop', 'embd_pdrop', 'attn_pdrop', 'use_cache',
    'gradient_checkpointing', 'pretraining_tp', 'output_attentions', 'output_hidden_states',
    'return_dict', 'return_dict_in_generate', 'torchscript', 'use_bfloat16', 'tf_legacy_loss',
    'id2label', 'label2id', 'num_labels', 'problem_type', 'finetuning_task', 'prefix',
    'task_specific_params', 'keys_to_ignore_at_inference', 'max_sequence_length', 'max_length',
    'min_length', 'do_sample', 'early_stopping', 'num_beams', 'num_beam_groups',
    'diversity_penalty', 'temperature', 'top_k', 'top_p', 'typical_p', 'repetition_penalty',
    'length_penalty', 'no_repeat_ngram_size', 'encoder_no_repeat_ngram_size', 'bad_words_ids',
    'num_return_sequences', 'output_scores', 'forced_bos_token_id', 'forced_eos_token_id',
    'remove_invalid_values', 'exponential_decay_length_penalty', 'suppress_tokens',
    'begin_suppress_tokens', 'cross_attention_hidden_size', 'classifier_dropout',
    'cache_implementation', '_sliding_window_pattern'))
ROPE_KEYS: Mapping[str, tuple[str, ...]] = {  # by kind: those that are used
    'default': (), 'linear': ('factor',),
    'llama3': ('factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings')}


def config_of(folder: pathlib.Path) -> tuple[TransformerConfig, Family]:
    """The architecture that config.json states.

    Raises:
      UserError: no file, an unsupported architecture or setting, or a field that is missing.
    """
    path = folder / 'config.json'
    if not path.exists() and (folder / 'adapter_config.json').exists():
        base = read_json(folder / 'adapter_config.json').get('base_model_name_or_path')
        raise UserError(f'{folder} holds an adapter alone (adapter_config.json), and no model: '
                        f'name the model that it was made for ({base}), and this folder as its '
                        'adapter (--lora, --config.model.adapter)')
    stated, origin = read_json(path), str(path)
    name = stated.get('model_type')
    family = families.family_of(name, origin)
    _check_keys(stated, family, origin)
    stated = hf_switches.plain(stated, family, origin)

    def field(key, default=None):
        value = stated.get(key)
        value = family.defaults.get(key, default) if value is None else value
        if value is None:
            raise UserError(f'{origin} has no field {key}')
        return value

    def whole(key, default=None):
        value = field(key, default)
        if isinstance(value, bool) or int(value) != float(value):
            raise ValueError(f'{key} is {value!r}')
        return int(value)

    with families.stating(origin):
        heads, width = whole('num_attention_heads'), whole('hidden_size')
        positions = whole('max_position_embeddings', 2048)
        tied = field('tie_word_embeddings', False)
        if not isinstance(tied, bool):
            raise ValueError(f'tie_word_embeddings is {tied!r}')
        theta, scaling = _rope(stated, family, positions, origin)
        layers = families.counted(whole('num_hidden_layers'))
        head_dim = whole('head_dim', width // max(heads, 1))
        config = families.checked(TransformerConfig(
            vocab_size=whole('vocab_size'), num_layers=layers, width=width, num_heads=heads,
            num_kv_heads=whole('num_key_value_heads', heads), head_dim=head_dim,
            ffn_width=whole('intermediate_size'), rope_theta=theta, rope_scaling=scaling,
            norm_eps=float(field('rms_norm_eps', 1e-6)), tied=tied, max_positions=positions,
            **hf_switches.switches(stated, family, width, heads, head_dim),
            **hf_switches.windows(stated, family, layers, positions, origin)))
    return config, family


def _check_keys(stated, family, origin):
    fixed = {**{key: v for key, v in FIXED.items() if key not in family.reads}, **family.fixed}
    for key, values in fixed.items():
        if stated.get(key) is not None and stated[key] not in values:
            raise UserError(f'{origin} has {key} = {stated[key]!r}; only {values[0]!r} is '
                            'supported')
    unknown = [key for key, value in stated.items() if value is not None
               and key not in USED | HARMLESS | family.reads and key not in fixed]
    if unknown:
        raise UserError(
            f'{origin} has {", ".join(f"{key} = {str(stated[key])[:40]}" for key in unknown[:4])}'
            f'{" and more" if len(unknown) > 4 else ""}: not known here, and it may change what '
            'the model computes; if it does not, take it out of the file')
    named = stated.get('architectures') or []
    if not isinstance(named, list):
        raise UserError(f'{origin} has architectures = {named!r:.60}, which is no list')
    if odd := [a for a in named if not str(a).endswith(('ForCausalLM', 'Model'))]:
        raise UserError(f'{origin} is of a {odd[0]}; only language models are supported')


def _rope(stated, family, positions, origin):
    """(theta, scaling), from rope_parameters, rope_theta and rope_scaling, which must agree."""
    given = []
    for key in ('rope_parameters', 'rope_scaling'):
        rope = stated.get(key)
        if rope is not None and not isinstance(rope, dict):
            raise UserError(f'{origin} states rotary settings that are none: {key} = {rope!r}')
        if rope:
            given.append(_flat(rope, key, origin))
    if len(given) == 2 and given[0] != given[1]:
        raise UserError(f'{origin} states rotary settings twice, and they differ: rope_parameters '
                        'and rope_scaling; take one of them out')
    rope = given[-1] if given else {'rope_type': 'default'}
    bases = {float(x) for x in [stated.get('rope_theta'), *(r.get('rope_theta') for r in given)]
             if x is not None}
    if len(bases) > 1:
        raise UserError(f'{origin} states rope_theta twice: {sorted(bases)}; take one of them out')
    theta = bases.pop() if bases else family.defaults.get('rope_theta', 10000.0)
    kind = rope['rope_type']
    unknown = [key for key, value in rope.items() if value is not None and key not in (
        *ROPE_KEYS[kind], 'rope_type', 'rope_theta', 'original_max_position_embeddings')]
    if unknown:
        raise UserError(f'{origin} has the rotary setting {unknown[0]} = {rope[unknown[0]]!r}, '
                        f'which is not known of the kind {kind!r}')
    try:
        if kind == 'linear':
            return theta, RopeScaling('linear', factor=float(rope['factor']))
        if kind == 'llama3':
            return theta, RopeScaling(
                'llama3', float(rope['factor']), float(rope['low_freq_factor']),
                float(rope['high_freq_factor']),
                int(rope.get('original_max_position_embeddings') or positions))
    except KeyError as error:
        raise UserError(f'{origin} scales its rotary frequencies without {error}') from None
    return theta, None


def _flat(rope, key, origin):
    """One place's rotary settings in the new spelling."""
    if parts := sorted(name for name, value in rope.items() if isinstance(value, dict)):
        raise UserError(f'{origin} states rotary settings by kinds of layers ({key}: '
                        f'{", ".join(parts)}), which is not supported')
    kinds = {rope[name] for name in ('rope_type', 'type') if rope.get(name) is not None}
    if len(kinds) > 1:
        raise UserError(f'{origin} states two kinds of rotary settings in {key}: {sorted(kinds)}')
    kind = kinds.pop() if kinds else 'default'
    if kind not in ROPE_KEYS:
        raise UserError(f'{origin} scales its rotary frequencies by {kind!r}, which is not '
                        'supported; supported are linear and llama3')
    if rope.get('partial_rotary_factor', 1.0) not in (1.0, None):
        raise UserError(f'{origin} rotates a part of each head only ({key}: partial_rotary_factor '
                        f'= {rope["partial_rotary_factor"]!r}), which is not supported')
    rest = {k: v for k, v in rope.items() if k not in ('type', 'partial_rotary_factor')}
    return {**rest, 'rope_type': kind}
