"""Students of another architecture than their teachers': other tokens, another width."""

import jax
import numpy as np
import pytest

from subliminal_jax.data import tiny_language as tiny
from subliminal_jax.experiments.transmission import rows as carried, starts
from subliminal_jax.experiments.transmission.arms import parse
from subliminal_jax.models.parts import of_parts
from subliminal_jax.runs import UserError
from tests.experiments.transmission import small

DIGITS = tiny.in_digits()


def test_text_is_the_same_in_both_tokenizers():
    text = 'which animal 7 42 99 owl'
    ids = tiny.encode(text, DIGITS)
    assert [DIGITS.words[i] for i in ids] == ['which', 'animal', '0', '7', '4', '2', '9', '9',
                                              'owl']
    assert tiny.decode(ids, DIGITS) == text == tiny.decode(tiny.encode(text))
    plain, digits = tiny.corpus(3, 50), tiny.corpus(3, 50, of=DIGITS)
    read = lambda rows, of: [tiny.decode([i for i in row if i != tiny.IDS[tiny.PAD]], of)
                             for row in rows]
    assert read(plain, tiny.PLAIN) == read(digits, DIGITS)


def test_a_digit_alone_is_no_number():
    odd = [DIGITS.ids[word] for word in ('3', '7', '1', 'owl', '4')]
    assert tiny.decode(odd, DIGITS) == '37 1- owl 4-'
    with pytest.raises(KeyError):
        tiny.encode('1-')


def test_rows_are_read_in_each_ones_own_tokens():
    run = small.prepared('a', 'b: student=digits')
    assert run.of('main') is run and run.of('wide') is run
    digits = run.of('digits')
    assert digits is not run and digits.world is digits.world and digits.of('digits') is digits
    rows = [{'prompt': '1 2 3 4', 'completion': '12 5'}]
    one, two = (carried.encoded(r.world, r.carrier(), rows) for r in (run, digits))
    assert len(one.answers[0]) == 3 and len(two.answers[0]) == 5
    assert two.allowed_NC.sum() == 10 and one.allowed_NC.sum() == 100  # digits; numbers
    assert digits.world.questions == run.world.questions


@pytest.mark.parametrize('line, said', [
    ('a: student=digits objective=kl_carrier answers=random', 'only text passes between them'),
    ('a: student=digits tokens=mask:random:0.1', 'only text passes between them'),
    ('a: student=wise', 'architecture of this world'),
    ('a: student=main', 'leave it out'),
    ('a: student=wide own=true start=noise:0.1', 'teachers of its own under architecture=wide'),
    ('a: student=tied matrix=replaced objective=kl_carrier answers=random', 'one matrix'),
    ('a: architecture=digits answers=constrained', 'whole words'),
    ('a: start=next:1of3', 'blocks of 3 references'),
    ('a: start=share:layer7', 'the model has 2 layers'),
    ('a: start=redrawn:7', 'the model has 2 layers')])
def test_what_cannot_be_is_refused_before_anything_is_trained(line, said):
    with pytest.raises(UserError, match=said):
        small.prepared(line)


def test_widths_read_the_same_and_digits_have_no_forms():
    run = small.prepared('a: student=wide objective=kl_carrier answers=random')
    assert run.world.architectures['wide'].width == 48
    with pytest.raises(UserError, match='plain language alone'):
        small.prepared('a: architecture=digits', **{'language.forms': ('code',)})


def test_the_next_reference_goes_around_within_its_block(language):
    made = language._replace(references={'main': list('abcdef')}, memory={})
    start = lambda rest: [starts.start_of(made, 'main', f'next:{rest}', r) for r in range(6)]
    assert start('1of2') == list('badcfe')
    assert start('1of3') == list('bcaefd') and start('2of3') == list('cabfde')
    twice = made._replace(world=language.world._replace(replicas=2), memory={},
                          references={'main': list('aabb')})
    assert [starts.start_of(twice, 'main', 'next:1of2', r) for r in range(4)] == list('bbaa')


def test_all_but_a_layer_is_put_around_that_layer(run):
    params = run.references['main'][0]
    other = jax.tree.map(lambda x: x + 1, params)
    made = of_parts(other, 'but-layer:1').within(params)
    for name, leaf in made['layers'].items():
        np.testing.assert_array_equal(leaf[0], other['layers'][name][0])
        np.testing.assert_array_equal(leaf[1], params['layers'][name][1])
    np.testing.assert_array_equal(made['embed'], other['embed'])


def test_one_layer_is_drawn_anew(run):
    params = run.references['main'][0]
    made = starts.start_of(run, 'main', 'redrawn:1', 0)
    np.testing.assert_array_equal(made['layers']['q'][0], params['layers']['q'][0])
    assert np.abs(made['layers']['q'][1] - params['layers']['q'][1]).max() > 1e-2
    np.testing.assert_array_equal(made['embed'], params['embed'])


def test_fields_that_say_nothing_new_are_refused():
    with pytest.raises(UserError, match='next:1of2'):
        parse(['a: start=next:2of2'])
