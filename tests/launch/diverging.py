"""launch.train on a host that goes wrong: after step 1 process 1 adds a little to every weight."""

import jax

from launch import train
from subliminal_jax.experiments.transmission import engines
from subliminal_jax.runs import run_program

step_of = engines.step_of


def wrong(leaf):
    """The array as this process has it, when something has happened to its memory."""
    parts = [shard.data + leaf.dtype.type(1e-3 * jax.process_index())
             for shard in leaf.addressable_shards]
    return jax.make_array_from_single_device_arrays(leaf.shape, leaf.sharding, parts)


def diverging(*args):
    """The step of a program; its second one leaves other weights on process 1."""
    step, calls = step_of(*args), []

    def one(state, frozen, batch, key):
        state, metrics = step(state, frozen, batch, key)
        calls.append(None)
        if len(calls) == 2:
            state = state._replace(trainable=jax.tree.map(wrong, state.trainable))
        return state, metrics

    return one


if __name__ == '__main__':
    engines.step_of = diverging
    run_program(train.main)
