"""Patients as a matrix of numbers that a model can learn from; the same way for any cohort under one schema."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Schema, rules
from proband.schema.model import Column
from proband.stats.resampling import Patients
from proband.validate.coded import numbers, words

#: Levels of a category that are told apart: the most frequent ones. The others share a code.
_LEVELS = 50


class Features:
    """What tells something about `target` (columns), as a matrix: numbers as they are, levels as codes, NaN for missing.

    Identifiers, free text, the target and what a rule of the schema derives from it or it from are left out. Learned from the training
    patients: codes follow the falling frequency of levels among them.
    """

    def __init__(self, train: Cohort, *, target: Collection[str]) -> None:
        table, out = train.schema.table, tied(train.schema, target)
        self.columns: tuple[Column, ...] = tuple(
            c for c in table.columns if c.kind not in ("identifier", "text") and c.name != table.key and c.name not in out
        )
        if not self.columns:
            raise InputError("No column is left to predict from: all are identifiers, text or the target itself. Bring more columns.")
        self.levels = np.array([not column.numeric for column in self.columns])  # (columns,) which hold codes
        self._codes = {c.name: _by_frequency(train.frame[c.name]) for c in self.columns if not c.numeric}

    def __call__(self, frame: pl.DataFrame) -> np.ndarray:
        """(rows, columns) float64."""
        made = np.empty((frame.height, len(self.columns)))
        for at, column in enumerate(self.columns):
            made[:, at] = numbers(frame[column.name], column) if column.numeric else self._coded(column, frame[column.name])
        return made

    def _coded(self, column: Column, series: pl.Series) -> np.ndarray:
        text, known = words(series), self._codes[column.name]
        codes = text.replace_strict(known, np.minimum(np.arange(len(known)), _LEVELS), default=_LEVELS, return_dtype=pl.Float64)
        return np.where(text.is_null().to_numpy(), np.nan, codes.to_numpy())


def tied(schema: Schema, names: Collection[str]) -> set[str]:
    """These columns, and those that rules of the schema compute from them or them from: each would give the others away."""
    found = set(names)
    derived = rules.derivations([rule.sql for rule in schema.rules], schema.table)[0].values()
    while more := [one for one in derived if found & {one.column, *one.inputs} and not found >= {one.column, *one.inputs}]:
        found |= {name for one in more for name in (one.column, *one.inputs)}
    return found


def met(condition: str, cohort: Cohort) -> np.ndarray:
    """1.0 where a SQL condition holds, 0.0 where it does not, NaN where a missing value leaves it unknown; (rows,)."""
    rules.check(condition, cohort.schema.table)
    return rules.holds(condition, cohort.frame, cohort.schema.table).cast(pl.Float64).fill_null(float("nan")).to_numpy()


def owners(cohort: Cohort) -> Patients:
    """Which rows belong to which patient."""
    key = cohort.schema.table.key
    return Patients(np.arange(cohort.frame.height) if key is None else cohort.frame[key].rank("dense").to_numpy())


def folds(patients: Patients, count: int, generator: np.random.Generator) -> np.ndarray:
    """A fold (0 ... count - 1) for every row, the same for all rows of a patient."""
    return (generator.permutation(patients.count) % count)[patients.code]


def _by_frequency(series: pl.Series) -> list[str]:
    counts = words(series).drop_nulls().value_counts()
    return counts.sort(["count", counts.columns[0]], descending=[True, False])[counts.columns[0]].to_list()
