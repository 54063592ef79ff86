"""Ordered pairs: a column told by its distance from another, so that low <= high holds whatever is drawn."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.encode.numbers import Numbers, physical_bounds, significant, to_numbers
from proband.schema import Column
from proband.schema import rules as sql


class Pair(NamedTuple):
    """A column told relative to `base`: base + gap with gap >= 0, or base * share with share in [0, 1]."""

    base: str
    form: Literal["gap", "share"]
    strict: bool


def relative_to(values: np.ndarray, base: np.ndarray, pair: Pair) -> np.ndarray:
    """The gaps or shares of `values` (float64, NaN for missing) to those of the base column."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return significant(values - base if pair.form == "gap" else np.where(base > 0, values / base, 1.0))


def absolute(relative: np.ndarray, base: np.ndarray, column: Column, pair: Pair) -> np.ndarray:
    """base + gap or base * share, on the column's grid and within its bounds, and on the right side of the base."""
    gap = pair.form == "gap"
    found = base + relative if gap else base * relative
    found = significant(found) if column.grid is None else column.grid.snap(found)
    low, high = physical_bounds(column)
    found = np.clip(found, low, high)
    found = np.maximum(found, base) if gap else np.minimum(found, base)
    if pair.strict:
        step = (1.0 if column.grid is None else column.grid.step) * (1 if gap else -1)
        touched = found == base
        if column.grid is None and column.kind == "number":
            found = np.where(touched, np.nextafter(found, found + step), found)
        else:
            found = np.where(touched, column.grid.snap(found + step) if column.grid else found + step, found)
    return found


def pairs_of(texts: list[str], drawn: dict[str, Column], cohort: Cohort) -> tuple[dict[str, Pair], list[str]]:
    """For each column at most one pair it is told by, without circles; and the rules that no pair honours."""
    pairs: dict[str, Pair] = {}
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
        if target in pairs or target in _bases(pair.base, pairs):
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
    atoms = Numbers.learn(target, None)
    heaps = atoms.values[~atoms.binned[atoms.token]]
    order = np.argsort(base, kind="stable")
    others = np.roll(relative_to(target, base, pair)[order], len(order) // 20)
    made = absolute(others, base[order], column, pair)
    return bool(np.isin(made, heaps).mean() >= np.isin(target, heaps).mean() - 0.1)


def _bases(name: str, pairs: dict[str, Pair]) -> set[str]:
    seen = {name}
    while name in pairs:
        name = pairs[name].base
        seen.add(name)
    return seen
