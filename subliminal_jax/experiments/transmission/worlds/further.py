"""Starts of a pretrained model that are trained on ordinary texts of its own."""

from typing import Any

import jax
import numpy as np

from subliminal_jax.data import rows as files
from subliminal_jax.experiments.transmission import engines, readings
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.teacher_stages import discard, resumable
from subliminal_jax.training import checkpoints as saving, tries as packing
from subliminal_jax.training.loop import fit
from subliminal_jax.training.optimizers import OptimizerConfig

MOVING_PACK = 4  # texts packed together


def start_label(name: str, start: str) -> str:
    """The stage of an architecture's trained start."""
    return f'start/{start.replace(":", "-")}' + ('' if name == 'main' else f'-{name}')


def moved(run: Any, name: str, steps: int) -> list[Any]:
    """The reference, trained further on ordinary texts of its own."""
    label = start_label(name, f'moved:{steps}')
    reads, inputs = {**run.reads('teacher'), 'steps': steps}, [f'ordinary-{name}.jsonl']
    reference = run.references[name][0]

    def make(path):
        program = engines.Program(
            OBJECTIVES['sft'].loss, run.world.architectures[name], (),
            OptimizerConfig(learning_rate=run.config.teacher.learning_rate))
        texts = readings.moving_texts(run, files.read(run.workdir.path / inputs[0])[0])
        tries = _moving_tries(run, texts)
        half = len(tries.tokens_BT) // 2

        def batch_at(step):
            index = np.array([step, step + half]) % len(tries.tokens_BT)
            return {'tries': packing.take(tries, index)}

        with resumable(run, label, reads, inputs) as checkpoints:
            found = fit(engines.step_of(program, engines.SINGLE, False),
                        engines.begin(program, engines.SINGLE, reference), {'base': {}}, batch_at,
                        steps, key=jax.random.key(0), checkpoints=checkpoints,
                        save_every=run.config.save_every, log=run.log, description=label,
                        models=[label])
        saving.save_tree(path, found.state.trainable)

    path = run.workdir.stage(label, f'{label}.safetensors', make, reads=reads, inputs=inputs)
    discard(run, label)
    return [run.world.placed(saving.load_tree(path, jax.eval_shape(lambda: reference)))]


def _moving_tries(run, texts):
    rows = [packing.Row(run.world.asked(r['prompt'], run.world.lesson_context, 0, None),
                        r['token_ids']) for r in texts]
    return packing.pack([rows[n:n + MOVING_PACK] for n in range(0, len(rows), MOVING_PACK)])
