"""A frame of a Cohort as arrays, as they lie in a model folder, and back."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl

from proband.schema import Table


def to_arrays(frame: pl.DataFrame) -> dict[str, np.ndarray]:
    """Of the column at place `i` the values (`i.values`), where it has one (`i.present`), and of text the ends (`i.ends`)."""
    found: dict[str, np.ndarray] = {}
    for i, series in enumerate(frame):
        found[f"{i}.present"] = series.is_not_null().to_numpy()
        if series.dtype == pl.String:
            text = series.fill_null("").cast(pl.Binary)
            found[f"{i}.ends"] = np.cumsum(text.bin.size().to_numpy(), dtype=np.int64)
            found[f"{i}.values"] = np.frombuffer(b"".join(text.to_list()), np.uint8)
        elif series.dtype == pl.Float64:
            found[f"{i}.values"] = series.fill_null(0.0).to_numpy()
        else:
            found[f"{i}.values"] = series.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
    return found


def from_arrays(arrays: dict[str, np.ndarray], table: Table) -> pl.DataFrame:
    """The inverse of `to_arrays`; KeyError or ValueError when the arrays are not of this table."""
    columns = []
    for i, column in enumerate(table.columns):
        present, values = arrays[f"{i}.present"], arrays[f"{i}.values"]
        if column.dtype == pl.String:
            ends = np.concatenate([[0], arrays[f"{i}.ends"]])
            if (np.diff(ends) < 0).any() or ends[-1] != len(values):
                raise ValueError("the ends of the texts do not fit their bytes")
            whole = values.tobytes()
            series = pl.Series(column.name, [whole[a:b].decode() for a, b in pairwise(ends)], dtype=pl.String)
        elif column.dtype in (pl.Float64, pl.Boolean):
            series = pl.Series(column.name, values).cast(column.dtype)
        else:
            series = pl.Series(column.name, values).cast(pl.Int32 if column.dtype == pl.Date else pl.Int64).cast(column.dtype)
        if len(series) != len(present):
            raise ValueError("the columns are of unequal length")
        columns.append(series.to_frame().select(pl.when(pl.Series(present)).then(pl.col(column.name)).alias(column.name)).to_series())
    return pl.DataFrame(columns)
