"""Patients drawn with replacement, with all their linked rows, each copy under identifiers of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.encode.tables import fresh_prefix
from proband.schema import Table


def copied(cohort: Cohort, draws: np.ndarray) -> dict[str, pl.DataFrame]:
    """Frames by table: for each entry of `draws`, a row of the first table, that row and all that hangs on it.

    The first table has a row a patient. A row of another belongs to the copy of its parent's row; keys are made anew in every
    table, and a key in `on` or in a link becomes that of the same row in the same copy (missing where it led nowhere, or to another
    patient). Other identifiers are made anew too: equal ones of a copy stay equal. Rows stand by copy, then as they stood.
    """
    prefix = fresh_prefix(cohort)
    rows = cohort.frame[draws].with_columns(pl.int_range(pl.len()).alias(_COPY))
    found: dict[str, pl.DataFrame] = {}
    keys: dict[str, pl.DataFrame] = {}  # table -> (copy, old key, new key)
    for table in cohort.schema.tables:
        if table.parent is not None:
            owners = keys[table.parent].rename({"old": table.on or ""})
            theirs = cohort.linked[table.name].with_row_index(_ROW)
            rows = owners.join(theirs, on=table.on, how="inner").sort(_COPY, _ROW).drop(_ROW)
        found[table.name] = rows
        if table.key is not None:
            fresh = pl.col(_NEW) if table.key == table.on else _anew(table.key, prefix)
            keys[table.name] = rows.select(_COPY, old=pl.col(table.key)).with_columns(rows.select(fresh.alias(_NEW)))
    return {table.name: _renamed(table, found[table.name], keys, prefix) for table in cohort.schema.tables}


_COPY, _ROW, _NEW = "\0copy", "\0row", "\0new"  # no file's column is called so


def _renamed(table: Table, rows: pl.DataFrame, keys: Mapping[str, pl.DataFrame], prefix: str) -> pl.DataFrame:
    led = {link.column: link.table for link in table.links} | ({table.on: table.parent} if table.on and table.parent else {})
    made = []
    for column in table.columns:
        if column.name in led:
            old = rows.select(_COPY, pl.col(column.name).alias("old"))
            made.append(old.join(keys[led[column.name]], on=[_COPY, "old"], how="left", maintain_order="left")[_NEW].alias(column.name))
        elif column.kind == "identifier":
            made.append(rows.select(_anew(column.name, prefix).alias(column.name)).to_series())
        else:
            made.append(rows[column.name])
    return pl.DataFrame(made)


def _anew(column: str, prefix: str) -> pl.Expr:
    """A fresh identifier for each distinct one of each copy; missing stays missing."""
    number = pl.struct(_COPY, column).rank("dense").cast(pl.String).str.zfill(6)
    return pl.when(pl.col(column).is_not_null()).then(pl.lit(prefix) + number)
