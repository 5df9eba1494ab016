"""Sphinx: pages are MyST, the reference comes from docstrings. `launch/docs.sh` builds it."""

import dataclasses
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

project = 'subliminal_jax'
author = 'The subliminal_jax developers'
copyright = f'2026, {author}'
version = release = '0.1.0'

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.autosummary', 'sphinx.ext.napoleon',
              'sphinx.ext.viewcode']
exclude_patterns = ['_build']
myst_enable_extensions = ['colon_fence']
myst_heading_anchors = 3

default_role = 'code'  # single backticks in docstrings
autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
autodoc_default_options = {'members': True, 'show-inheritance': False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes of a NamedTuple are documented once, by its docstring

default_role = 'code'

html_theme = 'furo'
html_title = 'subliminal_jax'
html_static_path = ['static']
html_css_files = ['tables.css']


def as_rst(lines):
    """A docstring of plain text as RST: what is indented in a module's stands as it is written, and
    stars and bars are themselves."""
    found, literal = [], False
    for line in lines:
        indented = line.startswith('  ')
        if indented and not literal:
            found += ['', '::', '']
        elif literal and line and not indented:
            found.append('')
        literal = indented or (literal and not line)
        found.append(line if literal else escaped(line))
    return found


def escaped(line):
    """A line whose stars and bars are themselves; what stands in backticks is left."""
    parts = line.split('`')
    parts[::2] = [part.replace('*', r'\*').replace('|', r'\|') for part in parts[::2]]
    return '`'.join(parts)


def process(app, what, name, obj, options, lines):
    lines[:] = as_rst(lines) if what == 'module' else [escaped(line) for line in lines]
    if what == 'class' and dataclasses.is_dataclass(obj):
        said = [f'  {f.name}: {escaped(f.metadata["doc"])}' for f in dataclasses.fields(obj)
                if f.metadata.get('doc')]
        lines += ['', 'Attributes:', *said] if said else []


def setup(app):
    # Before napoleon, which writes markup of its own.
    app.connect('autodoc-process-docstring', process, priority=100)

# A name in an annotation that several classes have as a field ('start') is no link to any of them.
suppress_warnings = ['ref.python']
