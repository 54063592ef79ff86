"""The lattice on which numbers were recorded, found from the numbers."""

from __future__ import annotations

import numpy as np

from proband.schema.model import Grid

_MOST = 5_000  # distinct values looked at
_NEARLY_ALL = 0.98
#: (explicit mantissa bits, cut off rather than rounded): SAS lengths 3 and 4, float32, float16, bfloat16, SAS length 5.
_STORAGE = ((12, True), (23, False), (10, False), (20, True), (7, False), (28, True), (12, False))


def find_grid(values: np.ndarray, rows: np.ndarray | None = None) -> Grid | None:
    """The coarsest lattice that carries 98 % of the rows; None when there is none.

    `values` are distinct floats without NaN, `rows` how many rows hold each (one each when not given). Tried in turn:
    few decimals, decimals that were stored in few mantissa bits and printed, many decimals.

    >>> find_grid(np.array([7.1, 7.35, 7.4, 6.9])).decimals
    2
    """
    rows = np.ones(len(values)) if rows is None else np.asarray(rows, float)
    finite = np.isfinite(values)
    values, rows = np.asarray(values, float)[finite], rows[finite]
    if len(values) == 0:
        return None
    if len(values) > _MOST:
        some = np.linspace(0, len(values) - 1, _MOST).astype(int)
        values, rows = values[some], rows[some]
    for decimals in range(5):
        if _carried(values, rows, Grid(step=_step(decimals), decimals=decimals)) >= _NEARLY_ALL:
            return _with_step(values, rows, decimals)
    stored = _stored_grid(values, rows) if len(values) >= 10 else None
    if stored:
        return stored
    for decimals in range(5, 13):
        if _carried(values, rows, Grid(step=_step(decimals), decimals=decimals)) >= _NEARLY_ALL:
            return _with_step(values, rows, decimals)
    return None


def without_noise(values: np.ndarray, grid: Grid) -> np.ndarray:
    """`values` with the last bits of arithmetic cleaned off: 136.53130337000002 on a grid of 8 decimals is 136.53130337.

    Values that are not on the grid stay as they are.
    """
    snapped = grid.snap(values)
    return np.where(np.abs(snapped - values) <= _noise(values, grid), snapped, values)


def _noise(values: np.ndarray, grid: Grid) -> float:
    """What rounding errors in double precision may add: 1e-13 of the column's scale, far below a step."""
    largest = float(np.max(np.abs(values), initial=0.0, where=np.isfinite(values)))
    return min(1e-13 * largest, 1e-4 * grid.step)


def _carried(values: np.ndarray, rows: np.ndarray, grid: Grid) -> float:
    """The share of rows on the grid."""
    return float(rows[np.abs(grid.snap(values) - values) <= _noise(values, grid)].sum() / rows.sum())


def _stored_grid(values: np.ndarray, rows: np.ndarray) -> Grid | None:
    """The grid of values kept in few mantissa bits and then printed with so many places and digits."""
    places, digits = _printed(values)
    for decimals in range(5):
        for bits, truncated in _STORAGE:
            grid = Grid(step=_step(decimals), decimals=decimals, bits=bits, truncated=truncated)
            near = np.abs(grid.snap(values) - values) <= 1e-4 * np.abs(values)  # loose and cheap, before the printing is tried
            if rows[near].sum() < _NEARLY_ALL * rows.sum():
                continue
            for printed in ({}, {"places": places}, {"places": places, "digits": digits}):
                candidate = grid.model_copy(update=printed)
                if _carried(values, rows, candidate) >= _NEARLY_ALL:
                    return candidate
    return None


def _with_step(values: np.ndarray, rows: np.ndarray, decimals: int) -> Grid:
    """Decimals, and a step coarser than one unit of the last place when the values share it (halves, kilograms made of pounds)."""
    units = np.round(values * 10.0**decimals)
    whole = np.abs(units - values * 10.0**decimals) <= 1e-4
    units, rows = units[whole & (np.abs(units) < 2**53)].astype(np.int64), rows[whole & (np.abs(units) < 2**53)]
    for multiple in (int(np.gcd.reduce(units)) if len(units) >= 5 else 1, 50, 25, 20, 5, 2):
        if multiple > 1 and rows[units % multiple == 0].sum() >= _NEARLY_ALL * rows.sum():
            return Grid(step=round(multiple * _step(decimals), decimals), decimals=decimals)
    return Grid(step=_step(decimals), decimals=decimals)


def _step(decimals: int) -> float:
    return float(f"1e-{decimals}")


def _printed(values: np.ndarray) -> tuple[int, int]:
    """The most decimal places and significant digits that any value needs."""
    places, digits = 0, 1
    for value in values:
        shortest = np.format_float_positional(value, unique=True, trim="-")
        places = max(places, len(shortest.partition(".")[2]))
        digits = max(digits, len(shortest.replace(".", "").replace("-", "").lstrip("0").rstrip("0")))
    return min(places, 17), min(digits, 17)
