"""Rows that name a row nearer to them than their owner: what was charted in a stay hangs on the admission, and names the stay.

While patients are made such a table is told as two: rows that name one hang on it, the others stand alone. So what lies in a stay, and how
much in none, is learned with the stay, and not left to a link that is found afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Schema, Table
from proband.schema.model import Link
from proband.synthesizers.linked import SURE, owned_by

ALONE = " (alone)"  # how the name ends of a table of those rows that name none


def told(cohort: Cohort) -> Schema:
    """The schema in which the cohort is told: every table whose rows name a nearer one as two, the second only if some rows name none."""
    schema, frames = cohort.schema, {table.name: frame for table, frame in cohort.tables}
    tables, last = [schema.table], []  # behind all others, and so behind their new owners
    for table in schema.children:
        link = next((link for link in table.links if _near(schema, frames, table, link).sum() >= SURE), None)
        if link is None or any(table.name in (other.parent, *(link.table for link in other.links)) for other in schema.tables):
            tables.append(table)  # the latter: others hang on its rows, wherever those stand
            continue
        rest, up = tuple(other for other in table.links if other != link), Link(column=table.on or "", table=table.parent or "")
        last.append(table.model_copy(update={"parent": link.table, "on": link.column, "links": (*rest, up)}))
        if not _near(schema, frames, table, link).all():
            last.append(table.model_copy(update={"name": table.name + ALONE, "links": rest}))
    return schema.model_copy(update={"tables": (*tables, *last)})


def divided(cohort: Cohort, told: Schema) -> Cohort:
    """The cohort as it is told. InputError for rows that name no nearer one where all that were learned did."""
    schema, linked = cohort.schema, dict(cohort.linked)
    frames = {table.name: frame for table, frame in cohort.tables}
    for table in schema.children:
        nearer = told[table.name]
        if nearer.parent == table.parent:
            continue
        link = Link(column=nearer.on or "", table=nearer.parent or "")
        rows, near, alone = linked[table.name], _near(schema, frames, table, link), table.name + ALONE
        linked[table.name] = rows.filter(near)
        if any(other.name == alone for other in told.tables):
            linked[alone] = rows.filter(~near).with_columns(pl.lit(None, pl.String).alias(link.column))
        elif not near.all():
            raise InputError(
                f"Table {table.name!r}, column {link.column!r}: {(~near).sum()} rows name no row of {link.table!r} that has the same "
                f"{table.on}; all rows that were learned do. Correct them, or take them out."
            )
    return replace(cohort, schema=told, linked={table.name: linked[table.name] for table in told.children})


def joined(schema: Schema, told: Schema, frames: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Frames as they are told, as `schema` has them: the two of a table below each other, the rows of one owner by time."""
    found: dict[str, pl.DataFrame] = {}
    for table in schema.tables:
        frame = frames[table.name]
        if told[table.name].parent != table.parent:
            frame = pl.concat([frame, *(frames[name] for name in (table.name + ALONE,) if name in frames)])
            owner = schema[table.parent or ""]
            owners = found[owner.name].select(pl.col(owner.key or "").alias(table.on or "")).with_row_index("(owner)")
            frame = frame.join(owners, on=table.on, how="left", maintain_order="left")
            frame = frame.sort("(owner)", *table.order[:1], maintain_order=True).drop("(owner)")
        found[table.name] = frame
    return found


def _near(schema: Schema, frames: Mapping[str, pl.DataFrame], table: Table, link: Link) -> pl.Series:
    """(rows,) whether each row of `table` names by `link` a row below its owner."""
    owners = owned_by(schema, frames, schema[link.table], frames[link.table], table.parent or "")
    if owners is None:
        return pl.Series([False]).new_from_index(0, frames[table.name].height)
    below = pl.DataFrame({"key": frames[link.table][schema[link.table].key or ""], "owner": owners}).unique("key", keep="first")
    rows = frames[table.name].select(key=link.column, on=table.on or "").join(below, on="key", how="left", maintain_order="left")
    return (rows["owner"] == rows["on"]).fill_null(False)
