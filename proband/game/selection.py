"""The other way to play: a critic weighs candidates, and those that look real enough are kept.

Weights are the critic's odds that a candidate is real, which is the ratio of the two densities when the critic is calibrated; rows
are then drawn by weight without repetition (discriminator rejection sampling, Azadi et al., ICLR 2019; optimal for a given budget of
candidates, Verine et al., OBRS, 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from proband.stats.cores import on_cores
from proband.stats.discrimination import auc
from proband.stats.trees import Trees, boosted, randomised

TREES = 150
FOLDS = 5
FAMILIES = ("boosted", "randomised")
RAKED, FURTHEST = 1e-3, 2.0  # share that every stratum counts as more; the most that is added, where hardly a candidate is of a stratum
RANDOMISED, LEAF = 40, 20  # trees a fold, and rows in a leaf; leaves of 5 to 60 were within noise of each other


class Critic(NamedTuple):
    """Boosted and extremely randomised trees, some of each fold, and the slopes that make their mean log odds honest together.

    Two families, because candidates that one of them alone has chosen are told by the other.

    slopes    of the boosted and of the randomised
    success   AUC on rows that they did not learn from
    strength  share of the log odds that counts: half of them is a gentler choice, for when all cost too much privacy
    """

    boosted: tuple[Trees, ...]
    randomised: tuple[Trees, ...]
    slopes: tuple[float, float]
    success: float
    strength: float = 1.0

    def log_odds(self, values: np.ndarray) -> np.ndarray:
        """(rows, columns) float64, NaN for missing -> (rows,) log odds that a row is real, up to a constant."""
        said = (
            np.mean([trees(values) for trees in self.boosted], axis=0),
            np.mean([_odds(trees(values)) for trees in self.randomised], axis=0),
        )
        return self.strength * (self.slopes[0] * said[0] + self.slopes[1] * said[1])


def learn_critic(fake: np.ndarray, real: np.ndarray, *, seed: int) -> Critic:
    """A critic of `fake` against `real` (rows, columns each), cross-fitted so that its slopes are those of rows it did not see.

    How many rows each side has shifts all log odds alike, which changes no choice. A slope above 1 says that the trees are too
    timid, near 0 that they found nothing but noise.
    """
    from sklearn.linear_model import LogisticRegression

    values = np.concatenate([fake, real])
    label = np.repeat([0, 1], [len(fake), len(real)])
    fold = np.random.default_rng(seed).permutation(len(label)) % FOLDS
    makers = partial(randomised, trees=RANDOMISED, leaf=LEAF), partial(boosted, kind="classifier", trees=TREES)  # the longest work first
    work = [(maker, k) for maker in makers for k in range(FOLDS)]
    grown = tuple(on_cores(lambda one: one[0](values[fold != one[1]], label[fold != one[1]], seed=seed + one[1]), work))
    second, first = grown[:FOLDS], grown[FOLDS:]
    said = np.zeros((len(label), 2))
    for k in range(FOLDS):
        unseen = values[fold == k]
        said[fold == k] = np.stack([first[k](unseen), _odds(second[k](unseen))], axis=1)
    slopes = np.maximum(LogisticRegression(C=1e6).fit(said, label).coef_[0], 0)
    return Critic(first, second, (float(slopes[0]), float(slopes[1])), auc(said @ slopes, label))


def packed(critics: Sequence[Critic]) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Critics as plain values and arrays."""
    facts = [{"slopes": list(c.slopes), "success": c.success, "strength": c.strength, "folds": len(c.boosted)} for c in critics]
    arrays = {
        f"{at}.{kind}.{k}.{name}": getattr(trees, name)
        for at, critic in enumerate(critics)
        for kind in FAMILIES
        for k, trees in enumerate(getattr(critic, kind))
        for name in Trees._fields
    }
    return facts, arrays


def unpacked(facts: Sequence[Mapping[str, Any]], arrays: Mapping[str, np.ndarray], columns: int) -> tuple[Critic, ...]:
    """The inverse of `packed`, for critics of so many columns. ValueError or KeyError when the parts do not fit together."""
    critics = []
    for at, found in enumerate(facts):
        families = [
            tuple(Trees(*(arrays[f"{at}.{kind}.{k}.{name}"] for name in Trees._fields)) for k in range(int(found["folds"])))
            for kind in FAMILIES
        ]
        for trees in (*families[0], *families[1]):
            trees.check(columns)
        first, second = (float(slope) for slope in found["slopes"])
        critics.append(Critic(families[0], families[1], (first, second), float(found["success"]), float(found["strength"])))
    return tuple(critics)


def _odds(share: np.ndarray) -> np.ndarray:
    """Log odds of a share of leaves, which are never quite sure."""
    share = np.clip(share, 0.02, 0.98)
    return np.log(share / (1 - share))


def select(log_weights: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` different row numbers, drawn in proportion to the weights as far as no row is to be drawn twice.

    ValueError when there are fewer than `n` rows.
    """
    if len(log_weights) < n:
        raise ValueError(f"{len(log_weights)} candidates cannot give {n} rows")
    if n == 0:
        return np.zeros(0, np.int64)
    weights = chances(log_weights, n)
    order = rng.permutation(len(weights))
    until = np.cumsum(weights[order])
    at = np.searchsorted(until, (np.arange(n) + rng.random()) * (until[-1] / n), side="right")
    found = np.unique(order[np.minimum(at, len(order) - 1)])
    if len(found) < n:  # weights too far apart to be spread: the heaviest of the others
        others = np.setdiff1d(order, found)
        found = np.append(found, others[np.argsort(-log_weights[others], kind="stable")][: n - len(found)])
    return np.sort(found)


def chances(log_weights: np.ndarray, n: int) -> np.ndarray:
    """(rows,) how likely each is to be among `n` that are drawn: in proportion to the weights, but for those that are sure."""
    weights = np.exp(log_weights - log_weights.max())
    for _ in range(60):  # what lies above one draw is spread over the others, until none does
        weights = weights * (n / weights.sum())
        if weights.max() <= 1 + 1e-9:
            break
        weights = np.minimum(weights, 1.0)
    return np.minimum(weights, 1.0)


def balancing(log_weights: np.ndarray, stratum: np.ndarray, shares: np.ndarray, n: int) -> np.ndarray:
    """(strata,) what to add to the log weights of each stratum for it to have its share of `n` that are drawn (raking).

    stratum   (rows,) the number of each row's; shares: (strata,) that add to 1
    """
    added = np.zeros(len(shares))
    for _ in range(20):
        drawn = np.bincount(stratum, chances(log_weights + added[stratum], n), minlength=len(shares)) / n
        added = np.clip(added + np.log((shares + RAKED) / (drawn + RAKED)), -FURTHEST, FURTHEST)
    return added


def effective(log_weights: np.ndarray) -> float:
    """The share of the candidates that equally weighted rows would be worth (Kish): 1 when all weigh the same."""
    weights = np.exp(log_weights - log_weights.max())
    return float(weights.sum() ** 2 / (weights**2).sum() / len(weights))
