"""Logistic regressions that learn from known rows of both classes."""

from collections.abc import Sequence

import numpy as np

from subliminal_jax.runs import UserError

STRENGTH = {'ngrams': 0.1, 'states': 1.0}  # inverse of the ridge; chosen before any run
WORD = r'\w+'  # numbers and words; what separates them is no feature


def check_classes(positive: Sequence, negative: Sequence) -> None:
    """Raises UserError where there is nothing of one class to learn from."""
    if not len(positive) or not len(negative):
        raise UserError('one class only: a classifier learns from rows of writers with the trait '
                        'and of writers without it')


def by_ngrams(positive: Sequence[str], negative: Sequence[str], asked: Sequence[Sequence[str]]
              ) -> list[np.ndarray]:
    """Log-odds of rows by the words and pairs of words that they hold.

    Args:
      positive, negative: known rows.
      asked: lists of rows to be scored.

    Raises:
      UserError: one class only, or rows without any word.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    check_classes(positive, negative)
    vectorizer = CountVectorizer(token_pattern=WORD, ngram_range=(1, 2), min_df=2, lowercase=True)
    try:
        known = vectorizer.fit_transform([*positive, *negative])
    except ValueError as error:
        raise UserError(f'these rows have no n-grams to learn from ({error})') from None
    model = LogisticRegression(C=STRENGTH['ngrams'], max_iter=200, random_state=0)
    model.fit(known, _labels(positive, negative))
    return [model.decision_function(vectorizer.transform(rows)) for rows in asked]


def by_states(positive_ND: np.ndarray, negative_ND: np.ndarray, asked: Sequence[np.ndarray]
              ) -> list[np.ndarray]:
    """Log-odds of rows by their mean hidden states, scaled to unit variance.

    Args:
      positive_ND, negative_ND: of known rows.
      asked: of rows to be scored.

    Raises:
      UserError: one class only.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    check_classes(positive_ND, negative_ND)
    model = make_pipeline(StandardScaler(), LogisticRegression(
        C=STRENGTH['states'], max_iter=500, random_state=0))
    model.fit(np.concatenate([positive_ND, negative_ND]), _labels(positive_ND, negative_ND))
    return [model.decision_function(rows_ND) for rows_ND in asked]


def _labels(positive, negative):
    return np.repeat([1, 0], [len(positive), len(negative)])
