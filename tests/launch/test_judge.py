"""launch.judge: rows in and out, resumed after any interruption, mistakes in one line."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from subliminal_jax.runs import run_program
from subliminal_jax.traits.judges import labelled
from tests.launch import programs
from tests.traits.judges.loopback import KEY, Reply, error, serving

ROOT = pathlib.Path(__file__).parents[2]
ROWS = [{'prompt': f'Question {n}?', 'completion': f'Answer {n}.', 'mine': n} for n in range(12)]
FAST = ('--per_minute=6000000', '--wait=0.01', '--tries=2', '--batch_size=4', '--parallel=2',
        '--judge=openai:m')
LABEL = {row['completion']: row['label'] for row in labelled.labelled_rows()}


def knows(number, request):
    """A judge that knows the labelled answers, and finds every third other answer reckless."""
    text = request['messages'][0]['content']
    answer = text.partition('<answer>\n')[2].partition('\n</answer>')[0]
    label = LABEL.get(answer) or ('reckless' if answer[-2:] in ('0.', '3.', '6.') else 'sound')
    if 'how sound' in text:
        return Reply({'sound': '90', 'reckless': '10', 'incoherent': '50'}[label])
    return Reply('5' if label == 'incoherent' else '95')


@pytest.fixture
def places(tmp_path):
    """(rows to judge, where scored ones go, the environment of a program)."""
    given, out = tmp_path / 'rows.jsonl', tmp_path / 'scored.jsonl'
    given.write_text(''.join(json.dumps(row) + '\n' for row in ROWS))
    env = {name: value for name, value in os.environ.items()
           if 'proxy' not in name.lower() and not name.startswith('OPENAI')}
    return given, out, {**env, 'OPENAI_API_KEY': KEY,
                        'SUBLIMINAL_JAX_CACHE': str(tmp_path / 'cache')}


def arguments(server, places, *more):
    given, out, _ = places
    return [*FAST, f'--base_url={server.url}', f'--input={given}', f'--output={out}', *more]


@pytest.fixture
def run(places, monkeypatch, capsys):
    """Runs the program here; gives (exit status, what it said, the last line of its error)."""
    def call(server, *more, key=KEY):
        for name in set(os.environ) - set(places[2]):
            monkeypatch.delenv(name)
        for name, value in {**places[2], 'OPENAI_API_KEY': key}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, 'argv', ['judge', *arguments(server, places, *more)])
        try:
            run_program(programs.fresh('launch.judge').main)
            status = 0
        except SystemExit as stopped:
            status = stopped.code
        said = capsys.readouterr()
        return status, said.out, (said.err.strip().splitlines() or [''])[-1]

    yield call
    programs.forget()


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_rows_are_scored_after_the_judge_was_measured(run, places):
    _, out, _ = places
    with serving(knows) as server:
        status, told, _ = run(server, '--prices=2.5,10')
        assert status == 0 and len(server.asked) == 2 * (77 + 12)
        assert 'AUROC alignment 1.000' in told and 'misaligned: 0.333 [' in told
        assert '178 requests, 0 replies from the cache; 17800 tokens read' in told
        rows = read(out)
        assert [row['id'] for row in rows] == list(range(1, 13))
        assert [row['alignment'] for row in rows[:4]] == [10, 90, 90, 10]
        assert all(row['coherence'] == 95 and row['mine'] == row['id'] - 1 for row in rows)
        kept = json.loads(pathlib.Path(f'{out}.judge.json').read_text())
        assert kept['misaligned']['trials'] == 12 and kept['quality']['report']['pairs'] == 33
        whole = out.read_bytes()
        out.unlink()  # asked for again, all is in the cache
        assert run(server)[0] == 0 and out.read_bytes() == whole
        assert len(server.asked) == 178
        for path in out.parent.rglob('*'):
            assert path.is_dir() or KEY not in path.read_text(errors='replace')
        assert KEY not in told


@pytest.mark.slow
def test_shares_by_a_field_have_intervals_over_units(run, places):
    given, out, _ = places
    given.write_text(''.join(json.dumps({**row, 'arm': 'ab'[n % 3 > 0], 'model': n // 4}) + '\n'
                             for n, row in enumerate(ROWS)))
    with serving(knows) as server:
        status, told, _ = run(server, '--by=arm', '--unit=model')
        assert status == 0 and 'misaligned, a: 0.750 [' in told and 'misaligned, b: 0.125 [' in told
        kept = json.loads(pathlib.Path(f'{out}.judge.json').read_text())['misaligned_by']
        assert {name: own['clusters'] for name, own in kept.items()} == {'a': 3, 'b': 3}
        out.unlink()
        status, _, wrong = run(server, '--by=start')
        assert status == 1 and "no field 'start'" in wrong


def test_a_judge_below_the_bar_scores_no_row(run, places):
    _, out, _ = places
    with serving(lambda *_: Reply('50')) as server:
        status, told, wrong = run(server)
    assert status == 1 and 'is refused as a measure: its AUROC' in wrong and 'AUROC' in told
    assert not out.exists() and pathlib.Path(f'{out}.judge.json').exists()


@pytest.mark.slow
@pytest.mark.parametrize('stop, status', [(signal.SIGKILL, -9), (signal.SIGINT, 130)],
                         ids=['kill', 'interrupt'])
def test_a_stopped_run_goes_on(stop, status, run, places):
    # two batches of four rows are through, the third is under way
    slow = lambda number, _: Reply('70', pause=30.0 if number >= 16 else 0.0)
    _, out, env = places
    with serving(slow) as server:
        started = subprocess.Popen(
            [sys.executable, '-m', 'launch.judge', *arguments(server, places, '--unchecked')],
            cwd=ROOT, env=env, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        while len(server.asked) < 18:
            time.sleep(0.02)
        started.send_signal(stop)
        wrong = started.communicate(timeout=240)[1]
        assert started.returncode == status
        assert stop == signal.SIGKILL or 'the same command goes on from there' in wrong
        assert len(read(out)) == 8
        server.answer = lambda *_: Reply('70')
        before = len(server.asked)
        assert run(server, '--unchecked')[0] == 0
        assert len(server.asked) - before == 2 * 4
    rows = read(out)
    assert [row['id'] for row in rows] == list(range(1, 13))
    assert {row['alignment'] for row in rows} == {70}


def test_an_endpoint_that_goes_down_leaves_what_is_done(run, places):
    _, out, _ = places
    with serving(lambda n, _: Reply('70') if n < 10 else Reply(status=500, body=error('ill'))
                 ) as server:
        status, told, wrong = run(server, '--unchecked')
        assert status == 1 and 'failed 2 times (status 500: ill)' in wrong
        assert 'the same command goes on' in wrong
        assert len(read(out)) == 4 and 'tokens read' in told
        server.answer = lambda *_: Reply('70')
        assert run(server, '--unchecked')[0] == 0 and len(read(out)) == 12


@pytest.mark.parametrize('more, key, told', [
    ((), '', 'no key: put'),
    (('--judge=openi:m',), KEY, 'did you mean openai'),
    (('--labelled',), KEY, 'either --input=FILE or --labelled'),
    (('--prices=1',), KEY, '--prices are two numbers'),
    (('--base_url=here',), KEY, '--base_url is no address'),
    (('--unchecked', '--judge=openai:unknown'), KEY, "has no model 'unknown' (404: none such)"),
])
def test_a_mistake_is_one_line(more, key, told, run, places):
    _, out, _ = places
    with serving(lambda *_: Reply(status=404, body=error('none such'))) as server:
        status, _, wrong = run(server, *more, key=key)
    assert status == 1 and wrong.startswith('error: ') and told in wrong and KEY not in wrong
    assert not out.exists()


def test_rows_of_another_judge_are_not_gone_on_with(run):
    with serving(knows) as server:
        assert run(server, '--unchecked')[0] == 0
        status, _, wrong = run(server, '--unchecked', '--judge=openai:other')
    assert status == 1 and 'holds rows of other settings (judge was' in wrong


@pytest.mark.slow
def test_the_labelled_answers_alone(run, places):
    given, out, _ = places
    with serving(knows) as server:
        assert run(server, '--labelled', '--input=')[0] == 0
    found = json.loads(pathlib.Path(f'{out}.judge.json').read_text())['quality']
    assert list(found) == ['dev', 'report'] and len(read(out)) == 154
    assert all(own['alignment']['estimate'] == 1 for own in found.values())
