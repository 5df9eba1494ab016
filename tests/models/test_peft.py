"""Adapters in PEFT's format: peft's own read here, ours read by peft, and what is refused."""

import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from subliminal_jax.models import families, hf, lora as adapters, peft, transformer
from subliminal_jax.models.lora import Lora, init_lora, merge_lora
from subliminal_jax.runs import UserError
from tests.models.test_parity import GOLDEN

NAMES = families.HF_NAMES
TOKENS = np.random.default_rng(3).integers(0, 96, (2, 9))


def logits_of(params, config):
    """Logits [2, 9, V] of TOKENS."""
    valid_BT = jnp.ones(TOKENS.shape, bool)
    return transformer.forward(params, jnp.asarray(TOKENS, jnp.int32),
                               transformer.positions_of(valid_BT),
                               transformer.causal_mask(valid_BT), config)


def of_torch(model):
    """The same of a PyTorch model."""
    import torch

    with torch.no_grad():
        return model(torch.tensor(TOKENS)).logits.numpy()


def merged(folder, family):
    """(parameters, architecture) of a golden checkpoint with an adapter merged into it."""
    config, params = hf.load(GOLDEN / family)
    return peft.applied(params, config, peft.read(folder, config, NAMES))


ATTENTION = ['q_proj', 'v_proj']
CASES = {
    'every projection': {'target_modules': 'all-linear', 'r': 3, 'lora_alpha': 7},
    'by name, alpha over the root of the rank': {
        'target_modules': ATTENTION, 'r': 4, 'lora_alpha': 2, 'use_rslora': True},
    'by a pattern': {'target_modules': r'.*\.[02]\..*(q|down)_proj', 'r': 2},
    'ranks and alphas by pattern': {
        'target_modules': [*ATTENTION, 'up_proj'], 'r': 2, 'lora_alpha': 4,
        'rank_pattern': {r'^model\.layers\.1\.self_attn\.q_proj': 5, 'up_proj': 1},
        'alpha_pattern': {'v_proj': 3, r'0\.mlp\.up_proj': 9}, 'use_rslora': True},
    'some layers': {'target_modules': ATTENTION, 'layers_to_transform': [0, 2],
                    'layers_pattern': 'layers'},
    'one layer': {'target_modules': ATTENTION, 'layers_to_transform': 1},
    'some left out': {'target_modules': 'all-linear', 'exclude_modules': ['0.mlp.up_proj']},
    'another head': {'target_modules': ATTENTION, 'modules_to_save': ['lm_head']},
    'another embedding': {'target_modules': ATTENTION, 'modules_to_save': ['embed_tokens']},
    'other norms and a matrix': {
        'target_modules': ATTENTION,
        'modules_to_save': ['input_layernorm', 'norm', '1.mlp.down_proj']},
    'tables that stay tied': {'target_modules': ATTENTION, 'modules_to_save': ['embed_tokens'],
                              'ensure_weight_tying': True},
}


def disturbed(model):
    """A peft model with every part that it would save drawn at random."""
    import torch

    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if 'lora_' in name or 'modules_to_save' in name:
                value.add_(0.2 * torch.randn(value.shape, generator=generator))
    return model.eval()


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('family', ['llama', 'qwen2'])  # the second one's tables are tied
@pytest.mark.parametrize('case', CASES)
def test_an_adapter_of_peft_gives_its_logits(case, family, tmp_path):
    theirs = pytest.importorskip('peft')
    transformers = pytest.importorskip('transformers')
    base = transformers.AutoModelForCausalLM.from_pretrained(GOLDEN / family, dtype='float32')
    plain = of_torch(base.eval())
    model = disturbed(theirs.get_peft_model(
        base, theirs.LoraConfig(task_type='CAUSAL_LM', **CASES[case])))
    wanted = of_torch(model)
    model.save_pretrained(tmp_path)
    params, config = merged(tmp_path, family)
    assert np.abs(wanted - plain).max() > 0.05
    np.testing.assert_allclose(logits_of(params, config), wanted, atol=1e-4)
    own = case.startswith('another')
    assert config.tied == (family == 'qwen2' and not own)


def drawn(config, targets=adapters.TARGETS, rank=3, scale=0.7):
    """An adapter of ours, no part of which is zero."""
    made = init_lora(jax.random.key(1), config, rank, targets=targets)
    rng = np.random.default_rng(2)
    layers = jax.tree.map(lambda x: jnp.asarray(x + 0.1 * rng.standard_normal(x.shape), x.dtype),
                          made.layers)
    return Lora(layers, scale)


@pytest.mark.parity
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('family', ['llama', 'qwen2'])
def test_peft_reads_ours(family, tmp_path):
    theirs = pytest.importorskip('peft')
    transformers = pytest.importorskip('transformers')
    config, params = hf.load(GOLDEN / family)
    lora = drawn(config)
    lora.layers['k'] = drawn(config, ('k',), rank=5).layers['k']
    wanted = logits_of(merge_lora(params, lora, config), config)
    peft.write(tmp_path, lora, NAMES, str(GOLDEN / family))
    model = theirs.AutoPeftModelForCausalLM.from_pretrained(tmp_path, dtype='float32')
    np.testing.assert_allclose(of_torch(model.eval()), wanted, atol=1e-4)
    base = transformers.AutoModelForCausalLM.from_pretrained(GOLDEN / family, dtype='float32')
    whole = theirs.PeftModel.from_pretrained(base, tmp_path).merge_and_unload()
    np.testing.assert_allclose(of_torch(whole.eval()), wanted, atol=1e-4)


@pytest.fixture(name='base', scope='module')
def _base():
    return hf.load(GOLDEN / 'llama')


def test_ours_comes_back_as_it_was(base, tmp_path):
    config, _ = base
    lora = drawn(config, ('q', 'down'))
    peft.write(tmp_path, lora, NAMES, 'base')
    found = peft.read(tmp_path, config, NAMES)
    assert not found.saved and found.lora.scale == pytest.approx(lora.scale)
    jax.tree.map(np.testing.assert_array_equal, found.lora.layers, lora.layers)
    stated = json.loads((tmp_path / peft.CONFIG).read_text())
    assert stated['target_modules'] == ['down_proj', 'q_proj'] and stated['r'] == 3


def test_the_projects_own_format_is_read_by_the_same_call(base, tmp_path):
    config, _ = base
    lora = drawn(config, ('v',))
    adapters.save_lora(tmp_path / 'a', lora)
    found = peft.read(tmp_path / 'a', config, NAMES)
    jax.tree.map(np.testing.assert_array_equal, found.lora, lora)
    with pytest.raises(UserError, match='holds no adapter of ours'):
        peft.read(tmp_path, config, NAMES)


def written(folder, config, change=None, **settings):
    """An adapter of q and v in PEFT's format, with settings and tensors changed."""
    peft.write(folder, drawn(config, ('q', 'v')), NAMES, 'base')
    stated = json.loads((folder / peft.CONFIG).read_text()) | settings
    (folder / peft.CONFIG).write_text(json.dumps(stated))
    if change:
        arrays = load_file(folder / peft.WEIGHTS)
        change(arrays)
        save_file(arrays, folder / peft.WEIGHTS)
    return folder


FIRST = 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight'


@pytest.mark.parametrize('settings, words', [
    ({'peft_type': 'IA3'}, "of the kind 'IA3'; only LORA"),
    ({'task_type': 'SEQ_CLS'}, 'is for SEQ_CLS; only language models'),
    ({'use_dora': True}, 'use_dora = True, which is not supported'),
    ({'lora_bias': True}, 'lora_bias = True'),
    ({'bias': 'all'}, "trains biases .bias = 'all'."),
    ({'fan_in_fan_out': True}, 'fan_in_fan_out = True'),
    ({'layer_replication': [[0, 2]]}, 'layer_replication'),
    ({'target_parameters': ['mlp.experts']}, 'target_parameters'),
    ({'trainable_token_indices': [3]}, 'trainable_token_indices'),
    ({'alora_invocation_tokens': [1]}, 'alora_invocation_tokens'),
    ({'a_thing_of_2028': 1}, 'a_thing_of_2028 = 1'),
    ({'init_lora_weights': 'pissa'}, "'pissa', which changed the weights of the base"),
    ({'target_modules': ['q_proj']}, 'settings lack: model.layers.0.self_attn.v_proj'),
    ({'target_modules': ['q_proj', 'v_proj', 'o_proj']},
     r'lacks model\.layers\.0\.self_attn\.o_proj, .* and model|lacks .*o_proj'),
    ({'modules_to_save': ['lm_head']}, 'lacks lm_head'),
    ({'target_modules': '(q'}, 'adapter_config.json cannot be read: missing'),
    ({'rank_pattern': {'v_proj': 2}}, r'v_proj.lora_A.weight \[3, 32\] instead of \[2, 32\]'),
    ({'r': 0}, 'adapter_config.json cannot be read'),
])
def test_settings_that_cannot_be_served_are_named(base, tmp_path, settings, words):
    with pytest.raises(UserError, match=words) as caught:
        peft.read(written(tmp_path, base[0], **settings), base[0], NAMES)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize('change, words', [
    (lambda a: a.pop(FIRST), r'lacks model\.layers\.0\.self_attn\.q_proj'),
    (lambda a: a.update({FIRST: np.zeros((3, 31), np.float32)}), r'\[3, 31\] instead of \[3, 32\]'),
    (lambda a: a.update({FIRST.replace('A.w', 'magnitude_vector.w'): np.zeros(3, np.float32)}),
     'lora_magnitude_vector'),
    (lambda a: a.update({'base_model.model.lm_head.lora_A.weight': np.zeros((3, 32), np.float32)}),
     'lm_head.lora_A.weight'),
    (lambda a: a.update({FIRST.replace('layers.0', 'layers.7'): a[FIRST]}), 'layers.7'),
    (lambda a: a.update({'base_model.model.model.norm.weight': np.zeros(31, np.float32)}),
     r'model\.norm\.weight \[31\] instead of \[32\]'),
])
def test_tensors_that_do_not_fit_are_named(base, tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        peft.read(written(tmp_path, base[0], change), base[0], NAMES)


class Bomb:
    """Unpickling it is what must never happen."""

    def __reduce__(self):
        return (pytest.fail, ('a pickle was read',))


def test_pickled_adapters_are_never_read(base, tmp_path):
    folder = written(tmp_path, base[0])
    (folder / peft.WEIGHTS).unlink()
    (folder / 'adapter_model.bin').write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match='pickled, which can run code'):
        peft.read(folder, base[0], NAMES)
    (folder / peft.WEIGHTS).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match='not a whole safetensors file'):
        peft.read(folder, base[0], NAMES)
