"""GaussianCopula: every column's own distribution, joined by the correlations of a normal distribution behind them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from scipy.special import ndtr, ndtri

from proband import seeds
from proband.cohort import Cohort
from proband.encode.tables import TableEncoder
from proband.errors import InputError
from proband.schema import rules
from proband.schema.model import validated
from proband.synthesizer import Model, OnStep, restore, under, write_model
from proband.synthesizers.drawing import draw, marked
from proband.synthesizers.scores import Scale

_ORDERS = 16  # Hermite polynomials that tell a step function's correlation from the normal's behind it
_FEW_PAIRS = 20  # patients: a correlation seen in as few is halved
_SMALLEST = 1e-3  # eigenvalue of the correlation matrix
_LARGEST = 0.999  # correlation


class Variable(NamedTuple):
    """One normal variable: it says whether `field` is missing (below the first of two ranges), or which present token it has.

    ranges   tokens, one for each range between two cuts; in a variable of missingness 0 and 1 (present)
    cuts     (len(ranges) + 1,) from -inf to inf
    """

    field: int
    missing: bool
    ranges: np.ndarray
    cuts: np.ndarray


class _Fitted(NamedTuple):
    encoder: TableEncoder
    scales: tuple[Scale, ...]
    correlation: np.ndarray  # (variables, variables)
    on_synthetic: bool


class GaussianCopula:
    """Marginals are kept exactly, dependence is one correlation matrix: the classical synthesizer, in a second and with few parameters.

    Behind every field stands a normal variable whose ranges are its tokens, and behind every field with missing values another
    that says whether it is missing. The levels of a category are put in the order of their first correspondence axis. What is not
    a correlation (interactions, ratios, clusters) is lost.

    >>> made = GaussianCopula().fit(cohort, seed=1).sample(1000, seed=2)  # doctest: +SKIP
    """

    name: ClassVar[str] = "copula"

    def __init__(self) -> None:
        self._fitted: _Fitted | None = None

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Learn marginals and correlations; `seed` changes nothing. A cohort with several rows a patient is learned row by row."""
        encoder = TableEncoder.fit(cohort)
        tokens = encoder.encode(cohort.frame).tokens
        scales = tuple(
            Scale.of(field.counts, None if field.numeric else _ordered(i, tokens, encoder)) for i, field in enumerate(encoder.fields)
        )
        correlation = correlations(_variables(encoder, scales), tokens)
        self._fitted = _Fitted(encoder, scales, correlation, cohort.mark is not None)
        if on_step is not None:
            on_step(1, 1, "fit", {})
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` synthetic patients; every one keeps the schema's rules and satisfies `where`."""
        encoder, scales, correlation, on_synthetic = self._learned
        named = rules.columns(where, encoder.schema.table) if isinstance(where, str) and where.strip() else frozenset()
        first = encoder.reads(named)
        order = sorted(range(len(encoder.fields)), key=lambda field: field not in first)
        conditional = _Conditional.of(_variables(encoder, scales), correlation, order)
        frame = draw(
            encoder,
            n,
            propose=partial(_propose, encoder, conditional),
            order=order,
            where=where,
            rng=seeds.generator(seed, self.name, "sample"),
            latent=conditional.start,
        )
        return marked(frame, encoder.schema, self.name, seed, where=where, on_synthetic=on_synthetic)

    def save(self, path: str | Path) -> None:
        """Write a model folder: the encoder, the order of the levels and the correlations."""
        write_model(path, self.name, *self.state())

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain data and arrays: what a model folder holds, for those who keep one inside their own."""
        encoder, scales, correlation, on_synthetic = self._learned
        plain, arrays = encoder.state()
        config = {"schema": encoder.schema.model_dump(mode="json"), "encoder": plain, "on_synthetic": on_synthetic}
        orders = {f"order.{i}": scale.order for i, scale in enumerate(scales)}
        return config, {f"encoder.{k}": a for k, a in arrays.items()} | orders | {"correlation": correlation}

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder; a missing, oversized, altered or hostile file raises InputError."""
        return restore(path, cls.name, cls.rebuilt)

    @classmethod
    def rebuilt(cls, stored: Model) -> Self:
        """The same model from its `state`; ValueError or KeyError when its parts do not fit together."""
        schema = validated(stored.config["schema"], "The model's schema")
        arrays = under("encoder.", stored.arrays)
        encoder = TableEncoder.restored(schema, stored.config["encoder"], arrays)
        scales = tuple(Scale.of(field.counts, stored.arrays[f"order.{i}"]) for i, field in enumerate(encoder.fields))
        for field, scale in zip(encoder.fields, scales, strict=True):
            if sorted(scale.order) != [token for token in range(1, field.levels) if field.counts[token]]:
                raise ValueError("the order of a column's levels does not name each of them once")
        correlation, size = stored.arrays["correlation"], len(_variables(encoder, scales))
        if correlation.shape != (size, size) or not np.isfinite(correlation).all():
            raise ValueError("the correlations do not fit the columns")
        np.linalg.cholesky(correlation)
        made = cls()
        made._fitted = _Fitted(encoder, scales, correlation, bool(stored.config["on_synthetic"]))
        return made

    @property
    def _learned(self) -> _Fitted:
        if self._fitted is None:
            raise InputError("This GaussianCopula has not been fitted. Call fit(cohort, seed=...) or load(path) first.")
        return self._fitted


def _variables(encoder: TableEncoder, scales: Sequence[Scale]) -> list[Variable]:
    """A field that is missing in some rows has a variable for that; one with two present tokens or more has one for its values."""
    found = []
    for i, (field, scale) in enumerate(zip(encoder.fields, scales, strict=True)):
        if field.counts[0] and len(scale.order):
            missing = Scale.of(np.array([0, field.counts[0], field.counts[1:].sum()]))
            found.append(Variable(i, True, np.array([0, 1]), missing.cuts))
        if len(scale.order) > 1:
            found.append(Variable(i, False, scale.order, scale.cuts))
    return found


def _ordered(field: int, tokens: np.ndarray, encoder: TableEncoder) -> np.ndarray:
    """The levels of a category in the order of their first correspondence axis with all other fields (in at most eight parts each)."""
    levels = encoder.fields[field].levels
    size = np.bincount(tokens[:, field], minlength=levels).astype(float)
    tables = [np.zeros((levels, 1))]
    for other, described in enumerate(encoder.fields):
        if other == field:
            continue
        part = np.full(described.levels, 8)
        if described.numeric:
            part = np.minimum(7, 8 * np.cumsum(described.counts) // max(1, described.counts.sum()))
        else:
            part[np.argsort(-described.counts, kind="stable")[:8]] = np.arange(min(8, described.levels))
        cells = np.bincount(tokens[:, field].astype(np.int64) * 9 + part[tokens[:, other]], minlength=levels * 9).reshape(levels, 9)
        expected = size[:, None] * cells.sum(axis=0) / max(1, len(tokens))
        tables.append(np.divide(cells - expected, np.sqrt(expected), out=np.zeros_like(expected), where=expected > 0))
    axes = np.linalg.svd(np.concatenate(tables, axis=1)[1:], full_matrices=False)[0]
    scores = axes[:, 0] / np.sqrt(np.maximum(size[1:], 1)) if axes.shape[1] else np.zeros(levels - 1)
    scores = scores * np.sign(scores[np.argmax(np.abs(scores))] or 1.0) if len(scores) else scores  # the sign of an axis is arbitrary
    return 1 + np.argsort(scores, kind="stable")


def correlations(variables: Sequence[Variable], tokens: np.ndarray) -> np.ndarray:
    """(variables, variables): the correlations of the normal variables under which the tokens' ranges go together as they do.

    A range counts as the mean of its normal variable. The covariance of two such step functions is a power series in the
    correlation behind them, with their Hermite coefficients (Lancaster, 1958), and is solved for it: a yes or no does not look
    weaker than a number. Patients with both values are asked; the matrix is then brought to the nearest one without negative
    eigenvalues (they are cut off).
    """
    size = len(variables)
    if not size:
        return np.zeros((0, 0))
    steps, known = np.zeros((len(tokens), size)), np.zeros((len(tokens), size))
    hermite = np.zeros((size, _ORDERS))
    for k, variable in enumerate(variables):
        lows, highs = variable.cuts[:-1], variable.cuts[1:]
        mean = (_density(lows) - _density(highs)) / (ndtr(highs) - ndtr(lows))
        rank = _rank(variable, tokens)
        known[:, k] = rank >= 0
        steps[:, k] = np.where(rank >= 0, mean[rank], 0.0)
        hermite[k] = mean @ _integrals(variable.cuts)
    pairs = known.T @ known
    sums = steps.T @ known  # of the first's values where the second is known too
    shared = np.maximum(pairs, 1)
    wanted = (steps.T @ steps / shared - sums * sums.T / shared**2) * pairs / (pairs + _FEW_PAIRS)
    low, high = np.full((size, size), -_LARGEST), np.full((size, size), _LARGEST)
    for _ in range(24):
        middle = (low + high) / 2
        found = np.zeros((size, size))
        for order in range(_ORDERS - 1, -1, -1):
            found = (found + np.outer(hermite[:, order], hermite[:, order])) * middle
        low, high = np.where(found < wanted, middle, low), np.where(found < wanted, high, middle)
    correlation = (low + high) / 2
    fields = np.array([variable.field for variable in variables])
    correlation[fields[:, None] == fields] = 0  # whether it is missing, and what it is: never seen together
    np.fill_diagonal(correlation, 1)
    values, vectors = np.linalg.eigh((correlation + correlation.T) / 2)
    mended = (vectors * np.maximum(values, _SMALLEST)) @ vectors.T
    scale = 1 / np.sqrt(np.diag(mended))
    return mended * np.outer(scale, scale)


def _density(z: np.ndarray) -> np.ndarray:
    return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def _integrals(cuts: np.ndarray) -> np.ndarray:
    """(ranges, orders): the integral of each normalised Hermite polynomial of order 1, 2, ... over each range, under the normal density."""
    z = np.clip(cuts, -9, 9)
    before, now = np.zeros_like(z), np.ones_like(z)
    columns = []
    for order in range(1, _ORDERS + 1):
        columns.append(-np.diff(now * _density(z)) / np.sqrt(order))
        before, now = now, (z * now - np.sqrt(order - 1) * before) / np.sqrt(order)
    return np.stack(columns, axis=1)


def _rank(variable: Variable, tokens: np.ndarray) -> np.ndarray:
    """(rows,) the range in which the variable lies, or -1 where the row does not say."""
    drawn = tokens[:, variable.field]
    if variable.missing:
        return np.where(drawn < 0, -1, np.minimum(drawn, 1))
    return np.where(drawn > 0, Scale(variable.ranges, variable.cuts).ranks(np.maximum(drawn, 0)), -1)


class _Conditional(NamedTuple):
    """The normal variables in the order of drawing, each given those before it: mean and spread are rows of a Cholesky factor."""

    variables: list[Variable]
    factor: np.ndarray  # (variables, variables), lower triangle
    first: dict[int, int]  # field -> how many variables come before its own

    @staticmethod
    def of(variables: list[Variable], correlation: np.ndarray, order: Sequence[int]) -> _Conditional:
        place = {field: at for at, field in enumerate(order)}
        chosen = sorted(range(len(variables)), key=lambda k: (place[variables[k].field], not variables[k].missing))
        ordered = [variables[k] for k in chosen]
        factor = np.linalg.cholesky(correlation[np.ix_(chosen, chosen)]) if chosen else correlation
        first = {field: sum(place[v.field] < place[field] for v in ordered) for field in order}
        return _Conditional(ordered, factor, first)

    def start(self, rows: int, rng: np.random.Generator) -> np.ndarray:
        """(rows, 2 x variables): a uniform number for each variable, and its innovation, which is NaN until its token is drawn."""
        uniform = rng.random((rows, len(self.variables)))
        return np.concatenate([uniform, np.full_like(uniform, np.nan)], axis=1)

    def given(self, k: int, latent: np.ndarray) -> np.ndarray:
        """(rows,) mean of variable k given those before it."""
        size = len(self.variables)
        return latent[:, size : size + k] @ self.factor[k, :k]

    def innovation(self, k: int, rank: np.ndarray, latent: np.ndarray) -> np.ndarray:
        """(rows,) variable k as a deviate from its mean, given the range it lies in (-1: any)."""
        mean, cuts = self.given(k, latent), self.variables[k].cuts
        low = (np.where(rank < 0, -np.inf, cuts[rank]) - mean) / self.factor[k, k]
        high = (np.where(rank < 0, np.inf, cuts[rank + 1]) - mean) / self.factor[k, k]
        below = ndtr(low)
        share = below + latent[:, k] * (ndtr(high) - below)
        return np.clip(ndtri(np.clip(share, 1e-12, 1 - 1e-12)), np.maximum(low, -9), np.minimum(high, 9))

    def filled(self, field: int, tokens: np.ndarray, latent: np.ndarray) -> None:
        """Innovations of all variables before those of `field`, in place: they stay with the row, so each is found once."""
        for k in range(self.first[field]):
            innovation = latent[:, len(self.variables) + k]
            if np.isnan(innovation).any():
                innovation[:] = self.innovation(k, _rank(self.variables[k], tokens), latent)


def _propose(encoder: TableEncoder, conditional: _Conditional, field: int, tokens: np.ndarray, latent: np.ndarray | None) -> np.ndarray:
    """(rows, levels): the normal distribution of the field's variables given those drawn, over its ranges."""
    assert latent is not None
    conditional.filled(field, tokens, latent)
    counts = encoder.fields[field].counts
    absent = np.full(len(tokens), float(not counts[1:].any()))
    shares = np.broadcast_to(counts[1:] / max(1, counts[1:].sum()), (len(tokens), len(counts) - 1))
    for k in range(conditional.first[field], len(conditional.variables)):
        variable = conditional.variables[k]
        if variable.field != field:
            break
        mean, spread = conditional.given(k, latent), conditional.factor[k, k]
        if variable.missing:
            absent = ndtr((variable.cuts[1] - mean) / spread)
            latent = latent.copy()  # only as long as the value is asked: it is not known yet whether there will be one
            latent[:, len(conditional.variables) + k] = conditional.innovation(k, np.ones(len(tokens), int), latent)
        else:
            shares = np.zeros((len(tokens), len(counts) - 1))
            shares[:, variable.ranges - 1] = np.diff(ndtr((variable.cuts - mean[:, None]) / spread), axis=1)
    return np.concatenate([absent[:, None], (1 - absent)[:, None] * shares], axis=1)
