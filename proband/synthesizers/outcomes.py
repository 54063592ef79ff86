"""Columns that whole histories tell, such as an outcome: learned last, and drawn last, given all the rest of a patient."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy.optimize import brentq
from scipy.special import expit

from proband import seeds
from proband.schema import Column
from proband.stats.cores import on_cores
from proband.stats.discrimination import auc
from proband.stats.resampling import dealt
from proband.stats.trees import Trees, boosted

FOLDS = 4
FEWEST, TOLD = 20, 0.6  # patients of either level, and the AUC on patients not learned from, for a column to be told by histories
STEEPNESS = (1.0, 1.25, 1.5)


class Outcome(NamedTuple):
    """A column of two levels, and trees for the second of them, given whole patients.

    figure             its place among a patient's figures, which the trees do not see
    steepness, shift   the log odds that count are steepness * (what the trees say) + shift
    """

    column: str
    figure: int
    trees: Trees
    steepness: float
    shift: float


def learned(columns: Sequence[Column], figures: np.ndarray, seed: int) -> tuple[Outcome, ...]:
    """The columns that trees tell of patients whom they did not learn from.

    figures   (patients, figures) what is known of whole patients, `columns` first; NaN is missing

    Trees of so many patients know less of an outcome than there is to know. What is drawn from their honest odds is then duller than
    the real outcome, and who learns from it learns less. So the odds are made steeper, until trees that learn from what is drawn find
    as much in it, on patients whom they did not learn from, as trees that learn from the real outcome.
    """
    found = []
    for at, column in enumerate(columns):
        known = ~np.isnan(figures[:, at])
        levels, others = figures[known, at], np.delete(figures[known], at, axis=1)
        two = column.kind == "boolean" or (column.kind == "category" and len(column.categories or ()) == 2)
        if not two or min((levels == 0).sum(), (levels == 1).sum()) < FEWEST:
            continue
        own = seeds.integer(seed, "sequences", column.name)
        rng = seeds.generator(seed, "sequences", column.name, "folds")
        grow = partial(boosted, kind="classifier", seed=own, trees=150, leaves=8, rate=0.05, share=0.2)
        fold = dealt(levels, FOLDS, rng)
        odds = _unseen(grow, others, levels, fold)
        real = auc(odds, levels)
        if real >= TOLD:
            steepness = _steepness(grow, others, odds, levels, real, fold, rng)
            found.append(Outcome(column.name, at, grow(others, levels), steepness, _shift(steepness * odds, levels.mean())))
    return tuple(found)


def _unseen(grow: Callable[..., Trees], figures: np.ndarray, levels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """(patients,) log odds, each by trees of the other folds."""
    odds = np.zeros(len(levels))
    for k, trees in enumerate(on_cores(lambda k: grow(figures[fold != k], levels[fold != k]), range(FOLDS))):
        odds[fold == k] = trees(figures[fold == k])
    return odds


def _steepness(
    grow: Callable[..., Trees],
    figures: np.ndarray,
    odds: np.ndarray,
    levels: np.ndarray,
    real: float,
    fold: np.ndarray,
    rng: np.random.Generator,
) -> float:
    """At which trees find as much in what is drawn as in the `levels`, where they had an AUC of `real`."""
    chance, as_much = rng.random(len(levels)), []
    for steepness in STEEPNESS:
        drawn = chance < expit(steepness * odds + _shift(steepness * odds, levels.mean()))
        as_much.append(auc(_unseen(grow, figures, drawn.astype(float), fold), drawn))
    return float(np.interp(real, np.maximum.accumulate(as_much), STEEPNESS))


def _shift(odds: np.ndarray, share: float) -> float:
    """What to add to the log odds for so large a share to be expected."""
    return float(brentq(lambda shift: expit(odds + shift).mean() - share, -50.0, 50.0))


def drawn(
    outcomes: Sequence[Outcome], columns: Mapping[str, Column], frame: pl.DataFrame, figures: np.ndarray, rng: np.random.Generator
) -> tuple[pl.DataFrame, np.ndarray]:
    """The patients' own table and their figures with these columns drawn anew, one given the other; what is missing stays so."""
    figures = figures.copy()
    for outcome in outcomes:
        odds = outcome.steepness * outcome.trees(np.delete(figures, outcome.figure, axis=1)) + outcome.shift
        second = rng.random(len(odds)) < expit(odds)
        column, known = columns[outcome.column], ~np.isnan(figures[:, outcome.figure])
        words = [False, True] if column.kind == "boolean" else list(column.categories or ())
        told = pl.Series(column.name, [words[int(level)] for level in second], dtype=column.dtype)
        frame = frame.with_columns(frame[column.name].zip_with(pl.Series(~known), told))
        figures[:, outcome.figure] = np.where(known, second, np.nan)
    return frame, figures


def packed(outcomes: Sequence[Outcome]) -> tuple[list[list[Any]], dict[str, np.ndarray]]:
    """Outcomes as plain values and arrays."""
    arrays = {f"{at}.{name}": getattr(each.trees, name) for at, each in enumerate(outcomes) for name in Trees._fields}
    return [[each.column, each.figure, each.steepness, each.shift] for each in outcomes], arrays


def unpacked(facts: Collection[Sequence[Any]], arrays: Mapping[str, np.ndarray], figures: int) -> tuple[Outcome, ...]:
    """The inverse of `packed`, for patients of so many figures. ValueError or KeyError when the parts do not fit together."""
    found = []
    for at, (column, figure, steepness, shift) in enumerate(facts):
        trees = Trees(*(arrays[f"{at}.{name}"] for name in Trees._fields))
        trees.check(figures - 1)
        if not 0 <= int(figure) < figures:
            raise ValueError("an outcome is not among the figures")
        if not np.isfinite([float(steepness), float(shift)]).all():
            raise ValueError("the odds of an outcome are not finite")
        found.append(Outcome(str(column), int(figure), trees, float(steepness), float(shift)))
    return tuple(found)
