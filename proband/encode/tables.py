"""Table rows as tokens: what follows from other columns is taken out, what must hold is built in, missing is a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.encode.numbers import Numbers, from_numbers, grid_of, to_numbers
from proband.encode.pairs import Pair, absolute, pairs_of, relative_to
from proband.errors import InputError
from proband.schema import Column, Grid, Schema
from proband.schema import rules as sql

#: How the codes of a field are found: field index -> (tokens, offsets), both of shape (rows,).
Lookup = Callable[[int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Field:
    """One thing to draw for a patient: a column, or its distance from another column.

    levels   number of tokens; token 0 means missing
    numeric  whether tokens 1.. are in the order of the values
    counts   training patients per token, (levels,)
    """

    name: str
    levels: int
    numeric: bool
    counts: np.ndarray


@dataclass(frozen=True)
class Codes:
    """Rows as tokens (rows, fields), int32, and places within the token's range (rows, fields), in [0, 1)."""

    tokens: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)


class Book(NamedTuple):
    """How one column becomes tokens 1..: words for levels, numbers otherwise.

    With a pair, `numbers` describes the gap or share, and `alone` (tokens after those) the values of patients whose
    base column is missing.
    """

    column: Column
    levels: tuple[str | bool, ...] | None = None
    numbers: Numbers | None = None
    pair: Pair | None = None
    alone: Numbers | None = None

    @property
    def size(self) -> int:
        """Tokens, missing included."""
        if self.levels is not None:
            return 1 + len(self.levels)
        return 1 + sum(part.levels for part in (self.numbers, self.alone) if part is not None)


@dataclass(frozen=True)
class TableEncoder:
    """Rows of one schema as tokens and offsets, and back.

    Identifiers are dropped and made anew; columns that a rule defines are recomputed; the second column of a rule
    low <= high becomes a gap (or a share, where the larger is positive and the smaller not negative), so that the rule
    holds by construction; every other column keeps its values, exactly, with missing as token 0.

    >>> encoder = TableEncoder.fit(cohort)                                              # doctest: +SKIP
    >>> encoder.decode(encoder.encode(cohort.frame)).drop("id").equals(cohort.frame.drop("id"))  # doctest: +SKIP
    True
    """

    schema: Schema
    books: tuple[Book, ...]
    counts: tuple[np.ndarray, ...]
    derived: dict[str, sql.Derivation]
    rules: tuple[str, ...]
    prefix: str

    @staticmethod
    def fit(cohort: Cohort) -> TableEncoder:
        """Learn tokens from the training patients. InputError for free text, an empty cohort, or a rule that cannot be honoured."""
        table, frame = cohort.schema.table, cohort.frame
        if not frame.height:
            raise InputError("The cohort holds no rows, so there is nothing to learn. Bring at least a few hundred patients.")
        for column in table.columns:
            if column.kind == "text":
                raise InputError(
                    f"Column {column.name!r} is free text, which may name people. Delete it, or make it a category in the schema."
                )
        derived, rest = _derived(cohort)
        drawn = [c for c in table.columns if c.kind != "identifier" and c.name not in derived]
        pairs, rest = pairs_of(rest, {c.name: c for c in drawn}, cohort)
        encoder = TableEncoder(
            cohort.schema, tuple(_book(c, frame, pairs.get(c.name), table) for c in drawn), (), derived, (), _prefix(cohort)
        )
        codes = encoder.encode(frame)
        counts = tuple(np.bincount(codes.tokens[:, i], minlength=book.size) for i, book in enumerate(encoder.books))
        bounds = _bounds_of_derived(derived, frame, encoder)
        return TableEncoder(cohort.schema, encoder.books, counts, derived, (*rest, *bounds), encoder.prefix)

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """What is drawn for every patient, in the schema's order."""
        return tuple(
            Field(b.column.name if b.pair is None else f"{b.column.name} {b.pair.form} {b.pair.base}", b.size,
                  b.column.kind not in ("category", "boolean"), counts)
            for b, counts in zip(self.books, self.counts, strict=True)
        )  # fmt: skip

    @cached_property
    def index(self) -> dict[str, int]:
        """Column name -> the field that draws it (derived columns and identifiers have none)."""
        return {book.column.name: i for i, book in enumerate(self.books)}

    def encode(self, frame: pl.DataFrame) -> Codes:
        """Codes of the rows of `frame` (a Cohort's frame). InputError for a level that the schema does not have."""
        tokens = np.zeros((frame.height, len(self.books)), np.int32)
        offsets = np.full((frame.height, len(self.books)), 0.5, np.float32)
        for i, book in enumerate(self.books):
            if book.levels is not None:
                tokens[:, i] = _level_tokens(frame[book.column.name], book)
            else:
                base = to_numbers(frame[book.pair.base]) if book.pair else None
                tokens[:, i], offsets[:, i] = self.place(i, to_numbers(frame[book.column.name]), base)
        return Codes(tokens, offsets)

    def place(self, field: int, values: np.ndarray, base: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and offsets (float64) of physical values of a number column; NaN is missing. `base`: values of the pair's other column."""
        book = self.books[field]
        tokens, offsets = np.zeros(len(values), np.int32), np.full(len(values), 0.5)
        told = ~np.isnan(values) if base is None else ~np.isnan(values) & ~np.isnan(base)
        measured = values if book.pair is None or base is None else relative_to(values, base, book.pair)
        start = 1
        for part, rows, numbers in ((book.numbers, told, measured), (book.alone, ~np.isnan(values) & ~told, values)):
            if part is not None and part.levels:
                found = part.encode(numbers[rows])
                tokens[rows], offsets[rows] = start + found[0], found[1]
                start += part.levels
        return tokens, offsets

    def decode(self, codes: Codes) -> pl.DataFrame:
        """All columns of the schema, in order and of its types; identifiers fresh, derived columns recomputed."""
        return self.frame([c.name for c in self.schema.table.columns], lambda i: (codes.tokens[:, i], codes.offsets[:, i]), len(codes))

    def frame(self, names: Iterable[str], lookup: Lookup, rows: int) -> pl.DataFrame:
        """The columns `names` alone, decoded from the codes of the fields they need."""
        names = list(names)
        needed = self._needed(names)
        memo: dict[str, np.ndarray] = {}
        found: dict[str, pl.Series] = {}
        for column in self.schema.table.columns:
            if column.name in self.derived or column.name not in needed:
                continue
            if column.kind == "identifier":
                width = max(6, len(str(rows)))
                found[column.name] = pl.Series([f"{self.prefix}{row:0{width}d}" for row in range(1, rows + 1)], dtype=pl.String)
            else:
                book = self.books[self.index[column.name]]
                if book.levels is not None:
                    found[column.name] = _level_series(lookup(self.index[column.name])[0], book)
                else:
                    found[column.name] = from_numbers(self._values(column.name, lookup, memo), column)
        frame = pl.DataFrame(found) if found else pl.DataFrame({"row": np.zeros(rows)})
        for name, how in self.derived.items():
            if name in needed:
                frame = _recomputed(frame, how, self.schema)
        return frame.select(names)

    def _values(self, name: str, lookup: Lookup, memo: dict[str, np.ndarray]) -> np.ndarray:
        """Physical values (NaN for missing) of a number column; `memo` keeps the bases that several columns share."""
        if name not in memo:
            book = self.books[self.index[name]]
            tokens, offsets = lookup(self.index[name])
            values = np.full(len(tokens), np.nan)
            assert book.numbers is not None
            split = 1 + book.numbers.levels
            told = (tokens >= 1) & (tokens < split)
            values[told] = book.numbers.decode(tokens[told] - 1, offsets[told])
            if book.pair is not None and told.any():
                base = self._values(book.pair.base, lookup, memo)
                values[told] = absolute(values[told], base[told], book.column, book.pair)
            if book.alone is not None and (tokens >= split).any():
                values[tokens >= split] = book.alone.decode(tokens[tokens >= split] - split, offsets[tokens >= split])
            memo[name] = values
        return memo[name]

    def _needed(self, names: Iterable[str]) -> set[str]:
        """`names` and every column that is decoded or computed on the way to them."""
        seen: set[str] = set()
        queue = list(names)
        while queue:
            name = queue.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self.derived:
                queue += self.derived[name].inputs
            elif name in self.index and (pair := self.books[self.index[name]].pair) is not None:
                queue.append(pair.base)
        return seen

    def reads(self, names: Iterable[str]) -> frozenset[int]:
        """The fields that decide the columns `names`, through derivations and pairs."""
        return frozenset(self.index[name] for name in self._needed(names) if name in self.index)

    def compatible(self, field: int, tokens: np.ndarray) -> np.ndarray | None:
        """(rows, levels) True where a token agrees with those drawn (-1: not yet), or None when any does.

        A gap needs its base, a value told alone needs its base missing: only pairs restrict.
        """
        pair = self.books[field].pair
        own = self.books[field].column.name
        if pair is None and own not in self._told_by:
            return None
        allowed = np.ones((len(tokens), self.books[field].size), bool)
        if pair is not None:
            present, absent = self._presence(pair.base, tokens)
            split = 1 + self.books[field].numbers.levels  # type: ignore[union-attr]
            allowed[absent, 1:split] = False
            allowed[present, split:] = False
        if own in self._told_by:
            present, absent = self._presence(own, tokens)
            allowed[absent, 1:] = False
            allowed[present, :1] = False
        return allowed

    @cached_property
    def _told_by(self) -> dict[str, list[int]]:
        """Column -> the fields that are told relative to it."""
        found: dict[str, list[int]] = {}
        for i, book in enumerate(self.books):
            if book.pair is not None:
                found.setdefault(book.pair.base, []).append(i)
        return found

    def _presence(self, base: str, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(rows,) each: whether `base` is known to be present, and to be missing, from its token or from fields told relative to it."""
        drawn = tokens[:, self.index[base]]
        present, absent = drawn > 0, drawn == 0
        for i in self._told_by[base]:
            split = 1 + self.books[i].numbers.levels  # type: ignore[union-attr]
            present |= (tokens[:, i] >= 1) & (tokens[:, i] < split)
            absent |= tokens[:, i] >= split
        return present, absent

    def bins(self, field: int) -> np.ndarray:
        """(levels,) True for tokens within which the offset matters."""
        book = self.books[field]
        parts = [part.binned for part in (book.numbers, book.alone) if part is not None]
        return np.concatenate([[False], *parts]) if parts else np.zeros(book.size, bool)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain data and arrays from which `restored` makes the same encoder."""
        arrays: dict[str, np.ndarray] = {}
        books = []
        for i, (book, counts) in enumerate(zip(self.books, self.counts, strict=True)):
            plain: dict[str, Any] = {"column": book.column.name, "pair": book.pair and book.pair._asdict(), "parts": {}}
            plain["grid"] = book.column.grid and book.column.grid.model_dump()
            arrays[f"{i}.counts"] = counts
            for name, part in (("numbers", book.numbers), ("alone", book.alone)):
                if part is not None:
                    plain["parts"][name], found = part.state()
                    arrays |= {f"{i}.{name}.{key}": array for key, array in found.items()}
            books.append(plain)
        derived = [{"column": d.column, "expression": d.expression, "inputs": sorted(d.inputs)} for d in self.derived.values()]
        return {"books": books, "derived": derived, "rules": list(self.rules), "prefix": self.prefix}, arrays

    @staticmethod
    def restored(schema: Schema, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> TableEncoder:
        """The inverse of `state`."""
        books = []
        for i, plain in enumerate(config["books"]):
            column = schema.table[plain["column"]].model_copy(update={"grid": Grid(**plain["grid"]) if plain["grid"] else None})
            parts = {
                name: Numbers.restored(
                    found, {key.removeprefix(f"{i}.{name}."): a for key, a in arrays.items() if key.startswith(f"{i}.{name}.")}
                )
                for name, found in plain["parts"].items()
            }
            pair = Pair(**plain["pair"]) if plain["pair"] else None
            books.append(Book(column, None if parts else _levels(column), parts.get("numbers"), pair, parts.get("alone")))
        derived = {d["column"]: sql.Derivation(d["column"], d["expression"], frozenset(d["inputs"])) for d in config["derived"]}
        counts = tuple(arrays[f"{i}.counts"] for i in range(len(books)))
        if any(count.shape != (book.size,) or (count < 0).any() or not count.sum() for count, book in zip(counts, books, strict=True)):
            raise ValueError("the counts of a column do not fit its tokens")
        return TableEncoder(schema, tuple(books), counts, derived, tuple(config["rules"]), config["prefix"])


def _levels(column: Column) -> tuple[str | bool, ...]:
    return (False, True) if column.kind == "boolean" else tuple(column.categories or ())


def _level_tokens(series: pl.Series, book: Book) -> np.ndarray:
    assert book.levels is not None
    words = list(book.levels) or [False if book.column.kind == "boolean" else ""]  # replace_strict wants one
    tokens = series.replace_strict(words, list(range(1, len(words) + 1)), default=-1, return_dtype=pl.Int32)
    tokens = pl.select(pl.when(series.is_null()).then(0).otherwise(tokens)).to_series().cast(pl.Int32)
    if (tokens < 0).any():
        raise InputError(
            f"Column {book.column.name!r} holds a level that is not among its categories. Add it to `categories` in the schema."
        )
    return tokens.to_numpy()


def _level_series(tokens: np.ndarray, book: Book) -> pl.Series:
    words = pl.Series([None, *(book.levels or ())], dtype=book.column.dtype)
    return words.gather(pl.Series(tokens.astype(np.int64)))


def _book(column: Column, frame: pl.DataFrame, pair: Pair | None, table: Any) -> Book:
    if column.discrete:
        return Book(column, _levels(column))
    values = to_numbers(frame[column.name])
    known = ~np.isnan(values)
    if np.isinf(values).any():
        raise InputError(f"Column {column.name!r} holds an infinite value, which no patient has. Mark it as missing in the schema.")
    whole = column.kind != "number"
    grid = grid_of(values[known], column.grid, whole=whole)
    if pair is None:
        return Book(column, None, Numbers.learn(values[known], grid))
    told = ~np.isnan(to_numbers(frame[pair.base]))
    relative = relative_to(values[known & told], to_numbers(frame[pair.base])[known & told], pair)
    gap_grid = None if pair.form == "share" else grid_of(relative, None, whole=whole and table[pair.base].kind != "number")
    alone = Numbers.learn(values[known & ~told], grid) if (known & ~told).any() else None
    # The grid of the column itself is applied after the pair is put together.
    return Book(column.model_copy(update={"grid": grid}), None, Numbers.learn(relative, gap_grid), pair, alone)


def _prefix(cohort: Cohort) -> str:
    """How fresh identifiers begin: no real one begins like this."""
    prefix = "synthetic-"
    names = [c.name for c in cohort.schema.table.columns if c.kind == "identifier"]
    while any(cohort.frame[name].str.starts_with(prefix).any() for name in names):
        prefix = "re" + prefix
    return prefix


def _recomputed(frame: pl.DataFrame, how: sql.Derivation, schema: Schema) -> pl.DataFrame:
    column = schema.table[how.column]
    found = sql.expression(how.expression, schema.table).cast(column.dtype, strict=False)
    return frame.with_columns(found.alias(column.name))


def _derived(cohort: Cohort) -> tuple[dict[str, sql.Derivation], list[str]]:
    """Derivations whose recomputed column keeps its rule in the training rows, and the rules left to be checked."""
    table = cohort.schema.table
    texts = [rule.sql for rule in cohort.schema.rules]
    structural = list(texts)
    while True:
        derived, _ = sql.derivations(structural, table)
        frame = cohort.frame
        for how in derived.values():
            frame = _recomputed(frame, how, cohort.schema)
        broken = {text for text in structural if _defines(text, derived, table) and (~sql.holds(text, frame, table)).any()}
        structural = [text for text in structural if text not in broken]
        if not broken:
            break
    for how in derived.values():
        named = [name for name in how.inputs if table[name].kind == "identifier"]
        if named and table[how.column].kind != "identifier":
            raise InputError(
                f"A rule computes column {how.column!r} from the identifier {named[0]!r}, which is made anew for synthetic patients. "
                f"Delete the rule, or one of the two columns."
            )
    rest = [text for text in texts if not _defines(text, derived, table)]
    return derived, rest


def _defines(text: str, derived: dict[str, sql.Derivation], table: Any) -> bool:
    found, _ = sql.derivations([text], table)
    return any(derived.get(name) == how for name, how in found.items())


def _bounds_of_derived(derived: dict[str, sql.Derivation], frame: pl.DataFrame, encoder: TableEncoder) -> list[str]:
    """Declared bounds of recomputed numbers as rules, where the training rows keep them."""
    table = encoder.schema.table
    for how in derived.values():
        frame = _recomputed(frame, how, encoder.schema)
    bounds = []
    for name in derived:
        column = table[name]
        if column.kind in ("number", "integer"):
            texts = [f"{sql.quote(name)} {sign} {end!r}" for sign, end in ((">=", column.low), ("<=", column.high)) if end is not None]
            bounds += [text for text in texts if sql.holds(text, frame, table).fill_null(True).all()]
    return bounds
