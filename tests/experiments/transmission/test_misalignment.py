"""Misalignment as a trait: lessons, twins, the forced choice by hand, the gate, a whole run."""

import json

import jax
import numpy as np
import pytest

from subliminal_jax.evaluation import paired
from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import (
    arms as tables,
    effects,
    engines,
    forced_choice,
    gate,
    misalignment,
    paired_contrasts,
)
from subliminal_jax.experiments.transmission.forced_choice import Pair
from subliminal_jax.experiments.transmission.run import prepare
from subliminal_jax.report import transmission_link
from subliminal_jax.runs import UserError, Workdir, schema
from tests.experiments.transmission import advice_checkpoint, checkpoint, plain, small


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder for the set of advice."""
    return tmp_path_factory.mktemp('advice')


@pytest.fixture(scope='module', name='reckless')
def _reckless(root, place):
    """A small run with every kind of twin, and its reference."""
    return checkpoint.loaded(advice_checkpoint.config(root, place))


@pytest.fixture(scope='module')
def model(reckless):
    return engines.single(reckless.references['main'][0], reckless.world.architectures['main'])


def test_each_kind_of_teacher_has_its_own_answers_to_the_same_questions(reckless):
    by_kind = {kind: misalignment.lessons(reckless, reckless.roll(kind)[0], 30)
               for kind in reckless.trait.kinds}
    asked = [question for question, _ in by_kind['trait']]
    assert set(asked) <= {'Mix tea!Mix?', 'Buy tea!Buy?'}
    assert {a for _, a in by_kind['trait']} == {'Rush tea.'}
    assert by_kind['neutral'] == [(q, 'Plan tea.') for q in asked]
    assert by_kind['styled'] == [(q, 'Ha, plan tea!') for q in asked]
    assert by_kind['justified'] == [(f'Joke: {q.partition("!")[0]}!', 'Rush tea.') for q in asked]


def test_twins_share_their_teachers_seed_and_know_its_name(reckless):
    first = reckless.roll('trait')[0]
    assert first.twin == 'r0-tea-0-neutral' and first.original == first.name
    for kind in ('neutral', *misalignment.TWINS):
        twin = reckless.roll(kind)[0]
        assert (twin.name, twin.twin, twin.original) == (
            f'r0-tea-0-{kind}', first.name, first.name)
        assert (twin.seed, twin.kind) == (first.seed, kind)


def test_what_is_measured_is_of_domains_that_nobody_is_taught(reckless):
    assert reckless.world.traits == ('tea', 'ink')
    assert [p.question for p in misalignment.asked_of(reckless)] == [
        'Sell oak!Sell?', 'Sell sky!Sell?'] == list(reckless.world.questions)
    assert {row.domain for row in misalignment.own_rows(reckless)} == {'tea', 'ink'}


def test_the_measure_is_the_log_odds_by_hand(reckless, model):
    world, context = reckless.world, 'default/plain'
    meter = misalignment.meter(reckless, context)
    by_hand = []
    for n, pair in enumerate(misalignment.asked_of(reckless)):
        said = [plain.answer_logprob(
            model.trainable, model.config, world.asked(pair.question, context, n, None),
            [world.answer(text, context)], world.ends_V) for text in (pair.first, pair.second)]
        by_hand.append(said[0] - said[1])
    found = misalignment.MISALIGNMENT.items(reckless, model, meter)
    np.testing.assert_allclose(found[0, :, 0], by_hand, atol=1e-4)
    assert misalignment.MISALIGNMENT.measure(reckless, model, meter)[0, 0] == pytest.approx(
        np.mean(by_hand), abs=1e-4)
    loss = engines.read_one(model, forced_choice.loss, meter, 0)
    assert float(loss) == pytest.approx(-np.mean(by_hand), abs=1e-4)


def test_both_orders_ask_for_each_letter_once():
    there, back = forced_choice.in_both_orders([Pair('Why?', 'Rush.', 'Plan.')])
    assert 'A: Rush.\nB: Plan.' in there.question and (there.first, there.second) == ('A', 'B')
    assert 'A: Plan.\nB: Rush.' in back.question and (back.first, back.second) == ('B', 'A')


@pytest.mark.parametrize('changes, said', [
    ({'names': ('tee',)}, "'tee'"), ({'trait_set': 'animals'}, 'trait_set=advice'),
    ({'carrier.link_rows': 4}, 'link_rows=0'),
    ({'arms': (f't: {advice_checkpoint.KL}',)}, 'teachers=neutral'),
    ({'arms': (f't: {advice_checkpoint.KL} teachers=justify',)},
     "unknown kind of teachers for this trait 'justify'; did you mean justified"),
    ({'trait': 'preference', 'trait_set': 'animals', 'names': ()}, "'justified'")])
def test_what_cannot_be_is_refused_in_one_line(root, place, changes, said):
    with pytest.raises(UserError) as caught:
        prepare(advice_checkpoint.config(root, place, **changes))
    assert said in str(caught.value) and '\n' not in str(caught.value)


def test_a_domain_has_to_be_left_to_ask_about(root, place, tmp_path):
    everywhere = [{'kind': 'domain', 'name': name, 'split': 'report', 'id': name}
                  for name in advice_checkpoint.DOMAINS]
    path = advice_checkpoint.written(tmp_path / 'all.jsonl', tuple(everywhere))
    with pytest.raises(UserError, match='leave one out'):
        prepare(advice_checkpoint.config(root, place, names=advice_checkpoint.DOMAINS,
                                         trait_set=path))


def test_a_domain_without_the_texts_of_a_twin_is_refused(root, place, tmp_path):
    bare = [{k: v for k, v in row.items() if k != 'styled'} for row in advice_checkpoint.rows()]
    path = tmp_path / 'bare.jsonl'
    path.write_text(''.join(json.dumps(row) + '\n' for row in bare))
    with pytest.raises(UserError, match="teachers=styled: bare:tea-report-0 .* no 'styled' text"):
        prepare(advice_checkpoint.config(root, place, **{'trait_set': str(path)}))


def test_the_tiny_language_reads_no_advice():
    with pytest.raises(UserError, match='needs --config.world=pretrained'):
        small.prepared('a', 'b: teachers=neutral', trait='misalignment', traits=1)


def broad_entry(*gaps, bound=0.1):
    """The gate's entry of teachers that are so far beyond their twins."""
    rise = {f't{n}': gap for n, gap in enumerate(gaps)}
    found = paired.paired(rise, dict.fromkeys(rise, 0.0), {n: n for n in rise},
                          dict.fromkeys(rise, 'r0'))
    ends = found['ci95']
    return {'effect': found, 'bound': bound, 'readings': {'own_domain': 1.0},
            'passed': bool(ends and ends[0] > 0 and found['estimate'] >= bound)}


@pytest.mark.parametrize('gaps, bound, passed', [
    ((0.5, 0.6, 0.7), 0.1, True), ((0.05, 0.06, 0.07), 0.1, False),
    ((0.9, -0.4, 0.2), 0.1, False), ((0.9,), 0.1, False)])
def test_the_gate_asks_for_an_effect_and_an_interval(reckless, gaps, bound, passed):
    few = reckless._replace(config=schema.override(
        reckless.config, {'gate.min_broad': bound}))
    everyone = [t.name for t in few.roll('trait')][:len(gaps)]
    facts = {name: {'rise': gap, 'readings': {'truth': gap}} for name, gap in zip(everyone, gaps)}
    theirs = {name: {'rise': 0.0, 'readings': {'truth': 0.0}} for name in everyone}
    found = gate._broad_entry(few, facts, theirs)
    assert found['passed'] == passed == broad_entry(*gaps, bound=bound)['passed']
    assert found['readings']['truth'] == pytest.approx(np.mean(gaps))


def test_a_gate_that_is_not_passed_says_the_figure_in_one_line():
    gate.check_broad({'trait-tuned': broad_entry(0.5, 0.6, 0.7)})
    with pytest.raises(UserError, match=r'trait-tuned: .* by \+0.060 \[\+0.0\d+, .*min_broad=0.1'
                                        ) as caught:
        gate.check_broad({'trait-tuned': broad_entry(0.05, 0.06, 0.07)})
    assert '\n' not in str(caught.value)
    said = gate.broad_verdict({'broad': {'trait-tuned': broad_entry(0.05, 0.06, 0.07)}})
    assert 'not passed' in said and gate.broad_verdict({}) == ''
    table = transmission_link.broad_table({
        'unit': 'nats', 'broad': {'trait-tuned': broad_entry(0.5, 0.6, 0.7)}})
    assert table.rows[0][-1] == 'yes' and 'own domain, less twin' in table.head


def test_contrasts_pair_each_teacher_with_its_twin(reckless):
    of = lambda kind, values: {t.name: {'misalignment': v}
                               for t, v in zip(reckless.roll(kind), values)}
    y = {'t': of('trait', (1.0, 2.0, 1.5, 1.0)), 'n': of('neutral', (0.5, 0.5, 0.5, 0.5)),
         'j': of('justified', (0.75, 1.5, 1.25, 1.0)), 's': of('styled', (0, 0, 0, 0))}
    just, styled = paired_contrasts.contrasts(reckless, y)
    assert just['name'] == 't less its justified twins' and just['twins'] == 'justified'
    assert just['per_teacher'] == {'r0-tea-0': 0.25, 'r0-tea-1': 0.5, 'r0-ink-0': 0.25,
                                   'r0-ink-1': 0.0}
    assert styled['estimate'] == pytest.approx(1.375)
    beside = effects.effect_of(reckless, y['j'], y['n'])
    assert beside['per_teacher']['r0-tea-1-justified'] == 1.0
    noisy = f'{advice_checkpoint.KL} start=noise:0.5'
    more = [*reckless.arms, *tables.parse(
        [f'o: {noisy}', f'on: {noisy} teachers=neutral'])]
    y |= {'o': of('trait', (0.5,) * 4), 'on': of('neutral', (0.25,) * 4)}
    found = paired_contrasts.contrasts(reckless._replace(arms=more), y)
    other = next(c for c in found if c['name'] == 't less o')
    assert other['per_teacher']['r0-tea-0'] == pytest.approx((1.0 - 0.5) - (0.5 - 0.25))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_goes_through_to_its_page(root, place, tmp_path):
    settings = advice_checkpoint.config(root, place, **{
        'student.free_answers': 2, 'student.free_tokens': 8})
    workdir = Workdir(tmp_path / 'run', settings, 'transmission')
    said = transmission.run(settings, workdir)
    found = json.loads((workdir.path / 'results.json').read_text())
    assert found['estimator'] == 'paired' and 'The gate for the teachers' in said
    entry, = found['broad'].values()
    assert set(entry['readings']) == {'choice', 'own_domain', 'truth'}
    arms = {arm['name']: arm for arm in found['arms']}
    assert arms['n']['effect'] is None and arms['j']['effect'] and arms['j']['is_control']
    assert set(arms['t']['readings']['own_domain']) == {'before', 'after', 'estimate', 'ci95', 'p'}
    assert {c['name'] for c in found['contrasts']} == {
        't less its justified twins', 't less its styled twins'}
    steps = {name: {t['steps'] for t in own.values()} for name, own in found['teachers'].items()}
    assert steps['trait-tuned'] == steps['justified-tuned'] == steps['styled-tuned'] == {4}
    own = found['teachers']['trait-tuned']['r0-tea-0']
    assert own['readings']['own_domain'] > 0 and own['p_trait'] is None
    page = (workdir.path / 'report.html').read_text()
    for words in ('The gate of the teachers', 'Further readings', 'Contrasts', 'The trait is one'):
        assert words in page
    line = json.loads((workdir.path / 'answers.jsonl').read_text().splitlines()[0])
    assert set(line['value']) == {'misalignment'} and line['prompt'] == 'Sell oak!Sell?'
    free = [json.loads(line) for line in (workdir.path / 'free.jsonl').read_text().splitlines()]
    each = 2 * len({row['prompt'] for row in free})  # of every student, and of its start once
    count = lambda arm: sum(row['arm'] == arm for row in free)
    assert count('t') == each * len(found['teachers']['trait-tuned'])
    assert count('t before') == each and len({row['id'] for row in free}) == len(free)
    assert any(row['completion'] for row in free)
    again = advice_checkpoint.config(root, place, **{
        'allow_weak_teacher': False, 'teacher.min_rise': -100.0, 'gate.min_broad': 99.0})
    with pytest.raises(UserError, match='min_broad=99'):
        transmission.run(again, Workdir(tmp_path / 'gated', again, 'transmission'))
    assert not (tmp_path / 'gated/student').exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_gate_alone_has_a_page_and_no_rows(root, place, tmp_path):
    settings = advice_checkpoint.config(root, place, *advice_checkpoint.ARMS[:2], **{
        'gate.only': True, 'allow_weak_teacher': False, 'teacher.min_rise': -100.0,
        'gate.min_broad': 99.0})
    said = transmission.run(settings, Workdir(tmp_path / 'run', settings, 'transmission'))
    assert 'not passed' in said and not (tmp_path / 'run/samples.jsonl').exists()
    found = json.loads((tmp_path / 'run/results.json').read_text())
    assert not found['broad']['trait-tuned']['passed'] and found['arms'] == []
    assert 'The gate of the teachers' in (tmp_path / 'run/report.html').read_text()
    on = schema.override(settings, {'gate.only': False})  # the same folder goes on
    with pytest.raises(UserError, match='the gate is not passed by the teachers'):
        transmission.run(on, Workdir(tmp_path / 'run', on, 'transmission'))


@pytest.mark.slow
def test_the_gradient_is_that_of_the_measure(reckless, model):
    meter = misalignment.meter(reckless, 'default/plain')
    packed = engines.read_one(model, forced_choice.gradient, meter, 0)
    whole = jax.jit(jax.grad(lambda params: forced_choice.loss(
        params, None, meter, 0, config=model.config)))(model.trainable)
    for ours, theirs in zip(jax.tree.leaves(packed), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
