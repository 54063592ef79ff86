"""Rows in which structure is looked for, as arrays."""

from __future__ import annotations

import math
from functools import cache, cached_property

import numpy as np
import polars as pl

from proband.schema.model import Table
from proband.schema.values import positions

_FEW_LEVELS = 50


class Sample:
    """Evenly spaced rows of a Cohort's columns. Numbers are float64 with NaN for missing; levels are codes with -1."""

    def __init__(self, frame: pl.DataFrame, table: Table):
        self.frame, self.table = frame, table
        self.names = frame.columns
        self.missing = cache(self._missing)
        self.numbers = cache(self._numbers)
        self.codes = cache(self._codes)
        self.surprise = cache(self._surprise)

    @staticmethod
    def of(frame: pl.DataFrame, table: Table, most: int) -> Sample:
        """At most `most` rows."""
        if frame.height > most:
            frame = frame[np.linspace(0, frame.height - 1, most).astype(np.int64)]
        return Sample(frame, table)

    @cached_property
    def flags(self) -> list[str]:
        """Boolean columns."""
        return [name for name in self.names if self.table[name].kind == "boolean"]

    @cached_property
    def discrete(self) -> list[str]:
        """Categories and ordinals."""
        return [name for name in self.names if self.table[name].kind in ("category", "ordinal")]

    @cached_property
    def measures(self) -> list[str]:
        """Numbers, integers, dates and times that vary."""
        return [name for name in self.names if self.table[name].numeric and self.frame[name].n_unique() > 2]

    @cached_property
    def leveled(self) -> list[str]:
        """Everything with few levels, integers too."""
        few = [name for name in self.measures if self.table[name].kind == "integer" and self.frame[name].n_unique() <= _FEW_LEVELS]
        some = [name for name in self.flags + self.discrete if 2 <= self.frame[name].n_unique() <= _FEW_LEVELS]
        return [name for name in self.names if name in set(few + some)]

    def _missing(self, name: str) -> np.ndarray:
        return self.frame[name].is_null().to_numpy()

    def _numbers(self, name: str) -> np.ndarray:
        return positions(self.frame[name]).cast(pl.Float64).to_numpy()

    def _codes(self, name: str) -> np.ndarray:
        return (self.frame[name].rank("dense").cast(pl.Int32) - 1).fill_null(-1).to_numpy()

    def content(self, name: str) -> object:
        """Equal for two columns that hold the same values, across numbers and integers."""
        column = self.table[name]
        if column.kind in ("number", "integer"):
            return "number", (self.numbers(name) + 0.0).tobytes()
        return str(column.dtype), self.frame[name].hash().to_numpy().tobytes(), self.missing(name).tobytes()

    def _surprise(self, name: str) -> float:
        """Log of the number of distinct orders in which the column's values could stand (nats): what an exact match is worth."""
        counts = np.unique(self.codes(name), return_counts=True)[1]
        return math.lgamma(counts.sum() + 1) - sum(math.lgamma(count + 1) for count in counts)

    def together(self, one: str, other: str) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of both in rows where neither is missing."""
        both = ~(self.missing(one) | self.missing(other))
        return self.numbers(one)[both], self.numbers(other)[both]

    def never_above(self, columns: list[str]) -> dict[str, list[str]]:
        """For each column the others of its type that it never exceeds."""
        if not columns:
            return {}
        values = np.column_stack([self.numbers(name) for name in columns])
        scale = ["number" if self.table[name].kind in ("number", "integer") else self.table[name].kind for name in columns]
        found: dict[str, list[str]] = {}
        few = values[:: max(1, len(values) // 500)]
        for place, name in enumerate(columns):
            hopeful = np.flatnonzero(~(few[:, [place]] > few).any(axis=0))
            hopeful = np.array([other for other in hopeful if other != place and scale[other] == scale[place]], int)
            above = (values[:, [place]] > values[:, hopeful]).any(axis=0)
            found[name] = [columns[other] for other in hopeful[~above]]
        return found
