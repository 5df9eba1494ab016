"""The alignment check against dense algebra, per-example gradients and finite differences."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax import theory
from subliminal_jax.runs import UserError
from subliminal_jax.theory import dense, trees

MASKS = {'all': [1, 1, 1, 1], 'class': [1, 1, 0, 0], 'aux': [0, 0, 1, 1]}
teacher_step = jax.jit(theory.teacher_step, static_argnums=0)
LOSSES = [(name, logits) for name in ('squared_error', 'cross_entropy') for logits in MASKS]


def loss_of(name, logits):
    mask = np.array(MASKS[logits])
    if name == 'squared_error':
        return theory.squared_error(mask.astype(float))
    return theory.cross_entropy(np.flatnonzero(mask))


@pytest.mark.parametrize('name,logits', LOSSES)
def test_form_is_the_dense_one(tiny, name, logits):
    apply, params, x, trait_loss = tiny
    direction = teacher_step(trait_loss, params)
    found = theory.gauss_newton_form(apply, loss_of(name, logits), params, direction, x)
    expected = dense.gauss_newton_form(apply, name, params, direction, x, MASKS[logits])
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert found > 0


@pytest.mark.parametrize('name,logits', LOSSES)
def test_metric_is_the_links_derivative_and_positive(name, logits, key):
    loss = loss_of(name, logits)
    z, v = jax.random.normal(key, (2, 9, 4), jnp.float64)
    np.testing.assert_allclose(
        loss.metric(z, v), jax.jvp(loss.link, (z,), (v,))[1], rtol=1e-12, atol=1e-14)
    assert np.all(np.sum(v * loss.metric(z, v), axis=-1) >= 0)


@pytest.mark.parametrize('name,logits', LOSSES)
def test_link_is_the_losss_gradient(name, logits, key):
    loss = loss_of(name, logits)
    z, y = jax.random.normal(key, (2, 9, 4), jnp.float64)
    slope = jax.grad(lambda a: jnp.sum(loss.value(a, y)))(z)
    np.testing.assert_allclose(slope, loss.link(z) - loss.link(y), rtol=1e-10, atol=1e-13)


def _relative_error(loss, tiny, eps=1e-5):
    """|dS . dT / (eps A) - 1|, with dS by reverse mode and A by the form."""
    apply, params, x, trait_loss = tiny
    direction = teacher_step(trait_loss, params)
    targets = theory.teacher_outputs(apply, params, direction, eps, x)
    step = theory.student_step(apply, loss, params, {'x': x, 'targets': targets})
    form = theory.gauss_newton_form(apply, loss, params, direction, x)
    return abs(float(trees.dot(step, direction) / (eps * form)) - 1)


@pytest.mark.parametrize('name,logits', LOSSES)
def test_step_follows_the_form(tiny, name, logits):
    assert _relative_error(loss_of(name, logits), tiny) < 1e-3


@pytest.mark.parametrize('check', [
    test_form_is_the_dense_one, test_metric_is_the_links_derivative_and_positive,
    test_step_follows_the_form])
@pytest.mark.parametrize('wrong', [lambda z, v: v, lambda z, v: jax.nn.softmax(z) * v])
def test_a_wrong_metric_is_caught(check, wrong, tiny, key, monkeypatch):
    """The identity, or diag(p) without - p p', for cross-entropy: the checks above must fail."""
    right = theory.cross_entropy
    monkeypatch.setattr(theory, 'cross_entropy', lambda ids: right(ids)._replace(metric=wrong))
    given = {'tiny': tiny, 'key': key, 'name': 'cross_entropy', 'logits': 'all'}
    wanted = inspect.signature(check).parameters
    with pytest.raises(AssertionError):
        check(**{name: given[name] for name in wanted})
    monkeypatch.undo()
    check(**{name: given[name] for name in wanted})


@pytest.mark.slow
@pytest.mark.parametrize('chunk_size', [None, 1, 4, 6, 9])
def test_alignment_against_per_example_gradients(tiny, chunk_size):
    apply, params, x, trait_loss = tiny
    loss = theory.cross_entropy([0, 2, 3])
    direction = teacher_step(trait_loss, params)
    targets = theory.teacher_outputs(apply, params, direction, 0.3, x)
    weight = jnp.array([1, 0.5, 0, 2, 1, 1.0])
    batch = {'x': x, 'targets': targets, 'weight': weight}
    found = jax.jit(lambda *given: theory.alignment(
        apply, loss, *given, trait_loss, alpha=0.2, chunk_size=chunk_size))(
            params, direction, batch)

    def one(p, i):
        return loss.value(apply(p, x[i][None]), targets[i][None])[0] * weight[i]

    slope = jax.jit(jax.grad(one))
    grads = [slope(params, i) for i in range(6)]
    np.testing.assert_allclose(
        found.per_example, [-trees.dot(g, direction) for g in grads], rtol=1e-10, atol=1e-14)
    step = jax.tree.map(lambda *g: -sum(g) / weight.sum(), *grads)
    np.testing.assert_allclose(found.mean, trees.dot(step, direction), rtol=1e-10)
    size = trees.norm(step) * trees.norm(direction)
    np.testing.assert_allclose(found.cosine, trees.dot(step, direction) / size, rtol=1e-10)
    moved = jax.tree.map(lambda p, s: p + 0.2 * s, params, step)
    np.testing.assert_allclose(
        found.actual_change, trait_loss(moved) - trait_loss(params), rtol=1e-10)
    # direction is -grad L_T, so the first order of the change is -alpha dS . direction
    np.testing.assert_allclose(found.predicted_change, -0.2 * found.mean, rtol=1e-10)


def test_token_targets_and_positions(key):
    """Outputs [B, T, V] with token ids and a weight for each position."""
    params = {'w': jax.random.normal(key, (3, 5), jnp.float64)}
    x_BTD = jax.random.normal(jax.random.fold_in(key, 1), (2, 4, 3), jnp.float64)
    ids_BT = jnp.array([[0, 1, 2, 3], [4, 0, 1, 2]])
    weight_BT = jnp.array([[0, 1, 1, 1.0], [1, 1, 0, 0]])
    direction = {'w': jax.random.normal(jax.random.fold_in(key, 2), (3, 5), jnp.float64)}

    def apply(p, x):
        return x @ p['w']

    found = theory.alignment(apply, theory.cross_entropy(), params, direction,
                             {'x': x_BTD, 'targets': ids_BT, 'weight': weight_BT})
    p_BTV = jax.nn.softmax(x_BTD @ params['w'])
    grad = jnp.einsum('bt,btd,btv->bdv', weight_BT, x_BTD, p_BTV - jax.nn.one_hot(ids_BT, 5))
    expected_B = -jnp.sum(grad * direction['w'][None], axis=(1, 2))
    np.testing.assert_allclose(found.per_example, expected_B, rtol=1e-10)
    np.testing.assert_allclose(found.mean, expected_B.sum() / 5, rtol=1e-10)


def test_strict_promotion(tiny, strict):
    """Promotion is a matter of tracing: nothing has to be compiled for it."""
    apply, params, x, _ = tiny
    single = lambda a: jax.ShapeDtypeStruct(a.shape, jnp.float32)
    params, x = jax.tree.map(single, (params, x))
    targets, eps_E = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((6, 4), (2,)))
    for loss in (theory.squared_error([1, 1, 0, 1]), theory.cross_entropy([0, 1])):
        traced = lambda function, *more, loss=loss: jax.eval_shape(
            lambda p, d, *given: function(apply, loss, p, d, *given), params, params, *more)
        assert traced(theory.alignment, {'x': x, 'targets': targets}).mean.dtype == jnp.float32
        assert traced(theory.expand, x).second.dtype == jnp.float32
        total = traced(lambda *given: theory.curve(*given).total, x, eps_E)
        assert (total.shape, total.dtype) == ((2,), jnp.float32)


def test_bad_input(tiny):
    apply, params, x, trait_loss = tiny
    direction = teacher_step(trait_loss, params)
    batch = {'x': x, 'targets': apply(params, x)}
    good = theory.cross_entropy()

    def says(pattern, *, loss=good, at=params, along=direction, **options):
        with pytest.raises(UserError, match=pattern) as caught:
            theory.alignment(apply, loss, at, along, batch, **options)
        assert '\n' not in str(caught.value)

    says('does not cover the loss', loss=jnp.abs)
    says('does not cover the loss .hinge', loss='hinge')
    says('logit 4 is outside', loss=theory.cross_entropy([0, 4]))
    says('logit -1 is outside', loss=theory.cross_entropy([-1]))
    says('at least one logit', loss=theory.cross_entropy([]))
    says('3 weights and the model 4', loss=theory.squared_error([1, 1, 1]))
    says('alpha must be a number above zero', alpha=0)
    says('alpha must be a number above zero', alpha=-1.0)
    other = [dict(layer) for layer in direction]
    other[1]['w'] = other[1]['w'][:, :2]
    says(r'1/w has shape \(7, 6\) in params and \(7, 2\)', along=other)
    says('2/b is in params and not in direction', along=[*direction[:2], {'w': direction[2]['w']}])
    for eps in (0, -1e-3, float('nan')):
        with pytest.raises(UserError, match='eps must be a number above zero'):
            theory.teacher_outputs(apply, params, direction, eps, x)
    with pytest.raises(UserError, match='weight >= 0'):
        theory.squared_error([1.0, -1])


def test_float64_while_disabled(tiny):
    apply, params, x, _ = tiny
    params = jax.tree.map(np.asarray, params)
    with jax.enable_x64(False):
        with pytest.raises(UserError, match='0/b is float64, but JAX has it disabled'):
            theory.gauss_newton_form(apply, theory.cross_entropy(), params, params, x)
        with pytest.raises(UserError, match='jax_enable_x64'):
            trees.dtype('float64')


@pytest.mark.parametrize('dtype, sums', [
    (jnp.bfloat16, jnp.float32), (jnp.float32, jnp.float32), (jnp.float64, jnp.float64)])
def test_an_inner_product_is_summed_in_float32_or_wider(dtype, sums):
    count = 100_000  # in bfloat16 the sum of ones ends at 256
    tree = {'a': jnp.ones(count, dtype), 'b': jnp.full((3, 5), 2, dtype)}
    found = trees.dot(tree, tree)
    assert found.dtype == trees.norm(tree).dtype == sums and float(found) == count + 60
    assert float(trees.cosine(tree, tree)) == pytest.approx(1, abs=1e-6)


def test_an_inner_product_of_two_dtypes_is_that_of_the_wider():
    exact = jnp.asarray([1 + 2.0**-40, 1.0])
    assert exact.dtype == jnp.float64
    found = trees.dot([exact], [jnp.ones(2, jnp.bfloat16)])
    assert found.dtype == jnp.float64 and float(found) == 2 + 2.0**-40
