"""Joins the reports of finished runs on one page."""

import pathlib
from collections.abc import Sequence

from subliminal_jax.report import overview as pages
from subliminal_jax.runs import UserError, write_text


def write(folders: Sequence[str], output: str, title: str) -> list[pages.Report]:
    """Writes the page and returns the reports on it.

    Args:
      folders: of finished runs, in the order of the page.
      output: the page's path.
      title: of the page.

    Raises:
      UserError: no folder, one named twice, a run that is not finished, a page that is none of
        ours, or an output that cannot be written.
    """
    if not folders:
        raise UserError('no --runs: pass --runs=FOLDER,FOLDER')
    for folder in folders:
        if folders.count(folder) > 1:
            raise UserError(f'--runs names {folder} twice')
    found = [_read(pathlib.Path(folder)) for folder in folders]
    try:
        write_text(pathlib.Path(output), pages.joined(title, found))
    except OSError as error:
        raise UserError(f'--output={output} cannot be written: {error.strerror}') from None
    return found


def _read(folder: pathlib.Path) -> pages.Report:
    try:
        text = (folder / 'report.html').read_text(encoding='utf-8')
    except OSError:
        raise UserError(f'{folder} holds no report.html: let the run end first (start it again '
                        'with its --workdir, it goes on where it stopped)') from None
    report = pages.read(text)
    if report is None:
        raise UserError(f'{folder}/report.html is no report of a run: delete it and start the run '
                        'again')
    return report
