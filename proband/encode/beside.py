"""Columns beside code and value: units, flags, delays. Each row's are drawn given its code, and of nobody alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.encode import lapses
from proband.encode.numbers import to_numbers
from proband.encode.tables import HELD_BY, Codes, TableEncoder
from proband.schema import Column, Schema, Table

COPIES = 0.99  # share of rows whose text is the value, for a column to be its copy
_OWNER = "(owner)"


@dataclass(frozen=True)
class Beside:
    """What stands beside code and value in a row.

    encoder   of those columns, times by how long after the row's own they come
    copies    columns that say the value again, where there is one
    codes     those that were learned; a row's kind is its code, with or without a value
    patterns  (patterns, levelled fields) tokens that stand together in rows of several patients
    drawn     for the patterns, then for each other field: whose kind, which pattern or token, in how many rows; by kind
    """

    table: Table
    encoder: TableEncoder
    copies: tuple[str, ...]
    codes: tuple[str, ...]
    patterns: np.ndarray
    drawn: tuple[np.ndarray, ...]

    @staticmethod
    def learn(table: Table, frame: pl.DataFrame, patients: np.ndarray) -> Beside | None:
        """From all rows of a table with measures; `patients` (rows,) whose each is. None where nothing stands beside them."""
        columns = _others(table)
        code, value = (frame[name] for name in table.measures or ())
        copies = tuple(column.name for column in columns if _copies(frame[column.name], value, column))
        columns = [column for column in columns if frame[column.name].null_count() < frame.height]
        if not columns:
            return None
        begun, told = to_numbers(frame[table.order[0]]) if table.order else np.zeros(frame.height), []
        for column in columns:
            series = frame[column.name]
            if column.name in copies:
                series = series.set(value.is_not_null(), None)
            if _late(table, column):
                column = lapses.lapse(column, series, begun)
                series = lapses.told(series, begun, column)
            told.append((column, series))
        schema = Schema(
            tables=(Table(name=table.name, key=_OWNER, columns=(Column(name=_OWNER, kind="identifier"), *(c for c, _ in told))),)
        )
        owners = pl.Series(_OWNER, patients.astype(str), dtype=pl.String)
        rows = pl.DataFrame([owners, *(series for _, series in told)])
        encoder = TableEncoder.fit(Cohort(schema, rows))
        tokens = encoder.encode(rows).tokens
        codes = tuple(code.cast(pl.String).drop_nulls().unique().sort().to_list())
        blank = Beside(table, encoder, copies, codes, np.zeros((0, 0), np.int32), ())
        kind = blank.kind(code, value)
        together = pl.DataFrame(tokens[:, blank.levelled]).with_columns(__kind=kind, __patient=patients)
        names = together.columns[:-2]
        several = together.group_by(names, maintain_order=True).agg(pl.col("__patient").n_unique()) if names else together.head(0)
        patterns = several.filter(pl.col("__patient") >= HELD_BY).select(names).with_row_index("__at") if names else pl.DataFrame()
        at = together.join(patterns, on=names, how="left", maintain_order="left")["__at"] if names and patterns.height else None
        drawn = [_counted(kind, np.full(len(kind), -1) if at is None else at.cast(pl.Int64).fill_null(-1).to_numpy())]
        drawn += [_counted(kind, tokens[:, field]) for field in blank.numbers]
        found = patterns.drop("__at").to_numpy().astype(np.int32) if at is not None else np.zeros((0, len(blank.levelled)), np.int32)
        return Beside(table, encoder, copies, codes, found, tuple(drawn))

    @cached_property
    def levelled(self) -> list[int]:
        return [at for at in range(len(self.encoder.fields)) if not self.encoder.bins(at).any()]

    @cached_property
    def numbers(self) -> list[int]:
        return [at for at in range(len(self.encoder.fields)) if self.encoder.bins(at).any()]

    def kind(self, codes: pl.Series, values: pl.Series) -> np.ndarray:
        """(rows,) the kind of each; a code that was not learned is like no code."""
        places = codes.cast(pl.String).replace_strict(
            list(self.codes), list(range(len(self.codes))), default=len(self.codes), return_dtype=pl.Int64
        )
        return 2 * places.fill_null(len(self.codes)).to_numpy() + values.is_null().to_numpy()

    def draw(self, rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        """`rows` of code, value and time with the columns beside them."""
        code, value = self.table.measures or ("", "")
        kind, fields = self.kind(rows[code], rows[value]), self.encoder.fields
        tokens = np.zeros((rows.height, len(fields)), np.int32)
        at = _again(self.drawn[0], kind, rng)
        known = at >= 0
        tokens[np.ix_(np.flatnonzero(known), np.array(self.levelled, int))] = self.patterns[at[known]]
        for field, counts in zip(self.numbers, self.drawn[1:], strict=True):
            tokens[:, field] = np.maximum(_again(counts, kind, rng), 0)
        made = self.encoder.decode(Codes(tokens, rng.random(tokens.shape).astype(np.float32)))
        begun = to_numbers(rows[self.table.order[0]]) if self.table.order else np.zeros(rows.height)
        found = []
        for column in self.encoder.schema.table.columns[1:]:
            series, own = made[column.name], self.table[column.name]
            found.append(lapses.after(series, begun, column, own) if _late(self.table, own) else series)
        text = pl.Series(to_numbers(rows[value])).fill_nan(None)
        text = pl.Series([None if number is None else f"{number:.10g}" for number in text.to_list()], dtype=pl.String)
        copies = [_said(text, self.table[name]) for name in self.copies]
        return rows.with_columns(found).with_columns(pl.coalesce(copy, name) for copy, name in zip(copies, self.copies, strict=True))

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        plain, arrays = self.encoder.state()
        facts = {
            "encoder": plain,
            "schema": self.encoder.schema.model_dump(mode="json"),
            "copies": list(self.copies),
            "codes": list(self.codes),
        }
        drawn = {f"drawn.{at}": counts for at, counts in enumerate(self.drawn)}
        return facts, {f"encoder.{key}": array for key, array in arrays.items()} | {"patterns": self.patterns} | drawn

    @staticmethod
    def restored(table: Table, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Beside:
        """The inverse of `state`. ValueError or KeyError when the parts do not fit together."""
        schema = Schema.model_validate(config["schema"])
        own = {key.removeprefix("encoder."): array for key, array in arrays.items() if key.startswith("encoder.")}
        encoder = TableEncoder.restored(schema, config["encoder"], own)
        copies, codes = (tuple(str(name) for name in config[key]) for key in ("copies", "codes"))
        made = Beside(table, encoder, copies, codes, arrays["patterns"], ())
        drawn = tuple(arrays[f"drawn.{at}"] for at in range(1 + len(made.numbers)))
        sizes = [len(made.patterns), *(encoder.fields[field].levels for field in made.numbers)]
        if made.patterns.shape[1:] != (len(made.levelled),) or any(
            counts.ndim != 2 or len(counts) != 3 or (counts[1] >= size).any() for counts, size in zip(drawn, sizes, strict=True)
        ):
            raise ValueError("what stands beside the values does not fit the table")
        return Beside(table, encoder, copies, codes, made.patterns, drawn)


def _others(table: Table) -> list[Column]:
    used = {table.key, table.on, *table.order[:1], *(table.measures or ()), *(link.column for link in table.links)}
    return [column for column in table.columns if column.name not in used and column.kind not in ("identifier", "text")]


def _late(table: Table, column: Column) -> bool:
    """Whether a column is told by how long after the row's own time it comes."""
    return bool(table.order) and column.kind in ("date", "datetime") and table[table.order[0]].kind == column.kind


def _copies(text: pl.Series, value: pl.Series, column: Column) -> bool:
    """Whether a column says the value again, where both say a number."""
    if column.kind not in ("category", "number", "integer") or not value.dtype.is_numeric():
        return False
    said, number = text.cast(pl.Float64, strict=False).to_numpy(), to_numbers(value)
    both = ~np.isnan(said) & ~np.isnan(number)
    return bool(both.any() and both.sum() >= 0.5 * (~np.isnan(number)).sum() and np.isclose(said, number)[both].mean() >= COPIES)


def _said(text: pl.Series, column: Column) -> pl.Series:
    """Numbers as a copy says them: in the words of the schema's levels, where it has them; nothing where it does not have this one."""
    if column.categories is not None:
        spelled = pl.Series(column.categories).cast(pl.Float64, strict=False).to_list()
        words = {f"{number:.10g}": word for number, word in zip(spelled, column.categories, strict=True) if number is not None}
        text = pl.Series([words.get(number) for number in text.to_list()], dtype=pl.String)
    return text.cast(column.dtype, strict=False).alias(column.name)


def _counted(kind: np.ndarray, what: np.ndarray) -> np.ndarray:
    """(3, entries) int64 kind, what, rows; by kind."""
    pairs, counts = np.unique(np.stack([kind, what], axis=1), axis=0, return_counts=True)
    return np.concatenate([pairs.T, counts[None]]).astype(np.int64)


def _again(counts: np.ndarray, kind: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(rows,) what is drawn for rows of these kinds in proportion to the counts; -1 for a kind that nothing was counted of."""
    until = np.cumsum(counts[2])
    first, after = (np.searchsorted(counts[0], kind, side=side) for side in ("left", "right"))
    low = np.concatenate([[0], until])[first]
    high = np.concatenate([[0], until])[after]
    at = np.searchsorted(until, low + rng.random(len(kind)) * (high - low), side="right")
    return np.where(after > first, np.append(counts[1], -1)[np.minimum(at, len(until))], -1)
