"""Draws the page of a finished run again, from its results.json and artefacts alone.

  python -m launch.report --run=DIR

Nothing is trained or measured: report.html and figures/ are written anew, and the table is printed.
"""

import pathlib

from absl import flags

from subliminal_jax.runs import UserError, local_path, run_program

RUN = flags.DEFINE_string('run', None, 'the folder of a finished run')


def main(argv: list[str]) -> None:
    del argv
    if not RUN.value:
        raise UserError('no run: pass --run=DIR')
    from launch.experiments import EXPERIMENTS
    from subliminal_jax.runs import experiment

    folder = pathlib.Path(local_path('run', RUN.value)).expanduser().resolve()
    print(experiment.redraw(folder, folder / 'results.json', EXPERIMENTS))
    print(f'page: {folder / "report.html"}')


if __name__ == '__main__':
    run_program(main)
