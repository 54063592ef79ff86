"""What the rules and a condition allow: each constraint over columns, told over the fields that are drawn."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from proband.encode.numbers import to_numbers
from proband.encode.tables import TableEncoder
from proband.errors import InputError
from proband.schema import Column
from proband.schema import rules as sql

_FINE = 512  # places within a bin at which its values are looked up
_NARROW = 1e-3  # share of a bin that one exact value stands for


@dataclass(frozen=True)
class Constraint:
    """A rule (unknown is no breach) or a part of a condition (unknown does not satisfy it).

    columns   what its text names; fields: the fields that decide it
    groups    (groups,) of a column of many levels, those within which some level satisfies it: what is asked of the first step alone
    """

    text: str
    columns: frozenset[str]
    fields: frozenset[int]
    condition: bool
    expression: pl.Expr
    groups: np.ndarray | None = None

    def judge(self, frame: pl.DataFrame) -> np.ndarray:
        """(rows,) True where it holds."""
        if not frame.height:
            return np.ones(0, bool)
        found = frame.select(self.expression.alias("holds").cast(pl.Boolean)).to_series()
        found = found.fill_null(not self.condition)
        return np.broadcast_to(found.to_numpy(), (frame.height,))


def constraints(encoder: TableEncoder, where: str | None) -> list[Constraint]:
    """The rules that no structure honours, and the conjuncts of `where`. InputError when `where` makes no sense for this table."""
    table = encoder.schema.table
    found = [_constraint(encoder, text, condition=False) for text in encoder.rules]
    if where is not None and (not isinstance(where, str) or not where.strip()):
        raise InputError(f"where = {where!r} is not a condition. Write it like: age >= 80 AND sex = 'F', or leave it out.")
    for text in sql.conjuncts(where) if where is not None else ():
        sql.check(text, table)
        for name in sorted(sql.columns(text, table)):
            if table[name].kind == "identifier":
                raise InputError(
                    f"where names {name!r}, an identifier, which is made anew for every synthetic patient. Take it out of the condition."
                )
        found.append(_constraint(encoder, text, condition=True))
    return found + [first for constraint in found for first in _first_step(encoder, constraint)]


def _constraint(encoder: TableEncoder, text: str, *, condition: bool) -> Constraint:
    names = sql.columns(text, encoder.schema.table)
    return Constraint(text, names, encoder.reads(names), condition, sql.expression(text, encoder.schema.table))


def _first_step(encoder: TableEncoder, constraint: Constraint) -> list[Constraint]:
    """What a constraint on one column of many levels asks of its group, which is drawn first: some level of it must do."""
    book = encoder.books[min(constraint.fields)] if constraint.fields else None
    if book is None or book.levels is None or len(book.levels.sizes) == 1 or constraint.columns != {book.column.name}:
        return []
    steps = np.concatenate([np.zeros((1, 2), np.int32), book.levels.tokens])  # missing, and every level
    levels = pl.DataFrame({book.column.name: book.levels.decode([steps[:, 0], steps[:, 1]])})
    groups = np.zeros(book.size, bool)
    groups[steps[constraint.judge(levels), 0]] = True
    return [replace(constraint, fields=frozenset({min(constraint.fields)}), groups=groups)]


def judged(encoder: TableEncoder, closed: list[Constraint], codes: Mapping[int, tuple[np.ndarray, np.ndarray]], rows: int) -> np.ndarray:
    """(rows,) True where every constraint of `closed` holds, for codes (tokens, offsets) of the fields they read."""
    if not closed or not rows:
        return np.ones(rows, bool)
    found = [c.groups[codes[min(c.fields)][0]] for c in closed if c.groups is not None]
    whole = [c for c in closed if c.groups is None]
    if whole:
        frame = encoder.frame(sorted(frozenset().union(*(c.columns for c in whole))), codes.__getitem__, rows)
        found += [c.judge(frame) for c in whole]
    return np.logical_and.reduce(found)


@dataclass(frozen=True)
class Candidates:
    """Possible (token, offset) of one field, ascending by token. Each stands for the share `width` of its token, `half` to either side
    of its offset (0: for one value only)."""

    tokens: np.ndarray
    offsets: np.ndarray
    width: np.ndarray
    half: np.ndarray

    def take(self, rows: np.ndarray) -> Candidates:
        """These entries."""
        return Candidates(self.tokens[rows], self.offsets[rows], self.width[rows], self.half[rows])


def candidates(encoder: TableEncoder, field: int, closed: list[Constraint], *, per_bin: int) -> Candidates:
    """Every level and atom; of each bin every value if at most `per_bin`, else as many places; and the values that `closed` names."""
    book = encoder.books[field]
    parts: list[tuple[np.ndarray, ...]] = []
    start = 1
    binned = encoder.bins(field)
    plain = np.flatnonzero(~binned)
    parts.append((plain, np.full(len(plain), 0.5), np.ones(len(plain)), np.zeros(len(plain))))
    for part in (book.numbers, book.alone):
        if part is None:
            continue
        fine = (np.arange(_FINE) + 0.5) / _FINE
        for token in np.flatnonzero(part.binned):
            values, first, count = np.unique(part.decode(np.full(_FINE, token), fine), return_index=True, return_counts=True)
            if len(values) <= per_bin:
                offsets, width, half = fine[first + count // 2], count / _FINE, np.zeros(len(values))
            else:
                offsets = (np.arange(per_bin) + 0.5) / per_bin
                width, half = np.full(per_bin, 1 / per_bin), np.full(per_bin, 0.5 / per_bin)
            parts.append((np.full(len(offsets), start + token), offsets, width, half))
        start += part.levels
    if book.pair is None and book.numbers is not None and book.numbers.levels:
        named = named_values(closed, book.column)
        tokens, offsets = encoder.place(field, named, None)
        inside = binned[tokens]
        parts.append((tokens[inside], offsets[inside], np.full(inside.sum(), _NARROW), np.zeros(inside.sum())))
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(joined[0], kind="stable")
    return Candidates(*(column[order] for column in joined))


def row_candidates(
    encoder: TableEncoder, field: int, closed: list[Constraint], codes: Any, rows: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Tokens and offsets (rows, E) that reach a named value, or equal another column of the constraint, given the row; and their width.

    `codes` finds (tokens, offsets) of the fields already drawn.
    """
    book = encoder.books[field]
    if book.numbers is None or (book.pair is not None and book.pair.lawful):
        return np.zeros((rows, 0), np.int32), np.zeros((rows, 0)), _NARROW
    table = encoder.schema.table
    base = to_numbers(encoder.frame([book.pair.base], codes, rows).to_series()) if book.pair else None
    wanted = [np.full(rows, value) for value in named_values(closed, book.column)]
    for name in sorted(frozenset().union(*(c.columns for c in closed))):
        if table[name].numeric and name in encoder.index and field not in encoder.reads([name]):
            other = to_numbers(encoder.frame([name], codes, rows).to_series())
            step = (
                book.column.grid.step
                if book.column.grid
                else 1.0
                if book.column.kind != "number"
                else np.maximum(1e-9, np.abs(other) * 1e-9)
            )
            wanted += [other, other - step, other + step]
        told = encoder.books[encoder.index[name]] if name in encoder.index else None
        if told is not None and told.pair is not None and told.numbers is not None and told.pair.base == book.column.name:
            tokens, offsets = codes(encoder.index[name])
            relative = np.full(rows, np.nan)
            known = (tokens >= 1) & (tokens < told.split)
            relative[known] = told.numbers.decode(tokens[known] - 1, offsets[known])
            constant = told.pair.constant(None if told.pair.group is None else codes(encoder.index[told.pair.group])[0], rows)
            wanted += [told.pair.base_of(np.full(rows, value), relative, constant) for value in named_values(closed, told.column)]
    found = [encoder.place(field, value, base) for value in wanted]
    if not found:
        return np.zeros((rows, 0), np.int32), np.zeros((rows, 0)), _NARROW
    return np.stack([tokens for tokens, _ in found], axis=1), np.stack([offsets for _, offsets in found], axis=1), _NARROW


def named_values(closed: list[Constraint], column: Column) -> np.ndarray:
    """Numbers that the constraints name, in the units of `column`, with what lies just beside and half-way between them."""
    texts = [re.sub(r'"(?:[^"]|"")*"', " ", c.text) for c in closed]
    words = list(
        itertools.chain.from_iterable(re.findall(r"'((?:[^']|'')*)'|(-?\s*(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+))", t) for t in texts)
    )
    spelled = pl.Series([quoted or number.replace(" ", "") for quoted, number in words], dtype=pl.String)
    if column.kind in ("number", "integer"):
        numbers = spelled.cast(pl.Float64, strict=False)
        # "x - 5" names 5 as well: the sign may belong to the expression.
        found = np.concatenate([numbers.drop_nulls().to_numpy(), numbers.drop_nulls().abs().to_numpy()])
    elif column.kind == "date":
        found = to_numbers(spelled.str.to_date("%Y-%m-%d", strict=False).drop_nulls())
    elif column.kind == "datetime":
        times = pl.concat(
            [
                spelled.str.to_datetime(layout, strict=False, time_unit="us")
                for layout in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")
            ]
        )
        found = to_numbers(times.drop_nulls())
    elif column.kind == "time":
        found = to_numbers(pl.concat([spelled.str.to_time(layout, strict=False) for layout in ("%H:%M", "%H:%M:%S")]).drop_nulls())
    else:
        found = np.zeros(0)
    if not len(found):
        return found
    found = np.unique(found)
    step = column.grid.step if column.grid else 1.0 if column.kind != "number" else np.maximum(1e-9, np.abs(found) * 1e-9)
    return np.unique(np.concatenate([found, found - step, found + step, (found[1:] + found[:-1]) / 2]))
