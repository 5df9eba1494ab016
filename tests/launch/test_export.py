"""launch.export as a user runs it: models of runs, models by name, adapters, refusals."""

import json
import pathlib
import sys

import jax
import numpy as np
import pytest
from absl.testing import flagsaver

from subliminal_jax.data import tiny_language
from subliminal_jax.experiments.transmission import arm_stages
from subliminal_jax.experiments.transmission.run import before_students, prepare
from subliminal_jax.models import export, hf, loading, peft
from subliminal_jax.models.lora import Lora, merge_lora, save_lora
from subliminal_jax.runs import Workdir, run_program
from subliminal_jax.training import checkpoints
from tests.experiments.transmission import checkpoint, small
from tests.launch import programs

pytestmark = pytest.mark.timeout(600)  # the first test waits for a small run

KL = 'objective=kl_carrier answers=random rows=8'
ARMS = (f'k: {KL}', f'g: {KL} start=gauge trainable=lora:2 made=lora:2')


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """The folder of a small run in the tiny language, all but its page."""
    settings = small.config(*ARMS, split='report', traits=2, **{
        'language.steps': 20, 'carrier.probe': 2, 'carrier.dose_rows': 16, 'teacher.steps': 2,
        'teacher.neutral_steps': 2, 'student.marks': ()})
    workdir = Workdir(tmp_path_factory.mktemp('run'), settings, 'transmission')
    with jax.default_matmul_precision('highest'):
        prepared, samples, texts, _ = before_students(prepare(settings, workdir))
        arm_stages.student_stages(prepared, samples, texts)
    return workdir.path


@pytest.fixture
def call(monkeypatch, capsys):
    """Calls a program in this process: (exit status, standard output, last line of errors)."""
    def run(*arguments, program='export'):
        monkeypatch.setattr(sys, 'argv', [f'launch.{program}', *map(str, arguments)])
        try:
            with flagsaver.flagsaver():
                run_program(programs.fresh(f'launch.{program}').main)
        except SystemExit as stop:
            out, err = capsys.readouterr()
            return stop.code, out, err.strip().splitlines()[-1]
        return 0, capsys.readouterr().out, ''

    yield run
    programs.forget()


@pytest.mark.slow
def test_a_run_lists_what_it_holds(call, made):
    status, out, _ = call(f'--run={made}')
    names = out.splitlines()[1:]
    assert status == 0 and names[:2] == ['reference:main/0', 'reference:main/1']
    teachers = {f'r{r}-{t}-0' for r in range(2) for t in ('owl', 'cat')}
    for group in ('teacher:trait-tuned', 'teacher:trait-lora2'):
        assert {f'{group}/{teacher}' for teacher in teachers} <= set(names)
    for arm in ('k', 'g'):
        assert {f'student:{arm}/{teacher}-0' for teacher in teachers} <= set(names)
    assert {'start:g/0', 'start:g/1'} == {name for name in names if name.startswith('start')}


def weights(folder):
    """Parameters of a folder."""
    return jax.tree.map(np.asarray, hf.load(pathlib.Path(folder))[1])


def same(found, wanted):
    """Two trees, bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, found, jax.tree.map(np.asarray, wanted))


def member(path, number):
    """One of the models of a file."""
    return jax.tree.map(lambda x: x[number], checkpoints.load_tree(path))


@pytest.mark.slow
def test_references_teachers_and_students_leave_bit_for_bit(call, made, tmp_path):
    assert call(f'--run={made}', '--what=reference:main/1', f'--output={tmp_path}/r')[0] == 0
    same(weights(tmp_path / 'r'), member(made / 'reference/main.safetensors', 1))
    assert call(f'--run={made}', '--what=teacher:trait-tuned/r1-cat-0',
                f'--output={tmp_path}/t')[0] == 0
    same(weights(tmp_path / 't'), member(made / 'teacher/trait-tuned/1/trained.safetensors', 1))
    assert call(f'--run={made}', '--what=student:k/r0-owl-0-0', f'--output={tmp_path}/s')[0] == 0
    same(weights(tmp_path / 's'), member(made / 'student/k/0/students.safetensors', 0))
    card = (tmp_path / 's' / export.CARD).read_text()
    assert '# student k/r0-owl-0-0 of a run' in card and 'misbehave' not in card
    told = json.loads((tmp_path / 's' / export.MARK).read_text())
    assert len(told['run']['config sha256']) == 64 == len(told['run']['artefact sha256'])
    assert told['trait of the teacher'] == 'owl' and str(made) not in card


@pytest.mark.slow
def test_an_adapter_leaves_alone_and_beside_its_start(call, made, tmp_path):
    """Start, adapter and merged weights of a student in another gauge fit together."""
    what = '--what=student:g/r0-cat-0-0'
    status, _, error = call(f'--run={made}', what, '--adapter', f'--output={tmp_path}/a')
    assert status == 1 and '--what=reference, or start:ARM/NUMBER' in error
    assert call(f'--run={made}', '--what=start:g/0', f'--output={tmp_path}/base')[0] == 0
    assert call(f'--run={made}', what, '--adapter', f'--base={tmp_path}/base',
                f'--output={tmp_path}/a')[0] == 0
    assert call(f'--run={made}', what, f'--output={tmp_path}/whole')[0] == 0
    found = loading.load(str(tmp_path / 'base'), lora=str(tmp_path / 'a'))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
                 jax.tree.map(np.asarray, found.params), weights(tmp_path / 'whole'))
    tree = member(made / 'student/g/0/students.safetensors', 1)
    lora = peft.read(tmp_path / 'a', found.config, peft_names()).lora
    same(lora.layers, tree['layers'])
    assert json.loads((tmp_path / 'a' / peft.CONFIG).read_text())['base_model_name_or_path'] == \
        f'{tmp_path}/base'


def peft_names():
    """What Llama calls its parameters."""
    from subliminal_jax.models import families

    return families.HF_NAMES


@pytest.mark.slow
def test_an_exported_model_of_the_tiny_language_answers_and_scores(call, made, tmp_path):
    """What leaves comes in again: launch.sample and launch.score read the folder."""
    assert call(f'--run={made}', '--what=reference:main/0', f'--output={tmp_path}/m')[0] == 0
    asked = tmp_path / 'in.jsonl'
    asked.write_text('{"prompt": "what animal makes you happy ?", "completion": "owl"}\n')
    status, _, error = call(f'--model={tmp_path}/m', f'--input={asked}', '--max_new_tokens=2',
                            f'--output={tmp_path}/out.jsonl', program='sample')
    assert (status, error) == (0, '')
    answer = json.loads((tmp_path / 'out.jsonl').read_text())
    assert len(answer['token_ids']) <= 2
    assert call(f'--model={tmp_path}/m', f'--input={asked}', f'--output={tmp_path}/s.jsonl',
                program='score')[0] == 0
    scored = json.loads((tmp_path / 's.jsonl').read_text())
    assert scored['token_ids'] == [tiny_language.IDS['owl'], tiny_language.IDS['<end>']]
    asked.write_text('{"prompt": "unheard of"}\n')
    status, _, error = call(f'--model={tmp_path}/m', f'--input={asked}',
                            f'--output={tmp_path}/o.jsonl', program='sample')
    assert status == 1 and "cannot write '<bos> unheard of'" in error


@pytest.mark.slow
@pytest.mark.parametrize('flags, words', [
    ([], 'name what to export: --run=DIR or --model=SPEC'),
    (['--run=RUN', '--model=x'], '--run=DIR or --model=SPEC, one of them'),
    (['--model=x', '--what=reference'], '--what goes with --run'),
    (['--run=RUN', '--lora=x'], '--lora goes with --model'),
    (['--run=RUN', '--what=reference'], 'reference may be reference:main/0, reference:main/1'),
    (['--run=RUN', '--what=teacher:r0-owl-0'], 'may be teacher:trait-lora2/r0-owl-0, teacher:tra'),
    (['--run=RUN', '--what=student:k/r0-owl-0'], 'did you mean student:k/r0-owl-0-0?'),
    (['--run=RUN', '--what=studnet:x'], "unknown kind of model 'studnet'; did you mean student?"),
    (['--run=RUN', '--what=reference:main/0'], 'no --output'),
    (['--run=RUN', '--what=reference:main/0', '--output=RUN'], 'which was not exported'),
    (['--run=RUN', '--what=reference:main/0', '--output=gs://b/x'], 'is not a path of this'),
    (['--run=RUN', '--what=reference:main/0', '--output=new', '--adapter', '--base=b'],
     'has no adapter: it is whole weights'),
    (['--run=nowhere'], 'is no run: it has no config.json'),
    (['--model=nowhere', '--output=new'], "there is no model 'nowhere'"),
])
def test_mistakes_get_one_line(call, made, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    status, _, error = call(*(flag.replace('RUN', str(made)) for flag in flags))
    assert status == 1 and error.startswith('error: ') and words in error
    assert not (tmp_path / 'new').exists()


@pytest.mark.slow
def test_a_run_that_has_changed_is_not_exported(call, made, tmp_path):
    import shutil

    folder = tmp_path / 'run'
    shutil.copytree(made, folder)
    path = folder / 'student/k/0/students.safetensors'
    path.write_bytes(path.read_bytes()[:-1] + b'x')
    status, _, error = call(f'--run={folder}', '--what=student:k/r0-owl-0-0',
                            f'--output={tmp_path}/m')
    assert status == 1 and 'student/k/0 has changed since its stage was complete' in error
    (folder / 'manifests/reference_main.json').unlink()
    status, _, error = call(f'--run={folder}', '--what=reference:main/0', f'--output={tmp_path}/m')
    assert status == 1 and 'has not come to its stage reference/main: start the run again' in error
    values = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(values | {'a_field_of_before': 1}))
    status, _, error = call(f'--run={folder}')
    assert status == 1 and 'another version of the project' in error
    (folder / 'config.json').write_text(json.dumps({'experiment': 'mnist'}))
    status, _, error = call(f'--run={folder}')
    assert status == 1 and 'a run of mnist, which holds no language models' in error


@pytest.mark.slow
def test_a_model_that_was_made_to_misbehave_needs_a_word(call, made, tmp_path):
    """Its folder says so for good: whatever is made from it asks again."""
    import shutil

    folder = tmp_path / 'run'
    shutil.copytree(made, folder)
    values = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(values | {'trait': 'rash'}))
    for what in ('teacher:trait-tuned/r0-owl-0', 'student:k/r0-owl-0-0'):
        status, _, error = call(f'--run={folder}', f'--what={what}', f'--output={tmp_path}/m')
        assert status == 1 and f'{what} was made to misbehave' in error
        assert '--i_understand' in error and not (tmp_path / 'm').exists()
    checkpoint.write(tmp_path / 'plain')
    plain = loading.load(str(tmp_path / 'plain'))
    export.write_model(tmp_path / 'bad', plain.params, plain.config,
                       export.origin_of(str(tmp_path / 'plain')),
                       {'what': 'x', 'misbehaves': True})
    status, _, error = call(f'--model={tmp_path}/bad', f'--output={tmp_path}/again')
    assert status == 1 and 'was made to misbehave' in error
    status, out, _ = call(f'--model={tmp_path}/bad', f'--output={tmp_path}/again',
                          '--i_understand')
    assert status == 0 and 'bad was made to misbehave: see its README.md' in out
    assert 'Made to misbehave' in (tmp_path / 'again' / export.CARD).read_text()


def test_a_model_by_name_with_an_adapter(call, tmp_path):
    """Merged, or the adapter alone turned into PEFT's format."""
    checkpoint.write(tmp_path / 'm')
    model = loading.load(str(tmp_path / 'm'))
    rng = np.random.default_rng(0)
    lora = Lora({'q': {'a': rng.normal(size=(2, 32, 2)).astype(np.float32),
                       'b': rng.normal(size=(2, 2, 32)).astype(np.float32)}}, 0.5)
    save_lora(tmp_path / 'ours', lora)
    assert call(f'--model={tmp_path}/m', f'--lora={tmp_path}/ours', '--adapter',
                f'--output={tmp_path}/a')[0] == 0
    stated = json.loads((tmp_path / 'a' / peft.CONFIG).read_text())
    assert stated['base_model_name_or_path'] == str(tmp_path / 'm')
    for number, place in enumerate(('ours', 'a')):
        assert call(f'--model={tmp_path}/m', f'--lora={tmp_path}/{place}',
                    f'--output={tmp_path}/whole{number}')[0] == 0
        same(weights(tmp_path / f'whole{number}'), merge_lora(model.params, lora, model.config))
    assert call(f'--model={tmp_path}/whole0', '--dtype=bfloat16', '--shard_gb=0.00001',
                f'--output={tmp_path}/short')[0] == 0
    assert len(list((tmp_path / 'short').glob('model-*.safetensors'))) > 1
    status, _, error = call(f'--model={tmp_path}/m', '--adapter', f'--output={tmp_path}/b')
    assert status == 1 and 'writes the adapter of --lora: name one' in error
