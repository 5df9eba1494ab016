"""launch.plan: designs for an effect, and what no design can see."""

import json
import math
import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from absl import flags as absl_flags
from absl.testing import flagsaver

from subliminal_jax.evaluation import gamma as gammas
from subliminal_jax.experiments.transmission import designs, outlines, shapes
from subliminal_jax.experiments.transmission.worlds import WORLDS
from subliminal_jax.models import transformer
from subliminal_jax.models.params import abstract_params
from subliminal_jax.runs import UserError, schema
from tests.launch import programs
from tests.models import switches

Config = WORLDS['pretrained'].Config
ROOT = pathlib.Path(__file__).parents[2]
KL = 'objective=kl_carrier answers=random trainable=lora:8'


@pytest.fixture(autouse=True)
def no_flags_left():
    yield
    programs.forget()


def test_the_design_is_the_smallest_that_sees_the_effect():
    found = designs.smallest(0.3, 8, 0.25, 0.8)
    assert found.mde <= 0.3
    fewer = [designs.mde_of(k, s, 0.25, 0.8) for k in range(2, 9) for s in range(2, 17)
             if k * s < found.traits * found.seeds]
    assert all(m > 0.3 for m in fewer)
    # what can be seen grows as the spread does, and falls as teachers are added
    assert designs.mde_of(2, 4, 0.5, 0.8) == pytest.approx(2 * designs.mde_of(2, 4, 0.25, 0.8))
    assert designs.mde_of(2, 16, 0.25, 0.8) < designs.mde_of(2, 4, 0.25, 0.8) / 2


def test_its_mde_is_that_of_gamma_itself():
    """Three traits x four teachers whose means spread as a spread of 0.25 nats between teachers
    makes them."""
    spread, shift = 0.25, {'a': -1.0, 'b': 0.0, 'c': 1.0}
    y, trait = {}, {}
    for t, x in shift.items():
        for n in range(4):
            trait[f'{t}{n}'] = t
            y[f'{t}{n}'] = {k: (1.0 + spread / 4**0.5 * x) * (k == t) for k in shift}
    found = gammas.gamma(y, trait)
    assert found['mde'] == pytest.approx(designs.mde_of(3, 4, spread, 0.8), rel=1e-6)


def test_designs_that_no_outcome_could_show_are_left_out():
    """2 traits x 2 teachers see anything at a small spread, and reach 1/6 at best."""
    for traits, seeds in ((2, 2), (2, 3), (3, 2), (4, 4)):
        trait = {f'{t}{n}': str(t) for t in range(traits) for n in range(seeds)}
        y = {s: {str(k): float(str(k) == t) for k in range(traits)} for s, t in trait.items()}
        found = gammas.gamma(y, trait)  # the clearest outcome that there is
        assert designs.least_p(traits, seeds) == pytest.approx(found['p_attainable'])
        shown = gammas.verdict(found).startswith('transmits')
        assert shown == (designs.least_p(traits, seeds) <= designs.ALPHA) == (traits * seeds > 4)
    assert designs.mde_of(2, 2, 1e-3, 0.8) < 0.3
    found = designs.smallest(0.3, 2, 1e-3, 0.8)
    assert (found.traits, found.seeds, found.least_p) == (2, 3, 1 / 20)
    assert designs.smallest(0.3, 8, 1e-3, 0.8)[:2] == (3, 2)
    assert designs.smallest(0.3, 2, 1e-3, 0.8, 2) is None


def test_where_nothing_can_be_shown_the_plan_says_so(tmp_path):
    rows = [*({'kind': 'candidate', 'name': n, 'split': 'dev'} for n in ('owl', 'cat')),
            *({'kind': 'system', 'prompt': a, 'neutral': 'Love order.'} for a in ('A.', 'B.'))]
    path = tmp_path / 'traits.jsonl'
    path.write_text(''.join(json.dumps(r) + '\n' for r in rows))
    config = schema.override(Config(), {'trait_set': str(path)})
    with pytest.raises(UserError, match=r'can show anything: .* is 0\.17, .*2 system prompts') as e:
        designs.design(config, 0.5, spread=1e-3, max_hours=1, rate=1e12)
    assert '\n' not in str(e.value)


def test_an_effect_that_no_design_sees_is_refused():
    with pytest.raises(UserError, match='no design .* the smallest it could see'):
        designs.design(Config(), 0.001, spread=0.25, max_hours=1, rate=1e12)


def test_the_spread_comes_from_a_run(tmp_path):
    arm = {'name': 'a', 'effect': {'se_teachers': 0.1, 'per_teacher': dict.fromkeys('abcd', 0.0)}}
    none = {'name': 'none', 'effect': {'se_teachers': None, 'per_teacher': {}}}
    (tmp_path / 'results.json').write_text(json.dumps({'arms': [arm, none]}))
    assert designs.spread_of(str(tmp_path), '') == pytest.approx(0.2)
    for run, name, said in ((str(tmp_path / 'x'), '', 'cannot be read'),
                            (str(tmp_path), 'b', 'the run has a'),
                            (str(tmp_path), 'none', 'no spread between teachers')):
        with pytest.raises(UserError, match=said):
            designs.spread_of(run, name)


@pytest.mark.slow
def test_what_cannot_be_afforded_is_refused(monkeypatch):
    monkeypatch.setattr(outlines, 'architecture_of', lambda config: transformer.tiny(64, width=16))
    config = schema.override(Config(), {'student.rows': 8, 'student.batch_size': 8})
    told = designs.design(config, 0.5, spread=0.25, max_hours=10, rate=1e12)
    assert 'teachers' in told and 'calculated' in told
    assert 'least permutation p that it can reach: 0.' in told
    with pytest.raises(UserError, match='no affordable design'):
        designs.design(config, 0.5, spread=0.25, max_hours=1e-9, rate=1e12)


@pytest.mark.slow
def test_no_more_prompted_teachers_than_system_prompts(monkeypatch):
    monkeypatch.setattr(outlines, 'architecture_of', lambda config: transformer.tiny(64, width=16))
    config = schema.override(Config(), {'student.rows': 8, 'student.batch_size': 8})
    effect = {'spread': 0.5, 'max_hours': 10, 'rate': 1e12}
    free, capped = (designs.design(
        schema.override(config, {'arms': (f'a: made={made} {KL}',)}),
        0.65, **effect) for made in ('tuned', 'prompt'))
    assert 'system prompts' not in free and '2 traits x 4 teachers' in free
    assert '4 traits x 3 teachers' in capped and '3 system prompts' in capped
    assert 'at most 3 teachers a trait: the arm a has prompted teachers' in capped
    with pytest.raises(UserError, match='3 teachers each sees .*system prompts') as error:
        designs.design(config, 0.2, **effect)
    assert '\n' not in str(error.value)


def test_loops_are_counted_in_full():
    def total(w, x):
        return jax.lax.scan(lambda c, a: (c @ a, None), x, w)[0].sum()

    given = (jax.ShapeDtypeStruct((7, 16, 16), jnp.float32),
             jax.ShapeDtypeStruct((4, 16), jnp.float32))
    count = shapes.flops_of(jax.make_jaxpr(jax.jit(total))(*given).jaxpr)
    assert count == 7 * 2 * 4 * 16 * 16


@pytest.mark.parametrize('name', switches.SWITCHES)
def test_the_count_of_a_forward_pass_by_hand(name):
    """2 a number of each matrix and token, and scores and mixtures of all places."""
    model, (batch, length) = switches.SWITCHES[name], (3, 10)
    params = abstract_params(model)
    matrices = sum(math.prod(x.shape) for n, x in params['layers'].items() if x.ndim == 3)
    table = model.vocab_size * model.width
    mixing = 2 * model.num_layers * model.num_heads * model.head_dim * length
    tokens = jax.ShapeDtypeStruct((batch, length), jnp.int32)
    mask = jax.ShapeDtypeStruct((batch, length, length), bool)
    count = shapes.counted(partial(transformer.forward, config=model), params, tokens, tokens, mask)
    assert count == 2 * batch * length * (matrices + table + mixing)


@pytest.mark.parametrize('config, what', [
    ('numbers_tiny_demo', 'the world tiny'), ('mnist', 'the experiment mnist')])
def test_what_has_no_designs_says_so(config, what):
    program = programs.fresh('launch.plan')
    absl_flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(mde=0.6, rate=1.0), pytest.raises(
            UserError, match=f'{what} has no designs'):
        program.main([f'--config={ROOT}/configs/{config}.py'])


@pytest.mark.slow
def test_a_config_with_a_world_of_designs_gets_one(monkeypatch, capsys):
    program = programs.fresh('launch.plan')
    monkeypatch.setattr(outlines, 'architecture_of', lambda config: transformer.tiny(64, width=16))
    absl_flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(mde=0.6, spread=0.5, rate=1.0):
        program.main([f'--config={ROOT}/configs/numbers_smollm2_full.py'])
    assert 'to see gamma >= 0.6 nats' in capsys.readouterr().out


def test_rows_and_hours_follow_from_a_gate(tmp_path, monkeypatch):
    config = schema.override(Config(), {
        'arms': ('sft: trainable=lora:8',), 'traits': 8, 'split': 'report', 'teacher.seeds': 1,
        'prepared.steps': 24, 'carrier.link_rows': 32, 'carrier.per_prompt': 8})
    gate = {'nats_set': 0.12, 'tokens': 26.0, 'kept': 0.5}
    (tmp_path / 'results.json').write_text(json.dumps({'gate': {'rows': gate}}))
    monkeypatch.setattr(designs.costs, 'plan', lambda config: [
        designs.costs.Stage('all', 3.6e15 * config.student.rows, 1e9, 1.0)])
    said = designs.by_gate(config, str(tmp_path), 4.0, max_hours=1e6, rate=1e12)
    rows = int(said.split(' rows a teacher')[0].split()[-1])  # 4 = .15 sqrt(2 x .12 x rows x 8)
    assert rows == 371 and '9646 tokens' in said and '742 answers' in said
    assert '371.00 hours' in said
    with pytest.raises(UserError, match='beyond --max_hours=24'):
        designs.by_gate(config, str(tmp_path), 4.0, max_hours=24, rate=1e12)
    (tmp_path / 'results.json').write_text(
        json.dumps({'gate': {'rows': {**gate, 'nats_set': 0.0}}}))
    with pytest.raises(UserError, match='no number of rows is enough'):
        designs.by_gate(config, str(tmp_path), 4.0, max_hours=24, rate=1e12)
    (tmp_path / 'results.json').write_text(json.dumps({'gate': {}}))
    with pytest.raises(UserError, match='holds no gate'):
        designs.by_gate(config, str(tmp_path), 4.0, max_hours=24, rate=1e12)


def test_a_prepared_reference_and_the_first_link_have_their_cost():
    config = schema.override(Config(), {
        'arms': ('sft: trainable=lora:8',), 'teacher.seeds': 1, 'prepared.steps': 24,
        'carrier.link_rows': 32, 'carrier.per_prompt': 8})
    run = outlines.run_of(config)
    made, = designs.costs.reference_stages(run)
    linked, = designs.costs.link_stages(run)
    assert made.flops > 0 and linked.flops > 0
    half = outlines.run_of(schema.override(config, {'prepared.steps': 12}))
    assert next(designs.costs.reference_stages(half)).flops == pytest.approx(made.flops / 2)
