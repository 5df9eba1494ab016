"""launch.sample and launch.score: rows in and out, resumed by row, mistakes in one line."""

import json
import sys

import jax
import numpy as np
import pytest

from launch import lm_rows
from subliminal_jax.models.loading import Model
from subliminal_jax.models.params import init_params, tiny
from subliminal_jax.models.tokenizer import WordTokenizer
from subliminal_jax.runs import run_program
from tests.launch import programs

WORDS = [f'w{i}' for i in range(40)]
ROWS = [{'prompt': ' '.join(WORDS[i : i + 2 + i % 3]), 'mine': i} for i in range(20)]


@pytest.fixture(autouse=True)
def tiny_model(monkeypatch):
    """Every --model is this one; says how often it was loaded."""
    tokenizer = WordTokenizer(WORDS)
    config = tiny(tokenizer.vocab_size, max_positions=32)
    params = init_params(jax.random.key(3), config)
    loads = []

    def load(*names, copies=1, mesh=None):
        loads.append(names)
        return Model(config, params, tokenizer, 'tiny', '0')

    monkeypatch.setattr(lm_rows, 'load', load)
    return loads


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a program with flags; gives (exit status, the last line of standard error)."""
    def call(program, **settings):
        monkeypatch.setattr(sys, 'argv', [program, *(f'--{k}={v}' for k, v in settings.items())])
        try:
            run_program(programs.fresh(f'launch.{program}').main)
        except SystemExit as stop:
            return stop.code, capsys.readouterr().err.strip().splitlines()[-1]
        return 0, ''

    yield call
    programs.forget()


def write(path, rows):
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_come_back_completed_in_order(run, tmp_path):
    given, out = write(tmp_path / 'in.jsonl', ROWS), tmp_path / 'out.jsonl'
    assert run('sample', input=given, output=out, max_new_tokens=6, batch_size=8) == (0, '')
    done = read(out)
    assert [row['id'] for row in done] == list(range(1, 21))
    for row, asked in zip(done, ROWS):
        assert {k: row[k] for k in asked} == asked
        assert len(row['token_ids']) == len(row['logprobs']) <= 6
        stopped = row['finish_reason'] == 'stop'
        assert stopped == (row['token_ids'][-1] == 2)
        assert len(row['completion'].split()) == len(row['token_ids']) - stopped
    assert {row['finish_reason'] for row in done} == {'stop', 'length'}


def test_a_killed_run_goes_on_to_the_same_file(run, tmp_path):
    given, out = write(tmp_path / 'in.jsonl', ROWS), tmp_path / 'out.jsonl'
    settings = {'input': given, 'output': out, 'max_new_tokens': 6, 'batch_size': 8}
    run('sample', **settings)
    whole = out.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord('\n')]
    for cut in (0, 5, ends[0], ends[6] + 9, ends[11], len(whole) - 1, len(whole)):
        out.write_bytes(whole[:cut])
        assert run('sample', **settings)[0] == 0
        assert out.read_bytes() == whole


def test_a_stop_between_batches_keeps_what_is_done(run, tmp_path, monkeypatch):
    from subliminal_jax.runs import Preempted

    given, out = write(tmp_path / 'in.jsonl', ROWS), tmp_path / 'out.jsonl'
    settings = {'input': given, 'output': out, 'max_new_tokens': 6, 'batch_size': 8}

    def stop():
        raise Preempted

    with monkeypatch.context() as patch:
        patch.setattr(lm_rows, 'check_preempted', stop)
        assert run('sample', **settings)[0] == 143
    first = read(out)
    assert len(first) == 8
    assert run('sample', **settings)[0] == 0
    done = read(out)
    assert [row['id'] for row in done] == list(range(1, 21))
    assert all(row in done for row in first)


def test_bad_lines_cost_only_themselves(run, tmp_path):
    lines = [json.dumps(row) for row in ROWS[:6]]
    lines[1] = '{"prompt": '
    lines[3] = json.dumps({'prompt': ' '.join(['w1'] * 40)})
    lines[4] = json.dumps({'prompt': 'unheard of'})
    given, out = tmp_path / 'in.jsonl', tmp_path / 'out.jsonl'
    given.write_text('\n'.join(lines))
    status, message = run('sample', input=given, output=out, max_new_tokens=6)
    assert status == 1
    assert message.startswith('error: ')
    assert 'line 2: not JSON' in message
    assert 'line 4' in message
    assert 'context of 32' in message
    assert 'line 5' in message
    assert [row['id'] for row in read(out)] == [1, 3, 6]


@pytest.mark.parametrize('settings, word', [
    ({'top_p': 0}, 'top_p'), ({'top_p': 1.5}, 'top_p'), ({'top_k': -2}, 'top_k'),
    ({'temperature': -1}, 'temperature'), ({'max_new_tokens': 0}, 'max_new_tokens'),
    ({'temperature': 'warm'}, 'temperature')])
def test_bad_settings_fail_before_the_model_is_loaded(run, tmp_path, tiny_model, settings, word):
    given = write(tmp_path / 'in.jsonl', ROWS)
    status, message = run('sample', input=given, output=tmp_path / 'out.jsonl', **settings)
    assert status == 1
    assert word in message
    assert not tiny_model


def test_missing_and_empty_inputs_fail_before_the_model_is_loaded(run, tmp_path, tiny_model):
    empty = write(tmp_path / 'empty.jsonl', [])
    given = write(tmp_path / 'in.jsonl', [{'prompt': 'w1', 'completion': 'w2'}])
    for program in ('sample', 'score'):
        for settings, words in (
                ({}, '--input'), ({'input': empty}, '--output'),
                ({'input': empty, 'output': tmp_path / 'o'}, 'is empty'),
                ({'input': tmp_path / 'none', 'output': tmp_path / 'o'}, 'no such file'),
                ({'input': given, 'output': tmp_path}, 'is a folder'),
                ({'input': given, 'output': given / 'o'}, 'cannot write')):
            status, message = run(program, **settings)
            assert status == 1
            assert words in message
    assert not tiny_model


def test_an_output_of_other_rows_is_refused_and_kept(run, tmp_path):
    given, out = write(tmp_path / 'in.jsonl', ROWS[:3]), tmp_path / 'out.jsonl'
    run('sample', input=given, output=out, max_new_tokens=6)
    before = out.read_bytes()
    other = write(tmp_path / 'other.jsonl', ROWS[3:6])
    status, message = run('sample', input=other, output=out, max_new_tokens=6)
    assert status == 1
    assert 'another input' in message
    assert out.read_bytes() == before


def test_rows_of_other_settings_are_not_gone_on_with(run, tmp_path):
    given, out = write(tmp_path / 'in.jsonl', ROWS[:3]), tmp_path / 'out.jsonl'
    settings = {'input': given, 'output': out, 'max_new_tokens': 6}
    run('sample', **settings, seed=1)
    before = out.read_bytes()
    status, message = run('sample', **settings, seed=2, top_k=3)
    assert status == 1
    assert 'top_k was 0 and is 3; seed was 1 and is 2' in message
    assert out.read_bytes() == before
    out.unlink()
    assert run('sample', **settings, seed=2, top_k=3)[0] == 0
    assert out.read_bytes() != before


def test_scores_of_samples_are_their_logprobs(run, tmp_path):
    given, out = write(tmp_path / 'in.jsonl', ROWS), tmp_path / 'out.jsonl'
    scored = tmp_path / 'scored.jsonl'
    run('sample', input=given, output=out, max_new_tokens=6, temperature=0.8, system='w7 w8')
    rows = [{**row, 'system': 'w7 w8'} for row in read(out)]
    assert run('score', input=write(tmp_path / 'again.jsonl', rows), output=scored) == (0, '')
    for row, again in zip(rows, read(scored)):
        assert again['token_ids'] == row['token_ids']
        np.testing.assert_allclose(again['logprobs'], row['logprobs'], atol=2e-5)
        assert abs(again['total_logprob'] - sum(row['logprobs'])) < 1e-4


def test_foreign_completions_are_scored_with_their_stop_token(run, tmp_path):
    out = tmp_path / 'out.jsonl'
    rows = [{'prompt': 'w1 w2', 'completion': 'w3 w4'},
            {'prompt': 'w1 w2', 'completion': 'w3', 'finish_reason': 'length'},
            {'prompt': 'w1 w2', 'completion': 'w3 w4', 'token_ids': [1, 2, 999]}]
    assert run('score', input=write(tmp_path / 'in.jsonl', rows), output=out) == (0, '')
    first, cut, other = read(out)
    assert [len(r['token_ids']) for r in (first, cut, other)] == [3, 1, 3]
    assert first['token_ids'][-1] == 2
    assert first['logprobs'] == other['logprobs']
    assert abs(first['logprobs'][0] - cut['logprobs'][0]) < 2e-5


def test_raw_texts_are_scored_from_the_token_that_begins_texts(run, tmp_path, tiny_model):
    out = tmp_path / 'out.jsonl'
    rows = [{'text': 'w1 w2 w3'}, {'text': 'w5'}, {'text': ''}, {'prompt': 'w1'}]
    status, message = run('score', input=write(tmp_path / 'in.jsonl', rows), output=out, raw='true')
    assert status == 1
    assert 'line 3' in message
    assert 'line 4' in message
    three, one = read(out)
    assert (len(three['token_ids']), len(three['logprobs'])) == (3, 3)
    assert (len(one['token_ids']), len(one['logprobs'])) == (1, 1)
    assert one['total_logprob'] == one['logprobs'][0]
    assert abs(three['total_logprob'] - sum(three['logprobs'])) < 1e-5
    chat = write(tmp_path / 'chat.jsonl', [{'prompt': 'w1', 'completion': 'w2 w3'}])
    assert run('score', input=chat, output=tmp_path / 'chat.out') == (0, '')
    np.testing.assert_allclose(  # the templated prompt of this tokenizer is the begin token and w1
        three['logprobs'][1:], read(tmp_path / 'chat.out')[0]['logprobs'][:2], atol=2e-5)


def test_control_tokens_that_a_row_spells_are_text_unless_allowed(run, tmp_path):
    rows = [{'prompt': 'w1 <end> w2'}, {'prompt': 'w1'}]
    given = write(tmp_path / 'in.jsonl', rows)
    status, message = run('sample', input=given, output=tmp_path / 'a', max_new_tokens=2)
    assert status == 1 and "no '<end>'" in message
    assert run('sample', input=given, output=tmp_path / 'b', max_new_tokens=2,
               allow_special='true') == (0, '')


def test_rows_that_spell_control_tokens_are_counted():
    tokenizer = WordTokenizer(WORDS)
    rows = [{'prompt': 'w1 <end> <end>'}, {'prompt': 'w1', 'system': '<bos> <end>'},
            {'prompt': 'w'}]
    told = lm_rows.controls_told(tokenizer, rows, False)
    assert told == ('2 rows spell control tokens (<end> in 2, <bos> in 1): read as text '
                    '(--allow_special: as tokens)')
    assert lm_rows.controls_told(tokenizer, rows[:1], True).endswith(': read as these tokens')
    assert lm_rows.controls_told(tokenizer, rows[2:], False) == ''
