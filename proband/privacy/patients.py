"""The real patients under attack, members and controls in one table, and the numbers in which distances are measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.special import ndtri

from proband import seeds
from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Column

WIDTH = 192  # embeddings wider than this are projected
PROJECTED = 128  # distances then err by about sqrt(2 / 128) = 12 %
LEVELS = 1_000  # levels of a category that get an axis; rarer ones share the last
FITTED = 50_000  # rows that are enough to rank numbers by


@dataclass(frozen=True)
class Patients:
    """Real patients: those the synthesizer learned from (members) and those it never saw (controls).

    frame    all rows, (rows, columns); owner: (rows,) the patient of each row, 0 to patients - 1
    member   (patients,) bool
    columns  the columns an attacker compares: all but identifiers and text
    """

    frame: pl.DataFrame
    owner: np.ndarray
    member: np.ndarray
    columns: tuple[Column, ...]


def gathered(synthetic: pl.DataFrame, train: Cohort, *unseen: Cohort) -> Patients:
    """Members (train) and controls (every cohort in `unseen`) as one table, members first.

    A column that is wholly missing from the synthetic table is left out: dropping a column must not hide a copy.
    """
    table = train.schema.table
    compared = [column for column in table.columns if column.kind not in ("identifier", "text") and column.name != table.key]
    if not compared:
        raise InputError("The schema has identifiers only: no column is left to compare patients by. Declare at least one other column.")
    columns = tuple(column for column in compared if synthetic[column.name].null_count() < synthetic.height) or tuple(compared)
    owners: list[np.ndarray] = []
    counts: list[int] = []
    for cohort in (train, *unseen):
        codes = cohort.frame[table.key].rank("dense").to_numpy().astype(np.int64) - 1 if table.key else np.arange(cohort.frame.height)
        owners.append(codes + sum(counts))
        counts.append(int(codes.max(initial=-1)) + 1)
    names = [column.name for column in columns]
    frame = pl.concat([cohort.frame.select(names) for cohort in (train, *unseen)], rechunk=False)
    return Patients(frame, np.concatenate(owners), np.arange(sum(counts)) < counts[0], columns)


class Embedding:
    """Rows as float32 vectors whose Euclidean distance mixes all kinds of columns.

    A number becomes its normal score among the rows of `fit` (its rank, spread like a bell curve, so that neither units nor
    outliers rule the distance) and a flag for missing; a category one axis per level, two different levels being at distance 1. Wider
    than 192, the axes are projected at random on 128 (Johnson and Lindenstrauss): distances are kept to about 12 %.
    """

    def __init__(self, columns: tuple[Column, ...], fit: pl.DataFrame, *, seed: int) -> None:
        self.columns = columns
        fit = fit if fit.height <= FITTED else fit[seeds.generator(seed, "privacy", "ranks").choice(fit.height, FITTED, replace=False)]
        self.knots = [_knots(fit[column.name], column) for column in columns]
        widths = [2 if column.numeric else len(knots[0]) + 1 for column, knots in zip(columns, self.knots, strict=True)]
        width = sum(widths)
        if width <= WIDTH:
            axes = np.eye(width, dtype=np.float32)
        else:
            axes = seeds.generator(seed, "privacy", "projection").standard_normal((width, PROJECTED), np.float32) / np.float32(
                PROJECTED**0.5
            )
        self.axes = np.split(axes, np.cumsum(widths)[:-1])

    def __call__(self, frame: pl.DataFrame, rows: np.ndarray | None = None) -> np.ndarray:
        """(rows, width) float32, at most 192 wide; all rows, or those numbered in `rows`. The frame is never copied, only a column."""
        embedded = np.zeros((frame.height if rows is None else len(rows), self.axes[0].shape[1]), np.float32)
        for column, knots, axes in zip(self.columns, self.knots, self.axes, strict=True):
            values = frame[column.name] if rows is None else frame[column.name].gather(rows)
            for start in range(0, len(embedded), 65_536):
                part = embedded[start : start + 65_536]
                chunk = values[start : start + 65_536]
                if column.numeric:
                    scores, missing = _normal_scores(chunk, *knots)
                    part += scores[:, None] * axes[0] + missing[:, None] * axes[1]
                else:
                    part += axes[_level_codes(chunk, knots[0])] * np.float32(0.5**0.5)
        return embedded


def _knots(values: pl.Series, column: Column) -> tuple[np.ndarray, np.ndarray]:
    """For a number, its distinct values and their normal scores; for a category its levels, commonest first."""
    if not column.numeric:
        levels = values.drop_nulls().cast(pl.String).alias("level").value_counts(name="rows")
        return levels.sort(["rows", "level"], descending=[True, False])["level"].head(LEVELS).to_numpy(), np.empty(0)
    present = _numbers(values.drop_nulls())
    distinct, counts = np.unique(present, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / max(len(present), 1)
    return distinct, ndtri(middle)


def _numbers(values: pl.Series) -> np.ndarray:
    physical = values if values.dtype.is_numeric() else values.to_physical()
    return physical.cast(pl.Float64).to_numpy()


def _normal_scores(values: pl.Series, distinct: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    missing = values.is_null().to_numpy()
    if not len(distinct):
        return np.zeros(len(values), np.float32), missing.astype(np.float32)
    found = np.interp(_numbers(values), distinct, scores)
    return np.where(missing, 0, found).astype(np.float32), missing.astype(np.float32)


def _level_codes(values: pl.Series, levels: np.ndarray) -> np.ndarray:
    """Position among `levels`; missing, rare and unknown levels share the last axis."""
    known = {level: code for code, level in enumerate(levels.tolist())}
    codes = values.cast(pl.String).replace_strict(known, default=len(levels), return_dtype=pl.Int64)
    return codes.fill_null(len(levels)).to_numpy()
