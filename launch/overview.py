"""Joins finished runs on one self-contained page: verdicts first, then each run's whole report.

  python -m launch.overview --runs=runs/mnist,runs/numbers_tiny --output=overview.html
"""

import html

from absl import flags

from subliminal_jax.runs import UserError, run_program

RUNS = flags.DEFINE_list('runs', [], 'folders of finished runs, in the order of the page')
OUTPUT = flags.DEFINE_string('output', None, 'the page to write')
TITLE = flags.DEFINE_string('title', 'Subliminal learning: what these runs show', "the page's")


def main(argv: list[str]) -> None:
    del argv
    if not OUTPUT.value:
        raise UserError('no --output: pass --output=PAGE.html')
    from subliminal_jax.experiments import overview

    for report in overview.write(RUNS.value, OUTPUT.value, TITLE.value):
        print(html.unescape(f'{report.title}: {report.verdict}'))
    print(f'page: {OUTPUT.value}')


if __name__ == '__main__':
    run_program(main)
