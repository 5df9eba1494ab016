"""What the first-order check costs, and the Gauss-Newton form against the dense one, by size.

  python -m launch.bench.theory

The first part times the grid's quantities for one seed of the MNIST MLP in float64, as multiples of
one gradient of the student's loss on the same inputs. The second computes A = E[v' M v] by one jvp
and with explicit J and M, for growing networks, each in a child process: seconds and peak memory.
The last line is JSON.
"""

import math
import time

from absl import flags

from launch.bench.common import in_child, print_json
from subliminal_jax.runs import run_program

INPUTS = flags.DEFINE_integer('inputs', 32, 'examples of the student', lower_bound=1)
REPEATS = flags.DEFINE_integer('repeats', 5, 'the best of so many', lower_bound=1)
WIDTHS = flags.DEFINE_list('widths', ['8', '32', '128', '256'], 'hidden widths to compare')


def _setting(width: int, inputs: int):
    import jax
    import jax.numpy as jnp

    from subliminal_jax.models import mlp

    key = jax.random.key(0)
    params = mlp.init(key, (784, width, width, 13), dtype=jnp.float64)
    direction = jax.tree.map(
        lambda p: jax.random.normal(jax.random.fold_in(key, p.size), p.shape, p.dtype), params)
    x = jax.random.uniform(jax.random.fold_in(key, 1), (inputs, 784), jnp.float64, -1, 1)
    return mlp.apply, params, direction, x


def _best(function, *arguments, repeats: int) -> float:
    import jax

    jax.block_until_ready(function(*arguments))
    best = math.inf
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        best = min(best, time.perf_counter() - begun)
    return best


def costs(inputs: int, repeats: int) -> dict[str, float]:
    """Milliseconds of a gradient, and multiples of it for what a cell is made of."""
    import jax
    import jax.numpy as jnp

    from subliminal_jax import theory
    from subliminal_jax.experiments.theory import cells

    jax.config.update('jax_enable_x64', True)
    apply, params, direction, x = _setting(256, inputs)
    loss = theory.cross_entropy(range(10, 13))
    batch = {'x': x, 'targets': apply(params, x) + 0.1}
    eps_E = jnp.logspace(-6, 0, 13)

    def trait_loss(p, x):
        return -jnp.mean(jax.nn.log_softmax(apply(p, x)[:, :10])[:, 0])

    def cell(params, x):
        alphas = {'sgd': 1.0, 'adam': 3e-4, 'sign': 3e-4}
        own = lambda p: trait_loss(p, x)
        made = cells.one_seed(apply, own, loss, params, params, x, eps_E, alphas)
        far = cells.reach_of_seed(
            apply, own, loss, params, x, eps_E, made['sgd/inner'], 1e-3)
        return {**made, **far}

    parts = {
        'gradient': jax.jit(lambda p, d, x: theory.student_step(apply, loss, p, batch)),
        'form': jax.jit(lambda p, d, x: theory.gauss_newton_form(apply, loss, p, d, x)),
        'alignment': jax.jit(lambda p, d, x: theory.alignment(apply, loss, p, d, batch)),
        'expansion': jax.jit(lambda p, d, x: theory.expand(apply, loss, p, d, x)),
        'curve_13_eps': jax.jit(lambda p, d, x: theory.curve(apply, loss, p, d, x, eps_E).total),
        'three_cells_13_eps': jax.jit(lambda p, d, x: cell(p, x)),
    }
    seconds = {name: _best(f, params, direction, x, repeats=repeats) for name, f in parts.items()}
    gradient = seconds.pop('gradient')
    return {'gradient_ms': 1e3 * gradient,
            **{f'{name}_in_gradients': s / gradient for name, s in seconds.items()}}


def form(width: int, inputs: int, dense: bool, repeats: int) -> dict[str, float]:
    """Seconds of A by one jvp, or with explicit J and M; and A itself."""
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    from subliminal_jax import theory
    from subliminal_jax.theory import dense as explicit

    jax.config.update('jax_enable_x64', True)
    apply, params, direction, x = _setting(width, inputs)
    chosen = slice(10, 13)

    def by_matrices(params, direction, x):
        pushed = explicit.jacobian(apply, params, x)[:, chosen] @ ravel_pytree(direction)[0]
        p = jax.nn.softmax(apply(params, x)[:, chosen])
        metric = p[:, :, None] * jnp.eye(3) - p[:, :, None] * p[:, None, :]
        return jnp.mean(jnp.einsum('bc,bcd,bd->b', pushed, metric, pushed))

    def by_jvp(params, direction, x):
        return theory.gauss_newton_form(
            apply, theory.cross_entropy(range(10, 13)), params, direction, x)

    jitted = jax.jit(by_matrices if dense else by_jvp)
    run = lambda: jitted(params, direction, x)
    count = sum(p.size for p in jax.tree.leaves(params))
    return {'seconds': _best(run, repeats=repeats), 'value': float(run()), 'parameters': count}


def main(rest: list[str]) -> None:
    del rest
    settings = {'inputs': INPUTS.value, 'repeats': REPEATS.value}
    found = in_child('launch.bench.theory:costs', settings)
    print(f'one gradient, {INPUTS.value} inputs, MLP 784-256-256-13, float64: '
          f'{found["gradient_ms"]:.2f} ms')
    multiples = {k: v for k, v in found.items() if k.endswith('_in_gradients')}
    for name, value in multiples.items():
        print(f'  {name.removesuffix("_in_gradients"):20s} {value:7.2f} gradients')
    print(f'{"width":>6s} {"parameters":>10s} {"jvp ms":>9s} {"dense ms":>9s} {"ratio":>7s} '
          f'{"jvp MB":>7s} {"dense MB":>8s} {"difference":>10s}')
    sizes = []
    for width in map(int, WIDTHS.value):
        one, two = (in_child('launch.bench.theory:form', {'width': width, 'dense': d, **settings})
                    for d in (False, True))
        row = {'width': width, 'parameters': one['parameters'], 'jvp_s': one['seconds'],
               'dense_s': two['seconds'], 'ratio': two['seconds'] / one['seconds'],
               'jvp_mb': one['peak_mb'], 'dense_mb': two['peak_mb'],
               'difference': abs(one['value'] / two['value'] - 1)}
        sizes.append(row)
        print(f'{width:6d} {row["parameters"]:10d} {1e3 * row["jvp_s"]:9.2f} '
              f'{1e3 * row["dense_s"]:9.1f} {row["ratio"]:7.0f} {row["jvp_mb"]:7.0f} '
              f'{row["dense_mb"]:8.0f} {row["difference"]:10.1e}')
    print_json({'gradient_ms': found['gradient_ms'], **multiples, 'sizes': sizes})


if __name__ == '__main__':
    run_program(main)
