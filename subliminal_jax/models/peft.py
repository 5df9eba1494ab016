"""Adapters in PEFT's format, in and out: adapter_config.json and adapter_model.safetensors.

The rules by which PEFT (github.com/huggingface/peft, 0.21) reads its own settings are followed:
which modules an adapter is of, its rank and strength in each, and which parameters are kept whole
beside it. What they can say and nothing here computes is refused by name.
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.models import hf, lora as own
from subliminal_jax.models.families import Tensor, leaves
from subliminal_jax.models.lora import TARGETS, Lora
from subliminal_jax.models.params import Params, TransformerConfig
from subliminal_jax.models.vocabulary import read_json
from subliminal_jax.runs import UserError

CONFIG, WEIGHTS = 'adapter_config.json', 'adapter_model.safetensors'
PREFIX = 'base_model.model.'
USED = frozenset((
    'peft_type', 'task_type', 'r', 'lora_alpha', 'use_rslora', 'rank_pattern', 'alpha_pattern',
    'target_modules', 'exclude_modules', 'layers_to_transform', 'layers_pattern',
    'modules_to_save', 'ensure_weight_tying', 'init_lora_weights', 'bias'))
# Names, training, how a first value was drawn, and how PEFT spreads its own work.
HARMLESS = frozenset((
    'base_model_name_or_path', 'revision', 'peft_version', 'inference_mode', 'lora_dropout',
    'auto_mapping', 'loftq_config', 'eva_config', 'corda_config', 'lora_ga_config',
    'velora_config', 'runtime_config', 'megatron_core', 'qalora_group_size'))
# First values that leave the base as it is; the others change its weights too.
STARTS = (True, False, None, 'gaussian', 'eva', 'orthogonal')


class Adapter(NamedTuple):
    """What an adapter's files hold.

    Attributes:
      lora: its factors, or None where whole parameters are all there is.
      saved: whole parameters by path: {layer: array}, layer 0 where there are no layers; matrices
        are [outputs, inputs].
      copies: parameters of `saved` that are copies of their own: what is tied to them does not
        follow.
    """

    lora: Lora | None
    saved: dict[str, dict[int, np.ndarray]]
    copies: frozenset[str]


def read(folder: pathlib.Path, config: TransformerConfig, names: Mapping[str, str]) -> Adapter:
    """Reads an adapter of PEFT's format, or one of lora.save_lora.

    Args:
      folder: of the adapter.
      config: of the base that it must fit.
      names: what the base's family calls its parameters.

    Raises:
      UserError: no adapter there, pickled weights, settings that are not supported, or tensors
        that are missing, left over or of another base's shapes; it names them.
    """
    if not (folder / CONFIG).exists():
        return Adapter(own.load_lora(folder, config), {}, frozenset())
    stated = read_json(folder / CONFIG)
    check_settings(stated, str(folder / CONFIG))
    path = folder / WEIGHTS
    if not path.exists():
        raise UserError(f'{folder} has no {WEIGHTS}' + (
            '; its weights are pickled, which can run code: convert them to safetensors'
            if any(folder.glob('*.bin')) else ''))
    return _fitted(stated, hf.tensors_of(path), config, names, folder)


def check_settings(stated: Mapping[str, Any], origin: str) -> None:
    """Raises UserError for settings that say what nothing here computes; it names the first."""
    if stated.get('peft_type') != 'LORA':
        raise UserError(f'{origin} is of the kind {stated.get("peft_type")!r}; only LORA is '
                        'supported')
    if stated.get('task_type') not in (None, 'CAUSAL_LM'):
        raise UserError(f'{origin} is for {stated["task_type"]}; only language models '
                        '(CAUSAL_LM) are supported')
    if stated.get('bias', 'none') != 'none':
        raise UserError(f'{origin} trains biases (bias = {stated["bias"]!r}), which is not '
                        'supported')
    if stated.get('init_lora_weights', True) not in STARTS:
        raise UserError(
            f'{origin} has init_lora_weights = {stated["init_lora_weights"]!r}, which changed the '
            'weights of the base as well: save it with path_initial_model_for_weight_conversion')
    for key, value in stated.items():
        if value and key not in USED and key not in HARMLESS:
            raise UserError(f'{origin} has {key} = {str(value)[:60]}, which is not supported')


def _fitted(stated, tensors, config, names, folder) -> Adapter:
    origin = str(folder / WEIGHTS)
    modules = {names[f'layers/{target}'].removesuffix('.weight').format(layer): (target, layer)
               for target in TARGETS if f'layers/{target}' in names
               for layer in range(config.num_layers)}
    places = {names[path].format(layer): (path, layer) for path in leaves(config, np.float32)
              for layer in range(config.num_layers if path.startswith('layers/') else 1)}
    if config.tied:
        places[names['head']] = ('head', 0)
    factors: dict[str, dict[str, Tensor]] = {}
    saved: dict[str, Tensor] = {}
    extra = []
    for tensor in tensors:
        name = tensor.name.removeprefix(PREFIX)
        module, _, part = name.rpartition('.lora_')
        if module in modules and part in ('A.weight', 'B.weight'):
            factors.setdefault(module, {})[part[0]] = tensor
        elif name in places:
            saved[name] = tensor
        else:
            extra.append(name)
    try:
        wanted = {name for name in modules if is_target(stated, name)}
        missing = [name for name in wanted if set(factors.get(name, ())) != {'A', 'B'}]
        extra += [name for name in factors if name not in wanted]
        missing += [name for name in stated.get('modules_to_save') or ()
                    if not any(f'.{name}.' in f'.{found}' for found in saved)]
        strengths = {name: strength(stated, name) for name in wanted}
    except (re.error, TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f'{folder / CONFIG} cannot be read: {error}') from None
    if extra or missing:
        raise UserError('; '.join(
            f'{origin} {what} {", ".join(sorted(found)[:4])}{" and more" * (len(found) > 4)}'
            for what, found in (('holds parts of modules that the model or its own settings lack:',
                                 extra), ('lacks', missing)) if found))
    _check_shapes(factors, saved, modules, places, strengths, config, origin)
    copies = frozenset(places[name][0] for name in saved if not stated.get('ensure_weight_tying')
                       and any(f'.{m}.' in f'.{name}' for m in stated.get('modules_to_save') or ()))
    kept: dict[str, dict[int, np.ndarray]] = {}
    for name, tensor in saved.items():
        path, layer = places[name]
        kept.setdefault(path, {})[layer] = tensor.read()
    return Adapter(_stacked(factors, modules, strengths, config) if factors else None, kept, copies)


def is_target(stated: Mapping[str, Any], module: str) -> bool:
    """Whether a module of the base has an adapter, by an adapter's settings.

    Args:
      stated: the settings.
      module: its dotted name, such as model.layers.0.self_attn.q_proj.
    """
    named = lambda given: module in given or any(module.endswith(f'.{name}') for name in given)
    left_out, targets = stated.get('exclude_modules'), stated.get('target_modules')
    if left_out and (re.fullmatch(left_out, module) if isinstance(left_out, str)
                     else named(left_out)):
        return False
    if any(re.match(rf'(^|.*\.){name}($|\..*)', module)
           for name in stated.get('modules_to_save') or ()):
        return False
    if isinstance(targets, str):
        return targets.lower() == 'all-linear' or bool(re.fullmatch(targets, module))
    if not targets or not named(targets):
        return False
    layers = stated.get('layers_to_transform')
    if layers is None or layers == []:
        return True
    patterns = stated.get('layers_pattern') or [r'[^.]*']
    found = next(filter(None, (
        re.match(rf'(?:^|.*?\.){pattern}\.(\d+)\.', module)
        for pattern in ([patterns] if isinstance(patterns, str) else patterns))), None)
    return found is not None and int(found[1]) in ([layers] if isinstance(layers, int) else layers)


def strength(stated: Mapping[str, Any], module: str) -> tuple[int, float]:
    """(rank, scale) of a module's adapter, by an adapter's settings.

    The scale is alpha / rank, or with use_rslora alpha / sqrt(rank) (arXiv 2312.03732); a pattern
    holds for the modules whose name ends with it.
    """
    def of(patterns, default):
        for pattern, value in (stated.get(patterns) or {}).items():
            if re.match(rf'(.*\.)?({pattern})$', module):
                return value
        return stated.get(default, 8)

    rank, alpha = int(of('rank_pattern', 'r')), float(of('alpha_pattern', 'lora_alpha'))
    return rank, alpha / (rank**0.5 if stated.get('use_rslora') else rank)


def _check_shapes(factors, saved, modules, places, strengths, config, origin):
    specs = leaves(config, np.float32)
    wanted = {}
    for name, own_factors in factors.items():
        rank = strengths[name][0]
        _, d_in, d_out = specs[f'layers/{modules[name][0]}'].shape
        wanted |= {own_factors['A']: (rank, d_in), own_factors['B']: (d_out, rank)}
    for name, tensor in saved.items():
        path = places[name][0]
        shape = specs['embed' if path == 'head' and config.tied else path].shape
        wanted[tensor] = shape[:0:-1] if path.startswith('layers/') else shape
    wrong = [f'{tensor.name} {list(tensor.shape)} instead of {list(shape)}'
             for tensor, shape in wanted.items() if tuple(tensor.shape) != shape]
    if wrong:
        raise UserError(f'{origin} does not fit the model: {"; ".join(wrong[:4])}'
                        f'{" and more" * (len(wrong) > 4)}: the adapter belongs to another base, '
                        'or its ranks are not those that it states')


def _stacked(factors, modules, strengths, config) -> Lora:
    """The factors as ours: ranks are filled up with zeros, and where modules differ in scale it is
    in their B."""
    scales = {scale for name, (_, scale) in strengths.items()}
    common = scales.pop() if len(scales) == 1 else None
    specs, layers = leaves(config, np.float32), {}
    for target in dict.fromkeys(modules[name][0] for name in factors):
        mine = {name: modules[name][1] for name in factors if modules[name][0] == target}
        rank = max(strengths[name][0] for name in mine)
        count, d_in, d_out = specs[f'layers/{target}'].shape
        a = np.zeros((count, d_in, rank), np.float32)
        b = np.zeros((count, rank, d_out), np.float32)
        for name, layer in mine.items():
            size, scale = strengths[name]
            a[layer, :, :size] = factors[name]['A'].read().astype(np.float32).T
            b[layer, :size] = factors[name]['B'].read().astype(np.float32).T
            b[layer] *= 1.0 if common is not None else scale
        layers[target] = {'a': jnp.asarray(a), 'b': jnp.asarray(b)}
    return Lora(layers, 1.0 if common is None else float(common))


def applied(params: Params, config: TransformerConfig, adapter: Adapter
            ) -> tuple[Params, TransformerConfig]:
    """(parameters, architecture) of a base with an adapter merged into it.

    A copy of one of two tied tables unties them.
    """
    params = dict(params)
    parted = config.tied and bool(adapter.copies & {'embed', 'head'})
    if parted:
        params['head'] = params['embed']
        config = dataclasses.replace(config, tied=False)
    for path, arrays in adapter.saved.items():
        *group, name = path.split('/')
        holder = dict(params['layers']) if group else params
        name = 'embed' if name == 'head' and config.tied else name
        value = jnp.asarray(holder[name])
        for layer, array in arrays.items():
            new = jnp.asarray(array, value.dtype)
            value = value.at[layer].set(new.T) if group else jax.device_put(new, value.sharding)
        holder[name] = value
        if group:
            params['layers'] = holder
    if parted and np.array_equal(params['head'], params['embed']):
        del params['head']
        config = dataclasses.replace(config, tied=True)
    if adapter.lora is not None:
        params = own.merge_lora(params, adapter.lora, config)
    return params, config


def settings_of(lora: Lora, names: Mapping[str, str], base: str) -> dict[str, Any]:
    """adapter_config.json of an adapter of ours.

    Args:
      lora: the adapter.
      names: what the base's family calls its parameters.
      base: what the base is called, as transformers would load it.
    """
    ranks = {value['a'].shape[2] for value in lora.layers.values()}
    patterns = {} if len(ranks) == 1 else {
        module_of(names, target).rpartition('.')[2]: int(value['a'].shape[2])
        for target, value in lora.layers.items()}
    rank = int(min(ranks))
    strengths = {module: lora.scale * own_rank for module, own_rank in patterns.items()}
    return {
        'peft_type': 'LORA', 'task_type': 'CAUSAL_LM', 'base_model_name_or_path': base,
        'r': rank, 'lora_alpha': lora.scale * rank, 'use_rslora': False, 'lora_dropout': 0.0,
        'bias': 'none', 'fan_in_fan_out': False, 'inference_mode': True, 'modules_to_save': None,
        'init_lora_weights': True, 'rank_pattern': patterns, 'alpha_pattern': strengths,
        'target_modules': sorted(module_of(names, t).rpartition('.')[2] for t in lora.layers)}


def module_of(names: Mapping[str, str], target: str) -> str:
    """What a family calls a projection's module; {} is the layer's number.

    Raises:
      UserError: it has no module of its own there.
    """
    name = names.get(f'layers/{target}', '')
    if not name.endswith('.weight'):
        raise UserError(f'the projection {target} is no module of its own in this family: its '
                        "adapter has no name in PEFT's format; export merged weights")
    return name.removesuffix('.weight')


def tensors_of(lora: Lora, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """adapter_model.safetensors of an adapter of ours, float32 [outputs, inputs]."""
    found = {}
    for target, factors in lora.layers.items():
        module = module_of(names, target)
        for part, which in (('A', 'a'), ('B', 'b')):
            for layer, array in enumerate(np.asarray(factors[which], np.float32)):
                found[f'{PREFIX}{module.format(layer)}.lora_{part}.weight'] = \
                    np.ascontiguousarray(array.T)
    return found


def write(folder: pathlib.Path, lora: Lora, names: Mapping[str, str], base: str) -> Sequence[str]:
    """Writes both files into a folder and returns their names."""
    from safetensors.numpy import save_file

    from subliminal_jax.runs import write_json

    settings = settings_of(lora, names, base)
    save_file(tensors_of(lora, names), folder / WEIGHTS, metadata={'format': 'pt'})
    write_json(folder / CONFIG, settings)
    return (CONFIG, WEIGHTS)
