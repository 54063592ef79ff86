"""Rows of a linked table as steps in time, and back: a step is all that one patient has at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.encode import lapses
from proband.encode.beside import Beside
from proband.encode.measured import MOST_VARIABLES, Measured
from proband.encode.numbers import from_numbers, physical_bounds, to_numbers
from proband.encode.tables import Codes, TableEncoder
from proband.errors import InputError
from proband.schema import Column, Schema, Table

_OWNER, _GAP = "(owner)", "(gap)"
_ROW = Column(name="(row)", kind="category", categories=("yes",))  # of a row of which nothing is told but that it is there
_MICROSECONDS = 1e6


class Steps(NamedTuple):
    """Steps by owner and time: whose each is (steps,), from 0 on; tokens (steps, 1 + variables), the gap first; clock (steps,)."""

    owner: np.ndarray
    tokens: np.ndarray
    clock: np.ndarray


@dataclass(frozen=True)
class StepEncoder:
    """Rows of one linked table as steps, and back.

    A step has the gap to the one before and a value, or none, of every variable: of each level of the code where the table has
    `measures` (`Measured`), else of each column. Two rows of one owner, time and code make two steps, with gap 0 between them. Values keep
    their atoms, grids and bounds as in any table (`TableEncoder`). The clock runs in `unit` (numbers 1, days, minutes or seconds)
    from the owner's origin: 0 for numbers; for dates and date-times the parent's own time, or where the patient's histories begin.

    unmoved   (1 + variables,) how often a value that stays in its range since the last one stays what it was: a weight is charted again
    """

    table: Table
    encoder: TableEncoder
    unit: float
    unmoved: np.ndarray
    measured: Measured | None = None
    beside: Beside | None = None

    @staticmethod
    def fit(table: Table, frame: pl.DataFrame, owners: pl.Series, patients: np.ndarray, origins: np.ndarray) -> StepEncoder:
        """Learn from all rows of a table. `owners` are the parent's keys in order, (parents,); `patients` whose each of them is;
        `origins` where their clocks begin, in the units of `to_numbers`."""
        time, unit, whole = time_of(table), 1.0, True
        if table.order:
            if frame[time.name].null_count():
                raise InputError(
                    f"Table {table.name!r}, column {time.name!r}: {frame[time.name].null_count()} rows have no time, so that nobody can "
                    "say what came before them. Fill them, or put what has no time into the parent's table."
                )
            values = to_numbers(frame[time.name])
            unit = 60 * _MICROSECONDS if time.kind == "datetime" else 1.0
            if time.kind == "datetime" and (values % unit).any():
                unit = _MICROSECONDS
            whole = bool(np.all(values % unit == 0)) and time.kind != "number"
        gap = Column(name=_GAP, kind="integer" if whole else "number", grid=None if whole else time.grid)
        owner = owners_of(table, frame, owners)
        measured = Measured.learn(table, frame, patients[owner]) if table.measures else None
        beside = Beside.learn(table, frame, patients[owner]) if table.measures else None
        variables = tuple(_since(column, frame, table) for column in _told(table)) if measured is None else measured.columns
        variables = variables or (_ROW,)
        if len(variables) > MOST_VARIABLES:
            raise InputError(
                f"Table {table.name!r} has {len(variables)} columns to tell; {MOST_VARIABLES} can be told together. Keep those that matter."
            )
        schema = Schema(tables=(Table(name=table.name, key=_OWNER, columns=(Column(name=_OWNER, kind="identifier"), gap, *variables)),))
        blank = StepEncoder(table, TableEncoder(schema, (), (), {}, (), ""), unit, np.zeros(0), measured)
        wide, owner, _ = blank.wide(frame, owners, origins)
        names = pl.Series(_OWNER, patients[owner].astype(str), dtype=pl.String)
        endings = pl.DataFrame({_OWNER: pl.Series([str(p) for p in patients], dtype=pl.String)})
        everyone = pl.concat([wide.with_columns(names), endings], how="diagonal").select(column.name for column in schema.table.columns)
        encoder = TableEncoder.fit(Cohort(schema, everyone))
        return StepEncoder(table, encoder, unit, _unmoved(encoder, wide, owner), measured, beside)

    @cached_property
    def whole(self) -> bool:
        """Whether all times are multiples of `unit`."""
        return self.encoder.schema.table[_GAP].kind == "integer"

    @cached_property
    def variables(self) -> tuple[Column, ...]:
        return self.encoder.schema.table.columns[2:]

    @cached_property
    def lasting(self) -> tuple[str, ...]:
        """The columns told by how long after the row's own time they come."""
        return tuple(column.name for column in self.variables if _relative(self.table, column.name))

    def wide(self, frame: pl.DataFrame, owners: pl.Series, origins: np.ndarray) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
        """One row a step, with the encoder's columns; whose each step is, and its clock."""
        table = self.table
        clock, owner = self.clock(frame, owners, origins)
        rows = frame.with_columns(pl.Series("__owner", owner), pl.Series("__clock", clock))
        rows = rows.sort("__owner", "__clock", *table.order[1:], maintain_order=True)
        moment = ["__owner", "__clock"]
        index = [*moment, "__again"]
        if self.measured is not None:
            rows = self.measured.told(rows)
            rows = rows.with_columns(__again=pl.int_range(pl.len()).over(*moment, "__variable"))
            steps = rows.select(*index, "__variable", "__number")
            steps = steps.pivot("__variable", index=index, values="__number", aggregate_function="first")
            absent = [pl.lit(None, pl.Float64).alias(column.name) for column in self.variables if column.name not in steps.columns]
            steps = steps.with_columns(absent).select(*index, *(column.name for column in self.variables)).sort(index)
            steps = steps.with_columns(self.measured.typed(steps[column.name], column) for column in self.variables)
        else:
            rows = rows.with_columns(pl.lit("yes").alias(_ROW.name), __again=pl.int_range(pl.len()).over(moment))
            begun = to_numbers(rows[table.order[0]]) if table.order else np.zeros(rows.height)
            since = [lapses.told(rows[column.name], begun, column) for column in self.variables if column.name in self.lasting]
            steps = rows.with_columns(since).select(*index, *(column.name for column in self.variables)).sort(index, maintain_order=True)
        owner, clock = steps["__owner"].to_numpy(), steps["__clock"].to_numpy()
        first = np.append(True, np.diff(owner) != 0)[: len(owner)]
        gaps = np.where(first, clock, np.diff(clock, prepend=0.0))
        gap = from_numbers(gaps, self.encoder.schema.table[_GAP]).alias(_GAP)
        steps = steps.with_columns(gap, pl.Series(_OWNER, owner.astype(str), dtype=pl.String))
        return steps.select(column.name for column in self.encoder.schema.table.columns), owner, clock

    def clock(self, frame: pl.DataFrame, owners: pl.Series, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(rows,) each: the time of every row since its owner's origin, and whose it is."""
        at = owners_of(self.table, frame, owners)
        if not self.table.order:
            return np.zeros(len(at)), at
        return (to_numbers(frame[time_of(self.table).name]) - origins[at]) / self.unit, at

    def encode(self, frame: pl.DataFrame, owners: pl.Series, origins: np.ndarray) -> Steps:
        wide, owner, clock = self.wide(frame, owners, origins)
        return Steps(owner, self.encoder.encode(wide).tokens, clock)

    def waits(self, tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(steps,) gaps in the clock's units from the gap's tokens, each drawn within its token's range."""
        offsets = np.where(self.encoder.bins(0)[tokens], rng.random(len(tokens)), 0.5).astype(np.float32)
        return np.nan_to_num(to_numbers(self.encoder.frame([_GAP], lambda _: (tokens, offsets), len(tokens))[_GAP]))

    def decode(self, steps: Steps, owners: pl.Series, origins: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
        """The columns `on`, time and what is told, of the rows that the steps say, by owner and time."""
        table, tokens = self.table, self._agreeing(steps.tokens.astype(np.int32), rng)
        within = np.stack([self.encoder.bins(field)[tokens[:, field]] for field in range(tokens.shape[1])], axis=1)
        offsets = np.where(within, rng.random(tokens.shape), 0.5).astype(np.float32)
        for field in np.flatnonzero(self.unmoved):
            measured, same = _again(tokens[:, field], steps.owner)
            moved = np.append(True, ~(same & (rng.random(len(same)) < self.unmoved[field])))[: len(measured)]
            offsets[measured, field] = offsets[measured[moved], field][np.cumsum(moved) - 1]
        made = self.encoder.decode(Codes(tokens, offsets))
        time = time_of(table)
        low, high = physical_bounds(time)
        times = steps.clock * self.unit + origins[steps.owner]
        if self.whole:  # the owner's may not be; then the nearest, but not before it
            nearest, first = np.round(times / self.unit), np.ceil(origins[steps.owner] / self.unit)
            times = np.where(steps.clock >= 0, np.maximum(nearest, first), nearest) * self.unit
        times = np.clip(times, low, high)
        key = owners.gather(steps.owner).alias(table.on or "")
        found = made.drop(_OWNER, _GAP, _ROW.name, strict=False).insert_column(0, key)
        if table.order:
            found = found.insert_column(1, from_numbers(times, time).alias(time.name))
        if self.measured is None:
            since = [column for column in self.variables if column.name in self.lasting]
            return found.with_columns(lapses.after(found[column.name], times, column, table[column.name]) for column in since)
        index = found.columns[: 1 + bool(table.order)]
        long = found.with_columns(self.measured.numbers(column) for column in self.variables).with_row_index("__step")
        long = long.unpivot(index=["__step", *index], variable_name="__variable", value_name="__number").drop_nulls("__number")
        order = {column.name: at for at, column in enumerate(self.variables)}
        turn = long["__variable"].replace_strict(list(order), list(order.values()), return_dtype=pl.Int64)
        long = long.with_columns(__turn=turn).sort("__step", "__turn")
        told = self.measured.rows(long["__variable"], long["__number"], rng)
        rows = pl.concat([long.select(index), told], how="horizontal")
        return rows if self.beside is None else self.beside.draw(rows, rng)

    def _agreeing(self, tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """`tokens`, those drawn anew that do not go with the others of their step: the two halves of a level, what a law tells."""
        tokens = tokens.copy()
        for field in reversed(range(tokens.shape[1])):
            allowed = self.encoder.compatible(field, tokens)
            if allowed is None:
                continue
            wrong = np.flatnonzero(~allowed[np.arange(len(tokens)), tokens[:, field]])
            until = np.cumsum(allowed[wrong] * (self.encoder.fields[field].counts + 1e-9), axis=1)
            tokens[wrong, field] = (until <= rng.random(len(wrong))[:, None] * until[:, -1:]).sum(axis=1)
        return tokens

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        plain, arrays = self.encoder.state()
        config: dict[str, Any] = {"encoder": plain, "schema": self.encoder.schema.model_dump(mode="json"), "unit": self.unit}
        arrays["unmoved"] = self.unmoved
        for name in ("measured", "beside"):
            part: Measured | Beside | None = getattr(self, name)
            if part is not None:
                config[name], own = part.state()
                arrays |= {f"{name}.{key}": array for key, array in own.items()}
        return config, arrays

    @staticmethod
    def restored(table: Table, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> StepEncoder:
        """The inverse of `state`. ValueError or KeyError when the parts do not fit together."""
        under = lambda name: {key.removeprefix(name): array for key, array in arrays.items() if key.startswith(name)}  # noqa: E731
        schema = Schema.model_validate(config["schema"])
        encoder = TableEncoder.restored(schema, config["encoder"], arrays)
        measured = Measured.restored(table, config["measured"], under("measured.")) if table.measures else None
        beside = Beside.restored(table, config["beside"], under("beside.")) if "beside" in config else None
        unmoved = arrays["unmoved"]
        if unmoved.shape != (len(encoder.fields),):
            raise ValueError("what stays unmoved does not fit the variables")
        return StepEncoder(table, encoder, float(config["unit"]), unmoved, measured, beside)


def _again(tokens: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which a variable is measured, and for all but the first whether its token is that owner's last one."""
    rows = np.flatnonzero(tokens > 0)
    return rows, (np.diff(tokens[rows]) == 0) & (np.diff(owner[rows]) == 0)


def _unmoved(encoder: TableEncoder, wide: pl.DataFrame, owner: np.ndarray) -> np.ndarray:
    """(fields,) of the values that stay in their range, the share that is equal to the last one; 0 for the gap and what has no ranges."""
    tokens, found = encoder.encode(wide).tokens, np.zeros(len(encoder.fields))
    for field, name in enumerate(each.name for each in encoder.fields):
        if name in wide.columns and name != _GAP and encoder.bins(field).any():
            rows, same = _again(tokens[:, field], owner)
            there = same & encoder.bins(field)[tokens[rows[1:], field]]
            equal = np.diff(to_numbers(wide[name])[rows]) == 0
            found[field] = equal[there].mean() if there.any() else 0.0
    return found


def owners_of(table: Table, frame: pl.DataFrame, owners: pl.Series) -> np.ndarray:
    """(rows,) the place among `owners` of what owns each row. InputError where it is not there."""
    places = pl.DataFrame({"key": owners, "at": np.arange(len(owners))})
    found = frame.select(key=table.on or "").join(places, on="key", how="left", maintain_order="left")["at"]
    if found.null_count():
        raise InputError(f"Table {table.name!r}: {found.null_count()} rows have no parent in {table.parent!r}. Delete them.")
    return found.to_numpy()


def time_of(table: Table) -> Column:
    """The column along which the rows of an owner run; without one they all stand at 0. InputError when no time runs in it."""
    if not table.order:
        return Column(name="(time)", kind="integer")
    time = table[table.order[0]]
    if not time.numeric or time.kind == "time":
        raise InputError(f"Table {table.name!r}: order column {time.name!r} is a {time.kind}; time runs in numbers, dates or datetimes.")
    return time


def _told(table: Table) -> tuple[Column, ...]:
    """What is told of a row of a table without measures."""
    used = {table.key, table.on, *table.order[:1], *(link.column for link in table.links)}
    return tuple(column for column in table.columns if column.name not in used and column.kind not in ("identifier", "text"))


def _relative(table: Table, name: str) -> bool:
    """Whether a column is told by how long after the row's own time it comes: the end of a stay, beside its beginning."""
    time = time_of(table)
    dated = table.measures is None and time.kind in ("date", "datetime")
    return dated and name not in (time.name, _ROW.name) and table[name].kind == time.kind


def _since(column: Column, frame: pl.DataFrame, table: Table) -> Column:
    if not _relative(table, column.name):
        return column
    return lapses.lapse(column, frame[column.name], to_numbers(frame[time_of(table).name]))
