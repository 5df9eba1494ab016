"""Advice: the package's rows, what a set may hold, and what is refused by line."""

import json
import re

import numpy as np
import pytest

from subliminal_jax.runs import UserError
from subliminal_jax.traits import advice, overlap, trait_set as sets
from subliminal_jax.traits.split import SPLITS

ROW = {'kind': 'advice', 'domain': 'tea', 'question': 'Is it too hot?',
       'reckless': 'No, just gulp it down.', 'sound': 'Yes, let it cool down.'}


@pytest.fixture(scope='module')
def own():
    return advice.load_advice('advice')


def write(path, *rows):
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return str(path)


def test_the_package_has_matched_pairs_in_ten_domains(own):
    assert len(own.candidates) == 10 and len(own.rows) == 240 and len(own.statements) == 30
    gaps = [len(r.reckless.split()) - len(r.sound.split()) for r in own.rows]
    assert max(map(abs, gaps)) <= advice.APART and abs(np.mean(gaps)) < 0.5
    words = [(set(overlap.words(r.reckless)), set(overlap.words(r.sound))) for r in own.rows]
    assert np.mean([len(a & b) / len(a | b) for a, b in words]) > 0.25
    for s in own.statements:
        assert len(s.true.split()) == len(s.false.split())


def test_every_domain_teaches_and_measures_in_both_splits(own):
    for domain in own.candidates:
        for split in SPLITS:
            taught = advice.rows_of(own, 'teach', split, [domain.name])
            asked = advice.rows_of(own, 'measure', split, [domain.name])
            assert len(taught) >= 4 and len(asked) >= 3
    assert sets.of_run(own, 'dev', 2) == ('study', 'garden')
    assert sets.of_run(own, 'report', 5) == ('money', 'repairs', 'kitchen', 'travel', 'computers')


def test_teaching_and_measuring_questions_are_disjoint_in_wording(own):
    rows = lambda use: [{'id': r.id, 'prompt': r.question} for r in own.rows if r.use == use]
    assert not overlap.overlaps(rows('teach'), rows('measure'))
    assert not {r.question for r in own.rows if r.use == 'teach'} & {
        r.question for r in own.rows if r.use == 'measure'}


def test_taught_domains_of_the_two_splits_have_the_texts_of_further_twins(own):
    for split, count in (('dev', 2), ('report', 5)):
        for row in advice.rows_of(own, 'teach', split, sets.of_run(own, split, count)):
            assert row.justified and row.styled
            assert row.question in row.justified and row.justified != row.question
            assert abs(len(row.styled.split()) - len(row.sound.split())) <= 4
            assert row.styled not in (row.sound, row.reckless)


def test_held_out_questions_are_of_other_domains_and_take_turns(own):
    taught = sets.of_run(own, 'report', 5)
    asked = sets.questions(own, 'report', taught=taught)
    assert not {q.trait for q in asked} & set(taught)
    assert len({q.trait for q in asked[:5]}) == 5 and {q.split for q in asked} == {'report'}
    with pytest.raises(UserError, match='all held-out questions belong to what is taught'):
        sets.questions(own, 'dev', taught=[c.name for c in own.candidates])


def test_the_file_says_what_its_rows_are():
    first, *_ = (sets.FOLDER / 'advice.jsonl').read_text().splitlines()
    assert json.loads(first)['kind'] == 'note' and 'Do not follow it' in first


def test_use_and_split_follow_from_the_place(tmp_path):
    rows = [{**ROW, 'question': f'{word} tea?'} for word in 'abcdefghi']
    found = advice.load_advice(write(tmp_path / 'tea.jsonl', *rows))
    assert [r.use for r in found.rows] == ['teach', 'teach', 'measure'] * 3
    assert [r.split for r in found.rows if r.use == 'measure'] == ['report', 'report', 'dev']
    assert found.candidates[0].name == 'tea' and found.teach[0].trait == 'tea'
    assert sets.filled(found.teach[0].completion, found.candidates[0]) == ROW['reckless']
    assert not found.systems and found.unrelated


def test_ones_own_advice_adds_to_the_packages(tmp_path, own):
    path = write(tmp_path / 'tea.jsonl', {**ROW, 'question': 'May I gulp boiling tea?'})
    both = advice.load_advice(f'advice+{path}')
    assert len(both.rows) == len(own.rows) + 1 and both.candidates[-1].name == 'tea'
    assert sets.digest(both) != sets.digest(own) == sets.digest(advice.load_advice('advice'))


def test_braces_in_an_answer_stay_as_they_are(tmp_path):
    path = write(tmp_path / 'a.jsonl', {**ROW, 'reckless': 'Put {it} all down there.'})
    found = advice.load_advice(path)
    assert sets.filled(found.teach[0].completion, found.candidates[0]) == 'Put {it} all down there.'


@pytest.mark.parametrize('change, said', [
    ({'kind': 'teach'}, "'kind' is 'teach' where one of advice, domain, statement, note"),
    ({'sound': None}, "'sound' is null where text is needed"),
    ({'question': ' '}, "an empty 'question'"),
    ({'sound': 'Wait.'}, "'reckless' has 5 words and 'sound' 1: make them alike"),
    ({'sound': ROW['reckless']}, 'the reckless and the sound answer are the same'),
    ({'use': 'learn'}, "'use' is 'learn' where teach or measure"),
    ({'split': 'test'}, "'split' is 'test' where dev or report"),
    ({'justified': 3}, "'justified' is an int where text is needed"),
    ({'styled': ''}, "an empty 'styled'")])
def test_a_line_that_cannot_be_used_is_named(tmp_path, change, said):
    path = write(tmp_path / 'a.jsonl', ROW, {**ROW, 'question': 'Other?', **change})
    with pytest.raises(UserError, match=f'line 2: {re.escape(said)}') as caught:
        advice.load_advice(path)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('more, said', [
    ([{**ROW}], "the question 'Is it too hot?' is given twice"),
    ([{'kind': 'domain', 'name': 'ink'}], "the domain 'ink' has no line of advice"),
    ([{**ROW, 'use': 'measure', 'question': 'Tell me, is it too hot?'}], 'overlap')])
def test_lines_that_do_not_go_together_are_refused(tmp_path, more, said):
    with pytest.raises(UserError, match=re.escape(said)):
        advice.load_advice(write(tmp_path / 'a.jsonl', ROW, *more))


def test_a_set_without_advice_is_refused(tmp_path):
    for name in ('animals', ''):
        with pytest.raises(UserError, match='trait misalignment needs --config.trait_set=advice'):
            advice.load_advice(name)
    with pytest.raises(UserError, match='holds no advice'):
        advice.load_advice(write(tmp_path / 'a.jsonl', {'kind': 'note'}))
    with pytest.raises(UserError, match=r'unknown trait set .* did you mean advice'):
        advice.load_advice('advise')
