"""SequentialForest: one small forest for each field, given the fields drawn before it.

Sequential synthesis by trees is Reiter's (2005) and synthpop's (Nowok, Raab and Dibben, 2016). Here a field is told in
tokens, a few trees vote with the distributions of their leaves, and no leaf speaks for fewer than `leaf_patients` patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from proband import seeds
from proband.cohort import Cohort
from proband.encode import Field, TableEncoder
from proband.errors import InputError
from proband.schema import Schema
from proband.stats.cores import on_cores
from proband.stats.trees import ends, rooted, spans, walked
from proband.synthesizer import Model, OnStep, restore, write_model
from proband.synthesizers.drawing import draw, marked

_TREE_PATIENTS = 20_000  # rows a tree sees at most: more make it slower, not better
_PREDICTORS = 40  # fields a forest looks at: those most associated with its own
_BANDWIDTH = 0.08  # of the patients: how far apart in rank two numbers still speak for each other
_SCREENED = 5_000  # rows by which association is judged
_WAVES = 4  # cosines that describe where in its range a number lies
_CODE = 12  # numbers that stand for the levels of a category with more levels than `_LEVELS`
_LEVELS = 24


class Forest(NamedTuple):
    """The trees of one field as arrays, one after another.

    predictors   fields it looks at
    scores       per predictor: the number that each token counts as
    feature      per node: which predictor is asked, -1 in a leaf
    threshold    per node: at most this goes left, more goes right
    left, right  per node: its children, always further on
    roots        per tree: its first node
    leaf         per node: its row in `shares`
    shares       the leaves' distributions (leaves, levels), as the three arrays of a sparse matrix
    """

    predictors: np.ndarray
    scores: tuple[np.ndarray, ...]
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    roots: np.ndarray
    leaf: np.ndarray
    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray

    def propose(self, tokens: np.ndarray, levels: int) -> np.ndarray:
        """(rows, levels): the mean of the trees' distributions."""
        from scipy import sparse

        trees = len(self.roots)
        seen = np.stack([score[tokens[:, p]] for score, p in zip(self.scores, self.predictors, strict=True)], axis=1, dtype=np.float32)
        leaves = np.stack([self._leaves(seen, nodes) for nodes in spans(self.roots, len(self.feature))], axis=1)
        shares = sparse.csr_matrix((self.data, self.indices, self.indptr), shape=(len(self.indptr) - 1, levels))
        votes = sparse.csr_matrix(
            (np.full(leaves.size, 1 / trees), leaves.ravel(), np.arange(0, leaves.size + 1, trees)),
            shape=(len(tokens), len(self.indptr) - 1),
        )
        return (votes @ shares).toarray()

    def _leaves(self, seen: np.ndarray, nodes: slice) -> np.ndarray:
        """(rows,) the row in `shares` of the leaf that each row ends in."""
        left, right = self.left[nodes] - nodes.start, self.right[nodes] - nodes.start
        return self.leaf[nodes][walked(self.feature[nodes], self.threshold[nodes], left, right, seen)]

    def check(self, fields: tuple[Field, ...], field: int) -> None:
        """ValueError unless every walk ends in a leaf: a model folder is not trusted."""
        nodes = np.arange(len(self.feature))
        inner = self.feature >= 0
        if not rooted(self.roots, len(nodes)):
            raise ValueError("a tree has no root")
        walks = (
            (self.left[inner] > nodes[inner]).all()
            and (self.right[inner] > nodes[inner]).all()
            and (np.maximum(self.left, self.right) < ends(self.roots, len(nodes)))[inner].all()
            and (self.feature < len(self.predictors)).all()
            and (len(self.scores) == len(self.predictors) and ((self.predictors >= 0) & (self.predictors < len(fields))).all())
            and all(len(score) == fields[p].levels for score, p in zip(self.scores, self.predictors, strict=True))
        )
        speaks = (
            ((self.leaf >= -1) & (self.leaf < len(self.indptr) - 1)).all()
            and (self.leaf[~inner] >= 0).all()
            and (self.indptr[0] == 0 and self.indptr[-1] == len(self.data) == len(self.indices) and (np.diff(self.indptr) >= 0).all())
            and ((self.indices >= 0) & (self.indices < fields[field].levels)).all()
            and (np.isfinite(self.data).all() and (self.data >= 0).all())
        )
        if not (walks and speaks):
            raise ValueError("a tree does not end in leaves")


class SequentialForest:
    """Patients drawn field by field, each field from a small forest given the fields before it. Good in seconds.

    trees           trees a field; their leaves' distributions are averaged
    leaf_patients   training patients that a leaf of a tree speaks for, at least: fewer follow the data closer and remember more

    A cohort with several rows a patient is learned row by row, and every synthetic patient has one row.

    >>> made = SequentialForest().fit(cohort, seed=1).sample(1000, seed=2, where="age >= 80")  # doctest: +SKIP
    """

    name: ClassVar[str] = "forest"

    def __init__(self, *, trees: int = 8, leaf_patients: int = 20) -> None:
        for word, value in (("trees", trees), ("leaf_patients", leaf_patients)):
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{word} = {value!r} makes no forest. Give a whole number, 1 or more.")
        self.trees, self.leaf_patients = trees, leaf_patients
        self._encoder: TableEncoder | None = None
        self._order: list[int] = []
        self._forests: dict[int, Forest] = {}
        self._on_synthetic = False

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Learn from the train part of a cohort: one forest a field."""
        encoder = TableEncoder.fit(cohort)
        tokens = encoder.encode(cohort.frame).tokens
        order = telling_order(encoder)
        forests: dict[int, Forest] = {}

        def grown(at: int) -> Forest | None:
            return grow(encoder.fields, tokens, order[:at], order[at], trees=self.trees, leaf_patients=self.leaf_patients, seed=seed)

        for at, forest in enumerate(on_cores(grown, range(len(order)))):
            if forest is not None:
                forests[order[at]] = forest
            if on_step is not None:
                on_step(at + 1, len(order), "fit", {})
        self._encoder, self._order, self._forests, self._on_synthetic = encoder, order, forests, cohort.mark is not None
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` synthetic patients; every one keeps the schema's rules and satisfies `where`."""
        encoder = self._fitted()
        frame = draw(encoder, n, propose=self._propose, order=self._order, where=where, rng=seeds.generator(seed, "forest", "sample"))
        return marked(frame, encoder.schema, self.name, seed, where=where, on_synthetic=self._on_synthetic)

    def _propose(self, field: int, tokens: np.ndarray, latent: np.ndarray | None) -> np.ndarray:
        described = self._fitted().fields[field]
        if field in self._forests:
            return self._forests[field].propose(tokens, described.levels)
        return np.broadcast_to(described.counts / described.counts.sum(), (len(tokens), described.levels))

    def save(self, path: str | Path) -> None:
        """Write a model folder. It holds what leaves count and the sorted distinct values of numbers: guard it as you guard the data."""
        write_model(path, self.name, *self.state())

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain data and arrays of the fitted forest, as a model folder holds them."""
        encoder = self._fitted()
        plain, arrays = encoder.state()
        for field, forest in self._forests.items():
            arrays |= {f"forest.{field}.{name}": getattr(forest, name) for name in Forest._fields if name != "scores"}
            arrays[f"forest.{field}.scores"] = np.concatenate(forest.scores)
        config = {
            "schema": encoder.schema.model_dump(mode="json"), "encoder": plain, "order": self._order, "forests": sorted(self._forests),
            "trees": self.trees, "leaf_patients": self.leaf_patients, "on_synthetic": self._on_synthetic,
        }  # fmt: skip
        return config, arrays

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder written by `save`; raises InputError when it cannot be trusted."""
        return restore(path, cls.name, cls.rebuilt)

    @classmethod
    def rebuilt(cls, model: Model) -> Self:
        """The inverse of `state`. ValueError or KeyError when the parts do not fit together."""
        config, arrays = model.config, model.arrays
        made = cls(trees=config["trees"], leaf_patients=config["leaf_patients"])
        made._encoder = TableEncoder.restored(Schema.model_validate(config["schema"]), config["encoder"], arrays)
        fields = made._encoder.fields
        made._order, made._on_synthetic = [int(f) for f in config["order"]], bool(config["on_synthetic"])
        if sorted(made._order) != list(range(len(fields))):
            raise ValueError("the order does not name every field once")
        for field in config["forests"]:
            parts: dict[str, Any] = {name: arrays[f"forest.{field}.{name}"] for name in Forest._fields}
            ends = np.cumsum([fields[p].levels for p in parts["predictors"]])[:-1]
            parts["scores"] = tuple(np.split(parts["scores"], ends))
            made._forests[field] = Forest(**parts)
            made._forests[field].check(fields, field)
        return made

    @property
    def schema(self) -> Schema:
        """Of the patients that it learned from."""
        return self._fitted().schema

    @property
    def prefix(self) -> str:
        """How the identifiers of its patients begin."""
        return self._fitted().prefix

    def _fitted(self) -> TableEncoder:
        if self._encoder is None:
            raise InputError("This SequentialForest has not been fitted. Call fit(cohort, seed=...) or load(path) first.")
        return self._encoder


def telling_order(encoder: TableEncoder) -> list[int]:
    """The schema's order, but the base of a pair before what is told by it."""
    order: list[int] = []

    def put(field: int) -> None:
        if field not in order:
            pair = encoder.books[field].pair
            if pair is not None:
                put(encoder.index[pair.base])
            order.append(field)

    for field in range(len(encoder.fields)):
        put(field)
    return order


def grow(
    fields: tuple[Field, ...],
    tokens: np.ndarray,
    before: Sequence[int],
    field: int,
    *,
    trees: int,
    leaf_patients: int,
    seed: int,
    asked_at_split: float = 1.0,
    smooth: bool = True,
) -> Forest | None:
    """The forest of one field, or None where there is nothing to ask or nothing to tell.

    asked_at_split   share of the predictors that a split chooses from: less makes the trees differ more
    smooth           whether what a leaf says of a number is spread over neighbouring tokens
    """
    from scipy import sparse
    from sklearn.tree import DecisionTreeRegressor

    rng = seeds.generator(seed, "forest", field)
    target, described = tokens[:, field], fields[field]
    asked = [p for p in before if np.count_nonzero(fields[p].counts) > 1]
    if not asked or np.count_nonzero(described.counts) < 2 or len(tokens) < 2 * leaf_patients:
        return None
    screened = rng.permutation(len(tokens))[:_SCREENED]
    related = [_related(tokens[screened, p], fields[p], target[screened], described, leaf_patients) for p in asked]
    best = sorted(sorted(range(len(asked)), key=lambda j: -related[j][1])[:_PREDICTORS])
    predictors = [asked[j] for j in best]
    scores = [
        np.arange(fields[asked[j]].levels, dtype=np.float32) if fields[asked[j]].numeric else related[j][0].astype(np.float32) for j in best
    ]
    seen = np.stack([score[tokens[:, p]] for score, p in zip(scores, predictors, strict=True)], axis=1)
    wanted = _described(described, seed)[target]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("feature", "threshold", "left", "right", "leaf")}
    shares, roots, nodes, leaves = [], [], 0, 0
    for _ in range(trees):
        # Each tree is shaped by 80 % of the patients, and its leaves speak for all of them.
        rows = rng.permutation(len(tokens))[: min(_TREE_PATIENTS, int(np.ceil(0.8 * len(tokens))))]
        grown = DecisionTreeRegressor(
            min_samples_leaf=leaf_patients, max_features=asked_at_split, random_state=int(rng.integers(2**31))
        ).fit(seen[rows], wanted[rows])
        tree = grown.tree_
        last = tree.children_left < 0
        number = np.cumsum(last) - 1
        counts = sparse.csr_matrix((np.ones(len(target)), (number[grown.apply(seen)], target)), shape=(int(last.sum()), described.levels))
        shares.append(sparse.diags(1 / np.asarray(counts.sum(axis=1)).ravel()) @ counts)
        roots.append(nodes)
        parts["feature"].append(np.where(last, -1, tree.feature))
        parts["threshold"].append(tree.threshold)
        parts["left"].append(np.where(last, -1, tree.children_left + nodes))
        parts["right"].append(np.where(last, -1, tree.children_right + nodes))
        parts["leaf"].append(np.where(last, number + leaves, -1))
        nodes, leaves = nodes + len(last), leaves + int(last.sum())
    joined = sparse.vstack(shares, format="csr")
    joined = smoothed(joined, described, _BANDWIDTH) if smooth else joined
    joined.sort_indices()
    whole = {name: np.concatenate(found).astype(np.int32) for name, found in parts.items() if name != "threshold"}
    return Forest(
        predictors=np.array(predictors, np.int32),
        scores=tuple(scores),
        threshold=np.concatenate(parts["threshold"]),
        roots=np.array(roots, np.int32),
        data=joined.data,
        indices=joined.indices.astype(np.int32),
        indptr=joined.indptr.astype(np.int32),
        **whole,
    )


def smoothed(shares: Any, field: Field, bandwidth: float) -> Any:
    """(leaves, levels): what a leaf says of a number, smoothed over its neighbours: the ratio to the marginal, so heaps stay heaps.

    A patient who is one of twenty in a leaf would otherwise draw that leaf to the very value; in a narrow table, column after
    column, such rows came out as near copies.
    """
    from scipy import sparse

    if not field.numeric:
        return shares
    marginal = field.counts / max(1, field.counts.sum())
    known = marginal.copy()
    known[0] = 0  # missing is no number
    rank = (np.cumsum(known) - known / 2) / max(known.sum(), 1e-12)
    kernel = np.maximum(0, 1 - np.abs(rank[:, None] - rank[None, :]) / bandwidth)
    kernel[0, :] = kernel[:, 0] = 0
    kernel[0, 0] = 1
    reach = marginal @ kernel
    scale = np.divide(marginal, reach, out=np.zeros_like(marginal), where=(marginal > 0) & (reach > 0))
    near = (shares @ sparse.csr_matrix(kernel)) @ sparse.diags(scale)
    total = np.asarray(near.sum(axis=1)).ravel()
    return (sparse.diags(1 / np.where(total > 0, total, 1)) @ near).tocsr()


def _described(field: Field, seed: int) -> np.ndarray:
    """(levels, dims): what a tree tries to keep alike in a leaf: cosines of a number's rank, or a category's levels."""
    counts = field.counts[1:].astype(float)
    missing = np.zeros((field.levels, 1))
    missing[0] = 1
    if field.numeric and field.levels > 6:
        rank = np.concatenate([[0.0], (np.cumsum(counts) - counts / 2) / max(1.0, counts.sum())])
        waves = np.stack([np.cos(np.pi * wave * rank) for wave in range(1, _WAVES + 1)], axis=1)
        waves[0] = 0
        return np.concatenate([waves, missing], axis=1)
    if field.levels <= _LEVELS:
        return np.eye(field.levels)
    return seeds.generator(seed, "forest", "levels", field.name).normal(size=(field.levels, _CODE)) / np.sqrt(_CODE)


def _related(x: np.ndarray, one: Field, y: np.ndarray, other: Field, fewest: int) -> tuple[np.ndarray, float]:
    """The first scores of a correspondence analysis for the tokens of `one` (levels,), and how closely the two fields are related.

    A split needs an order, and categories have none: this is the order that tells most about the other field. Levels with
    fewer than `fewest` patients stay in the middle, so that no score is one patient's.
    """
    table = np.bincount(x.astype(np.int64) * other.levels + y, minlength=one.levels * other.levels).reshape(one.levels, other.levels) / len(
        x
    )
    used, told = np.flatnonzero(table.sum(axis=1) * len(x) >= fewest), np.flatnonzero(table.sum(axis=0) > 0)
    scores = np.zeros(one.levels)
    if not len(used):
        return scores, 0.0
    rows, columns = table.sum(axis=1)[used], table.sum(axis=0)[told]
    expected = np.outer(rows, columns)
    residual = (table[np.ix_(used, told)] - expected) / np.sqrt(expected)
    if not one.numeric:
        axes, strength, _ = np.linalg.svd(residual, full_matrices=False)
        first = axes[:, 0] * np.sign(axes[np.argmax(np.abs(axes[:, 0])), 0])  # the sign of an axis is arbitrary
        scores[used] = first * strength[0] / np.sqrt(rows)
    return scores, float((residual**2).sum() / np.sqrt((len(rows) or 1) * (len(columns) or 1)))
