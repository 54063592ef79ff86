"""One column at a time: numbers cut into bins that keep their atoms, tails, and levels counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: At most this many bins for a column: a twentieth of the patients each, so that a hundred patients still put five into a bin.
MOST_BINS = 20


@dataclass(frozen=True)
class Bins:
    """How numbers fall into bins: values that many patients share (atoms) have their own, the rest lie between `edges`.

    Bin `k` of `codes` is the k-th in ascending order; `lows` and `highs` are its ends (equal for an atom).
    """

    atoms: np.ndarray  # (atoms,) ascending
    edges: np.ndarray  # (edges,) ascending: edges + 1 bins between them for values that are no atom
    order: np.ndarray  # (bins,) place in ascending order of: the atoms, then the bins between edges
    lows: np.ndarray  # (bins,) ascending
    highs: np.ndarray  # (bins,)

    def __len__(self) -> int:
        return len(self.lows)

    def codes(self, values: np.ndarray) -> np.ndarray:
        """The bin of every value, int64 of the same shape. NaN has no bin: mask it before or after."""
        found = len(self.atoms) + np.searchsorted(self.edges, values, side="right")
        if len(self.atoms):
            nearest = np.minimum(np.searchsorted(self.atoms, values), len(self.atoms) - 1)
            found = np.where(self.atoms[nearest] == values, nearest, found)
        return self.order[found]


def bins(values: np.ndarray, most: int = MOST_BINS) -> Bins:
    """Bins of about equal content for `values` (NaN left out), at most `most` of them.

    A value that holds 1/most of the patients or more is an atom: a detection limit or a rounded age must be met
    exactly, not roughly. With fewer distinct values than `most` each is an atom, and one more bin takes whatever else comes.

    >>> cut = bins(np.array([0.0, 0.0, 0.0, 1.0, 2.0, 3.0]), most=4)
    >>> cut.codes(np.array([0.0, 1.0, 2.5, 9.0])).tolist()
    [0, 1, 2, 3]
    """
    present = np.sort(values[~np.isnan(values)])
    distinct, counts = np.unique(present, return_counts=True)
    if len(distinct) < most:
        atoms, rest = distinct, np.empty(0)
    else:
        heavy = counts * most >= len(present)
        atoms = distinct[heavy][: most - 1]
        rest = present[~np.isin(present, atoms)]
    pieces = most - len(atoms)
    edges = np.unique(np.quantile(rest, np.arange(1, pieces) / pieces, method="higher")) if len(rest) and pieces > 1 else np.empty(0)
    if len(rest):
        edges = edges[edges > rest[0]]  # an edge at the smallest value would leave the first bin empty
    lowest, highest = (rest[0], rest[-1]) if len(rest) else (np.inf, np.inf)  # the bin for whatever else comes stands last
    lows = np.concatenate([atoms, [lowest], edges])
    highs = np.concatenate([atoms, edges, [highest]])
    place = np.lexsort((highs, lows))
    order = np.empty(len(lows), np.int64)
    order[place] = np.arange(len(lows))
    return Bins(atoms, edges, order, lows[place], highs[place])


def shares(codes: np.ndarray, size: int) -> np.ndarray:
    """The share of rows in each of `size` codes; (size,) summing to 1."""
    return np.bincount(codes, minlength=size) / max(len(codes), 1)


def tail_ends(values: np.ndarray, share: float = 0.01) -> tuple[float, float]:
    """The values at or beyond which `share` of the numbers lie, at the low and the high end (NaN left out)."""
    present = values[~np.isnan(values)]
    if not len(present):
        return (np.nan, np.nan)
    return float(np.quantile(present, share, method="lower")), float(np.quantile(present, 1 - share, method="higher"))


def tail_shares(values: np.ndarray, ends: tuple[float, float]) -> tuple[float, float]:
    """The shares of `values` at or below the low end, and at or above the high end (NaN left out)."""
    present = values[~np.isnan(values)]
    if not len(present):
        return (0.0, 0.0)
    return float(np.mean(present <= ends[0])), float(np.mean(present >= ends[1]))
