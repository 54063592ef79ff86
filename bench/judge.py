"""One judge for every tool's table: frames in, plain numbers out. It is not `proband validate`: other trees, other families, other code.

    judge(train, holdout, reference, synthetic, target="death_180d", seed=1)  ->  {"detection_raw": 0.57, ...}

Unseen patients are holdout and reference together. What each figure means stands in FIGURES. About a minute on one core for
9,000 patients of 35 columns. `judge_real` gives the same figures for real patients against real patients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from proband import seeds
from proband.privacy.patients import Embedding
from proband.schema import Column, Schema
from proband.stats.classifiers import boosted_trees, logistic
from proband.stats.discrimination import auc
from proband.stats.neighbours import nearest, row_hashes
from proband.stats.trees import readable
from proband.validate.allowed import format_broken, rules_broken
from proband.validate.evidence import gather

#: The figures, and what each is.
FIGURES = {
    "detection_raw": "AUC of boosted trees (100 of 31 leaves, 5 folds), synthetic v unseen patients, raw values; 0.5 is a guess",
    "detection_binned": "the same with numbers in 20 quantile bins of the training patients",
    "train_raw": "as detection_raw, against training patients",
    "train_binned": "as detection_binned, against training patients",
    "extra_trees": "AUC of 300 extremely randomised trees, synthetic v unseen patients",
    "logistic": "AUC of a logistic regression (levels one-hot, flags for missing values), synthetic v unseen patients",
    "shapes": "mean over columns of 1 - KS (numbers) or 1 - total variation (levels), synthetic v training patients",
    "pairs": "mean over pairs of 1 - |difference of Pearson correlations| / 2 (numbers), else 1 - total variation of their table",
    "association": "mean |difference| of association over pairs: |Spearman|, Cramer's V or the correlation ratio; v training patients",
    "missing": "mean |difference| of the share of patients missing a column, and missing both of a pair; v training patients",
    "tstr": "mean AUROC of boosted trees and logistic regression for the target, trained on synthetic patients, tested on unseen ones",
    "trtr": "the same, trained on the training patients",
    "tstr_ratio": "tstr / trtr for the target",
    "tstr_targets": "mean ratio over the target and up to four other columns; `targets` has each",
    "tstr_worst": "the lowest of those ratios",
    "mia_auc": "membership: AUC of the reference-calibrated nearest-neighbour attack, mean of 6 splits of the unseen patients",
    "mia_tpr": "its true-positive rate at 1 % false positives, mean of the same splits; 0.01 is chance",
    "rules": "share of rows that break a rule that holds in every real row",
    "off_format": "share of rows with a value off its column's format, bounds or levels; cells of another type count as empty elsewhere",
    "copies": "share of rows equal to a training patient in every column",
}

TREES, FOLDS, SPLITS = 300, 5, 6
#: Table cells that a judge reads of each side, as in proband.validate.
CELLS = 500_000


def judge(
    train: pl.DataFrame,
    holdout: pl.DataFrame,
    reference: pl.DataFrame,
    synthetic: pl.DataFrame | Path,
    target: str | None = None,
    seed: int = 1,
    *,
    schema: Schema | None = None,
) -> dict[str, Any]:
    """The FIGURES of a synthetic table (a frame, or a file).

    `schema` is guessed from all real patients unless given; cells that it cannot read count as off format.
    """
    evidence, _ = gather(train, holdout, synthetic, reference=reference, target=target, schema=_schema(schema, train, holdout, reference))
    columns = _columns(evidence.train.schema)
    coding = Coding(columns, evidence.train.frame)
    fitted, made = evidence.train.frame, evidence.synthetic.frame
    unseen = pl.concat([evidence.holdout.frame, evidence.reference.frame])
    off = format_broken(evidence)
    found: dict[str, Any] = {}
    n = min(made.height, unseen.height, max(CELLS // len(columns), 500))
    ours, others = _rows(made, n, seed, "made"), _rows(unseen, n, seed, "unseen")
    learned = _rows(fitted, min(n, fitted.height), seed, "train")
    found |= detections(coding, ours, others, seed)
    for name, read in (("train_raw", coding.raw), ("train_binned", coding.binned)):
        found[name] = two_sample(read(ours), read(learned), _boosted, seed)
    found |= closeness(coding, made, fitted)
    found |= usefulness(coding, fitted, made, unseen, _targets(evidence.train.schema, columns, fitted, target), seed)
    found |= membership(columns, fitted, unseen, made, seed)
    found["rules"] = rules_broken(evidence).value
    found["off_format"] = off.value
    found["copies"] = float(np.isin(coding.hashes(made), coding.hashes(fitted)).mean())
    found["off_columns"] = off.detail["columns"]
    return found


def judge_real(
    train: pl.DataFrame,
    holdout: pl.DataFrame,
    reference: pl.DataFrame,
    target: str | None = None,
    seed: int = 1,
    *,
    schema: Schema | None = None,
) -> dict[str, Any]:
    """The FIGURES of real patients against real patients.

    Detection tells one random half of all patients from the other, at the size that `judge` uses. For all else the reference
    patients play the synthetic ones and the holdout the unseen ones: fewer than a synthetic table has, so that distances are
    larger and models weaker by what the smaller size alone does. Copies of training patients here are chance.
    """
    schema = _schema(schema, train, holdout, reference)
    half = holdout.height // 2
    found = judge(train, holdout[:half], holdout[half:], reference, target, seed, schema=schema)
    everyone = _rows(pl.concat([train, holdout, reference]), train.height + holdout.height + reference.height, seed, "halves")
    columns = _columns(schema)
    n = min(holdout.height + reference.height, everyone.height // 2, max(CELLS // len(columns), 500))
    found |= detections(Coding(columns, train), everyone[:n], everyone[n : 2 * n], seed)
    return found | {"train_raw": None, "train_binned": None}


def detections(coding: Coding, made: pl.DataFrame, real: pl.DataFrame, seed: int) -> dict[str, float]:
    """The four judges of synthetic against real rows."""
    return {
        "detection_raw": two_sample(coding.raw(made), coding.raw(real), _boosted, seed),
        "detection_binned": two_sample(coding.binned(made), coding.binned(real), _boosted, seed),
        "extra_trees": two_sample(coding.raw(made), coding.raw(real), _extra, seed),
        "logistic": two_sample(coding.raw(made), coding.raw(real), lambda x, y, z, s: logistic(x, y, z, coding.levels), seed),
    }


def two_sample(made: np.ndarray, real: np.ndarray, fit: Callable[..., np.ndarray], seed: int) -> float:
    """Mean over folds of the AUC with which a classifier tells `made` from `real`, each row judged by one that never saw it."""
    values, labels = np.concatenate([made, real]), np.repeat([1, 0], [len(made), len(real)])
    fold = seeds.generator(seed, "folds").permutation(len(labels)) % FOLDS
    return float(
        np.mean([auc(fit(values[fold != k], labels[fold != k], values[fold == k], seed), labels[fold == k]) for k in range(FOLDS)])
    )


def closeness(coding: Coding, made: pl.DataFrame, real: pl.DataFrame) -> dict[str, float]:
    """Shapes and pairs after the published definition of SDMetrics, association and missing values."""
    one, other = coding.raw(made), coding.raw(real)
    shapes, pairs, association = [], [], []
    absent, expected = np.isnan(one).astype(float), np.isnan(other).astype(float)
    codes = [
        np.column_stack([_tenths(values, other)[:, c] if not coding.levels[c] else _whole(values[:, c]) for c in range(other.shape[1])])
        for values in (one, other)
    ]
    for c in range(other.shape[1]):
        if coding.levels[c]:
            shapes.append(1 - _variation(codes[0][:, [c]], codes[1][:, [c]]))
        else:
            shapes.append(1 - _kolmogorov(one[:, c], other[:, c]))
    for a, b in combinations(range(other.shape[1]), 2):
        kinds = coding.levels[a], coding.levels[b]
        if not any(kinds):
            pairs.append(1 - abs(_pearson(one[:, a], one[:, b]) - _pearson(other[:, a], other[:, b])) / 2)
        else:
            pairs.append(1 - _variation(codes[0][:, [a, b]], codes[1][:, [a, b]]))
        association.append(abs(_association(one[:, a], one[:, b], kinds) - _association(other[:, a], other[:, b], kinds)))
    holes = np.flatnonzero(expected.any(0) | absent.any(0))
    gap = np.abs(absent[:, holes].T @ absent[:, holes] / len(absent) - expected[:, holes].T @ expected[:, holes] / len(expected))
    return {
        "shapes": float(np.mean(shapes)),
        "pairs": float(np.nanmean(pairs)),
        "association": float(np.nanmean(association)),
        "missing": float(gap[np.triu_indices(len(holes))].mean()) if len(holes) else 0.0,
    }


def usefulness(
    coding: Coding, train: pl.DataFrame, made: pl.DataFrame, unseen: pl.DataFrame, targets: list[tuple[str, Any]], seed: int
) -> dict[str, Any]:
    """AUROC on unseen patients of models trained on synthetic ones (as many as there are training patients), over those trained on real."""
    if not targets:
        return {}
    made = _rows(made, min(made.height, train.height), seed, "trained on")
    each = {}
    for name, cut in targets:
        at = coding.names.index(name)
        kept = np.arange(len(coding.names)) != at
        tables = [coding.raw(frame) for frame in (made, train, unseen)]
        known = [~np.isnan(values[:, at]) for values in tables]
        outcome = [cut(values[rows, at]) for values, rows in zip(tables, known, strict=True)]
        inputs = [values[rows][:, kept] for values, rows in zip(tables, known, strict=True)]
        scored = []
        for learned, labels in ((inputs[0], outcome[0]), (inputs[1], outcome[1])):
            models = [fit(learned, labels, inputs[2], coding.levels[kept]) for fit in (boosted_trees, logistic)]
            scored.append(float(np.mean([auc(probabilities, outcome[2]) for probabilities in models])))
        each[name] = {"tstr": scored[0], "trtr": scored[1], "ratio": scored[0] / scored[1]}
    ratios = [one["ratio"] for one in each.values()]
    first = next(iter(each.values()))
    return {
        "tstr": first["tstr"],
        "trtr": first["trtr"],
        "tstr_ratio": first["ratio"],
        "tstr_targets": float(np.mean(ratios)),
        "tstr_worst": min(ratios),
        "targets": each,
    }


def membership(columns: list[Column], train: pl.DataFrame, unseen: pl.DataFrame, made: pl.DataFrame, seed: int) -> dict[str, float]:
    """Who was trained on? Score: log distance to the nearest reference patient minus log distance to the nearest synthetic one.

    Each split makes one half of the unseen patients the attacker's reference and the other the non-members; as many members are drawn.
    """
    names = [column.name for column in columns]
    embed = Embedding(tuple(columns), unseen.select(names), seed=seed)
    members, others, shown = (embed(frame.select(names)) for frame in (train, unseen, _rows(made, min(made.height, 50_000), seed, "shown")))
    to_made = [nearest(side, shown, 1)[0][:, 0] for side in (members, others)]
    aucs, rates = [], []
    for split in range(SPLITS):
        draw = seeds.generator(seed, "reference split", split)
        order = draw.permutation(len(others))
        known, outside = order[: len(order) // 2], order[len(order) // 2 :]
        inside = draw.permutation(len(members))[: len(outside)]
        scores = [
            np.log(nearest(side[rows], others[known], 1)[0][:, 0] + 1e-6) - np.log(near[rows] + 1e-6)
            for side, rows, near in ((members, inside, to_made[0]), (others, outside, to_made[1]))
        ]
        labels = np.repeat([1, 0], [len(inside), len(outside)])
        aucs.append(auc(np.concatenate(scores), labels))
        rates.append(float(np.mean(scores[0] > np.quantile(scores[1], 0.99))))
    return {"mia_auc": float(np.mean(aucs)), "mia_tpr": float(np.mean(rates)), "mia_spread": float(np.ptp(aucs))}


@dataclass(frozen=True)
class Coding:
    """Frames as matrices: numbers as they are (dates in days, times in their unit), levels as ranks by frequency among `train`."""

    columns: list[Column]
    train: pl.DataFrame

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @cached_property
    def levels(self) -> np.ndarray:
        return np.array([not column.numeric for column in self.columns])

    @cached_property
    def _ranks(self) -> dict[str, list[str]]:
        found = {}
        for column in self.columns:
            if not column.numeric:
                counts = self.train[column.name].drop_nulls().cast(pl.String).alias("level").value_counts(name="rows")
                found[column.name] = counts.sort(["rows", "level"], descending=[True, False])["level"].to_list()
        return found

    @cached_property
    def _edges(self) -> list[np.ndarray]:
        values = self.raw(self.train)
        steps = np.arange(1, 20) / 20
        return [
            np.unique(np.nanquantile(values[:, c], steps)) if not np.isnan(values[:, c]).all() else np.empty(0)
            for c in range(values.shape[1])
        ]

    def raw(self, frame: pl.DataFrame) -> np.ndarray:
        """(rows, columns) float64, NaN for missing; levels that no training patient has share one code."""
        made = np.empty((frame.height, len(self.columns)))
        for at, column in enumerate(self.columns):
            series = frame[column.name]
            if column.numeric:
                made[:, at] = series.to_physical().cast(pl.Float64).fill_null(float("nan")).to_numpy()
            else:
                levels = self._ranks[column.name]
                codes = series.cast(pl.String).replace_strict(
                    levels, list(range(len(levels))), default=len(levels), return_dtype=pl.Float64
                )
                made[:, at] = (
                    pl.select(pl.when(series.is_null()).then(None).otherwise(codes)).to_series().fill_null(float("nan")).to_numpy()
                )
        return made

    def binned(self, frame: pl.DataFrame) -> np.ndarray:
        """The same with every number in one of 20 bins."""
        values = self.raw(frame)
        for c in np.flatnonzero(~self.levels):
            known = ~np.isnan(values[:, c])
            values[known, c] = np.searchsorted(self._edges[c], values[known, c], side="right")
        return values

    def hashes(self, frame: pl.DataFrame) -> np.ndarray:
        """One hash a row over all columns."""
        return row_hashes(np.nan_to_num(self.raw(frame), nan=-1e300).T.copy().view(np.int64))


def _schema(schema: Schema | None, *parts: pl.DataFrame) -> Schema:
    return schema or Schema.guess(pl.concat(parts, how="vertical_relaxed")).accept()


def _columns(schema: Schema) -> list[Column]:
    """The columns that are compared: all but identifiers and free text."""
    return [c for c in schema.table.columns if c.kind not in ("identifier", "text") and c.name != schema.table.key]


def _rows(frame: pl.DataFrame, n: int, seed: int, what: str) -> pl.DataFrame:
    return frame[seeds.generator(seed, "judge", what).permutation(frame.height)[:n]]


def _targets(schema: Schema, columns: list[Column], train: pl.DataFrame, target: str | None) -> list[tuple[str, Any]]:
    """The target and up to two further columns of levels and two of numbers, none of them in a rule, which would give it away.

    Of levels the commonest is told from the others, of numbers the upper half from the lower.
    """
    ruled = " ".join(rule.sql for rule in schema.rules)
    free = [column for column in columns if column.name != target and column.name not in ruled]
    coding = Coding(columns, train)
    values = dict(zip(coding.names, coding.raw(train).T, strict=True))
    discrete = [c.name for c in free if not c.numeric and 0.1 <= np.mean(values[c.name][~np.isnan(values[c.name])] == 0) <= 0.9]
    numeric = [c.name for c in free if c.numeric and len(np.unique(values[c.name][~np.isnan(values[c.name])])) > 10]
    chosen = [target] if target is not None else []
    chosen += [some[int(at * (len(some) - 1))] for some in (discrete, numeric) if some for at in ((0.0, 1.0) if len(some) > 1 else (0.0,))]
    by_name = {column.name: column for column in columns}
    found: list[tuple[str, Any]] = []
    for name in chosen:
        middle = float(np.nanmedian(values[name])) if by_name[name].numeric else 0.0
        if by_name[name].numeric and len(np.unique(values[name][~np.isnan(values[name])])) == 2:
            middle = float(np.nanmin(values[name]))
        found.append((name, lambda x, middle=middle: (x > middle).astype(int)))
    return found


def _boosted(values: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    model = HistGradientBoostingClassifier(
        max_iter=100, max_leaf_nodes=31, min_samples_leaf=20, learning_rate=0.1, early_stopping=False, random_state=seed
    )
    with threadpool_limits(1):
        return model.fit(readable(values), labels).decision_function(test)


def _extra(values: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.ensemble import ExtraTreesClassifier

    low = np.nan_to_num(np.nanmin(np.vstack([values, np.zeros((1, values.shape[1]))]), axis=0)) - 1e3  # missing lies apart, below all
    model = ExtraTreesClassifier(TREES, min_samples_leaf=2, max_features="sqrt", n_jobs=1, random_state=seed)
    return model.fit(np.where(np.isnan(values), low, values), labels).predict_proba(np.where(np.isnan(test), low, test))[:, 1]


def _kolmogorov(one: np.ndarray, other: np.ndarray) -> float:
    one, other = np.sort(one[~np.isnan(one)]), np.sort(other[~np.isnan(other)])
    if not len(one) or not len(other):
        return float(len(one) != len(other))
    points = np.concatenate([one, other])
    return float(
        np.abs(np.searchsorted(one, points, side="right") / len(one) - np.searchsorted(other, points, side="right") / len(other)).max()
    )


def _tenths(values: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Numbers in ten bins of equal width between the real ends, missing a bin of its own."""
    found = np.full(values.shape, -1, np.int64)
    for c in range(values.shape[1]):
        known = ~np.isnan(values[:, c])
        present = real[~np.isnan(real[:, c]), c]
        edges = np.linspace(present.min(), present.max(), 11)[1:-1] if len(present) else np.empty(0)
        found[known, c] = np.searchsorted(edges, values[known, c], side="right")
    return found


def _whole(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), -1, np.nan_to_num(values)).astype(np.int64)


def _variation(one: np.ndarray, other: np.ndarray) -> float:
    """Total variation of two tables of codes."""
    both = np.concatenate([one, other])
    _, codes = np.unique(both @ np.cumprod([1, *(both.max(0) + 2)])[: both.shape[1]], return_inverse=True)
    size = int(codes.max()) + 1
    shares = [np.bincount(part, minlength=size) / max(len(part), 1) for part in (codes[: len(one)], codes[len(one) :])]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    both = ~np.isnan(a) & ~np.isnan(b)
    if both.sum() < 3 or np.ptp(a[both]) == 0 or np.ptp(b[both]) == 0:
        return 0.0
    return float(np.corrcoef(a[both], b[both])[0, 1])


def _association(a: np.ndarray, b: np.ndarray, levels: Iterable[bool]) -> float:
    """|Spearman| of two numbers, Cramer's V of two columns of levels (bias taken off), the correlation ratio of ranks in between."""
    from scipy.stats import rankdata

    both = ~np.isnan(a) & ~np.isnan(b)
    if both.sum() < 10:
        return 0.0
    a, b = a[both], b[both]
    first, second = levels
    if not first and not second:
        return abs(_pearson(rankdata(a), rankdata(b)))
    if first and second:
        table = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
        np.add.at(table, (a.astype(int), b.astype(int)), 1)
        table = table[table.any(1)][:, table.any(0)]
        rows, columns = table.shape
        if min(rows, columns) < 2:
            return 0.0
        phi = ((table - (expected := np.outer(table.sum(1), table.sum(0)) / len(a))) ** 2 / expected).sum() / len(a)
        phi = max(phi - (rows - 1) * (columns - 1) / (len(a) - 1), 0.0)
        rows, columns = rows - (rows - 1) ** 2 / (len(a) - 1), columns - (columns - 1) ** 2 / (len(a) - 1)
        return float(np.sqrt(min(phi / max(min(rows, columns) - 1, 1e-9), 1.0)))
    groups, ranks = (a, rankdata(b)) if first else (b, rankdata(a))
    codes = groups.astype(int)
    sizes = np.bincount(codes)
    means = np.bincount(codes, ranks) / np.maximum(sizes, 1)
    return float(np.sqrt((sizes * (means - ranks.mean()) ** 2).sum() / max(((ranks - ranks.mean()) ** 2).sum(), 1e-12)))
