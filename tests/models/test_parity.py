"""The forward pass beside transformers on PyTorch: logits, each layer, gradients.

Golden results (tests/golden/make_golden.py) serve where PyTorch is absent; the tests marked
`parity` run it. If one fails: the first layer at which the streams part says where to look.
"""

import importlib.util
import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.models import families, hf, transformer

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
FAMILIES = ('llama', 'qwen2')


def golden_script():
    spec = importlib.util.spec_from_file_location('make_golden', GOLDEN / 'make_golden.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def batch():
    """The script's batch: tokens, where they are valid, positions, mask."""
    tokens_BT, valid_BT = golden_script().batch()
    valid_BT = jnp.asarray(valid_BT)
    return (jnp.asarray(tokens_BT, jnp.int32), valid_BT, transformer.positions_of(valid_BT),
            transformer.causal_mask(valid_BT))


def kl(first, second):
    """KL(first || second) of logits, nats, at every place; in float64."""
    first, second = (jax.nn.log_softmax(x) for x in (first, second))
    return np.sum(np.exp(first) * (np.asarray(first, np.float64) - second), axis=-1)


def compare(folder, expected):
    """Streams of every layer, logits, KL and the gradients of the mean loss."""
    config, params = hf.load(folder)
    family = hf.config_of(folder)[1]
    tokens_BT, valid_BT, positions_BT, mask_BTS = batch()
    given = (tokens_BT, positions_BT, mask_BTS, config)
    valid = np.asarray(valid_BT)
    with jax.numpy_dtype_promotion('strict'), jax.numpy_rank_promotion('raise'):
        streams, normed, logits = outputs(params, *given)
    for layer, wanted in enumerate([*expected['streams'][:-1], None]):
        if wanted is None:  # transformers' last one has passed the final norm
            found, wanted, name = normed, expected['streams'][-1], 'the final norm'
        else:
            found, name = streams[layer], f'layer {layer}'
        np.testing.assert_allclose(found[valid], wanted[valid], rtol=1e-5, atol=1e-4,
                                   err_msg=f'the streams part at {name}')
    np.testing.assert_allclose(logits[valid], expected['logits'][valid], atol=1e-4)
    assert np.abs(expected['logits'][valid]).max() > 1  # not all alike
    assert kl(expected['logits'][valid], logits[valid]).max() <= 1e-6
    grads = gradients(params, *given, valid_BT)
    worst = gradient_errors(grads, expected, config, family)
    assert max(worst.values()) <= 1e-3, worst


def mean_loss(params, tokens_BT, positions_BT, mask_BTS, config, valid_BT):
    logits = transformer.forward(params, tokens_BT, positions_BT, mask_BTS, config)[:, :-1]
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens_BT[:, 1:, None], -1)[..., 0]
    weight = valid_BT[:, :-1].astype(jnp.float32)
    return -(chosen * weight).sum() / weight.sum()


gradients = jax.jit(jax.grad(mean_loss), static_argnames='config')


@partial(jax.jit, static_argnames='config')
def outputs(params, tokens_BT, positions_BT, mask_BTS, config):
    """(streams after the embedding and each layer, after the final norm, logits)."""
    given = (params, tokens_BT, positions_BT, mask_BTS, config)
    return (transformer.layer_outputs(*given), transformer.hidden(*given)[0],
            transformer.forward(*given))


def gradient_errors(grads, expected, config, family):
    """By our name of a parameter: |ours - theirs| / |theirs|, the largest over layers."""
    named = {name.removeprefix('grad/').replace('lm_head.weight', family.hf_names['head']): value
             for name, value in expected.items() if name.startswith('grad/')}
    theirs = [families.Tensor(name, value.shape, lambda value=value: value)
              for name, value in named.items()]
    matched = families.match(families.unfused(theirs, config), config, family.hf_names, 'torch')
    worst = {}
    for path, tensors in matched.items():
        layered = path.startswith('layers/')
        own = np.asarray(grads['layers'][path[7:]] if layered else grads[path])
        for tensor, ours in zip(tensors, own if layered else own[None], strict=True):
            wanted = tensor.read()
            error = np.linalg.norm((ours.T if layered else ours) - wanted) / np.linalg.norm(wanted)
            worst[path] = max(worst.get(path, 0), error)
    return worst


@pytest.mark.parametrize('family', FAMILIES)
def test_golden_results_of_transformers(family):
    with np.load(GOLDEN / family / 'expected.npz') as expected:
        compare(GOLDEN / family, dict(expected))


def test_golden_checkpoints_are_not_trivial():
    """Norms, biases and rotary settings that a wrong reading would not survive."""
    for family in FAMILIES:
        config, params = hf.load(GOLDEN / family)
        assert config.norm_eps == 1e-3 and config.num_kv_heads < config.num_heads
        assert config.rope_theta != 10000.0
        for name, value in params['layers'].items():
            if 'norm' in name or 'bias' in name:
                assert float(jnp.std(value)) > 0.1
    assert hf.load(GOLDEN / 'llama')[0].rope_scaling.kind == 'llama3'
    assert hf.load(GOLDEN / 'qwen2')[0].tied


@pytest.mark.parity
@pytest.mark.parametrize('family', FAMILIES)
def test_the_golden_files_are_what_transformers_gives(family, tmp_path):
    pytest.importorskip('torch')
    script = golden_script()
    found = script.results(script.save(family, tmp_path))
    with np.load(GOLDEN / family / 'expected.npz') as expected:
        assert set(found) == set(expected)
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


WINDOW = {'sliding_window': 7}  # the texts have up to 20 tokens
BASES = {'full_attention': {'rope_type': 'linear', 'rope_theta': 900.0, 'factor': 3.0},
         'sliding_attention': {'rope_type': 'default', 'rope_theta': 60.0}}
NEOX = {'num_key_value_heads': ..., 'rms_norm_eps': ..., 'layer_norm_eps': 1e-3}
LIVE = {
    'llama, tied, linear stretch': ('Llama', {
        'tie_word_embeddings': True, 'rope_parameters': {
            'rope_type': 'linear', 'rope_theta': 1000.0, 'factor': 3.0}}),
    'llama, one kv head, wide heads': ('Llama', {'num_key_value_heads': 1, 'head_dim': 24}),
    'llama, biases': ('Llama', {'attention_bias': True, 'mlp_bias': True}),
    'qwen2, untied': ('Qwen2', {'tie_word_embeddings': False, 'rms_norm_eps': 1e-5}),
    'qwen2, a window from the second layer on': ('Qwen2', {
        **WINDOW, 'use_sliding_window': True, 'max_window_layers': 1}),
    'mistral': ('Mistral', WINDOW),
    'qwen3': ('Qwen3', {'head_dim': 12, 'tie_word_embeddings': True}),
    'olmo2': ('Olmo2', {}),
    'gemma3': ('Gemma3Text', {
        **WINDOW, 'head_dim': 16, 'query_pre_attn_scalar': 24, 'rope_parameters': BASES,
        'num_hidden_layers': 3,
        'layer_types': ['sliding_attention', 'full_attention', 'sliding_attention']}),
    'gpt_neox': ('GPTNeoX', {**NEOX, 'hidden_size': 64}),
    'gpt_neox, one after the other': ('GPTNeoX', {
        **NEOX, 'hidden_size': 32, 'use_parallel_residual': False, 'hidden_act': 'gelu_new',
        'tie_word_embeddings': True, 'rope_parameters': {
            'rope_type': 'linear', 'rope_theta': 500.0, 'factor': 2.0,
            'partial_rotary_factor': 0.5}}),
}


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize('case', LIVE)
def test_other_checkpoints_beside_transformers(case, tmp_path):
    torch = pytest.importorskip('torch')
    transformers = pytest.importorskip('transformers')
    name, settings = LIVE[case]
    torch.manual_seed(len(case))
    stated = {
        'vocab_size': 96, 'hidden_size': 40, 'intermediate_size': 56, 'num_hidden_layers': 2,
        'num_attention_heads': 4, 'num_key_value_heads': 2, 'rms_norm_eps': 1e-3,
        'bos_token_id': None, 'eos_token_id': 1, 'pad_token_id': None, **settings}
    config = getattr(transformers, f'{name}Config')(
        **{key: value for key, value in stated.items() if value is not ...})
    model = getattr(transformers, f'{name.removesuffix("Text")}ForCausalLM')(config).eval()
    centre = 0.0 if name == 'Gemma3Text' else 1.0  # of what norms are multiplied by
    with torch.no_grad():
        for key, value in model.named_parameters():
            value.copy_(centre * ('norm' in key) + 0.3 * torch.randn_like(value))
    model.save_pretrained(tmp_path)
    compare(tmp_path, golden_script().results(model))


def test_every_family_has_a_checkpoint_to_compare():
    import transformers

    named = {getattr(transformers, f'{name}Config').model_type for name, _ in LIVE.values()}
    assert named == set(families.FAMILIES)
