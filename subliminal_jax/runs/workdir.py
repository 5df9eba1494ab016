"""A run's folder: its lock, its config, its stages, its metrics.

A stage reads files and config fields and leaves one artefact (a file or a folder). Started again,
a run skips the stages that are complete, and refuses to go on where something that a finished
stage read has changed, naming it.
"""

import fcntl
import importlib.metadata
import json
import pathlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from subliminal_jax.runs import files, schema
from subliminal_jax.runs.app import check_preempted
from subliminal_jax.runs.errors import UserError

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'transformers',
            'tensorflow-datasets', 'numpy', 'scipy')


class Workdir:
    """One run's folder, held under a lock until the process ends.

    Attributes:
      path: the folder.
      config: the run's typed config.
      timing: seconds by stage, of this process or, for a stage skipped, of the one that did it.
    """

    def __init__(self, path: str | pathlib.Path, config: Any, experiment: str):
        """Opens or creates the folder.

        Raises:
          UserError: it cannot be written, is in use, or belongs to another config.
        """
        self.path = pathlib.Path(files.local_path('workdir', str(path))).expanduser().resolve()
        self.config = config
        self.experiment = experiment
        self.timing: dict[str, float] = {}
        self._stage = None
        self._lock = locked(self.path)
        self._claim({'experiment': experiment, **schema.to_dict(config)})

    def _claim(self, config: dict[str, Any]) -> None:
        place = self.path / 'config.json'
        if place.exists():
            try:
                old = json.loads(place.read_text())
            except (OSError, ValueError):
                raise UserError(f'{place} is damaged: use another --workdir, or delete this '
                                'one') from None
            if other := _other_version(old, config, schema.names(type(self.config))):
                raise UserError(
                    f'{self.path} was made by another version of the project ({other}): use '
                    'another --workdir, or go on with the version that made it')
            free = schema.changing_nothing(type(self.config))
            name = next((n for n in _differences(old, config) if n not in free), None)
            if name:
                raise UserError(
                    f'{self.path} belongs to another config: {name} is {_at(old, name)} there and '
                    f'{_at(config, name)} here; use another --workdir')
            if old == config:
                return
        files.write_json(place, config)

    def stage(
        self,
        name: str,
        artefact: str,
        make: Callable[[pathlib.Path], None],
        *,
        reads: Mapping[str, Any] | None = None,
        inputs: Sequence[str | pathlib.Path] | Mapping[str, str] = (),
    ) -> pathlib.Path:
        """Runs a stage unless it is complete.

        Args:
          name: the stage's; unique in the run.
          artefact: the file or folder it leaves, relative to the run's folder.
          make: called with the path to write it to; the result is renamed into place.
          reads: the config fields (dotted names to values) that it depends on.
          inputs: the files and folders it reads: artefacts of earlier stages, relative to the
            run's folder, or absolute; or a mapping of what it reads to SHA-256 sums, for what is
            in memory.

        Returns:
          The artefact's path.

        Raises:
          UserError: complete, but something it read, or its artefact, has changed since.
        """
        check_preempted()
        place = self.path / artefact
        manifest_path = self.path / 'manifests' / f'{name.replace("/", "_")}.json'
        reads = json.loads(json.dumps(files.finite(dict(reads or {}))))
        hashes = dict(inputs) if isinstance(inputs, Mapping) else {
            str(p): files.sha256(self.path / p) for p in inputs}
        if manifest_path.exists():
            manifest = json.loads(manifest_path.read_text())
            self._check_unchanged(name, manifest, reads, hashes, place)
            self.timing[name] = manifest['seconds']
            return place
        self._forget_metrics(name)
        begun = time.monotonic()
        self._stage = name
        with files.written_aside(place) as aside:
            make(aside)
        self._stage = None
        seconds = round(time.monotonic() - begun, 3)
        files.write_json(manifest_path, {
            'stage': name, 'artefact': artefact, 'sha256': files.sha256(place), 'reads': reads,
            'inputs': hashes, 'versions': versions(), 'seconds': seconds,
        })
        self.timing[name] = seconds
        check_preempted()
        return place

    def _check_unchanged(self, name, manifest, reads, hashes, place):
        def refuse(what):
            raise UserError(
                f'stage {name} of {self.path} is complete, but {what} has changed since; use '
                f'another --workdir, or delete manifests/{name.replace("/", "_")}.json to redo it '
                'and delete those of the stages after it')

        for field in sorted({*reads, *manifest['reads']}):
            if reads.get(field) != manifest['reads'].get(field):
                refuse(f'config.{field}')
        for file in sorted({*hashes, *manifest['inputs']}):
            if hashes.get(file) != manifest['inputs'].get(file):
                refuse(file)
        if not place.exists() or files.sha256(place) != manifest['sha256']:
            refuse(f'its artefact {manifest["artefact"]}')

    def log(self, **row: Any) -> None:
        """Appends a row to metrics.jsonl, with the stage's name and the time."""
        row = {'stage': self._stage, **files.finite(row), 'time': round(time.time(), 3)}
        with (self.path / 'metrics.jsonl').open('a') as file:
            file.write(json.dumps(row, allow_nan=False) + '\n')

    def _forget_metrics(self, stage: str) -> None:
        """Removes the rows that an interrupted attempt at a stage left, and a torn last line."""
        place = self.path / 'metrics.jsonl'
        if not place.exists():
            return
        kept = []
        for line in place.read_text().splitlines():
            try:
                if json.loads(line).get('stage') != stage:
                    kept.append(line)
            except ValueError:
                continue
        files.write_text(place, ''.join(line + '\n' for line in kept))

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl."""
        place = self.path / 'metrics.jsonl'
        return [json.loads(x) for x in place.read_text().splitlines()] if place.exists() else []

    def write_results(self, body: Mapping[str, Any], *, seeds: Any, published: Any) -> dict:
        """Writes results.json: what every run tells, then the experiment's own.

        Args:
          body: the experiment's own entries; NaN and infinity become null.
          seeds: the seeds that were used.
          published: the figures to be measured against, with their source.
        """
        config = schema.to_dict(self.config)
        timing = {**self.timing, 'total': round(sum(self.timing.values()), 3)}
        results = files.finite({
            'schema': 1, 'experiment': self.experiment, 'config_sha256': files.sha256_of(config),
            'command': command(), 'versions': versions(), 'seeds': seeds, 'timing': timing,
            'published': published, **body,
        })
        files.write_json(self.path / 'results.json', results)
        return results


class Finished(Workdir):
    """A run's folder to read from: nothing is made or written in it, and nothing is locked."""

    def __init__(self, path: str | pathlib.Path, config: Any, experiment: str):
        """Of a folder whose config has been read (runs.config.of_folder)."""
        self.path, self.config, self.experiment = pathlib.Path(path).resolve(), config, experiment
        self.timing, self._stage = {}, None

    def stage(self, name: str, artefact: str, make: Callable[[pathlib.Path], None], *,
              reads: Mapping[str, Any] | None = None,
              inputs: Sequence[str | pathlib.Path] | Mapping[str, str] = ()) -> pathlib.Path:
        """The artefact of a stage that is complete; arguments as of `Workdir.stage`.

        Raises:
          UserError: it is not, or something that it read has changed since.
        """
        self.manifest(name)
        return super().stage(name, artefact, make, reads=reads, inputs=inputs)

    def manifest(self, stage: str) -> dict[str, Any]:
        """The manifest of a stage; its artefact is checked against it.

        Raises:
          UserError: the stage is not complete, or its artefact has changed since.
        """
        place = self.path / 'manifests' / f'{stage.replace("/", "_")}.json'
        try:
            found = json.loads(place.read_text())
            artefact = self.path / found['artefact']
            whole = artefact.exists() and files.sha256(artefact) == found['sha256']
        except FileNotFoundError:
            raise UserError(f'{self.path} has not come to its stage {stage}: start the run again, '
                            'it goes on where it stopped') from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f'{place} is damaged: {error}') from None
        if not whole:
            raise UserError(f'{artefact} has changed since its stage was complete, or is gone')
        return found


def command() -> str:
    """The command line that anyone could type to repeat this run."""
    main = getattr(sys.modules.get('__main__'), '__spec__', None)
    program = ['python', '-m', main.name] if main else ['python', *sys.argv[:1]]
    return shlex.join([*program, *sys.argv[1:]])


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that numbers may depend on; None: not installed."""
    found = {'python': sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def locked(path: pathlib.Path) -> Any:
    """Takes a folder's flock: it ends with the process, however that ends, or with what is
    returned. Raises UserError where another has it, or the folder cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = (path / '.lock').open('w')
    except OSError as error:
        raise UserError(f'--workdir={path} cannot be written: {error.strerror}') from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UserError(f'{path} is in use by a run that is alive; wait for it, or use another '
                        '--workdir') from None
    return handle


def _other_version(old: Any, new: dict[str, Any], known: Sequence[str]) -> str | None:
    """What of a folder's config this version does not know, or lacks; None if it is this one's.

    Args:
      old, new: the folder's config and this run's, as plain values.
      known: dotted names of the fields that this version has.
    """
    if not isinstance(old, dict):
        return 'its config.json holds no config'
    if old.get('experiment') != new['experiment']:
        return f'its experiment is {old.get("experiment")}, and {new["experiment"]} is asked for'
    there, here = _leaves(old, known), {'experiment', *known}
    for name in sorted(there ^ here):
        return f'config.{name} is known {"there" if name in there else "here"} alone'
    return None


def _leaves(tree: dict[str, Any], known: Sequence[str], prefix: str = '') -> set[str]:
    """Dotted names of a config's fields; a dictionary that `known` has no fields of is a value."""
    found: set[str] = set()
    for name, value in tree.items():
        full = f'{prefix}{name}'
        if isinstance(value, dict) and any(field.startswith(f'{full}.') for field in known):
            found |= _leaves(value, known, f'{full}.')
        else:
            found.add(full)
    return found


def _differences(old: Any, new: Any, prefix: str = '') -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from _differences(old.get(name), new.get(name), f'{prefix}{name}.')
    elif old != new:
        yield prefix.rstrip('.')


def _at(tree: Any, dotted: str) -> Any:
    for name in dotted.split('.'):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree
