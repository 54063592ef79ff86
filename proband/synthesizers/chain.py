"""What every field is drawn from, given the fields before it: several predictors, weighed by what they say of patients unseen.

A field's distribution is a mixture (stacking; Wolpert, 1992; Smyth and Wolpert, 1999): a fine and a coarse forest, each plain and
smoothed over neighbouring numbers, for numbers a boosted prediction with its residual, and the masked network; the share among all
patients stands in where no forest can grow. The weights are found by expectation maximisation on held-out rows, field by field:
what only knows its own rows by heart gets little there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from proband import seeds
from proband.encode import Field, TableEncoder
from proband.stats.cores import on_cores
from proband.stats.trees import Trees, boosted
from proband.synthesizers.forest import Forest, grow, smoothed, telling_order

#: (patients in a leaf, trees) of the forests. A leaf of 10 sees what few patients share, one of 40 says little of any of them.
FORESTS = ((10, 24), (40, 24))
ASKED_AT_SPLIT = 0.5
#: How far apart in rank two numbers still speak for each other, as a share of the patients; 0: not at all.
#: Wider ones made held-out rows likelier still, but flattened what columns have to do with each other.
BANDWIDTHS = (0.0, 0.06)
#: A number of which the other columns explain this share of its variance is a score: told last, by prediction and residual.
SCORE = 0.6
LEAST = 0.04  # of a predictor's weight
FEWEST = 200  # patients with a value, for a prediction of it
_ASKED = 40  # columns that a prediction asks: those most correlated with its own
_LEARNED = 20_000  # rows it learns from at most: more make it slower, not better
_SCREENED = 3000
TREES = 120  # of a prediction
_WIDE = 120  # fields; a table of more has more forests and predictions, so each has a third of the trees
_CELLS = 100  # cells of a prediction, within each of which the residual has its own distribution

#: given(field, tokens) -> (rows, levels) of the network, for the fields drawn so far
Net = Callable[[int, np.ndarray], np.ndarray]


class Score(NamedTuple):
    """A boosted prediction of a number's rank from `predictors`, and per cell of it the share of every token, (cells, levels)."""

    predictors: np.ndarray
    trees: Trees
    edges: np.ndarray
    shares: np.ndarray

    def propose(self, places: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """(rows, levels); `missing` (rows,): how probable it is that there is no value, which is not the prediction's to say."""
        found = self.shares[np.searchsorted(self.edges, self.trees(_plain(places, self.predictors)))] * (1 - missing)[:, None]
        found[:, 0] = missing
        return found


@dataclass(frozen=True)
class Told:
    """The predictors of one field and their weights: `marginal` + one kernel (levels, levels) a forest + `score_weight` + `net` = 1."""

    marginal: float
    forests: tuple[Forest, ...]
    kernels: tuple[np.ndarray, ...]
    score: Score | None
    score_weight: float
    net: float

    @cached_property
    def weights(self) -> np.ndarray:
        """(1 + forests + 2,) of the share among all patients, each forest, the score and the network."""
        return np.array([self.marginal, *(kernel.sum() / len(kernel) for kernel in self.kernels), self.score_weight, self.net])


@dataclass(frozen=True)
class Chain:
    """A distribution for every field given those before it in `order`."""

    fields: tuple[Field, ...]
    order: tuple[int, ...]
    told: Mapping[int, Told]

    def heard(self, field: int, rows: int, rng: np.random.Generator) -> np.ndarray:
        """(rows, predictors) one 1 a row: the predictor that it hears, drawn by their weights; the network is the last."""
        weights = self.told[field].weights
        return np.eye(len(weights))[rng.choice(len(weights), rows, p=weights / weights.sum())]

    def propose(self, field: int, places: np.ndarray, net: Net | None, heard: np.ndarray | None = None) -> np.ndarray:
        """(rows, levels) given the fields before it in the chain's order; later ones are not looked at.

        places   (rows, fields) token + offset, below 0 where nothing is drawn yet
        heard    the one predictor that each row hears, in place of them all: what is drawn from it has the same distribution for a
                 fraction of the work (nearly the same, where rules forbid some of the tokens afterwards)
        """
        told, described = self.told[field], self.fields[field]
        tokens = np.floor(places).astype(np.int32)
        weights = told.weights if net is not None else told.weights * (np.arange(len(told.weights)) < len(told.weights) - 1)
        share = np.broadcast_to(weights, (len(tokens), len(weights))) if heard is None else heard
        found = share[:, :1] * _shares(described)
        missing, scored = np.zeros(len(tokens)), share[:, -2] > 0
        for at, (forest, kernel) in enumerate(zip(told.forests, told.kernels, strict=True), 1):
            rows = np.flatnonzero((share[:, at] > 0) | scored)
            if len(rows):
                proposed = forest.propose(tokens[rows], described.levels)
                found[rows] += (share[rows, at] / max(weights[at], 1e-12))[:, None] * (proposed @ kernel)
                missing[rows] += proposed[:, 0] / len(told.forests)
        if told.score is not None and scored.any():
            found[scored] += share[scored, -2:-1] * told.score.propose(places[scored], missing[scored])
        asked = share[:, -1] > 0
        if net is not None and asked.any():
            found[asked] += share[asked, -1:] * net(field, tokens[asked])
        return found


class Predictors(NamedTuple):
    """What was learned of one field, before it is weighed."""

    forests: tuple[Forest, ...]
    score: Score | None


def learn_predictors(
    fields: tuple[Field, ...],
    places: np.ndarray,
    order: tuple[list[int], list[int]],
    *,
    seed: int,
    threads: int,
    on_step: Callable[[int, int, str, Mapping[str, float]], None] | None = None,
) -> dict[int, Predictors]:
    """Forests of every field, and predictions of the scores, from `places` (rows, fields): token + offset.

    order   fields in order of telling, and the scores that come after them (`scores_last`)
    """
    whole = [*order[0], *order[1]]
    tokens = np.floor(places).astype(np.int32)

    def one(at: int) -> Predictors:
        field, before = whole[at], whole[:at]
        grown = (
            grow(
                fields,
                tokens,
                before,
                field,
                trees=trees if len(fields) <= _WIDE else trees // 3,
                leaf_patients=leaf,
                seed=seed,
                asked_at_split=ASKED_AT_SPLIT,
                smooth=False,
            )
            for leaf, trees in FORESTS
        )
        forests = tuple(forest for forest in grown if forest is not None)
        number = fields[field].numeric and fields[field].levels > 16 and fields[field].counts[1:].sum() >= FEWEST
        return Predictors(forests, _score(fields, places, before, field, seed) if forests and number else None)

    found: dict[int, Predictors] = {}
    for at, one_field in enumerate(on_cores(one, range(len(whole)), most=threads)):
        found[whole[at]] = one_field
        if on_step is not None:
            on_step(at + 1, len(whole), "columns", {})
    return found


def weighed(
    fields: tuple[Field, ...], order: Sequence[int], predictors: Mapping[int, Predictors], held: np.ndarray, net: Net | None
) -> dict[int, np.ndarray]:
    """Per field the weights of its predictors (share, forests by width, score, network), found on `held` (rows, fields) places."""
    seen, rows = np.floor(held).astype(np.int32), np.arange(len(held))
    weights = {}
    for at, field in enumerate(order):
        described, true = fields[field], seen[:, field]
        kernels, score, forests = _kernels(described), predictors[field].score, predictors[field].forests
        # The share among all patients stands in where there is no forest; beside one it would only dilute what columns have in common.
        said = [_shares(described)[true] * (not forests)]
        missing = np.zeros(len(seen))
        for forest in forests:
            proposed = forest.propose(seen, described.levels)
            missing += proposed[:, 0] / len(forests)
            said += [(proposed * each[:, true].T).sum(axis=1) for each in kernels]
        if score is not None:
            said.append(score.propose(held, missing)[rows, true])
        if net is not None:
            said.append(net(field, _only(seen, order[:at]))[rows, true])
        weights[field] = mixture(np.stack(said, axis=1))
    return weights


def woven(
    fields: tuple[Field, ...], order: Sequence[int], predictors: Mapping[int, Predictors], weights: Mapping[int, np.ndarray], *, net: bool
) -> Chain:
    """The chain of these predictors with these weights."""
    told = {}
    for field in order:
        forests, score = predictors[field]
        kernels, found = np.stack(_kernels(fields[field])), weights[field]
        parts = found[1 : 1 + len(forests) * len(kernels)].reshape(len(forests), len(kernels))
        rest = found[1 + parts.size :]
        told[field] = Told(
            marginal=float(found[0]),
            forests=forests,
            kernels=tuple(np.tensordot(part, kernels, axes=1) for part in parts),
            score=score,
            score_weight=float(rest[0]) if score is not None else 0.0,
            net=float(rest[-1]) if net else 0.0,
        )
    return Chain(fields, tuple(order), told)


def _kernels(field: Field) -> list[np.ndarray]:
    widths = [width for width in BANDWIDTHS if width] if field.numeric and field.levels > 6 else []
    return [np.eye(field.levels), *(kernel(field, width) for width in widths)]


def mixture(said: np.ndarray, rounds: int = 200) -> np.ndarray:
    """Weights (predictors,) that make the rows most likely: `said` (rows, predictors) are the probabilities of what was seen.

    What ends below LEAST is left out, which saves asking it.
    """
    said = said + 1e-9
    weights = np.full(said.shape[1], 1 / said.shape[1])
    for at in range(rounds):
        if at == rounds // 2:
            weights = np.where(weights < LEAST, 0, weights)
            weights /= weights.sum()
        share = said * weights
        weights = (share / share.sum(axis=1, keepdims=True)).sum(axis=0) + 0.5 * (weights > 0)
        weights /= weights.sum()
    return weights


def kernel(field: Field, bandwidth: float) -> np.ndarray:
    """(levels, levels) row by row what a token speaks for among its neighbours in rank."""
    from scipy import sparse

    found = np.asarray(smoothed(sparse.identity(field.levels, format="csr"), field, bandwidth).todense())
    nobody = found.sum(axis=1) == 0
    found[nobody, nobody] = 1.0
    return found


def scores_last(encoder: TableEncoder, places: np.ndarray, seed: int) -> tuple[list[int], list[int]]:
    """The order of telling: the schema's, and then the scores, the best explained last."""
    fields = encoder.fields
    order = telling_order(encoder)
    rest = list(order)
    scores: list[int] = []
    asked = [f for f in order if fields[f].numeric and fields[f].levels > 16]
    rng = seeds.generator(seed, "chain", "screen")
    some = rng.permutation(len(places))[: 2 * _SCREENED]
    explained = {f: _explained(fields, places[some], [o for o in rest if o != f], f, seed) for f in asked}
    # What is left explains less the fewer columns there are, so that an old figure is an upper bound: only the best is asked again.
    fresh = set(explained)
    while explained:
        best = max(explained, key=lambda f: (explained[f], -f))
        if explained[best] < SCORE:
            break
        if best not in fresh:
            explained[best] = _explained(fields, places[some], [o for o in rest if o != best], best, seed)
            fresh.add(best)
            continue
        scores.insert(0, best)
        rest.remove(best)
        del explained[best]
        fresh.clear()
    return rest, scores


def _explained(fields: tuple[Field, ...], places: np.ndarray, predictors: list[int], field: int, seed: int) -> float:
    """Share of the variance of a number's rank that others explain, in rows left out."""
    known = places[places[:, field] >= 1]
    if len(known) < 200 or not predictors:
        return 0.0
    half = len(known) // 2
    predictors = _nearest(known[:half], predictors, field)
    rank = _rank(fields[field])[known[:, field].astype(int)]
    trees = boosted(_plain(known[:half], np.array(predictors)), rank[:half], kind="regression", seed=seed, trees=40, rate=0.2)
    error = rank[half:] - trees(_plain(known[half:], np.array(predictors)))
    return float(1 - error.var() / max(rank[half:].var(), 1e-12))


def _nearest(places: np.ndarray, predictors: list[int], field: int) -> list[int]:
    """At most `_ASKED` of the predictors, those most correlated with the field, in their order."""
    if len(predictors) <= _ASKED:
        return predictors
    centred = places - places.mean(axis=0)
    spread = np.sqrt((centred**2).sum(axis=0)) + 1e-12
    related = np.abs(centred[:, predictors].T @ centred[:, field]) / spread[predictors]
    return sorted(np.array(predictors)[np.argsort(-related, kind="stable")[:_ASKED]].tolist())


def _score(fields: tuple[Field, ...], places: np.ndarray, before: Sequence[int], field: int, seed: int) -> Score:
    """The prediction of a score, and the distribution of its tokens around it, by predictions for rows left out."""
    levels = fields[field].levels
    rank = _rank(fields[field])
    tokens = np.floor(places).astype(np.int32)
    known = np.flatnonzero(tokens[:, field] > 0)
    rng = seeds.generator(seed, "chain", "score", field)
    if len(known) > _LEARNED:
        known = np.sort(rng.choice(known, _LEARNED, replace=False))
    predictors = np.array(_nearest(places[known], list(before), field), np.int32)
    fold = rng.permutation(len(known)) % 3
    rounds, rate = (TREES, 0.1) if len(fields) <= _WIDE else (TREES // 3, 0.2)
    seen, wanted = _plain(places, predictors), rank[tokens[:, field]]
    predicted = np.empty(len(known))
    for k in range(3):
        fit = known[fold != k]
        predicted[fold == k] = boosted(seen[fit], wanted[fit], kind="regression", seed=seed, trees=rounds, rate=rate)(
            seen[known[fold == k]]
        )
    trees = boosted(seen[known], wanted[known], kind="regression", seed=seed, trees=rounds, rate=rate)
    cells = int(np.clip(len(known) // 40, 1, _CELLS))
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, cells + 1)[1:-1]))
    table = np.zeros((len(edges) + 1, levels))
    np.add.at(table, (np.searchsorted(edges, predicted), tokens[known, field]), 1.0)
    # Neighbouring cells and neighbouring tokens speak for each other, so that no cell tells one patient's residual.
    table = table + 0.5 * (
        np.roll(table, 1, 0) * (np.arange(len(table)) > 0)[:, None]
        + np.roll(table, -1, 0) * (np.arange(len(table)) < len(table) - 1)[:, None]
    )
    near = kernel(fields[field], 0.04)
    table = 0.5 * table + 0.5 * table @ near + 1e-3 * _shares(fields[field])
    table[:, 0] = 0
    table = table / table.sum(axis=1, keepdims=True)
    return Score(predictors, trees, edges, table)


def _rank(field: Field) -> np.ndarray:
    """(levels,) the middle rank of every token among the patients that have a value; missing counts as the middle."""
    counts = field.counts.astype(float).copy()
    counts[0] = 0
    rank = (np.cumsum(counts) - counts / 2) / max(counts.sum(), 1.0)
    rank[0] = 0.5
    return rank


def _plain(places: np.ndarray, predictors: np.ndarray) -> np.ndarray:
    """(rows, predictors) places, missing as NaN."""
    found = places[:, predictors].astype(float)
    found[found < 1] = np.nan
    return found


def _shares(field: Field) -> np.ndarray:
    return field.counts / max(1, field.counts.sum())


def _only(tokens: np.ndarray, before: Sequence[int]) -> np.ndarray:
    """The tokens of `before`; the others as not drawn yet."""
    found = np.full_like(tokens, -1)
    found[:, list(before)] = tokens[:, list(before)]
    return found


def state(chain: Chain) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Plain data and arrays from which `restored` makes the same chain."""
    arrays: dict[str, np.ndarray] = {}
    plain: dict[str, Any] = {"order": list(chain.order), "told": {}}
    for field, told in chain.told.items():
        plain["told"][str(field)] = {
            "marginal": told.marginal,
            "score": told.score_weight,
            "net": told.net,
            "forests": len(told.forests),
            "scored": told.score is not None,
        }
        for at, (forest, weights) in enumerate(zip(told.forests, told.kernels, strict=True)):
            arrays |= {f"{field}.{at}.{name}": getattr(forest, name) for name in Forest._fields if name != "scores"}
            arrays[f"{field}.{at}.scores"] = np.concatenate(forest.scores)
            arrays[f"{field}.{at}.kernel"] = weights
        if told.score is not None:
            arrays |= {f"{field}.score.{name}": getattr(told.score, name) for name in ("predictors", "edges", "shares")}
            arrays |= {f"{field}.score.trees.{name}": getattr(told.score.trees, name) for name in Trees._fields}
    return plain, arrays


def restored(fields: tuple[Field, ...], plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Chain:
    """The inverse of `state`. ValueError when the parts do not fit together: a model folder is not trusted."""
    order = tuple(int(f) for f in plain["order"])
    if sorted(order) != list(range(len(fields))):
        raise ValueError("the order does not name every field once")
    told: dict[int, Told] = {}
    for field in order:
        found, levels = plain["told"][str(field)], fields[field].levels
        forests, kernels = [], []
        for at in range(int(found["forests"])):
            parts: dict[str, Any] = {name: arrays[f"{field}.{at}.{name}"] for name in Forest._fields}
            ends = np.cumsum([fields[p].levels for p in parts["predictors"]])[:-1]
            parts["scores"] = tuple(np.split(parts["scores"], ends))
            forests.append(Forest(**parts))
            forests[-1].check(fields, field)
            kernels.append(arrays[f"{field}.{at}.kernel"])
        score = None
        if found["scored"]:
            trees = Trees(*(arrays[f"{field}.score.trees.{name}"] for name in Trees._fields))
            part = {name: arrays[f"{field}.score.{name}"] for name in ("predictors", "edges", "shares")}
            score = Score(part["predictors"], trees, part["edges"], part["shares"])
            trees.check(len(score.predictors))
            if score.shares.shape != (len(score.edges) + 1, levels) or ((score.predictors < 0) | (score.predictors >= len(fields))).any():
                raise ValueError("a score does not fit its field")
        if any(k.shape != (levels, levels) or not np.isfinite(k).all() for k in kernels):
            raise ValueError("a kernel does not fit its field")
        told[field] = Told(float(found["marginal"]), tuple(forests), tuple(kernels), score, float(found["score"]), float(found["net"]))
    return Chain(fields, order, told)
