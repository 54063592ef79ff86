"""Nearest rows: k smallest distances between two tables in bounded memory, and equal rows by hashing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

QUERIES, POINTS = 1_024, 8_192  # one block of distances: 32 MB of float32


def nearest(
    queries: np.ndarray,
    points: np.ndarray,
    k: int,
    *,
    query_owner: np.ndarray | None = None,
    point_owner: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Euclidean distances to the `k` nearest points, ascending, and their row numbers: two arrays (queries, k).

    queries, points  float32, (rows, width)
    query_owner, point_owner  integers; points of the query's own owner are passed over (leave one patient out)

    Blocks of matrix products with a running top k; the final distances are recomputed from differences, so an equal row is at exactly
    0. Where fewer than k points are eligible, the distance is inf and the row number -1.
    """
    queries, points = np.ascontiguousarray(queries, np.float32), np.ascontiguousarray(points, np.float32)
    distances = np.full((len(queries), k), np.inf, np.float32)
    rows = np.full((len(queries), k), -1, np.int64)
    if len(points) == 0:
        return distances, rows
    centre = points.mean(axis=0)  # small norms lose fewer digits in |x|^2 + |y|^2 - 2xy
    points, queries = points - centre, queries - centre
    # |y|^2 - 2xy orders the points of one query, since |x|^2 is the same for all of them: one matrix product gives it.
    other = np.column_stack([points, np.einsum("ij,ij->i", points, points)]).T
    query_of, point_of = _pairs(query_owner, point_owner)
    # Small blocks first: all of the first is sorted, and of the others only what is nearer than the k-th so far.
    ends = [0, *(end for end in (max(512, 64 * k), 2_048) if end < len(points)), *range(POINTS, len(points), POINTS), len(points)]
    for start in range(0, len(queries), QUERIES):
        block = queries[start : start + QUERIES]
        doubled = np.column_stack([-2 * block, np.ones(len(block), np.float32)])
        own = slice(*np.searchsorted(query_of, [start, start + QUERIES]))
        own_query, own_point = query_of[own] - start, point_of[own]
        best = np.full((len(block), k), np.inf, np.float32)
        best_rows = np.full((len(block), k), -1, np.int64)
        for first, last in itertools.pairwise(ends):
            gap = doubled @ other[:, first:last]
            inside = (own_point >= first) & (own_point < last)
            gap[own_query[inside], own_point[inside] - first] = np.inf
            best, best_rows = _merge(best, best_rows, gap, first)
        for column in range(k):
            found = best_rows[:, column] >= 0
            difference = block[found] - points[best_rows[found, column]]
            distances[start : start + QUERIES][found, column] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
        rows[start : start + QUERIES] = best_rows
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _pairs(query_owner: np.ndarray | None, point_owner: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Every query beside every point of the same owner, by ascending query."""
    if query_owner is None or point_owner is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.argsort(point_owner, kind="stable")
    low, high = (np.searchsorted(point_owner[order], query_owner, side=side) for side in ("left", "right"))
    counts = high - low
    query = np.repeat(np.arange(len(query_owner)), counts)
    return query, order[np.repeat(low - (np.cumsum(counts) - counts), counts) + np.arange(len(query))]


def _merge(best: np.ndarray, best_rows: np.ndarray, gap: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
    """The k smallest of what was kept and of a new block. Only entries below the present k-th best are sorted: soon hardly any."""
    count, k = best.shape
    if gap.shape[1] > k and np.isinf(best).all():  # the first block: everything is below
        chosen = np.argpartition(gap, k - 1, axis=1)[:, :k]
        gap, columns = np.take_along_axis(gap, chosen, axis=1), chosen.ravel()
        entering = np.arange(gap.size)
        query = entering // k
    else:
        entering = np.flatnonzero(gap < best[:, -1:])
        query, columns = np.divmod(entering, gap.shape[1])
    values = np.concatenate([best.ravel(), gap.ravel()[entering]])
    rows = np.concatenate([best_rows.ravel(), columns + first])
    query = np.concatenate([np.repeat(np.arange(count), k), query])
    order = np.lexsort((values, query))
    chosen = order[np.searchsorted(query[order], np.arange(count))[:, None] + np.arange(k)]
    return values[chosen], np.where(np.isfinite(values[chosen]), rows[chosen], -1)


def mixed(codes: np.ndarray, column: int) -> np.ndarray:
    """One 64-bit hash per entry of an integer array; the same code in another column hashes differently (splitmix64)."""
    with np.errstate(over="ignore"):
        value = np.asarray(codes).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(column + 1)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


def row_hashes(columns: Iterable[np.ndarray]) -> np.ndarray:
    """One hash per row: equal rows have equal hashes, others differ but for a chance of about rows^2 / 2^64.

    `columns` are integer codes, one array per column. The hash is the sum of the columns' `mixed` codes, so the hash of a row
    without column j is the difference `row_hashes(...) - mixed(codes_j, j)`.
    """
    total: np.ndarray | None = None
    with np.errstate(over="ignore"):
        for number, codes in enumerate(columns):
            total = mixed(codes, number) if total is None else total + mixed(codes, number)
    if total is None:
        raise ValueError("no columns: give at least one array of codes")
    return total


def owners_sharing(wanted: np.ndarray, hashes: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """For each hash in `wanted`, the number of distinct owners among the rows (`hashes`, `owner`) with that hash."""
    distinct = np.unique(wanted)
    place = np.minimum(np.searchsorted(distinct, hashes), max(len(distinct) - 1, 0))
    hit = distinct[place] == hashes if len(distinct) else np.zeros(len(hashes), bool)
    pairs = np.unique(place[hit].astype(np.int64) * (int(owner.max(initial=0)) + 1) + owner[hit])
    counts = np.bincount(pairs // (int(owner.max(initial=0)) + 1), minlength=len(distinct))
    return counts[np.searchsorted(distinct, wanted)]
