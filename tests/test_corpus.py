"""Small hostile files (tests/corpus): each ends in one line, within its limits.

A file that broke something is added to the folder of its kind; the tests find it there.
"""

import pathlib

import pytest

from subliminal_jax.data import rows
from subliminal_jax.models import templates
from subliminal_jax.runs import UserError, read_json

CORPUS = pathlib.Path(__file__).with_name('corpus')


def of(kind):
    return sorted((CORPUS / kind).iterdir())


def one_line(call, *arguments):
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert '\n' not in str(error.value) and len(str(error.value)) < 800


@pytest.mark.slow
@pytest.mark.parametrize('path', of('templates'), ids=lambda path: path.stem)
def test_chat_templates(path):
    said = [{'role': 'user', 'content': 'hi'}]
    one_line(templates.render, path.read_text(), said, True, None, {})


@pytest.mark.parametrize('path', of('json'), ids=lambda path: path.stem)
def test_json(path):
    one_line(read_json, path, 'fetch it again')


@pytest.mark.parametrize('path', of('rows'), ids=lambda path: path.stem)
def test_rows(path):
    def check(row):
        return rows.prompt_trouble(row) or rows.text_trouble(row, 'completion')

    try:
        good, bad = rows.read(path, check)
    except UserError as error:
        assert '\n' not in str(error)
        return
    assert not good and bad
    assert len(rows.bad_lines(path, bad)) < 800 and '\n' not in rows.bad_lines(path, bad)
