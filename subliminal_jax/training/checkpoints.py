"""What training leaves on disk: checkpoints to resume from (orbax), and trees as artefacts.

orbax is imported in this module alone, inside functions: it takes seconds.
"""

import pathlib
from typing import Any

import jax
import numpy as np

from subliminal_jax.runs import UserError, finite, written_aside


def named_leaves(tree: Any) -> dict[str, Any]:
    """A tree's leaves by their paths, such as 'trainable/layers/q'."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator='/') or '.': leaf
            for path, leaf in leaves}


class Checkpoints:
    """A folder of training states, the newest few kept; use it as a context.

    Writing goes on while training does; leaving the context, and `latest`, wait for it. A
    checkpoint appears whole or not at all. The tree is stored by its leaves' names, so that any
    pytree can be kept, and one of another shape is refused by name. Nothing is made, and orbax is
    not imported, before there is something to save or to read.

    Attributes:
      folder: absolute path.
      note: a JSON value that says what is trained on what: a checkpoint with another is refused.
    """

    def __init__(self, folder: str | pathlib.Path, note: Any = None, keep: int = 2):
        self.folder = pathlib.Path(folder).absolute()
        self.note = note
        self._keep = keep
        self._manager = None

    def _opened(self):
        if self._manager is None:
            import orbax.checkpoint as ocp

            self._manager = ocp.CheckpointManager(
                self.folder,
                item_handlers={'state': ocp.StandardCheckpointHandler(),
                               'history': ocp.JsonCheckpointHandler()},
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=ocp.checkpoint_managers.LatestN(self._keep),
                    enable_async_checkpointing=True,
                ),
            )
        return self._manager

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *_):
        self.close()

    def latest(self) -> int | None:
        """The newest checkpoint's step, once it is complete; or None."""
        if self._manager is None and not self.folder.exists():
            return None
        self.wait()
        return self._opened().latest_step()

    def save(self, step: int, state: Any, history: Any = None) -> None:
        """Stores a state under a step's number, with any JSON value beside it.

        Values are as they were at the call, even if the buffers are then donated.
        """
        import orbax.checkpoint as ocp

        leaves = {name: _kept(leaf) for name, leaf in named_leaves(state).items()}
        self._opened().save(step, args=ocp.args.Composite(
            state=ocp.args.StandardSave(leaves),
            history=ocp.args.JsonSave({'history': finite(history), 'note': finite(self.note)})))

    def restore(self, step: int, like: Any) -> tuple[Any, Any]:
        """(state, history) of a step.

        Args:
          step: as saved.
          like: a state of the same tree, or its abstract leaves (jax.ShapeDtypeStruct with
            sharding): what comes back has these dtypes and lies on these devices.

        Raises:
          UserError: the checkpoint holds other arrays than `like`, has another note, or is
            damaged.
        """
        try:
            return self._restored(step, like)
        except UserError:
            raise
        except Exception as error:  # of orbax and what it reads with, by what is damaged
            raise UserError(f'checkpoint {step} in {self.folder} cannot be read '
                            f'({type(error).__name__}): delete the folder to train anew') from None

    def _restored(self, step, like):
        import orbax.checkpoint as ocp

        manager = self._opened()
        wanted = {name: _abstract(leaf) for name, leaf in named_leaves(like).items()}
        kept = manager.item_metadata(step)['state']
        kept = {name: tuple(meta.shape) for name, meta in kept.items()}
        _same_names(kept, {n: tuple(x.shape) for n, x in wanted.items()},
                    f'checkpoint {step} in {self.folder}')
        found = manager.restore(step, args=ocp.args.Composite(
            state=ocp.args.StandardRestore(wanted), history=ocp.args.JsonRestore()))
        if found['history']['note'] != finite(self.note):
            raise UserError(f'{self.folder} holds the checkpoints of a training on other inputs: '
                            'what it read has changed since; delete it to train anew')
        leaves = [found['state'][name] for name in wanted]
        return jax.tree.unflatten(jax.tree.structure(like), leaves), found['history']['history']

    def wait(self) -> None:
        """Waits for what is being written."""
        if self._manager is not None:
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and lets go of the folder."""
        if self._manager is not None:
            self.wait()
            self._manager.close()
            self._manager = None


def save_tree(path: str | pathlib.Path, tree: Any) -> None:
    """Writes a tree of arrays as one safetensors file, whole or not at all.

    Args:
      path: of the file.
      tree: of arrays of any dtype that safetensors has (bfloat16 too); its leaves are named by
        their paths.
    """
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(leaf).reshape(np.shape(leaf))
              for name, leaf in named_leaves(tree).items()}
    with written_aside(pathlib.Path(path)) as aside:
        save_file(arrays, aside)


def load_tree(path: str | pathlib.Path, like: Any = None) -> Any:
    """Reads what `save_tree` wrote.

    Args:
      path: of the file.
      like: a tree (or abstract tree) whose structure, shapes and dtypes it must have; without one
        nested dicts come back.

    Returns:
      A tree of NumPy arrays.

    Raises:
      UserError: no such file, a corrupt one, or another tree's.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f'{path} cannot be read as a tree of arrays: {error}') from None
    if like is None:
        return _nested(arrays)
    wanted = named_leaves(like)
    _same_names({n: (a.shape, a.dtype.name) for n, a in arrays.items()},
                {n: (tuple(x.shape), np.dtype(x.dtype).name) for n, x in wanted.items()}, str(path))
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in wanted])


def _kept(leaf):
    """A leaf that nothing changes: the host's view of a CPU array is the array's own memory. One
    that is laid over devices is copied where it lies, so that each host writes its own part."""
    places = getattr(leaf, 'devices', set)()
    if any(device.platform != 'cpu' for device in places):
        return leaf
    return leaf.copy() if len(places) > 1 else np.array(leaf)


def _abstract(leaf):
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=getattr(
        leaf, 'sharding', None) or jax.sharding.SingleDeviceSharding(jax.devices()[0]))


def _same_names(found, wanted, what):
    for name in sorted(set(found) | set(wanted)):
        if found.get(name) != wanted.get(name):
            raise UserError(f'{what}: {name} is {found.get(name, "missing")}, but '
                            f'{wanted.get(name, "nothing")} is wanted: it belongs to another run')


def _nested(arrays):
    tree = {}
    for path, array in arrays.items():
        *folders, name = path.split('/')
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = array
    return tree
