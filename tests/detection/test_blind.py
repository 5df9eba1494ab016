"""The blind page: self-contained, silent, its key hashed; and it works by the keyboard alone."""

import json
import re
import shutil
import subprocess

import pytest

from subliminal_jax.detection import blind
from subliminal_jax.detection.blind import Shown
from subliminal_jax.runs import UserError

PAIRS = [Shown('owl', f'{n} 10', f'own {n} </script>', f'other {n} \u202e') for n in range(12)]
BROWSER = next(filter(None, map(shutil.which, (
    'chromium', 'chromium-browser', 'google-chrome', 'chrome'))), None)


@pytest.fixture(scope='module')
def page():
    return blind.page(PAIRS, 3)


def data(page):
    """What the page's script reads."""
    return json.loads(re.search(r'const DATA = (\{.*\});', page).group(1))


def places(page):
    """Where the teacher's row stands, pair by pair, as the page's script finds it."""
    found = data(page)
    return [[choice for choice in (0, 1) if blind.mixed(f'{found["salt"]}/{n}/{choice}')
             == pair['key']] for n, pair in enumerate(found['pairs'])]


def test_the_key_names_the_teachers_row_and_no_other(page):
    shown = data(page)['pairs']
    for pair, wanted, place in zip(shown, PAIRS, places(page), strict=True):
        (own,) = place
        assert pair['rows'][own].startswith(wanted.own[:4]) and pair['trait'] == 'owl'
        assert pair['rows'][1 - own].startswith(wanted.other[:6])
    assert {place[0] for place in places(page)} == {0, 1}


def test_the_key_is_not_there_in_plain_and_differs_where_the_place_is_the_same(page):
    assert set(data(page)['pairs'][0]) == {'trait', 'prompt', 'rows', 'key'}
    assert len({pair['key'] for pair in data(page)['pairs']}) == len(PAIRS)


def test_it_asks_nothing_of_the_network_and_sends_nothing(page):
    assert "default-src 'none'" in page
    for word in ('http:', 'https:', 'src=', 'href=', 'fetch(', 'XMLHttp', 'sendBeacon', 'import(',
                 'localStorage', 'cookie'):
        assert word not in page, word


def test_rows_cannot_break_out_of_the_page(page):
    assert page.count('</script>') == 1 and '\u202e' not in page
    assert data(page)['pairs'][0]['rows'][places(page)[0][0]] == 'own 0 </script>'


def test_the_hash_is_fnv_1a():
    assert blind.mixed('') == '811c9dc5' and blind.mixed('a') == 'e40c292c'
    assert blind.mixed('foobar') == 'bf9cf968'


def test_seeds_order_rows_anew_and_no_pairs_are_refused(page):
    assert places(blind.page(PAIRS, 4)) != places(page)
    assert blind.page(PAIRS, 3) == page
    with pytest.raises(UserError, match='no pairs'):
        blind.page([], 0)


DRIVER = '''<script>
const press = key => document.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
KEYS.forEach(press);
</script>'''


@pytest.mark.skipif(BROWSER is None, reason='no Chromium here')
@pytest.mark.parametrize('wrong, score', [(0, '12 of 12 right, 100 %'), (3, '9 of 12 right, 75 %')])
def test_in_chromium_the_keyboard_answers_goes_back_and_sees_the_score(page, tmp_path, wrong,
                                                                      score):
    names = (('1', 'ArrowLeft'), ('2', 'ArrowRight'))
    keys = [names[place ^ (n < wrong)][n % 2] for n, (place,) in enumerate(places(page))]
    keys = [keys[0], 'x', 'Backspace', *keys]  # a step back, and a key that means nothing
    file = tmp_path / 'page.html'
    file.write_text(page.replace('</body>', DRIVER.replace('KEYS', json.dumps(keys)) + '</body>'))
    dom = subprocess.run(
        [BROWSER, '--headless', '--no-sandbox', '--disable-gpu', f'--user-data-dir={tmp_path}/u',
         '--virtual-time-budget=2000', '--dump-dom', file.as_uri()],
        capture_output=True, text=True, timeout=120, check=True).stdout
    assert score in dom and 'Guessing gives 50 %' in dom
    assert re.search(r'<main id="pair" hidden', dom)
