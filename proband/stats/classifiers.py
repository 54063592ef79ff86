"""Plain classifiers that predict an outcome from a mixed table: a logistic regression, boosted trees, extremely random trees."""

from __future__ import annotations

import warnings
from typing import Protocol

import numpy as np


class Classifier(Protocol):
    """Fits `values` (rows, columns) and gives the probabilities of the outcome in the test rows.

    `levels` marks the columns that hold codes; NaN is missing; `weights` (rows,) says what each row counts, 1 unless told.
    """

    def __call__(
        self, values: np.ndarray, outcome: np.ndarray, test: np.ndarray, levels: np.ndarray, weights: np.ndarray | None = None
    ) -> np.ndarray: ...


def boosted_trees(
    values: np.ndarray, outcome: np.ndarray, test: np.ndarray, levels: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Boosted trees (histograms, 100 trees of 15 leaves); missing values as they are, levels as codes. Probabilities, (test rows,)."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if len(np.unique(outcome)) < 2:
        return np.full(len(test), float(np.mean(outcome)))
    values = np.where(np.isnan(values).all(axis=0), 0.0, values)  # a column without any value has no bins, and the fit would fail
    model = HistGradientBoostingClassifier(
        max_iter=100, max_leaf_nodes=15, learning_rate=0.08, l2_regularization=1.0, early_stopping=False, random_state=0
    )
    with threadpool_limits(1):  # see stats.discrimination
        return model.fit(values, outcome, sample_weight=weights).predict_proba(test)[:, 1]


def logistic(
    values: np.ndarray, outcome: np.ndarray, test: np.ndarray, levels: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Logistic regression with a ridge; levels one-hot, numbers standardised, missing numbers at the mean beside a flag."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(outcome)) < 2:
        return np.full(len(test), float(np.mean(outcome)))
    fit_design, test_design = _designs(values, test, levels)
    with warnings.catch_warnings():
        # A few hundred steps of an ill-conditioned fit are near enough: the comparison uses the same steps on both sides.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(max_iter=300).fit(fit_design, outcome, sample_weight=weights)
    return model.predict_proba(test_design)[:, 1]


def random_trees(
    values: np.ndarray, outcome: np.ndarray, test: np.ndarray, levels: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Extremely random trees (200, leaves of 5 rows) on the design of the logistic regression. Geurts, Ernst and Wehenkel, 2006."""
    from sklearn.ensemble import ExtraTreesClassifier

    if len(np.unique(outcome)) < 2:
        return np.full(len(test), float(np.mean(outcome)))
    fit_design, test_design = _designs(values, test, levels)
    model = ExtraTreesClassifier(200, min_samples_leaf=5, max_features=0.3, n_jobs=1, random_state=0)
    return model.fit(fit_design, outcome, sample_weight=weights).predict_proba(test_design)[:, 1]


CLASSIFIERS: dict[str, Classifier] = {"logistic regression": logistic, "boosted trees": boosted_trees}


def _designs(values: np.ndarray, test: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Design matrices of the fit and the test rows, learned from the fit rows; rows of levels seen fewer than 5 times share nothing."""
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for c in range(values.shape[1]):
        fit, held = values[:, c], test[:, c]
        fit_missing, held_missing = np.isnan(fit), np.isnan(held)
        if fit_missing.any():
            parts.append((fit_missing.astype(float), held_missing.astype(float)))
        if levels[c]:
            codes, counts = np.unique(fit[~fit_missing], return_counts=True)
            parts += [((fit == code).astype(float), (held == code).astype(float)) for code in codes[counts >= 5]]
        elif not fit_missing.all():
            low, middle, high = np.nanquantile(fit, [0.01, 0.5, 0.99])
            # Held within the 1st and 99th percentile: one wild value must not make the fit.
            fit, held = (np.clip(np.where(np.isnan(x), middle, x), low, high) for x in (fit, held))
            spread = fit.std()
            if spread > 0:
                parts.append(((fit - fit.mean()) / spread, (held - fit.mean()) / spread))
    if not parts:
        return np.zeros((len(values), 1)), np.zeros((len(test), 1))
    return np.column_stack([one for one, _ in parts]), np.column_stack([other for _, other in parts])
