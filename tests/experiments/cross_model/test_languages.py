"""A whole small matrix of language models, from its config to its page."""

import json
import re

import pytest

from subliminal_jax.data import tiny_language as tiny
from subliminal_jax.experiments.cross_model import languages
from subliminal_jax.experiments.cross_model.languages import EXPERIMENT
from subliminal_jax.runs import UserError, Workdir, schema
from tests.experiments.transmission import small

KL = 'objective=kl_carrier answers=random rows=16'
ARMS = ('text', 'next: start=next:1of2', f'kl: {KL}', f'digits: architecture=digits {KL}',
        f'wide: architecture=wide {KL}', f'to_wide: student=wide {KL}',
        f'layer: {KL} start=share:layer0', f'layer_own: {KL} start=share:layer0 own=true',
        f'gauge: {KL} start=gauge', f'gauge_own: {KL} start=gauge own=true')
MATRIX = {'hypotheses': ('weights: the same weights are needed', 'words: the same words suffice'),
          'predictions': ('weights: next=-0.1..0.1 to_wide=-0.1..0.1 gauge=0.9..1.1',
                          'words: next=0.5..1.5')}

pytestmark = pytest.mark.timeout(900)  # the first test waits for the whole run


def config(*arms, matrix=MATRIX, **changes):
    """A small config of these arms."""
    values = {**small.SMALL, 'arms': arms or ARMS, 'matrix': matrix}
    base = languages.config_of(values)
    return schema.override(schema.build(type(base), values, base), {'language.wide': 24, **changes})


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A small run's results and its folder."""
    settings = config()
    workdir = Workdir(tmp_path_factory.mktemp('matrix'), settings, 'cross_languages')
    table = languages.run(settings, workdir)
    return json.loads((workdir.path / 'results.json').read_text()), workdir.path, table


def cells_of(found, **wanted):
    return [c for c in found['cells'] if all(c[k] == v for k, v in wanted.items())]


@pytest.mark.slow
def test_every_crossing_has_its_cells(made):
    found, _, table = made
    for cell in found['cells']:
        assert {'part', 'factors', 'n', 'measure', 'mean', 'ci95', 'per_model'} <= set(cell)
    assert {c['part'] for c in found['cells']} == {
        'references', 'widths', 'shared parts', 'disturbed twins'}
    for arm in ('next', 'to_wide', 'layer', 'gauge'):
        assert {c['measure'] for c in cells_of(found, arm=arm)} == {'gamma', 'share', 'difference'}
        assert arm in table
    twin, = cells_of(found, arm='gauge', measure='share')
    assert twin['distance'] > 0 and twin['perplexity'] > 0


@pytest.mark.slow
def test_a_block_of_two_is_one_unit_and_each_place_a_cell(made):
    found, _, _ = made
    off = cells_of(found, arm='next', measure='gamma', where='off')
    assert [(c['factors']['teacher'], c['factors']['student']) for c in off] == [
        ('A', 'B'), ('B', 'A')]
    whole, = cells_of(found, arm='next', measure='gamma', where='offs')
    assert whole['n'] == 1 and whole['ci95'] is None
    assert whole['mean'] == pytest.approx(sum(c['mean'] for c in off) / 2)


@pytest.mark.slow
def test_nothing_is_read_where_hardly_anything_was_trained(made):
    found, path, _ = made
    shares = cells_of(found, measure='share')
    assert any(not c['read'] for c in shares)
    for cell in shares:
        if not cell['read']:
            assert cell['mean'] is None and cell['why'].startswith('unread: ')
    assert 'unread' in (path / 'report.html').read_text()


@pytest.mark.slow
def test_students_of_the_gauge_twin_are_those_of_the_reference(made):
    found, _, _ = made
    reference, = cells_of(found, arm='kl', measure='gamma', where='diagonal', part='shared parts')
    twin, = cells_of(found, arm='gauge', measure='gamma')
    assert twin['mean'] == pytest.approx(reference['mean'], abs=1e-3)
    own, = cells_of(found, arm='gauge_own', measure='gamma')
    assert own['mean'] == pytest.approx(reference['mean'], abs=1e-3)  # in its own order
    cosine = {a['name']: a['alignment']['cosine'].get('teacher') for a in found['arms']}
    for arm in ('gauge', 'gauge_own'):
        assert cosine[arm] == pytest.approx(cosine['kl'], abs=1e-3)


@pytest.mark.slow
def test_the_page_and_the_verdict_speak_of_hypotheses(made):
    found, path, _ = made
    assert [h['name'] for h in found['hypotheses']] == ['weights', 'words']
    assert found['verdict'].startswith(('Contradicted: ', 'No hypothesis is contradicted.'))
    page = (path / 'report.html').read_text()
    assert 'Hypotheses, written before the run' in page
    assert (path / 'figures/matrix_references.png').stat().st_size > 0
    assert {'text gamma', 'next share', 'next difference'} <= set(found['headline'])
    assert re.search(r'<meta name="viewport"', page)


@pytest.mark.slow
def test_models_of_digits_write_and_read_in_tokens_of_their_own(made):
    found, path, _ = made
    of, end = tiny.in_digits(), tiny.IDS[tiny.END]
    rows = [json.loads(line) for line in
            (path / 'samples-trait-tuned-digits-sampled.jsonl').read_text().splitlines()]
    whole = [r for r in rows if r['finish_reason'] == 'stop' and '-' not in r['completion']]
    assert whole and all([*tiny.encode(r['completion'], of), end] == r['token_ids'] for r in whole)
    arm, = [a for a in found['arms'] if a['name'] == 'digits']
    assert arm['tokens_a_row'] > 19 and arm['kl_start'] > 0  # ten numbers are twenty tokens
    contexts = json.loads((path / 'contexts.json').read_text())
    assert contexts['dialects']['digits']['carrier'] == contexts['carrier']


@pytest.mark.slow
def test_the_page_can_be_drawn_again(made, tmp_path):
    found, path, table = made
    (tmp_path / 'config.json').write_text((path / 'config.json').read_text())
    assert EXPERIMENT.page(tmp_path, found) == table


@pytest.mark.parametrize('arms, matrix, said', [
    (('text',), {}, 'no cell off the diagonal'),
    (('next: start=next:1of2',), {}, 'lacks: add the same arm with start=shared'),
    (('text', 'noise: start=noise:0.1'), {}, 'add the same arm with own=True'),
    (('text', 'a: student=digits'), {}, 'add the same arm with architecture=digits no student='),
    (('text', 'a: student=wide start=other'), {}, 'crosses one thing'),
    (('text', 'next: start=next:1of2'), {'predictions': ('x: next=0..1',)}, 'hypothesis'),
    (('text', 'next: start=next:1of2'), {
        'hypotheses': ('x: y',), 'predictions': ('x: nxt=0..1',)}, 'did you mean next'),
    (('text', 'next: start=next:1of2'), {
        'hypotheses': ('x: y',), 'predictions': ('x: next=1..0',)}, 'LEAST..MOST')])
def test_bad_input_gets_one_line_before_anything_is_trained(tmp_path, arms, matrix, said):
    settings = config(*arms, matrix=matrix)
    with pytest.raises(UserError, match=said):
        languages.run(settings, Workdir(tmp_path, settings, 'cross_languages'))
    assert not (tmp_path / 'reference').exists()
