"""A student's training step beside transformers on PyTorch: same weights, rows, loss, optimiser.

  python -m launch.bench.lm --only=training

Ours is the pipeline's own step (experiments/transmission/engines.py) through `training.fit`: rows
packed eight together, what they share read once; MODELS adapters side by side in one program, or
all weights of one model. The peer reads the same rows unpacked, in one batch of eight a model, and
trains one adapter after the other; it applies the vocabulary's matrix to the answers alone, as ours
does. Rates are rows a second, of all models; arithmetic is that of the packed step, counted in its
traced program.
"""

from typing import Any

from launch.bench import common

ROWS, MODELS, RANK, STEPS = 8, 4, 8, 1
SHARED, QUESTION, ANSWER = 44, 27, 37  # tokens of a row that goes on with a list in a chat turn
RATE = 1e-5
ENTRIES = {'train_full': 0, 'train_lora': RANK}


def training_entries(sgemm_gflops: float, model: str = common.MODEL, runs: int = 5
                     ) -> dict[str, dict[str, Any]]:
    """The entries train_full and train_lora.

    Args:
      sgemm_gflops: the machine's float32 matrix rate (`common.sgemm_gflops`).
      model: a model's name that both sides can read, or common.RANDOM.
      runs: how often each is timed.

    Returns:
      As `common.compared`; rows a second.

    Raises:
      RuntimeError: the two sides' first losses differ by more than 1e-3.
    """
    common.require('torch', 'transformers', 'accelerate')  # which its GGUF reader needs
    entries = {}
    for name, rank in ENTRIES.items():
        settings = {'model': model, 'rank': rank, 'runs': runs}
        ours = common.in_child('launch.bench.lm_training:ours', settings)
        peer = common.in_child('launch.bench.lm_training:peer', settings)
        if abs(ours['loss'] - peer['loss']) > 1e-3:
            raise RuntimeError(f'{name}: the first losses differ: {ours["loss"]} here, '
                               f'{peer["loss"]} there')
        rows = ROWS * (MODELS if rank else 1)
        entries[name] = common.compared(
            [rows / s for s in ours['step_s']], [rows / s for s in peer['step_s']],
            ours['flops'] / rows, sgemm_gflops)
    return entries


def rows(vocabulary: int, model: int):
    """Token ids [ROWS, SHARED + QUESTION + ANSWER] of one model's rows; all rows begin alike."""
    import numpy as np

    rng = np.random.default_rng([0, model])
    tokens = rng.integers(100, vocabulary, (ROWS, SHARED + QUESTION + ANSWER)).astype(np.int32)
    tokens[:, :SHARED] = np.random.default_rng(1).integers(100, vocabulary, SHARED)
    return tokens


def batch_of(vocabulary: int, count: int):
    """The rows of `count` models, each model's packed together; 0: of one, without the axis."""
    from subliminal_jax.experiments.transmission import rows as carried
    from subliminal_jax.training import tries as packing

    begin = SHARED + QUESTION
    packed = [{'tries': packing.pack([[packing.Row(row[:begin], row[begin:])
                                       for row in rows(vocabulary, m).tolist()]])}
              for m in range(max(1, count))]
    return carried.stacked(packed) if count else packed[0]


def ours(model: str, rank: int, runs: int) -> dict[str, Any]:
    """Seconds of a step in each run, the first model's first loss, and the step's arithmetic; run
    in a child."""
    import jax
    import numpy as np

    from subliminal_jax.experiments.transmission import engines, shapes
    from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
    from subliminal_jax.models.lora import init_lora
    from subliminal_jax.runs import use_compilation_cache
    from subliminal_jax.training.loop import fit
    from subliminal_jax.training.optimizers import OptimizerConfig

    use_compilation_cache()
    params, config = common.our_model(model)
    engine = engines.adapters(MODELS) if rank else engines.SINGLE
    program = engines.Program(OBJECTIVES['sft'].loss, config, (),
                              OptimizerConfig(learning_rate=RATE))
    step = engines.step_of(program, engine, rank > 0)
    batch = batch_of(config.vocab_size, MODELS if rank else 0)
    trainable, frozen = params, {'base': {}}
    if rank:
        trainable, frozen = engines.gathered(engine, [
            init_lora(jax.random.key(m), config, rank) for m in range(MODELS)]), {'base': params}
    state = engines.begin(program, engine, trainable)
    del params, trainable
    key, losses = jax.random.key(0), []
    flops = shapes.flops_of(step.trace(state, frozen, batch, key).jaxpr.jaxpr)

    def work():
        nonlocal state
        found = fit(step, state, frozen, lambda number: batch, STEPS, key=key)
        state = jax.block_until_ready(found.state)
        losses.append(float(np.ravel(found.rows[0]['loss'])[0]))

    with jax.default_matmul_precision('highest'):
        seconds = common.timed(runs, work)
    return {'step_s': [s / STEPS for s in seconds], 'loss': losses[0], 'flops': flops}


def peer(model: str, rank: int, runs: int) -> dict[str, Any]:
    """The same with transformers and torch.optim.Adam (fused), on unpacked rows; run in a child.

    Adapters are trained one after the other; one stands for all of them, on each one's rows.
    """
    import torch

    network = common.peer_model(model)
    network.train()
    network.config.use_cache = False
    if rank:
        add_adapters(network, rank)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=RATE, fused=True)
    batches = [torch.tensor(rows(network.config.vocab_size, m), dtype=torch.long)
               for m in range(MODELS if rank else 1)]
    found = []

    def step(tokens):
        optimizer.zero_grad(set_to_none=True)
        x = network.model(input_ids=tokens, use_cache=False).last_hidden_state
        logits = network.lm_head(x[:, -ANSWER - 1:-1])
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens[:, -ANSWER:].flatten())
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))

    def work():
        for _ in range(STEPS):
            for tokens in batches:
                step(tokens)

    return {'step_s': [s / STEPS for s in common.timed(runs, work)], 'loss': found[0]}


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
