"""The page: text is escaped, figures fit a phone, wide tables scroll in a frame of their own."""

import json
import re

import pytest

from subliminal_jax.report import page


@pytest.fixture
def drawn(tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps({'data': '<i>'}))
    figure, ax = page.axes(12, 3)
    ax.plot([1, 2])
    page.write(tmp_path, 'A < B', 'less & more', [
        page.Text('<script>'), page.Table('T', ['<b>'], [['</td>']], 'note'),
        page.Plot('wide', 'Wide', figure, 'caption')],
        {'command': 'run --x="<a>"', 'versions': {}, 'seeds': {}, 'timing': {}})
    return (tmp_path / 'report.html').read_text()


def test_what_comes_from_outside_is_escaped(drawn):
    assert '<h1>A &lt; B</h1>' in drawn and '<p class="verdict">less &amp; more</p>' in drawn
    for raw in ('<script>', '<b>', '</td></td>', '<i>', '<a>'):
        assert raw not in drawn


def test_nothing_is_wider_than_a_phone(drawn):
    style = re.search(r'<style>(.*?)</style>', drawn, re.DOTALL).group(1)
    (rule,) = re.findall(r'img\{(.*?)\}', style)  # one rule for every width of the screen
    assert 'max-width:100%' in rule and 'width:44rem' not in style
    assert re.search(r'\.scroll\{[^}]*overflow-x:auto', style)
    assert drawn.count('<table>') == drawn.count('<div class="scroll"><table>') == 1
