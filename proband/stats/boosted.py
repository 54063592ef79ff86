"""Boosted trees as plain arrays: learned by scikit-learn, walked here, so that they can be saved without pickle."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

_CELLS = 4_000_000  # row-tree walks in memory at once


class Boosted(NamedTuple):
    """A sum of trees: `base` plus the leaf of every tree.

    roots                    (trees,) first node of each tree
    feature, threshold       (nodes,) go left where value <= threshold; feature -1: a leaf
    missing_left             (nodes,) whether a missing value goes left
    left, right              (nodes,) the next nodes, always further down
    value                    (nodes,) what a leaf adds
    base                     (1,)
    """

    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    base: np.ndarray

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(rows, columns) float64, NaN for missing -> (rows,): log odds of a classifier, the prediction of a regression."""
        step = max(1, _CELLS // max(1, len(self.roots)))
        parts = [self._walked(values[start : start + step]) for start in range(0, len(values), step)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _walked(self, values: np.ndarray) -> np.ndarray:
        width = values.shape[1]
        flat = np.ascontiguousarray(values, float).ravel()
        node = np.tile(self.roots.astype(np.int64), len(values))
        place = np.repeat(np.arange(len(values)) * width, len(self.roots))
        walking = np.flatnonzero(self.feature[node] >= 0)
        while len(walking):
            at = node[walking]
            seen = flat[place[walking] + self.feature[at]]
            left = np.where(np.isnan(seen), self.missing_left[at], seen <= self.threshold[at])
            node[walking] = np.where(left, self.left[at], self.right[at])
            walking = walking[self.feature[node[walking]] >= 0]
        return self.base[0] + self.value[node].reshape(len(values), len(self.roots)).sum(axis=1)

    def check(self, columns: int) -> None:
        """ValueError unless every walk through `columns` columns ends in a leaf: a model folder is not trusted."""
        nodes = np.arange(len(self.feature))
        inner = self.feature >= 0
        same = {len(part) for part in (self.feature, self.threshold, self.missing_left, self.left, self.right, self.value)}
        sound = (
            len(same) == 1
            and len(self.base) == 1
            and ((self.roots >= 0) & (self.roots < len(nodes))).all()
            and (self.feature < columns).all()
            and (self.left[inner] > nodes[inner]).all()
            and (self.right[inner] > nodes[inner]).all()
            and (np.maximum(self.left, self.right)[inner] < len(nodes)).all()
            and np.isfinite(self.value).all()
            and np.isfinite(self.base).all()
        )
        if not sound:
            raise ValueError("boosted trees do not end in leaves")


def readable(values: np.ndarray) -> np.ndarray:
    """`values`, a column that nobody has filled with zeros: the library cannot bin it, and no tree will ask it."""
    empty = np.isnan(values).all(axis=0)
    return np.where(empty, 0.0, values) if empty.any() else values


def boosted(
    values: np.ndarray,
    target: np.ndarray,
    *,
    kind: str,
    seed: int,
    trees: int = 100,
    leaves: int = 15,
    rate: float = 0.1,
    share: float = 1.0,
) -> Boosted:
    """Boosted trees fitted to `target`: labels 0 and 1 (kind "classifier") or numbers (kind "regression"). One thread, no early stop.

    share   of the columns that a split chooses from, at random
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    maker: Any = HistGradientBoostingClassifier if kind == "classifier" else HistGradientBoostingRegressor
    model = maker(
        max_iter=trees,
        max_leaf_nodes=leaves,
        learning_rate=rate,
        l2_regularization=1.0,
        max_features=min(share, max(0.1, 60 / values.shape[1])),
        early_stopping=False,
        random_state=seed % 2**31,
    )
    with threadpool_limits(1):
        model.fit(readable(values), target)
    nodes = [each[0].nodes for each in model._predictors]
    sizes = np.array([len(each) for each in nodes])
    roots = np.cumsum(sizes) - sizes
    shift = np.repeat(roots, sizes)
    joined = np.concatenate(nodes)
    leaf = joined["is_leaf"].astype(bool)
    return Boosted(
        roots=roots.astype(np.int32),
        feature=np.where(leaf, -1, joined["feature_idx"]).astype(np.int32),
        threshold=joined["num_threshold"].astype(float),
        missing_left=joined["missing_go_to_left"].astype(bool),
        left=np.where(leaf, 0, joined["left"] + shift).astype(np.int32),
        right=np.where(leaf, 0, joined["right"] + shift).astype(np.int32),
        value=np.where(leaf, joined["value"], 0.0),
        base=np.array([float(np.ravel(model._baseline_prediction)[0])]),
    )
