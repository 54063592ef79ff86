"""Anybody's frame -> polars."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import polars as pl

from proband.errors import InputError


def to_polars(frame: Any) -> pl.DataFrame:
    """A pandas, polars or arrow frame as polars; pandas columns of mixed objects become text. InputError for anything else."""
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame
    try:
        given = nw.from_native(frame, eager_only=True)
    except TypeError as error:
        raise InputError(f"Frames of type {type(frame).__name__} are not supported. Give pandas, polars or arrow, or a path.") from error
    names = [str(name) for name in given.columns]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"The frame has two columns named {name!r}. Rename one.")
    columns = []
    for name in given.columns:
        column = given.get_column(name)
        try:
            columns.append(column.to_polars().alias(str(name)))
        except Exception:  # a pandas object column of mixed types; arrow raises several kinds of error for them
            columns.append(pl.Series(str(name), [_text(value) for value in column.to_list()], dtype=pl.String))
    return pl.DataFrame(columns)


def _text(value: object) -> str | None:
    return None if value is None or value != value else str(value)
