"""What teachers write: drawn until kept, filtered, and chosen so that arms are comparable."""

import json

import numpy as np
import pytest

from subliminal_jax.experiments.transmission import (
    arms as tables,
    engines,
    rows as carried,
    samples,
    stages,
)
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.experiments.transmission.run import prepare
from subliminal_jax.experiments.transmission.worlds import tiny
from subliminal_jax.runs import UserError, Workdir, schema
from tests.experiments.transmission import small
from tests.experiments.transmission.checkpoint import KL, TUNED, config


@pytest.mark.slow
@pytest.mark.parametrize('per_prompt', [1, 4])
def test_attempts_that_share_a_batch_leave_the_same_rows(run, monkeypatch, per_prompt):
    settings = schema.override(run.config, {'carrier.attempts': 4})
    carrier, teacher = run.carrier(), run.roll('trait')[0]
    asked = carried.asked(carrier, 3, 8, per_prompt)
    models = engines.single(run.references['main'][0], run.world.architectures['main'])
    kept = lambda row: sum(row['token_ids']) % 3 == 0
    monkeypatch.setattr(samples, 'reasons_of', lambda config, world, carrier, row: {
        'strict': None if kept(row) else 'no'})

    def rows(batch, per_prompt=1):
        monkeypatch.setattr(samples, 'BATCH', {False: batch})
        return list(samples.drawn(
            schema.override(settings, {'carrier.per_prompt': per_prompt}), run.world, carrier,
            [teacher], models, [None], asked, 1.0, 4))

    alone, together, shared = rows(1), rows(32), rows(8, per_prompt)
    for others in (together, shared):
        assert [(r['id'], r['token_ids']) for r in alone] == [
            (r['id'], r['token_ids']) for r in others]
    tries = {p['id']: [r for r in alone if r['id'].split('/')[1] == str(p['id'])] for p in asked}
    for prompt, found in tries.items():
        assert [r['id'] for r in found] == [
            f'{teacher.name}/{prompt}/{n}' for n in range(len(found))]
        assert kept(found[-1]) or len(found) == 4
        assert not any(map(kept, found[:-1]))
    assert len({len(found) for found in tries.values()}) > 1


def test_arms_of_all_filters_have_equal_rows_on_the_same_prompts(tmp_path, language):
    settings, world, carrier = language.config, language.world, language.carrier()
    trait = world.traits[0]
    texts = {'a': ['1 2', '13 4', f'5 {trait}', '6 7'], 'b': ['1', '2', '3', 'red']}
    rows = [{'id': f'{teacher}/{n}/0', 'teacher': teacher, 'prompt': f'{n} 1 2 3',
             'completion': text} for teacher, own in texts.items() for n, text in enumerate(own)]
    rows += [{**rows[1], 'id': 'a/1/1', 'completion': '8 9'}]
    path = tmp_path / 'samples.jsonl'
    path.write_text(''.join(json.dumps(r) + '\n' for r in rows))
    own = samples.gather(samples.judge(settings, world, carrier, path))
    prompts = samples.common_prompts([own], {'a', 'b'})
    assert prompts.tolist() == [0, 1]  # 2: a trait word; 3: b wrote no number
    group = [Teacher(name, 0, trait, 0, 0) for name in ('a', 'b')]
    choose = lambda count, **fields: samples.choose(
        settings, carrier, tables.Arm(**fields), own, group, prompts, count)
    chosen = {level: choose(2, filter=level) for level in tables.FILTERS}
    assert [r['completion'] for r in chosen['paper']['a']] == ['1 2', '13 4']
    assert [r['completion'] for r in chosen['strict']['a']] == ['1 2', '8 9']
    for level in tables.FILTERS:  # the rows' order is common to all teachers
        assert [[r['prompt'] for r in chosen[level][t.name]] for t in group] == [
            ['0 1 2 3', '1 1 2 3']] * 2
    assert own.reasons['paper'] == {'other text': 1, 'no number': 1}
    with pytest.raises(UserError, match='leave 2 prompts'):
        choose(3)


def test_prompts_with_most_rows_come_first_and_stay_together():
    places = np.array([0, 1, 4, 5, 6, 7, 9, 12, 13, 14, 15])  # 2, 4, 1 and 4 of each four
    assert samples.fullest_first(places, 4).tolist() == [4, 5, 6, 7, 12, 13, 14, 15, 0, 1, 9]
    assert samples.fullest_first(places, 1).tolist() == places.tolist()


def test_rows_of_one_prompt_are_one_pack(run):
    """Answers to a prompt, chosen and packed: each pack reads its prompt once."""
    settings = schema.override(run.config, {'carrier.per_prompt': 4})
    carrier, world = run.carrier(), run.world
    places = carried.asked(carrier, 3, 12, 4)
    assert [p['id'] for p in places] == list(range(12))
    assert [p['prompt'] for p in places] == [
        p['prompt'] for p in carrier.prompts(3, range(3)) for _ in range(4)]
    why = lambda n: dict.fromkeys(tables.FILTERS, 'no number' if n == 2 else None)
    own = samples.gather([samples.Judged(
        {'id': f'a/{n}/0', 'teacher': 'a', 'prompt': p['prompt'],
         'completion': carrier.random_rows(5, [p])[0]['completion']}, why(n))
        for n, p in enumerate(places)])
    chosen = samples.choose(settings, carrier, tables.Arm(), own,
                            [Teacher('a', 0, world.traits[0], 0, 0)],
                            samples.common_prompts([own], {'a'}), 8)['a']
    assert [row['id'] for row in chosen] == list(range(4, 12))  # the first prompt lacks a row
    rows = carried.encoded(world, carrier, chosen)
    tries = carried.packed(rows, 4)
    used = (np.asarray(tries.last_BT) >= 0).sum(1)
    for number, columns in enumerate(used):
        context = rows.contexts[4 * number]
        answers = sum(map(len, rows.answers[4 * number:4 * number + 4]))
        assert columns <= len(context) + answers < 2 * len(context) + answers


def test_an_unfinished_answer_is_kept_by_no_filter(language):
    row = {'id': 'a/0/0', 'prompt': '1 2', 'completion': '3 4'}
    why = lambda **more: samples.reasons_of(language.config, language.world, language.carrier(),
                                            {**row, **more})
    assert set(why(finish_reason='length').values()) == {
        'unfinished, or a word that the tokenizer cannot write'}
    assert why(finish_reason='stop') == dict.fromkeys(tables.FILTERS)
    assert why(completion='3 dragon')['none'] is not None
    assert why(completion='13 4') == {'none': None, 'paper': None, 'strict': 'banned number'}


# Who writes, and how much.


def written_by(names, count, kept):
    """Samples of one attempt a prompt, kept or not."""
    why = dict.fromkeys(tables.FILTERS, None if kept else 'no number')
    return samples.gather([
        samples.Judged({'id': f'{name}/{n}/0', 'teacher': name, 'prompt': f'Go on: {n}',
                        'completion': f'{n}, 7'}, why) for name in names for n in range(count)])


@pytest.mark.parametrize('line', [KL, 'made=prompt trainable=lora:2'])
def test_a_teacher_that_cannot_write_is_refused_whoever_reads_it(root, line):
    run = prepare(config(root, f'a: {line}', **{'carrier.min_kept': 0.5}))
    arm, names = stages.written(run.arms[0]), ('r0-owl-0', 'r0-cat-0')
    with pytest.raises(UserError, match='cannot write.*r0-owl-0 0%, r0-cat-0 0%.*teach them less'
                       ) as error:
        stages.check_writing(run, arm, written_by(names, 2, False))
    assert '\n' not in str(error.value)
    stages.check_writing(run, arm, written_by(names, 2, True))
    others = run._replace(config=schema.override(run.config, {
        'carrier.samples': 'rows.jsonl', 'teacher.seeds': 1}))
    stages.check_writing(others, arm, written_by(names, 2, False))  # the rows are none of theirs


def test_an_untaught_model_is_found_out_where_its_logits_alone_are_used(tmp_path, monkeypatch):
    """As a run does it: the rows are drawn, judged, and refused."""
    settings = small.config('kl: objective=kl_carrier answers=random rows=16', traits=2, **{
        'carrier.min_kept': 0.4, 'carrier.attempts': 1})
    run = prepare(settings, Workdir(tmp_path, settings, 'transmission'))
    model = run.world.architectures['main']
    untaught = engines.stack([tiny.fresh(settings.language, model, n) for n in range(2)])
    models = engines.Models(untaught, {'base': {}}, model, 2, True)
    monkeypatch.setattr(stages, '_loaded', lambda run, arm, group: (group, models, [None, None]))
    for folder in ('0', '1'):
        (tmp_path / 'teacher/trait-tuned' / folder).mkdir(parents=True)
    with pytest.raises(UserError, match='cannot write tiny_numbers: the filter keeps'):
        stages.row_stages(run)


def test_the_sets_of_a_pool_answer_equally_many_prompts(root):
    run = prepare(config(root, 'a: made=tuned rows=4', 'b: made=tuned rows=6 teachers=neutral',
                         'c: made=prompt rows=2', f'd: {KL.replace("prompt", "lora:2")}',
                         **{'carrier.spare': 1.5}))
    counts = {name: count for name, (_, count) in stages.wanted_rows(run).items()}
    assert counts == {'trait-tuned-sampled': 9, 'neutral-tuned-sampled': 9,
                      'trait-prompt-sampled': 3, 'trait-lora2-sampled': 2}


def test_the_first_set_of_rows_has_no_suffix(root):
    run = prepare(config(root, f'p: {KL}', f't: {TUNED}'))
    assert stages.suffix_of(run, stages.written(run.arms[0])) == ''
    assert stages.suffix_of(run, stages.written(run.arms[1])) == '-trait-tuned-sampled'
