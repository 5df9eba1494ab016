"""A run's folder: its lock, its config, its stages, its metrics.

A stage reads files and config fields and leaves one artefact (a file or a folder). Started again,
a run skips the stages that are complete, and refuses to go on where something that a finished
stage read has changed, naming it.
"""

import fcntl
import importlib.metadata
import json
import os
import pathlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from subliminal_jax.runs import files, reading, schema
from subliminal_jax.runs.app import check_preempted
from subliminal_jax.runs.errors import UserError

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'transformers',
            'tensorflow-datasets', 'numpy', 'scipy')
METRICS = 'metrics.jsonl'
MANIFEST = {'artefact': str, 'sha256': str, 'reads': dict, 'inputs': dict, 'seconds': int | float}


class Workdir:
    """One run's folder, held under a lock until the process ends.

    Attributes:
      path: the folder.
      config: the run's typed config.
      timing: seconds by stage, of this process or, for a stage skipped, of the one that did it.
      told: called with every row of the metrics: as it is written, and those of a finished stage
        when the run comes to it.
    """

    def __init__(self, path: str | pathlib.Path, config: Any, experiment: str):
        """Opens or creates the folder.

        Raises:
          UserError: it cannot be written, is in use, or belongs to another config.
        """
        self.path = pathlib.Path(reading.local_path('workdir', str(path))).expanduser().resolve()
        self.config = config
        self.experiment = experiment
        self.timing: dict[str, float] = {}
        self.told: Callable[[dict[str, Any]], None] | None = None
        self._stage = None
        self._rows: list[dict[str, Any]] = []
        self._lock = locked(self.path)
        self._claim({'experiment': experiment, **schema.to_dict(config)})
        files.sweep(self.path)

    def _claim(self, config: dict[str, Any]) -> None:
        place = self.path / 'config.json'
        if os.path.lexists(place):
            old = reading.read_json(place, 'use another --workdir, or delete this one')
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
        else:
            self._check_empty()
        files.write_json(place, config)

    def _check_empty(self):
        """Refuses a folder of other things: a run writes many files, and replaces what is there."""
        if foreign := sorted(p.name for p in self.path.iterdir()
                             if not p.name.startswith('.') and p.name != 'profile'):
            raise UserError(f'{self.path} holds {foreign[0]} and no config.json of a run: name a '
                            'new folder with --workdir, or an empty one')

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
        if os.path.lexists(manifest_path):
            manifest = self._manifest(name, manifest_path)
            self._check_unchanged(name, manifest, reads, hashes, place)
            self._restore_metrics(name, manifest.get('metrics'))
            if self.told is not None:
                for row in self.metrics(name):
                    self.told(row)
            self.timing[name] = manifest['seconds']
            return place
        self._forget_metrics(name)
        begun = time.monotonic()
        self._stage, self._rows = name, []
        with files.written_aside(place, ours=True) as aside:
            make(aside)
        self._stage = None
        seconds = round(time.monotonic() - begun, 3)
        files.write_json(manifest_path, {
            'stage': name, 'artefact': artefact, 'sha256': files.sha256(place), 'reads': reads,
            'inputs': hashes, 'versions': versions(), 'seconds': seconds,
            'metrics': self._rows,
        })
        self.timing[name] = seconds
        check_preempted()
        return place

    def _manifest(self, name: str, place: pathlib.Path) -> dict[str, Any]:
        """A finished stage's manifest. Raises UserError where it is damaged."""
        redo = (f'delete it to redo the stage {name}, and delete those of the stages after it, or '
                'use another --workdir')
        manifest = reading.read_json(place, redo)
        for field, kind in MANIFEST.items():
            if not isinstance(manifest.get(field), kind):
                raise UserError(f'{place} is damaged: its {field} is missing, or of another kind; '
                                f'{redo}')
        return manifest

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
        files.append_text(self.path / METRICS, json.dumps(row, allow_nan=False) + '\n')
        self._rows.append(row)
        if self.told is not None:
            self.told(row)

    def metrics(self, stage: str | None = None) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, or a stage's; lines that are none, such as a torn one, are
        passed over."""
        if not os.path.lexists(self.path / METRICS):
            return []
        rows, named = [], b'' if stage is None else json.dumps(stage).encode()
        for line in reading.read_bytes(self.path / METRICS).splitlines():
            if named not in line:  # of thousands of lines the others need not be parsed
                continue
            try:
                row = reading.parsed(line.decode())
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get('stage'), str | None):
                rows.append({'stage': None, **row})
        return rows if stage is None else [row for row in rows if row['stage'] == stage]

    def _forget_metrics(self, stage: str) -> None:
        """Removes the rows that an interrupted attempt at a stage left, and a torn line."""
        if os.path.lexists(self.path / METRICS) and (self.metrics(stage) or not reading.read_bytes(
                self.path / METRICS).endswith(b'\n')):
            self._write_metrics([row for row in self.metrics() if row['stage'] != stage])

    def _restore_metrics(self, stage: str, kept: Sequence[dict[str, Any]] | None) -> None:
        """Makes a finished stage's rows again what its manifest says that they were.

        A manifest of an older version keeps none: then they stay as they are.
        """
        if kept is not None and self.metrics(stage) != kept:
            self._write_metrics(
                [*(row for row in self.metrics() if row['stage'] != stage), *kept])

    def _write_metrics(self, rows: Sequence[dict[str, Any]]) -> None:
        files.write_text(self.path / METRICS, ''.join(json.dumps(row) + '\n' for row in rows))

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
        self.timing, self.told, self._stage, self._rows = {}, None, None, []

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
        handle = (path / '.lock').open('a')
    except OSError as error:
        raise UserError(f'--workdir={path} cannot be written: {error.strerror}') from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UserError(f'{path} is in use by a run that is alive; wait for it, or use another '
                        '--workdir') from None
    return handle


def _other_version(old: dict[str, Any], new: dict[str, Any], known: Sequence[str]) -> str | None:
    """What of a folder's config this version does not know, or lacks; None if it is this one's.

    Args:
      old, new: the folder's config and this run's, as plain values.
      known: dotted names of the fields that this version has.
    """
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
