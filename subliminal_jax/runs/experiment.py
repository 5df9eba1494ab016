"""What an experiment is to the programs that start it, and how a finished run is read again."""

import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from subliminal_jax.runs.app import unknown_name
from subliminal_jax.runs.errors import UserError
from subliminal_jax.runs.plan import Stage
from subliminal_jax.runs.reading import read_json
from subliminal_jax.runs.workdir import Workdir


class Experiment(NamedTuple):
    """An experiment's row in the table of experiments.

    Attributes:
      config: its schema; or a function from a config file's values to the config whose values hold
        where the file is silent.
      plan: (config) -> the stages of a run, with their arithmetic and memory.
      run: (config, workdir) -> the table, after the last stage.
      page: (folder, results) -> the table: redraws report.html and figures/ from results.json and
        the folder's artefacts alone; None where that cannot be done.
      steps: (config, count) -> a function that takes so many training steps, to trace.
      design: (config, mde, ...) -> what a design could see and would cost, as text.
      programs: (config, topology, mesh's sizes or None) -> what `launch.compile` compiles
        (runs/ahead.Program).
      check: (config) -> None; raises UserError for what can be said of a config by itself, fast and
        before anything is read or made.
      estimate: (config) -> stages as `plan`, where they are counted in no time: a run that they
        show to be without end is refused.
      meshed: (config) -> whether its models can be laid over a mesh of devices (runs/meshes.py).
    """

    config: type | Callable[[Mapping[str, Any]], Any]
    plan: Callable[[Any], Sequence[Stage]]
    run: Callable[[Any, Workdir], str]
    page: Callable[[pathlib.Path, dict[str, Any]], str] | None
    steps: Callable[[Any, int], Callable[[], Any]] | None = None
    design: Callable[..., str] | None = None
    programs: Callable[..., Iterable[Any]] | None = None
    check: Callable[[Any], None] = lambda config: None
    estimate: Callable[[Any], Sequence[Stage]] | None = None
    meshed: Callable[[Any], bool] = lambda config: False


Table = Mapping[str, Callable[[], Experiment]]  # name -> a function that imports the experiment


def redraw(folder: pathlib.Path, source: pathlib.Path, table: Table) -> str:
    """Draws the page of a finished run again: no training, no measuring.

    Args:
      folder: where report.html and figures/ are written; has the run's config.json and artefacts.
      source: the run's results.json.
      table: of experiments.

    Returns:
      The run's table as text.

    Raises:
      UserError: results.json is missing, damaged, of another version or of an unknown experiment.
    """
    results = _results(source)
    name = results.get('experiment')
    if not isinstance(name, str) or name not in table:
        raise unknown_name(f'experiment in {source}', str(name), list(table))
    page = table[name]().page
    if page is None:
        raise UserError(f'the experiment {name} cannot redraw its page')
    try:
        return page(folder, results)
    except UserError:
        raise
    except Exception as error:  # any JSON may stand in the file: the page finds what it lacks
        raise UserError(
            f'{source} and the artefacts beside it do not make a page '
            f'({type(error).__name__}: {error}): they are damaged or of another version; start the '
            'run again') from None


def _results(place: pathlib.Path) -> dict[str, Any]:
    if not place.parent.is_dir():
        raise UserError(f'no such folder: {place.parent}')
    if not os.path.lexists(place):
        raise UserError(f'{place.parent} holds no results.json: let the run end first (start it '
                        'again with its --workdir, it goes on where it stopped)')
    return read_json(place, 'start the run again: it writes it anew')
