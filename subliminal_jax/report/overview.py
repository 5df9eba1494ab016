"""Several runs on one self-contained page: their verdicts first, then each run's whole report."""

import html
import re
from collections.abc import Sequence
from typing import NamedTuple

from subliminal_jax.report.page import STYLE

OWN_STYLE = 'nav ol{padding-left:1.2rem}nav li{margin:.6rem 0}section{border-top:3px solid #0072B2}'


class Report(NamedTuple):
    """A run's page in parts, as HTML: what it is called, its verdict, and all that follows."""

    title: str
    verdict: str
    rest: str


def read(text: str) -> Report:
    """A page that report/page.py has just drawn, in parts."""
    found = re.search(r'<body><h1>(.*?)</h1>\s*<p class="verdict">(.*?)</p>(.*)</body>', text,
                      re.DOTALL)
    return Report(*found.groups())


def joined(title: str, reports: Sequence[Report], opening: str = '') -> str:
    """One page: `opening` (HTML), a list of verdicts with links, then the reports in order."""
    entries = [f'<li><a href="#run{n}">{r.title}</a>: {r.verdict}</li>'
               for n, r in enumerate(reports)]
    sections = [f'<section id="run{n}"><h1>{r.title}</h1><p class="verdict">{r.verdict}</p>'
                f'{r.rest}</section>' for n, r in enumerate(reports)]
    name = html.escape(title)
    return ('<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f'<title>{name}</title><style>{STYLE}{OWN_STYLE}</style></head><body><h1>{name}</h1>{opening}'
            f'<nav class="verdict"><ol>{"".join(entries)}</ol></nav>'
            + '\n'.join(sections) + '</body></html>\n')
