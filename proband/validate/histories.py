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
from proband.validate.findings import Evidence

#: Columns of a flat table of histories at most: pairs and attacks cost their square.
_MOST_COLUMNS = 300


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
    first row; without an order, the place of the row. Numbers that count from an owner below the patient on (minutes of a stay) go on from
    one owner to the next, in the order of their table: a later one's 0 lies one unit past the end of the one before. A discrete value is
    the number of its level. Rows that no patient owns, a variable that is not declared, and rows without a time are left out.
    """
    table = history_table(cohort.schema, name)
    known = history_variables(table)
    frame = cohort.linked[table.name].with_columns(owners(cohort, table))
    frame = frame.with_columns(_time(frame, table).alias("__time"))
    frame = frame.filter(pl.col("__patient").is_not_null() & pl.col("__time").is_not_null())
    if table.parent != cohort.schema.table.name and table.order and table[table.order[0]].kind in ("number", "integer"):
        frame = _one_after_another(frame, cohort, table)
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
    patient, time, variable, cells = (rows[title].to_numpy() for title in ("__patient", "__time", "__variable", "__value"))
    return Events(patient, time, variable, cells, len(cohort), tuple(codes))


def coded(found: Events, variables: tuple[Column, ...]) -> Events:
    """Every level of a discrete variable as a variable of its own, called `variable = level`."""
    names: list[str] = []
    start = np.zeros(len(variables), np.int64)
    for at, column in enumerate(variables):
        start[at] = len(names)
        levels = ("false", "true") if column.kind == "boolean" else column.categories or ()
        names += [f"{column.name} = {level}" for level in levels] if column.discrete else [column.name]
    discrete = np.array([column.discrete for column in variables], bool)[found.variable]
    keep = ~discrete | ~np.isnan(found.value)
    code = start[found.variable] + np.where(discrete, np.nan_to_num(found.value), 0).astype(np.int64)
    return Events(found.patient[keep], found.time[keep], code[keep], found.value[keep], found.patients, tuple(names))


def owners(cohort: Cohort, table: Table) -> pl.Series:
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


def _one_after_another(frame: pl.DataFrame, cohort: Cohort, table: Table) -> pl.DataFrame:
    """The rows with the clock of each owner set past the end of that of the patient's owner before, so that no two share a moment."""
    parent, on = cohort.schema[table.parent or ""], table.on or ""
    above = cohort.linked[parent.name].sort(*parent.order, maintain_order=True) if parent.order else cohort.linked[parent.name]
    places = above.select(pl.col(parent.key or "").alias(on)).unique(keep="first", maintain_order=True).with_row_index("__place")
    spans = frame.group_by("__patient", on).agg(pl.col("__time").min().alias("__start"), pl.col("__time").max().alias("__end"))
    begins = pl.col("__end").shift(1) + 1 - pl.min_horizontal("__start", 0)
    spans = spans.join(places, on=on).sort("__patient", "__place")
    spans = spans.select(on, begins.fill_null(0).cum_sum().over("__patient").alias("__zero"))
    return frame.join(spans, on=on, maintain_order="left").with_columns(pl.col("__time") + pl.col("__zero"))


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


def summarised(cohort: Cohort) -> Cohort:
    """One row a patient: the columns of the first table beside the SUMMARIES of every variable of every linked table.

    What judges tables (discriminators, attacks, predictions) judges whole histories in this form. Of levels only the count, the first
    and the last are kept. Names are `variable summary`, with the table before them where several are linked.
    """
    table = cohort.schema.table
    own = cohort.frame.unique(table.key, keep="first", maintain_order=True) if table.key else cohort.frame
    added: list[Column] = []
    made: list[pl.Series] = []
    for child in cohort.schema.children:
        before = f"{child.name}: " if len(cohort.schema.children) > 1 else ""
        figures = summaries(events(cohort, child.name)).reshape(len(cohort), -1, len(SUMMARIES))
        for at, variable in enumerate(history_variables(child)):
            for what, values in zip(SUMMARIES, figures[:, at].T, strict=True):
                title, told = f"{before}{variable.name} {what}", pl.Series(values).fill_nan(None)
                if what != "count" and variable.discrete:
                    if what not in ("first", "last"):
                        continue
                    levels = ("false", "true") if variable.kind == "boolean" else variable.categories or ()
                    told = told.replace_strict(dict(enumerate(map(str, levels))), default=None, return_dtype=pl.String)
                    added.append(Column(name=title, kind="category", categories=tuple(map(str, levels))))
                else:
                    added.append(Column(name=title, kind="number"))
                made.append(told.alias(title))
    flat = table.model_copy(update={"columns": table.columns + tuple(added)})
    return replace(cohort, schema=Schema(tables=(flat,), rules=cohort.schema.rules), frame=own.hstack(made), linked={})


def flattened(evidence: Evidence) -> Evidence:
    """The evidence with every cohort `summarised`, without the columns that hold nothing, or one thing only, in the training patients.

    Of more than 300 such columns those of the variables that most training patients have are kept, all columns of a variable together.
    Evidence without linked tables stays as it is.
    """
    schema = evidence.train.schema
    if not schema.children:
        return evidence
    parts = [summarised(one) for one in (evidence.train, evidence.holdout, evidence.reference, evidence.synthetic)]
    flat, own = parts[0], len(schema.table.columns)
    told = [column.name for column in flat.schema.table.columns[own:] if flat.frame[column.name].n_unique() > 1]
    if len(told) > _MOST_COLUMNS:
        variable = {name: name.rpartition(" ")[0] for name in told}
        patients = {one: int((flat.frame[f"{one} count"] > 0).sum()) for one in variable.values()}
        told.sort(key=lambda name: -patients[variable[name]])
        told = [name for name in told[:_MOST_COLUMNS] if variable[name] != variable[told[_MOST_COLUMNS]]]
    kept = [column.name for column in flat.schema.table.columns if column.name in told or column.name in schema.table]
    table = flat.schema.table.model_copy(update={"columns": tuple(flat.schema.table[name] for name in kept)})
    fewer = flat.schema.model_copy(update={"tables": (table,)})
    parts = [replace(one, schema=fewer, frame=one.frame.select(kept)) for one in parts]
    return replace(evidence, train=parts[0], holdout=parts[1], reference=parts[2], synthetic=parts[3])
