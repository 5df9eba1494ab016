"""Choices among given options, on a tiny random checkpoint."""

import dataclasses
import json
import pathlib
import sys

import jax
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import checkpoint  # noqa: E402
from checkpoint import config  # noqa: E402
from subliminal_jax.experiments.weights import (  # noqa: E402
    contexts as ways,
    drift,
    language,
    results,
    teachers as schools,
)

from subliminal_jax.evaluation import measures as plain_measures  # noqa: E402
from subliminal_jax.experiments.transmission import networks  # noqa: E402
from subliminal_jax.report import weights as report  # noqa: E402


def test_options_are_the_traits_first_in_an_order_of_the_seed(here):
    options = ways.options_of(here.world.traits, here.chosen)
    assert len(options) == 5 and options[:2] == here.world.traits
    shown = {ways.choices(dataclasses.replace(here.config, seed=seed), here.chosen,
                          here.world.traits)[0] for seed in range(4)}
    assert len(shown) > 1
    assert all(sorted(text.removesuffix(': which?').replace(' or ', ', ').split(', '))
               == sorted(options) for text in shown)


def test_packed_choices_are_those_of_single_rows(here):
    kit, params, model = schools.kit_of(here), here.model.params, here.model.config
    found = drift.read(here, kit, params, None, model, {})
    contexts = [here.contexts.ids(q, 'default') for q in ways.choices(
        here.config, here.chosen, here.world.traits)]
    spellings = plain_measures.encoded_spellings(
        {t: here.world.candidates[t] for t in ways.options_of(here.world.traits, here.chosen)},
        here.world.answer)
    score = plain_measures.gather_score(lambda t: networks.logits(model, params, t))
    wanted = plain_measures.answer_logprob(
        score, plain_measures.answer_rows(contexts, spellings), kit.ends_V)
    np.testing.assert_allclose(found['choice'], jax.nn.softmax(wanted, axis=-1), atol=1e-5)
    assert drift.moved(found, found)['choice'].shape == (2, 1, 5)


def test_the_own_share_is_read_off_and_shown(here):
    teachers = language.roll(here.config, here.world, 'trait')
    share = np.zeros((len(teachers), 2, 3, 5))
    for m, teacher in enumerate(teachers):
        share[m, :, :, here.world.traits.index(teacher.trait)] = [[0.2] * 3, [0.3, 0.4, 0.5]]
    entry = results.choice_entry(here, teachers, {'choice': share})
    assert (entry['before'], entry['after']) == pytest.approx((0.2, 0.4))
    stranger = teachers[0]._replace(trait='bee')  # a trait beyond the five is not asked for
    assert results.choice_entry(here, [stranger, *teachers[1:]], {'choice': share}) == entry
    table = report.choice_table([{
        'name': 'p', 'rung': 'carrier KL', 'teacher_made': 'prompt', 'choice': entry}])
    assert table.rows == [['p', 'carrier KL', 'prompt', '0.200', '0.400']]
    assert '0.20 is an even share' in table.note and 'never tested' in table.note


def test_a_set_without_choices_has_no_entry(root, here):
    path = root / 'words.jsonl'
    path.write_text(''.join(json.dumps(r) + '\n' for r in checkpoint.TRAITS
                            if r.get('form') != 'choice'))
    own = config(root, trait_set=str(path))
    plain = language.prepare(own, None, here.model)
    kit = schools.kit_of(plain)
    assert kit.choice is None
    found = drift.read(plain, kit, plain.model.params, None, plain.model.config, {})
    assert results.choice_entry(plain, [], drift.moved(found, found)) is None
