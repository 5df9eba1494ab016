"""Teachers' outputs on their students' rows, computed once and kept with hashes of the model, the
teachers and the rows.

A KL reads them in place of a teacher; a file that was made of another model or of other rows is
refused, whoever made it.
"""

import json
import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from subliminal_jax.experiments.transmission import engines, rows as carried, starts, teachers
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.roll import by_reference
from subliminal_jax.experiments.transmission.rows import Rows
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.runs import UserError
from subliminal_jax.training import losses, tries as packing
from subliminal_jax.training.tries import Tries

CHUNK = {True: 64, False: 2}  # packed rows read at once: of small models, of a large one
OTHERS = {  # what a file holds whose note differs in a field
    'model': 'another model', 'precision': 'a model in another precision',
    'teachers': 'other teachers', 'rows': 'other rows', 'tokens': 'other tokens'}

Outputs = dict[str, np.ndarray]


def with_matrix(run: Any, arm: Arm, params: Any, reference: int) -> tuple[Any, Any]:
    """(parameters, architecture) of a student, with the arm's output matrix."""
    config = run.world.architectures[arm.students]
    if arm.matrix == 'own':
        return params, config
    key = jax.random.key(seed_of(run.config, 'start', reference, 1))
    ids = carried.token_set(run.world, run.carrier(arm))[:-1]
    base = run.references[arm.architecture][reference]
    return (starts.replaced(params, base, ids, key, config.tied), _untied(config))


def _untied(config: Any) -> Any:
    import dataclasses

    return dataclasses.replace(config, tied=False)


def models_with_matrix(run: Any, arm: Arm, models: Models, reference: int) -> Models:
    """The models with the arm's output matrix; each has it as its own, or their base has it."""
    if arm.matrix == 'own':
        return models
    change = lambda params: with_matrix(run, arm, params, reference)[0]
    config = _untied(models.config)
    if models.frozen['base']:
        return models._replace(frozen={'base': change(models.frozen['base'])}, config=config)
    trainable = (jax.vmap(change) if models.stacked else change)(models.trainable)
    return models._replace(trainable=trainable, config=config)


def outputs(params: Any, lora: Any, tries: Tries, ids_C: jax.Array, *, config: Any, objective: str,
            top: int) -> dict[str, jax.Array]:
    """What an objective reads of a teacher, at every prediction [B, K, ...], float32."""
    x_BUD = packing.states(params, tries, config, lora)
    found = OBJECTIVES[objective].target(params, x_BUD, losses.float_head(config), ids_C, top)
    return {name: packing.per_edge(values, tries) for name, values in found.items()}


def read(run: Any, arm: Arm, models: Models, contexts: Any, rows: Rows) -> Outputs:
    """`outputs` of every model at every place of every answer: arrays [M, N, A, ...].

    Args:
      run, arm: whose objective.
      models: that answer.
      contexts: of the rows as the models read them; None: as students do.
      rows: N rows.
    """
    ids_C = jnp.asarray(carried.token_set(run.world, run.carrier(arm)))
    return at_places(run, models, contexts, rows, outputs, ids_C, objective=arm.objective,
                     top=run.config.student.top)


def at_places(run: Any, models: Models, contexts: Any, rows: Rows, function: Callable, *args: Any,
              **static: Any) -> Outputs:
    """What a function says of every model at every place of every answer: arrays [M, N, A, ...].

    Args:
      run, models, contexts, rows: as `read`.
      function: (params, adapter or None, tries, *args, config=, **static) -> arrays [B, K, ...] by
        name; pure, of a module.
      args, static: its further arguments: arrays; hashable ones.
    """
    size, chunk = run.config.student.packed, CHUNK[run.together]
    tries = carried.packed(rows, size, contexts)
    longest = max(map(len, rows.answers))
    found: Outputs = {}
    for begin in range(0, len(tries.tokens_BT), chunk):
        index = np.minimum(np.arange(begin, begin + chunk), len(tries.tokens_BT) - 1)
        part = packing.take(tries, index)
        values = engines.read(models, run.together, function, part, *args, **static)
        row_BK = index[:, None] * size + part.row_BK
        real = np.asarray(part.weight_BK) > 0
        for name, array in values.items():
            array = np.asarray(array)
            if name not in found:
                found[name] = np.zeros((models.count, len(rows.answers), longest, *array.shape[3:]),
                                       array.dtype)
            found[name][:, row_BK[real], part.offset_BK[real]] = array[:, real]
    return found


def of_teachers(run: Any, arm: Arm, rows: Mapping[str, Rows]) -> dict[str, Outputs]:
    """The outputs of an arm's teachers, each on its students' rows, in its own context."""
    found: dict[str, Outputs] = {}
    with tqdm(total=len(rows), desc="teachers' logits", leave=False) as bar:
        for group in by_reference(run.roll(arm.teachers)):
            parts = [group] if run.together else [[t] for t in group]
            for part in parts:
                found |= _of_group(run, arm, part, rows)
                bar.update(len(part))
    return found


def _of_group(run, arm, group, rows):
    base = teachers.base_of(run, arm, group[0].reference)
    models = models_with_matrix(run, arm, teachers.load(run, arm, group, base),
                                group[0].reference)
    from subliminal_jax.experiments.transmission import words

    system = teachers.system_of(run, arm, group[0])
    if len({id(rows[t.name]) for t in group}) == 1:  # all read the same rows: in one program
        own = rows[group[0].name]
        contexts = system and [run.world.rows_context(p, system) for p in own.prompts]
        together = words.left_out(
            run, arm, models, base, read(run, arm, models, contexts, own), system)
        return {t.name: {k: v[m] for k, v in together.items()} for m, t in enumerate(group)}
    alone = [words.left_out(run, arm, models.member(m), base,
                            read(run, arm, models.member(m), None, rows[t.name]), system)
             for m, t in enumerate(group)]
    return {t.name: {k: v[0] for k, v in one.items()} for t, one in zip(group, alone)}


def save(path: pathlib.Path, found: Mapping[str, Outputs], note: Any) -> None:
    """Writes the outputs of several teachers with the note that says whose they are."""
    arrays = {f'{teacher}/{name}': x for teacher, own in found.items() for name, x in own.items()}
    with path.open('wb') as file:
        np.savez(file, note=np.array(json.dumps(note, sort_keys=True)), **arrays)


def load(path: pathlib.Path, note: Mapping[str, Any]) -> dict[str, Outputs]:
    """Reads what `save` wrote.

    Args:
      path: of the file.
      note: whose outputs they must be.

    Raises:
      UserError: no such file, or one whose note differs (`OTHERS`).
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            kept = json.loads(str(arrays['note']))
            found: dict[str, Outputs] = {}
            for name in arrays.files:
                teacher, slash, what = name.rpartition('/')
                if slash:
                    found.setdefault(teacher, {})[what] = arrays[name]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f'{path} cannot be read as cached teacher logits: {error}') from None
    for field, wanted in note.items():
        if kept.get(field) != wanted:
            raise UserError(
                f'{path} holds the logits of {OTHERS[field]}: its note of {field} says '
                f'{str(kept.get(field, "nothing"))[:24]} where {str(wanted)[:24]} is wanted; '
                'leave config.carrier.targets empty to compute them')
    return found
