"""One number column as tokens: atoms for values that many patients share, quantile bins for the rest, a place within the bin."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from proband.encode.anonymous import anonymous, beside, on_format
from proband.schema import Column, Grid

#: A value that fewer patients hold is never decoded: k-anonymous values (Sweeney, 2002) with k = 2.
HELD_BY = 2
#: With at most this many distinct values each is its own token: counts, scores and coded answers are learned exactly.
FEW_VALUES = 40
#: Bins for a column without heaps. 3 % of the patients in a bin is as fine as a few thousand patients can teach, and the
#: place within the bin carries what is finer. Fewer patients get fewer bins, so that a bin always holds `BIN_PATIENTS`.
BINS = 32
BIN_PATIENTS = 20
_UNITS_IN_A_SECOND = {"datetime": 1e6, "time": 1e9}


@dataclass(frozen=True)
class Numbers:
    """A monotone map between numbers and (token, offset), learned from training values.

    Every learned value v owns the stretch [left, right] of its token's offsets. One that enough patients share is learned
    as it is, so that encoding and decoding it is exact; it keeps (c - 1) / c of its c rows' probability there, and the last
    row's share is spread up to the next value. The others are learned as means of neighbours, which are points. Between
    stretches the inverse empirical distribution is interpolated, and settled on a value that may be told (`settle`).

    values, token, left, right   one entry a learned value, ascending; left and right hold float32 numbers
    binned                       one entry a token: a bin (True) or an atom (False)
    counts                       one entry a token: training rows
    grid                         None: interpolated values keep 12 significant digits
    avoided                      values on the format, ascending, that too few patients hold to be told
    listed                       only learned values are told: few values, or a column without grid whose values are mostly shared
    """

    values: np.ndarray
    token: np.ndarray
    left: np.ndarray
    right: np.ndarray
    binned: np.ndarray
    counts: np.ndarray
    grid: Grid | None
    avoided: np.ndarray
    listed: bool = False

    @staticmethod
    def learn(
        values: np.ndarray,
        grid: Grid | None,
        patients: np.ndarray | None = None,
        *,
        held_by: int = HELD_BY,
        dense: bool = False,
        given: np.ndarray | None = None,
    ) -> Numbers:
        """Atoms and bins for `values` (finite float64, any length, ties welcome).

        patients   one whole number a value: whose it is; None: each of another patient
        held_by    patients who must hold a value for it to be told; where no value may be told there are no tokens
        dense      any number between two learned ones is as good (a share): nothing is avoided
        given      values off the format that `settle` may meet: those of the column that this one is told by
        """
        distinct, at, rows = np.unique(values, return_inverse=True, return_counts=True)
        few = len(distinct) <= FEW_VALUES and len(values) >= 3 * len(distinct)
        learned = anonymous(distinct, at, rows, patients, held_by, grid, only_shared=few, given=given)
        distinct, counts, shared = learned.values, learned.rows, learned.shared
        listed = held_by > 1 and not dense and (few or (grid is None and learned.mostly_shared))
        heap = max(BIN_PATIENTS, counts.sum() / (2 * BINS))
        atom = ((counts >= heap) & shared) | few
        rest = counts[~atom].sum()
        bins = int(np.clip(min(round(BINS * rest / max(1, counts.sum())), rest // BIN_PATIENTS), 1, BINS))
        middle = np.cumsum(counts[~atom]) - counts[~atom] / 2
        group = np.full(len(distinct), -1)
        group[~atom] = np.floor(middle * bins / max(1, rest)).astype(int)
        # A token starts at each atom, and at the first value of each bin; a bin may reach across an atom.
        first = atom.copy()
        first[~atom] = np.diff(group[~atom], prepend=-1) != 0
        started = np.cumsum(first) - 1
        token = started.copy()
        token[~atom] = np.repeat(started[~atom & first], np.diff(np.append(np.flatnonzero(first[~atom]), (~atom).sum())))
        size = np.bincount(token, counts, minlength=int(first.sum())).astype(np.int64)
        left, right = np.zeros(len(distinct)), np.ones(len(distinct))
        for chosen in np.flatnonzero(~atom[first]):
            rows = np.flatnonzero(token == chosen)
            until = np.cumsum(counts[rows])
            point = until - (counts[rows] + 1) / 2  # where a mean lies on the straight line through the values it stands for
            left[rows] = np.where(shared[rows], until - counts[rows], point) / size[chosen]
            right[rows] = np.where(shared[rows], until - 1, point) / size[chosen]
        if (~atom).any() and shared[np.flatnonzero(~atom)[-1]]:
            right[np.flatnonzero(~atom)[-1]] = 1.0
        left, right = left.astype(np.float32), right.astype(np.float32)
        avoided = np.zeros(0) if dense or listed else learned.avoided
        return Numbers(distinct, token.astype(np.int32), left, right, ~atom[first], size, grid, avoided, listed)

    @property
    def levels(self) -> int:
        """The number of tokens."""
        return len(self.binned)

    @cached_property
    def _curve(self) -> tuple[np.ndarray, np.ndarray]:
        """The knots of token + offset -> value: every stretch, and the end of every bin, where the next bin begins."""
        place = np.stack([self.token + self.left.astype(float), self.token + self.right.astype(float)], axis=1).ravel()
        value = np.repeat(self.values, 2)
        order = np.argsort(np.repeat(self.token, 2), kind="stable")  # a bin that reaches across an atom comes first
        place, value = place[order], value[order]
        bins = np.flatnonzero(self.binned)
        if len(bins) > 1:
            at = np.searchsorted(place, bins[:-1] + 1.0)
            place, value = np.insert(place, at, bins[:-1] + 1.0), np.insert(value, at, self.values[self._first_value[bins[1:]]])
        return place, value

    @cached_property
    def _first_value(self) -> np.ndarray:
        return np.unique(self.token, return_index=True)[1]

    def decode(self, tokens: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Values (float64) for tokens 0..levels-1 and offsets in [0, 1)."""
        if not len(self.values):
            return np.full(len(tokens), np.nan)
        place = np.asarray(tokens) + np.asarray(offsets, float)
        order = np.argsort(place)  # sorted places are looked up many times faster
        found = np.empty(len(place))
        found[order] = self.settle(np.interp(place[order], *self._curve))
        return found

    def settle(self, values: np.ndarray, low: np.ndarray | float = -np.inf, high: np.ndarray | float = np.inf) -> np.ndarray:
        """The nearest value that may be told: on the format, held by nobody or by enough patients, within the learned range.

        `low` and `high` (rows,) narrow the range further; NaN where nothing in it may be told. Of two equally near values the lower.
        """
        if not len(self.values):
            return np.full(len(values), np.nan)
        low, high = np.maximum(low, self.values[0]), np.minimum(high, self.values[-1])
        at = np.minimum(np.searchsorted(self.values, values), len(self.values) - 1)
        found = np.where(self.values[at] == values, values, on_format(values, self.grid))
        found = np.where(low <= high, np.maximum(np.minimum(found, high), low), np.nan)
        if self.listed:
            moved = np.flatnonzero(self.values[np.minimum(np.searchsorted(self.values, found), len(self.values) - 1)] != found)
            below, above = self._neighbours(found[moved])
        else:
            at = np.minimum(np.searchsorted(self.avoided, found), max(len(self.avoided) - 1, 0))
            moved = np.flatnonzero(self.avoided[at] == found) if len(self.avoided) else np.zeros(0, int)
            below, above = self._beside[0][at[moved]], self._beside[1][at[moved]]
        if len(moved):
            low, high = np.broadcast_to(low, found.shape)[moved], np.broadcast_to(high, found.shape)[moved]
            down = np.where(below >= low, found[moved] - below, np.inf)
            up = np.where(above <= high, above - found[moved], np.inf)
            found[moved] = np.where(np.minimum(down, up) < np.inf, np.where(down <= up, below, above), np.nan)
        return found

    @cached_property
    def _beside(self) -> tuple[np.ndarray, np.ndarray]:
        """For each avoided value the nearest below and above that may be told; infinite where there is none."""
        below, above = beside(self.avoided, self.grid, self.values[0], self.values[-1])
        lower, upper = self._neighbours(self.avoided)
        return np.where(np.isfinite(below), below, lower), np.where(np.isfinite(above), above, upper)

    def _neighbours(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The learned values below and above; infinite where there is none."""
        padded = np.concatenate([[-np.inf], self.values, [np.inf]])
        return padded[np.searchsorted(self.values, values)], padded[np.searchsorted(self.values, values, side="right") + 1]

    def encode(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and offsets (float64) of finite values; outside the training range, the nearest end."""
        values = np.asarray(values, float)
        at = np.clip(np.searchsorted(self.values, values), 0, len(self.values) - 1)
        known = self.values[at] == values
        binned = np.flatnonzero(self.binned[self.token])
        if not len(binned):
            below = np.maximum(at - 1, 0)
            at = np.where(np.abs(self.values[below] - values) <= np.abs(self.values[at] - values), below, at)
            return self.token[at], np.full(len(values), 0.5)
        low = np.clip(np.searchsorted(self.values[binned], values, side="right") - 1, 0, len(binned) - 1)
        here, after = binned[low], binned[np.minimum(low + 1, len(binned) - 1)]
        same = self.token[here] == self.token[after]
        start, end = self.right[here].astype(float), np.where(same, self.left[after].astype(float), 1.0)
        width = self.values[after] - self.values[here]
        share = np.clip(np.divide(values - self.values[here], width, out=np.zeros(len(values)), where=width > 0), 0, 1)
        between = np.where(values < self.values[here], 0.0, start + share * (end - start))
        exact = ((self.left[at].astype(float) + self.right[at]) / 2).astype(np.float32).astype(float)
        offset = np.where(known, exact, between)
        offset = np.clip(offset, 0, np.nextafter(np.float32(1), np.float32(0)))
        return np.where(known, self.token[at], self.token[here]).astype(np.int32), offset

    def state(self) -> tuple[dict[str, object], dict[str, np.ndarray]]:
        """What `restored` needs: plain data and arrays."""
        names = ("values", "token", "left", "right", "binned", "counts", "avoided")
        return {"grid": self.grid and self.grid.model_dump(), "listed": self.listed}, {name: getattr(self, name) for name in names}

    @staticmethod
    def restored(config: dict, arrays: dict[str, np.ndarray]) -> Numbers:
        """The inverse of `state`. ValueError when the arrays do not fit together: a model folder is not trusted."""
        made = Numbers(**arrays, grid=Grid(**config["grid"]) if config["grid"] else None, listed=bool(config["listed"]))
        known, levels = len(made.values), len(made.binned)
        fits = (
            all(len(part) == known for part in (made.token, made.left, made.right))
            and (len(made.counts) == levels and made.binned.dtype == bool)
            and all(np.isfinite(part).all() and (np.diff(part) > 0).all() for part in (made.values, made.avoided))
            and ((made.left >= 0) & (made.left <= made.right) & (made.right <= 1)).all()
            and set(made.token.tolist()) == set(range(levels))
        )
        if not fits:
            raise ValueError("the numbers of a column do not fit together")
        return made


def grid_of(values: np.ndarray, declared: Grid | None, *, whole: bool) -> Grid | None:
    """The lattice of a column: the declared one, else the common divisor of its values (with at most 6 decimals), else none."""
    if declared is not None or not len(values):
        return declared
    if whole:
        step = int(np.gcd.reduce(np.abs(values).astype(np.int64)))
        return Grid(step=max(1, step), decimals=0)
    for decimals in range(7):
        if np.array_equal(np.round(values, decimals), values) and np.abs(values).max() < 2**52 / 10**decimals:
            step = int(np.gcd.reduce(np.round(np.abs(values) * 10**decimals).astype(np.int64)))
            return Grid(step=max(1, step) / 10**decimals, decimals=decimals)
    return None


def to_numbers(series: pl.Series) -> np.ndarray:
    """Physical values as float64 (days, microseconds... for dates and times), NaN where missing."""
    return series.to_physical().cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()


def from_numbers(values: np.ndarray, column: Column) -> pl.Series:
    """The inverse of `to_numbers` in the column's type."""
    series = pl.Series(values).fill_nan(None)
    if column.kind == "number":
        return series
    whole = series.round().cast(pl.Int64)
    return whole.cast(pl.Int32).cast(pl.Date) if column.kind == "date" else whole.cast(column.dtype)


def physical_bounds(column: Column) -> tuple[float, float]:
    """The column's declared bounds in the units of `to_numbers`; infinite where none is declared."""
    unit = _UNITS_IN_A_SECOND.get(column.kind, 1.0)
    return (-np.inf if column.low is None else column.low * unit), (np.inf if column.high is None else column.high * unit)
