"""Answers that keep to the carrier's form, from models that could not write it otherwise."""

import json

import numpy as np
import pytest

from subliminal_jax.carriers import CARRIERS
from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import engines, rows as carried, samples
from subliminal_jax.experiments.transmission.run import prepare
from subliminal_jax.runs import UserError, Workdir, schema
from subliminal_jax.sampling import sample, score
from tests.experiments.transmission import checkpoint, small
from tests.experiments.transmission.test_extending import EVEN


def drawn(run, count, constrained, temperature=1.0):
    """What the reference, a random model, answers on the carrier."""
    asked = carried.asked(run.carrier(), 3, count, 2)
    models = engines.single(run.references['main'][0], run.world.architectures['main'])
    settings = schema.override(run.config, {'carrier.per_prompt': 2})
    return list(samples.drawn(settings, run.world, run.carrier(), run.roll('trait')[:1], models,
                              [None], asked, temperature, 1, constrained))


@pytest.mark.slow
@pytest.mark.parametrize('form, temperature', [('request', 1.5), ('list', 1.0)])
def test_a_random_model_writes_what_the_filter_keeps(root, form, temperature):
    run = checkpoint.loaded(checkpoint.config(root, **{'carrier.form': form}))
    rows = drawn(run, 24, True, temperature)
    reasons = [samples.reasons_of(run.config, run.world, run.carrier(), row) for row in rows]
    assert [why['paper'] for why in reasons] == [None] * 24
    assert len({row['completion'] for row in rows}) > 12
    assert any(samples.reasons_of(run.config, run.world, run.carrier(), row)['paper']
               for row in drawn(run, 24, False, temperature))
    # what is reported of them is the model's own, of the same tokens
    texts = [[*run.world.rows_context(row['prompt'], None), *row['token_ids']] for row in rows]
    tokens, valid = sample.shapes.padded(texts, max(map(len, texts)), len(texts), 0, left=False)
    again = np.asarray(score.score_tokens(
        run.references['main'][0], run.world.architectures['main'], tokens, valid))
    for row, text, own in zip(rows, texts, again):
        size = len(row['token_ids'])
        np.testing.assert_allclose(
            row['logprobs'], own[len(text) - 1 - size:len(text) - 1], atol=5e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)  # a whole run
def test_an_arm_of_constrained_answers_runs_to_its_end(tmp_path):
    """In the tiny language, with references that have hardly been trained."""
    settings = small.config('c: answers=constrained', traits=2, **{
        'language.steps': 2, 'carrier.per_prompt': 2, 'carrier.spare': 1.5, 'carrier.attempts': 2,
        'student.packed': 2})
    workdir = Workdir(tmp_path, settings, 'transmission')
    transmission.run(settings, workdir)
    lines = lambda name: [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
    assert {row['reason'] for row in lines('rejects.jsonl')} <= {'banned number'}
    prompts = [row['prompt'] for row in lines('prompts.jsonl')]
    assert prompts[::2] == prompts[1::2] and len({*prompts}) == len(prompts) / 2
    found = json.loads((tmp_path / 'results.json').read_text())
    assert set(found['pass_rates']['trait-tuned-constrained']['paper'].values()) == {1.0}
    assert found['arms'][0]['answers'] == 'constrained'


def test_a_carrier_without_a_grammar_is_refused(monkeypatch):
    monkeypatch.setitem(CARRIERS, EVEN.name, EVEN)
    with pytest.raises(UserError, match='arm c: .*even_numbers has none') as error:
        prepare(small.config('c: answers=constrained carrier=even_numbers'))
    assert '\n' not in str(error.value)
