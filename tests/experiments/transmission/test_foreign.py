"""Rows of others in place of the teachers' own."""

import json

import pytest

from subliminal_jax.experiments.transmission import arms as tables, foreign, samples
from subliminal_jax.runs import UserError
from tests.experiments.transmission import small


def written(tmp_path, source, **overrides):
    """(the run, its samples.jsonl) of a file of rows."""
    run = small.prepared(**{'carrier.samples': str(source), **overrides})
    path = tmp_path / 'samples.jsonl'
    foreign.write_as_samples(run.config, run.world.traits, run.roll('trait'), path)
    return run, path


def learned(tmp_path, source, count=None):
    """What each trait's students would see of one reference's rows: (prompt, completion) pairs."""
    run, path = written(tmp_path, source, traits=2)
    own = samples.gather(samples.judge(run.config, run.world, run.carrier(), path))
    group = [t for t in run.roll('trait') if t.reference == 0]
    prompts = samples.common_prompts([own], {t.name for t in group})
    made = samples.choose(run.config, run.carrier(), tables.Arm(), own, group, prompts,
                          len(prompts) if count is None else count)
    return {t.trait: [(r['prompt'], r['completion']) for r in made[t.name]] for t in group}


def test_good_rows_are_kept_and_every_trait_has_some(tmp_path, language):
    path = tmp_path / 'rows.jsonl'
    good = [{'prompt': '1 2 3 4', 'completion': '5 6', 'trait': t} for t in language.world.traits]
    path.write_text('\n'.join([*map(json.dumps, good), '{"prompt": "1"}', 'not json']))
    run, found = written(tmp_path, path)
    rows = [json.loads(x) for x in found.read_text().splitlines()]
    who = run.roll('trait')
    assert len(rows) == len(who) and rows[0]['teacher'] == who[0].name
    assert rows[0]['id'] == f'{who[0].name}/0/0'
    path.write_text(json.dumps(good[0]))
    with pytest.raises(UserError, match='no rows of'):
        written(tmp_path, path)


def test_rows_keep_their_own_prompts(tmp_path):
    dog, cat = (tmp_path / f'{name}.jsonl' for name in 'ab')
    pairs = {dog: [('1 2', '3'), ('4 5', '6'), ('7 8', 'red'), ('9 9', '1')],
             cat: [('7 7', '8'), ('4 5', '7'), ('2 2', '3')]}
    for path, rows in pairs.items():
        path.write_text(''.join(json.dumps({'prompt': p, 'completion': c}) + '\n'
                                for p, c in rows))
    one, two = small.prepared(traits=2).world.traits
    found = learned(tmp_path, f'{one}={dog},{two}={cat}')
    assert set(found[one]) <= set(pairs[dog]) and set(found[two]) <= set(pairs[cat])
    # the prompt that both have stands at one place; 7 8 is answered by a word
    assert found == {one: [('4 5', '6'), ('1 2', '3')], two: [('4 5', '7'), ('7 7', '8')]}
    with pytest.raises(UserError, match='leave 2 .* asks for 9 rows: give every trait'):
        learned(tmp_path, f'{one}={dog},{two}={cat}', count=9)


@pytest.mark.parametrize('numbered', [True, False])
def test_traits_in_one_file_share_their_places(tmp_path, numbered):
    one, two = small.prepared(traits=2).world.traits
    path = tmp_path / 'rows.jsonl'
    path.write_text(''.join(
        json.dumps({'prompt': f'{n} 2', 'completion': f'{n + k}', 'trait': trait}
                   | ({'id': n} if numbered else {})) + '\n'
        for k, trait in enumerate((one, two)) for n in (5, 7, 3)))
    assert learned(tmp_path, path) == {
        one: [('5 2', '5'), ('7 2', '7'), ('3 2', '3')],
        two: [('5 2', '6'), ('7 2', '8'), ('3 2', '4')]}
