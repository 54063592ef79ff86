"""Times told by how long after another time they come: the end of a stay after its beginning, an entry after its measurement."""

from __future__ import annotations

import numpy as np
import polars as pl

from proband.encode.numbers import from_numbers, to_numbers
from proband.schema import Column

_UNITS = {"d": 1.0, "min": 60e6, "s": 1e6, "us": 1.0}  # dates are whole days, date-times whole microseconds


def lapse(column: Column, times: pl.Series, begun: np.ndarray) -> Column:
    """The column of how long after `begun` the `times` of a date or date-time come, in the coarsest unit in which all are whole.

    Whole, so that times come back as their file can write them: a time in fractions of a second does not survive its layout.
    """
    away = to_numbers(times) - begun
    away = away[~np.isnan(away)]
    unit = "d" if column.kind == "date" else next(unit for unit in ("min", "s", "us") if not (away % _UNITS[unit]).any())
    return Column(name=column.name, kind="integer", unit=unit)


def told(times: pl.Series, begun: np.ndarray, lapse: Column) -> pl.Series:
    """How long after `begun` the times come."""
    return from_numbers((to_numbers(times) - begun) / _UNITS[lapse.unit or ""], lapse).alias(lapse.name)


def after(lapses: pl.Series, begun: np.ndarray, lapse: Column, column: Column) -> pl.Series:
    """The times again: the inverse of `told`."""
    return from_numbers(begun + to_numbers(lapses) * _UNITS[lapse.unit or ""], column).alias(column.name)
