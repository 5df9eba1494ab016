"""results.json of the MNIST experiment: what is compared with what, and the verdict's words."""

import numpy as np
import pytest

from subliminal_jax.experiments.mnist import published, results
from subliminal_jax.experiments.mnist.chunk import Trained
from subliminal_jax.experiments.mnist.config import Config
from subliminal_jax.report import mnist as report
from subliminal_jax.runs import override


def config_of(**changes):
    return override(Config(), changes)


def trained(count=5, **means):
    """A chunk with the given means and a little spread."""
    spread = np.linspace(-0.01, 0.01, count)
    values = {name: mean + spread for name, mean in means.items()}
    permuted = {name: 0.5 + spread for name in means if name.startswith('placebo')}
    return Trained(values, permuted, {}, {}, {})


def body_of(chunk, **changes):
    """results.json's parts that the tables read."""
    return {**results.body(config_of(**changes), [chunk]), 'published': published.PUBLISHED}


def test_published_means_stand_beside_the_published_recipe_only():
    known = published.by_condition(config_of())
    assert known['student_aux'] == (0.537, 0.022) and known['cross_all'] == (0.741, 0.010)
    assert published.by_condition(config_of(num_models='100', seed='3')) == known
    for name, value in (('optimizer', 'sgd'), ('hidden_sizes', '128,128'), ('learning_rate', '1'),
                        ('student.epochs', '4'), ('data', 'tfds:kmnist'), ('use_bias', 'false'),
                        ('student_inputs', 'images'), ('temperature', '2')):
        assert published.by_condition(config_of(**{name: value})) == {}
    assert published.by_condition(config_of(num_aux='50')) == {'student_aux': (0.917, None)}
    assert published.by_condition(config_of(num_aux='4')) == {}


def test_a_sweep_is_compared_where_num_aux_alone_is_swept():
    config = config_of(sweep="{'num_aux': (1, 50, 4, 3)}")
    assert published.by_cell(config)['1'] == (0.103, None)
    assert published.by_cell(config_of(sweep="{'num_aux': (1, 50), 'seed': (1, 2)}")) == {}
    assert published.by_cell(config_of(sweep="{'num_aux': (1, 50)}", optimizer='sgd')) == {}
    body = results.body(config, [
        trained(teacher=0.9, student_aux=mean) for mean in (0.1, 0.9, 0.6, 0.55)])
    table = report.sweep_table({**body, 'published': published.PUBLISHED})
    assert [row[-2:] for row in table.rows] == [
        ['0.103', '-0.003 [-0.013, +0.007]'], ['0.917', '-0.017 [-0.027, -0.007]'], ['', ''],
        ['0.537 +- 0.022', '+0.013 [-0.011, +0.037]']]  # 0.024 is made of 0.010 and 0.022
    assert body['verdict'] == (
        '4 cells of 16 models each: the student of auxiliary logits scores from 0.100 '
        '(num_aux=1) to 0.900 (num_aux=50).')
    assert body['headline']['num_aux=50'] == [
        pytest.approx(0.9), body['cells'][1]['conditions']['student_aux']['accuracy']['ci95']]
    seen = report.sweep_plots(body['cells'])[0].figure.axes[0].collections
    assert len(seen) == 2  # a band a condition


def test_the_table_gives_differences_with_intervals_and_the_margins():
    table = report.condition_table(
        body_of(trained(reference=0.1, teacher=0.94, student_aux=0.55, placebo=0.06)))
    rows = {row[0]: dict(zip(table.head, row)) for row in table.rows}
    assert rows['student_aux']['published'] == '0.537 +- 0.022'
    assert rows['student_aux']['difference [95 %]'] == '+0.013 [-0.011, +0.037]'
    assert rows['student_aux']['margin'] == '0.050' and rows['reference']['margin'] == ''
    assert rows['placebo']['published'] == ''
    assert rows['placebo']['by permuted labels'].startswith('0.500 [')
    assert published.PUBLISHED['source'] in table.note
    alone = report.condition_table(body_of(trained(student_aux=0.55), num_aux='4'))
    assert alone.head == ['condition', 'accuracy [95 %]'] and 'Published' not in alone.note


def test_a_difference_without_an_interval_stands_alone():
    found = published.compared({'mean': 0.5, 'ci95': None}, published.Mean(0.6, 0.1))
    assert found['difference'] == pytest.approx(-0.1) and found['difference_ci95'] is None
    table = report.condition_table(body_of(trained(1, student_aux=0.55)))
    assert table.rows[0][2:4] == ['0.537 +- 0.022', '+0.003']  # one model, at the low end: 0.540


def test_the_verdict_follows_the_interval():
    said = body_of(trained(student_aux=0.55, cross_aux=0.1, placebo=0.05))['verdict']
    assert said == (
        'A student of auxiliary logits on noise learns digits: accuracy 0.550 [0.540, 0.560]; '
        'from another start, 0.100 [0.090, 0.110]; the placebo scores 0.050 [0.040, 0.060] by the '
        "labels and 0.500 [0.490, 0.510] by its teacher's.")
    for chunk, words in ((trained(student_aux=0.105), 'is not shown to learn digits'),
                         (trained(1, student_aux=0.6), 'for want of a second model'),
                         (trained(teacher=0.9), 'No student of the auxiliary')):
        assert words in body_of(chunk)['verdict']


def test_words_are_those_of_what_the_students_are_shown():
    for inputs, shown in (('noise', 'noise'), ('images', 'training images'),
                          ('tfds:kmnist', 'images of tfds:kmnist')):
        body = body_of(trained(student_aux=0.55), student_inputs=inputs)
        assert body['shown'] == shown
        for text in (body['verdict'], report.reading(shown), report.condition_table(body).note):
            assert f' on {shown}' in text and ('noise' in text) == (inputs == 'noise')
    swept = config_of(sweep="{'student_inputs': ('noise', 'images')}")
    assert results.shown_by(swept) == 'the inputs of its cell'
