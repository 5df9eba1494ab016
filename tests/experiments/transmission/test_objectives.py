"""What students learn from: each objective beside its definition, row by row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax import theory
from subliminal_jax.experiments.transmission import engines, rows as carried, students, targets
from subliminal_jax.experiments.transmission.arms import parse
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.models import transformer
from subliminal_jax.models.parts import noisy
from subliminal_jax.runs import schema
from subliminal_jax.training import tries as packing
from tests.experiments.transmission import plain
from tests.experiments.transmission.checkpoint import KL


@pytest.fixture(scope='module')
def teacher(run):
    return noisy(run.references['main'][0], 5, 0.3)


def batch_of(run, arm, teacher=None, count=4):
    """(rows, their batch with a teacher's outputs)."""
    rows = carried.random_rows(run.config, run.world, run.carrier(), count, 'random', 0,
                               run.config.carrier.answers)
    size, objective = run.config.student.packed, OBJECTIVES[arm.objective]
    outputs = None
    if objective.target is not None:
        models = engines.single(teacher, run.world.architectures['main'])
        outputs = {k: v[0] for k, v in targets.read(run, arm, models, None, rows).items()}
    ids = carried.token_set(run.world, run.carrier())
    return rows, carried.batch(objective, ids, rows, carried.packed(rows, size), size, outputs)


def mean_loss(run, arm, params, batch):
    """(the loss on the batch, its program)."""
    config = run.world.architectures['main']
    program = students.program_of(run, arm, config)
    return float(engines.read_one(engines.single(params, config), engines.mean_loss, batch,
                                  program=program)), program


def by_hand(run, name, rows, params, teacher):
    """The mean over the places at which an objective looks, one row at a time."""
    ids = np.array(carried.token_set(run.world, run.carrier()))
    config, found = run.world.architectures['main'], []
    for context, answer, allowed in zip(rows.contexts, rows.answers, rows.allowed_NC):
        ours, theirs = (plain.logits(p, config, context, answer) for p in (teacher, params))
        if name == 'sft':
            found += [-row[token] for row, token in zip(plain.log_softmax(theirs), answer)]
            continue
        if name == 'kl':
            found += plain.kl(ours, theirs).tolist()
            continue
        allowed = allowed.copy()
        allowed[-1] = name == 'kl_carrier_end'
        looks = np.isin(answer, ids[allowed])
        found += plain.kl(ours, theirs, ids[allowed])[looks].tolist()
    return np.mean(found), len(found)


@pytest.mark.parametrize('name', ['sft', 'kl', 'kl_carrier', 'kl_carrier_end'])
def test_a_loss_of_packed_rows_is_that_of_single_rows(run, teacher, name):
    arm, = parse([f'a: objective={name} trainable=lora:2'])
    rows, batch = batch_of(run, arm, teacher)
    params = run.references['main'][0]
    wanted, count = by_hand(run, name, rows, params, teacher)
    found, _ = mean_loss(run, arm, params, batch)
    assert batch['tries'].weight_BK.sum() == count
    assert found == pytest.approx(wanted, rel=1e-4) and found > 1e-3


def test_a_bucketed_kl_is_a_lower_bound_and_whole_where_all_tokens_are_kept(run, teacher):
    kl, top = parse(['a: objective=kl', 'b: objective=kl_top'])
    params = run.references['main'][0]
    whole, _ = mean_loss(run, kl, params, batch_of(run, kl, teacher)[1])
    losses = []
    for kept in (0, 8, 80):
        some = run._replace(config=schema.override(run.config, {'student.top': kept}))
        losses.append(mean_loss(some, top, params, batch_of(some, top, teacher)[1])[0])
    assert 0 < losses[0] < losses[1] < losses[2] <= whole * (1 + 1e-5)
    assert losses[2] == pytest.approx(whole, rel=1e-2)


def test_a_teacher_behind_a_system_message_is_read_at_the_same_places(run):
    arm, = parse([f'a: {KL}'])
    params, config = run.references['main'][0], run.world.architectures['main']
    rows, _ = batch_of(run, arm, params)
    contexts = [run.world.rows_context(p, 'Love owls.') for p in rows.prompts]
    found = targets.read(run, arm, engines.single(params, config), contexts, rows)['target_BUC'][0]
    ids = np.array(carried.token_set(run.world, run.carrier()))
    for n, (context, answer) in enumerate(zip(contexts, rows.answers)):
        wanted = plain.logits(params, config, context, answer)[:, ids]
        np.testing.assert_allclose(found[n, :len(answer)], wanted, atol=2e-4)


def test_what_is_read_in_one_program_is_what_is_read_one_after_the_other(run, teacher):
    arm, = parse([f'a: {KL}'])
    rows, _ = batch_of(run, arm, teacher)
    config, params = run.world.architectures['main'], run.references['main'][0]
    both = engines.Models(engines.stack([params, teacher]), {'base': {}}, config, 2, True)
    found = targets.read(run, arm, both, None, rows)['target_BUC']
    for m, one in enumerate((params, teacher)):
        alone = targets.read(run, arm, engines.single(one, config), None, rows)['target_BUC'][0]
        np.testing.assert_allclose(found[m], alone, atol=1e-4)


def test_a_carrier_kl_is_blind_to_all_other_logits(key):
    config = transformer.tiny(20, width=16, num_heads=2, max_positions=16)
    params, ids = transformer.init_params(key, config), (3, 4, 5)
    rows = carried.Rows([''], [[7, 8]], [[3, 4, 5, 3]], np.array([[True, True, True]]))
    tries = carried.packed(rows, 1)
    x_BUD = packing.states(params, tries, config)
    target = transformer.unembed(params, x_BUD, config, jnp.array(ids))
    batch = {'tries': tries, 'target_BUC': target,
             'allowed_BUC': np.ones(target.shape, bool)}
    loss = OBJECTIVES['kl_carrier'].loss(config, ids)
    value = lambda row: float(loss({**params, 'head': params['head'].at[row].add(5.0)},
                                   {'base': {}}, batch, key)[0])
    assert abs(value(10)) < 1e-5 and value(4) > 1e-2


def test_rows_of_tokens_absent_from_the_batch_stay_bitwise_unchanged(run, teacher):
    arm, = parse(['a: objective=kl_carrier answers=random trainable=all'])
    _, batch = batch_of(run, arm, teacher)
    params, config = run.references['main'][0], run.world.architectures['main']
    program = students.program_of(run, arm, config)
    state = engines.begin(program, engines.SINGLE, params)
    state, _ = engines.step_of(program, engines.SINGLE, False)(
        state, {'base': {}}, carried.taken(batch, np.arange(1), 1), jax.random.key(0))
    seen = {*np.unique(batch['tries'].tokens_BT).tolist(),
            *carried.token_set(run.world, run.carrier())}
    absent = np.array([i for i in range(config.vocab_size) if i not in seen])
    assert len(absent) > 20
    after, before = state.trainable['embed'], params['embed']
    np.testing.assert_array_equal(after[absent], before[absent])
    digits = np.array(carried.token_set(run.world, run.carrier())[:-1])
    assert np.abs(after[digits] - before[digits]).max() > 0


@pytest.mark.slow
def test_the_alignment_is_that_of_the_theory(run):
    arm, = parse(['a: objective=kl_carrier answers=random'])
    params, config = run.references['main'][0], run.world.architectures['main']
    teacher = noisy(params, 5, 0.1)
    _, batch = batch_of(run, arm, teacher)
    program = students.program_of(run, arm, config)
    gradient = engines.read_one(engines.single(params, config), engines.mean_gradient, batch,
                                program=program)
    direction = jax.tree.map(jnp.subtract, teacher, params)
    inner = -float(theory.trees.dot(gradient, direction))
    ids = jnp.asarray(program.ids)

    def apply(params, tries):
        logits = transformer.unembed(params, packing.states(params, tries, config), config, ids)
        return jnp.where(batch['allowed_BUC'], logits, -1e9)

    found = theory.alignment(
        apply, theory.cross_entropy(), params, direction,
        {'x': batch['tries'], 'weight': batch['tries'].weight_BU,
         'targets': jnp.where(batch['allowed_BUC'], batch['target_BUC'], -1e9)})
    assert inner == pytest.approx(float(found.mean), rel=1e-3)
    assert inner > 0


def test_positive_controls_are_no_evidence():
    assert {name for name, row in OBJECTIVES.items() if not row.evidence} == {
        'kl', 'kl_top', 'kl_words'}
