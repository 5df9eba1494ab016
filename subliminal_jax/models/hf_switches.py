"""Settings of config.json in which families differ: spellings, biases, activation, windows.

`plain` puts a file's settings under the names that most families use; `switches` and `windows` make
fields of TransformerConfig of them.
"""

from collections.abc import Mapping
from typing import Any

from subliminal_jax.models.families import Family
from subliminal_jax.runs import UserError

ACTIVATIONS: Mapping[str, str] = {
    'silu': 'silu', 'swish': 'silu', 'gelu': 'gelu', 'gelu_pytorch_tanh': 'gelu_tanh',
    'gelu_new': 'gelu_tanh', 'gelu_fast': 'gelu_tanh'}  # three ways to write one approximation
ROPE_PLACES = ('rope_parameters', 'rope_scaling')


def plain(stated: Mapping[str, Any], family: Family, origin: str) -> dict[str, Any]:
    """A file's settings in the common spelling; a rotary base of sliding layers is
    rope_local_base_freq, a rotated part of each head partial_rotary_factor.

    Raises:
      UserError: one thing said twice, differently.
    """
    found = dict(stated)
    if family.windows == 'pattern':
        found = _by_kinds(found, origin)
    if 'rotary_pct' in family.spelled:
        found = _partial(found, origin)
    for own, common in family.spelled.items():
        value = family.defaults.get(common) if found.get(own) is None else found[own]
        other = found.get(common)
        if other is not None and other != value:
            raise UserError(f'{origin} states {own} = {value!r} and {common} = {other!r}; take one '
                            'of them out')
        found[common] = found.get(own)  # what a file leaves out is told by family.defaults
    return found


def _by_kinds(found, origin):
    """Rotary settings by kinds of layers, as those of full layers and the base of sliding ones."""
    rope = found.get('rope_parameters')
    if not rope:
        return found
    kinds = {'full_attention', 'sliding_attention'}
    if not isinstance(rope, dict) or set(rope) - kinds or not all(
            isinstance(part or {}, dict) for part in rope.values()):
        raise UserError(f'{origin} has rope_parameters = {str(rope)[:60]}; this architecture '
                        'states them by kinds of layers: full_attention and sliding_attention')
    sliding = {k: v for k, v in (rope.get('sliding_attention') or {}).items() if v is not None}
    base, own = sliding.pop('rope_theta', None), found.get('rope_local_base_freq')
    if sliding.pop('rope_type', 'default') != 'default' or sliding:
        raise UserError(f'{origin} stretches the rotation of sliding layers (rope_parameters), '
                        'which is not supported')
    if base is not None and own is not None and base != own:
        raise UserError(f'{origin} states the rotary base of sliding layers twice: {base} and '
                        f'{own} (rope_local_base_freq); take one of them out')
    return {**found, 'rope_parameters': rope.get('full_attention'),
            'rope_local_base_freq': own if base is None else base}


def _partial(found, origin):
    """The rotated part of each head, taken out of the rotary settings as rotary_pct."""
    shares = [found.get('rotary_pct')]
    for place in ROPE_PLACES:
        if isinstance(found.get(place), dict):
            rope = dict(found[place])
            shares.append(rope.pop('partial_rotary_factor', None))
            found = {**found, place: rope}
    shares = {share for share in shares if share is not None}
    if len(shares) > 1:
        raise UserError(f'{origin} states the rotated part of each head twice: {sorted(shares)} '
                        '(rotary_pct, partial_rotary_factor); take one of them out')
    return {**found, 'rotary_pct': shares.pop() if shares else None}


def switches(stated: Mapping[str, Any], family: Family, width: int, heads: int, head_dim: int
             ) -> dict[str, Any]:
    """The family's switches as a file in the common spelling sets them, without windows.

    Raises:
      ValueError: a setting of another type.
    """
    def value(key, default=None):
        found = stated.get(key)
        return family.defaults.get(key, default) if found is None else found

    def flag(key):
        found = value(key, False)
        if not isinstance(found, bool):
            raise ValueError(f'{key} is {found!r}')
        return found

    found = dict(family.switches)
    if 'attention_bias' in family.reads:
        found |= dict.fromkeys(('qkv_bias', 'out_bias'), flag('attention_bias'))
    if 'mlp_bias' in family.reads:
        found['mlp_bias'] = flag('mlp_bias')
    if 'use_parallel_residual' in family.reads:
        found['parallel_residual'] = flag('use_parallel_residual')
    if value('hidden_act') is not None:
        found['activation'] = ACTIVATIONS[value('hidden_act')]
    if family.scaled_embedding:
        found['embed_scale'] = width**0.5
    if 'query_pre_attn_scalar' in family.reads:
        scalar = float(value('query_pre_attn_scalar'))
        found['query_pre_attn_scalar'] = None if scalar == head_dim else scalar
    if family.fused:
        if value('num_key_value_heads', heads) != heads or head_dim * heads != width:
            raise ValueError(f'{heads} heads of {head_dim} are not the width of {width}')
        rotated = int(head_dim * float(value('partial_rotary_factor')))
        found['rotary_dim'] = None if rotated == head_dim else rotated
    return found


def windows(stated: Mapping[str, Any], family: Family, num_layers: int, positions: int, origin: str
            ) -> dict[str, Any]:
    """Which layers slide, how far they see and their rotary base.

    Windows that hold the whole context are none. Like transformers: a window of W holds the own
    place and the W - 1 before it; Mistral's is every layer's, Qwen's has a switch and begins at a
    layer, Gemma 3's is of all layers but each sixth.

    Raises:
      UserError: layer_types that are not known or do not fit, or a window in a family without.
      ValueError: a setting of another type.
    """
    types = stated.get('layer_types')
    if types is not None and (not isinstance(types, list) or len(types) != num_layers
                              or set(types) - {'full_attention', 'sliding_attention'}):
        raise UserError(f'{origin} has layer_types = {str(types)[:60]}; it must name '
                        'full_attention or sliding_attention for each layer')
    window = stated.get('sliding_window', family.defaults.get('sliding_window'))
    if window is not None and (type(window) is not int or window < 1):
        raise ValueError(f'sliding_window is {window!r}')
    if family.windows == 'switched' and not stated.get('use_sliding_window', False):
        window = None
    slides = _sliding(stated, family, num_layers, window)
    if types is not None:
        named = [kind == 'sliding_attention' for kind in types]
        if family.windows == 'all' and named != slides:
            raise UserError(f'{origin} has layer_types = {str(types)[:60]}; in this architecture '
                            'all layers see the same sliding_window')
        slides = named
    local = None
    if family.windows == 'pattern':
        local = float(stated.get('rope_local_base_freq') or 10000.0)
    if any(slides) and (window is None or not family.windows and window < positions):
        raise UserError(f'{origin} has layers that see a window of {window} tokens only '
                        '(sliding_window, layer_types), which is not supported of this '
                        'architecture')
    if not any(slides) or local is None and window >= positions:
        return {}
    return {'sliding_layers': tuple(slides), 'sliding_window': window, 'local_rope_theta': local}


def _sliding(stated, family, num_layers, window):
    """Whether each layer slides, where layer_types does not say."""
    if family.windows == 'pattern':
        period = stated.get('sliding_window_pattern') or 6
        return [bool((layer + 1) % period) for layer in range(num_layers)]
    first = stated.get('max_window_layers', 28) if family.windows == 'switched' else 0
    return [window is not None and layer >= first for layer in range(num_layers)]
