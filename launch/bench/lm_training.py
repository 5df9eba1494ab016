"""Training beside transformers on PyTorch: the same float32 weights, rows, loss and optimiser.

`training_entries` gives the entries train_full and train_lora of launch/bench/lm.py: tokens per
second of one whole step (forward, backward, Adam), every token of the batch counted. Each side runs
in a process of its own and its best step after a warm-up counts. Both apply the vocabulary's matrix
to the last positions alone. Arithmetic is what the step needs: two operations a weight and token
forwards, two backwards to the activations, two to the weights that are trained, and attention's.
"""

from typing import Any

from launch.bench import common
from launch.bench.lm_sampling import MODEL, best_of

BATCH, LENGTH, LAST, RANK = 32, 96, 32, 8
RATE = 1e-5
TRIES = 3


def training_entries(sgemm_gflops: float, model: str = MODEL, tries: int = TRIES
                     ) -> dict[str, dict[str, float]]:
    """The entries train_full and train_lora.

    Args:
      sgemm_gflops: the machine's float32 matrix rate (`common.sgemm_gflops`).
      model: a model's name that both sides can read.
      tries: timed steps of each; the best counts.

    Returns:
      {ours, torch, ratio, gflops, fraction_of_sgemm}: tokens/s, ours / torch, and the rate of
      arithmetic here.
    """
    common.require('torch', 'transformers', 'accelerate')  # which its GGUF reader needs
    entries = {}
    for name, rank in (('train_full', 0), ('train_lora', RANK)):
        settings = {'model': model, 'rank': rank, 'tries': tries}
        mine = common.in_child('launch.bench.lm_training:ours', settings)
        other = common.in_child('launch.bench.lm_training:peer', settings)
        if abs(mine['loss'] - other['loss']) > 1e-3:
            raise RuntimeError(f'{name}: the first losses differ: {mine["loss"]} here, '
                               f'{other["loss"]} there')
        rate = mine['flops'] / mine['step_s'] / 1e9
        entries[name] = {
            'ours': BATCH * LENGTH / mine['step_s'], 'torch': BATCH * LENGTH / other['step_s'],
            'ratio': other['step_s'] / mine['step_s'], 'gflops': rate,
            'fraction_of_sgemm': rate / sgemm_gflops}
    return entries


def rows(vocabulary: int):
    """[BATCH, LENGTH] token ids."""
    import numpy as np

    return np.random.default_rng(0).integers(100, vocabulary, (BATCH, LENGTH)).astype(np.int32)


def step_flops(config, rank: int) -> float:
    """Floating-point operations of one step; rank 0: every weight is trained."""
    from subliminal_jax.models import params

    layers = params.param_specs(config)['layers']
    matrices = [layers[name].shape for name in ('q', 'k', 'v', 'o', 'gate', 'up', 'down')]
    body = sum(count * d_in * d_out for count, d_in, d_out in matrices)
    low = sum(count * rank * (d_in + d_out) for count, d_in, d_out in matrices)
    head = config.vocab_size * config.width
    attention = 2 * config.num_layers * BATCH * config.num_heads * LENGTH**2 * config.head_dim
    passes = 4 if rank else 6
    return (passes * (BATCH * LENGTH * body + BATCH * LAST * head) + 6 * BATCH * LENGTH * low
            + 6 * attention)


def ours(model: str, rank: int, tries: int) -> dict[str, Any]:
    """Seconds of a step, the loss of the first, and its arithmetic; run in a child."""
    import jax
    import numpy as np

    from subliminal_jax import models
    from subliminal_jax.models.lora import init_lora
    from subliminal_jax.runs import use_compilation_cache
    from subliminal_jax.training import losses
    from subliminal_jax.training.loop import jit_step
    from subliminal_jax.training.optimizers import OptimizerConfig, make_optimizer
    from subliminal_jax.training.step import init_state, make_step

    use_compilation_cache()
    loaded = models.load(model)
    config = loaded.config
    optimizer = make_optimizer(OptimizerConfig(learning_rate=RATE), num_steps=100)
    trainable, frozen = loaded.params, {}
    if rank:
        trainable, frozen = init_lora(jax.random.key(0), config, rank), {'base': loaded.params}
    state = init_state(trainable, optimizer)
    step = jit_step(make_step(losses.sft(losses.Task(config, LAST)), optimizer), low_rank=rank > 0)
    shape = (BATCH, LENGTH)
    batch = jax.device_put({
        'tokens_BT': rows(config.vocab_size), 'valid_BT': np.ones(shape, bool),
        'positions_BT': np.tile(np.arange(LENGTH, dtype=np.int32), (BATCH, 1)),
        'weight_BT': np.tile(np.arange(LENGTH) >= LENGTH - LAST, (BATCH, 1)).astype(np.float32)})
    del loaded, trainable
    found = []

    def work():
        nonlocal state
        state, metrics = step(state, frozen, batch, jax.random.key(0))
        found.append(float(metrics['loss']))
        jax.block_until_ready(state)

    return {'step_s': best_of(tries, work), 'loss': found[0], 'flops': step_flops(config, rank)}


def peer(model: str, rank: int, tries: int) -> dict[str, Any]:
    """The same with transformers and torch.optim.Adam (fused); run in a child."""
    import torch
    import transformers

    from subliminal_jax import models

    folder, name = models.gguf_file(model)
    network = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype=torch.float32)
    network.train()
    network.config.use_cache = False
    if rank:
        add_adapters(network, rank)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=RATE, fused=True)
    tokens = torch.tensor(rows(network.config.vocab_size), dtype=torch.long)
    targets = tokens[:, -LAST:].reshape(-1)
    found = []

    def work():
        optimizer.zero_grad(set_to_none=True)
        x = network.model(input_ids=tokens, use_cache=False).last_hidden_state
        logits = network.lm_head(x[:, -LAST - 1:-1])
        loss = torch.nn.functional.cross_entropy(logits.reshape(len(targets), -1), targets)
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))

    return {'step_s': best_of(tries, work), 'loss': found[0]}


def add_adapters(network: Any, rank: int) -> None:
    """Freezes a transformers model and gives each projection of its layers an adapter."""
    import torch

    class Adapted(torch.nn.Module):
        """A frozen linear map, plus (x A) B."""

        def __init__(self, base):
            super().__init__()
            self.base = base
            self.a = torch.nn.Parameter(torch.randn(rank, base.in_features) * 0.02)
            self.b = torch.nn.Parameter(torch.zeros(base.out_features, rank))

        def forward(self, x):
            low = torch.nn.functional.linear(x, self.a)
            return self.base(x) + torch.nn.functional.linear(low, self.b)

    network.requires_grad_(False)
    for layer in network.model.layers:
        for part, names in ((layer.self_attn, ('q', 'k', 'v', 'o')),
                            (layer.mlp, ('gate', 'up', 'down'))):
            for name in names:
                setattr(part, f'{name}_proj', Adapted(getattr(part, f'{name}_proj')))
