"""How rows of linked tables hang together: what makes them unreadable (`unowned`), and what a person should look at (`strays`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from proband.schema import names
from proband.schema.model import Problem, Schema, Table

#: Names of the two ends of a stay: intime/outtime, admittime/dischtime, start/stop.
_ENDS = (
    ("in", "out"), ("admit", "disch"), ("admission", "discharge"), ("admitted", "discharged"), ("start", "end"), ("start", "stop"),
    ("begin", "end"), ("from", "to"), ("opened", "closed"),
)  # fmt: skip


def unowned(schema: Schema, frames: Mapping[str, pl.DataFrame]) -> list[Problem]:
    """Keys that are missing or stand twice in a table with children, and rows without a parent: nobody knows whose they are.

    `frames` has a Cohort's frame for every table, by name.
    """
    parents = {table.parent for table in schema.children}
    found: list[Problem | None] = []
    for table in schema.tables:
        frame = frames[table.name]
        if table.name in parents:
            found += _keys(table, frame)
        if table.parent is not None and table.on is not None:
            owner = frames[table.parent][schema[table.parent].key or ""]
            missing = frame[table.on].is_null()
            remedy = f"Bring the row of {table.parent!r}, delete this one, or declare another parent in the schema."
            found.append(_problem(table, table.on, missing, "it is missing, so nobody owns the row", remedy))
            orphan = ~frame[table.on].is_in(owner.implode()) & ~missing
            found.append(_problem(table, table.on, orphan, f"no row of table {table.parent!r} has this key", remedy))
    return [problem for problem in found if problem is not None]


def strays(schema: Schema, frames: Mapping[str, pl.DataFrame]) -> list[Problem]:
    """Links that lead nowhere or to another patient, events outside their stay, time running backwards, one moment told twice.

    Reported, never refused: real records hold a few of each. `frames` as in `unowned`.
    """
    patients = _patients(schema, frames)
    parents = {table.parent for table in schema.children}
    targets = {link.table for table in schema.tables for link in table.links} - parents
    found: list[Problem | None] = []
    for table in schema.tables:
        frame = frames[table.name]
        found += _keys(table, frame) if table.name in targets else []
        for link in table.links:
            target = frames[link.table].select(pl.col(schema[link.table].key or "").alias("key"), patients[link.table].alias("owner"))
            target = target.unique("key", keep="first", maintain_order=True)
            row = pl.DataFrame({"key": frame[link.column], "patient": patients[table.name]})
            owner = row.join(target, on="key", how="left", maintain_order="left")
            nowhere = row["key"].is_not_null() & ~row["key"].is_in(target["key"].implode())
            what = f"no row of table {link.table!r} has this key"
            found.append(_problem(table, link.column, nowhere, what, "Bring that row, or empty the cell."))
            other = (owner["owner"] != owner["patient"]).fill_null(False)
            what = f"it points at a row of table {link.table!r} that belongs to another patient"
            found.append(_problem(table, link.column, other, what, "Correct the key, or the column that says whose row it is."))
        found += [*_outside(schema, table, frames), *_in_time(table, frame)]
    return [problem for problem in found if problem is not None]


def _keys(table: Table, frame: pl.DataFrame) -> list[Problem | None]:
    """A key that is missing, or that stands twice."""
    key, remedy = frame[table.key or ""], "Give every row a key of its own: other tables say by it to which row theirs belong."
    again = ~key.is_first_distinct() & key.is_not_null()
    return [
        _problem(table, key.name, key.is_null(), "the key is missing", remedy),
        _problem(table, key.name, again, "the key stood in a row before", remedy),
    ]


def _patients(schema: Schema, frames: Mapping[str, pl.DataFrame]) -> dict[str, pl.Series]:
    """For every row of every table the number of the row of the first table that owns it; null for orphans."""
    first = schema.table
    found = {first.name: pl.int_range(frames[first.name].height, eager=True).alias("patient")}
    for table in schema.children:
        assert table.parent is not None and table.on is not None
        owners = pl.DataFrame({"key": frames[table.parent][schema[table.parent].key or ""], "patient": found[table.parent]})
        rows = frames[table.name].select(pl.col(table.on).alias("key"))
        found[table.name] = rows.join(owners.unique("key", keep="first"), on="key", how="left", maintain_order="left")["patient"]
    return found


def _outside(schema: Schema, table: Table, frames: Mapping[str, pl.DataFrame]) -> Iterator[Problem | None]:
    """Rows whose time lies before or after the stay that they, or a link of theirs, belong to. Compared in days where one is a date."""
    if not table.order or table[table.order[0]].kind not in ("date", "datetime"):
        return
    time = table.order[0]
    for column, target in ((table.on, table.parent), *((link.column, link.table) for link in table.links)):
        ends = None if target is None else interval(schema[target])
        if column is None or target is None or ends is None:
            continue
        day = "date" in (table[time].kind, *(schema[target][name].kind for name in ends))
        stays = frames[target].select(
            pl.col(schema[target].key or "").alias("key"), *(pl.col(n).alias(f"end{i}") for i, n in enumerate(ends))
        )
        rows = frames[table.name].select(pl.col(column).alias("key"), pl.col(time).alias("time"))
        rows = rows.join(stays.unique("key", keep="first"), on="key", how="left", maintain_order="left")
        rows = rows.select(pl.col("time", "end0", "end1").cast(pl.Date if day else pl.Datetime("us")))
        outside = rows.select(((pl.col("time") < pl.col("end0")) | (pl.col("time") > pl.col("end1"))).fill_null(False)).to_series()
        what = f"it lies outside its row of table {target!r}, from {ends[0]!r} to {ends[1]!r}"
        yield _problem(table, time, outside, what, "Correct the time, or the key of the stay; a few such rows are usual.")


def interval(table: Table) -> tuple[str, str] | None:
    """The two columns between which a row of `table` lasts, told by their names, such as ("intime", "outtime"); None without such."""
    times = {column.name.lower(): column.name for column in table.columns if column.kind in ("date", "datetime")}
    for low, name in times.items():
        for start, end in _ENDS:
            if (start in names.words(name) or low.startswith(start)) and low.replace(start, end, 1) in times:
                return name, times[low.replace(start, end, 1)]
    return None


def _in_time(table: Table, frame: pl.DataFrame) -> Iterator[Problem | None]:
    """Rows that stand before their time, and rows of one owner that are alike in all that should tell them apart."""
    if not table.order or table.on is None:
        return
    time = table.order[0]
    place = frame.select(pl.col(table.on).alias("owner"), pl.col(time).alias("time"))
    back = place.select((pl.col("time") < pl.col("time").shift(1).over("owner")).fill_null(False)).to_series()
    yield _problem(table, time, back, "it is earlier than the row before it of the same owner", "Nothing is lost: rows are taken by time.")
    # At one moment much may happen: only the same measurement, or a row alike in all but its identifiers, looks like a copy.
    rest = table.measures[:1] if table.measures else [c.name for c in table.columns if c.kind != "identifier" and c.name not in table.order]
    again = frame.select(~pl.struct([table.on, *table.order, *rest]).is_first_distinct() & pl.col(time).is_not_null()).to_series()
    same = ", ".join([table.on, *table.order, *(rest if table.measures else ["and all else"])])
    yield _problem(table, time, again, f"the same {same} stood in a row before", "If it was entered twice, remove the copy.")


def _problem(table: Table, column: str, bad: pl.Series, what: str, remedy: str) -> Problem | None:
    rows = int(bad.sum())
    if not rows:
        return None
    also = f" ({rows:,} such rows)" if rows > 1 else ""
    message = f"Table {table.name!r}: column {column!r}, row {int(bad.arg_max() or 0) + 1:,}: {what}{also}. {remedy}"
    return Problem(table=table.name, column=column, rows=rows, message=message)
