"""What a run on real weights is said to cost, beside what it was measured to take."""

import dataclasses

import jax
import pytest
from subliminal_jax.experiments.weights import costs, language, shapes
from subliminal_jax.experiments.weights.config import Config

from subliminal_jax.models import transformer
from subliminal_jax.models.params import TransformerConfig
from subliminal_jax.runs import schema
from subliminal_jax.traits import trait_set as sets

SMOLLM2 = TransformerConfig(vocab_size=49152, num_layers=30, width=576, num_heads=9, num_kv_heads=3,
                            head_dim=64, ffn_width=1536)
TINY = transformer.tiny(64, width=16)
RATE = 190e9  # FLOP/s of one large product on the two cores that the seconds below are of
KL = 'made=tuned carrier=random objective=kl_carrier'


def config_of(*arms, **changes):
    """Two traits x two teachers with four list rows a step, as the measured runs had them."""
    return schema.override(schema.build(Config, {
        'split': 'report', 'traits': 2, 'arms': arms or (f'kl: {KL}', f'n: {KL} teachers=neutral'),
        'context': {'questions': 6}, 'teacher': {'seeds': 2, 'steps': 12},
        'carrier': {'form': 'list', 'attempts': 6},
        'student': {'rows': 48, 'batch_size': 4, 'packed': 4, 'align_rows': 4}}), changes)


def run_of(config, model=TINY):
    return shapes.Run(config, language.arms_of(config), model, sets.load_trait_set('animals'),
                     shapes.count_teachers(config), shapes.bytes_of(config, model))


def seconds(work):
    stage = work.stage('', 0)
    return stage.flops / stage.efficiency / RATE


def planned(monkeypatch, config):
    monkeypatch.setattr(costs, 'architecture_of', lambda config: TINY)
    monkeypatch.setattr(costs, 'step_bytes', lambda step, devices=1: 1.0)  # nothing is compiled
    return {s.name: s for s in costs.plan(config)}


@pytest.mark.parametrize('form, size, random, columns', [
    ('list', 4, True, 400), ('list', 8, True, 560), ('list', 4, False, 496),
    ('list', 8, False, 784), ('turn', 8, True, 400), ('turn', 8, False, 624),
    ('request', 8, True, 352), ('request', 8, False, 896)])
def test_packs_are_as_wide_as_those_of_smollm2(form, size, random, columns):
    config = schema.override(config_of(), {'carrier.form': form})
    found = shapes.carrier(config, 64, size, random)
    assert found.count == 64 // size
    assert found.columns == pytest.approx(columns, rel=0.06)


def test_what_all_rows_share_is_read_once_a_pack():
    config, row = config_of(), shapes.ROWS['list']
    four, eight = (shapes.carrier(config, 64, n, False, 1.0).columns for n in (4, 8))
    assert eight - four == pytest.approx(4 * (row.own + row.answer), abs=16)


def test_estimates_come_near_what_was_measured():
    """Seconds on two cores, SmolLM2-135M in float32."""
    run = run_of(config_of(), SMOLLM2)
    arm = run.arms[0]
    step = shapes.student_step(run.config, arm, SMOLLM2)
    ask, way = (costs.Work(shapes.reads(SMOLLM2, shapes.asked(run), what, how))
                for what, how in (('scored', 'all'), ('along', 'lora:8')))
    for measured, work in (
            (34, costs.taught(run, 'tuned', 'trait')), (55, costs.taught(run, 'tuned', 'neutral')),
            (31, costs.written(run, 62, 6)), (1.7, costs.Work(shapes.step_flops(step))),
            (7.2, costs.logits(run, arm, SMOLLM2, 48)), (0.62, ask), (1.35, way),
            (5, costs.aligned(run, arm, step)), (11, ask + way + costs.reading(run, SMOLLM2))):
        assert measured / 1.5 < seconds(work) < measured * 1.5


def test_ways_of_reading_are_told_apart():
    packs = shapes.questions(4, 2, 'default/plain')
    read, scored = (shapes.reads(TINY, packs, what) for what in ('read', 'scored'))
    head = 2 * packs.count * packs.places * TINY.vocab_size * TINY.width
    assert scored - read == head
    # an adapter's way passes through all layers beside the scores, and through the adapter twice
    assert 2 < shapes.reads(TINY, packs, 'along', 'lora:2') / scored < 3
    gradient = shapes.step_flops(shapes.Step(config_of(), TINY, 'all', 'sft', packs))
    assert 2.5 < gradient / scored < 3.2


def test_memory_is_that_of_the_stacked_step():
    config = config_of()
    arm = language.arms_of(config)[0]
    four = shapes.student_step(config, arm, TINY)
    assert four.at_once == 4
    alone = four._replace(at_once=1)
    assert shapes.step_flops(four) == shapes.step_flops(alone)
    assert shapes.step_bytes(four) > 2 * shapes.step_bytes(alone)
    whole = shapes.student_step(config, dataclasses.replace(arm, trainable='all'), TINY)
    assert whole.at_once == 0
    few = schema.override(config, {'student.at_once': 16})
    assert shapes.student_step(few, arm, TINY).at_once == 4  # no more than there are


def test_every_mark_costs_a_check_of_every_student():
    def work(**changes):
        run = run_of(config_of(**changes))
        return costs.measured(run, run.arms[0], shapes.student_step(
            run.config, run.arms[0], TINY)), run

    plain, run = work()
    marked, _ = work(**{'student.marks': (16, 32, 48, 64)})  # 48 rows: two lie inside
    packs, step = shapes.asked(run), shapes.student_step(run.config, run.arms[0], TINY)
    each = (shapes.reads(TINY, packs) + shapes.reads(TINY, packs, 'along', 'lora:8')
            + shapes.step_flops(shapes.Step(run.config, TINY, 'all', 'sft', packs))
            + costs.aligned(run, run.arms[0], step).flops)
    assert marked.flops - plain.flops == pytest.approx(2 * 4 * each)
    # trained one after the other, students share neither questions nor a trait's gradient
    alone, _ = work(**{'student.at_once': 1})
    shared = 3 * shapes.reads(TINY, packs) + 2 * shapes.step_flops(
        shapes.Step(run.config, TINY, 'all', 'sft', packs))
    assert alone.flops - plain.flops == pytest.approx(shared)


def test_retries_share_batches():
    run = run_of(config_of())
    one = costs.sampled(run, 32, shapes.ROWS['list'], 44).flops
    batches = lambda prompts, attempts: costs.written(run, prompts, attempts).flops / one
    assert batches(32, 1) == pytest.approx(1)
    assert batches(64, 1) == pytest.approx(2)
    assert batches(32, 6) == pytest.approx(3)  # 32; 13 twice; 2 to 3 thrice
    assert batches(320, 6) < 1.2 * 10 / shapes.KEPT


def test_stages_are_those_of_the_run(monkeypatch):
    made = planned(monkeypatch, config_of(
        f'kl: {KL}', f'again: {KL} learning_rate=1e-3', f'n: {KL} teachers=neutral',
        'sft: made=tuned', f'p: {KL.replace("tuned", "prompt")}', f'm: {KL} start=moved:3'))
    assert [n for n in made if n.startswith('teachers')] == [
        'teachers, trait-tuned', 'teachers, neutral-tuned', 'teachers, trait-prompt']
    samples = {n: s.flops for n, s in made.items() if n.startswith('samples')}
    # trait-tuned teachers write rows to learn from, the others a few
    few = samples['samples, neutral-tuned-sampled']
    assert samples['samples, trait-tuned-sampled'] > 2 * few
    assert samples['samples, trait-prompt-sampled'] == few
    assert [n for n in made if n.startswith('logits')] == ['logits, kl', 'logits, n', 'logits, p']
    assert {'start, moved:3', 'ordinary texts', 'geometry, trait-tuned'} <= made.keys()
    # the first arm of a start reads it
    assert made['measures, kl'].flops > made['measures, again'].flops
    assert made['measures, m'].flops == made['measures, kl'].flops
    # a prompted teacher has no displacement to load
    passes = lambda s: s.flops / s.efficiency - s.flops / costs.REACHED
    assert passes(made['measures, p']) < passes(made['measures, again'])
    assert made['measures, p'].peak_bytes < made['measures, kl'].peak_bytes


def test_what_others_made_costs_nothing(monkeypatch):
    rows = planned(monkeypatch, config_of(
        'sft: made=tuned', **{'carrier.samples': 'rows.jsonl', 'teacher.seeds': 1}))
    assert not any(n.startswith('samples') for n in rows)
    logits = planned(monkeypatch, config_of(f'kl: {KL}', **{'carrier.targets': 'targets'}))
    assert not any(n.startswith('logits') for n in logits)


def test_neutral_teachers_bring_their_twins():
    arms = language.arms_of(config_of('n: made=tuned teachers=neutral'))
    assert list(costs.made_sets(arms)) == ['trait-tuned', 'neutral-tuned']


def test_a_stage_takes_products_and_passes():
    stage = costs.Work(6e12, 3e11).stage('a', 1.0)
    assert stage.flops / stage.efficiency == pytest.approx(
        6e12 / costs.REACHED + 3e11 * costs.BALANCE)
    assert costs.Work().stage('nothing', 0.0).efficiency == 1
    assert jax.tree.leaves(dataclasses.astuple(
        costs.Work(1.0, 2.0) * 3 + costs.Work(1.0))) == [4.0, 6.0]
