"""Clues: what gives synthetic patients away, one thing at a time: a format, a column, a law, a rule, a pair. For any tool's table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from proband import seeds
from proband.encode.laws import laws_of
from proband.encode.levels import Levels
from proband.encode.pairs import by_law
from proband.schema import Schema
from proband.schema import rules as sql
from proband.schema.model import Column
from proband.stats.discrimination import told_by
from proband.validate.coded import Part, Tables, matrix

#: What tells fewer than this share of pairs apart is no clue: two groups of a few hundred real patients reach .52 by chance.
_LEAST = 0.53
#: A pair is a clue of its own when it tells this much more than either of its columns.
_BEYOND = 0.03
#: Bins of a number; pairs that are looked at, at random beyond; clues that are named of each kind.
_BINS, _PAIRS, _MOST = 50, 1_000, 4
#: Breaking a law means missing it by more than twice what all but one in two hundred real patients do.
_LAWFUL = 0.995


@dataclass(frozen=True)
class Clue:
    """One thing that tells synthetic from real patients: the share of pairs in which it alone finds the synthetic one, and in words."""

    kind: str  # format, column, law, rule, pair
    name: str
    auc: float
    text: str


def clues(coded: Tables, schema: Schema, made: np.ndarray, real: np.ndarray, *, seed: int) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The clues, strongest first and at most four of a kind, as plain data; and the AUC of a judge that sees one column alone, (columns,).

    made, real  rows of the synthetic and of the unseen part, whole patients in random order
    """
    values = [_snapped(coded, matrix(coded, part, rows)) for part, rows in ((coded.synthetic, made), (coded.unseen, real))]
    plain = [_codes(*(side[:, at] for side in values)) for at in range(len(coded.columns))]
    fine = [
        np.concatenate([_on_format(column, part)[rows] for part, rows in ((coded.synthetic, made), (coded.unseen, real))])
        for column in coded.columns
    ]
    alone = np.array([told_by(2 * codes + good, len(made)) for codes, good in zip(plain, fine, strict=True)])
    shape = np.array([told_by(codes, len(made)) for codes in plain])
    found = [
        *_columns(coded, values, fine, alone, shape),
        *_rules(coded, schema, made, real),
        *_laws(coded, schema, made, real),
        *_pairs(coded, values, seed),
    ]
    found.sort(key=lambda clue: -clue.auc)
    told: list[Clue] = []
    for clue in found:
        if clue.auc >= _LEAST and sum(other.kind == clue.kind for other in told) < _MOST:
            told.append(clue)
    return [asdict(clue) | {"auc": round(clue.auc, 4)} for clue in told], alone


def _columns(coded: Tables, values: list[np.ndarray], fine: list[np.ndarray], alone: np.ndarray, shape: np.ndarray) -> Iterator[Clue]:
    """Each column at most once: by its format when that tells more than its values do."""
    rows = len(values[0])
    for at, column in enumerate(coded.columns):
        here, there = (~np.isnan(side[:, at]) for side in values)
        good = [fine[at][:rows][here], fine[at][rows:][there]]
        if all(map(len, good)) and 0.5 + (good[1].mean() - good[0].mean()) / 2 > max(shape[at], _LEAST):
            text = f"{good[1].mean():.0%} of real values of '{column.name}' lie on its format, {good[0].mean():.0%} of these do"
            yield Clue("format", column.name, float(alone[at]), text)
        elif abs(here.mean() - there.mean()) / 2 >= max(_LEAST - 0.5, 0.8 * (shape[at] - 0.5)):  # the gaps say nearly all
            text = f"'{column.name}' is missing in {1 - there.mean():.0%} of real patients and {1 - here.mean():.0%} of these"
            yield Clue("column", column.name, float(shape[at]), text)
        else:
            text = f"the values of '{column.name}' are distributed otherwise: from them alone {shape[at]:.0%} of pairs are told apart"
            yield Clue("column", column.name, float(shape[at]), text)


def _rules(coded: Tables, schema: Schema, made: np.ndarray, real: np.ndarray) -> Iterator[Clue]:
    """Rules of the schema; one about a column that is not compared, an identifier, is left to `rules_broken`."""
    frames = coded.synthetic.frame[made], coded.unseen.frame[real]
    for rule in schema.rules:
        if not sql.columns(rule.sql, schema.table) <= set(coded.names):
            continue
        broken, usual = (int(sql.holds(rule.sql, frame, schema.table).eq_missing(False).sum()) / frame.height for frame in frames)
        name, _, _ = (rule.why or rule.sql).partition(";")
        yield Clue("rule", rule.sql, 0.5 + (broken - usual) / 2, f"{name}; the table breaks it in {broken:.0%} of rows")


def _laws(coded: Tables, schema: Schema, made: np.ndarray, real: np.ndarray) -> Iterator[Clue]:
    """A column that another tells by a power, a multiple or a difference, within the levels of a third or everywhere."""
    columns = {column.name: column for column in coded.columns if column.name not in _defined(schema)}
    levels = {name: Levels.learn(column, coded.real.frame[name], None, 1) for name, column in columns.items() if column.discrete}
    at = {column.name: place for place, column in enumerate(coded.columns)}
    for name, law in laws_of(coded.real.frame, columns, levels).items():
        misses = []
        for part, rows in ((coded.synthetic, made), (coded.unseen, real)):
            group = None if law.group is None else _tokens(levels[law.group], part.frame[law.group].gather(rows))
            base, values = (part.numbers(coded.columns[at[one]])[rows] for one in (law.base, name))
            miss = np.abs(by_law(law.form, base, law.constant(group, len(rows))) - values)
            misses.append(miss[~np.isnan(miss)])
        if not all(map(len, misses)):
            continue
        slack = 2 * float(np.quantile(misses[1], _LAWFUL)) + 1e-12
        broken, usual = (float(np.mean(miss > slack)) for miss in misses)
        form = {"power": "a power of", "multiple": "a multiple of", "difference": "a constant more or less than"}[law.form]
        where = "" if law.group is None else f" within each '{law.group}'"
        text = f"'{name}' is {form} '{law.base}'{where}; the table breaks it in {broken:.0%} of rows"
        yield Clue("law", name, 0.5 + (broken - usual) / 2, text)


def _tokens(levels: Levels, series: pl.Series) -> np.ndarray:
    """(rows,) the tokens of a group's levels; one that no real patient has counts as missing."""
    known = series.cast(pl.String).is_in([str(word) for word in levels.column.categories or ("false", "true")])
    return levels.encode(pl.select(pl.when(known).then(series)).to_series())[:, 0]


def _pairs(coded: Tables, values: list[np.ndarray], seed: int) -> Iterator[Clue]:
    """Two columns that are right one at a time and wrong together, in about 8 values each. Formats are no matter here."""
    rows = len(values[0])
    codes = [_coarse(coded, at, np.concatenate([side[:, at] for side in values])) for at in range(len(coded.columns))]
    one = [told_by(row, rows) for row in codes]
    every = list(combinations(range(len(codes)), 2))
    some = seeds.generator(seed, "clues").permutation(len(every))[:_PAIRS]
    for a, b in (every[k] for k in np.sort(some)):
        told = told_by(codes[a] * (codes[b].max() + 1) + codes[b], rows)
        if told > max(one[a], one[b]) + _BEYOND:
            names = [coded.names[c] for c in (a, b)]
            text = f"'{names[0]}' and '{names[1]}' do not go together as in real patients: {told:.0%} of pairs are told apart"
            yield Clue("pair", " and ".join(names), told, text)


def _snapped(coded: Tables, values: np.ndarray) -> np.ndarray:
    """`values` (as `matrix` gives them) with every number on its column's format."""
    for at, column in enumerate(coded.columns):
        if column.grid is not None and column.kind == "number":
            values[:, at] = column.grid.snap(values[:, at])
    return values


def _coarse(coded: Tables, at: int, values: np.ndarray) -> np.ndarray:
    """One column's values as about 8 codes."""
    cut, known = coded.codings[at].bins, ~np.isnan(values)
    if cut is None:  # levels by falling frequency
        return np.where(known, 1 + np.minimum(np.nan_to_num(values), 6), 0).astype(np.int64)
    fine = np.zeros(len(values), np.int64)
    fine[known] = 2 + cut.codes(values[known])
    return coded.lookups[at][fine].astype(np.int64)


def _codes(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Both sides' values of a column as codes: 0 for missing, else bins of about equal content, or levels."""
    both = np.concatenate([one, other])
    known = ~np.isnan(both)
    distinct, codes = np.unique(both[known], return_inverse=True)
    if len(distinct) > _BINS:
        edges = np.unique(np.quantile(both[known], np.arange(1, _BINS) / _BINS))
        codes = np.searchsorted(edges, both[known], side="right")
    found = np.zeros(len(both), np.int64)
    found[known] = codes + 1
    return found


def _on_format(column: Column, part: Part) -> np.ndarray:
    """Which cells have the form of the column's values; an empty one has."""
    good = np.ones(part.frame.height, bool)
    if column.grid is not None and column.kind == "number":
        values = part.numbers(column)
        with np.errstate(invalid="ignore", over="ignore"):
            good = ~(np.abs(column.grid.snap(values) - values) > 1e-9 * np.maximum(np.abs(values), 1.0))
    return good & ~part.refused.get(column.name, np.False_)


def _defined(schema: Schema) -> set[str]:
    """Columns that a rule computes: breaking it is told as a rule."""
    derived, _ = sql.derivations([rule.sql for rule in schema.rules], schema.table)
    return set(derived)
