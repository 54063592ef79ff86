"""The other way to play: a critic weighs candidates, and those that look real enough are kept.

Weights are the critic's odds that a candidate is real, which is the ratio of the two densities when the critic is calibrated; rows
are then drawn by weight without repetition (discriminator rejection sampling, Azadi et al., ICLR 2019; optimal for a given budget of
candidates, Verine et al., OBRS, 2023).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from proband.stats.boosted import Boosted, boosted
from proband.stats.discrimination import auc

TREES = 150
FOLDS = 5


class Critic(NamedTuple):
    """Boosted trees, one of each fold, and the slope that makes their mean log odds honest.

    success  AUC on rows that they did not learn from
    """

    folds: tuple[Boosted, ...]
    slope: float
    success: float

    def log_odds(self, values: np.ndarray) -> np.ndarray:
        """(rows, columns) float64, NaN for missing -> (rows,) log odds that a row is real, up to a constant."""
        return self.slope * np.mean([trees(values) for trees in self.folds], axis=0)


def learn_critic(fake: np.ndarray, real: np.ndarray, *, seed: int, trees: int = TREES) -> Critic:
    """A critic of `fake` against `real` (rows, columns each), cross-fitted so that its slope is that of rows it did not see.

    How many rows each side has shifts all log odds alike, which changes no choice. A slope above 1 says that the trees are too
    timid, near 0 that they found nothing but noise.
    """
    from sklearn.linear_model import LogisticRegression

    values = np.concatenate([fake, real])
    label = np.repeat([0, 1], [len(fake), len(real)])
    fold = np.random.default_rng(seed).permutation(len(label)) % FOLDS
    said, found = np.zeros(len(label)), []
    for k in range(FOLDS):
        fit = fold != k
        found.append(boosted(values[fit], label[fit], kind="classifier", seed=seed + k, trees=trees))
        said[~fit] = found[-1](values[~fit])
    slope = LogisticRegression(C=1e6).fit(said[:, None], label).coef_[0, 0]
    return Critic(tuple(found), max(0.0, float(slope)), auc(said, label))


def select(log_weights: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` different row numbers, drawn in proportion to the weights as far as no row is to be drawn twice.

    ValueError when there are fewer than `n` rows.
    """
    if len(log_weights) < n:
        raise ValueError(f"{len(log_weights)} candidates cannot give {n} rows")
    if n == 0:
        return np.zeros(0, np.int64)
    weights = np.exp(log_weights - log_weights.max())
    for _ in range(60):  # what lies above one draw is spread over the others, until none does
        weights = weights * (n / weights.sum())
        if weights.max() <= 1 + 1e-9:
            break
        weights = np.minimum(weights, 1.0)
    order = rng.permutation(len(weights))
    until = np.cumsum(np.minimum(weights[order], 1.0))
    at = np.searchsorted(until, (np.arange(n) + rng.random()) * (until[-1] / n), side="right")
    return np.sort(order[np.minimum(at, len(order) - 1)])


def effective(log_weights: np.ndarray) -> float:
    """The share of the candidates that equally weighted rows would be worth (Kish): 1 when all weigh the same."""
    weights = np.exp(log_weights - log_weights.max())
    return float(weights.sum() ** 2 / (weights**2).sum() / len(weights))
