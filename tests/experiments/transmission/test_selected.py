"""Selected answers: the reference writes, teachers pick."""

import json

import numpy as np
import pytest

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import arms, engines, selected
from subliminal_jax.runs import UserError, Workdir
from tests.experiments.transmission import checkpoint, small

SETTINGS = {'carrier.candidates': 4, 'carrier.spare': 8.0}


@pytest.fixture(scope='module')
def run_of(tmp_path_factory):
    """The folder of a whole run, and its results."""
    path = tmp_path_factory.mktemp('selected')
    settings = small.config('picked: answers=selected', 'twins: answers=selected teachers=neutral',
                            traits=2, **SETTINGS)
    transmission.run(settings, Workdir(path, settings, 'transmission'))
    return path, json.loads((path / 'results.json').read_text())


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(900)  # a whole run
def test_teachers_pick_what_they_make_likeliest_of_what_the_reference_wrote(run_of):
    path, found = run_of
    candidates = {}
    for row in lines(next(path.glob('candidates-main-*.jsonl'))):
        reference, place, _ = row['id'].split('/')
        candidates.setdefault((reference, place), []).append(row['completion'])
    assert {len(texts) for texts in candidates.values()} == {4}
    rows = lines(path / 'samples.jsonl')
    picked = [row for row in rows if 'log_ratio' in row]
    assert len(picked) > 32
    for row in rows:
        reference, place = row['teacher'].split('-')[0], row['id'].split('/')[1]
        assert row['completion'] in candidates[reference, place]
    # teachers pick what they prefer: a choice by chance has a mean of at most 0 under the reference
    assert np.mean([row['log_ratio'] for row in picked]) > 0
    by_place = {}
    for row in picked:
        by_place.setdefault(row['id'].split('/')[1], {})[row['teacher']] = row['completion']
    assert any(len({*own.values()}) > 1 for own in by_place.values())  # and not all the same
    assert found['arms'][0]['rung'] == 'selected text'
    assert 'Selected text, written by the reference' in found['verdict']


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_ratio_is_that_of_whole_answers(root):
    """Against sums of log-probabilities that the scorer gives, on a pretrained model's folder."""
    from subliminal_jax.sampling import sample, score

    run = checkpoint.loaded(checkpoint.config(root, 'a: answers=selected'))
    config = run.world.architectures['main']
    rows = [{**row, 'completion': text} for row, text in zip(
        run.carrier().prompts(3, range(3)), ('1, 2', '3, 4, 5', '61'))]
    base = run.references['main'][0]
    moved = {**base, 'final_norm': base['final_norm'] * 1.5}
    ratio_MN = selected.ratios(run, run.arms[0], engines.single(moved, config), None, rows, 0)
    assert ratio_MN.shape == (1, 3)
    for row, ratio in zip(rows, ratio_MN[0]):
        context = run.world.rows_context(row['prompt'], None)
        answer = [*run.world.row_answer(row['completion']), run.world.end_id]
        tokens, valid = sample.shapes.padded([[*context, *answer]], 256, 1, 0, left=False)
        said = [float(np.asarray(score.score_tokens(params, config, tokens, valid))[
            0, len(context) - 1:len(context) + len(answer) - 1].sum()) for params in (moved, base)]
        assert ratio == pytest.approx(said[0] - said[1], abs=2e-3)


def test_a_place_of_which_no_candidate_is_kept_has_its_first_one(root):
    run = checkpoint.loaded(checkpoint.config(root, 'a: answers=selected'))
    prompt = run.carrier().prompts(3, range(1))[0]['prompt']
    row = lambda name, text: {'id': name, 'prompt': prompt, 'completion': text,
                              'finish_reason': 'stop'}
    found = selected.by_place(run, run.arms[0], [
        row('r0/0/0', 'no list'), row('r0/0/1', 'none'), row('r0/1/0', 'nor this'),
        row('r0/1/1', '1, 2, 3')])
    texts = {key: ([r['completion'] for r in rows], kept) for key, (rows, kept) in found.items()}
    assert texts == {('r0', '0'): (['no list'], False), ('r0', '1'): (['1, 2, 3'], True)}


def test_what_selected_answers_cannot_be():
    with pytest.raises(UserError, match='made of'):
        arms.parse(['a: answers=selected own=true start=noise:0.1'])
    with pytest.raises(UserError, match='picks among what the reference'):
        arms.check_foreign(arms.parse(['a: answers=selected']), 'rows.jsonl')
