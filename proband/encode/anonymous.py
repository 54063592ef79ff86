"""Values that too few patients hold are not told: which they are, what stands for them, and where a number moves instead."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from proband.schema import Grid

_REACH = 32  # steps of the grid within which a value that nobody holds is looked for
_DIGITS = 12  # significant digits of a number without grid


class Learned(NamedTuple):
    """The values that may be learned, ascending, and what must not be told.

    rows      training rows that each stands for
    shared    whether it is a value that enough patients hold, else the mean of neighbours
    avoided   values on the format, ascending, that too few patients hold
    """

    values: np.ndarray
    rows: np.ndarray
    shared: np.ndarray
    avoided: np.ndarray
    mostly_shared: bool


def significant(values: np.ndarray, digits: int = _DIGITS) -> np.ndarray:
    """`values` rounded to `digits` significant decimal digits: what remains of 0.1 + 0.2 is 0.3. NaN stays NaN."""
    values = np.asarray(values, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = digits - 1 - np.floor(np.log10(np.abs(values)))
    shift = np.where(np.isfinite(shift), np.clip(shift, -290, 290), 0)
    up, down = 10.0 ** np.maximum(shift, 0), 10.0 ** np.maximum(-shift, 0)
    return np.round(values * up / down) * down / up


def on_format(values: np.ndarray, grid: Grid | None) -> np.ndarray:
    """`values` as the column writes them: on its grid, or with 12 significant digits."""
    return significant(values) if grid is None else grid.snap(values)


def holders(at: np.ndarray, patients: np.ndarray | None, levels: int) -> np.ndarray:
    """(levels,) how many patients hold each level; `at` (rows,) is the level of each row, `patients` (rows,) whose row it is."""
    if patients is None or not len(at):
        return np.bincount(at, minlength=levels)
    pairs = np.unique(np.stack([at, patients], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=levels)


def anonymous(
    distinct: np.ndarray,
    at: np.ndarray,
    rows: np.ndarray,
    patients: np.ndarray | None,
    held_by: int,
    grid: Grid | None,
    *,
    only_shared: bool,
    given: np.ndarray | None = None,
) -> Learned:
    """What may be learned of the values `distinct[at]` (each of `rows` rows), when `held_by` patients must hold a value.

    Beyond the `held_by`-th smallest and largest patient nothing is learned. A value that enough patients hold is learned as it is.
    The others are averaged with their neighbours, `held_by` at a time (microaggregation: Defays and Nanopoulos, 1993), or join the
    nearest shared value where there are fewer, or where `only_shared`. `given`: what else the column may be told, though off its format.
    """
    held = holders(at, patients, len(distinct))
    shared = held >= held_by
    mostly = bool(len(distinct)) and 2 * int((held >= 2).sum()) >= len(distinct)
    if shared.all():
        return Learned(distinct, rows, shared, np.zeros(0), mostly)
    low, high = _reached(distinct, at, patients, held_by)
    nothing = Learned(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0), mostly)
    if low > high:
        return nothing
    single = distinct[~shared]
    sayable = on_format(single, grid) == single
    if given is not None:
        sayable |= np.isin(single, given)
    avoided = single[sayable & (single >= low) & (single <= high)]
    avoided = avoided[~_numbered(avoided, grid, low, high)]
    values = np.where(shared, distinct, np.nan)
    if not only_shared:
        values = np.where(shared, distinct, _means(distinct, shared, (distinct >= low) & (distinct <= high), held_by))
        values = np.where(shared, distinct, _allowed(values, avoided, grid, low, high))
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return nothing
    # What has no value of its own yet joins the nearest; distances are between the values themselves, the lower wins a tie.
    after = np.minimum(np.searchsorted(distinct[known], distinct), len(known) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.where(np.abs(distinct - distinct[known[before]]) <= np.abs(distinct - distinct[known[after]]), before, after)
    values = np.where(np.isnan(values), values[known[nearer]], values)
    learned, place = np.unique(values, return_inverse=True)
    total = np.bincount(place, rows).astype(np.int64)
    own = np.isin(learned, distinct[shared])
    return Learned(learned, total, own, avoided[(avoided >= learned[0]) & (avoided <= learned[-1])], mostly)


def _numbered(avoided: np.ndarray, grid: Grid | None, low: float, high: float) -> np.ndarray:
    """(avoided,) whether a value stands in a long run without gap, each held once: a row number. It says of a patient only that the
    table has so many, and nothing else could be told in its place."""
    below, above = beside(avoided, grid, low, high)
    return (np.isnan(below) | np.isnan(above)) & ~np.isfinite(below) & ~np.isfinite(above)


def _reached(distinct: np.ndarray, at: np.ndarray, patients: np.ndarray | None, held_by: int) -> tuple[float, float]:
    """The values that the `held_by`-th smallest and the `held_by`-th largest patient reach; low > high when there are too few."""
    if patients is None:
        least, most = np.sort(distinct[at]), np.sort(distinct[at])[::-1]
    else:
        whose, row = np.unique(patients, return_inverse=True)
        least, most = np.full(len(whose), np.inf), np.full(len(whose), -np.inf)
        np.minimum.at(least, row, distinct[at])
        np.maximum.at(most, row, distinct[at])
        least, most = np.sort(least), np.sort(most)[::-1]
    return (np.inf, -np.inf) if len(least) < held_by else (float(least[held_by - 1]), float(most[held_by - 1]))


def _means(distinct: np.ndarray, shared: np.ndarray, kept: np.ndarray, size: int) -> np.ndarray:
    """(distinct,) for each value that is not shared the mean of its group: `size` or more neighbours without a shared value among
    them; those beyond the limits (not `kept`) belong to the outermost group without being averaged. NaN where there are fewer."""
    run = np.cumsum(shared)  # the same between two shared values
    found = np.full(len(distinct), np.nan)
    single = np.flatnonzero(~shared)
    inside = single[kept[single]]
    if not len(inside):
        return found
    _, first, length = np.unique(run[inside], return_index=True, return_counts=True)
    place = np.arange(len(inside)) - np.repeat(first, length)
    groups = np.repeat(length // size, length)
    key = run[inside] * len(distinct) + np.minimum(place // size, groups - 1)
    _, group = np.unique(np.where(groups > 0, key, -1), return_inverse=True)
    mean = np.bincount(group, distinct[inside]) / np.bincount(group)
    found[inside] = np.where(groups > 0, mean[group], np.nan)
    outside = single[~kept[single]]
    nearest = inside[np.where(distinct[outside] < distinct[inside[0]], 0, len(inside) - 1)] if len(outside) else outside
    found[outside] = np.where(run[nearest] == run[outside], found[nearest], np.nan)
    return found


def _allowed(values: np.ndarray, avoided: np.ndarray, grid: Grid | None, low: float, high: float) -> np.ndarray:
    """`values` on the format and off the avoided ones; NaN where nothing is near."""
    values = on_format(values, grid)
    values[(values < low) | (values > high)] = np.nan  # the mean of values off the grid may be on it only beyond the limits
    at = np.minimum(np.searchsorted(avoided, values), max(len(avoided) - 1, 0))
    hit = np.flatnonzero(avoided[at] == values) if len(avoided) else np.zeros(0, int)
    below, above = beside(values[hit], grid, low, high, avoided)
    down, up = (np.where(np.isfinite(side), np.abs(side - values[hit]), np.inf) for side in (below, above))
    values[hit] = np.where(np.minimum(down, up) < np.inf, np.where(down <= up, below, above), np.nan)
    return values


def beside(
    values: np.ndarray, grid: Grid | None, low: float, high: float, avoided: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest numbers of the format below and above each of `values`, in [low, high], that are not `avoided` (default: `values`).

    -inf and inf where [low, high] ends before; NaN where there is none within 32 steps.
    """
    avoided = values if avoided is None else avoided
    found = []
    for sign in (-1, 1):
        free = np.full(len(values), np.nan)
        looking = np.arange(len(values))
        for step in range(1, _REACH + 1):
            near = _stepped(values[looking], grid, sign * step)
            inside = (near >= low) & (near <= high)
            good = inside & ~np.isin(near, avoided)
            free[looking[good]] = near[good]
            free[looking[~inside]] = sign * np.inf
            looking = looking[inside & ~good]
            if not len(looking):
                break
        found.append(free)
    return found[0], found[1]


def _stepped(values: np.ndarray, grid: Grid | None, steps: int) -> np.ndarray:
    """The number of the format that lies so many steps further."""
    if grid is not None:
        return grid.snap((np.round(values / grid.step) + steps) * grid.step)
    with np.errstate(divide="ignore"):
        unit = 10.0 ** np.where(values == 0, -300.0, np.floor(np.log10(np.abs(values))) - _DIGITS + 1)
    return significant(values + steps * unit)
