"""What a person should look at in a cohort before anything learns from it."""

from __future__ import annotations

from typing import Any

import polars as pl

from proband.schema import rules
from proband.schema.integrity import strays, unowned
from proband.schema.model import Problem, Schema, Table


def problems(cohort: Any, schema: Schema) -> list[Problem]:
    """Broken rules, patients whose rows are all alike, columns that are constant or empty, levels that nobody has, and among
    linked tables what `proband.schema.integrity` finds.

    `cohort` is a Cohort; `schema` usually its own.
    """
    table, frame = schema.table, cohort.frame
    found = []
    for rule in schema.rules:
        broken = int((~rules.holds(rule.sql, frame, table)).fill_null(False).sum())
        if broken:
            message = f"Rule {rule.sql!r} is broken. Correct the rows, or delete the rule."
            found.append(Problem(table=table.name, column=None, rows=broken, message=message))
    frames = {table.name: rows for table, rows in cohort.tables}
    for table in schema.tables:
        found += _columns(table, frames[table.name])
    found += _duplicates(cohort, schema)
    return found + unowned(schema, frames) + strays(schema, frames)


def _columns(table: Table, frame: pl.DataFrame) -> list[Problem]:
    """Columns that are empty or constant, or have a level for nearly every row."""
    of = f" of table {table.name!r}" if table.parent else ""
    found = []
    if not frame.height:
        message = f"Table {table.name!r} has no row; nothing can be learned of it. Leave it out of the schema, or bring its rows."
        return [Problem(table=table.name, column=None, rows=0, message=message)]
    for column in table.columns:
        present = frame[column.name].drop_nulls()
        if present.is_empty():
            message = f"Column {column.name!r}{of} is missing in every row; nothing can be learned from it. Drop it, or bring its values."
            found.append(Problem(table=table.name, column=column.name, rows=frame.height, message=message))
        elif column.kind != "identifier" and frame.height > 1 and len(present) == frame.height and present.n_unique() == 1:
            message = f"Column {column.name!r}{of} has the same value in every row; it tells patients apart in nothing."
            found.append(Problem(table=table.name, column=column.name, rows=frame.height, message=message))
        elif column.discrete and column.kind != "boolean" and len(present) >= 20 and present.n_unique() > 0.5 * len(present):
            message = (
                f"Column {column.name!r}{of} has nearly a level per row, which names patients. "
                "Code it coarsely, or declare it an identifier."
            )
            found.append(Problem(table=table.name, column=column.name, rows=len(present), message=message))
    return found


def _duplicates(cohort: Any, schema: Schema) -> list[Problem]:
    frame = cohort.frame
    with_identity = int(frame.is_duplicated().sum()) if schema.table.key else 0
    told = [column.name for column in schema.table.columns if column.kind != "identifier"]
    alike = int(frame.select(told).is_duplicated().sum()) if told else 0
    found = []
    if with_identity:
        message = "Rows stand twice, identifiers included. Remove the copies."
        found.append(Problem(table=schema.table.name, column=schema.table.key, rows=with_identity, message=message))
    if alike > with_identity:
        message = "Rows are alike in every column but the identifiers. If one patient was entered twice, remove the copies."
        found.append(Problem(table=schema.table.name, column=None, rows=alike, message=message))
    return found
