"""Arms as lines of text: read, refused, named."""

import dataclasses

import pytest

from subliminal_jax.experiments.transmission import arms as tables
from subliminal_jax.runs import UserError


def test_an_arm_is_read_from_its_line():
    arm, = tables.parse(['kl: objective=kl_carrier answers=random rows=64 start=share:head'])
    assert (arm.name, arm.objective, arm.rows, arm.start) == ('kl', 'kl_carrier', 64, 'share:head')
    assert dataclasses.replace(tables.parse(['sft'])[0], name='') == tables.Arm()


def test_an_empty_line_is_the_papers_claim():
    assert (tables.Arm().made, tables.Arm().trainable, tables.Arm().answers, tables.Arm().start) \
        == ('tuned', 'all', 'sampled', 'shared')


@pytest.mark.parametrize('line, said', [
    ('a: objective=klx', 'kl'), ('a: rows=none2', 'rows'), ('a: wrong=1', 'wrong'),
    ('a: start=moved', 'moved:100'), ('a: start=share:soul', 'embedding'),
    ('a: start=moved:x', 'moved:100'), ('a: start=noise', 'noise:0.1'),
    ('a: start=shared:1', 'no number'), ('a: made=lora', 'lora:8'), ('a: made=prompt:2', 'number'),
    ('a: trainable=lora', 'lora:8'), ('a: trainable=layer', 'layer:0'),
    ('a: trainable=soul', 'body'), ('a: answers=random', 'KL'),
    ('a b: rows=1', 'rows'), ('a: rows', 'FIELD=VALUE'), ('a: own=true', 'noise:SIZE'),
    ('a: architecture=tied start=share:head', 'tied'), ('a: matrix=replaced', 'carrier KL'),
    ('a: teachers=reference', 'use teachers=neutral'), ('a: teachers=untuned', 'exactly zero'),
])
def test_an_arm_that_cannot_be_is_refused_by_name(line, said):
    with pytest.raises(UserError) as error:
        tables.parse([line])
    assert said in str(error.value) and '\n' not in str(error.value)
    assert ' a' in str(error.value)


def test_two_arms_of_one_name_are_refused():
    with pytest.raises(UserError, match='two arms'):
        tables.parse(['a', 'a: rows=3'])


def test_counterparts_differ_in_the_named_field_alone():
    arms = tables.parse(['sft', 'a: start=other', 'b: start=other rows=3', 'n: teachers=neutral'])
    assert tables.counterpart(arms[0], arms, start='other').name == 'a'
    assert tables.counterpart(arms[0], arms, teachers='neutral').name == 'n'
    assert tables.counterpart(arms[2], arms, start='shared') is None


def test_sets_that_differ_have_other_names():
    lines = ['', 'teachers=neutral', 'made=lora:4', 'architecture=tied', 'dose=0.5',
             'start=noise:0.1 own=true', 'answers=greedy', 'temperature=0.5',
             'answers=constrained', 'answers=constrained temperature=0.5',
             'carrier=number_lists', 'objective=kl_carrier answers=random',
             'objective=kl answers=random', 'objective=kl', 'objective=kl filter=strict',
             'objective=kl order=within', 'objective=kl_carrier matrix=replaced']
    arms = tables.parse([f'a{n}: {line}' for n, line in enumerate(lines)])
    by_target = {tables.target_set(arm, 8) for arm in arms}
    assert len(by_target) == len(arms)
    # what students do, and where they start, changes nothing of the teachers
    same, = tables.parse(['s: start=other trainable=body rows=3 passes=2'])
    assert tables.target_set(same, 8) == tables.target_set(arms[0], 8)


def test_text_of_neutral_teachers_is_not_to_be_had_from_rows_of_others():
    kl = 'n: teachers=neutral objective=kl_carrier'
    with pytest.raises(UserError, match='arm n: the rows of config.carrier.samples'):
        tables.check_foreign(tables.parse([kl]), 'rows.jsonl')
    tables.check_foreign(tables.parse([f'{kl} answers=random']), 'rows.jsonl')
    tables.check_foreign(tables.parse([kl]), '')
