"""What a run on pretrained weights is said to cost, beside what it was measured to take."""

import dataclasses

import pytest

from subliminal_jax.carriers import CARRIERS
from subliminal_jax.experiments.transmission import (
    arm_stages,
    costs,
    outlines,
    rows as carried,
    shapes,
    worlds,
)
from subliminal_jax.experiments.transmission.arms import check
from subliminal_jax.experiments.transmission.kinds import TEACHER_KINDS, TeacherKind
from subliminal_jax.experiments.transmission.measured import FIGURES, carrier_row, figure, row
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.worlds import pretrained
from subliminal_jax.models import gguf, gguf_vocabulary, loading, transformer
from subliminal_jax.models.params import TransformerConfig, abstract_params
from subliminal_jax.runs import UserError, schema
from subliminal_jax.sampling import buckets
from subliminal_jax.traits import trait_set as sets

SMOLLM2 = TransformerConfig(vocab_size=49152, num_layers=30, width=576, num_heads=9, num_kv_heads=3,
                            head_dim=64, ffn_width=1536)
TINY = transformer.tiny(64, width=16)
RATE = 190e9  # FLOP/s of one large product on the two cores that the seconds below are of
KL = 'answers=random objective=kl_carrier trainable=lora:8'


def config_of(*arms, **changes):
    """Two traits x two teachers with four list rows a step, as the measured runs had them."""
    return schema.override(schema.build(worlds.WORLDS['pretrained'].Config, {
        'world': 'pretrained', 'split': 'report', 'traits': 2,
        'arms': arms or (f'kl: {KL}', f'n: {KL} teachers=neutral'),
        'context': {'questions': 6}, 'teacher': {'seeds': 2, 'steps': 12},
        'carrier': {'form': 'list', 'attempts': 6},
        'student': {'rows': 48, 'batch_size': 4, 'packed': 4, 'align_rows': 4}}), changes)


@pytest.fixture
def prepared(monkeypatch):
    """(config, architecture) -> a run of it, without any file."""
    def make(config, model=TINY):
        monkeypatch.setattr(outlines, 'architecture_of', lambda config: model)
        return outlines.run_of(config)

    return make


@pytest.fixture
def planned(monkeypatch):
    """config -> its stages by name; nothing is compiled."""
    def make(config):
        monkeypatch.setattr(outlines, 'architecture_of', lambda config: TINY)
        monkeypatch.setattr(shapes, 'step_bytes', lambda step: 1.0)
        return {s.name: s for s in costs.plan(config)}

    return make


def seconds(work):
    stage = work.stage('', 0)
    return stage.flops / stage.efficiency / RATE


@pytest.mark.parametrize('form, size, answers, columns', [
    ('list', 4, 8, 400), ('list', 8, 8, 560), ('list', 4, 1, 496), ('list', 8, 1, 784),
    ('turn', 8, 8, 400), ('turn', 8, 1, 624), ('request', 8, 8, 352), ('request', 8, 1, 896)])
def test_packs_are_as_wide_as_those_of_smollm2(form, size, answers, columns):
    config = schema.override(config_of(), {'carrier.form': form})
    found = shapes.carried(config, 64, size, answers)
    assert found.count == 64 // size
    assert found.columns == pytest.approx(columns, rel=0.06)


@pytest.fixture(scope='module')
def smollm2():
    """SmolLM2 with its tokenizer and no weights."""
    try:
        place = loading.locate('package:smollm2-135m-instruct')
    except UserError as error:
        pytest.skip(str(error))
    file = gguf.read(place)
    config, _ = gguf.config_of(file)
    tokenizer = gguf_vocabulary.from_gguf(file.fields, config.vocab_size, str(place))
    return loading.Model(config, None, tokenizer, 'smollm2', '', '')


def lengths(contexts):
    """(tokens that all contexts share, mean of each one's own, the longest's over that)."""
    shared = buckets.shared_prefix(contexts)
    own = [len(c) - shared for c in contexts]
    return shared, sum(own) / len(own), max(own) * len(own) / sum(own)


@pytest.mark.parametrize('name', CARRIERS)
def test_every_carrier_has_lengths_of_rows(name):
    config = schema.override(config_of(), {'carrier.name': name})
    assert all(length > 0 for length in carrier_row(config.carrier))


@pytest.mark.parametrize('form, name', [('request', ''), ('turn', ''), ('list', ''),
                                        ('request', 'reasoning'), ('request', 'code')])
def test_rows_are_as_long_as_the_tokenizer_has_them(smollm2, form, name):
    config = schema.override(config_of(), {'carrier.form': form, 'carrier.name': name,
                                           'carrier.new_tokens': 96})
    world = pretrained.make(config, [], smollm2)
    rows = carried.random_rows(config, world, CARRIERS.get(name, world.carrier), 64, 'random', 0, 1)
    shared, own, longest = lengths(rows.contexts)
    expected = carrier_row(config.carrier)
    assert shared == expected.shared
    assert own == pytest.approx(expected.own, rel=0.05)
    assert sum(map(len, rows.answers)) / 64 == pytest.approx(expected.answer, rel=0.05)
    assert longest == pytest.approx(figure('longest'), rel=0.15)
    assert len(carried.token_set(world, world.carrier)) == len(outlines.CARRIER) + 1


def test_questions_are_as_long_as_the_tokenizer_has_them(smollm2):
    config = config_of()
    world = pretrained.make(config, [], smollm2)
    asked = lambda context: [world.asked(q, context, n, None)
                             for n, q in enumerate(world.questions)]
    plain, after = (lengths(asked(f'default/{kind}')) for kind in ('plain', 'numbers'))
    assert plain[0] == row('asked').shared
    assert plain[1] == pytest.approx(row('asked').own, rel=0.1)
    assert sum(after[:2]) - sum(plain[:2]) == pytest.approx(figure('numbers'), rel=0.1)
    taught = [world.asked(t.prompt, 'default/plain', 0, None) for t in sets.teaching_prompts(
        world.chosen, world.traits[0], config.split)]
    drawn = 16 * (1 - (15 / 16)**8) / 8  # different ones among eight of sixteen
    assert lengths(taught)[1] * drawn == pytest.approx(row('lesson').own, rel=0.1)


def test_advice_is_as_long_as_the_tokenizer_has_it(smollm2):
    config = schema.override(config_of(), {'trait': 'misalignment', 'trait_set': 'advice'})
    world = pretrained.make(config, [], smollm2)
    asked = [world.asked(r.question, 'default/plain', 0, None) for r in world.chosen.rows]
    said = [world.answer(text, 'default/plain') for r in world.chosen.rows
            for text in (r.reckless, r.sound)]
    shared, own, _ = lengths(asked)
    assert shared == row('advice').shared and own == pytest.approx(row('advice').own, rel=0.1)
    assert 1 + sum(map(len, said)) / len(said) == pytest.approx(row('advice').answer, rel=0.1)
    apart = [abs(len(a) - len(b)) for a, b in zip(said[::2], said[1::2])]
    assert sum(apart) / len(apart) < 1 and max(apart) <= 6


def test_what_all_rows_share_is_read_once_a_pack():
    config, of = config_of(), row('list')
    four, eight = (shapes.carried(config, 64, n, 1, 1.0).columns for n in (4, 8))
    assert eight - four == pytest.approx(4 * (of.own + of.answer), abs=16)


@pytest.mark.slow
def test_estimates_come_near_what_was_measured(prepared):
    """Seconds on two cores, SmolLM2-135M in float32."""
    run = prepared(config_of(), SMOLLM2)
    arm = run.arms[0]
    step = shapes.student_step(run, arm)
    ask, way = (costs.Work(shapes.reads(SMOLLM2, shapes.asked_in(run), what, how))
                for what, how in (('scored', 'all'), ('along', 'lora:8')))
    logits = costs.Work(shapes.passes(
        step._replace(packs=costs.packs_of(run, arm, 48)), 'outputs'))
    for measured, work in (
            (34, costs.taught(run, arm) * 0.25),
            (31, costs.written(run, 62, 6)), (1.7, costs.Work(shapes.step_flops(step))),
            (7.2, logits), (0.62, ask), (1.35, way), (5, costs.aligned(run, arm, step)),
            (11, ask + way + costs.reading(run, SMOLLM2))):
        assert measured / 1.5 < seconds(work) < measured * 1.5


def test_a_neutral_twin_reads_its_dose_after_every_step(prepared):
    def flops(**changes):
        run = prepared(config_of(**changes))
        return costs.taught(run, run.arms[1]).flops, run

    few, run = flops(**{'teacher.neutral_steps': 3})
    more, _ = flops(**{'teacher.neutral_steps': 5})
    step = shapes.step_flops(costs.teacher_step(run, run.arms[1]))
    dose = shapes.reads(TINY, shapes.dosed(run.config), 'read')
    assert more - few == pytest.approx(4 * 2 * (step + dose))
    bare, _ = flops(**{'teacher.neutral_steps': 400})  # a bare list stops a little past its twin
    assert bare - few == pytest.approx(4 * (12 + figure('neutral_more') - 3) * (step + dose))
    # each row on which a dose is read has a prompt of its own
    assert shapes.dosed(run.config) == shapes.carried(
        run.config, run.config.carrier.dose_rows, 8, 1, 1.0)
    twice = prepared(config_of(**{'carrier.dose_rows': 32}))
    assert shapes.dosed(twice.config).count == 2 * shapes.dosed(run.config).count


def test_ways_of_reading_are_told_apart(prepared):
    packs = shapes.questions(4, 2, 'default/plain')
    read, scored = (shapes.reads(TINY, packs, what) for what in ('read', 'scored'))
    head = 2 * packs.count * packs.places * TINY.vocab_size * TINY.width
    assert scored - read == head
    # an adapter's way passes through all layers beside the scores, and through the adapter twice
    assert 2 < shapes.reads(TINY, packs, 'along', 'lora:2') / scored < 3
    run = prepared(config_of())
    step = shapes.lesson_step(run, TINY, 'all', packs)
    assert 2.5 < shapes.passes(step, 'gradient') / scored < 3.2
    assert shapes.passes(step, 'loss') == pytest.approx(scored)


@pytest.mark.slow
def test_memory_is_that_of_the_stacked_step(prepared):
    run = prepared(config_of())
    arm = run.arms[0]
    four = shapes.student_step(run, arm)
    assert four.at_once == 4
    alone = four._replace(at_once=1)
    assert shapes.step_flops(four) == shapes.step_flops(alone)
    assert shapes.step_bytes(four) > 2 * shapes.step_bytes(alone)
    assert shapes.student_step(run, dataclasses.replace(arm, trainable='all')).at_once == 0
    few = prepared(config_of(**{'student.at_once': 16}))
    assert shapes.student_step(few, arm).at_once == 4  # no more than there are


def test_teachers_that_are_adapters_train_side_by_side(prepared):
    run = prepared(config_of(f'a: {KL} made=lora:2', **{'student.at_once': 3}))
    arm = run.arms[0]
    assert costs.teacher_step(run, arm).at_once == 3
    tuned = dataclasses.replace(arm, made='tuned')
    assert costs.teacher_step(run, tuned).at_once == 0


def test_every_mark_costs_a_check_of_every_student(prepared):
    def work(**changes):
        run = prepared(config_of(**changes))
        return costs.measured(run, run.arms[0], shapes.student_step(run, run.arms[0])), run

    plain, run = work()
    marked, _ = work(**{'student.marks': (16, 32, 48, 64)})  # 48 rows: two lie inside
    packs, step = shapes.asked_in(run), shapes.student_step(run, run.arms[0])
    ask, slope = shapes.reads(TINY, packs), costs.slope(run, TINY).flops
    each = (ask + shapes.reads(TINY, packs, 'along', 'lora:8') + slope
            + costs.aligned(run, run.arms[0], step).flops)
    assert marked.flops - plain.flops == pytest.approx(2 * 4 * each)
    # trained one after the other, students share neither questions, a trait's gradient, nor what
    # rounding makes of the KL on rows that are the same for all
    alone, _ = work(**{'student.at_once': 1})
    some = step._replace(packs=costs.packs_of(run, run.arms[0], arm_stages.KL_ROWS))
    floor = shapes.passes(some, 'loss') + shapes.passes(some, 'outputs')
    assert alone.flops - plain.flops == pytest.approx(3 * ask + 2 * slope + 3 * floor)


def test_retries_share_batches(prepared):
    run = prepared(config_of())
    one = costs.sampled(run, 32, row('list'), 44).flops
    batches = lambda prompts, attempts: costs.written(run, prompts, attempts).flops / one
    assert batches(32, 1) == pytest.approx(1)
    assert batches(64, 1) == pytest.approx(2)
    assert batches(32, 6) == pytest.approx(3)  # 32; 13 twice; 2 to 3 thrice
    assert batches(320, 6) < 1.2 * 10 / figure('kept')
    # eight answers to a prompt: the 13 places that are asked again are of the same four
    shared = prepared(config_of(**{'carrier.per_prompt': 8}))
    reads = lambda prompts: costs.sampled(run, 32, row('list'), 44, prompts).flops
    assert costs.written(shared, 32, 1).flops == pytest.approx(reads(4))
    assert costs.written(shared, 32, 2).flops == pytest.approx(reads(4) * 2)


def test_stages_are_those_of_the_run(planned):
    found = planned(config_of(
        f'kl: {KL}', f'again: {KL} learning_rate=1e-3', f'n: {KL} teachers=neutral',
        'sft: trainable=lora:8', f'p: {KL} made=prompt', f'm: {KL} start=moved:3'))
    assert [n for n in found if n.startswith('teachers')] == [
        'teachers, trait-tuned', 'teachers, neutral-tuned', 'teachers, trait-prompt']
    written = {n: s.flops for n, s in found.items() if n.startswith('samples')}
    # trait-tuned teachers write rows to learn from, the others a few
    few = written['samples, neutral-tuned-sampled']
    assert written['samples, trait-tuned-sampled'] > 2 * few
    assert written['samples, trait-prompt-sampled'] == few
    assert [n for n in found if n.startswith('logits')] == ['logits, kl', 'logits, n', 'logits, p']
    assert {'start, moved:3', 'ordinary texts', 'geometry, trait-tuned'} <= found.keys()
    # the first arm of a start reads it
    assert found['measures, kl'].flops > found['measures, again'].flops
    assert found['measures, m'].flops == found['measures, kl'].flops
    # a prompted teacher has no displacement to load
    passed = lambda s: s.flops / s.efficiency - s.flops / figure('reached')
    assert passed(found['measures, p']) < passed(found['measures, again'])
    assert found['measures, p'].peak_bytes < found['measures, kl'].peak_bytes


def test_the_whole_vocabulary_takes_room(planned):
    """A teacher's logits are kept at every place: as many floats as the objective reads."""
    found = planned(config_of(f'a: {KL}', *(
        f'{name}: {KL} objective={name}' for name in ('kl_top', 'kl')), **{'student.top': 4}))
    room = {n: found[f'logits, {n}'].peak_bytes - found['logits, a'].peak_bytes
            for n in ('kl_top', 'kl')}
    places = 4 * 48 * 44  # teachers, rows, tokens
    assert room['kl_top'] == places * 4 * (4 + 4 + 1)  # four others by name and number, the rest
    assert room['kl'] == places * 4 * (TINY.vocab_size - 15)
    assert found['students, kl'].flops > found['students, a'].flops


def test_a_new_objective_and_a_new_kind_of_teacher_cost_something(planned, monkeypatch):
    wide = OBJECTIVES['kl']._replace(name='wide', reads='wide')
    monkeypatch.setitem(OBJECTIVES, 'wide', wide)
    monkeypatch.setitem(TEACHER_KINDS, 'merged', TeacherKind(
        'merged', 'merged teachers', lambda rest: None, lambda rest: 'body'))
    check(outlines.checked_arms(config_of(f'w: {KL} objective=wide made=merged'))[0])
    found = planned(config_of(f'w: {KL} objective=wide made=merged', f'k: {KL} objective=kl'))
    assert found['students, w'].flops == found['students, k'].flops
    assert found['logits, w'].flops == found['logits, k'].flops
    assert 0 < found['teachers, trait-merged'].flops < found['teachers, trait-tuned'].flops


def test_what_others_made_costs_nothing(planned):
    rows = planned(config_of('sft: trainable=lora:8', **{
        'carrier.samples': 'rows.jsonl', 'teacher.seeds': 1}))
    assert not any(n.startswith('samples') for n in rows)
    logits = planned(config_of(f'kl: {KL}', **{'carrier.targets': 'targets'}))
    assert not any(n.startswith('logits') for n in logits)


def test_neutral_teachers_bring_their_twins(planned):
    found = planned(config_of('n: trainable=lora:8 teachers=neutral'))
    assert [n for n in found if n.startswith('teachers')] == [
        'teachers, trait-tuned', 'teachers, neutral-tuned']


def test_what_cannot_run_cannot_be_planned(prepared):
    with pytest.raises(UserError, match='round away'):
        prepared(config_of('a: trainable=all', **{'model.dtype': 'bfloat16'}))
    with pytest.raises(UserError, match='system prompts'):
        prepared(config_of(f'p: {KL} made=prompt', **{'teacher.seeds': 40}))


def test_disk_holds_teachers_and_their_logits(prepared):
    def disk(*arms):
        prepared(config_of(*arms))
        return costs.disk_bytes(config_of(*arms))

    whole = shapes.bytes_of(abstract_params(TINY))
    assert disk('a: trainable=lora:8') == 4 * whole
    assert disk('a: trainable=lora:8', 'n: trainable=lora:8 teachers=neutral') == 8 * whole
    assert disk(f'p: {KL} made=prompt') == 4 * 48 * 44 * 15 * 4
    assert disk('a: made=lora:1 trainable=lora:8') < whole


def test_a_stage_takes_products_and_passes():
    stage = costs.Work(6e12, 3e11).stage('a', 1.0)
    assert stage.flops / stage.efficiency == pytest.approx(
        6e12 / figure('reached') + 3e11 * figure('balance'))
    assert costs.Work().stage('nothing', 0.0).efficiency == 1
    assert costs.Work(1.0, 2.0) * 3 + costs.Work(1.0) == costs.Work(4.0, 6.0)


def test_every_figure_says_what_it_is_of():
    for found in FIGURES.values():
        assert found.unit and found.what and found.of


def test_students_cost_as_many_steps_as_they_take(planned):
    found = planned(config_of(f'a: {KL} rows=10 passes=3', f'b: {KL}'))
    # the last of ten rows make a step of their own
    assert found['students, a'].flops / found['students, b'].flops == pytest.approx(9 / 12)
