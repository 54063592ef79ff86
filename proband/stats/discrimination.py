"""Telling two tables apart: the classifier two-sample test, cross-fitted so that no row is judged by a model that saw its patient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from proband.stats.cores import on_cores
from proband.stats.trees import readable


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve: the probability that a labelled row scores above another one, ties counted half.

    NaN when only one kind of label is there.

    >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
    0.75
    """
    from scipy.stats import rankdata

    positive = labels.astype(bool)
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if not ones or not zeros:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def roc(scores: np.ndarray, labels: np.ndarray, points: int = 101) -> tuple[np.ndarray, np.ndarray]:
    """The ROC curve at `points` false-positive rates from 0 to 1: (false-positive rates, true-positive rates)."""
    fpr = np.linspace(0, 1, points)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # a threshold passes equal scores together
    ones = np.cumsum(labels[order])[last]
    zeros = np.cumsum(1 - labels[order])[last]
    return fpr, np.interp(fpr, np.append(0, zeros / max(zeros[-1], 1)), np.append(0, ones / max(ones[-1], 1)))


@dataclass(frozen=True)
class Discrimination:
    """What a cross-fitted discriminator makes of every row: `scores` (rank within its fold, 0 to 1), and what each column adds."""

    scores: np.ndarray  # (rows,)
    importance: np.ndarray | None  # (columns,) fall of the AUC when the column is shuffled


def discriminate(
    values: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    seed: int,
    folds: int = 5,
    trees: int = 100,
    importance: bool = False,
) -> Discrimination:
    """Boosted trees tell rows with label 1 from rows with label 0, each row judged by a model that never saw its patient.

    values    (rows, columns) float64; NaN is missing, levels are codes by falling frequency
    patients  (rows,) codes: all rows of a patient fall into one fold
    Scores are ranks within a fold, since two models' probabilities are on different scales. One thread a model: on tables of this
    size more gain little, and they wait for each other on a busy machine.
    """
    from scipy.stats import rankdata
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    generator = np.random.default_rng(seed)
    fold_of_patient = generator.permutation(int(patients.max()) + 1) % folds
    fold = fold_of_patient[patients]
    scores = np.full(len(labels), 0.5)
    lost = np.zeros(values.shape[1])

    def fitted(k: int) -> Callable[[np.ndarray], np.ndarray] | None:
        fit = np.flatnonzero(fold != k)
        return _trees(values[fit], labels[fit], trees, seed) if len(np.unique(labels[fit])) == 2 else None

    models = list(on_cores(fitted, range(folds)))
    with threadpool_limits(1, user_api="openmp"):
        for k, model in enumerate(models):
            held = np.flatnonzero(fold == k)
            if model is None or not len(held):
                continue
            scores[held] = (rankdata(model(values[held])) - 0.5) / len(held)
            if importance:
                some = held[:: max(1, len(held) // 400)]  # evenly: real rows and synthetic ones stand one after the other
                lost += _lost(model, values[some], labels[some], generator) / folds
    return Discrimination(scores, lost if importance else None)


def _trees(values: np.ndarray, labels: np.ndarray, trees: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Boosted trees fitted to the labels: a function from rows to log odds."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    model = HistGradientBoostingClassifier(
        max_iter=trees,
        max_leaf_nodes=15,
        learning_rate=0.1,
        l2_regularization=1.0,
        max_features=min(1.0, 60 / values.shape[1]),  # of a wide table, each split looks at 60 columns
        early_stopping=False,
        random_state=seed % 2**31,
    )
    with threadpool_limits(1, user_api="openmp"):
        return model.fit(readable(values), labels).decision_function


def _lost(model: Callable[[np.ndarray], np.ndarray], values: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The fall of the AUC when one column after the other is shuffled (permutation importance; Breiman 2001), never below 0."""
    whole = auc(model(values), labels)
    lost = np.zeros(values.shape[1])
    together = max(20_000 // max(len(values), 1), 1)  # columns judged in one call, which costs more than the rows in it
    for start in range(0, values.shape[1], together):
        columns = range(start, min(start + together, values.shape[1]))
        shuffled = np.tile(values, (len(columns), 1, 1))
        for at, c in enumerate(columns):
            shuffled[at, :, c] = generator.permutation(values[:, c])
        scores = model(shuffled.reshape(-1, values.shape[1])).reshape(len(columns), -1)
        lost[list(columns)] = [whole - auc(one, labels) for one in scores]
    return np.nan_to_num(np.maximum(lost, 0))


def told_by(codes: np.ndarray, first: int) -> float:
    """The AUC of a judge that sees one code a row: the first `first` rows are of one side, the others of the other.

    codes  (rows,) whole numbers from 0 on. Rows of a side come in random order, whole patients together: one half of each side says
           which codes are the first side's, the other half is judged, then the reverse. Near 0.5, or a little below: no difference.
    """
    codes = np.unique(codes, return_inverse=True)[1]
    size = int(codes.max(initial=0)) + 1
    sides = codes[:first], codes[first:]
    halves = [[np.bincount(part, minlength=size) for part in (side[: len(side) // 2], side[len(side) // 2 :])] for side in sides]
    found = []
    for learned, judged in ((0, 1), (1, 0)):
        ones, zeros = halves[0][learned] + 0.5, halves[1][learned] + 0.5
        _, order = np.unique(ones / zeros * zeros.sum() / ones.sum(), return_inverse=True)
        above, below = (np.bincount(order, side[judged]) for side in halves)
        if not above.sum() or not below.sum():
            return float("nan")
        found.append(float(above @ (np.cumsum(below) - below / 2) / (above.sum() * below.sum())))
    return float(np.mean(found))
