"""One measure, many comparisons: synthetic with real, real with real, and independent columns with real, at one size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from proband import seeds
from proband.stats.divergences import Codes
from proband.stats.resampling import around, percentiles
from proband.validate.coded import Part, Tables

#: Comparisons of real with real, and bootstrap samples of synthetic with real. Twenty give a 95 % interval its two ends.
REPEATS = 20
FLOORS = 3


@dataclass(frozen=True)
class Side:
    """One side of a comparison: some rows of a part. `fine` and `coarse` are their codes."""

    part: Part
    rows: np.ndarray
    fine: Codes
    coarse: Codes


Measure = Callable[[Side, Side], np.ndarray]


@dataclass(frozen=True)
class Trials:
    """What a measure gave (an array each): for the synthetic patients, their bootstrap, real with real, and the floor."""

    value: np.ndarray
    spread: np.ndarray  # (REPEATS, ...)
    reference: np.ndarray  # (REPEATS, ...)
    floor: np.ndarray  # (FLOORS, ...)

    def summary(self, of: Callable[[np.ndarray], float], *, least: float = 0.0, most: float = np.inf) -> dict[str, Any]:
        """value, interval, reference, reference_interval and floor of a Finding, `of` making one number of an array."""
        value = of(self.value)
        real = np.array([of(one) for one in self.reference])
        return {
            "value": value,
            "interval": around(value, np.array([of(one) for one in self.spread]), least=least, most=most),
            "reference": float(real.mean()),
            "reference_interval": percentiles(real),
            "floor": float(np.mean([of(one) for one in self.floor])),
        }


def compare(tables: Tables, measures: Mapping[str, Measure], *, seed: int, on_turn: Callable[[int, int], None]) -> dict[str, Trials]:
    """Every measure on every comparison. Both sides hold `tables.matched` patients that they do not share.

    The synthetic side faces the unseen patients. Real with real splits all real patients at random into two groups of
    the same size. The floor shuffles each column of the training patients on its own: right columns, no dependence.
    The bootstrap draws patients of both sides with replacement.
    """
    generator = seeds.generator(seed, "comparisons")
    n = tables.matched
    turns = 1 + 2 * REPEATS + FLOORS
    found: dict[str, list[np.ndarray]] = {name: [] for name in measures}
    made, real = tables.synthetic.patients.draw(n, generator), tables.unseen.patients.draw(n, generator)
    # Bootstrap by whole patients, among the patients on either side.
    made_patients, real_patients = _within(tables.synthetic, made), _within(tables.unseen, real)
    for turn in range(turns):
        if turn == 0:
            first, second = side(tables.synthetic, made), side(tables.unseen, real)
        elif turn <= REPEATS:
            first, second = (
                side(tables.synthetic, tables.synthetic.patients.rows(generator.choice(made_patients, n))),
                side(tables.unseen, tables.unseen.patients.rows(generator.choice(real_patients, n))),
            )
        elif turn <= 2 * REPEATS:
            order = generator.permutation(tables.real.patients.count)
            first, second = (side(tables.real, tables.real.patients.rows(half)) for half in (order[:n], order[n : 2 * n]))
        else:
            rows = tables.train.patients.draw(n, generator)
            first, second = shuffled(side(tables.train, rows), generator), side(tables.unseen, real)
        for name, measure in measures.items():
            found[name].append(measure(first, second))
        on_turn(turn + 1, turns)
    return {
        name: Trials(got[0], np.array(got[1 : REPEATS + 1]), np.array(got[REPEATS + 1 : 2 * REPEATS + 1]), np.array(got[2 * REPEATS + 1 :]))
        for name, got in found.items()
    }


def side(part: Part, rows: np.ndarray) -> Side:
    """These rows of a part, as one side of a comparison."""
    return Side(part, rows, part.fine.take(rows), part.coarse.take(rows))


def shuffled(one: Side, generator: np.random.Generator) -> Side:
    """The side with every column in an order of its own."""
    fine, coarse = np.empty_like(one.fine.values), np.empty_like(one.coarse.values)
    for at in range(len(fine)):
        order = generator.permutation(fine.shape[1])
        fine[at], coarse[at] = one.fine.values[at][order], one.coarse.values[at][order]
    return Side(one.part, one.rows, Codes(fine, one.fine.sizes), Codes(coarse, one.coarse.sizes))


def _within(part: Part, rows: np.ndarray) -> np.ndarray:
    return np.unique(part.patients.code[rows])
