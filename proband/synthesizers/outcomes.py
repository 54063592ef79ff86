"""Columns that whole histories tell, such as an outcome: learned last, and drawn last, given all the rest of a patient."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from proband import seeds
from proband.schema import Column
from proband.stats.discrimination import auc
from proband.stats.trees import Trees, boosted

FEWEST, TOLD = 10, 0.6  # patients of either level on either side, and the AUC there, for a column to be told by histories


class Outcome(NamedTuple):
    """A column of two levels, and trees for the second of them, given whole patients.

    figure  its place among a patient's figures, which the trees do not see
    """

    column: str
    figure: int
    trees: Trees


def learned(columns: Sequence[Column], figures: np.ndarray, aside: np.ndarray, seed: int) -> tuple[Outcome, ...]:
    """The columns that trees of the other patients tell those `aside`, with trees of all of them.

    figures   (patients, figures) what is known of whole patients, `columns` first; NaN is missing
    """
    found = []
    for at, column in enumerate(columns):
        levels, known = figures[:, at], ~np.isnan(figures[:, at])
        two = column.kind == "boolean" or (column.kind == "category" and len(column.categories or ()) == 2)
        if not two or min(((levels == level) & known & side).sum() for level in (0, 1) for side in (aside, ~aside)) < FEWEST:
            continue
        others = np.delete(figures, at, axis=1)
        own = seeds.integer(seed, "sequences", column.name)
        grow = partial(boosted, kind="classifier", seed=own, trees=150, leaves=8, rate=0.05, share=0.2)
        trees = grow(others[known & ~aside], levels[known & ~aside])
        if auc(trees(others[known & aside]), levels[known & aside]) >= TOLD:
            found.append(Outcome(column.name, at, grow(others[known], levels[known])))
    return tuple(found)


def drawn(
    outcomes: Sequence[Outcome], columns: Mapping[str, Column], frame: pl.DataFrame, figures: np.ndarray, rng: np.random.Generator
) -> tuple[pl.DataFrame, np.ndarray]:
    """The patients' own table and their figures with these columns drawn anew, one given the other; what is missing stays so."""
    figures = figures.copy()
    for outcome in outcomes:
        odds = outcome.trees(np.delete(figures, outcome.figure, axis=1))
        second = rng.random(len(odds)) < 1 / (1 + np.exp(-odds))
        column, known = columns[outcome.column], ~np.isnan(figures[:, outcome.figure])
        words = [False, True] if column.kind == "boolean" else list(column.categories or ())
        told = pl.Series(column.name, [words[int(level)] for level in second], dtype=column.dtype)
        frame = frame.with_columns(frame[column.name].zip_with(pl.Series(~known), told))
        figures[:, outcome.figure] = np.where(known, second, np.nan)
    return frame, figures


def packed(outcomes: Sequence[Outcome]) -> tuple[list[list[Any]], dict[str, np.ndarray]]:
    """Outcomes as plain values and arrays."""
    arrays = {f"{at}.{name}": getattr(each.trees, name) for at, each in enumerate(outcomes) for name in Trees._fields}
    return [[each.column, each.figure] for each in outcomes], arrays


def unpacked(facts: Collection[Sequence[Any]], arrays: Mapping[str, np.ndarray], figures: int) -> tuple[Outcome, ...]:
    """The inverse of `packed`, for patients of so many figures. ValueError or KeyError when the parts do not fit together."""
    found = []
    for at, (column, figure) in enumerate(facts):
        trees = Trees(*(arrays[f"{at}.{name}"] for name in Trees._fields))
        trees.check(figures - 1)
        if not 0 <= int(figure) < figures:
            raise ValueError("an outcome is not among the figures")
        found.append(Outcome(str(column), int(figure), trees))
    return tuple(found)
