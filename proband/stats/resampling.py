"""Doubt by resampling whole patients: all rows of a patient are drawn together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


class Patients:
    """Which rows belong to which patient, for drawing patients and getting rows.

    >>> Patients(np.array([7, 7, 9])).rows(np.array([1, 1, 0])).tolist()
    [2, 2, 0, 1]
    """

    def __init__(self, patient_of_row: np.ndarray) -> None:
        _, self.code = np.unique(patient_of_row, return_inverse=True)  # (rows,)
        self.count = int(self.code.max()) + 1 if len(self.code) else 0
        self._order = np.argsort(self.code, kind="stable")
        self._rows_each = np.bincount(self.code, minlength=self.count)
        self._starts = np.cumsum(self._rows_each) - self._rows_each

    def rows(self, patients: np.ndarray) -> np.ndarray:
        """The rows of these patients (0 ... count - 1), in their order, repeats allowed."""
        each = self._rows_each[patients]
        within = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)
        return self._order[np.repeat(self._starts[patients], each) + within]

    def draw(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """The rows of `n` different patients."""
        return self.rows(generator.permutation(self.count)[:n])

    def redraw(self, generator: np.random.Generator) -> np.ndarray:
        """The rows of as many patients as there are, drawn with replacement (a bootstrap sample)."""
        return self.rows(generator.integers(self.count, size=self.count))


def dealt(labels: np.ndarray, folds: int, generator: np.random.Generator) -> np.ndarray:
    """(rows,) the fold of each row, every label dealt evenly among the folds: so scores of two folds mean the same.

    >>> fold = dealt(np.array([1, 0, 0, 1]), 2, np.random.default_rng(0))
    >>> sorted(fold[[0, 3]].tolist()), sorted(fold[[1, 2]].tolist())
    ([0, 1], [0, 1])
    """
    fold = np.zeros(len(labels), int)
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        fold[rows] = np.arange(len(rows)) % folds
    return fold


def percentiles(draws: np.ndarray) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles of `draws`."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def around(value: float, draws: np.ndarray, *, least: float = -np.inf, most: float = np.inf) -> tuple[float, float]:
    """The 95 % interval of `value` from bootstrap `draws`, centred on it.

    A distance between bootstrap samples is larger than between the samples they were drawn from, so the draws tell
    the spread, not the place: their mean is moved onto the value.
    """
    low, high = percentiles(draws - np.mean(draws) + value)
    return max(min(low, value), least), min(max(high, value), most)


def bootstrap(
    statistic: Callable[[np.ndarray], float], patients: Patients, generator: np.random.Generator, repeats: int = 200
) -> np.ndarray:
    """`statistic` of the rows of `repeats` bootstrap samples of patients; (repeats,), NaN where it is undefined."""
    return np.array([statistic(patients.redraw(generator)) for _ in range(repeats)])
