"""Writes the figures of README.md, docs/ and results/ from the kept results.json files.

  python -m launch.tables                                   # rewrites every page
  python -m launch.tables --check                           # which pages differ from their JSON
  python -m launch.tables --keep=runs/mnist --name=mnist    # keeps a run, then rewrites pages

Between two markers a page holds what this program puts there:

  <!-- table: NAME; RUN; FURTHER -->      a table of `table_parts.TABLES`
  <!-- figure: RUN; KEY; FORMAT -->       a figure in a sentence: `table_parts.figure`
  <!-- end -->

In results/NAME/README.md the run `.` is NAME. A line that begins with a marker of a figure would be
read as HTML: put a word before it.
"""

import pathlib
import re
from collections.abc import Iterator

from absl import flags

from launch import table_parts
from launch.kept import keep
from subliminal_jax.runs import UserError, local_path, run_program

CHECK = flags.DEFINE_bool('check', False, 'change nothing; fail where a page differs from its JSON')
KEEP = flags.DEFINE_string('keep', None, 'the folder of a finished run to keep in results/')
NAME = flags.DEFINE_string('name', None, 'what the kept run is called')
ROOT = flags.DEFINE_string('root', str(pathlib.Path(__file__).parents[1]), 'the repository')

MARKED = re.compile(r'<!-- (table|figure): ([^>]*?) -->(.*?)<!-- end -->', re.DOTALL)
OPENING = re.compile(r'<!-- (?:table|figure):')


def pages(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Every page that may state a figure."""
    yield root / 'README.md'
    for folder in ('docs', 'results'):
        yield from sorted((root / folder).rglob('*.md'))


def rendered(text: str, default: str, results: table_parts.Results) -> str:
    """A page with everything between its markers written anew.

    Args:
      text: the page.
      default: the run that `.` stands for.
      results: by run.

    Raises:
      UserError: a marker without its end, or a figure that the JSON does not have.
    """
    if len(OPENING.findall(text)) != len(MARKED.findall(text)):
        raise UserError('a marker has no <!-- end -->')
    if re.search(r'^ {0,3}<!-- figure:', text, re.MULTILINE):
        raise UserError('a line begins with the marker of a figure: put a word before it')

    def fill(match: re.Match) -> str:
        kind, words, _ = match.groups()
        parts = [part.strip() for part in words.split(';')]
        if kind == 'table':
            name, *args = parts
            args = [default if a == '.' else a for a in args]
            body = f'\n{table_parts.table(results, name, args)}\n'
        else:
            run, *args = parts
            body = table_parts.figure(results, default if run == '.' else run, *args)
        return f'<!-- {kind}: {words} -->{body}<!-- end -->'

    return MARKED.sub(fill, text)


def differing(root: pathlib.Path, write: bool) -> list[str]:
    """One line for every page that is not what its JSON says; with `write` those are rewritten."""
    results, found = table_parts.Results(root / 'results'), []
    for page in pages(root):
        old, name = page.read_text(encoding='utf-8'), page.relative_to(root)
        try:
            new = rendered(old, page.parent.name, results)
        except UserError as error:
            found.append(f'{name}: {error}')
            continue
        if new == old:
            continue
        if write:
            page.write_text(new, encoding='utf-8')
        else:
            found.append(f'{name}: differs from its results.json: run python -m launch.tables')
    return found


def main(argv: list[str]) -> None:
    del argv
    root = pathlib.Path(ROOT.value)
    if bool(KEEP.value) != bool(NAME.value):
        raise UserError('--keep=RUN and --name=NAME go together')
    if not (root / 'README.md').exists():
        raise UserError(f'{root} holds no README.md: --root is the repository')
    if KEEP.value:
        keep(pathlib.Path(local_path('keep', KEEP.value)), root / 'results' / NAME.value)
    wrong = differing(root, write=not CHECK.value)
    for line in wrong[:-1]:
        print(line)
    if wrong:
        raise UserError(wrong[-1])


if __name__ == '__main__':
    run_program(main)
