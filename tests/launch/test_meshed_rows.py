"""--mesh of launch.score and launch.sample: on eight virtual devices the rows of one device."""

import json

import jax
import pytest

from subliminal_jax.models.lora import init_lora, save_lora
from subliminal_jax.sampling import sample, score
from tests.experiments.transmission import checkpoint
from tests.launch import programs

ROWS = [{'id': n, 'prompt': f'say {n}' + ', please' * (n % 3), 'completion': f'{n}, {n * 7}'}
        for n in range(11)]
MESH = '--mesh=data:2,fsdp:2,tensor:2'


@pytest.fixture(scope='module')
def given(tmp_path_factory):
    """Flags: a model, rows, batches of eight."""
    folder = tmp_path_factory.mktemp('given')
    checkpoint.write(folder / 'model')
    (folder / 'rows.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in ROWS))
    return [f'--model={folder / "model"}', f'--input={folder / "rows.jsonl"}', '--batch_size=8']


@pytest.fixture
def calls(monkeypatch, capsys):
    """Runs a program: (exit status, what it said, its errors)."""
    opened = []

    def call(program, *arguments):
        opened.append(programs.calls_of_run(monkeypatch, capsys, f'launch.{program}'))
        return next(opened[-1])(*arguments)

    yield call
    for one in opened:
        next(one, None)


@pytest.fixture
def rows_of(calls, given, tmp_path):
    def run(program, name, *arguments):
        status, _, errors = calls(program, *given, f'--output={tmp_path / name}', *arguments)
        assert status == 0, errors
        return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]

    return run


def close(one, other):
    """The same rows, but for the last digits of log-probabilities."""
    assert len(one) == len(other) == len(ROWS)
    for a, b in zip(one, other):
        assert a['logprobs'] == pytest.approx(b['logprobs'], abs=1e-5)
        apart = ('logprobs', 'total_logprob')
        assert {k: v for k, v in a.items() if k not in apart} == {
            k: v for k, v in b.items() if k not in apart}


def shares(monkeypatch, module, name, of):
    """Records (the weights' mesh, a device's share of the batch) of every call of a program."""
    compiled, seen = getattr(module, name), []

    def spy(weights, *args, **kwargs):
        batch = of(*args)
        seen.append((dict(weights['embed'].sharding.mesh.shape), batch.shape[0],
                     {shard.data.shape[0] for shard in batch.addressable_shards}))
        return compiled(weights, *args, **kwargs)

    monkeypatch.setattr(module, name, spy)
    return seen


def test_scores_on_a_mesh_are_those_of_one_device(rows_of, monkeypatch):
    one = rows_of('score', 'one')
    seen = shares(monkeypatch, score, 'score_tokens', lambda config, tokens_BT, *_: tokens_BT)
    close(one, rows_of('score', 'mesh', MESH))
    assert seen and all(found == ({'data': 2, 'fsdp': 2, 'tensor': 2}, 8, {2}) for found in seen)


@pytest.mark.parametrize('choice', [['--temperature=0'], ['--seed=5', '--top_k=20']])
def test_what_is_sampled_on_a_mesh_is_the_same_token_for_token(rows_of, monkeypatch, choice):
    settings = ['--max_new_tokens=5', *choice]
    one = rows_of('sample', 'one', *settings)
    assert len({row['completion'] for row in one}) > 1
    seen = shares(monkeypatch, sample, 'generate', lambda prompts, *_: prompts.tokens_PT)
    close(one, rows_of('sample', 'mesh', *settings, MESH))
    assert seen and all(found == ({'data': 2, 'fsdp': 2, 'tensor': 2}, 8, {2}) for found in seen)


def test_rows_that_one_device_began_a_mesh_goes_on_with(rows_of, tmp_path):
    """Under an adapter, which is merged where the weights lie."""
    adapter = init_lora(jax.random.key(1), checkpoint.config_of('llama'), 2)
    save_lora(tmp_path / 'lora', jax.tree.map(lambda x: x + 0.1, adapter))
    settings = [f'--lora={tmp_path / "lora"}']
    one = rows_of('score', 'out', *settings)
    plain = rows_of('score', 'plain')
    assert abs(one[0]['total_logprob'] - plain[0]['total_logprob']) > 0.1
    kept = (tmp_path / 'out').read_text().splitlines(keepends=True)[:4]
    (tmp_path / 'out').write_text(''.join(kept))
    close(one, rows_of('score', 'out', *settings, '--mesh=data:2,fsdp:4'))
    assert (tmp_path / 'out').read_text().splitlines(keepends=True)[:4] == kept


@pytest.mark.parametrize('program', ['score', 'sample'])
@pytest.mark.parametrize('mesh, said', [
    ('fspd:2', "unknown axis of the mesh 'fspd'; did you mean fsdp?"),
    ('data:2,data:2', '--mesh=data:2,data:2 has the axis data twice'),
    ('fsdp', '--mesh=fsdp: write --mesh=data:2,fsdp:4'),
    ('data:4,tensor:4', '--mesh: data:4 x tensor:4 takes 16 devices, and there are 8 (cpu'),
    ('data:3', "the mesh's axes data=3, fsdp=1 do not divide the 8 rows"),
    ('tensor:5', "the mesh's axis tensor=5 does not divide the model's vocab (104)"),
])
def test_a_mesh_that_cannot_be_gets_one_line(calls, given, tmp_path, program, mesh, said):
    status, _, errors = calls(program, *given, f'--output={tmp_path / "out"}', f'--mesh={mesh}')
    assert status == 1 and errors.startswith('error: ') and errors.count('\n') == 1
    assert said in errors and not (tmp_path / 'out').exists()
