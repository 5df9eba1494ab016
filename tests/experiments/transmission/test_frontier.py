"""The frontier on planted effects: what defends, what its twin does too, what an attacker gains."""

import numpy as np
import pytest

from subliminal_jax.experiments.transmission import contrasts, frontier, utility
from subliminal_jax.report import transmission_frontier as report
from tests.experiments.transmission import small
from tests.experiments.transmission.planted import entry, rises

EFFECTS = {  # gamma, and nats a token gained on rows held out
    'sft': (1.0, 0.2), 'few': (0.6, 0.15), 'oracle': (0.3, 0.2), 'random': (1.0, 0.2),
    'anchor': (0.5, 0.1), 'pull': (0.5, 0.1), 'attack': (0.8, 0.2)}


@pytest.fixture(scope='module')
def planted():
    """(run, entries, contrasts) with these effects."""
    run = small.prepared(
        'sft', 'few: rows=16', 'oracle: defence=project:oracle', 'random: defence=project:random',
        'anchor: defence=anchor:1', 'pull: defence=pull:1',
        'attack: picked=attack:2 defence=project:oracle',
        **{'student.held_out': 8, 'language.references': 4})
    rng = np.random.default_rng(0)
    y = {a.name: rises(run, 'trait', EFFECTS[a.name][0], n) for n, a in enumerate(run.arms)}
    base = 3 + 0.1 * rng.standard_normal(len(run.roll('trait')))
    arrays = {name: {'held_reference': base, 'held_teacher': base - 0.3,
                     'held_loss': base - gain + 0.002 * rng.standard_normal(len(base))}
              for name, (_, gain) in EFFECTS.items()}
    entries = [{**entry(run, arm, y[arm.name]), 'rows': run.rows(arm),
                **utility.entry(run, arm, arrays)} for arm in run.arms]
    return run, entries, contrasts.contrasts(run, entries, y, {})


def test_what_defends_takes_more_off_than_its_random_twin(planted):
    found = {f['arm']: f for f in frontier.entries(*planted)}
    assert {name for name, f in found.items() if f['defends']} == {'oracle'}
    assert found['oracle']['twin'] == 'random' and found['anchor']['twin'] == 'pull'
    assert found['oracle']['taken']['estimate'] == pytest.approx(0.7, abs=0.05)
    assert found['anchor']['taken']['ci95'][0] > 0  # and yet it is no more than its twin's
    assert abs(found['anchor']['beyond_twin']['estimate']) < 0.05
    assert found['attack']['gained']['estimate'] == pytest.approx(0.5, abs=0.05)
    # Holm's, of the two defences that are no twins
    smaller = min(found[name]['taken']['p'] for name in ('oracle', 'anchor'))
    assert min(found[n]['p_holm'] for n in ('oracle', 'anchor')) == pytest.approx(2 * smaller)
    assert found['few']['p_holm'] is None


def test_use_is_what_is_gained_over_the_reference_and_a_share_of_the_undefended(planted):
    run, entries, _ = planted
    by_name = {e['name']: e for e in entries}
    for name, (_, gain) in EFFECTS.items():
        use = by_name[name]['utility']
        assert use['mean'] == pytest.approx(gain, abs=0.01)
        assert use['share'] == pytest.approx(gain / 0.2, abs=0.05)
        assert use['share_ci95'][0] <= use['share'] <= use['share_ci95'][1]
    assert [n for n, e in by_name.items() if e['random_twin']] == ['few', 'random', 'pull']
    assert by_name['attack']['attack_of'] == 'oracle' and by_name['sft']['attack_of'] is None


def test_the_opening_says_what_defends_and_what_an_attacker_gains(planted):
    run, entries, _ = planted
    said = frontier.verdict(run, entries, frontier.entries(*planted))
    assert said.startswith('Without defence (sft): transmits')
    assert 'has one: oracle (use kept ' in said and 'Not shown to: anchor.' in said
    assert 'as they come: attack +0.' in said and said.endswith('nats (shown).')


def test_the_figure_joins_attacked_arms_and_those_of_fewer_rows(planted):
    run, entries, _ = planted
    results = {'arms': entries, 'frontier': frontier.entries(*planted), 'unit': 'nats',
               'held_out': 8}
    plot, table = report.sections(results)
    lines = [line for line in plot.figure.axes[0].get_lines() if len(line.get_xdata()) == 2]
    joined = {tuple(np.round(line.get_ydata(), 1)) for line in lines}
    assert {(0.3, 0.8), (0.6, 1.0)} <= joined  # the attack; few to all rows
    assert len(table.rows) == len(EFFECTS)
    defends = table.head.index('defends')
    assert [row[0] for row in table.rows if row[defends] == 'yes'] == ['oracle']
    assert report.sections({'arms': entries}) == []
