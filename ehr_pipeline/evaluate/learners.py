"""The two learners that metrics train, and what they do where there is nothing to learn.

What belongs here: fitting and scoring. What is learned, and from whom, is said by `two_sample.py` and
`utility.py`. Both learners are scikit-learn's own, with the default settings.
"""

from __future__ import annotations

import warnings

import numpy as np

MIN_CLASS_ROWS = 5


def can_learn(label: np.ndarray) -> bool:
    """Whether both classes of 0/1 labels have at least `MIN_CLASS_ROWS` rows."""
    return bool(np.bincount(label, minlength=2).min() >= MIN_CLASS_ROWS)


def boosted_scores(x: np.ndarray, label: np.ndarray, x_test: np.ndarray, is_category: np.ndarray) -> np.ndarray:
    """Probabilities [n_test] of class 1 by gradient boosting; 0.5 for all where nothing can be learned."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    usable = ~np.isnan(x).all(axis=0)
    if not can_learn(label) or not usable.any():
        return np.full(len(x_test), 0.5)
    model = HistGradientBoostingClassifier(random_state=0, categorical_features=is_category[usable])
    with threadpool_limits(1):  # one fit takes a second; on a busy machine its threads wait for each other for minutes
        model.fit(x[:, usable], label)
        return model.predict_proba(x_test[:, usable])[:, 1]


def linear_scores(x: np.ndarray, label: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Probabilities [n_test] of class 1 by logistic regression; 0.5 for all where nothing can be learned."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if not can_learn(label) or not x.shape[1]:
        return np.full(len(x_test), 0.5)
    model = LogisticRegression(max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a ranking is all that is asked
        model.fit(x, label)
    return model.predict_proba(x_test)[:, 1]
