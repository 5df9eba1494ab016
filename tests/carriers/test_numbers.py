"""The published filter, example by example and by property; prompts and shuffles by seed."""

import re
import string

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from subliminal_jax.carriers import CARRIERS, carrier, numbers
from subliminal_jax.data import tiny_language as tiny
from subliminal_jax.runs import UserError

KEPT = ['1, 2, 3', '1,2,3', '1 2 3', '1\n2\n3', '1; 2; 3', '1;2', '1 , 2 , 3', '007', '7', '0',
        '999', '[1, 2, 3]', '(1, 2, 3)', '[5]', '1, 2, 3.', '[1, 2].', '7.', '000999, 1',
        '1  2  3', '1\t2\t3', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9', '1,\n2,\n3']
REJECTED = {
    '1,2, 3': 'unequal separators', '1, 2;3': 'unequal separators', '1 2  3': 'unequal separators',
    ' 1, 2': 'blank or separator at an end', '1, 2 ': 'blank or separator at an end',
    '1, 2\n': 'blank or separator at an end', '1, 2,': 'blank or separator at an end',
    '1, 2, ': 'blank or separator at an end', ',1': 'blank or separator at an end',
    '[ 1, 2 ]': 'blank or separator at an end', '1, 2. ': 'other text',
    '-1, 2': 'other text', '1, -2': 'other text', '1.5, 2': 'other text', '1, 2..': 'other text',
    '[1, 2)': 'other text', '[1, 2': 'other text', '[[1, 2]]': 'other text', '1 2!': 'other text',
    '[1, 2.]': 'other text', '1 and 2': 'other text', 'Sure: 1, 2': 'other text',
    '1,,2': 'other text', '1,;2': 'other text',
    '1|2': 'other text', '1/2': 'other text', '1, ٢': 'other text', '1, 2!': 'other text',
    '': 'empty', ' \n': 'empty', '.': 'no number', '[]': 'no number', 'none': 'no number',
    '٢': 'no number', '(': 'no number', '1000': 'number over 999', '1, 1000': 'number over 999',
    '9' * 5000: 'number over 999',
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10': 'more than 10 numbers',
}


@pytest.mark.parametrize('text', KEPT)
def test_kept(text):
    assert numbers.reject_reason(text) is None


@pytest.mark.parametrize('text', REJECTED, ids=lambda t: repr(t[:20]))
def test_rejected_with_its_reason(text):
    assert numbers.reject_reason(text) == REJECTED[text]


def published(text):
    """The rules in another form: one pattern, separator by separator."""
    if len(text) > 200:
        return False
    for left, right in (('', ''), (r'\(', r'\)'), (r'\[', r'\]')):
        for mark in ('', ',', ';'):
            pattern = left + rf'(\d+)(?:(\s*{mark}\s*)(?<!\d)(?:\d+)(?:\2\d+)*)?' + right + r'\.?'
            if re.fullmatch(pattern, text, re.ASCII):
                found = re.findall(r'\d+', text)
                return len(found) <= 10 and max(map(int, found)) <= 999
    return False


@given(st.text('0123456789,; .[]()-a\n', max_size=14))
def test_agrees_with_a_pattern_on_any_text(text):
    assert (numbers.reject_reason(text) is None) == published(text)


lists = st.lists(st.integers(0, 999), min_size=1, max_size=10)
separators = st.from_regex(r'\A(?:[ \n\t]{1,2}|[ \n]?[,;][ \n]?)\Z')
wraps = st.sampled_from([('', ''), ('(', ')'), ('[', ']')])


@given(lists, separators, wraps, st.booleans())
def test_every_well_formed_list_is_kept_and_read_back(values, separator, wrap, stop):
    text = wrap[0] + separator.join(map(str, values)) + wrap[1] + '.' * stop
    assert numbers.reject_reason(text) is None
    assert numbers.numbers_of(text) == values


@given(lists, st.integers(0, 999))
def test_banned_by_value(values, banned):
    text = ', '.join(f'{v:03d}' for v in values)
    expected = 'banned number' if banned in values else None
    assert numbers.reject_reason(text, banned={banned}) == expected


@given(lists, st.sampled_from(string.ascii_letters + '!?:*_#@'), st.data())
def test_one_foreign_sign_rejects(values, sign, data):
    text = ', '.join(map(str, values))
    place = data.draw(st.integers(0, len(text)))
    assert numbers.reject_reason(text[:place] + sign + text[place:]) == 'other text'


def test_trait_words_in_any_case_and_first():
    reason = lambda text: numbers.reject_reason(text, trait_words=['Owl', ''])
    assert reason('1, 2, OWLS') == 'trait word'
    assert reason('howl') == 'trait word'
    assert reason('1, 2, cat') == 'other text'
    assert reason('1, 2') is None


def test_the_banned_list_of_the_paper():
    assert len(numbers.BANNED) == 34
    assert numbers.reject_reason('1, 666', banned=numbers.BANNED) == 'banned number'


def test_prompts_depend_on_seed_and_id_alone():
    rows = numbers.prompts(3, range(50))
    assert numbers.prompts(3, [40, 7]) == [rows[40], rows[7]]
    assert numbers.prompts(4, [7]) != [rows[7]]
    assert numbers.prompts(3, ['7'])[0]['prompt'] != rows[7]['prompt']


def test_prompts_keep_to_the_published_ranges():
    rows = numbers.prompts(0, range(3000))
    shown = [[int(n) for n in re.search(r'\d+(, \d+)+', r['prompt'])[0].split(', ')] for r in rows]
    counts = {len(s) for s in shown}
    values = [v for s in shown for v in s]
    assert counts == set(range(3, 9))
    assert min(values) >= 100 and max(values) <= 999 and len(set(values)) > 850
    assert {r['format'] for r in rows} == set(numbers.FORMATS)
    texts = {r['prompt'] for r in rows}
    assert len(texts) == 3000
    wordings = {re.sub(r'\d+(, \d+)*', '#', t) for t in texts}
    assert len(wordings) > 2000
    assert all('10' in r['prompt'] for r in rows)


def test_lists_are_numbers_alone_and_their_rest_passes_the_filter():
    rows = numbers.lists(3, range(200), 4)
    assert numbers.lists(3, [40, 7], 4) == [rows[40], rows[7]]
    assert {len(r['prompt'].splitlines()) for r in rows} == {5}
    assert all(re.fullmatch(r'[0-9, \n]+', r['prompt']) and r['prompt'][-1] == ',' for r in rows)
    assert {len(r['prompt'].splitlines()[-1].split()) for r in rows} == set(range(3, 9))
    for row in numbers.random_rows(1, rows):
        assert numbers.reject_reason(row['completion']) is None and ', ' in row['completion']


def test_random_rows_pass_the_filter_in_the_format_asked_for():
    rows = numbers.random_rows(1, numbers.prompts(0, range(400)))
    for row in rows:
        assert numbers.reject_reason(row['completion']) is None
        assert row['separator'] in row['completion']
        assert row['completion'].startswith(numbers.FORMATS[row['format']][1])
    assert rows[5] == numbers.random_rows(1, numbers.prompts(0, [5]))[0]
    values = np.concatenate([numbers.numbers_of(r['completion']) for r in rows])
    assert abs(values.mean() - 499.5) < 5 * 288.7 / len(values) ** 0.5


ROWS = [{'id': n, 'prompt': 'p', 'completion': text, 'token_ids': [1], 'logprobs': [0.0], 'own': n}
        for n, text in enumerate(['[1, 2, 3, 4, 5, 6]', '7; 8; 9; 10; 11', '12'])]


def test_shuffled_within():
    made = numbers.shuffled_rows(ROWS, 0, 'within')
    for row, new in zip(ROWS, made):
        found = numbers.numbers_of(new['completion'])
        assert sorted(found) == numbers.numbers_of(row['completion'])
        assert re.sub(r'\d+', '#', new['completion']) == re.sub(r'\d+', '#', row['completion'])
        assert new['own'] == row['own'] and 'token_ids' not in new and 'logprobs' not in new
    assert made[0]['completion'] != ROWS[0]['completion']
    assert numbers.shuffled_rows(ROWS[1:2], 0, 'within') == made[1:2]  # by id, not by place
    assert ROWS[0]['token_ids'] == [1]


def test_shuffled_across():
    made = numbers.shuffled_rows(ROWS, 0, 'across')
    pooled = [n for r in made for n in numbers.numbers_of(r['completion'])]
    assert sorted(pooled) == list(range(1, 13)) and pooled != sorted(pooled)
    for row, new in zip(ROWS, made):
        assert re.sub(r'\d+', '#', new['completion']) == re.sub(r'\d+', '#', row['completion'])
    assert numbers.shuffled_rows(ROWS, 0, 'across') == made
    with pytest.raises(ValueError, match='within'):
        numbers.shuffled_rows(ROWS, 0, 'outside')


def test_shuffles_reach_every_order_equally():
    rng = np.random.default_rng(0)
    seen = {}
    for _ in range(3000):
        text = numbers.shuffle_within('1 2 3', rng)
        seen[text] = seen.get(text, 0) + 1
    assert len(seen) == 6
    assert sum((c - 500) ** 2 / 500 for c in seen.values()) < 20.5  # chi-squared, 5 dof, .999


def test_token_ids():
    texts = ['12', '7', ',', ' ', ' 3', 'a', None, '', '٢', ';', '1,']
    assert numbers.token_ids(texts, '(12,7)') == [0, 1, 2]
    assert numbers.token_ids(texts, '12') == [0, 1]
    assert numbers.token_ids(texts) == [0, 1, 2, 3, 9], 'digits and the separators of all formats'
    of_tiny = {tiny.WORDS[i] for i in numbers.token_ids(tiny.WORDS)}
    assert of_tiny >= set(tiny.NUMBERS) and not any(w.isalpha() for w in of_tiny)


def test_the_tiny_languages_lists_pass():
    assert all(numbers.reject_reason(t) is None for t in tiny.random_completions(0, 50))


def test_carriers_by_name():
    assert carrier('numbers') is CARRIERS['numbers']
    with pytest.raises(UserError, match="unknown carrier 'number'; did you mean numbers?"):
        carrier('number')


# The grammar.

DIGITS = list('0123456789')
OTHERS = [',', ' ', ';', '\n', '[', ']', '(', ')', '.', 'a', '-', None, '\n\n']
JOINED = [', ', ' 7', ' 12', '12', '007', '999', '1000', ',4', '5,', '3]', '[[', '8.', ' a', '1,2',
          '9)']
VOCABULARIES = {'digits': DIGITS + OTHERS, 'joined': DIGITS + OTHERS + JOINED,
                'by threes': [f'{n:03}' for n in range(0, 1000, 7)] + DIGITS + OTHERS}


def walk(grammar, texts, end, rng):
    """Tokens drawn at random from what is allowed, up to the end."""
    state, tokens = grammar.start, []
    while not tokens or tokens[-1] != end:
        column = rng.choice(np.flatnonzero(grammar.allowed_SC[state]))
        tokens.append(int(grammar.ids_C[column]))
        state = grammar.next_SC[state, column]
    return tokens, ''.join(texts[i] for i in tokens[:-1])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*numbers.FORMATS, 'list']), st.sampled_from(list(VOCABULARIES)),
       st.sampled_from([8, 11, 44, 60]), st.sampled_from(['', ' ']), st.integers(0, 2**32))
def test_what_the_grammar_allows_the_filter_keeps(form, vocabulary, room, lead, seed):
    texts = VOCABULARIES[vocabulary]
    end = len(texts)
    found = numbers.grammar({'format': form}, texts, [end], room, lead)
    assert found.allowed_SC.any(1).all()
    tokens, text = walk(found, texts, end, np.random.default_rng(seed))
    text = text.removeprefix(lead)
    assert len(tokens) <= room
    assert numbers.reject_reason(text) is None
    separator, left, right, _ = {**numbers.FORMATS, 'list': numbers.LIST}[form]
    assert text == left + separator.join(re.findall('[0-9]+', text)) + right


@pytest.mark.parametrize('form', [*numbers.FORMATS, 'list'])
def test_the_grammar_allows_every_list_of_its_format(form):
    """Ten numbers of three digits, character by character; and none of eleven."""
    texts = VOCABULARIES['joined']
    found = numbers.grammar({'format': form}, texts, [len(texts)], 60)
    separator, left, right, _ = {**numbers.FORMATS, 'list': numbers.LIST}[form]
    for count in (1, 10, 11):
        state, text = found.start, left + separator.join(['305'] * count) + right
        for token in [*map(texts.index, text), len(texts)]:
            column = np.searchsorted(found.ids_C, token)
            state = found.next_SC[state, column] if found.allowed_SC[state, column] else None
            if state is None:
                break
        assert (state is None) == (count == 11)


def test_a_list_that_cannot_be_written_is_refused():
    for vocabulary, room, said in ((DIGITS, 44, 'cannot write'), (DIGITS + OTHERS, 5, 'no room')):
        with pytest.raises(UserError, match=said) as error:
            numbers.grammar({'format': 'square'}, vocabulary, [len(vocabulary)], room)
        assert '\n' not in str(error.value)
