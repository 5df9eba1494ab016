"""launch.inspect as a user runs it: what it says of small models is what their files say."""

import json
import sys

import jax
import pytest

from subliminal_jax.models.params import count_params, init_params, tiny
from subliminal_jax.runs import run_program
from tests.launch import programs
from tests.models import small_tokenizers as small, test_hf

CONFIG = tiny(small.SIZE, width=32, num_layers=2, num_kv_heads=2, max_positions=80)


@pytest.fixture(name='inspect')
def _inspect(monkeypatch, capsys, tmp_path):
    """Calls the program on a small model of a kind: (exit status, output, standard error)."""
    def call(name, *arguments, gguf=False):
        folder = tmp_path / name
        params = jax.tree.map(jax.numpy.asarray, init_params(jax.random.key(0), CONFIG))
        learned = small.small(name)
        learned.save(folder)
        test_hf.write(folder, CONFIG, test_hf.arrays_of(CONFIG, params))
        small.write_gguf(tmp_path / f'{name}.gguf', CONFIG, params, learned.fields)
        spec = tmp_path / f'{name}.gguf' if gguf else folder
        monkeypatch.setattr(sys, 'argv', ['launch.inspect', '--model', str(spec), *arguments])
        status = 0
        try:
            run_program(programs.fresh('launch.inspect').main)
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    yield call
    programs.forget()


@pytest.mark.parametrize('gguf', [False, True])
def test_what_a_model_is_and_how_it_reads(inspect, gguf):
    status, out, _ = inspect('llama3', gguf=gguf)
    assert status == 0
    for part in ('2 layers of width 32, 4 heads of 8 (2 for', f'{count_params(CONFIG):,} parame',
                 "a text begins with: 0 '<|begin_of_text|>'",
                 "a text ends with: 1 '<|end_of_text|>'",
                 "an answer ends with: 4 '<|eot_id|>'", "stops at: 1 '<|end_of_text|>'",
                 r'<|end_header_id|>\n\n{answer}<|eot_id|>', '10 of 1 digit in 1 token'):
        assert part in out
    assert ('add_bos_token' in out) == gguf  # the file leaves it out, and that is said


def test_digits_and_blanks_of_other_kinds(inspect):
    _, out, _ = inspect('bytes')
    assert 'a text begins with: no token of its own' in out
    assert '900 of 3 digits in 3 tokens' in out and '1·2·3·4' in out
    _, out, _ = inspect('llama2')
    assert "an answer is led by ' '" in out


def test_rows_as_the_model_reads_them(inspect, tmp_path):
    rows = [{'question': 'Who?', 'response': 'owls'}, {'question': '<|im_end|>', 'response': '7'},
            {'question': 'a', 'response': '  x'}, {'question': 'owl ' * 100, 'response': '1'}]
    path = tmp_path / 'in.jsonl'
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    columns = '--columns=prompt=question,completion=response'
    status, out, _ = inspect('bytes', '--input', str(path), columns)
    assert status == 0
    assert out.count('  context: ') == 3 and out.count("'<|im_end|>'\nrow") == 2
    assert '1 exceed the context of 80' in out
    assert '1 of 4 spell control tokens' in out
    assert '1 cannot be read, the first, 3: ' in out
    status, _, err = inspect('bytes', '--input', str(path))
    assert status == 1 and columns.split('=', 1)[1] in err and err.count('\n') == 1


@pytest.mark.parametrize('arguments, words', [
    (['--input=gs://b/rows.jsonl'], 'not a path of this machine'),
    (['--input=none.jsonl'], 'no such file'), (['--columns=a=b', '--input=x'], '--columns'),
    (['--modle=x'], 'did you mean model?'), (['--tokenizer=nowhere'], 'has no tokenizer.json')])
def test_a_mistake_gets_one_line(inspect, arguments, words):
    status, _, err = inspect('bytes', *arguments)
    assert status == 1 and words in err
    assert err.startswith('error: ') and err.count('\n') == 1
