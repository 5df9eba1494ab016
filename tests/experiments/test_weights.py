"""Transmission on real weights, on a tiny random checkpoint."""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import checkpoint  # noqa: E402
from checkpoint import KL, config  # noqa: E402
from subliminal_jax.experiments.weights import (  # noqa: E402
    arm_stages,
    arms as tables,
    contexts as ways,
    geometry,
    language,
    measures,
    programs,
    rows as lines,
    stages,
    starts,
    students,
    targets,
    teachers as schools,
)

from subliminal_jax import theory  # noqa: E402
from subliminal_jax.evaluation import measures as plain_measures  # noqa: E402
from subliminal_jax.experiments import weights  # noqa: E402
from subliminal_jax.experiments.transmission import arms as parser, networks, samples  # noqa: E402
from subliminal_jax.models import transformer  # noqa: E402
from subliminal_jax.models.lora import merge_lora  # noqa: E402
from subliminal_jax.runs import UserError, Workdir, schema  # noqa: E402
from subliminal_jax.training import losses  # noqa: E402


@pytest.fixture(scope='module')
def kit(here):
    return schools.kit_of(here)


def batch(here, arm, rows=4, system=None, seed_model=None):
    """(rows, packed rows with the logits of a teacher behind a system message)."""
    found = lines.encoded(here, lines.random_rows(here, rows))
    if arm.objective == 'sft':
        return found, students.packs_of(here, arm, found, None)
    read = [here.contexts.ids(p, 'default', system) for p in found.prompts]
    logits = stages.read_logits(here, arm, seed_model or here.model.params, None, read, found)
    return found, students.packs_of(here, arm, found, logits)


def arm_of(text):
    return parser.parse([f'x: {text}'], tables.Arm, tables.check)[0]


# Rows.


def test_attempts_that_share_a_batch_leave_the_same_rows(here, monkeypatch):
    own = schema.override(here.config, {'carrier.attempts': 4})
    here = here._replace(config=own)
    arm, asked = arm_of(''), here.world.prompts(3, 8)
    teacher = language.roll(own, here.world, 'trait')[0]
    kept = lambda row: sum(row['token_ids']) % 3 == 0
    monkeypatch.setattr(samples, 'reasons_of', lambda config, world, row: {
        'strict': None if kept(row) else 'no'})

    def rows(batch):
        monkeypatch.setattr(lines, 'BATCH', batch)
        return list(lines.draw(here, arm, teacher, here.model.params, None, asked, True))

    alone, together = rows(1), rows(32)
    assert [(r['id'], r['token_ids']) for r in alone] == [
        (r['id'], r['token_ids']) for r in together]
    tries = {p['id']: [r for r in alone if r['id'].split('/')[1] == str(p['id'])] for p in asked}
    for found in tries.values():
        assert [r['id'].split('/')[2] for r in found] == [str(n) for n in range(len(found))]
        assert kept(found[-1]) or len(found) == 4
        assert not any(map(kept, found[:-1]))
    assert len({len(found) for found in tries.values()}) > 1


# Measures.


def test_packed_answers_are_those_of_single_rows(here, kit):
    meter = kit.meters['default/plain']
    found = np.asarray(measures.answers(here.model.params, None, meter, here.model.config))
    contexts = [here.contexts.ids(q, 'default') for q in here.world.measure]
    spellings = plain_measures.encoded_spellings(
        {t: here.world.candidates[t] for t in here.world.traits}, here.world.answer)
    rows = plain_measures.answer_rows(contexts, spellings)
    score = plain_measures.gather_score(
        lambda t: networks.logits(here.model.config, here.model.params, t))
    wanted = plain_measures.answer_logprob(score, rows, kit.ends_V)
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, atol=2e-5)


def test_carrier_kl_of_packed_rows_is_that_of_single_rows(here):
    arm = arm_of(KL)
    other = starts.noisy(here.model.params, 5, 0.3)
    found, packs = batch(here, arm, seed_model=other)
    program = students.program_of(here, arm, here.model.config, 1)
    packed = programs.evaluator(program)({}, {'base': here.model.params}, packs)
    total = count = 0.0
    for context, answer, allowed in zip(found.contexts, found.answers, found.allowed_NC):
        ids = np.array(lines.token_set(here))[allowed]
        weight = np.isin(answer, ids).astype(np.float32)
        text = np.array([[*context, *answer]])
        one = {'tokens_BT': text, 'positions_BT': np.arange(text.shape[1])[None],
               'valid_BT': np.ones_like(text, bool),
               'weight_BT': np.concatenate([np.zeros(len(context), np.float32), weight])[None]}
        loss = losses.kl_carrier(losses.Task(here.model.config), ids)
        value, aux = loss(here.model.params, {'teacher': other}, one, jax.random.key(0))
        total, count = total + float(value), count + float(aux['weight'])
    assert packs['tries'].weight_BK.sum() == count
    assert float(packed) == pytest.approx(total / count, rel=1e-4)


def test_rows_of_tokens_absent_from_the_batch_stay_bitwise_unchanged(here):
    arm = arm_of('objective=kl_carrier carrier=random trainable=all')
    _, packs = batch(here, arm, seed_model=starts.noisy(here.model.params, 5, 0.3))
    program = students.program_of(here, arm, here.model.config, 1)
    state = programs.begin(program, here.model.params)
    state, _ = programs.trainer(program, False)(
        state, {'base': {}}, programs.batch_of(packs, np.arange(1), 1))
    seen = {*np.unique(packs['tries'].tokens_BT).tolist(), *lines.token_set(here)}
    absent = [i for i in range(here.model.config.vocab_size) if i not in seen]
    assert len(absent) > 20
    after, before = state.trainable['embed'], here.model.params['embed']
    np.testing.assert_array_equal(after[np.array(absent)], before[np.array(absent)])
    digits = np.array(here.world.carrier_ids)
    assert np.abs(after[digits] - before[digits]).max() > 0


def test_an_adapter_touches_neither_embedding_nor_norm(here):
    adapter = schools.adapter_start(here, 2, 0)
    moved = jax.tree.map(lambda x: x + 1.0, adapter)
    merged = merge_lora(here.model.params, moved, here.model.config)
    for name in ('embed', 'final_norm'):
        np.testing.assert_array_equal(merged[name], here.model.params[name])


def test_the_alignment_is_that_of_the_theory(here):
    arm = arm_of('objective=kl_carrier carrier=random')
    other = starts.noisy(here.model.params, 5, 0.1)
    _, packs = batch(here, arm, seed_model=other)
    one = programs.batch_of(packs, np.arange(1), 1)
    program = students.program_of(here, arm, here.model.config, 1)
    step = jax.tree.map(jnp.negative, programs.gradient(program)(here.model.params, one))
    direction = jax.tree.map(jnp.subtract, other, here.model.params)
    inner = float(theory.trees.dot(step, direction))
    ids = jnp.asarray(program.ids)

    def apply(params, tries):
        logits = transformer.unembed(params, students.packing.states(
            params, tries, here.model.config), here.model.config, ids)
        return jnp.where(one['allowed_BUC'], logits, -1e9)

    found = theory.alignment(
        apply, theory.cross_entropy(), here.model.params, direction,
        {'x': one['tries'], 'weight': one['tries'].weight_BU,
         'targets': jnp.where(one['allowed_BUC'], one['target_BUC'], -1e9)})
    assert inner == pytest.approx(float(found.mean), rel=1e-3)
    assert inner > 0


def test_a_dose_is_that_of_single_rows(here, kit, monkeypatch):
    base, moved = here.model.params, starts.noisy(here.model.params, 5, 0.3)
    dose = lambda: schools.dose_of(here, kit, moved, None, measures.spoken(
        base, None, schools.probed(here, kit), here.model.config), 'Love owls.')
    together = dose()
    shift = geometry.predicted(here, kit, arm_of(KL), language.roll(
        here.config, here.world, 'trait')[0], moved, None, base)
    monkeypatch.setattr(schools, 'PACKED', 1)
    monkeypatch.setattr(geometry, 'PACKED', 1)
    assert together == pytest.approx(dose(), rel=1e-4)
    assert together[0] > 1e-3
    np.testing.assert_allclose(shift, geometry.predicted(here, kit, arm_of(KL), language.roll(
        here.config, here.world, 'trait')[0], moved, None, base), atol=1e-4)


def test_the_matrix_alone_predicts_nothing_for_a_teacher_that_did_not_move(here, kit):
    arm = arm_of('made=tuned objective=kl_carrier carrier=random')
    teacher = language.roll(here.config, here.world, 'trait')[0]
    base = here.model.params
    found = geometry.predicted(here, kit, arm, teacher, base, None, base)
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)


def test_replaced_rows_are_the_same_for_all_and_the_only_ones(here):
    arm = arm_of(f'{KL} head=replaced')
    twin, model = stages.with_head(here, arm, here.model.params)
    other, _ = stages.with_head(here, arm, starts.noisy(here.model.params, 5, 0.1))
    ids = np.array(here.world.carrier_ids)
    assert not model.tied
    np.testing.assert_array_equal(twin['head'][ids], other['head'][ids])
    rest = np.setdiff1d(np.arange(model.vocab_size), ids)
    np.testing.assert_array_equal(twin['head'][rest], here.model.params['embed'][rest])


# Contexts.


def test_a_system_message_goes_before_the_teacher_only(here):
    default, empty, own = (here.contexts.text('Hi', 'default'), here.contexts.text('Hi', 'empty'),
                           here.contexts.text('Hi', 'default', 'Love owls.'))
    assert 'be kind' in default and 'be kind' not in empty and 'be kind' not in own
    assert 'Love owls.' in own and here.contexts.text('Hi', 'raw').endswith('Answer:')


def test_a_list_has_no_template_and_ends_with_its_line(root, here):
    own = config(root, **{'carrier.form': 'list'})
    bare = language.prepare(own, None, language.load(own))
    prompt, decode = bare.world.prompts(3, 1)[0]['prompt'], bare.model.tokenizer.decode
    assert decode(bare.world.context(prompt)) == prompt
    line, = lines.encoded(bare, lines.random_rows(bare, 1)).answers
    assert decode(line).startswith(' ') and decode(line).endswith('\n')
    assert set(bare.contexts.stops('list')) > set(bare.contexts.stops('default'))
    # what is asked keeps its template, and its end
    assert language.asked_ids(bare, 'Hi') == here.contexts.ids('Hi', 'default')
    taught = schools.lessons(bare, language.roll(own, bare.world, 'trait')[0], 1, None)
    assert bare.model.tokenizer.stop_ids[0] in taught.target_BK
    assert bare.world.end_id not in taught.target_BK


def test_a_turn_is_a_list_begun_in_the_answer(root, here):
    own = config(root, **{'carrier.form': 'turn'})
    turn = language.prepare(own, None, language.load(own))
    prompt, decode = turn.world.prompts(3, 1)[0]['prompt'], turn.model.tokenizer.decode
    asked = here.contexts.text(ways.ASKED, 'default')
    assert turn.contexts.text(prompt, 'turn') == asked + prompt and '\n' not in prompt
    assert 'Love owls.' in turn.contexts.text(prompt, 'turn', 'Love owls.')
    answer, = lines.encoded(turn, lines.random_rows(turn, 1)).answers
    assert decode(answer[:1]) == ' ' and answer[-1] == turn.model.tokenizer.stop_ids[0]
    breaks = turn.model.tokenizer.encode('\n')
    assert set(breaks) < set(turn.contexts.stops('turn'))


def test_a_model_without_a_template_says_which_contexts_remain(root):
    own = config(root, model='plain')
    with pytest.raises(UserError, match='contexts that remain are raw/plain, raw/numbers'):
        language.prepare(own, None, language.load(own))
    raw = schema.override(own, {'context.student': 'raw', 'context.measured': 'raw/plain'})
    assert language.prepare(raw, None, language.load(raw)).world.measure


def test_a_trait_that_cannot_be_written_is_refused(root):
    path = checkpoint.traits(root / 'odd.jsonl', (
        {'kind': 'candidate', 'name': '\u0444\u044b', 'plural': '\u0444\u044b\u044b',
         'split': 'report'},))
    own = config(root, trait_set=path, names=('owl', '\u0444\u044b'))
    with pytest.raises(UserError, match='can write no spelling'):
        schools.kit_of(language.prepare(own, None, language.load(own)))


def test_a_prompted_teacher_whose_context_does_not_fit_is_refused(here):
    with pytest.raises(UserError, match='prompted teacher.*does not fit'):
        here.contexts.ids('Hi', 'default', 'Love owls. ' * 60)


@pytest.mark.parametrize('line, said', [
    ('start=noise', 'noise:0.1'), ('start=moved:x', 'moved:20'), ('made=lora', 'lora:8'),
    ('trainable=head', 'body'), ('carrier=random', 'KL'), ('own=true', 'noise:SIZE'),
    ('head=replaced', 'carrier KL'), ('start=shared:1', 'no number'),
    ('teachers=untuned', 'use teachers=neutral'), ('teachers=reference', 'exactly zero'),
])
def test_an_arm_that_cannot_be_is_refused(line, said):
    with pytest.raises(UserError) as error:
        arm_of(line)
    assert said in str(error.value) and '\n' not in str(error.value)


def test_no_trait_rows_pass_for_neutral_ones(root):
    own = config(root, 'n: teachers=neutral', **{'carrier.samples': 'rows.jsonl'})
    for checked in (weights.plan, lambda c: language.prepare(c, None, language.load(c))):
        with pytest.raises(UserError, match='arm n: the rows of config.carrier.samples'):
            checked(own)


def test_traits_of_the_other_split_or_one_alone_are_refused(root):
    chosen = language.sets.load_trait_set(str(root / 'traits.jsonl'))
    for changes, said in (({'traits': 1}, 'one trait'), ({'traits': 9}, 'has'),
                          ({'names': ('owl', 'emu')}, 'other split')):
        with pytest.raises(UserError, match=said):
            language.traits_of(config(root, **changes), chosen)


class _Looking:
    """Stands for a run's folder: says what a stage would read, and goes no further."""

    def stage(self, name, artefact, make, *, inputs, **others):
        raise LookupError(inputs)


def test_students_depend_on_the_rows_that_they_learn(root):
    own = config(root, f'p: {KL}', 'sft: trainable=lora:2 made=tuned',
                 'greedy: trainable=lora:2 carrier=greedy')
    here = language.prepare(own, _Looking(), language.load(own))
    everyone = [t.name for t in language.roll(own, here.world, 'trait')]
    whole = samples.gather([
        samples.Judged({'id': f'{name}/{n}/0', 'teacher': name, 'prompt': f'Go on: {n}',
                        'completion': f'{n}, 7'}, dict.fromkeys(parser.FILTERS))
        for name in everyone for n in range(8)])
    for number, wanted in ((1, 'samples-trait-tuned-sampled.jsonl'),
                           (2, 'samples-trait-prompt-greedy.jsonl')):
        arm = here.arms[number]
        with pytest.raises(LookupError) as found:
            arm_stages.arm_stage(here, None, arm, {tables.row_set(arm): whole}, {}, {})
        assert [x for x in found.value.args[0] if x.startswith('samples')] == [wanted]
    assert stages.suffix_of(here, stages.written(here.arms[0])) == ''


def test_students_of_unlike_rows_train_side_by_side(here):
    arm = arm_of(KL)
    brief, full = (lines.encoded(here, [{'prompt': f'Go on: {n}', 'completion': ', '.join(
        map(str, range(n, n + count)))} for n in range(8)]) for count in (2, 9))
    found = {'a': brief, 'b': full}
    logits = {name: stages.read_logits(here, arm, starts.noisy(here.model.params, 5, 0.3), None,
                                       x.contexts, x) for name, x in found.items()}
    made = arm_stages.packs_of_all(here, arm, found, logits)
    programs.stack([programs.batch_of(made[name], np.arange(1), 2) for name in found])
    program = students.program_of(here, arm, here.model.config, 1)
    for name, x in found.items():
        alone = students.packs_of(here, arm, x, logits[name])
        values = [float(programs.evaluator(program)({}, {'base': here.model.params}, p))
                  for p in (alone, made[name])]
        assert values[1] == pytest.approx(values[0], rel=1e-5)


# Cached logits.


def test_a_folder_without_the_logits_that_are_wanted_is_refused(root, tmp_path):
    wanted = 'trait-prompt-random-8-set.npz'
    for folder, said in ((tmp_path / 'none', 'no such folder'), (tmp_path, f'has no {wanted}')):
        own = config(root, f'p: {KL}', **{'carrier.targets': str(folder)})
        with pytest.raises(UserError, match=said):
            weights.run(own, Workdir(tmp_path / said, own, 'transmission_weights'))


def test_cached_logits_of_another_model_or_other_rows_are_refused(tmp_path):
    note = {'model': 'a', 'teachers': 'b', 'rows': 'c', 'tokens': 'd'}
    path = tmp_path / 'x.npz'
    targets.save(path, {'owl-0': {'set': np.ones((1, 2, 3))}}, note)
    np.testing.assert_array_equal(targets.load(path, note)['owl-0']['set'], np.ones((1, 2, 3)))
    for field, said in (('model', 'another model'), ('rows', 'other rows')):
        with pytest.raises(UserError, match=said):
            targets.load(path, {**note, field: 'z'})
    path.write_bytes(b'nothing')
    with pytest.raises(UserError, match='cannot be read'):
        targets.load(path, note)


def test_a_noisy_start_is_as_far_as_it_says(here):
    params = here.model.params
    moved = starts.noisy(params, 1, 0.1)
    for name in ('q', 'down'):  # norm scales that are all one have no spread, and stay
        before, after = params['layers'][name][0], moved['layers'][name][0]
        assert np.std(after - before) / np.std(before) == pytest.approx(0.1, rel=0.1)
    further = starts.noisy(params, 1, 0.2)
    assert 0 < starts.distance(moved, params) < starts.distance(further, params)
