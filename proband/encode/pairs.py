"""Columns told by another: by the distance from it, so that low <= high holds whatever is drawn, or by a law, which leaves none."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.encode.anonymous import significant
from proband.encode.numbers import Numbers, to_numbers
from proband.schema import Column
from proband.schema import rules as sql

LAWS = ("power", "multiple", "difference")


class Pair(NamedTuple):
    """A column told relative to `base`.

    gap, share                   base + gap with gap >= 0, or base * share with share in [0, 1]; `strict`: never equal to the base
    power, multiple, difference  base ** k, base * k, base + k, with a k for each level of the column `group`
    constants                    of a law: k by the token of the group, None where it does not hold; one entry when there is no group
    """

    base: str
    form: Literal["gap", "share", "power", "multiple", "difference"]
    strict: bool = False
    group: str | None = None
    constants: tuple[float | None, ...] = ()

    @property
    def lawful(self) -> bool:
        """Whether the base says all, so that only presence is drawn."""
        return self.form in LAWS

    def constant(self, tokens: np.ndarray | None, rows: int) -> np.ndarray:
        """(rows,) the law's k for the group's tokens, NaN where there is none; zeros for a distance."""
        if not self.lawful:
            return np.zeros(rows)
        constants = np.array([np.nan if k is None else k for k in self.constants])
        return np.full(rows, constants[0]) if self.group is None or tokens is None else constants[tokens]

    def told(self, base: np.ndarray, constant: np.ndarray) -> np.ndarray:
        """(rows,) whether base and constant are known, so that the column is told by them."""
        return ~np.isnan(base) & ~np.isnan(constant)

    def relative(self, values: np.ndarray, base: np.ndarray) -> np.ndarray:
        """The gaps or shares of `values` (float64, NaN for missing) to those of the base column; nothing (0) for a law."""
        if self.lawful:
            return np.zeros(len(values))
        with np.errstate(divide="ignore", invalid="ignore"):
            return significant(values - base if self.form == "gap" else np.where(base > 0, values / base, 1.0))

    def absolute(self, relative: np.ndarray, base: np.ndarray, constant: np.ndarray) -> np.ndarray:
        """The inverse of `relative`, not settled on the column's values yet."""
        if self.form == "gap":
            return base + relative
        return base * relative if self.form == "share" else by_law(self.form, base, constant)

    def base_of(self, values: np.ndarray, relative: np.ndarray, constant: np.ndarray) -> np.ndarray:
        """The base that gives `values` at this gap, share or constant; NaN where there is none."""
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.form in ("gap", "difference"):
                return values - (relative if self.form == "gap" else constant)
            if self.form == "share":
                return np.where(relative > 0, values / relative, np.nan)
            return by_law(self.form, values, 1 / constant)

    def limits(self, base: np.ndarray, column: Column) -> tuple[Any, Any]:
        """What the column must lie between, given the base."""
        if self.lawful:
            return -np.inf, np.inf
        up = self.form == "gap"
        if self.strict and column.grid is None and column.kind == "number":
            base = np.nextafter(base, np.inf if up else -np.inf)
        elif self.strict:
            base = base + (1.0 if column.grid is None else column.grid.step) * (1 if up else -1)
        return (base, np.inf) if up else (-np.inf, base)


def by_law(form: str, base: np.ndarray, constant: np.ndarray | float) -> np.ndarray:
    """base ** k, base * k or base + k; NaN where that is no number."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        found = np.power(base, constant) if form == "power" else base * constant if form == "multiple" else base + constant
    return np.where(np.isfinite(found), found, np.nan)


def pairs_of(
    texts: list[str], drawn: dict[str, Column], cohort: Cohort, laws: dict[str, Pair] | None = None
) -> tuple[dict[str, Pair], list[str]]:
    """For each column at most one pair it is told by, without circles; and the rules that no pair honours.

    `laws` are kept: what the order of a column and its base leaves open is then for the mask.
    """
    pairs = dict(laws or {})
    rest = []
    for text in texts:
        found = sql.ordering(text, cohort.schema.table)
        pair = None
        if found is not None and found.low in drawn and found.high in drawn:
            kinds = {drawn[found.low].kind, drawn[found.high].kind}
            if kinds <= {"number", "integer"} or (len(kinds) == 1 and drawn[found.low].numeric):
                pair = _pair(found, drawn, kinds, cohort.frame)
        if found is None or pair is None:
            rest.append(text)
            continue
        target = found.high if pair.form == "gap" else found.low
        if target in pairs or target in bases(pair.base, pairs):
            rest.append(text)
        else:
            pairs[target] = pair
    return pairs, rest


def _pair(found: sql.Ordering, drawn: dict[str, Column], kinds: set, frame: pl.DataFrame) -> Pair | None:
    """A share for amounts (the ratio varies less with size), else a gap; None where either would lose what the column itself shows.

    Blood pressures end in 0, their ratio does not: a pair whose values are heaped stays as it is, and its rule is kept by
    masking. On Framingham's diastolic pressure a share alone gave the fakes away (AUC .64 from this one column).
    """
    low, high = (to_numbers(frame[name]) for name in (found.low, found.high))
    both = ~np.isnan(low) & ~np.isnan(high)
    known_low, known_high = low[both], high[both]
    if not both.any() or (known_low > known_high).any() or (found.strict and (known_low == known_high).any()):
        return None  # the training rows break the rule themselves
    nothing = (high[~np.isnan(high)] == 0).mean()  # a share of nothing says nothing
    amounts = kinds <= {"number", "integer"} and (known_low >= 0).all() and np.nanmin(high) >= 0 and nothing <= (0 if found.strict else 0.1)
    gap, share = Pair(found.low, "gap", found.strict), Pair(found.high, "share", found.strict)
    choices = (share, known_low, known_high, drawn[found.low]), (gap, known_high, known_low, drawn[found.high])
    for pair, target, base, column in choices:
        if (pair.form == "gap" or amounts) and _keeps_heaps(pair, target, base, column):
            return pair
    return None


def _keeps_heaps(pair: Pair, target: np.ndarray, base: np.ndarray, column: Column) -> bool:
    """Whether `target`, told by the gaps or shares of patients with a somewhat different base, still falls on the values that many share.

    A synthesizer never conditions on the base exactly. US cigarette taxes of two years are a few dozen pairs of numbers: told as a
    share of the other year, which is right for every training patient, a share of the wrong state gives a tax that no state had.
    """
    own = Numbers.learn(target, column.grid, held_by=1)
    heaps = own.values[~own.binned[own.token]]
    order = np.argsort(base, kind="stable")
    others = np.roll(pair.relative(target, base)[order], len(order) // 20)
    made = own.settle(pair.absolute(others, base[order], np.zeros(len(base))), *pair.limits(base[order], column))
    return bool(np.isin(made, heaps).mean() >= np.isin(target, heaps).mean() - 0.1)


def bases(name: str, pairs: dict[str, Pair]) -> set[str]:
    """`name` and the columns that it is told by, through others."""
    seen = {name}
    while name in pairs:
        name = pairs[name].base
        seen.add(name)
    return seen
