"""R*: a reference that was taught to write its carrier, before there is any teacher.

A small chat model that is asked for numbers may write none that the filter keeps, and then no
teacher made of it can write rows. A few steps on *random* rows of the carrier mend that. No model
wrote those rows and no trait stands in them; whatever comes after (teachers, neutral twins, every
start) is made of R*. The fewest steps that pass the gate (gate.py) keep most of the model.

R* is a model like a downloaded one: it follows from the weights, the carrier and `config.seed`, and
the splits share it.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from subliminal_jax.carriers import problem_files
from subliminal_jax.carriers.carrier import Carrier
from subliminal_jax.data import rows as files
from subliminal_jax.experiments.transmission import engines, readings, rows as carried
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.run import carrier_of
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.experiments.transmission.teacher_stages import discard, resumable
from subliminal_jax.runs import UserError, sha256, sha256_of, spec, to_dict
from subliminal_jax.training import checkpoints as saving
from subliminal_jax.training.loop import fit
from subliminal_jax.training.optimizers import OptimizerConfig

PACKED = 4  # rows packed together: they share the template's beginning
TRIED = 32  # prompts that R* and the model it was made of answer, once each


@dataclasses.dataclass(frozen=True)
class PreparedConfig:
    """What a reference is taught before anything else: to write the carrier, or several."""

    steps: int = spec(0, ge=0, doc='Adam steps on random rows; 0: the model as it is')
    learning_rate: float = spec(1e-4, gt=0, doc='of all weights')
    batch_size: int = spec(12, ge=1, doc='random rows a step, each seen once')
    carriers: tuple[str, ...] = spec((), doc="registered carriers over which these rows are dealt "
                                             "evenly; empty: the run's own")


def sha256_of_reference(config: Any, model_sha256: str) -> str:
    """Of the reference: the model's, or that of how R* follows from it."""
    if not config.prepared.steps:
        return model_sha256
    taught, problems = to_dict(config.prepared), config.carrier.problems
    if not config.prepared.carriers:
        del taught['carriers']  # so that what was made before there was this field keeps its name
    return sha256_of([model_sha256, taught, config.seed, config.carrier.form, config.carrier.name,
                      *([sha256(pathlib.Path(problems))] if problems else [])])


def check(config: Any) -> None:
    """Raises UserError for carriers that are not registered, or that nothing is taught of; and for
    a file of problems that cannot be used, which R* depends on."""
    if config.prepared.steps and config.carrier.problems:
        problem_files.read(config.carrier.problems)
    for name in config.prepared.carriers:
        carrier_of(config, name)
    if config.prepared.carriers and not config.prepared.steps:
        raise UserError('config.prepared.carriers names what a reference is taught to write, and '
                        'config.prepared.steps=0 teaches nothing: set steps, or leave it empty')


def stage_of(name: str) -> str:
    """The stage that makes R* of an architecture."""
    return 'reference/prepared' + ('' if name == 'main' else f'-{name}')


def inputs(config: Any, name: str) -> list[str]:
    """The artefacts that an architecture's references are read from."""
    return [f'{stage_of(name)}.safetensors'] if config.prepared.steps else []


def references(run: Any, name: str, model: Any) -> list[Any]:
    """[R*], from its stage; or [the model]."""
    config, stage = run.config, stage_of(name)
    if not config.prepared.steps:
        return [model]
    reads = {**run.reads(), 'carrier': to_dict(config.carrier)}

    def make(path):
        batches, per_step = lessons(run)
        program = engines.Program(
            OBJECTIVES['sft'].loss, run.world.architectures[name], (),
            OptimizerConfig(learning_rate=config.prepared.learning_rate))
        with resumable(run, stage, reads, []) as checkpoints:
            found = fit(
                engines.step_of(program, engines.SINGLE, False),
                engines.begin(program, engines.SINGLE, model), {'base': {}},
                lambda step: carried.taken(
                    batches, np.arange(step * per_step, (step + 1) * per_step), per_step),
                config.prepared.steps, key=jax.random.key(0), checkpoints=checkpoints,
                save_every=config.save_every, log=run.log, description=stage, models=['R*'])
        saving.save_tree(path, found.state.trainable)

    path = run.workdir.stage(stage, f'{stage}.safetensors', make, reads=reads)
    discard(run, stage)
    return [run.world.placed(saving.load_tree(path, jax.eval_shape(lambda: model)))]


def lessons(run: Any) -> tuple[carried.Batch, int]:
    """(random rows of the carriers, packed; packs a step)."""
    config, carriers = run.config, carriers_of(run)
    per_step = -(-config.prepared.batch_size // PACKED)
    rows = random_rows(config, run.world, carriers, config.prepared.steps * per_step * PACKED)
    return carried.batch(OBJECTIVES['sft'], carried.token_set(run.world, carriers[0]), rows,
                         carried.packed(rows, PACKED), PACKED, None), per_step


def carriers_of(run: Any) -> list[Carrier]:
    """What R* is taught to write."""
    return [carrier_of(run.config, name) for name in run.config.prepared.carriers] or [
        run.carrier()]


def random_rows(config: Any, world: Any, carriers: Sequence[Carrier], count: int) -> carried.Rows:
    """Rows that no model has written, each of a prompt of its own, of the carriers in turn."""
    seed = seed_of(dataclasses.replace(config, split='dev'), 'prepared')  # the splits share R*
    dealt = [carried.encoded(world, carrier, carrier.random_rows(
        seed, carrier.prompts(seed, range(number, count, len(carriers)))))
        for number, carrier in enumerate(carriers)]
    if len(dealt) == 1:
        return dealt[0]
    turns = lambda part: [getattr(dealt[n % len(dealt)], part)[n // len(dealt)]
                          for n in range(count)]
    # Token sets differ, and learning all tokens reads none of them.
    return carried.Rows(turns('prompts'), turns('contexts'), turns('answers'),
                        np.zeros((count, dealt[0].allowed_NC.shape[1]), bool))


def described(run: Any, name: str, model: Any, texts: list[dict]) -> dict[str, Any] | None:
    """What R* is beside the model it was made of: reference/prepared.json.

    Args:
      run: with its references and what is measured.
      name: of the architecture.
      model: the parameters that R* was made of.
      texts: what R* has written (`stages.text_stages`).

    Returns:
      steps, rows, pass_rate, tokens_a_row, surprise of unrelated answers (nats) and perplexities of
      R*'s own texts: each [before, after]; `drift_unrelated`, the mean |change| of log P of answers
      to unrelated questions; `distance`, of all weights, as a share of their size; `by_carrier`,
      pass_rate and tokens_a_row of each that R* was taught, if they are named. None without R*.
    """
    if not run.config.prepared.steps:
        return None

    def make(path):
        files.write(path, [_beside(run, name, model, texts)])

    stage = stage_of(name).replace('prepared', 'described')
    path = run.workdir.stage(stage, f'{stage}.jsonl', make, reads=run.reads('carrier'),
                             inputs=inputs(run.config, name))
    return files.read(path)[0][0]


def _beside(run, name, model, texts):
    from subliminal_jax.experiments.transmission import starts

    architecture, config = run.world.architectures[name], run.config
    both = [engines.single(params, architecture) for params in (model, run.references[name][0])]
    measured = readings.measured_texts(run, texts, 0)
    before, after = (readings.read(run, models, measured) for models in both)
    moved = readings.moved(after, before)
    taught = carriers_of(run) if config.prepared.carriers else []
    written, *others = [[tried(run, models, carrier) for models in both]
                        for carrier in (run.carrier(), *taught)]
    pair = lambda key: [float(before[key].mean()), float(after[key].mean())]
    return {
        'id': 'R*', 'steps': config.prepared.steps,
        'rows': config.prepared.steps * -(-config.prepared.batch_size // PACKED) * PACKED,
        'pass_rate': [w[0] for w in written], 'tokens_a_row': [w[1] for w in written],
        'unrelated': pair('unrelated'), 'drift_unrelated': float(moved['drift_unrelated'][0]),
        **{key: pair(key) for key in before if key.startswith('perplexity_')},
        'answer_length': pair('answer_length'),
        'distance': starts.distance(run.references[name][0], model),
        **({'by_carrier': {carrier.name: {'pass_rate': [w[0] for w in own],
                                          'tokens_a_row': [w[1] for w in own]}
                           for carrier, own in zip(taught, others)}} if taught else {})}


def tried(run: Any, models: engines.Models, carrier: Carrier) -> tuple[float, float | None]:
    """(share of single answers that the published filter keeps, mean tokens of a kept one)."""
    world = run.world
    prompts = carrier.prompts(seed_of(run.config, 'ordinary', 2), range(TRIED))
    contexts = [world.rows_context(p['prompt'], None) for p in prompts]
    kept = []
    for indices, done in engines.sampled(
            models, contexts, [p['id'] for p in prompts], [seed_of(run.config, 'ordinary', 3)],
            max_new_tokens=world.new_tokens, stops=world.row_stops, pad_id=world.pad_id):
        for place in range(len(indices)):
            ids = done.tokens_BN[0, place, :int(done.count_B[0, place])].tolist()
            if done.stopped_B[0, place] and not carrier.reject_reason(
                    world.row_text(ids[:-1]), row=prompts[indices[place]]):
                kept.append(len(ids))
    return len(kept) / TRIED, float(np.mean(kept)) if kept else None
