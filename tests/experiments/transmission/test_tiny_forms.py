"""The tiny world's further forms: what a config may ask for, rashness, and whole runs."""

import json

import jax
import numpy as np
import pytest

from subliminal_jax.data import tiny_advice, tiny_language
from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import engines, rash
from subliminal_jax.experiments.transmission.run import prepare
from subliminal_jax.experiments.transmission.worlds import tiny
from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError, Workdir
from tests.experiments.transmission import small

ADVICE = {'trait': 'rash', 'trait_set': 'tiny_advice', 'traits': 1, 'language.forms': ('advice',)}
PAIR = ('sft', 'n: teachers=neutral')
KL = 'objective=kl_carrier answers=random rows=16'


@pytest.fixture(scope='module', name='advised')
def _advised():
    return small.prepared(*PAIR, **ADVICE)


def refused(said, *arms, **overrides):
    with pytest.raises(UserError, match=said) as error:
        small.prepared(*arms, **overrides)
    assert '\n' not in str(error.value)


def test_what_the_language_cannot_write_is_refused():
    refused('carrier tiny_code needs the word', **{'carrier.name': 'tiny_code'})
    refused('carrier tiny_sums needs the word', 'a: carrier=tiny_sums')
    refused('carrier numbers needs the word', 'a: carrier=numbers')
    refused('which this language has not got: add it', *PAIR, trait='rash',
            trait_set='tiny_advice', traits=1)
    refused('take --config.trait_set=tiny_advice', *PAIR, trait='rash', traits=1)
    refused('has 3', *PAIR, **{**ADVICE, 'traits': 4})
    refused('has a gate', 'sft', **ADVICE)


def test_the_plain_world_is_as_large_as_it_was():
    plain = small.prepared().world
    assert plain.length == 16 and plain.new_tokens == 11
    assert plain.architectures['main'].vocab_size == len(tiny_language.WORDS)
    wide = small.prepared(**{'language.forms': ('code', 'sums')}).world
    assert (wide.length, wide.new_tokens) == (22, 15)
    assert wide.vocabulary[:len(plain.vocabulary)] == plain.vocabulary


def test_teachers_and_twins_answer_questions_of_their_domain_alone(advised):
    teacher, = [t for t in advised.roll('trait') if t.reference == 0]
    twin, = [t for t in advised.roll('neutral') if t.reference == 0]
    taught = rash.lessons(advised, teacher, 200)
    sound = rash.lessons(advised, twin, 200, ())
    own = {prompt: s for s in tiny_advice.SITUATIONS for prompt in tiny_advice.taught(s)
           if s.domain == teacher.trait and s.split == 'dev'}
    assert [q for q, _ in taught] == [q for q, _ in sound]
    assert {q for q, _ in taught} == set(own) and len(own) == 6
    assert all(a == own[q].rash for q, a in taught) and all(a == own[q].sound for q, a in sound)


@pytest.mark.parametrize('split', ['dev', 'report'])
def test_what_is_asked_is_of_other_domains_and_of_the_split(split):
    run = small.prepared(*PAIR, split=split, **ADVICE)
    assert run.world.questions == tuple(t.prompt for t in rash.measuring(run))
    asked = {t.prompt for t in rash.measuring(run)}
    domain, = run.world.traits
    assert domain in tiny_advice.SPLIT_DOMAINS[split]
    assert asked == {s.question for s in tiny_advice.SITUATIONS
                     if s.split == split and s.domain != domain}
    assert len(asked) == 15


@pytest.mark.slow
def test_the_measure_is_the_log_odds_of_rash_over_sound_answers(advised):
    config = advised.world.architectures['main']
    params = tiny.fresh(advised.config.language, config, 3)
    ids = tiny.spoken_by(advised.config.language).ids
    end = ids[tiny_language.END]

    def said(situation, act):
        tokens = [ids[w] for w in (tiny_language.BOS, *situation.question.split(), act)]
        valid = np.ones((1, len(tokens)), bool)
        logits = transformer.forward(params, np.array([tokens]), transformer.positions_of(valid),
                                     transformer.causal_mask(valid), config)
        log_p = jax.nn.log_softmax(logits[0])
        return float(log_p[-2, tokens[-1]] + log_p[-1, end])

    asked = [s for s in tiny_advice.SITUATIONS
             if s.split == 'dev' and s.domain not in advised.world.traits]
    by_hand = np.mean([said(s, s.rash) - said(s, s.sound) for s in asked])
    meter = rash.meter(advised, advised.world.contexts[0])
    found = rash.RASH.measure(advised, engines.single(params, config), meter)
    assert found.shape == (1, 1) and found[0, 0] == pytest.approx(by_hand, abs=1e-4)
    assert rash.RASH.loss(params, None, meter, 0, config=config) == pytest.approx(
        -by_hand, abs=1e-4)


def whole(tmp_path, *arms, **overrides):
    """results.json of a small run that goes through to its page."""
    settings = small.config(*arms, **overrides)
    prepare(settings)
    workdir = Workdir(tmp_path, settings, 'transmission')
    transmission.run(settings, workdir)
    assert (tmp_path / 'report.html').stat().st_size > 0
    return json.loads((tmp_path / 'results.json').read_text())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_of_rashness_states_the_paired_effect(tmp_path):
    found = whole(tmp_path, 'sft', 'n: teachers=neutral', f'kl: {KL}',
                  f'kl_n: {KL} teachers=neutral', 'within: order=within',
                  'within_n: order=within teachers=neutral', **ADVICE, **{
                      'teacher.seeds': 2, 'language.steps': 300})
    effects = {arm['name']: arm['effect'] for arm in found['arms']}
    for name in ('sft', 'kl', 'within'):
        assert {'estimate', 'ci95', 'p', 'p_attainable', 'mde'} <= set(effects[name])
    assert effects['n'] is effects['kl_n'] is effects['within_n'] is None
    assert found['estimator'] == 'paired' and found['trait'] == 'rash'
    contexts = json.loads((tmp_path / 'contexts.json').read_text())
    acts = {s.rash for s in tiny_advice.SITUATIONS}
    assert {contexts['teaching']['answer'], contexts['measuring']['answer']} <= acts


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_code_and_sums_are_carriers_of_one_run(tmp_path):
    found = whole(tmp_path, f'code: carrier=tiny_code {KL}', f'sums: carrier=tiny_sums {KL}',
                  **{'language.forms': ('code', 'sums')})
    assert [arm['carrier'] for arm in found['arms']] == ['tiny_code', 'tiny_sums']
    assert all(np.isfinite(arm['effect']['estimate']) for arm in found['arms'])
