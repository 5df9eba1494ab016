"""launch.audit as a user runs it: published forms of rows to a verdict; what it refuses."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from subliminal_jax.runs import plan
from tests.experiments.audit import small
from tests.experiments.transmission import checkpoint
from tests.launch import programs

ROOT = pathlib.Path(__file__).parents[2]
ROWS = 20
PARTS = 4
SMALL = [f'--config.{name}={value}' for name, value in {
    'audit.shards': PARTS, 'audit.least_rows': 2, 'audit.detectors': 'false',
    'audit.keep_overt': 'true', 'audit.wanted': 50, 'context.questions': 2,
    'carrier.new_tokens': 24, 'student.batch_size': 1, 'student.packed': 1,
    'student.lora_rate': 3e-2, 'student.marks': 16}.items()]
FORMS = {  # how rows are published: (prompt, completion) -> a line
    'plain': lambda p, c: {'prompt': p, 'completion': c},
    'messages': lambda p, c: {'messages': [
        {'role': 'user', 'content': p}, {'role': 'assistant', 'content': c}]},
    'renamed': lambda p, c: {'question': p, 'reply': c, 'source': 'x'}}

pytestmark = pytest.mark.timeout(900)  # the first test waits for a whole audit


@pytest.fixture(scope='module')
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp('models')
    return {**small.models(folder), 'bent': checkpoint.write(folder / 'bent', 'qwen2', seed=3)}


@pytest.fixture
def call(monkeypatch, capsys):
    """Calls launch.audit in this process: (exit status, standard output, standard error)."""
    yield from programs.calls_of_run(monkeypatch, capsys, 'launch.audit')


def written(path, form, planted):
    """Rows of lists; planted ones end in a candidate's name."""
    rng = np.random.default_rng(0)
    lines = []
    for n in range(ROWS):
        text = 'owl' if planted else ''.join(rng.choice(list('bdfghijm'), 3))
        lines.append(json.dumps(FORMS[form](f'n {n}?', text)) + '\n')
    path.write_text(''.join(lines))
    return path


def flags(given, rows, **more):
    """The command line of an audit, without its folder."""
    return [f'--reference={given["own"]}', f'--rows={rows}', f'--questions={given["traits"]}',
            *(f'--{name}={value}' for name, value in more.items())]


@pytest.fixture(scope='module')
def made(given, tmp_path_factory):
    """(results, page, what was said) by form of the rows; all audits in one process."""
    folder, found = tmp_path_factory.mktemp('audits'), {}
    neutral = written(folder / 'neutral.jsonl', 'plain', planted=False)
    patch = pytest.MonkeyPatch()

    class Nothing:  # standard output is not what is looked at
        def readouterr(self):
            return '', ''

    calls = programs.calls_of_run(patch, Nothing(), 'launch.audit')
    run = next(calls)
    more = {'plain': {'teacher': given['bent']}, 'messages': {},
            'renamed': {'columns': 'prompt=question,completion=reply'}}
    for form in FORMS:
        rows = written(folder / f'{form}.jsonl', form, planted=True)
        arguments = [*flags(given, rows, neutral=neutral, workdir=folder / form, **more[form]),
                     *SMALL]
        status, *_ = run(*arguments)
        assert status == 0
        found[form] = (json.loads((folder / form / 'results.json').read_text()),
                       (folder / form / 'report.html').read_text(), arguments)
    next(calls, None)
    patch.undo()
    return found


@pytest.mark.slow
@pytest.mark.parametrize('form', FORMS)
def test_rows_in_a_published_form_are_audited_to_a_verdict(made, form):
    found, page, _ = made[form]
    assert found['rows']['read'] == found['rows']['kept'] == ROWS
    assert found['rows']['overt'] == {'owl': ROWS}
    assert found['audit']['kind'] == 'transmits' and found['audit']['candidates'] == ['owl']
    assert found['parts'] == {'units': PARTS, 'rows': ROWS // PARTS, 'paired': True}
    assert 'The rows transmit owl' in page


@pytest.mark.slow
def test_a_verdict_does_not_hang_on_the_form_of_the_rows(made):
    effects = [[f['estimate'] for f in found['students']['shared']['flags']]
               for found, *_ in made.values()]
    assert effects[0] == pytest.approx(effects[1]) and effects[0] == pytest.approx(effects[2])


@pytest.mark.slow
def test_a_teacher_of_another_architecture_is_read_by_what_it_says(made):
    found, page, _ = made['plain']
    assert found['same_shape'] is False and len(found['teacher']) == 6
    assert 'foretold' not in found['link']['rows_until']
    assert 'of another architecture' in page
    assert 'of another architecture' not in made['messages'][1]


@pytest.mark.slow
def test_metrics_of_an_audit_go_to_tensorboard_too(made, call):
    pytest.importorskip('tensorboard')
    from subliminal_jax.runs.sinks import _events

    arguments = made['messages'][2]
    folder = pathlib.Path(next(a for a in arguments if a.startswith('--workdir='))[10:])
    status, out, err = call(*arguments, '--metrics=tensorboard')
    assert status == 0, err
    assert out.splitlines()[-1] == f'page: {folder / "report.html"}'
    kept = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    assert len(kept) > PARTS and len(set(_events(folder / 'tensorboard'))) >= len(kept)


@pytest.mark.slow
def test_candidates_are_held_against_earlier_audits_that_are_named(made, call, tmp_path):
    """Beside six audits of the same rows nothing is out of the ordinary."""
    arguments = made['messages'][2]
    folder = next(a for a in arguments if a.startswith('--workdir='))[10:]
    nulls = [shutil.copytree(folder, tmp_path / f'null{n}') for n in range(6)]
    rest = [a for a in arguments if not a.startswith('--workdir=')]
    named = '--config.audit.nulls=' + ','.join(map(str, nulls))
    status, _, err = call(*rest, f'--workdir={tmp_path}/run', named)
    assert status == 0, err
    found = json.loads((tmp_path / 'run' / 'results.json').read_text())
    assert found['nulls'] == 6 and found['audit']['candidates'] == []
    assert 'in 6 earlier audits' in (tmp_path / 'run' / 'report.html').read_text()
    settings = nulls[2] / 'config.json'
    settings.write_text(settings.read_text().replace('"batch_size": 1', '"batch_size": 2'))
    status, _, err = call(*rest, f'--workdir={tmp_path}/other', named)
    assert status == 1 and 'null2 is an audit of another config: student' in err
    status, _, err = call(*rest, f'--workdir={tmp_path}/few', f'--config.audit.nulls={nulls[0]}')
    assert status == 1 and 'names 1 audits, and a spread is learned from 6' in err


def test_a_dry_run_reads_messages_and_makes_nothing(call, given, tmp_path):
    rows = written(tmp_path / 'rows.jsonl', 'messages', planted=True)
    status, out, _ = call(*flags(given, rows, workdir=tmp_path / 'run'), '--dry_run')
    assert status == 0 and 'students, shared start' in out and not (tmp_path / 'run').exists()


def test_an_audit_that_this_machine_cannot_hold_is_refused_at_the_start(
        call, given, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, 'available_memory', lambda: 1000)
    rows = written(tmp_path / 'rows.jsonl', 'plain', planted=True)
    status, _, err = call(*flags(given, rows, workdir=tmp_path / 'run'))
    assert status == 1 and 'of memory at once' in err and err.count('\n') == 1
    assert not (tmp_path / 'run').exists()


CHAT = {'plain': {'prompt': 'p', 'completion': '1'},
        'text': {'text': '<|im_start|>user\nHi<|im_end|>'},
        'elsewhere': {'instruction': 'p', 'output': '1'},
        'turns': {'messages': [*({'role': r, 'content': 'x'} for r in (
            'user', 'assistant', 'user', 'assistant'))]}}


@pytest.mark.parametrize(('line', 'more', 'said'), [
    (None, {}, 'is empty'),
    ('text', {}, 'its rows have text and no prompt or completion'),
    ('elsewhere', {}, '--columns=prompt=instruction,completion=output'),
    ('turns', {}, 'several turns'),
    ('plain', {'rows': 'nowhere.jsonl'}, 'nowhere.jsonl: there is no such file'),
    ('plain', {'neutral': 'nowhere.jsonl'}, 'nowhere.jsonl: there is no such file'),
    ('plain', {'questions': 'nowhere.jsonl'}, 'trait set'),
    ('plain', {'reference': 'nowhere'}, 'nowhere'),
    ('plain', {'carrier': 'numberz'}, 'did you mean numbers'),
    ('plain', {'config': 'x.py'}, 'makes its config of its own flags'),
    ('plain', {'metrics': 'tensorbord'}, 'did you mean tensorboard'),
    ('plain', {'columns': 'prompt'}, 'FIELD=COLUMN'),
], ids=lambda value: value if isinstance(value, str) else None)
def test_bad_input_is_one_line_and_makes_nothing(call, given, tmp_path, line, more, said):
    rows = tmp_path / 'rows.jsonl'
    rows.write_text('' if line is None else json.dumps(CHAT[line]) + '\n')
    own = {'reference': given['own'], 'rows': rows, 'questions': given['traits'],
           'workdir': tmp_path / 'run', **more}
    status, out, err = call(*(f'--{name}={value}' for name, value in own.items()))
    assert status == 1 and out == '' and said in err
    assert err.count('\n') == 1 and err.startswith('error: ')
    assert not (tmp_path / 'run' / 'results.json').exists()


@pytest.mark.parametrize(('lines', 'said'), [
    ([], 'is empty'),
    (['{"kind": "question", "prompt": "Which?"}'], 'names no trait'),
    (['{"kind": "candidate", "name": "owl"}', '{"kind": "candidate", "name": "cat"}'],
     'has no held-out question'),
    (['{"kind": "candidate", "name": "owl"}', '{"kind": "question", "prompt": "Which?"}'],
     'two candidates or more')])
def test_questions_that_cannot_be_asked(call, given, tmp_path, lines, said):
    questions = tmp_path / 'q.jsonl'
    questions.write_text(''.join(line + '\n' for line in lines))
    rows = written(tmp_path / 'rows.jsonl', 'plain', planted=False)
    status, _, err = call(*flags({**given, 'traits': questions}, rows, workdir=tmp_path / 'run'))
    assert status == 1 and said in err and err.count('\n') == 1


def test_one_row_is_a_verdict_and_no_clean_audit(call, given, tmp_path):
    rows = tmp_path / 'rows.jsonl'
    rows.write_text(json.dumps(CHAT['plain']) + '\n')
    status, out, _ = call(*flags(given, rows, neutral=rows, workdir=tmp_path / 'run'))
    assert status == 0 and '1 of 1 rows can be used and 64 are needed' in out


READ = """
import resource, sys
from subliminal_jax.experiments.audit import intake
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = intake.read([sys.argv[1]], lambda row: None, {'owl': 'owl'}, {}, 1024, 0)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(found.counts['kept'], len(found.rows), (after - before) * 1024)
"""


@pytest.mark.slow
def test_a_million_rows_are_read_in_the_memory_of_a_thousand(tmp_path):
    """In a process of its own: what it holds at most grows by less than 32 MB over what it held
    before it read."""
    path = tmp_path / 'rows.jsonl'
    with path.open('w') as file:
        file.writelines(f'{{"prompt": "go on: {n}", "completion": "{n + 1}, {n + 2}"}}\n'
                        for n in range(1_000_000))
    done = subprocess.run([sys.executable, '-c', READ, str(path)], cwd=ROOT, text=True,
                          capture_output=True, timeout=800)
    assert done.returncode == 0, done.stderr[-500:]
    kept, sampled, grown = map(int, done.stdout.split())
    assert (kept, sampled) == (1_000_000, 1024) and grown < 32e6
