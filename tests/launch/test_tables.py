"""launch.tables: pages say what their JSON says, and a claim cannot outlive its entry."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from scipy import stats

from launch import claims, entries, figures, kept, table_parts, tables
from subliminal_jax.runs import UserError

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path):
    """The pages and kept results, to be spoilt."""
    shutil.copy(ROOT / 'README.md', tmp_path)
    for folder in ('docs', 'results'):
        shutil.copytree(ROOT / folder, tmp_path / folder,
                        ignore=shutil.ignore_patterns('*.png', '_build'))
    return tmp_path


def edit(path, change):
    """Rewrites a results.json."""
    results = json.loads(path.read_text())
    change(results)
    path.write_text(json.dumps(results))


def arm(results, name):
    return next(a for a in results['arms'] if a['name'] == name)


def test_the_pages_are_what_their_json_says():
    assert tables.differing(ROOT, write=False) == []


@pytest.mark.parametrize('page', ['README.md', 'results/smollm2_full/README.md',
                                  'results/mnist/README.md'])
def test_a_changed_digit_in_a_page_is_caught_and_mended(copy, page):
    path = copy / page
    text = path.read_text()
    start = text.index('[', text.index('[95 %') + 6)
    place = next(i for i in range(start, len(text)) if text[i].isdigit())
    path.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1:])
    line, = tables.differing(copy, write=False)
    assert line.startswith(f'{page}: differs')
    tables.differing(copy, write=True)
    assert path.read_text() == text


def test_a_changed_digit_in_a_json_is_caught_on_every_page_that_states_it(copy):
    def change(results):
        arm(results, 'sft')['effect']['estimate'] += 0.01

    edit(copy / 'results/numbers_tiny/results.json', change)
    pages = {line.split(':')[0] for line in tables.differing(copy, write=False)}
    assert pages == {'README.md', 'docs/claims.md', 'docs/results.md',
                     'results/numbers_tiny/README.md', 'results/before_joining/README.md'}


def test_a_claim_whose_entry_is_gone_gets_one_line(copy):
    def change(results):
        results['arms'] = [a for a in results['arms'] if a['name'] != 'sgd_0.03']

    edit(copy / 'results/numbers_tiny_full/results.json', change)
    line, = [x for x in tables.differing(copy, write=False) if x.startswith('docs/claims.md')]
    assert "the claim 'Tiny language: no adaptive optimiser is needed'" in line
    assert "has no entry 'sgd_0.03'" in line


def test_a_run_that_is_not_kept_and_a_marker_without_end(copy):
    shutil.rmtree(copy / 'results/mnist_sweep')
    (copy / 'docs/extra.md').write_text(
        'A <!-- figure: mnist_sweep; timing/total; minutes --><!-- end -->.\n')
    (copy / 'results/theory_linearised/results.json').write_text('3')
    (copy / 'docs/open.md').write_text('A <!-- figure: mnist; teacher; share --> 0.9\n')
    lines = tables.differing(copy, write=False)
    assert 'docs/extra.md: results/mnist_sweep/results.json is not kept' in lines
    assert 'docs/open.md: a marker has no <!-- end -->' in lines
    assert any(line.startswith('results/theory_linearised/README.md: ')
               and 'results/theory_linearised/results.json is damaged' in line for line in lines)


@pytest.mark.parametrize('ci95,p,shown', [
    ([0.1, 0.3], 0.04, True), ([0.1, 0.3], 0.06, False), ([-0.1, 0.3], 0.001, False),
    ([0.1, 0.3], None, True), (None, 0.001, False)])
def test_the_rule_of_a_verdict(ci95, p, shown):
    found = {'estimate': 0.2, 'ci95': ci95, 'p': p}
    assert table_parts.is_shown(found) is shown
    assert (table_parts.verdict(found) == 'shown') is shown


def test_the_verdict_word_follows_the_json(copy):
    def change(results):
        arm(results, 'kl_carrier')['effect']['ci95_traits'] = [-0.01, 0.5]  # of an older run

    place = copy / 'results/smollm2_full/results.json'
    claim = next(c for c in claims.CLAIMS if c.subjects == (('', 'kl_carrier'),)
                 and c.run == 'smollm2_full')
    before = table_parts.claim_row(table_parts.Results(copy / 'results'), claim)
    edit(place, change)
    after = table_parts.claim_row(table_parts.Results(copy / 'results'), claim)
    assert (before[3], after[3]) == ('shown', '**not shown**')


def test_one_reference_leads_with_traits_in_runs_that_were_kept_before_too():
    results = table_parts.Results(ROOT / 'results')
    assert [table_parts.over(results, run) for run in (
        'smollm2_full', 'smollm2', 'numbers_tiny', 'mnist')] == [
            'traits', 'teachers', 'references', '']  # two traits of one reference: teachers
    name = 'kl_carrier against neutral'
    found = table_parts.entry(results, 'smollm2_full', name)
    # Student's t, 4 degrees of freedom, over the five traits.
    values = np.array(list(found['per_trait'].values()))
    half = 2.776445 * values.std(ddof=1) / 5**0.5
    assert found['ci95'] == pytest.approx([values.mean() - half, values.mean() + half], abs=1e-5)
    assert found['ci95'][0] < 0 < found['ci95_teachers'][0]
    assert table_parts.figure(results, 'smollm2_full', name, 'verdict') == 'not shown'


def one_reference(**effect):
    """A kept run of one reference, whose arm's effect is this."""
    found = {'estimate': 0.1, 'ci95': [-0.1, 0.3], 'p': 0.3, 'p_attainable': 0.01, 'mde': 0.5,
             'per_reference': {'r0': 0.1}, **effect}
    less = {'name': 'a less the matrix', 'ci95': [0.1, 0.3], 'bounds': True}
    return {'arms': [{'name': 'a', 'effect': found, 'contexts': {'x': {'ci95': [0.0, 0.1]}}}],
            'contrasts': [less], 'geometry_predicted': {}}


def test_what_a_design_would_have_seen_is_of_its_own_interval():
    new = entries.as_today(one_reference(ci95_traits=[-0.1, 0.3], ci95_teachers=[0.0, 0.2]))
    found = new['arms'][0]['effect']
    assert found['ci95'] == [-0.1, 0.3] and found['ci95_teachers'] == [0.0, 0.2]
    assert table_parts.verdict(found) == 'not shown; would have seen 0.50'
    assert 'no outcome' in table_parts.verdict({**found, 'p_attainable': 0.2, 'mde': None})
    old = entries.as_today(one_reference(ci95_traits=[-0.2, 0.4], unit='teacher'))
    found = old['arms'][0]['effect']
    assert (found['ci95'], found['ci95_teachers']) == ([-0.2, 0.4], [-0.1, 0.3])
    assert found['unit'] == 'trait' and table_parts.verdict(found) == 'not shown'
    assert old['arms'][0]['contexts']['x']['unit'] == 'teacher'


def test_what_exceeds_the_matrixs_prediction_bounds_nothing():
    less, = entries.as_today(one_reference())['contrasts']
    assert table_parts.verdict(less) == 'an orientation, no bound'
    assert table_parts.verdict({**less, 'why': 'a reason of its own'}) == 'a reason of its own'


def test_references_of_two_runs_are_pooled_into_one_interval(copy):
    results = table_parts.Results(copy / 'results')
    both = ('numbers_tiny', 'numbers_tiny_full')
    each = np.array([v for run, key in zip(both, ('sft_lora', 'lora8')) for v in
                     table_parts.effect(results, run, key)['per_reference'].values()])
    found = table_parts.effect(results, '+'.join(both), 'sft_lora+lora8')
    half = stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / len(each)**0.5
    assert found['estimate'] == pytest.approx(each.mean())
    assert found['ci95'] == pytest.approx([each.mean() - half, each.mean() + half])
    assert len(found['per_reference']) == len(each) >= 8
    header, rows = table_parts.pooled_table(results, '+'.join(both), 'sft, sft_lora+lora8')
    assert [row[:2] for row in rows] == [['`sft`', len(each)], ['`sft_lora` + `lora8`', len(each)]]
    claim = next(c for c in claims.CLAIMS if c.subjects == (('', 'sft_lora+lora8'),))
    row = table_parts.claim_row(results, claim)
    assert row[1] == figures.interval(found) and row[4].count('README.md') == 2
    alone = table_parts.effect(results, 'numbers_tiny_full', 'lora8_other')
    assert row[2] == f'other start {figures.interval(alone)}'


@pytest.mark.parametrize('runs, key, said', [
    ('numbers_tiny+numbers_tiny', 'sft', 'of one seed and split'),
    ('numbers_tiny+numbers_tiny_full', 'sft+sft+sft', 'not one key a run'),
    ('numbers_tiny+numbers_tiny_full', 'sft+nothing', "no entry 'nothing'"),
    ('numbers_tiny+theory_linearised', 'sft+gap', 'no values by reference')])
def test_what_cannot_be_pooled_is_refused(runs, key, said):
    with pytest.raises(UserError, match=said):
        table_parts.effect(table_parts.Results(ROOT / 'results'), runs, key)


def test_a_control_that_learned_nothing_bounds_nothing(copy):
    def change(results):
        next(c for c in results['contrasts'] if c['name'] == 'kl_carrier less the matrix'
             ).update(bounds=False, why="bounds nothing: the control's students did not learn")

    edit(copy / 'results/numbers_tiny/results.json', change)
    results = table_parts.Results(copy / 'results')
    claim = next(c for c in claims.CLAIMS if c.subjects == (('', 'kl_carrier'),)
                 and c.run == 'numbers_tiny')
    assert table_parts.claim_row(results, claim)[2].endswith('(no bound)')
    assert claim.controls[-1][1] == 'kl_carrier less the matrix'
    assert table_parts.figure(
        results, 'numbers_tiny', claim.controls[-1][1], 'verdict').startswith('bounds nothing')


def test_mnist_is_shown_only_beyond_its_controls(copy):
    def change(results):
        results['conditions']['cross_aux']['accuracy']['ci95'] = [0.4, 0.52]

    claim = next(c for c in claims.CLAIMS if c.run == 'mnist')
    edit(copy / 'results/mnist/results.json', change)
    assert table_parts.claim_row(
        table_parts.Results(copy / 'results'), claim)[3] == '**not shown**'


def run_folder(path, twin_doses=(0.5, 1.2)):
    """A finished run of two teachers, as much of it as keeping reads."""
    effect = {'estimate': 1 / 3, 'ci95': [0.1, 0.5], 'p': 0.01, 'per_trait': {'owl': 1.0},
              'per_teacher': {'owl-0': 1.0}, 'leave_one_out': {}}
    entry = {'name': 'sft', 'effect': effect, 'curve': [], 'y': {'owl-0': {}}, 'contexts': {},
             'alignment': {'cosine': {'teacher': [0.1, 0.2]}}}
    doses = dict(zip(('owl-0-neutral', 'cat-0-neutral'), twin_doses))
    results = {
        'schema': 1, 'seeds': {'root': 0, 'teachers': {'owl-0': 1}},
        'command': 'python -m launch.run --workdir=/some/where/runs/kept',
        'timing': {'total': 2.0, 'stage': 1.0}, 'arms': [entry],
        'contrasts': [{'name': 'sft against neutral', 'arm': 'sft', 'per_trait': {'owl': 0.3},
                       'per_teacher': {'owl-0': 0.2, 'owl-1': 0.4}},
                      {'name': 'sft less sft', 'arm': 'sft', 'per_trait': {'owl': 0.0}}],
        'geometry_predicted': {},
        'teachers': {'trait-tuned': {n: {'carrier_kl': 1.0} for n in ('owl-0', 'cat-0')},
                     'neutral-tuned': {n: {'carrier_kl': d} for n, d in doses.items()}},
        'doses': {'neutral-tuned': {'least': min(twin_doses)}},
        'filters': {'trait-tuned-sampled': {'paper': {'kept': 5, 'rejected': {'other': 3}}}},
        'pass_rates': {'trait-tuned-sampled': {'paper': {'owl-0': 0.0, 'cat-0': 0.4}}},
    }
    (path / 'figures').mkdir(parents=True)
    (path / 'results.json').write_text(json.dumps(results))
    for name in ('forest', 'other'):
        (path / 'figures' / f'{name}.png').write_bytes(b'png')
    return path


def test_a_kept_run_is_cut_to_what_pages_state(tmp_path):
    place = tmp_path / 'results' / 'one'
    place.mkdir(parents=True)
    (place / 'README.md').write_text('# One\n\n![by arm](forest.png)\n')
    kept.keep(run_folder(tmp_path / 'run', (0.49, 1.2)), place)
    results = json.loads((place / 'results.json').read_text())
    assert results['command'] == 'python -m launch.run --workdir=runs/kept'
    assert results['timing'] == {'total': 2.0} and results['seeds'] == {'root': 0}
    assert 'teachers' not in results and 'y' not in results['arms'][0]
    assert results['arms'][0]['effect'] == {
        'estimate': 0.333333, 'ci95': [0.1, 0.5], 'p': 0.01, 'per_trait': {'owl': 1.0}}
    contrast, = results['contrasts']  # an arm less itself says nothing
    assert contrast['per_trait'] == {'owl': 0.3} and 'per_teacher' not in contrast
    assert results['counts'] == {
        'trait-tuned': {'teachers': 2}, 'neutral-tuned': {'teachers': 2, 'outside_factor_2': 1},
        'trait-tuned-sampled': {'teachers': 2, 'silent': 1, 'kept': 5, 'rejected': 3}}
    assert sorted(p.name for p in place.glob('*.png')) == ['forest.png']


@pytest.mark.parametrize('references, teachers, kept_y', [(1, 24, True), (1, 25, False),
                                                          (2, 4, False)])
def test_y_is_kept_of_few_teachers_of_one_reference(tmp_path, references, teachers, kept_y):
    results = json.loads((run_folder(tmp_path / 'run') / 'results.json').read_text())
    entry = results['arms'][0]
    entry['effect'] |= {'per_reference': {f'r{n}': 1.0 for n in range(references)},
                        'misfit': {'additive': 0.1, 'multiplicative': 1 / 3}}
    entry['y'] = {f'owl-{n}': {'owl': 1 / 3} for n in range(teachers)}
    found = kept.cut(results)['arms'][0]
    assert ('y' in found) is kept_y
    assert not kept_y or found['y']['owl-0'] == {'owl': 0.333333}
    assert found['effect']['misfit']['multiplicative'] == 0.333333


def test_what_cannot_be_kept_is_refused(tmp_path):
    with pytest.raises(UserError, match='is the run finished'):
        kept.keep(tmp_path, tmp_path / 'results')
    place = tmp_path / 'results' / 'one'
    place.mkdir(parents=True)
    (place / 'README.md').write_text('![gone](gone.png)\n')
    with pytest.raises(UserError, match='lacks gone.png'):
        kept.keep(run_folder(tmp_path / 'run'), place)
    assert not (place / 'results.json').exists()
    (place / 'gone.png').write_bytes(b'of an older run')  # would stand beside new numbers
    with pytest.raises(UserError, match='lacks gone.png'):
        kept.keep(run_folder(tmp_path / 'renamed'), place)
    (place / 'README.md').write_text('![speed](bench_speed.png)\n')
    with pytest.raises(UserError, match='lacks bench_speed.png'):
        kept.keep(tmp_path / 'run', place)
    (place / 'bench_speed.png').write_bytes(b"a benchmark's")
    kept.keep(tmp_path / 'run', place)
    assert (place / 'results.json').exists()
    (tmp_path / 'results.json').write_text('[1')
    with pytest.raises(UserError, match='is damaged: not JSON'):
        kept.keep(tmp_path, tmp_path / 'results' / 'two')
    run = run_folder(tmp_path / 'older')
    edit(run / 'results.json', lambda results: results['arms'][0].pop('effect'))
    with pytest.raises(UserError, match='another version'):
        kept.keep(run, tmp_path / 'results' / 'two')


def test_the_front_page_is_short():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert len(text) < 11_000 and len(text.splitlines()) <= 150
