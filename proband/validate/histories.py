"""Histories: a linked table of a cohort as events (who, when, what, how much), and one row of figures a patient.

A table with `measures` has an event a row. Any other table has one for every cell that is filled: a visit with five columns is five
events of one time, each column a variable of its own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Column, Schema, Table
from proband.stats.sequences import SUMMARIES, Events, summaries


def history_table(schema: Schema, name: str | None = None) -> Table:
    """The linked table called `name`; unless told, the first one with measures, else the first. InputError when there is none."""
    if not schema.children:
        raise InputError("The schema has one table: no patient has a history. Declare the table of events or visits with parent and on.")
    if name is None:
        return next((table for table in schema.children if table.measures), schema.children[0])
    if schema[name].parent is None:
        raise InputError(
            f"Table {name!r} holds the patients, not their histories. Use one of: {', '.join(t.name for t in schema.children)}."
        )
    return schema[name]


def history_variables(table: Table) -> tuple[Column, ...]:
    """What is measured over time: the table's `variables`, else the levels of its code; without measures its columns."""
    if table.measures:
        code, value = (table[name] for name in table.measures)
        return table.variables or tuple(value.model_copy(update={"name": level}) for level in code.categories or ())
    own = {table.key, table.on, *table.order, *(link.column for link in table.links)}
    return tuple(column for column in table.columns if column.name not in own and column.kind not in ("identifier", "text"))


def events(cohort: Cohort, name: str | None = None) -> Events:
    """The events of one linked table, `patients` counted in order of appearance in the first table.

    Times are those of the table's first `order` column: numbers as they are; dates in days, date-times in hours since the patient's
    first row; without an order, the place of the row. A discrete value is the number of its level. Rows that no patient owns, a
    variable that is not declared, and rows without a time are left out.
    """
    table = history_table(cohort.schema, name)
    known = history_variables(table)
    frame = cohort.linked[table.name].with_columns(_owners(cohort, table))
    frame = frame.with_columns(_time(frame, table).alias("__time"))
    frame = frame.filter(pl.col("__patient").is_not_null() & pl.col("__time").is_not_null())
    codes = {column.name: at for at, column in enumerate(known)}
    if table.measures:
        code, value = table.measures
        number = pl.col(code).cast(pl.String).replace_strict(codes, default=None, return_dtype=pl.Int64)
        parts = [frame.select("__patient", "__time", number.alias("__variable"), _number(table[value]).alias("__value"))]
        parts = [parts[0].filter(pl.col("__variable").is_not_null())]
    else:
        parts = [
            frame.filter(pl.col(column.name).is_not_null()).select(
                "__patient", "__time", pl.lit(at, pl.Int64).alias("__variable"), _number(column).alias("__value")
            )
            for column, at in zip(known, codes.values(), strict=True)
        ]
    rows = pl.concat(parts).sort("__patient", "__time", maintain_order=True)
    patient, time, variable, value = (rows[name].to_numpy() for name in ("__patient", "__time", "__variable", "__value"))
    return Events(patient, time, variable, value, len(cohort), tuple(codes))


def _owners(cohort: Cohort, table: Table) -> pl.Series:
    """(rows,) the number of the patient that owns each row, null where none does; found by the keys of the tables in between."""
    key = cohort.schema.table.key or ""
    numbers = pl.DataFrame({"__key": cohort.patients, "__patient": np.arange(len(cohort))})
    chain = [table]
    while (parent := cohort.schema[chain[-1].parent or ""]).parent is not None:
        chain.append(parent)
    owner = cohort.linked[table.name].select(pl.col(table.on or "").alias("__key"))
    for above in chain[1:]:
        step = cohort.linked[above.name].select(pl.col(above.key or "").alias("__key"), pl.col(above.on or "").alias("__next"))
        step = step.unique("__key", keep="first")
        owner = owner.join(step, on="__key", how="left", maintain_order="left").select(pl.col("__next").alias("__key"))
    assert key
    return owner.join(numbers, on="__key", how="left", maintain_order="left")["__patient"]


def _time(frame: pl.DataFrame, table: Table) -> pl.Expr:
    if not table.order:
        return pl.int_range(pl.len()).over("__patient").cast(pl.Float64)
    column = table[table.order[0]]
    if not column.numeric:
        remedy = "Put a column of numbers or dates first."
        raise InputError(f"Table {table.name!r}: order begins with {column.name!r}, a {column.kind}, not a time. {remedy}")
    time = pl.col(column.name)
    if column.kind in ("number", "integer"):
        return time.cast(pl.Float64)
    unit = {"date": 1.0, "datetime": 3600e6, "time": 3600e9}[column.kind]
    physical = time.to_physical().cast(pl.Float64)
    return (physical - (physical.min().over("__patient") if column.kind != "time" else 0)) / unit


def _number(column: Column) -> pl.Expr:
    """A cell as a number: levels by their place in the schema."""
    cell = pl.col(column.name)
    if column.kind == "boolean":
        return cell.cast(pl.Float64)
    if column.discrete:
        places = {level: float(at) for at, level in enumerate(column.categories or ())}
        return cell.replace_strict(places, default=None, return_dtype=pl.Float64).fill_null(float("nan"))
    if column.kind in ("number", "integer"):
        return cell.cast(pl.Float64).fill_null(float("nan"))
    if column.numeric:
        return cell.to_physical().cast(pl.Float64).fill_null(float("nan"))
    return pl.lit(float("nan"))


def summarised(cohort: Cohort, name: str | None = None) -> Cohort:
    """One row a patient: the columns of the first table beside the SUMMARIES of every variable of one linked table.

    What judges tables (discriminators, attacks, predictions) judges whole histories in this form.
    """
    found = events(cohort, name)
    figures = summaries(found)
    names = [f"{variable} {what}" for variable in found.names for what in SUMMARIES]
    table = cohort.schema.table
    own = cohort.frame.unique(table.key, keep="first", maintain_order=True) if table.key else cohort.frame
    columns = [pl.Series(title, figures[:, at]).fill_nan(None) for at, title in enumerate(names)]
    more = tuple(Column(name=title, kind="number") for title in names)
    flat = table.model_copy(update={"columns": table.columns + more})
    schema = Schema(tables=(flat,), rules=cohort.schema.rules)
    return replace(cohort, schema=schema, frame=own.hstack(columns), linked={})
