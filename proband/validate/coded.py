"""Tables for measuring: a sample of each part's patients, every column cut into a few codes learned from the real ones."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from proband import seeds
from proband.cohort import Cohort
from proband.schema.model import Column
from proband.stats.divergences import Codes, coarsen, recode
from proband.stats.marginals import MOST_BINS, Bins, bins
from proband.stats.resampling import Patients
from proband.validate.findings import Evidence

#: Rows of each part that enter the comparisons. Sampling error at 20,000 rows is below a third of a percent of patients.
MOST_ROWS = 20_000

#: The first two codes of every column: an empty cell, and one that the schema does not allow.
MISSING, STRANGE = 0, 1
_FIRST = 2

#: Trees take at most 255 levels of a category.
_MOST_LEVELS = 250


@dataclass(frozen=True)
class Coding:
    """How one column becomes codes: `labels[k]` is what code k means, in words that name no rare value."""

    column: Column
    bins: Bins | None  # numbers
    levels: tuple[str, ...]  # levels by falling frequency; those beyond the last code share it
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """A sample of one part's patients: their rows, as frame, codes (fine and coarse) and raw numbers."""

    frame: pl.DataFrame
    refused: Mapping[str, np.ndarray]
    patients: Patients
    fine: Codes  # about 20 values a column
    coarse: Codes  # about 6 values a column
    levels: Codes  # the discrete columns alone, up to 250 levels each

    def numbers(self, column: Column) -> np.ndarray:
        """The column as float64, NaN where missing or refused; dates in days, times in seconds."""
        return numbers(self.frame[column.name], column)


@dataclass(frozen=True)
class Tables:
    """The sampled parts side by side: `real` is train and unseen together, `unseen` is holdout and reference together."""

    codings: tuple[Coding, ...]
    lookups: tuple[np.ndarray, ...]  # per column, the coarse code of every fine one
    train: Part
    unseen: Part
    real: Part
    synthetic: Part

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        return tuple(coding.column for coding in self.codings)

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @cached_property
    def matched(self) -> int:
        """How many patients stand on either side of a comparison, so that synthetic and real are compared at one size."""
        return min(self.synthetic.patients.count, self.unseen.patients.count, self.real.patients.count // 2)


def tables(evidence: Evidence, *, seed: int) -> Tables:
    """Sample each part (at most MOST_ROWS rows, whole patients) and code every column but identifiers and free text."""
    schema = evidence.train.schema.table
    columns = [c for c in schema.columns if c.kind not in ("identifier", "text") and c.name != schema.key]
    names = [c.name for c in columns]
    parts = {"train": [evidence.train], "unseen": [evidence.holdout, evidence.reference], "synthetic": [evidence.synthetic]}
    frames, owners, chosen = {}, {}, {}
    for name, cohorts in parts.items():
        chosen[name] = [_sampled(c, MOST_ROWS // len(cohorts), seed, name, at) for at, c in enumerate(cohorts)]
        frames[name] = pl.concat([c.frame.select(names)[rows] for c, rows in zip(cohorts, chosen[name], strict=True)])
        owners[name] = _owners(cohorts, chosen[name])
    refused = {n: np.asarray(mask)[chosen["synthetic"][0]] for n, mask in evidence.refused.items() if n in names}
    frames["real"] = pl.concat([frames["train"], frames["unseen"]])
    owners["real"] = np.concatenate([owners["train"], owners["unseen"] + owners["train"].max() + 1])
    codings = tuple(_learn(c, frames["real"][c.name]) for c in columns)
    sizes = np.array([len(c.labels) for c in codings])
    fine = {
        name: Codes(np.stack([_codes(c, frame[c.column.name], refused if name == "synthetic" else {}) for c in codings]), sizes)
        for name, frame in frames.items()
    }
    # Eight codes of the coarse kind: three columns together make 512 cells, few enough to be filled by a few hundred patients.
    coarse_real, lookups = coarsen(fine["real"], _FIRST, 8 - _FIRST, np.array([c.column.numeric for c in codings]))
    discrete = [c for c in codings if c.column.discrete]
    made = {}
    for name, frame in frames.items():
        marks = refused if name == "synthetic" else {}
        coarse = Codes(recode(fine[name], lookups).values, coarse_real.sizes)
        made[name] = Part(frame, marks, Patients(owners[name]), fine[name], coarse, _level_codes(discrete, frame, marks))
    return Tables(codings, tuple(lookups), **made)


def numbers(series: pl.Series, column: Column) -> np.ndarray:
    """A numeric column as float64, NaN for missing: dates as days and date-times as seconds since 1970, times as seconds."""
    if column.kind == "datetime":
        return series.to_physical().cast(pl.Float64).to_numpy() / 1e6
    if column.kind == "time":
        return series.to_physical().cast(pl.Float64).to_numpy() / 1e9
    return series.to_physical().cast(pl.Float64).fill_null(float("nan")).to_numpy()


def words(series: pl.Series) -> pl.Series:
    """A discrete column as text; booleans as false and true."""
    return series.cast(pl.String)


def outside(column: Column, values: np.ndarray) -> np.ndarray:
    """Which numbers lie beyond the schema's bounds (NaN never does)."""
    low = -np.inf if column.low is None else column.low
    high = np.inf if column.high is None else column.high
    return (values < low) | (values > high)


def matrix(tables: Tables, part: Part, rows: np.ndarray) -> np.ndarray:
    """(rows, columns) float64 as trees take it: numbers as they are, levels as codes, NaN for missing, refused cells apart."""
    made = np.empty((len(rows), len(tables.codings)))
    for at, coding in enumerate(tables.codings):
        column = coding.column
        if column.numeric:
            values = part.numbers(column)[rows]
            strange = np.isinf(values)
        else:
            values, strange = _ranks(coding, part.frame[column.name].gather(rows))
        if column.name in part.refused:
            strange = strange | part.refused[column.name][rows]
        made[:, at] = np.where(strange, 1e30 if column.numeric else _MOST_LEVELS + 1, values)
    return made


def level_columns(tables: Tables) -> np.ndarray:
    """Which columns of `matrix` hold levels rather than numbers."""
    return np.array([not column.numeric for column in tables.columns])


def _sampled(cohort: Cohort, most: int, seed: int, name: str, at: int) -> np.ndarray:
    """Row numbers of a random sample of whole patients with at most about `most` rows, in the cohort's order."""
    if cohort.frame.height <= most:
        return np.arange(cohort.frame.height)
    generator = seeds.generator(seed, "sample of", name, at)
    if cohort.schema.table.key is None:
        return np.sort(generator.permutation(cohort.frame.height)[:most])
    patients = Patients(_codes_of_key(cohort.frame[cohort.schema.table.key]))
    order = generator.permutation(patients.count)
    total = np.cumsum(np.bincount(patients.code)[order])
    return np.sort(patients.rows(order[: max(int(np.searchsorted(total, most, side="right")), 1)]))


def _owners(cohorts: list[Cohort], chosen: list[np.ndarray]) -> np.ndarray:
    """A number for the patient of every chosen row; cohorts share no patient."""
    found: list[np.ndarray] = []
    start = 0
    for cohort, rows in zip(cohorts, chosen, strict=True):
        key = cohort.schema.table.key
        codes = np.arange(len(rows)) if key is None else _codes_of_key(cohort.frame[key].gather(rows))
        found.append(codes + start)
        start += int(codes.max(initial=-1)) + 1
    return np.concatenate(found)


def _codes_of_key(series: pl.Series) -> np.ndarray:
    """A whole number per patient; a row without a patient is one of its own."""
    codes = series.rank("dense").cast(pl.Int64).fill_null(0).to_numpy().copy()
    alone = codes == 0
    codes[alone] = codes.max(initial=0) + 1 + np.arange(alone.sum())
    return codes - 1


def _learn(column: Column, real: pl.Series) -> Coding:
    if column.numeric:
        values = numbers(real, column)
        values = values[np.isfinite(values) & ~outside(column, values)]
        cut = bins(values, MOST_BINS)
        return Coding(column, cut, (), ("missing", "not allowed", *_bin_labels(column, cut)))
    counts = words(real).drop_nulls().value_counts(sort=False, name="(n)")
    counts = counts.sort(["(n)", counts.columns[0]], descending=[True, False])
    allowed = set(column.categories or ("false", "true"))
    levels = tuple(level for level in counts[counts.columns[0]].to_list() if level in allowed)
    levels += tuple(level for level in (column.categories or ("false", "true")) if level not in set(levels))
    if column.kind == "ordinal" and len(levels) <= MOST_BINS:
        levels = tuple(column.categories or ())
    labels = levels if len(levels) <= MOST_BINS else (*levels[: MOST_BINS - 1], "other")
    return Coding(column, None, levels, ("missing", "not allowed", *labels))


def _codes(coding: Coding, series: pl.Series, refused: Mapping[str, np.ndarray]) -> np.ndarray:
    column = coding.column
    if coding.bins is not None:
        values = numbers(series, column)
        missing = np.isnan(values)
        codes = _FIRST + coding.bins.codes(np.where(missing, 0.0, values))
        codes[missing] = MISSING
        codes[outside(column, values) | np.isinf(values)] = STRANGE
    else:
        ranks, strange = _ranks(coding, series)
        codes = _FIRST + np.minimum(np.nan_to_num(ranks).astype(np.int64), len(coding.labels) - _FIRST - 1)
        codes[np.isnan(ranks)] = MISSING
        codes[strange] = STRANGE
    if column.name in refused:
        codes[refused[column.name]] = STRANGE
    return codes.astype(np.uint8)


def _level_codes(codings: list[Coding], frame: pl.DataFrame, refused: Mapping[str, np.ndarray]) -> Codes:
    """Codes of discrete columns that keep up to 250 levels apart, where the fine ones keep 20."""
    sizes = np.array([_FIRST + min(len(c.levels), _MOST_LEVELS + 1) for c in codings], int)
    found = np.empty((len(codings), frame.height), np.uint8)
    for at, coding in enumerate(codings):
        ranks, strange = _ranks(coding, frame[coding.column.name])
        strange = strange | refused.get(coding.column.name, np.False_)
        found[at] = np.where(strange, STRANGE, np.where(np.isnan(ranks), MISSING, _FIRST + np.nan_to_num(ranks)))
    return Codes(found, sizes)


def _ranks(coding: Coding, series: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The place of every level in the coding (NaN when missing), and which levels it does not know."""
    text = words(series)
    if not coding.levels:
        ranks = np.full(len(text), np.nan)
        return ranks, text.is_not_null().to_numpy()
    places = np.minimum(np.arange(len(coding.levels)), _MOST_LEVELS)
    ranks = text.replace_strict(list(coding.levels), places, default=None, return_dtype=pl.Float64).fill_null(float("nan")).to_numpy()
    return ranks, np.isnan(ranks) & text.is_not_null().to_numpy()


def _bin_labels(column: Column, cut: Bins) -> list[str]:
    """Bins in words, ends rounded to 3 significant digits (dates to the month) so that no single patient's value shows."""

    def end(value: float) -> str:
        if column.kind in ("date", "datetime"):
            days = value if column.kind == "date" else value / 86_400
            return (dt.date(1970, 1, 1) + dt.timedelta(days=int(days))).strftime("%Y-%m")
        if column.kind == "time":
            return f"{int(value) // 3600:02d} h"
        return f"{float(f'{value:.3g}'):g}"

    labels = []
    for low, high in zip(cut.lows, cut.highs, strict=True):
        first, last = ("other", "other") if np.isinf(low) else (end(low), end(high))
        labels.append(first if first == last else f"{first} to {last}")
    return labels
