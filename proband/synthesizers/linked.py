"""Linked tables while patients are made: what owns a row, when its clock begins, and keys that point at one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.encode.numbers import from_numbers, to_numbers
from proband.encode.sequences import time_of
from proband.errors import InputError
from proband.schema import Column, Rule, Schema, Table
from proband.schema.integrity import interval

PLAN = "(plan)"  # how the columns of plans begin
START = "(start)"  # the time at which a patient's histories begin, beside their own columns
BY_CHANCE = 5  # owners who would have rows after their end, were it anybody's
PARTNERS = 200  # rows among which one that lasts too long looks for another to change places with
SURE = 20  # rows that must agree before an order of two dates is believed
STRAY = 0.01  # share of rows that come too late by mistake


def checked(cohort: Cohort) -> None:
    """InputError unless every patient has one row of their own, and there are linked tables."""
    table = cohort.schema.table
    if not cohort.schema.children:
        raise InputError("The cohort has one table, and nobody in it a history. Use TableGAN, or declare the linked tables.")
    keys = cohort.frame[table.key] if table.key else None
    if keys is None or keys.null_count() or keys.n_unique() < len(keys):
        raise InputError(f"Table {table.name!r}: its key must name every patient once; linked rows would be nobody's. Declare or mend key.")


def temporal(column: Column) -> bool:
    return column.kind in ("date", "datetime")


def physical(series: pl.Series, column: Column, kind: str, *, end: bool = False) -> np.ndarray:
    """Dates and date-times in the units of `kind`; a date as an end is its last moment. Numbers are what they are."""
    found, day = to_numbers(series), 86_400e6
    if column.kind == kind or not temporal(column):
        return found
    return found * day + (day - 1 if end else 0) if kind == "datetime" else np.floor(found / day)


def rooted(cohort: Cohort) -> Cohort:
    """The patients' own table alone; where histories run in dates, with the time at which each patient's begins."""
    table = cohort.schema.table
    running = [child for child in cohort.schema.children if child.parent == table.name and temporal(time_of(child))]
    alone = cohort.schema.model_copy(update={"tables": (table,), "proposals": ()})
    if not running:
        return Cohort(alone, cohort.frame)
    own = {other.kind for other in table.columns if temporal(other)}  # in their kind it can be said to come before or after them
    finer = "datetime" in own or (not own and any(time_of(child).kind == "datetime" for child in running))
    kind: Literal["date", "datetime"] = "datetime" if finer else "date"
    column = Column(name=START, kind=kind)
    firsts = []
    for child in running:
        time, rows = time_of(child), cohort.linked[child.name]
        times = physical(rows[time.name], time, kind)
        firsts.append(pl.DataFrame({"key": rows[child.on or ""], "time": times}).drop_nulls().group_by("key").agg(pl.col("time").min()))
    first = pl.concat(firsts).group_by("key").agg(pl.col("time").min())
    begun = cohort.frame.select(key=table.key).join(first, on="key", how="left", maintain_order="left")["time"]
    frame = cohort.frame.with_columns(from_numbers(begun.fill_null(np.nan).to_numpy(), column).alias(START))
    ruled = list(alone.rules)
    wider = table.model_copy(update={"columns": (*table.columns, column)})
    for other in table.columns:
        if temporal(other) and other.kind == kind:
            ruled += _ordered(frame, other.name)
    return Cohort(alone.model_copy(update={"tables": (wider,), "rules": tuple(ruled)}), frame)


def _ordered(frame: pl.DataFrame, name: str) -> list[Rule]:
    """Whether a date never comes after, or never before, the start of the histories."""
    known = frame.select(name, START).drop_nulls()
    if known.height < SURE:
        return []
    if bool((known[name] <= known[START]).all()):
        return [Rule(sql=f'"{name}" <= "{START}"')]
    return [Rule(sql=f'"{START}" <= "{name}"')] if bool((known[START] <= known[name]).all()) else []


def context(schema: Schema, frames: Mapping[str, pl.DataFrame], name: str) -> tuple[Schema, pl.DataFrame, np.ndarray]:
    """What is known of every row of table `name`: its own columns and those of the rows that own it; and whose it is, (rows,).

    schema   the first table's may have a column more, the start
    """
    table, frame = schema[name], frames[name]
    used = {table.key, table.on, *(link.column for link in table.links)}
    own = [column for column in table.columns if column.name not in used and column.kind not in ("identifier", "text")]
    own = [column for column in own if not column.name.startswith(PLAN)]
    columns = [column.model_copy(update={"name": f"{name}.{column.name}"}) for column in own]
    told = frame.select(pl.col(column.name).alias(f"{name}.{column.name}") for column in own)
    if table.parent is None and not own:  # nothing is known of anybody, which must be said too
        columns, told = [Column(name="(patient)", kind="boolean")], pl.DataFrame({"(patient)": [True] * frame.height})
    who = np.arange(frame.height)
    if table.parent is not None:
        above, rows, patients = context(schema, frames, table.parent)
        keys = frames[table.parent][schema[table.parent].key or ""]
        places = pl.DataFrame({"key": keys, "at": np.arange(len(keys))})
        at = frame.select(key=table.on or "").join(places, on="key", how="left", maintain_order="left")["at"].to_numpy()
        columns += above.table.columns
        told = pl.concat([told, rows[at]], how="horizontal")
        who = patients[at]
    return Schema(tables=(Table(name=name, columns=tuple(columns)),)), told, who


def origins(schema: Schema, frames: Mapping[str, pl.DataFrame], table: Table) -> np.ndarray:
    """(rows of the parent,) where the clock of each begins, in the units of the table's time; NaN: nothing ever happens."""
    parent, time = schema[table.parent or ""], time_of(table)
    if not temporal(time):
        return np.zeros(frames[parent.name].height)
    begin = parent[START] if parent.parent is None else time_of(parent)
    if not temporal(begin):
        raise InputError(
            f"Table {table.name!r} runs in dates and its parent {parent.name!r} in numbers; nobody can say when its rows begin."
        )
    return physical(frames[parent.name][begin.name], begin, time.kind)


def ends(context: pl.DataFrame, columns: Table, owner: np.ndarray, times: np.ndarray, time: Column) -> dict[str, float]:
    """What of a row's owner is an end for its `times` (rows,): dates that at least half of the rows come before; and how much after it,
    in the units of `time`, the last of them may come: as much as all training rows do but 1 %, which are mistakes.

    Of numbers one of the same unit after which no row comes, where chance would let 5 owners have one: days in the study.
    """
    found = {}
    for column in columns.columns:
        if temporal(column) != temporal(time) or not (temporal(column) or column.kind in ("integer", "number")):
            continue
        end = physical(context[column.name], column, time.kind, end=True)
        late = np.sort((times - end[owner])[~np.isnan(end[owner])])
        if len(late) < SURE or (late < 0).mean() < 0.5:
            continue
        if temporal(column):
            found[column.name] = max(0.0, float(late[len(late) - 1 - int(STRAY * len(late))]))
        elif column.unit == time.unit and late[-1] <= 0:
            last = np.full(len(end), -np.inf)
            np.maximum.at(last, owner, times)
            held = ~np.isnan(end) & (last > -np.inf)
            if np.searchsorted(np.sort(end[held]), last[held]).mean() >= BY_CHANCE:
                found[column.name] = 0.0
    return found


def until(context: pl.DataFrame, columns: Table, ends: Mapping[str, float], time: Column) -> np.ndarray:
    """(rows of the parent,) the last time that a row of theirs may have, in the units of `time`."""
    found = np.full(context.height, np.inf)
    for name, late in ends.items():
        found = np.fmin(found, physical(context[name], columns[name], time.kind, end=True) + late)
    return found


def within(
    rows: pl.DataFrame,
    owner: np.ndarray,
    context: pl.DataFrame,
    columns: Table,
    table: Table,
    ends: Mapping[str, Mapping[str, float]],
    rng: np.random.Generator,
) -> pl.DataFrame:
    """`rows` of `table` of which none lasts beyond its owner's `ends`, by column. One that would changes places with another, so that what
    follows from its length still does, and as many last as long as before. Where none of 200 can change, it is told like the longest that
    it has room for; where it has none it ends with its owner, and a row that begins after that is left out."""
    if not ends or not rows.height:
        return rows
    begun = to_numbers(rows[time_of(table).name])
    lasts = np.stack([to_numbers(rows[name]) - begun for name in ends])
    room = np.stack([until(context, columns, found, table[name])[owner] - begun for name, found in ends.items()])

    def fits(row: Any, told: Any) -> np.ndarray:
        return np.all(~(lasts[:, np.atleast_1d(told)] > room[:, np.atleast_1d(row)]), axis=0)

    every, told = np.arange(rows.height), np.arange(rows.height)
    for row in np.flatnonzero(~fits(every, told)):
        if fits(row, told[row]):
            continue
        some = rng.integers(rows.height, size=PARTNERS)  # of all rows, however many there are
        some = some[fits(row, told[some])]
        both = some[fits(some, told[row])]
        if len(both):
            told[row], told[both[0]] = told[both[0]], told[row]
        elif len(some):
            told[row] = told[some[np.nan_to_num(lasts[0, told[some]]).argmax()]]
    left = np.flatnonzero(~fits(every, told))
    others = [name for name in rows.columns if name != table.on and not temporal(table[name])]
    found, sound = rows.with_columns(rows[name].gather(told) for name in others), np.ones(rows.height, bool)
    for at, name in enumerate(ends):
        last = lasts[at, told]
        sound[left] &= ~((room[at, left] < 0) & (last[left] > room[at, left]))
        last[left] = np.minimum(last[left], room[at, left])
        found = found.with_columns(from_numbers(begun + last, table[name]).alias(name))
    return found.filter(pl.Series(sound))


def completed(
    schema: Schema, frames: Mapping[str, pl.DataFrame], table: Table, rows: pl.DataFrame, patients: np.ndarray, rng: np.random.Generator
) -> pl.DataFrame:
    """`rows` with all columns of the table: keys of their own, links to rows of the same patient, and nothing in what is not told."""
    found, who = rows, whose(schema, frames, table, rows, patients)
    if table.key is not None:
        word = f"{table.name}-"
        while table.name in frames and frames[table.name][table.key].str.starts_with(word).any():  # a future of a future has such already
            word += "-"
        found = found.with_columns(pl.Series(table.key, [f"{word}{row}" for row in range(rows.height)], dtype=pl.String))
    for link in table.links:
        above = owned_by(schema, frames, table, rows, link.table)
        led = _among(schema, frames, table, rows, link.table, who, rng) if above is None else above
        found = found.with_columns(led.alias(link.column))
    absent = [pl.lit(None, column.dtype).alias(column.name) for column in table.columns if column.name not in found.columns]
    return found.with_columns(absent).select(column.name for column in table.columns)


def whose(schema: Schema, frames: Mapping[str, pl.DataFrame], table: Table, rows: pl.DataFrame, patients: np.ndarray) -> np.ndarray:
    """(rows,) the number of the patient of each; `patients`: those of the rows that own them."""
    owner = pl.DataFrame({"key": frames[table.parent or ""][schema[table.parent or ""].key or ""], "patient": patients})
    return rows.select(key=table.on or "").join(owner, on="key", how="left", maintain_order="left")["patient"].to_numpy()


def last_known(schema: Schema, frames: Mapping[str, pl.DataFrame]) -> np.ndarray:
    """(patients,) the latest date-time in the order of any of their rows, in microseconds; minus infinity where there is none."""
    found = np.full(frames[schema.table.name].height, -np.inf)
    for table in schema.children:
        if temporal(time_of(table)):
            _, _, patients = context(schema, frames, table.parent or "")
            times = physical(frames[table.name][time_of(table).name], time_of(table), "datetime")
            np.maximum.at(found, whose(schema, frames, table, frames[table.name], patients), times)
    return found


def over(schema: Schema, frames: Mapping[str, pl.DataFrame], table: Table, now: np.ndarray) -> pl.Series:
    """The keys of the rows to which nothing of `table` can be added after `now`, of each patient (`last_known`): what has no order is known
    already, and of rows that are not the patients' own only one whose end is not behind us goes on."""
    owner = schema[table.parent or ""]
    keys, ends = frames[owner.name][owner.key or ""], interval(owner)
    if table.order and owner.parent is None:
        return keys.clear()
    if not table.order or ends is None:
        return keys
    _, _, patients = context(schema, frames, owner.name)
    return keys.filter(pl.Series(physical(frames[owner.name][ends[1]], owner[ends[1]], "datetime", end=True) < now[patients]))


def owned_by(schema: Schema, frames: Mapping[str, pl.DataFrame], table: Table, rows: pl.DataFrame, name: str) -> pl.Series | None:
    """(rows,) the key of the row of table `name` that owns each row of `table`, through all between; None where it owns none."""
    if table.parent is None:
        return None
    keys, at = rows[table.on or ""], schema[table.parent]
    while at.name != name:
        if at.parent is None:
            return None
        up = frames[at.name].select(key=at.key or "", up=at.on or "")
        keys = pl.DataFrame({"key": keys}).join(up, on="key", how="left", maintain_order="left")["up"]
        at = schema[at.parent]
    return keys


def _among(
    schema: Schema,
    frames: Mapping[str, pl.DataFrame],
    table: Table,
    rows: pl.DataFrame,
    name: str,
    who: np.ndarray,
    rng: np.random.Generator,
) -> pl.Series:
    """(rows,) keys of rows of table `name` of the same patients: where both have dates the last begun before each row, unless it ended
    before it too; else any."""
    other, frame = schema[name], frames[name]
    _, _, whose = context(schema, frames, name)
    dated = bool(table.order and other.order) and temporal(time_of(table)) and temporal(time_of(other))
    order = rng.permutation(len(whose))
    if dated:
        begun = physical(frame[time_of(other).name], time_of(other), "datetime")
        now = physical(rows[time_of(table).name], time_of(table), "datetime", end=True)
        order = order[np.lexsort((begun[order], whose[order]))]
        first = np.searchsorted(whose[order], who)
        _, both = np.unique(np.concatenate([begun, now]), return_inverse=True)  # ranks, so that patient and time are one number
        rank, when = both[: len(begun)], both[len(begun) :]
        wide = len(both) + 1
        at = np.searchsorted(whose[order] * wide + rank[order], who * wide + when, side="right") - 1
    else:
        order = order[np.argsort(whose[order], kind="stable")]
        first, after = (np.searchsorted(whose[order], who, side=side) for side in ("left", "right"))
        at = np.where(after > first, first + (rng.random(len(who)) * (after - first)).astype(np.int64), -1)
    if not len(order):
        return pl.Series(name, [None] * rows.height, dtype=pl.String)
    none, led = at < first, order[np.maximum(at, 0)]
    ends = interval(other) if dated else None
    if ends is not None:
        over = physical(frame[ends[1]], other[ends[1]], "datetime", end=True)[led]
        none |= over < physical(rows[time_of(table).name], time_of(table), "datetime")
    return frame[other.key or ""].gather(led).set(pl.Series(none), None)


def kept(schema: Schema, frames: dict[str, pl.DataFrame], patients: np.ndarray) -> dict[str, pl.DataFrame]:
    """Only these patients, who may be chosen once each, with all their rows."""
    found: dict[str, pl.DataFrame] = {}
    for table in schema.tables:
        if table.parent is None:
            found[table.name] = frames[table.name][patients.tolist()]
            continue
        owners = found[table.parent].select(pl.col(schema[table.parent].key or "").alias(table.on or "")).with_row_index("(turn)")
        rows = frames[table.name].join(owners, on=table.on, how="inner", maintain_order="left").sort("(turn)", maintain_order=True)
        found[table.name] = rows.drop("(turn)")
    return found


def beyond(cohort: Cohort) -> int | None:
    """A number above all identifiers that are whole numbers in their file: 9 and as many zeros as the longest has digits.

    The largest of them where that does not fit the narrowest of their types, and ten times as many rows; None where that does not.
    """
    largest, limit, rows = 0, 2**63 - 1, 0
    for table, frame in cohort.tables:
        numbered = [column for column in table.columns if _numbered(column)]
        limit = min([limit, *(int(np.iinfo(column.stored.lower()).max) for column in numbered)])
        largest = max([largest, *(max(map(int, frame[column.name].drop_nulls()), default=0) for column in numbered)])
        rows = max(rows, frame.height)
    return next((first for first in (9 * 10 ** len(str(largest)), largest) if first + 10 * rows <= limit), None)


def _numbered(column: Column) -> bool:
    return column.kind == "identifier" and column.stored.startswith(("Int", "UInt"))


def named(schema: Schema, parts: list[dict[str, pl.DataFrame]], prefix: str, first: int | None) -> dict[str, pl.DataFrame]:
    """The parts below each other, with fresh keys throughout, and every key that points at one renamed with it.

    Identifiers begin with `prefix`; those that are whole numbers in their file go on from `first` (`beyond`).
    """

    def fresh(column: Column, rows: int, what: str) -> pl.Series:
        if first is not None and _numbered(column):
            return (first + pl.int_range(1, rows + 1, eager=True)).cast(pl.String)
        width = max(6, len(str(rows)))
        return pl.Series([f"{prefix}{what}{row:0{width}d}" for row in range(1, rows + 1)], dtype=pl.String)

    frames: dict[str, pl.DataFrame] = {}
    for table in schema.tables:
        renamed = [
            part[table.name].with_columns(
                (pl.lit(f"{at}:") + pl.col(name)).alias(name) for name in _keys(table) if name in part[table.name].columns
            )
            for at, part in enumerate(parts)
        ]
        frames[table.name] = pl.concat(renamed)
    anew: dict[str, pl.DataFrame] = {}
    for table in schema.tables:
        if table.key is not None:
            old = frames[table.name][table.key]
            new = fresh(table[table.key], len(old), "" if table.parent is None else f"{table.name}-")
            anew[table.name] = pl.DataFrame({"old": old, "new": new})
    for table in schema.tables:
        points = dict(_points(table))
        for column in table.columns:
            if column.name in points:
                rows = (
                    frames[table.name].select(old=column.name).join(anew[points[column.name]], on="old", how="left", maintain_order="left")
                )
                frames[table.name] = frames[table.name].with_columns(rows["new"].alias(column.name))
            elif column.kind == "identifier":
                new = fresh(column, frames[table.name].height, f"{table.name}-{column.name}-")
                frames[table.name] = frames[table.name].with_columns(new.alias(column.name))
        frames[table.name] = frames[table.name].select(column.name for column in table.columns)
    return frames


def _points(table: Table) -> list[tuple[str, str]]:
    """Columns that hold keys, and the tables whose rows those name."""
    found = [] if table.key is None else [(table.key, table.name)]
    found += [] if table.on is None or table.parent is None else [(table.on, table.parent)]
    return found + [(link.column, link.table) for link in table.links]


def _keys(table: Table) -> list[str]:
    return [name for name, _ in _points(table)]
