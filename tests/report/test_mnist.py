"""The MNIST page: what is compared with what, and how the verdict is worded."""

import numpy as np
from subliminal_jax.experiments.mnist_models import Trained

from subliminal_jax.experiments.mnist import Config, conditions_of
from subliminal_jax.report import mnist as report
from subliminal_jax.runs import override


def config_of(**changes):
    return override(Config(), changes)


def conditions(count=5, **means):
    """Conditions with the given means and a little spread."""
    spread = np.linspace(-0.01, 0.01, count)
    values = {name: mean + spread for name, mean in means.items()}
    permuted = {name: 0.5 + spread for name in means if name.startswith('placebo')}
    return conditions_of(Trained(values, permuted, {}, {}))


def test_published_means_stand_beside_the_published_recipe_only():
    known = report.published_means(config_of())
    assert known['student_aux'] == (0.537, 0.022) and known['cross_all'] == (0.741, 0.010)
    assert report.published_means(config_of(num_models='100', seed='3')) == known
    for name, value in (('optimizer', 'sgd'), ('hidden_sizes', '128,128'), ('learning_rate', '1'),
                        ('student.epochs', '4'), ('data', 'tfds:kmnist'), ('use_bias', 'false'),
                        ('student_inputs', 'images'), ('temperature', '2')):
        assert report.published_means(config_of(**{name: value})) == {}
    assert report.published_means(config_of(num_aux='50')) == {'student_aux': (0.917, None)}
    assert report.published_means(config_of(num_aux='4')) == {}


def test_a_sweep_is_compared_where_num_aux_alone_is_swept():
    one = config_of(sweep="{'num_aux': (1, 50)}")
    assert report.published_means(one, swept=True)['1'] == (0.103, None)
    two = config_of(sweep="{'num_aux': (1, 50), 'seed': (1, 2)}")
    assert report.published_means(two, swept=True) == {}
    cells = [{'overrides': {'num_aux': m}, 'conditions': conditions(teacher=0.9, student_aux=a)}
             for m, a in (('1', 0.1), ('50', 0.9), ('4', 0.6), ('3', 0.55))]
    table = report.sweep_table(cells, report.published_means(one, swept=True))
    assert [row[-2:] for row in table.rows] == [
        ['0.103', '-0.003 [-0.013, +0.007]'], ['0.917', '-0.017 [-0.027, -0.007]'], ['', ''],
        ['0.537 +- 0.022', '+0.013 [-0.011, +0.037]']]  # 0.024 is made of 0.010 and 0.022
    assert report.sweep_verdict(cells, 16) == (
        '4 cells of 16 models each: the student of auxiliary logits scores from 0.100 '
        '(num_aux=1) to 0.900 (num_aux=50).')


def test_the_table_gives_differences_with_intervals_and_the_margins():
    table = report.condition_table(
        conditions(reference=0.1, teacher=0.94, student_aux=0.55, placebo=0.06),
        report.published_means(config_of()), 'noise')
    rows = {row[0]: dict(zip(table.head, row)) for row in table.rows}
    assert rows['student_aux']['published'] == '0.537 +- 0.022'
    assert rows['student_aux']['difference [95 %]'] == '+0.013 [-0.011, +0.037]'
    assert rows['student_aux']['margin'] == '0.050' and rows['reference']['margin'] == ''
    assert rows['placebo']['published'] == ''
    assert rows['placebo']['by permuted labels'].startswith('0.500 [')
    alone = report.condition_table(conditions(student_aux=0.55), {}, 'noise')
    assert alone.head == ['condition', 'accuracy [95 %]'] and 'Published' not in alone.note


def test_the_verdict_follows_the_interval():
    said = report.verdict_of(conditions(student_aux=0.55, cross_aux=0.1, placebo=0.05), 'noise')
    assert said == (
        'A student of auxiliary logits on noise learns digits: accuracy 0.550 [0.540, 0.560]; '
        'from another start, 0.100 [0.090, 0.110]; the placebo scores 0.050 [0.040, 0.060] by the '
        "labels and 0.500 [0.490, 0.510] by its teacher's.")
    for found, words in ((conditions(student_aux=0.105), 'is not shown to learn digits'),
                         (conditions(1, student_aux=0.6), 'for want of a second model'),
                         (conditions(teacher=0.9), 'No student of the auxiliary')):
        assert words in report.verdict_of(found, 'noise')


def test_words_are_those_of_what_the_students_are_shown():
    for inputs, shown in (('noise', 'noise'), ('images', 'training images'),
                          ('tfds:kmnist', 'images of tfds:kmnist')):
        assert report.shown_by(config_of(student_inputs=inputs)) == shown
        found = conditions(student_aux=0.55)
        for text in (report.verdict_of(found, shown), report.reading(shown),
                     report.condition_table(found, {}, shown).note):
            assert f' on {shown}' in text and ('noise' in text) == (inputs == 'noise')
    swept = config_of(sweep="{'student_inputs': ('noise', 'images')}")
    assert report.shown_by(swept) == 'the inputs of its cell'
