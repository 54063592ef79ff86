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
STEEPNESS = (1.0, 1.5, 2.0)


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
    """The columns that trees tell of patients whom they did not learn from, with honest odds.

    figures   (patients, figures) what is known of whole patients, `columns` first; NaN is missing
    """
    found = []
    for at, column in enumerate(columns):
        known = figures[~np.isnan(figures[:, at]), at]
        two = column.kind == "boolean" or (column.kind == "category" and len(column.categories or ()) == 2)
        if not two or min((known == 0).sum(), (known == 1).sum()) < FEWEST:
            continue
        levels, others, grow, fold = _learning(figures, at, seed, column.name)
        odds = _unseen(grow, others, levels, fold)
        if auc(odds, levels) >= TOLD:
            found.append(Outcome(column.name, at, grow(others, levels), 1.0, _shift(odds, levels.mean())))
    return tuple(found)


def _unseen(grow: Callable[..., Trees], figures: np.ndarray, levels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """(patients,) log odds, each by trees of the other folds."""
    odds = np.zeros(len(levels))
    for k, trees in enumerate(on_cores(lambda k: grow(figures[fold != k], levels[fold != k]), range(FOLDS))):
        odds[fold == k] = trees(figures[fold == k])
    return odds


def steepened(
    outcomes: Sequence[Outcome], real: np.ndarray, made: np.ndarray, chosen: Callable[[np.ndarray], np.ndarray], seed: int
) -> tuple[Outcome, ...]:
    """The outcomes with odds so steep that trees which learn from made patients tell real ones as well as trees that learn from as many
    real ones do, on real patients from whom neither those trees nor their teacher learned; twice as steep at most.

    real     (patients, figures) the figures that the outcomes were learned from
    made     (candidates, figures) those of made patients
    chosen   the rows of `made` that are kept, given their figures

    Trees of so many patients know less of an outcome than there is to know, and made patients are not quite like real ones. What is
    drawn from honest odds is then duller than the real outcome, and who learns from it learns less. Beyond twice, more is learned of
    who comes before whom, but the odds that are learned get worse. Each outcome is tried while the others stay honest.
    """
    return tuple(_steepened(outcome, real, made, chosen, seed) for outcome in outcomes)


def _steepened(outcome: Outcome, real: np.ndarray, made: np.ndarray, chosen: Callable[[np.ndarray], np.ndarray], seed: int) -> Outcome:
    at, has = outcome.figure, ~np.isnan(made[:, outcome.figure])
    levels, others, grow, fold = _learning(real, at, seed, outcome.column)
    about = np.delete(made, at, axis=1)
    rng = seeds.generator(seed, "sequences", outcome.column, "steepened")
    chance, order = rng.random(len(made)), rng.permutation(len(levels))
    if min(has.sum(), len(levels)) < 2 * FEWEST:
        return outcome

    def told(k: int) -> np.ndarray:
        """(2 + steepnesses, patients of fold k): what a teacher says of them, who learned from as many real patients, from made ones."""
        own, unseen = order[fold[order] != k], others[fold == k]
        teacher = grow(others[own], levels[own])
        odds, learners = teacher(about), []
        for steepness in STEEPNESS:
            second = chance < expit(steepness * odds + _shift(steepness * odds[has], levels.mean()))
            retold = made.copy()
            retold[has, at] = second[has]
            kept = chosen(retold)
            kept = kept[has[kept]]
            learners.append((about[kept], second[kept].astype(float)))
        size = min(len(own), *(len(who) for _, who in learners))
        pupils = [(values[:size], who[:size]) for values, who in ((others[own], levels[own]), *learners)]
        said = [grow(values, who)(unseen) if 0 < who.sum() < len(who) else np.zeros(len(unseen)) for values, who in pupils]
        return np.array([teacher(unseen), *said])

    said = np.zeros((2 + len(STEEPNESS), len(levels)))
    for k, parts in enumerate(on_cores(told, range(FOLDS))):
        said[:, fold == k] = parts
    honest, (real_auc, *made_aucs) = said[0], (auc(pupils, levels) for pupils in said[1:])
    as_much, first = np.unique(np.maximum.accumulate(made_aucs), return_index=True)  # what is no use is not made steeper
    steepness = float(np.interp(real_auc, as_much, np.array(STEEPNESS)[first]))
    return outcome._replace(steepness=steepness, shift=_shift(steepness * honest, levels.mean()))


def _learning(figures: np.ndarray, at: int, seed: int, name: str) -> tuple[np.ndarray, np.ndarray, Callable[..., Trees], np.ndarray]:
    """Of the patients in whom a column is known: its level, (patients,), all other figures, how trees are grown, and everybody's fold."""
    known = ~np.isnan(figures[:, at])
    levels = figures[known, at]
    own = seeds.integer(seed, "sequences", name)
    grow = partial(boosted, kind="classifier", seed=own, trees=150, leaves=8, rate=0.05, share=0.2)
    fold = dealt(levels, FOLDS, seeds.generator(seed, "sequences", name, "folds"))
    return levels, np.delete(figures[known], at, axis=1), grow, fold


def _shift(odds: np.ndarray, share: float) -> float:
    """What to add to the log odds for so large a share to be expected."""
    return float(brentq(lambda shift: expit(odds + shift).mean() - share, -50.0, 50.0))


def retold(outcomes: Sequence[Outcome], figures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Patients' figures with these columns drawn anew, one given the other; what is missing stays so."""
    figures = figures.copy()
    for outcome in outcomes:
        odds = outcome.steepness * outcome.trees(np.delete(figures, outcome.figure, axis=1)) + outcome.shift
        second = rng.random(len(odds)) < expit(odds)
        figures[:, outcome.figure] = np.where(np.isnan(figures[:, outcome.figure]), np.nan, second)
    return figures


def drawn(
    outcomes: Sequence[Outcome], columns: Mapping[str, Column], frame: pl.DataFrame, figures: np.ndarray, rng: np.random.Generator
) -> tuple[pl.DataFrame, np.ndarray]:
    """The patients' own table and their figures, `retold`."""
    figures = retold(outcomes, figures, rng)
    for outcome in outcomes:
        column, levels = columns[outcome.column], figures[:, outcome.figure]
        words = [False, True] if column.kind == "boolean" else list(column.categories or ())
        told = [words[int(level)] if known else None for level, known in zip(levels, ~np.isnan(levels), strict=True)]
        frame = frame.with_columns(pl.coalesce(pl.Series(column.name, told, dtype=column.dtype), column.name))
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
