"""Joins finished runs on one self-contained page: verdicts first, then each run's whole report.

  python -m launch.overview --runs=runs/mnist,runs/numbers_tiny --output=overview.html

Every report is drawn anew from the run's results.json and artefacts; the run's folder stays as it
is, and whatever stands in its report.html does not get in.
"""

import html
import pathlib
import tempfile
from collections.abc import Sequence

from absl import flags

from subliminal_jax.runs import UserError, check_apart, check_output, local_path, run_program
from subliminal_jax.runs.files import PAGE

RUNS = flags.DEFINE_list('runs', [], 'folders of finished runs, in the order of the page')
OUTPUT = flags.DEFINE_string('output', None, 'the page to write')
TITLE = flags.DEFINE_string('title', 'Subliminal learning: what these runs show', "the page's")


def main(argv: list[str]) -> None:
    del argv
    if not OUTPUT.value:
        raise UserError('no --output: pass --output=PAGE.html')
    output = pathlib.Path(local_path('output', OUTPUT.value)).expanduser()
    folders = [pathlib.Path(local_path('runs', name)).expanduser().resolve()
               for name in RUNS.value]
    check(folders, output)

    from subliminal_jax.report import overview
    from subliminal_jax.runs import write_text

    reports = [drawn(folder) for folder in folders]
    write_text(output, overview.joined(TITLE.value, reports), PAGE)
    for report in reports:
        print(html.unescape(f'{report.title}: {report.verdict}'))
    print(f'page: {output}')


def check(folders: Sequence[pathlib.Path], output: pathlib.Path) -> None:
    """Refuses what would say nothing or destroy something.

    Raises:
      UserError: no run, one named twice, an output that is a folder or stands in a run's.
    """
    if not folders:
        raise UserError('no --runs: pass --runs=FOLDER,FOLDER')
    for folder in folders:
        if folders.count(folder) > 1:
            raise UserError(f'--runs names {folder} twice')
    check_apart({f'runs={folder}': str(folder) for folder in folders}, {'output': str(output)})
    check_output(output, PAGE)


def drawn(folder: pathlib.Path):
    """A run's report in parts (report.overview.Report), drawn in a folder of links to its files.

    Raises:
      UserError: a run that is not finished, or whose page cannot be drawn.
    """
    from launch.experiments import EXPERIMENTS
    from subliminal_jax.report import overview
    from subliminal_jax.runs import experiment

    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        for file in folder.iterdir() if folder.is_dir() else ():
            if file.name not in ('report.html', 'figures'):
                (place / file.name).symlink_to(file)
        experiment.redraw(place, folder / 'results.json', EXPERIMENTS)
        return overview.read((place / 'report.html').read_text(encoding='utf-8'))


if __name__ == '__main__':
    run_program(main)
