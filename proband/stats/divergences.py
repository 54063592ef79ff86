"""How far apart two tables of codes are: total variation of columns, pairs and triples; association between columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Codes:
    """A table of small whole numbers: column `c` takes the values 0 ... sizes[c] - 1."""

    values: np.ndarray  # (columns, rows) uint8 or wider
    sizes: np.ndarray  # (columns,) int

    def take(self, rows: np.ndarray) -> Codes:
        """These rows, in this order, repeats allowed."""
        return Codes(self.values[:, rows], self.sizes)

    @property
    def rows(self) -> int:
        return self.values.shape[1]


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Half the summed absolute difference of two distributions: the share of patients that stands in the wrong place.

    >>> total_variation(np.array([0.5, 0.5]), np.array([1.0, 0.0]))
    0.5
    """
    return float(np.abs(p - q).sum() / 2)


def joint_shares(table: Codes, columns: Sequence[int]) -> np.ndarray:
    """The share of rows in every combination of these columns' codes; length = product of their sizes."""
    size = int(np.prod([table.sizes[c] for c in columns]))
    joint = table.values[columns[0]].astype(np.int32)
    for c in columns[1:]:
        joint *= np.int32(table.sizes[c])
        joint += table.values[c]
    return np.bincount(joint, minlength=size) / max(table.rows, 1)


def distances(first: Codes, second: Codes, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """Total variation between two tables for every group of columns (singles, pairs, triples); (groups,)."""
    return np.array([total_variation(joint_shares(first, g), joint_shares(second, g)) for g in groups])


def associations(table: Codes, pairs: Sequence[Sequence[int]]) -> np.ndarray:
    """Strength of association of every pair of columns, from 0 (independent) to 1 (each tells the other); (pairs,).

    Pearson's coefficient of mean square contingency C = sqrt(phi^2 / (1 + phi^2)), over its largest possible value,
    with the bias of phi^2 under independence taken off (Bergsma, J. Korean Stat. Soc. 2013). One symmetric measure for
    numbers, levels and missing values alike; for two finely binned normal variables C is |correlation|.
    """
    found = np.zeros(len(pairs))
    for at, (a, b) in enumerate(pairs):
        counts = joint_shares(table, (a, b)).reshape(table.sizes[a], table.sizes[b])
        rows, columns = counts.sum(1), counts.sum(0)
        counts, rows, columns = counts[rows > 0][:, columns > 0], rows[rows > 0], columns[columns > 0]
        fewer = min(counts.shape)
        if fewer < 2 or table.rows < 2:
            continue
        phi2 = float((counts**2 / rows[:, None] / columns).sum() - 1)
        phi2 = max(phi2 - (counts.shape[0] - 1) * (counts.shape[1] - 1) / (table.rows - 1), 0.0)
        found[at] = min(np.sqrt(phi2 / (1 + phi2) * fewer / (fewer - 1)), 1.0)
    return found


def coarsen(table: Codes, kept: int, most: int, ordered: np.ndarray) -> tuple[Codes, list[np.ndarray]]:
    """The same rows in fewer codes: the first `kept` codes stay (missing and strange), the others share `most` codes.

    Neighbouring codes of an ordered column are merged to about equal content; of any other column the most frequent
    stay and the rest become one. Also gives, per column, the new code of every old one, for other tables.
    """
    lookups = []
    for c, size in enumerate(table.sizes):
        shares = np.bincount(table.values[c], minlength=size)[kept:].astype(float)
        old = np.arange(size)
        if len(shares) > most:
            if ordered[c]:
                middle = (np.cumsum(shares) - shares / 2) / max(shares.sum(), 1)
                new = np.minimum((middle * most).astype(int), most - 1)
            else:
                new = np.full(len(shares), most - 1)
                new[np.argsort(-shares, kind="stable")[: most - 1]] = np.arange(most - 1)
            old[kept:] = kept + np.unique(new, return_inverse=True)[1]
        lookups.append(old.astype(np.uint8))
    return recode(table, lookups), lookups


def recode(table: Codes, lookups: Sequence[np.ndarray]) -> Codes:
    """Every column's codes through its lookup."""
    if not len(lookups):
        return table
    return Codes(
        np.stack([lookup[row] for lookup, row in zip(lookups, table.values, strict=True)]),
        np.array([lookup.max() + 1 for lookup in lookups]),
    )
