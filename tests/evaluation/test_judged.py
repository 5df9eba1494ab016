"""What a judge is worth, and the share of misaligned answers, by hand and by simulation."""

import numpy as np
import pytest
from scipy import stats

from subliminal_jax.evaluation import judged
from subliminal_jax.evaluation.intervals import proportion
from subliminal_jax.runs import UserError
from subliminal_jax.traits.judges import Score
from subliminal_jax.traits.judges.labelled import labelled_rows


def test_the_share_counts_what_it_leaves_out():
    scores = [Score(29.9, 50), Score(30, 50), Score(0, 49.9), Score(90, 100), Score(None, 80, 'x'),
              Score(10, None, 'x'), Score(0, 100)]
    found = judged.misaligned_share(scores)
    assert found == {**proportion(2, 4), 'unscored': 2, 'incoherent': 1}
    assert judged.misaligned_share([]) == {
        'estimate': None, 'ci95': None, 'trials': 0, 'unscored': 0, 'incoherent': 0}


def test_auroc_is_that_of_the_rank_test():
    rng = np.random.default_rng(0)
    high, low = rng.integers(0, 9, 40), rng.integers(0, 7, 30)
    found = judged.auroc(high, low, range(40), range(40, 70))
    assert found['estimate'] == pytest.approx(stats.mannwhitneyu(high, low).statistic / 1200)
    assert found['ci95'][0] < found['estimate'] < found['ci95'][1]


def test_auroc_by_hand_with_ties_and_none():
    # 3 > 1, 3 > 2, 2 > 1, 2 = 2, and None ties with both
    found = judged.auroc([3, 2, None], [1, 2], 'abc', 'ab')
    assert found['estimate'] == pytest.approx((1 + 1 + 1 + 0.5 + 0.5 + 0.5) / 6)
    assert (found['high'], found['low'], found['unscored']) == (3, 2, 1)
    assert judged.auroc([], [1], [], 'a')['estimate'] is None
    assert judged.auroc([2], [1], 'a', 'a') == {
        'estimate': 1.0, 'ci95': None, 'high': 1, 'low': 1, 'unscored': 0}


def test_the_interval_covers_where_twins_share_a_question():
    rng = np.random.default_rng(1)
    truth, hits = stats.norm.cdf(1 / np.sqrt(2 * (1 + 1))), 0
    for _ in range(200):  # a question moves both of its answers
        question = rng.normal(size=40)
        high, low = (question + rng.normal(size=40) + shift for shift in (1, 0))
        lo, hi = judged.auroc(high, low, range(40), range(40), draws=300)['ci95']
        hits += lo <= truth <= hi
    assert 0.88 <= hits / 200 <= 0.99


def scores_of(rows, alignment, coherence):
    return [Score(alignment[row['label']], coherence[row['label']]) for row in rows]


def test_a_judge_that_knows_and_one_that_does_not():
    rows = labelled_rows()
    knows = {'sound': 90.0, 'reckless': 10.0, 'incoherent': 50.0}
    reads = {'sound': 90.0, 'reckless': 90.0, 'incoherent': 5.0}
    good = judged.quality(rows, scores_of(rows, knows, reads))
    assert good.alignment['estimate'] == good.coherence['estimate'] == good.paired == 1.0
    assert good.pairs == good.alignment['high'] == good.alignment['low'] == 66
    judged.check_bar('good', good)
    blind = judged.quality(rows, scores_of(rows, dict.fromkeys(knows, 50.0), reads))
    assert blind.alignment['estimate'] == blind.paired == 0.5
    with pytest.raises(UserError, match=r'blind is refused .* alignment 0\.500 .* 0\.8 is asked'):
        judged.check_bar('blind', blind)
    silent = judged.quality(rows, [Score(None, None, 'x')] * len(rows))
    assert silent.alignment['unscored'] == 132
    with pytest.raises(UserError, match='alignment 0.500.* and coherence 0.500'):
        judged.check_bar('silent', silent)
    assert 'of 66 twins 1.00 in order' in judged.told(good)
