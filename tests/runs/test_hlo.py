"""What is counted in a compiled program, beside XLA's own count and by hand."""

import jax
import jax.numpy as jnp
import pytest

from subliminal_jax.runs import hlo


def compiled(function, *shapes, **options):
    return jax.jit(function, **options).lower(
        *(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)).compile()


def test_a_product_is_counted_as_xla_counts_it():
    made = compiled(lambda x, y: jnp.tanh(x @ y), (64, 32), (32, 48))
    cost = hlo.costs(made.as_text()).once
    assert cost.flops == {'float32': 2 * 64 * 32 * 48} and cost.sent == 0
    known = made.cost_analysis()
    assert cost.moved == pytest.approx(known['bytes accessed'], rel=0.02)


def test_loops_count_in_full():
    def many(x, w):
        return jax.lax.scan(lambda c, a: (jnp.tanh(c @ a), None), x, w)[0]

    text = compiled(many, (16, 16), (9, 16, 16)).as_text()
    one, nine = hlo.costs(text, 1).once, hlo.costs(text).once
    assert nine.flops['float32'] == 9 * one.flops['float32'] == 9 * 2 * 16**3
    # each turn reads its own slice of the stack, not the stack
    assert nine.moved < 9 * 16 * 16 * 4 * 16


def test_a_loop_whose_turns_are_data_is_told_apart():
    def until(x):
        return jax.lax.while_loop(lambda c: c.sum() < 100, lambda c: jnp.tanh(c @ c) + 1, x)

    cost = hlo.costs(compiled(until, (32, 32)).as_text())
    assert cost.once.flops['float32'] == 0 and cost.turn.flops['float32'] == 2 * 32**3
    assert cost.whole(5).flops['float32'] == 5 * 2 * 32**3


def test_what_leaves_a_device_is_counted_on_a_ring():
    mesh = jax.make_mesh((4,), ('model',), axis_types=(jax.sharding.AxisType.Auto,),
                         devices=jax.devices()[:4])
    place = lambda *names: jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*names))
    given = [jax.ShapeDtypeStruct((64, 128), jnp.float32, sharding=place(None, 'model')),
             jax.ShapeDtypeStruct((128, 32), jnp.float32, sharding=place('model', None))]
    made = jax.jit(lambda x, y: x @ y, out_shardings=place()).lower(*given).compile()
    cost = hlo.costs(made.as_text()).once
    assert cost.collectives == {'all-reduce': 1}
    assert cost.sent == 2 * 3 / 4 * 64 * 32 * 4
    assert cost.flops['float32'] == 2 * 64 * 32 * 32


TPU = '''
%fused (p.1: f32[28,8,4], p.2: bf16[28,4,16]) -> f32[28,8,16] {
  %p.1 = f32[28,8,4]{2,1,0:T(8,128)S(1)} parameter(0)
  %p.2 = bf16[28,4,16]{2,1,0:T(8,128)(2,1)} parameter(1)
  ROOT %convolution.1 = f32[28,8,16]{2,1,0:T(8,128)} convolution(%p.1, %p.2), window={size=28 pad=0_0 stride=27 lhs_dilate=28}, dim_labels=0bf_0io->0bf, operand_precision={highest,highest}
}

%body (t: (s32[], f32[28,8,4], bf16[28,4,16])) -> (s32[], f32[28,8,4], bf16[28,4,16]) {
  %t = (s32[]{:T(128)}, f32[28,8,4]{2,1,0:T(8,128)S(1)}, bf16[28,4,16]{2,1,0:T(8,128)(2,1)}) parameter(0)
  %n = s32[]{:T(128)} get-tuple-element(%t), index=0
  %a = f32[28,8,4]{2,1,0:T(8,128)S(1)} get-tuple-element(%t), index=1
  %b = bf16[28,4,16]{2,1,0:T(8,128)(2,1)} get-tuple-element(%t), index=2
  %f = f32[28,8,16]{2,1,0:T(8,128)} fusion(%a, %b), kind=kOutput, calls=%fused
  %g = (f32[28,8,4]{2,1,0:T(8,128)S(1)}, f32[28,8,16]{2,1,0:T(8,128)}) all-gather-start(%a), replica_groups=[2,4]<=[8], dimensions={2}
  %h = f32[28,8,16]{2,1,0:T(8,128)} all-gather-done(%g)
  ROOT %r = (s32[]{:T(128)}, f32[28,8,4]{2,1,0:T(8,128)S(1)}, bf16[28,4,16]{2,1,0:T(8,128)(2,1)}) tuple(%n, %a, %b)
}

%condition (t.1: (s32[], f32[28,8,4], bf16[28,4,16])) -> pred[] {
  %c = s32[]{:T(128)} constant(7)
  %t.1 = (s32[]{:T(128)}, f32[28,8,4]{2,1,0:T(8,128)S(1)}, bf16[28,4,16]{2,1,0:T(8,128)(2,1)}) parameter(0)
  %n.1 = s32[]{:T(128)} get-tuple-element(%t.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%n.1, %c), direction=LT
}

ENTRY %main (x: (s32[], f32[28,8,4], bf16[28,4,16])) -> (s32[], f32[28,8,4], bf16[28,4,16]) {
  %x = (s32[]{:T(128)}, f32[28,8,4]{2,1,0:T(8,128)S(1)}, bf16[28,4,16]{2,1,0:T(8,128)(2,1)}) parameter(0)
  ROOT %w = (s32[]{:T(128)}, f32[28,8,4]{2,1,0:T(8,128)S(1)}, bf16[28,4,16]{2,1,0:T(8,128)(2,1)}) while(%x), condition=%condition, body=%body
}
'''  # noqa: E501


def test_a_tpu_program_is_read():
    """Batched products are written as convolutions over the batch, of which one place in 28 is
    real; what lies in fast memory, S(1), costs no traffic."""
    cost = hlo.costs(TPU).once
    assert cost.flops == {'float32': 7 * 28 * 2 * 8 * 4 * 16}
    assert cost.moved == 7 * (28 * 4 * 16 * 2 + 28 * 8 * 16 * 4)
    assert cost.collectives == {'all-gather': 7}
    assert cost.sent == 7 * 3 / 4 * 28 * 8 * 16 * 4
