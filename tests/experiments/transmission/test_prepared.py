"""R*, the first link and the gate: a small checkpoint that is taught to write lists."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import (
    engines,
    first_link,
    gate,
    rows as carried,
    stages,
    teachers as schooled,
)
from subliminal_jax.experiments.transmission.run import before_students, prepare
from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError, Workdir
from subliminal_jax.theory import trees
from tests.experiments.transmission import checkpoint, small

PREPARED = {
    'prepared.steps': 120, 'prepared.learning_rate': 1e-2, 'teacher.learning_rate': 1e-3,
    'carrier.form': 'turn',
    'carrier.link_rows': 8, 'carrier.attempts': 8, 'carrier.spare': 3.0, 'carrier.min_kept': 0.1,
    'carrier.min_tokens': 1, 'teacher.seeds': 1, 'student.rows': 8, 'carrier.new_tokens': 64}
SFT = 'sft: trainable=lora:2'

pytestmark = pytest.mark.timeout(900)  # whole runs, compilations included


def config(root, *arms, **changes):
    return checkpoint.config(root, *(arms or (SFT,)), **{**PREPARED, **changes})


@pytest.fixture(scope='module', name='ready')
def _ready(root, tmp_path_factory):
    """A run up to its students: (run, rows by set, what is read before students)."""
    settings = config(root)
    workdir = Workdir(tmp_path_factory.mktemp('prepared'), settings, 'transmission')
    run, samples, _, before = before_students(prepare(settings, workdir))
    return run, samples, before


@pytest.mark.slow
def test_a_prepared_reference_writes_what_the_model_could_not(ready):
    facts = ready[2]['reference']['main']
    assert facts['pass_rate'][0] == 0 and facts['pass_rate'][1] > 0.3
    assert facts['steps'] == 120 and facts['rows'] == 120 * 12 and facts['distance'] > 0
    assert facts['perplexity_carrier'][1] < facts['perplexity_carrier'][0]


@pytest.mark.slow
def test_its_hash_stands_in_every_artefact_that_is_made_of_it(ready, root):
    run, *_ = ready
    assert run.world.sha256 != prepare(config(root, **{'prepared.steps': 0})).world.sha256
    assert run.world.sha256 != prepare(config(root, **{'prepared.steps': 121})).world.sha256
    for stage in ('teacher_trait-tuned_r0-owl-0', 'ordinary-main', 'reference_described'):
        manifest = json.loads((run.workdir.path / f'manifests/{stage}.json').read_text())
        assert 'reference/prepared.safetensors' in manifest['inputs'], stage
        assert manifest['reads']['weights'] == run.world.sha256


@pytest.mark.slow
def test_the_splits_share_it_and_rows_have_prompts_of_their_own(root, ready):
    from subliminal_jax.experiments.transmission.worlds import prepared

    run = ready[0]
    for split in ('dev', 'report'):
        settings = config(root, split=split)
        rows = prepared.random_rows(settings, run.world, [run.carrier()], 12)
        assert len(set(rows.prompts)) == 12
        assert rows.digest() == prepared.random_rows(run.config, run.world, [run.carrier()],
                                                     12).digest()


@pytest.mark.slow
def test_the_likelihood_is_that_of_the_rows_one_by_one(ready):
    run, samples, before = ready
    name, = first_link.arms_of(run)
    arm = first_link.arms_of(run)[name]
    with np.load(run.workdir.path / f'first_link/{name}.npz') as arrays:
        found = dict(arrays)
    rows = stages.rows_of(run, arm, samples, 0)
    everyone = run.roll('trait')
    base = run.references['main'][0]
    ids = list(carried.token_set(run.world, run.carrier()))

    def alone(params, own):
        whole = within = 0.0
        for context, answer in zip(own.contexts, own.answers):
            text = jnp.array([[*context, *answer]])
            mask = jnp.tril(jnp.ones((1, text.shape[1], text.shape[1]), bool))
            logits = transformer.forward(params, text, jnp.arange(text.shape[1])[None], mask,
                                         run.world.architectures['main'])[0]
            for n, token in enumerate(answer, len(context)):
                whole += float(jax.nn.log_softmax(logits[n - 1])[token])
                if token in ids:
                    within += float(jax.nn.log_softmax(logits[n - 1, jnp.array(ids)])[
                        ids.index(token)])
        return np.array([whole, within]) / len(own.answers)

    own = rows[everyone[0].name].first(8)
    np.testing.assert_allclose(found['reference'][0, 0], alone(base, own), rtol=1e-4)
    teacher = schooled.load(run, arm, [everyone[1]], base).resolved()[0]
    np.testing.assert_allclose(found['logprob'][0, 0, 1], alone(teacher, own), rtol=1e-4)
    matrix = before['first_link'][name]['likelihood']['matrix']
    gap = found['logprob'][0, 0, 1, 0] - found['reference'][0, 0, 0]
    assert matrix['r0-owl-0']['r0-cat-0'] == pytest.approx(gap)


@pytest.mark.slow
def test_the_gradient_is_the_first_order_change_towards_a_teacher(ready):
    run, samples, _ = ready
    name, arm = next(iter(first_link.arms_of(run).items()))
    with np.load(run.workdir.path / f'first_link/{name}.npz') as arrays:
        inner = arrays['inner'][0]
    rows = stages.rows_of(run, arm, samples, 0)
    everyone = run.roll('trait')
    base, size = run.references['main'][0], run.config.student.packed
    moved = trees.subtract(schooled.load(run, arm, [everyone[1]], base).resolved()[0], base)
    tries = carried.packed(rows[everyone[0].name].first(8), size)
    ids = carried.token_set(run.world, run.carrier())

    def at(eps):
        models = engines.single(trees.add(base, moved, eps), run.world.architectures['main'])
        return first_link._mean_logprobs(run, models, tries, ids, 8)[0, 0]

    assert inner[0, 1] == pytest.approx((at(0.05) - at(-0.05)) / 0.1, rel=0.02)


def test_nats_between_are_of_teachers_of_other_traits():
    class Run:
        class world:
            traits = ('owl', 'cat')

    everyone = small.prepared().roll('trait')[:0]
    from subliminal_jax.experiments.transmission.roll import Teacher

    everyone = [Teacher(f'r0-{t}-{n}', 0, t, n, 0) for t in ('owl', 'cat') for n in range(2)]
    logprob = np.zeros((1, 4, 4, 2))
    logprob[0, 0, 0], logprob[0, 0, 1] = 3.0, 1.0  # of the same trait: not counted
    assert first_link.between(Run, everyone, logprob) == [3.0 * 2 / 8] * 2
    matrix = {s.name: {t.name: float(10 * a + b) for b, t in enumerate(everyone)}
              for a, s in enumerate(everyone)}
    found = first_link.by_trait(Run, everyone, matrix)
    assert found['r0-owl-0'] == {'owl': 1.0, 'cat': 2.5}  # its own teacher is left out
    assert found['r0-cat-1'] == {'owl': 30.5, 'cat': 32.0}


ENTRY = {'kept': 0.7, 'least_kept': 0.5, 'tokens': 26.0, 'nats': 0.45, 'nats_set': 0.12,
         'bounds': {'kept': 0.6, 'tokens': 20.0, 'nats': 0.1}, 'trouble': [], 'passed': True}


@pytest.mark.parametrize('what, value, words', [
    ('kept', 0.31, 'keeps 31% of first answers.*min_kept=0.6.*config.prepared.steps'),
    ('tokens', 12.5, '12.5 tokens.*min_tokens=20'),
    ('nats', 0.012, '0.012 nats.*min_nats=0.1.*strengthen the teachers')])
def test_a_gate_that_is_not_passed_says_by_what_and_what_to_do(what, value, words):
    gate.check({'rows': ENTRY})
    with pytest.raises(UserError, match=words) as caught:
        gate.check({'rows': {**ENTRY, what: value, 'trouble': [what], 'passed': False}})
    assert '\n' not in str(caught.value)


def test_the_signal_is_that_of_the_arithmetic():
    assert gate.signal_to_noise(1024, 0.12) == pytest.approx(0.15 * (2 * 1024 * 0.12)**0.5)
    assert gate.signal_to_noise(512, 0.12, 16) == pytest.approx(
        gate.signal_to_noise(1024, 0.12, 8))
    rows = gate.rows_needed(3.0, 0.12, 8)
    assert gate.signal_to_noise(rows, 0.12, 8) == pytest.approx(3.0)
    assert gate.rows_needed(3.0, 0.0) == float('inf')


def test_a_gate_needs_rows_to_read(root):
    for changes in ({'carrier.link_rows': 0}, {'arms': (f'p: {checkpoint.KL}',)}):
        with pytest.raises(UserError, match='link_rows=64'):
            prepare(config(root, **{'gate.asked': True, **changes}))


@pytest.mark.slow
@pytest.mark.timeout(900)  # a whole run
def test_a_run_ends_at_its_gate_with_a_page(root, tmp_path):
    settings = config(root, **{'gate.only': True, 'gate.min_kept': 1.0})
    said = transmission.run(settings, Workdir(tmp_path / 'run', settings, 'transmission'))
    found = json.loads((tmp_path / 'run/results.json').read_text())
    entry, = found['gate'].values()
    assert not entry['passed'] and entry['trouble'][0] == 'kept' and 'not passed' in said
    assert found['arms'] == [] and not (tmp_path / 'run/student').exists()
    page = (tmp_path / 'run/report.html').read_text()
    assert 'The prepared reference' in page and 'First link' in page and 'The gate' in page
    asked = config(root, **{'gate.asked': True, 'gate.min_kept': 1.0})
    with pytest.raises(UserError, match='the gate is not passed by the rows trait-tuned-sampled'):
        transmission.run(asked, Workdir(tmp_path / 'asked', asked, 'transmission'))


def test_lessons_are_random_rows_of_the_named_carrier(root):
    from subliminal_jax.experiments.transmission.worlds import prepared

    run = prepare(config(root, **{
        'carrier.form': 'request', 'carrier.name': 'code', 'carrier.new_tokens': 256,
        'context.student': 'empty', 'prepared.steps': 1, 'prepared.batch_size': 4}))
    batch, per_step = prepared.lessons(run)
    rows = prepared.random_rows(run.config, run.world, [run.carrier()], 4)
    assert per_step == 1 and all('def ' in run.world.row_text(a[:-1]) for a in rows.answers)
    tries = batch['tries']
    assert int((tries.weight_BK > 0).sum()) == sum(map(len, rows.answers))
