"""One self-contained HTML page of a run: readable on a phone, without a network.

Figures are matplotlib figures, kept as PNG files under figures/ and embedded in the page. The page
opens with the verdict, then tables and figures in the order given, then config, command, versions,
seeds and timings.
"""

import base64
import html
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure

from subliminal_jax.runs import visible as visible, write_text, written_aside

matplotlib.use('Agg')

# Okabe and Ito's colours, told apart by most colour-blind readers.
COLOURS = {'orange': '#E69F00', 'sky': '#56B4E9', 'green': '#009E73', 'yellow': '#F0E442',
           'blue': '#0072B2', 'red': '#D55E00', 'pink': '#CC79A7', 'grey': '#999999',
           'black': '#222222', 'brown': '#8C564B'}  # the last is an eighth beside them

STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.55 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem;
color:#222;background:#fff;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.15rem;margin-top:2.2rem}
.verdict{font-size:1.1rem;border-left:.35rem solid #0072B2;padding:.5rem 1rem;background:#f2f7fb}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.92rem}
th,td{padding:.3rem .7rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
figure{margin:1rem 0}img{max-width:100%;height:auto;background:#fff}
figcaption{color:#555;font-size:.92rem}
pre{overflow-x:auto;background:#f5f5f5;padding:.7rem;font-size:.85rem}
@media (prefers-color-scheme:dark){body{background:#181a1b;color:#ddd}
.verdict{background:#1f2a33}pre{background:#24272a}figcaption{color:#aaa}th,td{border-color:#444}}
"""


class Text(NamedTuple):
    """A paragraph."""

    body: str


class Table(NamedTuple):
    """A table: a title, the columns' heads, rows of texts, and a note on how to read it."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ''


class Plot(NamedTuple):
    """A figure: its file's name without ending, a title, the matplotlib figure, a caption."""

    name: str
    title: str
    figure: Figure
    caption: str


class Texts(NamedTuple):
    """Texts to be read as they are: a title, (label, texts below it) each, and a note above."""

    title: str
    entries: Sequence[tuple[str, Sequence[str]]]
    note: str = ''


Section = Text | Table | Plot | Texts


def write(
    folder: pathlib.Path, title: str, verdict: str, sections: Sequence[Section],
    results: dict[str, Any],
) -> None:
    """Writes report.html and figures/*.png.

    Args:
      folder: the run's, with its config.json.
      title: of the page.
      verdict: the sentence it opens with.
      sections: what follows, in order.
      results: as in results.json; its common entries close the page.
    """
    body = [_render(folder, section) for section in sections]
    write_text(folder / 'report.html', document(title, verdict, [*body, _closing(folder, results)]))


def document(title: str, verdict: str, body: Sequence[str]) -> str:
    """A whole page: its title and verdict, and what is rendered already."""
    opening = [f'<h1>{html.escape(title)}</h1>', f'<p class="verdict">{html.escape(verdict)}</p>']
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>'
        + '\n'.join([*opening, *body]) + '</body></html>\n')


def rendered(section: Text | Table | Texts) -> str:
    """A section that needs no files."""
    if isinstance(section, Text):
        return f'<p>{html.escape(section.body)}</p>'
    if isinstance(section, Table):
        return (f'<h2>{html.escape(section.title)}</h2>{_table(section)}'
                f'<p>{html.escape(section.note)}</p>')
    entries = ''.join(
        f'<p><b>{html.escape(visible(label))}</b></p>' + ''.join(
            f'<pre style="white-space:pre-wrap">{html.escape(visible(text))}</pre>'
            for text in texts) for label, texts in section.entries)
    return f'<h2>{html.escape(section.title)}</h2><p>{html.escape(section.note)}</p>{entries}'


def _render(folder: pathlib.Path, section: Section) -> str:
    if not isinstance(section, Plot):
        return rendered(section)
    place = folder / 'figures' / f'{section.name}.png'
    with written_aside(place) as aside:
        section.figure.savefig(aside, format='png', dpi=130, bbox_inches='tight')
    data = base64.b64encode(place.read_bytes()).decode()
    return (f'<h2>{html.escape(section.title)}</h2><figure><img alt="{html.escape(section.title)}" '
            f'src="data:image/png;base64,{data}">'
            f'<figcaption>{html.escape(section.caption)}</figcaption></figure>')


def _table(table: Table) -> str:
    def cells(row, tag):
        return '<tr>' + ''.join(f'<{tag}>{html.escape(str(c))}</{tag}>' for c in row) + '</tr>'

    rows = ''.join(cells(row, 'td') for row in table.rows)
    return f'<div class="scroll"><table>{cells(table.head, "th")}{rows}</table></div>'


def _closing(folder: pathlib.Path, results: dict[str, Any]) -> str:
    config = (folder / 'config.json').read_text()
    parts = [('Command', results['command']), ('Config', config),
             ('Versions', json.dumps(results['versions'], indent=1)),
             ('Seeds', json.dumps(results['seeds'], indent=1)),
             ('Timing, seconds', json.dumps(results['timing'], indent=1))]
    shown = ''.join(
        f'<details{" open" if name == "Command" else ""}><summary>{name}</summary>'
        f'<pre>{html.escape(text)}</pre></details>' for name, text in parts)
    return f'<h2>How this was made</h2>{shown}'


def text_table(table: Table) -> str:
    """A table for the terminal."""
    rows = [list(map(str, table.head)), *[list(map(str, row)) for row in table.rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.head))]
    lines = ['  '.join(
        cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))
    ).rstrip() for row in rows]
    lines.insert(1, '-' * len(max(lines, key=len)))
    return '\n'.join([table.title, *lines])


def with_interval(mean: float | None, interval: Sequence[float] | None, digits: int = 3) -> str:
    """'0.537 [0.515, 0.559]', or the mean alone."""
    if mean is None:
        return 'none'
    text = f'{mean:.{digits}f}'
    return f'{text} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]' if interval else text


def axes(width: float = 7.5, height: float = 4.0, **options):
    """A figure and its axes, with the project's look."""
    figure = Figure(figsize=(width, height), layout='constrained')
    made = figure.subplots(**options)
    for ax in made.flat if hasattr(made, 'flat') else [made]:
        ax.spines[['top', 'right']].set_visible(False)
        ax.grid(alpha=0.25)
    return figure, made
