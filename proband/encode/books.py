"""How one field of a patient becomes tokens: the levels of a column, its numbers, or its distance from another column."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from proband.encode.anonymous import on_format
from proband.encode.levels import Levels
from proband.encode.numbers import HELD_BY, Numbers, grid_of
from proband.encode.pairs import Pair
from proband.errors import InputError
from proband.schema import Column, Grid


class Book(NamedTuple):
    """How one field becomes tokens 1..: levels, or numbers.

    A column of many levels has two books, its steps 0 and 1. With a pair, `numbers` describes the gap or share (or the mere
    presence of what a law tells), `alone` (tokens after those) the values of patients whose base column is missing, and `own`
    which values the column itself may be told.
    """

    column: Column
    levels: Levels | None = None
    step: int = 0
    numbers: Numbers | None = None
    pair: Pair | None = None
    alone: Numbers | None = None
    own: Numbers | None = None

    @property
    def name(self) -> str:
        """The column, and what of it this field draws."""
        if self.pair is not None:
            return f"{self.column.name} {self.pair.form} {self.pair.base}"
        return self.column.name if self.step == 0 else f"{self.column.name} within its group"

    @property
    def size(self) -> int:
        """Tokens, missing included."""
        if self.levels is not None:
            return self.levels.sizes[self.step]
        return 1 + sum(part.levels for part in (self.numbers, self.alone) if part is not None)

    @property
    def split(self) -> int:
        """The first token after those of `numbers`."""
        assert self.numbers is not None
        return 1 + self.numbers.levels

    @property
    def binned(self) -> np.ndarray:
        """(size,) True for tokens within which the offset matters."""
        parts = [part.binned for part in (self.numbers, self.alone) if part is not None]
        return np.concatenate([[False], *parts]) if parts else np.zeros(self.size, bool)

    def place(self, values: np.ndarray, base: np.ndarray | None, constant: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and offsets (float64) of physical numbers; NaN is missing. `base`, `constant`: what the pair tells it by."""
        assert self.numbers is not None
        tokens, offsets = np.zeros(len(values), np.int32), np.full(len(values), 0.5)
        told, measured = np.ones(len(values), bool), values
        if self.pair is not None and base is not None and constant is not None:
            told = self.pair.told(base, constant)
            values = self._settled(values, base, told)
            measured = self.pair.relative(values, base)
        start = 1
        for part, rows, numbers in ((self.numbers, told, measured), (self.alone, ~told, values)):
            if part is not None and part.levels:
                rows = np.flatnonzero(rows & ~np.isnan(values))
                found = part.encode(numbers[rows])
                tokens[rows], offsets[rows] = start + found[0], found[1]
                start += part.levels
        return tokens, offsets

    def values(self, tokens: np.ndarray, offsets: np.ndarray, base: np.ndarray | None, constant: np.ndarray | None) -> np.ndarray:
        """Physical numbers (NaN for missing) of tokens and offsets."""
        assert self.numbers is not None
        values = np.full(len(tokens), np.nan)
        told, split = (tokens >= 1) & (tokens < self.split), self.split
        values[told] = self.numbers.decode(tokens[told] - 1, offsets[told])
        if self.pair is None:
            return values
        assert base is not None and constant is not None
        values[told] = self._within(self.pair.absolute(values[told], base[told], constant[told]))
        if self.alone is not None and (tokens >= split).any():
            values[tokens >= split] = self.alone.decode(tokens[tokens >= split] - split, offsets[tokens >= split])
        return self._settled(values, base, told)

    def _within(self, values: np.ndarray) -> np.ndarray:
        """What another patient's gap or share takes beyond the range is reflected into it: cut off, it would heap up at the ends."""
        if self.own is None or not len(self.own.values):
            return values
        step = 0.0 if self.own.grid is None else self.own.grid.step
        low, high, values = self.own.values[0], self.own.values[-1], on_format(values, self.own.grid)
        # Mirrored half a step outside, one step beyond falls on the end itself, so that the end keeps its share.
        above, below = np.maximum(2 * high + step - values, low), np.minimum(2 * low - step - values, high)
        return np.where(values > high, above, np.where(values < low, below, values))

    def _settled(self, values: np.ndarray, base: np.ndarray, told: np.ndarray) -> np.ndarray:
        """`values` moved to what the column may be told, on the right side of the base where the base tells them."""
        assert self.pair is not None and self.own is not None
        low, high = (np.where(told, end, sign * np.inf) for end, sign in zip(self.pair.limits(base, self.column), (-1, 1), strict=True))
        found = np.full(len(values), np.nan)
        known = np.flatnonzero(~np.isnan(values))
        found[known] = self.own.settle(values[known], low[known], high[known])
        return found

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain data and arrays of a book of numbers, or of the levels of a column."""
        plain: dict[str, Any] = {"column": self.column.name, "pair": self.pair and self.pair._asdict(), "parts": {}, "step": self.step}
        plain["grid"] = self.column.grid and self.column.grid.model_dump()
        if self.levels is not None:
            return plain, {f"levels.{name}": getattr(self.levels, name) for name in ("held", "instead", "tokens")}
        arrays: dict[str, np.ndarray] = {}
        for name in ("numbers", "alone", "own"):
            part: Numbers | None = getattr(self, name)
            if part is not None:
                plain["parts"][name], found = part.state()
                arrays |= {f"{name}.{key}": array for key, array in found.items()}
        return plain, arrays

    @staticmethod
    def restored(column: Column, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> Book:
        """The inverse of `state`. ValueError when the parts do not fit together."""
        column = column.model_copy(update={"grid": Grid(**plain["grid"]) if plain["grid"] else None})
        if column.discrete:
            levels = Levels(column, *(arrays[f"levels.{name}"] for name in ("held", "instead", "tokens")))
            levels.check()
            if plain["step"] not in range(len(levels.sizes)):
                raise ValueError("a column has no such step")
            return Book(column, levels, plain["step"])
        parts = {
            name: Numbers.restored(config, {key.removeprefix(f"{name}."): a for key, a in arrays.items() if key.startswith(f"{name}.")})
            for name, config in plain["parts"].items()
        }
        pair = Pair(**plain["pair"] | {"constants": tuple(plain["pair"]["constants"])}) if plain["pair"] else None
        if "numbers" not in parts or (pair is not None) != ("own" in parts):
            raise ValueError("the numbers of a column are missing")
        return Book(column, None, 0, parts["numbers"], pair, parts.get("alone"), parts.get("own"))


def level_books(column: Column, levels: Levels) -> tuple[Book, ...]:
    """One book a step."""
    return tuple(Book(column, levels, step) for step in range(levels.tokens.shape[1]))


def number_book(
    column: Column,
    values: np.ndarray,
    patients: np.ndarray | None,
    *,
    pair: Pair | None = None,
    base: np.ndarray | None = None,
    constant: np.ndarray | None = None,
    base_book: Book | None = None,
    held_by: int = HELD_BY,
) -> Book:
    """Learn a column of numbers (NaN for missing) from the training rows. InputError for an infinite value.

    base   the values of the pair's other column as they come back from their own codes; `base_book` is its book
    """
    known = ~np.isnan(values)
    if np.isinf(values).any():
        raise InputError(f"Column {column.name!r} holds an infinite value, which no patient has. Mark it as missing in the schema.")
    whole = column.kind != "number"
    grid = grid_of(values[known], column.grid, whole=whole)

    def learned(numbers: np.ndarray, rows: np.ndarray, grid: Grid | None, **more: Any) -> Numbers:
        whose = None if patients is None else patients[rows]
        return Numbers.learn(numbers[rows], grid, whose, **{"held_by": held_by, **more})

    if pair is None:
        return Book(column, numbers=learned(values, known, grid))
    assert base is not None and constant is not None and base_book is not None
    # The grid of the column itself is applied after the pair is put together.
    column = column.model_copy(update={"grid": grid})
    met = base_book.own or base_book.numbers
    assert met is not None
    own = learned(values, known, grid, given=met.values)
    told = pair.told(base, constant)
    book = Book(column, numbers=learned(values, known & told, grid), pair=pair, own=own)
    values = book._settled(values, base, told)
    known = ~np.isnan(values)
    if pair.lawful:
        numbers = learned(np.zeros(len(values)), known & told, None, held_by=1)
    else:
        relative = pair.relative(values, base)
        gap_grid = None
        if pair.form == "gap":
            gap_grid = grid_of(relative[known & told], None, whole=whole and base_book.column.kind != "number")
        numbers = learned(relative, known & told, gap_grid, dense=pair.form == "share")
    alone = learned(values, known & ~told, grid) if (known & ~told).any() else None
    return book._replace(numbers=numbers, alone=alone)
