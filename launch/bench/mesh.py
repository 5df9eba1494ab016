"""What it costs to lay a training step over devices: virtual ones, on the cores of this machine.

  python -m launch.bench.mesh [--output=FILE]

One Adam step on all weights of a random decoder, on one device and over meshes of two and of eight
virtual CPU devices; five runs, medians and ranges. Virtual devices add no arithmetic rate: beyond
one device's time is what cutting costs here, copies between devices and smaller products. It says
nothing of an accelerator's network, for which launch.compile counts bytes (docs/accelerators.md).
The last line is JSON.
"""

import statistics
from typing import Any

from absl import flags

from launch.bench import common
from subliminal_jax.runs import run_program

RUNS = flags.DEFINE_integer('runs', 5, 'how often each is timed', lower_bound=1)
OUTPUT = flags.DEFINE_string('output', '', 'a JSON file to add the entries to')
SMOKE = flags.DEFINE_bool('smoke', False, 'a small model and one run of each')

LAYOUTS = ('', 'data:2', 'fsdp:2', 'tensor:2', 'data:8', 'fsdp:8', 'data:2,fsdp:2,tensor:2')
SIZES = {'vocab_size': 4096, 'num_layers': 6, 'width': 256, 'num_heads': 8, 'num_kv_heads': 4,
         'head_dim': 32, 'ffn_width': 768}
ROWS, TOKENS, STEPS = 16, 128, 4
DEVICES = {'XLA_FLAGS': '--xla_force_host_platform_device_count=8', 'JAX_PLATFORMS': 'cpu'}


def step_seconds(layout: str, runs: int, small: bool) -> dict[str, Any]:
    """Seconds of a step in each run, the last loss, and the most bytes that a device holds; run in
    a child."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from subliminal_jax.models import params as specs
    from subliminal_jax.runs import meshes
    from subliminal_jax.training import losses, tries
    from subliminal_jax.training.loop import fit, jit_step
    from subliminal_jax.training.step import init_state, make_step, places_of

    config = specs.TransformerConfig(**(common.SMALL if small else SIZES))
    params, adam = specs.init_params(jax.random.key(0), config), optax.adam(1e-3)
    mesh = None
    if layout:
        mesh = meshes.make(meshes.sizes_of(layout.split(',')))
        params = jax.tree.map(jax.device_put, params, specs.shardings(config, mesh))
    state = jax.jit(lambda tree: init_state(tree, adam),
                    out_shardings=mesh and places_of(params, adam, mesh))(params)
    drawn = np.random.default_rng(0).integers(4, config.vocab_size, (ROWS, TOKENS)).tolist()
    batch = {'tries': tries.pack([[tries.Row(row[:1], row[1:])] for row in drawn])}
    step, losses_seen = jit_step(make_step(losses.sft(config), adam)), []

    def work():
        nonlocal state
        found = fit(step, state, {'base': {}}, lambda _: batch, STEPS, key=jax.random.key(0))
        state = jax.block_until_ready(found.state)
        losses_seen.append(float(jnp.ravel(found.rows[-1]['loss'])[0]))

    with jax.default_matmul_precision('highest'):
        seconds = common.timed(runs, work)
    held = dict.fromkeys(jax.devices(), 0)
    for leaf in jax.tree.leaves(state):
        for shard in getattr(leaf, 'addressable_shards', ()):
            held[shard.device] += shard.data.nbytes
    return {'step_s': [s / STEPS for s in seconds], 'loss': losses_seen[-1],
            'held_mb': max(held.values()) / 1e6}


def entries(runs: int, small: bool) -> dict[str, dict[str, Any]]:
    """{layout: {seconds a step (the median), their range, ratio to one device, held_mb}}.

    Raises:
      RuntimeError: a layout ends at another loss than one device.
    """
    found: dict[str, dict[str, Any]] = {}
    alone = None
    for layout in LAYOUTS:
        run = common.in_child('launch.bench.mesh:step_seconds',
                              {'layout': layout, 'runs': runs, 'small': small}, DEVICES)
        alone = alone or run
        if abs(run['loss'] - alone['loss']) > 1e-3 * abs(alone['loss']):
            raise RuntimeError(f'{layout}: the loss ends at {run["loss"]}, on one device at '
                               f'{alone["loss"]}')
        middle = statistics.median(run['step_s'])
        found[layout or 'one device'] = {
            'seconds': middle, 'range': [min(run['step_s']), max(run['step_s'])],
            'ratio': middle / statistics.median(alone['step_s']), 'held_mb': run['held_mb']}
    return found


def main(rest: list[str]) -> None:
    del rest
    found = entries(1 if SMOKE.value else RUNS.value, SMOKE.value)
    for layout, entry in found.items():
        print(f'{layout:24s} {entry["seconds"]:8.3f} s a step, {entry["ratio"]:5.2f} of one '
              f'device; a device holds {entry["held_mb"]:.1f} MB')
    common.keep(OUTPUT.value, 'mesh', found, common.sgemm_gflops())
    common.print_json(found)


if __name__ == '__main__':
    run_program(main)
