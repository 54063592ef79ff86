"""Tokens for patients whom the encoder may not look at: the ranges of numbers and the shares of levels are asked through a budget.

What is asked is drawn again as stand-ins, rows of columns that know nothing of each other, and the encoder learns from those as it
would from patients. So bins, heaps and bounds follow from noisy answers alone, whatever the encoder does with them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import optimize

from proband.cohort import Cohort
from proband.encode import TableEncoder
from proband.encode.numbers import from_numbers, physical_bounds, to_numbers
from proband.errors import InputError
from proband.privacy.budget import Budget, deviation
from proband.schema import Column, Schema

STAND_INS = 20_000
CLEAR = 4.0  # standard deviations of the noise that a cell of a number's range shall have patients, once it is known where they lie
FEWEST_CELLS, MOST_CELLS = 8, 64
#: Shares of a number's budget: where its values lie at all, where they are dense, how they are spread.
STAGES = (0.2, 0.3, 0.5)
#: Standard deviations of the noise above which a magnitude is believed to have patients, anywhere, and beside one that surely has.
SURE, LIKELY = 4.0, 2.0
PASSES = 3
EVEN = 1.0  # how much it costs a number that neighbouring cells differ in density, in standard deviations of the last look's noise
#: The years 1 to 9999 in days and in microseconds since 1970, and the nanoseconds of a day: bounds that no patient has a say in.
_CALENDAR = {"date": (-719_162.0, 2_932_896.0), "datetime": (-719_162 * 86_400e6, 2_932_896 * 86_400e6), "time": (0.0, 86_400e9 - 1)}
#: Ends of the magnitudes: 0 and powers of two, both ways. No patient has a say in them.
MAGNITUDES = np.concatenate([-(2.0 ** np.arange(62, -11, -1)), [0.0], 2.0 ** np.arange(-10, 63)])


class Spread(NamedTuple):
    """How a column is spread: `shares` (1 + cells,), missing first; `edges` (cells + 1,) of a number's cells, ascending; None: levels."""

    shares: np.ndarray
    edges: np.ndarray | None


def one_row_each(cohort: Cohort) -> Cohort:
    """The cohort with the first row of every patient: a patient then adds one to any count, and no more.

    A level that the schema does not have counts as missing: an error would tell that somebody has it.
    """
    key = cohort.one_table("A private synthesizer").schema.table.key
    frame = cohort.frame if key is None else cohort.frame.unique(key, keep="first", maintain_order=True)
    levels = {column.name: column.categories for column in cohort.schema.table.columns if column.categories is not None}
    frame = frame.with_columns(pl.when(pl.col(name).is_in(known)).then(name) for name, known in levels.items())
    return Cohort(cohort.schema, frame, cohort.mark)


def ready(schema: Schema) -> None:
    """InputError unless a person has declared that the schema says nothing about these patients, and it has something to learn.

    It looks at no patient, so that a fit which must fail can be refused before it is paid for.
    """
    if schema.children:
        told = ", ".join(table.name for table in schema.tables)
        raise InputError(f"A private synthesizer knows one table, and the schema has {len(schema.tables)}: {told}. Read one table alone.")
    kinds = {column.name: column.kind for column in schema.table.columns}
    if "text" in kinds.values() or set(kinds.values()) <= {"identifier"}:
        raise InputError(
            f"Of the columns {', '.join(kinds)}, some are free text, or all are identifiers: nothing can be learned. Delete the text, "
            "and add a column that says something."
        )
    if not schema.public:
        raise InputError(
            "Differential privacy needs a public schema, and this one may have been read off the patients: its levels, formats and rules "
            "would leave with the synthetic table. Check that each follows from a code list, a form or a protocol, delete what does not, "
            "and set public = true in the schema file (or schema.model_copy(update={'public': True}))."
        )


def private_encoder(cohort: Cohort, budget: Budget, *, rho: float, rng: np.random.Generator) -> TableEncoder:
    """An encoder that has learned from stand-ins. `cohort` has one row a patient; `rng` draws the stand-ins, which is no secret."""
    columns = [column for column in cohort.schema.table.columns if column.kind not in ("identifier", "text")]
    made: dict[str, pl.Series] = {}
    for column in cohort.schema.table.columns:
        if column in columns:
            made[column.name] = _drawn(_asked(cohort.frame[column.name], column, budget, rho / len(columns)), column, rng)
        else:
            made[column.name] = pl.Series([str(row) for row in range(STAND_INS)], dtype=column.dtype)
    encoder = TableEncoder.learnable(Cohort(cohort.schema, pl.DataFrame(made)))
    # Real identifiers are not looked at, not even to see how they do not begin: chance keeps the fresh ones apart.
    return replace(encoder, prefix=f"synthetic-{rng.integers(2**32):08x}-")


def levels_of(column: Column) -> tuple[str, ...]:
    """The levels of a discrete column, as text."""
    return ("false", "true") if column.kind == "boolean" else column.categories or ()


def bounds_of(column: Column) -> tuple[float, float]:
    """The declared bounds in the units of `to_numbers`, within what any date or time can be."""
    lowest, highest = physical_bounds(column)
    first, last = _CALENDAR.get(column.kind, (-math.inf, math.inf))
    return max(lowest, first), min(highest, last)


def _asked(series: pl.Series, column: Column, budget: Budget, rho: float) -> Spread:
    if column.discrete:
        names = levels_of(column)
        place = {name: at for at, name in enumerate(names, 1)}
        cells = series.cast(pl.String).replace_strict(place, default=0, return_dtype=pl.Int64).fill_null(0).to_numpy()
        noisy = budget.counts(np.bincount(cells, minlength=len(names) + 1), rho=rho, what=f"levels of {column.name}")
        return Spread(shares(noisy), None)
    values, step, (low, high) = to_numbers(series), _step(column), bounds_of(column)
    edges = _between(np.unique(np.clip(MAGNITUDES, low, high)), step)
    looks: list[_Look] = []
    for part in STAGES:
        noise = deviation(part * rho)
        if looks:
            most = looks[-1].noisy[1:].sum() / (CLEAR * noise)
            edges = _finer(_together(looks), edges, int(np.clip(most, FEWEST_CELLS, MOST_CELLS)), step)
        noisy = budget.counts(_counted(values, edges), rho=part * rho, what=f"range of {column.name}, look {len(looks) + 1}")
        if not looks:
            edges, noisy = _where(edges, noisy, noise)
        looks.append(_Look(edges, noisy, noise))
    return _together(looks)


class _Look(NamedTuple):
    """noisy (1 + cells,): how many are missing and in each cell between the `edges` (cells + 1,); noise: its standard deviation."""

    edges: np.ndarray
    noisy: np.ndarray
    noise: float


def _together(looks: list[_Look]) -> Spread:
    """The spread that agrees best with all looks, each by its noise, in cells as fine as all their edges make them.

    Least squares, no share below 0. Looks with other edges say more of one range than any does alone; where none says how the patients
    lie within a cell, neighbours are alike.
    """
    if len(looks) == 1:
        return Spread(shares(looks[0].noisy), looks[0].edges)
    edges = np.unique(np.concatenate([look.edges for look in looks]))
    width = np.diff(edges)
    cells = np.arange(len(width))
    rows, asked = [], []
    for at, look in enumerate(looks):
        told = np.delete(np.arange(len(look.noisy)), [1, -1] if at == 0 else [])  # its end cells lack what lies beyond them
        within = np.zeros((len(look.noisy), 1 + len(width)))
        within[0, 0] = 1
        within[np.clip(np.searchsorted(look.edges, edges[:-1], side="right"), 1, len(look.edges) - 1), 1 + cells] = 1
        rows.append(within[told] / look.noise)
        asked.append(look.noisy[told] / look.noise)
    differ = np.zeros((len(width) - 1, 1 + len(width)))  # from one cell to the next, were both as wide as in the mean
    both = (width[1:] + width[:-1]) / 2
    differ[cells[:-1], 1 + cells[:-1]], differ[cells[:-1], 2 + cells[:-1]] = -width[1:] / both, width[:-1] / both
    found = np.zeros(1 + len(width))
    for _ in range(PASSES):  # a step that stands out from the noise is a heap: it is not smoothed away
        alike = EVEN / np.hypot(looks[-1].noise, differ @ found)
        found, _ = optimize.nnls(np.concatenate([*rows, alike[:, None] * differ]), np.concatenate([*asked, np.zeros(len(differ))]))
    return Spread(found / found.sum() if found.sum() > 0 else shares(found), edges)


def _between(edges: np.ndarray, step: float | None) -> np.ndarray:
    """Edges that no value of the format lies on: a value on a magnitude is the first of its cell, the last one the last of all."""
    if step is None:
        return edges if len(edges) > 1 else np.array([edges[0], edges[0] + 1.0])
    return np.unique(np.append((np.ceil(edges / step) - 0.5) * step, (np.floor(edges[-1] / step) + 0.5) * step))


def _counted(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(1 + cells,) how many are missing, then in each cell; what lies beyond the ends counts at the ends."""
    known = ~np.isnan(values)
    cells = np.clip(np.searchsorted(edges, values[known], side="right"), 1, len(edges) - 1)
    return np.concatenate([[(~known).sum()], np.bincount(cells, minlength=len(edges))[1:]])


def _where(edges: np.ndarray, noisy: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """The magnitudes from the first to the last that surely have patients, on to those beside them that likely have, and one more on
    either side, for the tails."""
    sure = np.flatnonzero(noisy[1:] > SURE * noise)
    if not len(sure):
        sure = np.array([int(np.argmax(noisy[1:]))])
    first, last = sure[0], sure[-1]
    while first > 0 and noisy[first] > LIKELY * noise:
        first -= 1
    while last < len(edges) - 2 and noisy[last + 2] > LIKELY * noise:
        last += 1
    first, last = max(0, first - 1), min(len(edges) - 2, last + 1)
    return edges[first : last + 2], np.concatenate([noisy[:1], noisy[1 + first : 2 + last]])


def _finer(found: Spread, edges: np.ndarray, cells: int, step: float | None) -> np.ndarray:
    """Ends of up to `cells` cells with equal shares from the first to the last of `edges`; no cell is finer than the format."""
    assert found.edges is not None
    until = np.concatenate([[0.0], np.cumsum(found.shares[1:])])
    if until[-1] <= 0:
        return edges
    inner = np.interp(np.linspace(0, 1, cells + 1)[1:-1] * until[-1], until, found.edges)
    if step is not None:
        inner = (np.floor(inner / step) + 0.5) * step
    inner = inner[(inner > edges[0]) & (inner < edges[-1])]
    return np.unique(np.concatenate([edges[:1], inner, edges[-1:]]))


def shares(noisy: np.ndarray) -> np.ndarray:
    """The nearest shares, none below 0, to noisy counts: noise around 0 vanishes in place of adding up."""
    noisy = np.asarray(noisy, float)
    total = max(float(noisy.sum()), 1.0)
    falling = np.sort(noisy)[::-1]
    taken = (np.cumsum(falling) - total) / np.arange(1, len(falling) + 1)
    least = taken[np.flatnonzero(falling > taken)[-1]]
    found = np.maximum(noisy - least, 0.0)
    return found / found.sum()


def _step(column: Column) -> float | None:
    if column.grid is not None:
        return column.grid.step
    if column.kind in ("datetime", "time"):
        second, layout = (1e6 if column.kind == "datetime" else 1e9), column.layout or "%S"
        return 1.0 if "f" in layout else second if "%S" in layout or "%T" in layout else 60 * second
    return None if column.kind == "number" else 1.0


def _drawn(spread: Spread, column: Column, rng: np.random.Generator) -> pl.Series:
    """Stand-ins for a column, spread as it is."""
    # The same shares in every place, so that a level of one in a thousand has its twenty stand-ins.
    until = np.cumsum(spread.shares)
    at = rng.permutation(np.searchsorted(until / until[-1], (np.arange(STAND_INS) + 0.5) / STAND_INS)).clip(0, len(until) - 1)
    if spread.edges is None:
        names = np.array(["", *levels_of(column)])
        found = pl.Series(names[at], dtype=pl.String).set(pl.Series((at == 0) | (len(names) == 1)), None)
        return found if column.dtype == pl.String else found == "true"
    cell = np.maximum(at - 1, 0)
    low, high = spread.edges[cell], spread.edges[cell + 1]
    values = low + (high - low) * rng.random(STAND_INS)
    if column.grid is not None:
        values = column.grid.snap(values)
    elif column.kind == "number":
        # No format is declared: as many digits as the width of the cell can bear.
        decimals = 1 - np.floor(np.log10(np.maximum(high - low, 1e-12)))
        values = np.round(values * 10.0**decimals) / 10.0**decimals
    else:
        step = _step(column) or 1.0
        values = np.round(values / step) * step
    lowest, highest = bounds_of(column)
    values = np.clip(values, lowest if math.isfinite(lowest) else None, highest if math.isfinite(highest) else None)
    return from_numbers(np.where(at == 0, np.nan, values), column)
