"""Trees as plain arrays: learned by scikit-learn, kept here, so that they can be saved without pickle."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Trees(NamedTuple):
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
        """(rows, columns), NaN for missing -> (rows,) the sum: log odds of `boosted` labels, the share of `randomised` ones."""
        seen, found = single(values), np.full(len(values), self.base[0])
        for own in spans(self.roots, len(self.feature)):
            left, right = self.left[own] - own.start, self.right[own] - own.start
            nodes = walked(self.feature[own], self.threshold[own], left, right, seen, self.missing_left[own])
            found += self.value[own][nodes]
        return found

    def check(self, columns: int) -> None:
        """ValueError unless every walk through `columns` columns ends in a leaf: a model folder is not trusted."""
        nodes = np.arange(len(self.feature))
        inner = self.feature >= 0
        same = {len(part) for part in (self.feature, self.threshold, self.missing_left, self.left, self.right, self.value)}
        sound = (
            len(same) == 1
            and len(self.base) == 1
            and rooted(self.roots, len(nodes))
            and (self.feature < columns).all()
            and (self.left[inner] > nodes[inner]).all()
            and (self.right[inner] > nodes[inner]).all()
            and (np.maximum(self.left, self.right) < ends(self.roots, len(nodes)))[inner].all()
            and np.isfinite(self.value).all()
            and np.isfinite(self.base).all()
        )
        if not sound:
            raise ValueError("the trees do not end in leaves")


def rooted(roots: np.ndarray, nodes: int) -> bool:
    """Whether the first tree begins with the first of `nodes` nodes, and every other further on."""
    return len(roots) > 0 and bool(roots[0] == 0 and (np.diff(roots) > 0).all() and roots[-1] < nodes)


def spans(roots: np.ndarray, nodes: int) -> list[slice]:
    """The nodes of each tree."""
    return [slice(root, end) for root, end in zip(roots.tolist(), [*roots[1:].tolist(), nodes], strict=True)]


def ends(roots: np.ndarray, nodes: int) -> np.ndarray:
    """(nodes,) one past the last node of each node's own tree."""
    return np.append(roots[1:], nodes)[np.searchsorted(roots, np.arange(nodes), side="right") - 1]


def walked(
    feature: np.ndarray,
    threshold: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    seen: np.ndarray,
    missing_left: np.ndarray | None = None,
) -> np.ndarray:
    """(rows,) the leaf of one tree in which each row of `seen` (float32) ends. scikit-learn's tree walks ten times as fast as arrays."""
    from sklearn.tree._tree import NODE_DTYPE, Tree

    own, leaf = np.zeros(len(feature), NODE_DTYPE), feature < 0
    own["left_child"], own["right_child"] = np.where(leaf, -1, left), np.where(leaf, -1, right)
    own["feature"], own["threshold"] = np.where(leaf, -2, feature), threshold
    if missing_left is not None:
        own["missing_go_to_left"] = missing_left
    tree = Tree(seen.shape[1], np.ones(1, np.intp), 1)
    tree.__setstate__({"max_depth": len(own), "node_count": len(own), "nodes": own, "values": np.zeros((len(own), 1, 1))})
    return np.asarray(tree.apply(seen))


def single(values: np.ndarray) -> np.ndarray:
    """`values` in single precision, in which the trees are learned and walked; what is too large for it is the largest there is."""
    most = np.finfo(np.float32).max
    return np.ascontiguousarray(np.clip(values, -most, most), np.float32)


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
) -> Trees:
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
    with threadpool_limits(1, user_api="openmp"):
        model.fit(readable(single(values).astype(float)), target)
    nodes = [each[0].nodes for each in model._predictors]
    sizes = np.array([len(each) for each in nodes])
    roots = np.cumsum(sizes) - sizes
    shift = np.repeat(roots, sizes)
    joined = np.concatenate(nodes)
    leaf = joined["is_leaf"].astype(bool)
    return Trees(
        roots=roots.astype(np.int32),
        feature=np.where(leaf, -1, joined["feature_idx"]).astype(np.int32),
        threshold=joined["num_threshold"].astype(float),
        missing_left=joined["missing_go_to_left"].astype(bool),
        left=np.where(leaf, 0, joined["left"] + shift).astype(np.int32),
        right=np.where(leaf, 0, joined["right"] + shift).astype(np.int32),
        value=np.where(leaf, joined["value"], 0.0),
        base=np.array([float(np.ravel(model._baseline_prediction)[0])]),
    )


def randomised(values: np.ndarray, target: np.ndarray, *, seed: int, trees: int = 100, leaf: int = 5) -> Trees:
    """Extremely randomised trees (Geurts et al., 2006) of labels 0 and 1: the share of ones. They cut where boosted trees do not look."""
    from sklearn.ensemble import ExtraTreesClassifier

    model = ExtraTreesClassifier(trees, min_samples_leaf=leaf, max_features=0.5, n_jobs=1, random_state=seed % 2**31)
    grown = [each.tree_ for each in model.fit(single(values), target).estimators_]
    sizes = np.array([each.node_count for each in grown])
    roots = np.cumsum(sizes) - sizes
    shift = np.repeat(roots, sizes)
    left, right = (np.concatenate([getattr(each, side) for each in grown]) for side in ("children_left", "children_right"))
    last = left < 0
    share = np.concatenate([each.value[:, 0, 1] / each.value[:, 0].sum(axis=1) for each in grown])
    return Trees(
        roots=roots.astype(np.int32),
        feature=np.where(last, -1, np.concatenate([each.feature for each in grown])).astype(np.int32),
        threshold=np.concatenate([each.threshold for each in grown]),
        missing_left=np.concatenate([each.missing_go_to_left for each in grown]).astype(bool),
        left=np.where(last, 0, left + shift).astype(np.int32),
        right=np.where(last, 0, right + shift).astype(np.int32),
        value=np.where(last, share / trees, 0.0),
        base=np.zeros(1),
    )
