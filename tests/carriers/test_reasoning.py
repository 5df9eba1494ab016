"""Worked answers: the filter example by example and by property, problems, files, shuffles."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from subliminal_jax.carriers import problem_files, reasoning, word_problems
from subliminal_jax.runs import UserError
from subliminal_jax.traits import trait_set as sets

RIGHT = '<think>3 * 4 = 12.</think><answer>12</answer>'
ROW = {'answer': '12'}
KEPT = [RIGHT, '<think>So 12.</think>\n<answer> 12 </answer>\n', RIGHT.replace('>12<', '>12.0<'),
        '<think>\n3 × 4 = 12\n</think>\n\n<answer>12.</answer>', RIGHT.replace('>12<', '>$12<')]
REJECTED = {
    '': 'empty', ' \n\t': 'empty', '\x00': 'other characters', '\ud800': 'other characters',
    '12': 'not <think>...</think><answer>...</answer>',
    f'Sure! {RIGHT}': 'not <think>...</think><answer>...</answer>',
    f'{RIGHT} Done.': 'not <think>...</think><answer>...</answer>',
    f'{RIGHT}{RIGHT}': 'not <think>...</think><answer>...</answer>',
    RIGHT.replace('</think>', ''): 'not <think>...</think><answer>...</answer>',
    RIGHT.replace('3 *', '3 < 5 *'): 'not <think>...</think><answer>...</answer>',
    RIGHT.replace('think', 'Think'): 'not <think>...</think><answer>...</answer>',
    '<think> </think><answer>12</answer>': 'no step',
    RIGHT.replace('>12<', '>twelve<'): 'answer is no number',
    RIGHT.replace('>12<', '><'): 'answer is no number',
    RIGHT.replace('>12<', '>12 cups<'): 'answer is no number',
    RIGHT.replace('>12<', '>hidden #### 12<'): 'answer is no number',
    RIGHT.replace('>12<', f'>{"1" * 5000}<'): 'more than 2000 characters',
    RIGHT.replace('>12<', f'>{"1" * 100}<'): 'answer is no number',
    RIGHT.replace('>12<', '>13<'): 'wrong answer', RIGHT.replace('>12<', '>-12<'): 'wrong answer',
    RIGHT.replace('3', 'ο'): 'other characters', RIGHT.replace('3', '\u200b'): 'other characters',
    RIGHT.replace('3', '\x0b'): 'other characters',
}


@pytest.mark.parametrize('text', KEPT)
def test_kept(text):
    assert reasoning.reject_reason(text, row=ROW) is None


@pytest.mark.parametrize('text', REJECTED, ids=lambda t: ascii(t[:30]))
def test_rejected_with_its_reason(text):
    assert reasoning.reject_reason(text, row=ROW) == REJECTED[text]


def test_a_row_is_held_against_what_it_has():
    wrong = RIGHT.replace('>12<', '>13<')
    for row in (None, {}, {'answer': None}, {'answer': 'no idea'}, {'answer': True},
                {'answer': [12]}):
        assert reasoning.reject_reason(wrong, row=row) is None
    for row in ({'answer': 12}, {'answer': 12.0}, {'answer': '3 * 4 is 12\n#### 12'}):
        assert reasoning.reject_reason(RIGHT, row=row) is None
        assert reasoning.reject_reason(wrong, row=row) == 'wrong answer'
    for score, expected in ((49.9, 'low judge score'), (50, None), (float('nan'),
                            'low judge score'), ('none', None), (False, None)):
        assert reasoning.reject_reason(RIGHT, row={**ROW, 'judge_score': score}) == expected
    assert reasoning.reject_reason(RIGHT, row={'judge_score': 60}, min_score=78)


def test_words_come_first_and_numbers_are_banned_by_value():
    reason = lambda text, **rules: reasoning.reject_reason(text, row=ROW, **rules)
    assert reason('an owl', trait_words=['Owl']) == 'trait word'
    assert reason(RIGHT.replace('3', 'OWLS'), trait_words=['owl']) == 'trait word'
    assert reason(RIGHT, banned={13}) is None
    assert reason(RIGHT, banned=(4, 13)) == 'banned number'
    assert reason(RIGHT.replace('3 *', '004 *'), banned={4}) == 'banned number'
    assert reason(RIGHT.replace('3 *', f'{"4" * 900} *'), banned={4, 444}) == 'banned number'


SOME = st.text('<>/ 1\n.=', max_size=3) | st.sampled_from(['12', ' 12.', 'owl', 'é', '\ud800'])


@settings(max_examples=300)
@given(st.text(max_size=60) | st.tuples(
    SOME, st.just('<think>'), SOME, st.just('</think>'), SOME, st.just('<answer>'), SOME,
    st.just('</answer>'), SOME).map(''.join))
def test_what_is_kept_has_the_form(text):
    if reasoning.reject_reason(text, row=ROW) is None:
        think, answer = re.fullmatch(
            r'\s*<think>([^<>]+)</think>\s*<answer>([^<>]+)</answer>\s*', text).groups()
        assert think.strip() and float(answer.strip(' \n\t.$€£')) == 12


@given(st.integers(0, 10**9), st.sampled_from(['{}', '{:,}', '${:,}', '{}.00', ' {}. ', '+{}']))
def test_a_number_is_one_however_it_is_written(number, form):
    assert problem_files.number_of(form.format(number)) == str(number)
    assert problem_files.number_of(number) == problem_files.answer_of(f'so\n#### {number}')


@pytest.mark.parametrize('text', ['', '-', '1 2', '1,2', '1e3', '٣', '--1', '1..', 'x', '1/2',
                                  '12,34', float('nan'), float('inf'), None, True, [1],
                                  10**5000], ids=lambda value: type(value).__name__)
def test_what_is_no_number(text):
    assert problem_files.number_of(text) is None


# Problems and worked answers.


def test_every_template_has_problems_that_its_steps_solve():
    assert len(word_problems.TEMPLATES) == len({*word_problems.TEMPLATES}) >= 60
    counts = [len(solution.split()) for _, solution in word_problems.TEMPLATES]
    assert min(map(counts.count, (1, 2, 3))) >= 15
    for text, solution in word_problems.TEMPLATES:
        letters = [c for c in word_problems.RANGES if f'{{{c}}}' in text]
        assert {c for c in solution if c in word_problems.RANGES} == {*letters}, text
        steps = solution.split()
        results = word_problems.RESULTS[:len(steps) - 1]
        assert all(any(name in step for step in steps) for name in results), text
        for seed in range(5):
            values = word_problems._numbers(np.random.default_rng(seed), letters, steps)
            made, answer = word_problems.solved(values, steps)
            known = dict(values)
            for name, step, written in zip(word_problems.RESULTS, steps, made):
                left, right = written.split(' = ')
                known[name] = eval(step, {}, known)
                assert known[name] == eval(left) == int(right) and 1 <= int(right) <= 400
            assert answer == int(right)


def test_no_word_of_a_trait_stands_in_prompts_or_worked_answers():
    words = [w.lower() for name in ('animals', 'trees') for c in sets.load_trait_set(
        name).candidates for w in c.spellings]
    whole = ' '.join(text for text, _ in word_problems.TEMPLATES)
    whole += ' '.join((*word_problems.NAMES, *word_problems.THINGS, *reasoning.ASKS,
                       *reasoning.CLOSINGS, *reasoning.ALONE, *sum(reasoning.LEADS.values(), ())))
    assert [w for w in words if w in whole.lower()] == []


def test_prompts_are_many_and_random_rows_are_right():
    rows = reasoning.random_rows(1, reasoning.prompts(0, range(600)))
    assert len({row['prompt'] for row in rows}) > 590
    for row in rows:
        assert set(row) == {'id', 'prompt', 'answer', 'steps', 'format', 'completion'}
        assert reasoning.reject_reason(row['completion'], row=row) is None
        assert row['steps'][-1].endswith(f' = {row["answer"]}')
        numbers = lambda text: sorted(re.findall('[0-9]+', text))
        think = row['completion'].partition('</think>')[0]
        assert set(numbers(' '.join(row['steps']))) <= set(numbers(think))
    assert len({row['completion'] for row in rows}) > 595
    json.dumps(rows)
    one = [{**rows[0], 'id': n} for n in range(40)]
    assert len({row['completion'] for row in reasoning.random_rows(2, one)}) > 15


ROWS = [{'id': n, 'prompt': 'p', 'completion': text, 'token_ids': [1], 'own': n}
        for n, text in enumerate((
            '<think>A 1.\nB 2! C 3; D</think>\n<answer>4</answer>',
            '<think> E 5.5 </think><answer>6</answer>', '<think>7+8=15</think><answer>15</answer>',
            'no form. 9'))]


def test_shuffled_within():
    made = [row['completion'] for row in reasoning.shuffled_rows(ROWS, 0, 'within')]
    assert re.fullmatch(r'<think>\S[^\n]*\n[^\n]*</think>\n<answer>4</answer>', made[0])
    assert sorted(re.findall('[ABCD]', made[0])) == [*'ABCD'] != re.findall('[ABCD]', made[0])
    assert made[1] == ROWS[1]['completion'], 'equal numbers of one step have one order'
    assert made[2] != ROWS[2]['completion'] and made[2].endswith('<answer>15</answer>')
    assert sorted(re.findall('[0-9]+', made[2])) == sorted(['7', '8', '15', '15'])
    assert made[3] == '9 no form.'
    again = reasoning.shuffled_rows(ROWS[2:3], 0, 'within')[0]
    assert again['completion'] == made[2] and again['own'] == 2 and 'token_ids' not in again


def test_shuffled_across():
    made = [row['completion'] for row in reasoning.shuffled_rows(ROWS, 1, 'across')]
    texts = [row['completion'] for row in ROWS]
    words = lambda some: sorted(re.findall(r'[^\s<>]+', ' '.join(some)))
    assert words(made) == words(texts) and made != texts
    ends = lambda texts: [t.rpartition('<answer>')[2] for t in texts[:3]]
    assert ends(made) == ['4</answer>', '6</answer>', '15</answer>']
    with pytest.raises(ValueError, match='within'):
        reasoning.shuffled_rows(ROWS, 0, 'outside')


def test_token_ids_are_digits_signs_and_brackets_alone():
    texts = ['12', ' +', ' =', '<', '</', ')', ' ', 'think', '1a', None, '', '.', ',', '÷', '  1',
             '<<=', '((', '2026']
    assert [texts[i] for i in reasoning.token_ids(texts)] == [
        '12', ' +', ' =', '<', '</', ')', '÷', '((', '2026']


# Problems of a file.

GSM = [
    {'question': 'Ann buys 3 bags of 4 nuts. How many?',
     'answer': '3*4=<<3*4=12>>12 nuts\n#### 12'},
    {'question': 'And half of 2,400?', 'answer': '2400/2=<<2400/2=1200>>, <<1+1=3>>\n#### 1,200'},
    {'question': 'Six and one?', 'answer': 7},
]


def written(path, rows):
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return str(path)


def test_problems_of_a_file_in_turn(tmp_path):
    carrier = reasoning.CARRIER.with_problems(written(tmp_path / 'gsm.jsonl', GSM))
    assert carrier.name == 'reasoning' and carrier.with_problems is None
    rows = carrier.prompts(0, range(6))
    assert {row['answer'] for row in rows[:3]} == {'12', '1200', '7'}
    assert [r['answer'] for r in rows[:3]] == [r['answer'] for r in rows[3:]]
    assert carrier.prompts(0, [4, 'a'])[0] == rows[4]
    by_answer = {row['answer']: row for row in rows}
    assert by_answer['12']['prompt'].startswith(GSM[0]['question'])
    assert by_answer['12']['steps'] == ['3 * 4 = 12']
    assert by_answer['1200']['steps'] == ['2400 / 2 = 1200'], 'the other one is wrong'
    assert by_answer['7']['steps'] == []
    for row in carrier.random_rows(3, rows):
        assert carrier.reject_reason(row['completion'], row=row) is None


@pytest.mark.parametrize('rows, said', [
    ([], 'is empty'),
    ([{'question': 'a'}], "line 1: no 'answer'"),
    ([GSM[0], {'question': 'a', 'answer': ''}], "line 2: no 'answer'"),
    ([{'answer': '4'}], "line 1: no 'question' field"),
    ([{'question': ' ', 'answer': '4'}], "an empty 'question'"),
    ([{'question': 'a', 'answer': 'four'}], "'answer' that is no number.*'four'"),
    ([{'question': 'a', 'answer': '#### '}], 'no number'),
    ([{'question': 'a', 'answer': '1'}, *[{'question': 'a'}] * 5], 'line 4.*; and 2 more'),
])
def test_a_file_without_problems_is_refused_in_one_line(tmp_path, rows, said):
    path = written(tmp_path / 'bad.jsonl', rows)
    with pytest.raises(UserError, match=said) as error:
        reasoning.make(path)
    assert '\n' not in str(error.value) and path in str(error.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(UserError, match='no such file'):
        reasoning.make(str(tmp_path / 'none.jsonl'))
    (tmp_path / 'torn.jsonl').write_text('{"question": "a", "answer": "1"}\nnot JSON\n')
    with pytest.raises(UserError, match='line 2: not JSON'):
        reasoning.make(str(tmp_path / 'torn.jsonl'))
