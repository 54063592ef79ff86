"""Signals and what is known of their patients <-> arrays: attributes as numbers, records as a Gaussian's scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.encode.numbers import HELD_BY, to_numbers
from proband.records.waveforms import Signals

SCORES = 128  # principal components at most
COARSE = 30  # of them are the shape of a record; the rest is its hiss
KIND = 50  # records of a group to each kind of shape: with 25 classifiers learn more from it, and attackers as well (.55 to .59)
COURSE = 8  # principal components of a group by which its kinds are told apart
FEWEST = 5  # records of which a group must have as many to have a spread of its own
SHRUNK = 3.0  # a kind's covariance counts as n / (n + this), that of everybody as the rest
RIDGE = 0.5  # records by which an attribute's effect is drawn to none: a level of one record alone would be that record
_ALIKE = 1e-3  # records whose means and deviations differ by less, in standard deviations, were standardised one by one
_FURTHEST = 3.0  # standard deviations: an odd number does not throw a record far off


@dataclass(frozen=True)
class Attributes:
    """The columns of the first table as numbers: a level is 0 or 1, a number is standardised, missing is a level of its own.

    levels    column -> levels that at least two patients have
    numbers   column -> (mean, standard deviation)
    groups    combinations of levels with a spread of their own; group 0 is everybody else
    """

    levels: dict[str, list[str | None]]
    numbers: dict[str, tuple[float, float]]
    groups: list[list[str | None]]

    @staticmethod
    def fit(cohort: Cohort) -> Attributes:
        """Learn levels and scales from the training patients."""
        table, frame = cohort.schema.table, cohort.frame
        patient = frame[table.key] if table.key else pl.int_range(frame.height, eager=True)
        levels: dict[str, list[str | None]] = {}
        numbers: dict[str, tuple[float, float]] = {}
        for column in table.columns:
            if column.discrete:
                held = pl.DataFrame({"level": _words(frame[column.name]), "patient": patient})
                counts = held.group_by("level").agg(pl.col("patient").n_unique()).sort("level")
                levels[column.name] = counts.filter(pl.col("patient") >= HELD_BY)["level"].to_list()
            elif column.numeric:
                values = to_numbers(frame[column.name])
                values = values[~np.isnan(values)]
                if len(values) and values.std() > 0:
                    numbers[column.name] = (float(values.mean()), float(values.std()))
        found: list[list[str | None]] = []
        if levels:
            joint = pl.DataFrame([_words(frame[name]).alias(name) for name in levels]).group_by(list(levels)).len()
            found = [list(row[:-1]) for row in joint.sort(list(levels)).rows() if row[-1] >= FEWEST]
        return Attributes(levels, numbers, found)

    @property
    def width(self) -> int:
        """How many numbers describe a row, beside its group; a table that says nothing is told as one 0."""
        return max(1, sum(map(len, self.levels.values())) + 2 * len(self.numbers))

    def encode(self, frame: pl.DataFrame) -> np.ndarray:
        """(rows, 1 + width) float32: the group, then the attributes."""
        parts = [np.zeros((frame.height, 1))]
        if self.levels:
            rows = pl.DataFrame([_words(frame[name]).alias(name) for name in self.levels]).rows()
            places = {tuple(group): at for at, group in enumerate(self.groups, start=1)}
            parts = [np.array([[places.get(row, 0)] for row in rows], float).reshape(-1, 1)]
        for name, levels in self.levels.items():
            words = _words(frame[name])
            parts += [np.array([[word == level] for word in words], float).reshape(-1, 1) for level in levels]
        for name, (mean, spread) in self.numbers.items():
            values = to_numbers(frame[name])
            missing = np.isnan(values)
            scaled = np.where(missing, 0, np.clip((values - mean) / spread, -_FURTHEST, _FURTHEST))
            parts.append(np.stack([scaled, missing], axis=1))
        told = np.concatenate(parts, axis=1).astype(np.float32)
        return told if told.shape[1] > 1 else np.pad(told, ((0, 0), (0, 1)))

    def state(self) -> dict[str, Any]:
        """Plain data from which `restored` makes the same."""
        return {"levels": self.levels, "numbers": self.numbers, "groups": self.groups}

    @staticmethod
    def restored(state: dict[str, Any]) -> Attributes:
        numbers = {str(name): (float(mean), float(spread)) for name, (mean, spread) in state["numbers"].items()}
        return Attributes({str(k): list(v) for k, v in state["levels"].items()}, numbers, [list(group) for group in state["groups"]])


class Scale(NamedTuple):
    """How the values of each channel are made comparable, (channels,) each, and the bounds that no made value crosses.

    low, high   the last values that two records reach
    """

    centre: np.ndarray
    spread: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @staticmethod
    def of(signals: Signals) -> Scale:
        """The scale of training records."""
        values = signals.values.astype(float)
        spread = values.std(axis=(0, 2))
        low, high = np.sort(values.min(axis=2), axis=0), np.sort(values.max(axis=2), axis=0)
        at = min(1, len(values) - 1)
        return Scale(values.mean(axis=(0, 2)), np.where(spread > 0, spread, 1.0), low[at], high[-1 - at])

    def encode(self, values: np.ndarray) -> np.ndarray:
        """(records, channels, samples) physical values -> about standard, float32."""
        return ((values - self.centre[:, None]) / self.spread[:, None]).astype(np.float32)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """And back, inside the bounds."""
        return np.clip(values * self.spread[:, None] + self.centre[:, None], self.low[:, None], self.high[:, None])


def kinds_of(values: np.ndarray, given: np.ndarray, groups: int, *, seed: int, size: int = KIND) -> tuple[np.ndarray, np.ndarray]:
    """(records,) the kind of each record, and (1 + groups, kinds) how often a group has each: a large group is cut by shape (k-means) into
    kinds of about `size`.

    Kind 0 is everybody whose group has no spread of its own. One Gaussian for each class lets classes run into one another.
    """
    from sklearn.cluster import KMeans

    kind, kinds = np.zeros(len(values), int), 1
    flat = values.reshape(len(values), -1).astype(float)
    for group in range(1, groups + 1):
        rows = np.flatnonzero(given[:, 0] == group)
        parts, found = max(1, len(rows) // size), np.zeros(len(rows), int)
        if parts > 1:
            centred = flat[rows] - flat[rows].mean(axis=0)
            _, _, vectors = np.linalg.svd(centred, full_matrices=False)
            found = KMeans(parts, n_init=4, random_state=seed % 2**31).fit_predict(centred @ vectors[:COURSE].T)
        kind[rows] = kinds + found
        kinds += parts
    shares = np.zeros((1 + groups, kinds))
    np.add.at(shares, (given[:, 0].astype(int), kind), 1.0)
    shares[shares.sum(axis=1) == 0, 0] = 1.0
    return kind, shares / shares.sum(axis=1, keepdims=True)


def drawn_kinds(given: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`given` with a kind drawn for each record in place of its group."""
    found = given.copy()
    ends = shares.cumsum(axis=1)[given[:, 0].astype(int)]
    found[:, 0] = np.minimum((rng.random((len(given), 1)) > ends).sum(axis=1), shares.shape[1] - 1)
    return found


def gaussian_of(values: np.ndarray, given: np.ndarray, kinds: int) -> dict[str, np.ndarray]:
    """The arrays of `game.signals.Gaussian` for standardised records (records, channels, samples), each of the kind given[:, 0].

    The effect of attributes and kinds is a ridge regression of the scores; what is left has a covariance in each kind, drawn to
    everybody's, and in each record a loudness of its own, of the shape and of the hiss.
    """
    records = len(values)
    flat = values.reshape(records, -1).astype(float)
    mean = flat.mean(axis=0)
    _, _, vectors = np.linalg.svd(flat - mean, full_matrices=False)
    basis = vectors[: min(SCORES, records - 1)]
    scores = (flat - mean) @ basis.T
    kind = given[:, 0].astype(int)
    told = np.concatenate([given[:, 1:], np.eye(kinds)[kind]], axis=1).astype(float)
    slopes = np.linalg.solve(told.T @ told + RIDGE * np.eye(told.shape[1]), told.T @ scores)
    rest = scores - told @ slopes
    tails = np.zeros(2)
    for at, part in enumerate((slice(None, COARSE), slice(COARSE, None))):
        if rest[:, part].size:
            loud, tails[at] = _loudness(rest[:, part], kind, kinds)
            rest[:, part] /= loud[:, None]
    factors = []
    for covariance in covariances(rest, kind, kinds):
        ridge = 1e-8 * np.trace(covariance) / len(covariance) + 1e-12
        factors.append(np.linalg.cholesky(covariance + ridge * np.eye(len(covariance))))
    means, spreads = values.astype(float).mean(axis=2), values.astype(float).std(axis=2)
    alike = (means.std(axis=0) < _ALIKE) & (spreads.std(axis=0) < _ALIKE) & (spreads.mean(axis=0) > 0)
    level = np.where(alike, np.stack([means.mean(axis=0), spreads.mean(axis=0)]), np.nan)
    found = {
        "mean": mean,
        "basis": basis,
        "slopes": slopes[:-kinds],
        "centres": slopes[-kinds:],
        "factors": np.stack(factors),
        "tails": tails,
        "level": level,
    }
    return {name: array.astype(np.float32) for name, array in found.items()}


def covariances(rest: np.ndarray, kind: np.ndarray, kinds: int, *, shrunk: float = SHRUNK) -> np.ndarray:
    """(kinds, scores, scores): everybody's for kind 0, then each kind's own, drawn to everybody's, which counts as `shrunk` records."""
    pooled = rest.T @ rest / len(rest)
    found = [pooled]
    for at in range(1, kinds):
        own = rest[kind == at]
        weight = len(own) / (len(own) + shrunk)
        found.append(weight * (own.T @ own / max(1, len(own))) + (1 - weight) * pooled)
    return np.stack(found)


def _loudness(rest: np.ndarray, kind: np.ndarray, kinds: int) -> tuple[np.ndarray, float]:
    """(records,) how far each record goes from what is expected, beside its kind, and the standard deviation of that in logarithms,
    without what chance alone gives so few scores. Some beats are noisy all along: a Gaussian of one loudness has too many in the middle.
    """
    loud = np.ones(len(rest))
    for _ in range(4):
        variances = np.einsum("gss->gs", covariances(rest / loud[:, None], kind, kinds))[kind]
        sizes = np.log(np.sqrt(np.mean(rest**2 / (variances + 1e-12), axis=1)) + 1e-6)
        loud = np.exp(sizes - sizes.mean())
    return loud, float(np.sqrt(max(0.0, sizes.var() - 0.5 / rest.shape[1])))


def summary(values: np.ndarray, *, points: int = 48, parts: int = 12) -> np.ndarray:
    """(records, numbers) what an attack compares records by: its course in each channel, and how loud its hiss is along the way."""
    course = np.concatenate([part.mean(axis=2) for part in np.array_split(values, min(points, values.shape[2]), axis=2)], axis=1)
    if values.shape[2] < 3:
        return course.astype(float)
    bends = np.abs(np.diff(values, 2, axis=2))
    loud = np.concatenate([part.mean(axis=2) for part in np.array_split(bends, min(parts, bends.shape[2]), axis=2)], axis=1)
    return np.concatenate([course, np.log(loud + 1e-6)], axis=1).astype(float)


def _words(series: pl.Series) -> pl.Series:
    """The levels of a discrete column as words."""
    return series.cast(pl.String)
