"""Rows that name a row nearer to them than their owner: what was charted in a stay hangs on the admission, and names the stay.

While patients are made such a table is told as two: rows that name one hang on it, the others stand alone. So what lies in a stay, and how
much in none, is learned with the stay, and not left to a link that is found afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from proband.cohort import Cohort
from proband.encode.sequences import time_of
from proband.errors import InputError
from proband.schema import Schema, Table
from proband.schema.integrity import interval
from proband.schema.model import Link
from proband.synthesizers.linked import SURE, owned_by, temporal

ALONE = " (alone)"  # how the name ends of a table of those rows that name none


def told(cohort: Cohort) -> Schema:
    """The schema in which the cohort is told: every table whose rows name rows nearer than their owner, that last, as two; as one where
    fewer than 20 rows name none. InputError where a table has the name of such a second one."""
    schema, frames = cohort.schema, {table.name: frame for table, frame in cohort.tables}
    tables, last = [schema.table], []  # behind all others, and so behind their new owners
    for table in schema.children:
        link = _nearest(schema, frames, table)
        if link is None:
            tables.append(table)
            continue
        rest, up = tuple(other for other in table.links if other != link), Link(column=table.on or "", table=table.parent or "")
        last.append(table.model_copy(update={"parent": link.table, "on": link.column, "links": (*rest, up)}))
        if (~_near(schema, frames, table, link)).sum() >= SURE:
            last.append(table.model_copy(update={"name": table.name + ALONE, "links": rest}))
    if taken := {table.name for table in last if table.name.endswith(ALONE)} & {table.name for table in schema.tables}:
        raise InputError(f"Table {min(taken)!r}: the name is needed for rows of {min(taken)[: -len(ALONE)]!r}. Give it another.")
    return schema.model_copy(update={"tables": (*tables, *last)})


def divided(cohort: Cohort, told: Schema) -> Cohort:
    """The cohort as it is told; where no table is told for rows that name none, without them."""
    schema, linked = cohort.schema, dict(cohort.linked)
    frames = {table.name: frame for table, frame in cohort.tables}
    for table in schema.children:
        nearer = told[table.name]
        if nearer.parent != table.parent:
            link = Link(column=nearer.on or "", table=nearer.parent or "")
            rows, near = linked[table.name], _near(schema, frames, table, link)
            linked[table.name] = rows.filter(near)
            linked[table.name + ALONE] = rows.filter(~near).with_columns(pl.lit(None, pl.String).alias(link.column))
    return replace(cohort, schema=told, linked={table.name: linked[table.name] for table in told.children})


def joined(schema: Schema, told: Schema, frames: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Frames as they are told, as `schema` has them: the two of a table below each other, the rows of one owner by time."""
    found = {table.name: frames[table.name] for table in schema.tables}
    for table in schema.tables:
        if told[table.name].parent != table.parent:
            frame = pl.concat([found[table.name], *(frames[name] for name in (table.name + ALONE,) if name in frames)])
            owners = frame.select(table.on or "").unique(maintain_order=True).with_row_index("(owner)")
            frame = frame.join(owners, on=table.on, how="left", maintain_order="left")
            found[table.name] = frame.sort("(owner)", *table.order[:1], maintain_order=True).drop("(owner)")
    return found


def _nearest(schema: Schema, frames: Mapping[str, pl.DataFrame], table: Table) -> Link | None:
    """The link that leads furthest down, and of those that for most rows; None where others hang on the rows of `table` themselves."""
    if any(table.name in (other.parent, *(link.table for link in other.links)) for other in schema.tables):
        return None
    found = []
    for link in table.links:
        other, keys = schema[link.table], frames[link.table][schema[link.table].key or ""]
        if interval(other) and other.order and temporal(time_of(other)) and not keys.drop_nulls().is_duplicated().any():
            near = int(_near(schema, frames, table, link).sum())
            found += [(_depth(schema, other), near, link)] if near >= SURE else []
    return max(found, key=lambda each: each[:2])[2] if found else None


def _depth(schema: Schema, table: Table) -> int:
    return 0 if table.parent is None else 1 + _depth(schema, schema[table.parent])


def _near(schema: Schema, frames: Mapping[str, pl.DataFrame], table: Table, link: Link) -> pl.Series:
    """(rows,) whether each row of `table` names by `link` a row below its owner."""
    owners = owned_by(schema, frames, schema[link.table], frames[link.table], table.parent or "")
    if owners is None:
        return pl.Series([False]).new_from_index(0, frames[table.name].height)
    below = pl.DataFrame({"key": frames[link.table][schema[link.table].key or ""], "owner": owners}).unique("key", keep="first")
    rows = frames[table.name].select(key=link.column, on=table.on or "").join(below, on="key", how="left", maintain_order="left")
    return (rows["owner"] == rows["on"]).fill_null(False)
