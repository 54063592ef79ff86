"""The levels of a column as tokens: those that enough patients hold, and in two steps where there are too many for one."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import polars as pl

from proband.encode.anonymous import holders
from proband.errors import InputError
from proband.schema import Column

#: A column with more levels is drawn in two steps: a group (a family of codes), then the level within it.
MOST_LEVELS = 120
_ROOM = 1.25  # a group holds at most this times the square root of the levels, so that groups and members are about as many
_CODE = re.compile(r"[A-Za-z]{0,4}\d[\w.\-/]*")  # I21.4, C09AA05, 2160-0, 73211009


class Levels(NamedTuple):
    """Which level is which token.

    held     the levels that may be told, as places among the schema's categories
    instead  (categories,) the place in `held` of the level that stands for each; -1 where no level may be told
    tokens   (held, steps) the tokens of each, from 1 on; one step, or two: the group and the place within it
    """

    column: Column
    held: np.ndarray
    instead: np.ndarray
    tokens: np.ndarray

    @staticmethod
    def learn(column: Column, series: pl.Series, patients: np.ndarray | None, held_by: int) -> Levels:
        """The levels of `series` that `held_by` patients hold; another is told as its nearest rank or code, or the commonest."""
        words = categories(column)
        at = _places(series, column)
        known = at >= 0
        count = np.bincount(at[known], minlength=len(words))
        held = np.flatnonzero(holders(at[known], None if patients is None else patients[known], len(words)) >= held_by)
        coded = _coded([str(words[i]) for i in held]) and column.kind == "category"
        return Levels(column, held, _instead(column, words, held, count, coded), _steps(column, words, held, count, coded))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Tokens of each step, missing included."""
        return tuple(1 + int(self.tokens[:, step].max(initial=0)) for step in range(self.tokens.shape[1]))

    @property
    def together(self) -> np.ndarray:
        """(groups, members) of a column in two steps: the place in `held` of the level, -1 where there is none."""
        return _together(self.tokens.tobytes(), len(self.tokens))

    def encode(self, series: pl.Series) -> np.ndarray:
        """(rows, steps) tokens; 0 is missing. InputError for a level that the schema does not have."""
        at = _places(series, self.column)
        place = np.where(at >= 0, np.append(self.instead, -1)[at], -1)
        return np.concatenate([self.tokens, np.zeros((1, self.tokens.shape[1]), np.int32)])[place].astype(np.int32)

    def decode(self, tokens: list[np.ndarray]) -> pl.Series:
        """The levels of the tokens of each step. A pair of tokens that no level has is told as the first of its group."""
        if len(tokens) == 1:
            place = np.asarray(tokens[0], np.int64)  # one step: tokens are in the order of `held`
        else:
            found = self.together[tokens[0], tokens[1]]
            first = self.together[tokens[0], np.minimum(1, self.together.shape[1] - 1)]
            place = np.where((tokens[0] == 0) | (tokens[1] == 0), 0, np.where(found >= 0, found, first) + 1)
        words = categories(self.column)
        told = pl.Series([None, *(words[i] for i in self.held)], dtype=self.column.dtype)
        return told.gather(pl.Series(place))

    def check(self) -> None:
        """ValueError when the parts do not fit together: a model folder is not trusted."""
        words, held = len(categories(self.column)), len(self.held)
        one_step = np.arange(1, held + 1)
        fits = (
            self.tokens.ndim == 2
            and self.tokens.dtype == np.int32
            and self.tokens.shape[1] in (1, 2)
            and len(self.tokens) == held
            and len(self.instead) == words
            and ((self.held >= 0) & (self.held < words)).all()
            and ((self.instead >= -1) & (self.instead < held)).all()
            and (self.tokens >= 1).all()
            and (self.tokens.max(initial=0) <= held and len(np.unique(self.tokens, axis=0)) == held)
            and (self.tokens.shape[1] == 2 or (self.tokens[:, 0] == one_step).all())
            and (self.tokens.shape[1] == 1 or set(self.tokens[self.tokens[:, 1] == 1, 0]) == set(self.tokens[:, 0]))
        )
        if not fits:
            raise ValueError("the levels of a column do not fit together")


def categories(column: Column) -> tuple[str | bool, ...]:
    """The levels that the schema declares."""
    return (False, True) if column.kind == "boolean" else tuple(column.categories or ())


@lru_cache(maxsize=32)
def _together(tokens: bytes, rows: int) -> np.ndarray:
    pairs = np.frombuffer(tokens, np.int32).reshape(rows, 2)
    found = np.full(pairs.max(axis=0) + 1, -1, np.int64)
    found[pairs[:, 0], pairs[:, 1]] = np.arange(rows)
    return found


def _places(series: pl.Series, column: Column) -> np.ndarray:
    """(rows,) the place of each level among the categories, -1 for missing."""
    words = list(categories(column)) or [False if column.kind == "boolean" else ""]  # replace_strict wants one
    place = series.replace_strict(words, list(range(len(words))), default=-2, return_dtype=pl.Int32)
    found = pl.select(pl.when(series.is_null()).then(-1).otherwise(place)).to_series().cast(pl.Int32).to_numpy()
    if (found < -1).any():
        raise InputError(f"Column {column.name!r} holds a level that is not among its categories. Add it to `categories` in the schema.")
    return found


def _coded(words: list[str]) -> bool:
    """Whether these are codes, whose beginnings mean something."""
    return len(words) > 1 and sum(bool(_CODE.fullmatch(word)) for word in words) >= 0.8 * len(words)


def _instead(column: Column, words: tuple[str | bool, ...], held: np.ndarray, count: np.ndarray, coded: bool) -> np.ndarray:
    """(categories,) the place in `held` of the level itself, or of the one told in its place."""
    found = np.full(len(words), -1)
    if not len(held):
        return found
    commonest = int(np.argmax(count[held]))
    found[:] = commonest
    if column.kind == "ordinal":
        every = np.arange(len(words))
        found = np.abs(every[:, None] - held[None, :]).argmin(axis=1)
    elif coded:
        order = sorted(range(len(held)), key=lambda place: str(words[held[place]]))
        names = [str(words[held[place]]) for place in order]
        for i in set(range(len(words))) - set(held.tolist()):
            at = bisect_left(names, str(words[i]))
            near = [(_common(str(words[i]), names[j]), count[held[order[j]]], -j) for j in (at - 1, at) if 0 <= j < len(names)]
            length, _, place = max(near)
            found[i] = order[-place] if length else commonest
    found[held] = np.arange(len(held))
    return found


def _steps(column: Column, words: tuple[str | bool, ...], held: np.ndarray, count: np.ndarray, coded: bool) -> np.ndarray:
    """(held, 1 or 2) tokens: families of codes, neighbours in rank, or levels about as common."""
    if len(held) <= MOST_LEVELS:
        return np.arange(1, len(held) + 1, dtype=np.int32)[:, None]
    size = int(np.ceil(_ROOM * np.sqrt(len(held))))
    if coded:
        order = np.array(sorted(range(len(held)), key=lambda place: str(words[held[place]])))
        names = [str(words[held[place]]) for place in order]
        common = [0] + [_common(one, other) for one, other in itertools.pairwise(names)]
        lengths = _runs(np.array(common), 0, len(names), size)
    else:
        order = np.arange(len(held)) if column.kind == "ordinal" else np.argsort(-count[held], kind="stable")
        lengths = [min(size, len(held) - start) for start in range(0, len(held), size)]
    tokens = np.zeros((len(held), 2), np.int32)
    tokens[order, 0] = np.repeat(np.arange(1, len(lengths) + 1), lengths)
    tokens[order, 1] = np.concatenate([np.arange(1, length + 1) for length in lengths])
    return tokens


def _common(one: str, other: str) -> int:
    """Letters that both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _runs(common: np.ndarray, start: int, end: int, size: int) -> list[int]:
    """Lengths of runs of sorted codes, of at most `size` each, parted where neighbours have the fewest letters in common.

    common   (codes,) letters that each code begins with as the one before it
    """
    if end - start <= size:
        return [end - start]
    inner = common[start + 1 : end]
    cuts = [start, *(np.flatnonzero(inner == inner.min()) + start + 1).tolist(), end]
    merged: list[int] = []
    for one, other in itertools.pairwise(cuts):
        for length in _runs(common, one, other, size):
            if merged and merged[-1] + length <= size:
                merged[-1] += length
            else:
                merged.append(length)
    return merged
