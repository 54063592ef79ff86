"""Rows as plain numbers, as trees read them."""

from __future__ import annotations

import numpy as np
import polars as pl

from proband.encode.numbers import to_numbers
from proband.schema import Schema


def plain(frame: pl.DataFrame, schema: Schema) -> np.ndarray:
    """(rows, columns) float64 of all columns but identifiers and text: numbers as they are, levels by their place in `categories`.

    NaN is missing. A level that the schema does not have counts as missing.
    """
    columns = []
    for column in schema.table.columns:
        if column.kind in ("identifier", "text"):
            continue
        if column.discrete:
            words = [False, True] if column.kind == "boolean" else list(column.categories or [""])
            codes = frame[column.name].replace_strict(words, list(range(len(words))), default=None, return_dtype=pl.Float64)
            columns.append(codes.fill_null(float("nan")).to_numpy())
        else:
            columns.append(to_numbers(frame[column.name]))
    return np.stack(columns, axis=1) if columns else np.zeros((frame.height, 0))
