"""Who is attacked, rows as vectors column by column, and the values of a column as codes that can be guessed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from proband import seeds
from proband.privacy.patients import PROJECTED, WIDTH, Embedding, Patients, drawn, drawn_patients
from proband.schema import Column
from proband.stats.marginals import bins

LEVELS = 250  # commoner levels have a code of their own, the rest share one


@dataclass(frozen=True)
class Targets:
    """The attacked patients: all, or as many members as controls drawn at random (more of one where the other runs short).

    member  (patients,) bool
    rows    (rows,) all of their rows, numbers into `Patients.frame`; owner: (rows,) the patient of each, a position in `member`
    """

    member: np.ndarray
    rows: np.ndarray
    owner: np.ndarray

    def any_row(self, hit: np.ndarray) -> np.ndarray:
        """(patients,) whether one of a patient's rows was hit: a single record that gives the patient away is enough."""
        return np.bincount(self.owner, hit, minlength=len(self.member)) > 0

    def mean_row(self, values: np.ndarray) -> np.ndarray:
        """(patients,) the mean over each patient's rows: however many there are, they are one target."""
        return np.bincount(self.owner, values, minlength=len(self.member)) / np.bincount(self.owner, minlength=len(self.member))


def targets(real: Patients, most: int, *, seed: int) -> Targets:
    """Patients with about `most` rows in all, drawn without a look at their records: under no leak members and controls are alike."""
    chosen = drawn_patients(real, most, seeds.generator(seed, "privacy", "targets"))
    position = np.full(len(real.member), -1)
    position[chosen] = np.arange(len(chosen))
    rows = np.flatnonzero(position[real.owner] >= 0)
    return Targets(real.member[chosen], rows, position[real.owner[rows]])


def drawn_rows(count: int, most: int, *, seed: int, what: str) -> np.ndarray:
    """All row numbers, or `most` of them at random, ascending."""
    return drawn(count, most, seeds.generator(seed, "privacy", what))


class Parts:
    """Rows as vectors (see `Embedding`) in which every column has a part of its own: vectors by disjoint columns add up.

    Wider than 192, the axes are projected at random on 128, which keeps sums and, to about 12 %, distances.
    """

    def __init__(self, columns: tuple[Column, ...], fit: pl.DataFrame, *, seed: int) -> None:
        self.embeddings = {column.name: Embedding((column,), fit, seed=seed) for column in columns}
        ends = np.cumsum([0, *(embed(fit.head(1)).shape[1] for embed in self.embeddings.values())])
        self.places = {name: slice(*pair) for name, pair in zip(self.embeddings, pairwise(ends.tolist()), strict=True)}
        self.width, wide = int(ends[-1]), ends[-1] > WIDTH
        draw = seeds.generator(seed, "privacy", "parts")
        self.axes = draw.standard_normal((self.width, PROJECTED), np.float32) / np.float32(PROJECTED**0.5) if wide else None

    def __call__(self, names: Iterable[str], frame: pl.DataFrame, rows: np.ndarray) -> np.ndarray:
        """(rows, width) float32: the part of the columns `names`."""
        found = np.zeros((len(rows), self.width if self.axes is None else PROJECTED), np.float32)
        for name in names:
            part, place = self.embeddings[name](frame, rows), self.places[name]
            if self.axes is None:
                found[:, place] = part
            else:
                found += part @ self.axes[place]
        return found


class Codes:
    """A column's values as whole numbers from 0 to `size` - 1: 0 is missing; levels by frequency; numbers in bins of about equal content.

    The bins and levels are those of `learned`. Values that many rows share have a bin of their own.
    """

    def __init__(self, column: Column, learned: pl.Series, most: int) -> None:
        self.numeric = column.numeric
        if self.numeric:
            self.bins = bins(_numbers(learned), most)
            self.size = len(self.bins) + 1
        else:
            counts = learned.drop_nulls().cast(pl.String).alias("level").value_counts(name="rows")
            levels = counts.sort(["rows", "level"], descending=[True, False])["level"].head(LEVELS).to_list()
            self.levels = {level: code + 1 for code, level in enumerate(levels)}
            self.size = len(levels) + 2

    def __call__(self, values: pl.Series) -> np.ndarray:
        """(rows,) int64."""
        if not self.numeric:
            codes = values.cast(pl.String).replace_strict(self.levels, default=self.size - 1, return_dtype=pl.Int64)
            return np.where(values.is_null().to_numpy(), 0, codes.fill_null(0).to_numpy())
        found = _numbers(values)
        missing = np.isnan(found)
        return np.where(missing, 0, 1 + self.bins.codes(np.where(missing, 0.0, found)))


def _numbers(values: pl.Series) -> np.ndarray:
    return values.to_physical().cast(pl.Float64).fill_null(float("nan")).to_numpy()
