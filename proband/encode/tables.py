"""Table rows as tokens: what follows from other columns is taken out, what must hold is built in, missing is a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.encode.books import Book, level_books, number_book
from proband.encode.laws import laws_of
from proband.encode.levels import Levels
from proband.encode.numbers import HELD_BY, from_numbers, to_numbers
from proband.encode.pairs import Pair, pairs_of
from proband.encode.together import check, compatible
from proband.errors import InputError
from proband.schema import Schema
from proband.schema import rules as sql

#: How the codes of a field are found: field index -> (tokens, offsets), both of shape (rows,).
Lookup = Callable[[int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Field:
    """One thing to draw for a patient: a column, its distance from another column, or one of the two steps of many levels.

    levels   number of tokens; token 0 means missing
    numeric  whether tokens 1.. are in the order of the values
    counts   training rows per token, (levels,)
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


@dataclass(frozen=True)
class TableEncoder:
    """Rows of one schema as tokens and offsets, and back.

    Identifiers are dropped and made anew; columns that a rule defines are recomputed; the second column of a rule
    low <= high becomes a gap (or a share, where the larger is positive and the smaller not negative), so that the rule
    holds by construction; a column that follows from another by a law within the levels of a third keeps its presence only;
    a column of many levels is told in two steps. A value that at least two patients hold comes back exactly, any other as the
    nearest that may be told, missing as token 0.

    >>> encoder = TableEncoder.fit(cohort)                                              # doctest: +SKIP
    >>> encoder.decode(encoder.encode(cohort.frame))                                    # doctest: +SKIP
    """

    schema: Schema
    books: tuple[Book, ...]
    counts: tuple[np.ndarray, ...]
    derived: dict[str, sql.Derivation]
    rules: tuple[str, ...]
    prefix: str

    @staticmethod
    def learnable(cohort: Cohort) -> TableEncoder:
        """As `fit`, and InputError where no column says anything: a network with nothing to learn would be a fault without a name."""
        encoder = TableEncoder.fit(cohort)
        if not encoder.fields:
            raise InputError(
                "The table holds identifiers and derived columns only, so there is nothing to learn. Add a column that says something."
            )
        return encoder

    @staticmethod
    def fit(cohort: Cohort, *, held_by: int = HELD_BY) -> TableEncoder:
        """Learn tokens from the training patients. InputError for free text, an empty cohort, or a rule that cannot be honoured.

        held_by   patients who must hold a value or a level for it to be told; with 1 every row comes back as it was
        """
        table, frame = cohort.one_table("This synthesizer").schema.table, cohort.frame
        if not frame.height:
            raise InputError("The cohort holds no rows, so there is nothing to learn. Bring at least a few hundred patients.")
        for column in table.columns:
            if column.kind == "text":
                raise InputError(
                    f"Column {column.name!r} is free text, which may name people. Delete it, or make it a category in the schema."
                )
        derived, rest = _derived(cohort)
        drawn = {c.name: c for c in table.columns if c.kind != "identifier" and c.name not in derived}
        patients = None if table.key is None else frame[table.key].rank("dense").cast(pl.Int64).to_numpy()
        levels = {name: Levels.learn(c, frame[name], patients, held_by) for name, c in drawn.items() if c.discrete}
        laws = laws_of(frame, drawn, levels) if held_by > 1 else {}
        pairs, rest = pairs_of(rest, drawn, cohort, laws)
        books: dict[str, Book] = {}
        told: dict[str, np.ndarray] = {}  # the values of numbers as they come back from their own codes, for what they tell
        for name in _in_turn([name for name, c in drawn.items() if not c.discrete], pairs):
            values, pair = to_numbers(frame[name]), pairs.get(name)
            base = constant = base_book = None
            if pair is not None:
                group = levels[pair.group].encode(frame[pair.group])[:, 0] if pair.group is not None else None
                base, constant, base_book = told[pair.base], pair.constant(group, frame.height), books[pair.base]
            books[name] = number_book(
                drawn[name], values, patients, pair=pair, base=base, constant=constant, base_book=base_book, held_by=held_by
            )
            if any(other.base == name for other in pairs.values()):
                tokens, offsets = books[name].place(values, base, constant)
                told[name] = books[name].values(tokens, offsets.astype(np.float32), base, constant)
        every = tuple(book for name, c in drawn.items() for book in (level_books(c, levels[name]) if c.discrete else (books[name],)))
        encoder = TableEncoder(cohort.schema, every, (), derived, (), fresh_prefix(cohort))
        codes = encoder.encode(frame)
        counts = tuple(np.bincount(codes.tokens[:, i], minlength=book.size) for i, book in enumerate(encoder.books))
        bounds = _bounds_of_derived(derived, frame, encoder)
        return TableEncoder(cohort.schema, encoder.books, counts, derived, (*rest, *bounds), encoder.prefix)

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """What is drawn for every patient, in the schema's order."""
        return tuple(
            Field(book.name, book.size, book.column.kind not in ("category", "boolean") and book.step == 0, counts)
            for book, counts in zip(self.books, self.counts, strict=True)
        )

    @cached_property
    def index(self) -> dict[str, int]:
        """Column name -> the first field that draws it (derived columns and identifiers have none)."""
        return {book.column.name: i for i, book in enumerate(self.books) if book.step == 0}

    def encode(self, frame: pl.DataFrame) -> Codes:
        """Codes of the rows of `frame` (a Cohort's frame). InputError for a level that the schema does not have."""
        tokens = np.zeros((frame.height, len(self.books)), np.int32)
        offsets = np.full((frame.height, len(self.books)), 0.5, np.float32)
        for name, i in self.index.items():
            if (levels := self.books[i].levels) is not None:
                tokens[:, i : i + len(levels.sizes)] = levels.encode(frame[name])
        lookup: Lookup = lambda i: (tokens[:, i], offsets[:, i])  # noqa: E731
        memo: dict[str, np.ndarray] = {}
        for name in _in_turn([book.column.name for book in self.books if book.levels is None], self._pairs):
            i = self.index[name]
            base, constant = self._told_by(i, lookup, frame.height, memo)
            tokens[:, i], offsets[:, i] = self.books[i].place(to_numbers(frame[name]), base, constant)
        return Codes(tokens, offsets)

    def place(self, field: int, values: np.ndarray, base: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and offsets (float64) of physical values of a number column; NaN is missing. `base`: values of the column that a gap
        or share is told by."""
        return self.books[field].place(values, base, None if base is None else np.zeros(len(values)))

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
                    found[column.name] = book.levels.decode([lookup(i)[0] for i in self._steps(column.name)])
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
            i = self.index[name]
            tokens, offsets = lookup(i)
            memo[name] = self.books[i].values(tokens, offsets, *self._told_by(i, lookup, len(tokens), memo))
        return memo[name]

    def _told_by(self, field: int, lookup: Lookup, rows: int, memo: dict[str, np.ndarray]) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(rows,) each: the values of the base of a field's pair, and the constants of its law; nothing without a pair."""
        pair = self.books[field].pair
        if pair is None:
            return None, None
        group = None if pair.group is None else lookup(self.index[pair.group])[0]
        return self._values(pair.base, lookup, memo), pair.constant(group, rows)

    @cached_property
    def _pairs(self) -> dict[str, Pair]:
        return {book.column.name: book.pair for book in self.books if book.pair is not None}

    def _steps(self, name: str) -> range:
        """The fields that draw a column: two for a column of many levels."""
        levels = self.books[self.index[name]].levels
        return range(self.index[name], self.index[name] + (1 if levels is None else len(levels.sizes)))

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
            elif name in self._pairs:
                pair = self._pairs[name]
                queue += [pair.base] if pair.group is None else [pair.base, pair.group]
        return seen

    def reads(self, names: Iterable[str]) -> frozenset[int]:
        """The fields that decide the columns `names`, through derivations, pairs and laws."""
        return frozenset(i for name in self._needed(names) if name in self.index for i in self._steps(name))

    def compatible(self, field: int, tokens: np.ndarray) -> np.ndarray | None:
        """(rows, levels) True where a token agrees with those drawn (-1: not yet), or None when any does.

        A gap needs its base, a value told alone needs its base missing, and the two steps of a level belong together.
        """
        return compatible(self, field, tokens)

    def bins(self, field: int) -> np.ndarray:
        """(levels,) True for tokens within which the offset matters."""
        return self.books[field].binned

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain data and arrays from which `restored` makes the same encoder."""
        arrays: dict[str, np.ndarray] = {}
        books = []
        for i, (book, counts) in enumerate(zip(self.books, self.counts, strict=True)):
            plain, found = book.state()
            books.append(plain)
            arrays |= {f"{i}.counts": counts} | {f"{i}.{key}": array for key, array in found.items()}
        derived = [{"column": d.column, "expression": d.expression, "inputs": sorted(d.inputs)} for d in self.derived.values()]
        return {"books": books, "derived": derived, "rules": list(self.rules), "prefix": self.prefix}, arrays

    @staticmethod
    def restored(schema: Schema, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> TableEncoder:
        """The inverse of `state`. ValueError or KeyError when the parts do not fit together."""
        books = tuple(
            Book.restored(
                schema.table[plain["column"]], plain, {k.removeprefix(f"{i}."): a for k, a in arrays.items() if k.startswith(f"{i}.")}
            )
            for i, plain in enumerate(config["books"])
        )
        derived = {d["column"]: sql.Derivation(d["column"], d["expression"], frozenset(d["inputs"])) for d in config["derived"]}
        counts = tuple(arrays[f"{i}.counts"] for i in range(len(books)))
        if any(count.shape != (book.size,) or (count < 0).any() or not count.sum() for count, book in zip(counts, books, strict=True)):
            raise ValueError("the counts of a column do not fit its tokens")
        made = TableEncoder(schema, books, counts, derived, tuple(config["rules"]), config["prefix"])
        check(made)
        return made


def _in_turn(names: list[str], pairs: dict[str, Pair]) -> list[str]:
    """`names`, each after the column it is told by."""
    turn: list[str] = []

    def put(name: str) -> None:
        if name not in turn:
            if name in pairs:
                put(pairs[name].base)
            turn.append(name)

    for name in names:
        put(name)
    return turn


def fresh_prefix(cohort: Cohort) -> str:
    """How fresh identifiers begin: no real one of any table begins like this."""
    prefix = "synthetic-"
    real = [frame[column.name] for table, frame in cohort.tables for column in table.columns if column.kind == "identifier"]
    while any(series.str.starts_with(prefix).any() for series in real):
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
