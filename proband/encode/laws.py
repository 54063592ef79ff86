"""Laws between two columns within the levels of a third: 6-month survival is 2-month survival to a power set by the diagnosis."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from proband.encode.levels import Levels
from proband.encode.numbers import grid_of, to_numbers
from proband.encode.pairs import Pair, bases, by_law
from proband.schema import Column

_KEPT = 0.995  # of the rows with both columns known: the others are noise of the format
_FORMS = ("difference", "multiple", "power")
_MOST_GROUPS = 50  # levels of a column that may set the constant
_FEWEST = 3  # distinct base values in a level, or nothing could contradict its constant
_DISTINCT = 20  # values of either column: what takes fewer is better told as it is
_SPREAD = 5.0  # the column must vary within the levels by this many times what the format may be off
_ROWS = 50  # rows with both columns known, at least, and five for each constant
_SAMPLE = 5_000  # rows in which a law is looked for before all are asked
_LEVEL_ROWS = 300  # rows of the largest level in which the order of two columns is compared
_TOGETHER = 10  # of these with both columns known, at least
_ALIKE = 0.95  # a law keeps the order of values: rank correlation within the largest level


def laws_of(frame: pl.DataFrame, drawn: dict[str, Column], levels: dict[str, Levels]) -> dict[str, Pair]:
    """For each column that follows from another by a law, the law, without circles; found from the training rows.

    levels   of the discrete columns among `drawn`; those in two steps set no constants
    """
    numbers = {name: to_numbers(frame[name]) for name, column in drawn.items() if column.numeric}
    numbers = {name: values for name, values in numbers.items() if len(np.unique(values[np.isfinite(values)])) >= _DISTINCT}
    groups: dict[str | None, np.ndarray] = {None: np.ones(frame.height, np.int32)}
    for name, level in sorted(levels.items(), key=lambda pair: len(pair[1].held)):
        if 2 <= len(level.held) <= _MOST_GROUPS:
            groups[name] = level.encode(frame[name])[:, 0]
    slack = {name: _slack(numbers[name], drawn[name]) for name in numbers}
    finite = {name: values[np.isfinite(values)] for name, values in numbers.items()}
    worth = {name: (len(values), len(np.unique(values))) for name, values in finite.items()}
    found: dict[str, Pair] = {}
    some = np.linspace(0, frame.height - 1, min(_SAMPLE, frame.height)).astype(int)
    sampled = {name: values[some] for name, values in numbers.items()}
    for group, tokens in groups.items():
        for base, target in _alike(sampled, worth, tokens[some]):
            if target in found or target in bases(base, found):
                continue
            for form in _forms(drawn[base].kind, drawn[target].kind):
                few = (sampled[base], sampled[target], tokens[some])
                if _law(form, *few, slack[target]) and (constants := _law(form, numbers[base], numbers[target], tokens, slack[target])):
                    constants = constants[1:] if group is None else constants
                    found[target] = Pair(base, form, group=group, constants=constants)  # type: ignore[arg-type]
                    break
    return found


def _forms(base: str, target: str) -> tuple[str, ...]:
    """What makes sense between two kinds: a date is no multiple of a date."""
    if {base, target} <= {"number", "integer"}:
        return _FORMS
    return _FORMS[:1] if base == target else ()


def _slack(values: np.ndarray, column: Column) -> float:
    """How far the formats of both columns may push a value: two steps, or what 9 digits leave."""
    known = values[np.isfinite(values)]
    grid = grid_of(known, column.grid, whole=column.kind != "number")
    return 2 * grid.step if grid is not None else 1e-9 * float(np.abs(known).max())


def _alike(numbers: dict[str, np.ndarray], worth: dict[str, tuple[int, int]], tokens: np.ndarray) -> Iterator[tuple[str, str]]:
    """(base, target) whose order agrees within the largest level; first the base `worth` more: known in more rows, more distinct."""
    if len(numbers) < 2 or not (tokens > 0).any():
        return
    names, rows = list(numbers), np.flatnonzero(tokens == 1 + np.bincount(tokens)[1:].argmax())[:_LEVEL_ROWS]
    values = np.stack([numbers[name][rows] for name in names])
    known = np.isfinite(values)
    ranks = np.argsort(np.argsort(np.where(known, values, np.inf), axis=1, kind="stable"), axis=1).astype(float)
    ranks = np.where(known, ranks - (known.sum(axis=1, keepdims=True) - 1) / 2, 0.0)
    size = np.sqrt((ranks**2) @ known.T.astype(float))
    agree = np.abs(ranks @ ranks.T) >= _ALIKE * size * size.T
    agree &= known.astype(float) @ known.T.astype(float) >= _TOGETHER
    for i, j in np.argwhere(np.triu(agree, 1)).tolist():
        one, other = names[i], names[j]
        yield from [(one, other), (other, one)] if worth[one] >= worth[other] else [(other, one), (one, other)]


def _law(form: str, base: np.ndarray, target: np.ndarray, tokens: np.ndarray, slack: float) -> tuple[float | None, ...]:
    """The constant of each token (None for missing, and where there are too few values), or nothing when the law does not hold."""
    rows = np.flatnonzero(np.isfinite(base) & np.isfinite(target) & (tokens > 0))
    base, target, tokens = base[rows], target[rows], tokens[rows]
    levels = int(tokens.max(initial=0))
    if len(rows) < max(_ROWS, 5 * levels):
        return ()
    constant, weight = _constants(form, base, target)
    constants: list[float | None] = [None] * (levels + 1)
    held = lawful = 0
    spread = 0.0
    for token in range(1, levels + 1):
        here = np.flatnonzero(tokens == token)
        if len(np.unique(base[here])) < _FEWEST or not weight[here].any():
            continue
        k = _weighted_median(constant[here], weight[here])
        held += int((np.abs(by_law(form, base[here], k) - target[here]) <= slack).sum())
        lawful += len(here)
        spread += len(here) * float(target[here].std())
        constants[token] = k
        if held < _KEPT * lawful - 0.01 * len(rows):
            return ()
    return tuple(constants) if lawful >= 0.9 * len(rows) and held >= _KEPT * lawful and spread >= _SPREAD * slack * lawful else ()


def _constants(form: str, base: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The constant that each row asks for, and how sharply it does: what the column would change by if the constant did."""
    if form == "difference":
        return target - base, np.ones(len(base))
    with np.errstate(divide="ignore", invalid="ignore"):
        if form == "multiple":
            constant, weight = target / base, np.abs(base)
        else:
            constant, weight = np.log(target) / np.log(base), np.abs(target * np.log(base))
    usable = np.isfinite(constant) & np.isfinite(weight) & (weight > 0)
    return np.where(usable, constant, 0.0), np.where(usable, weight, 0.0)


def _weighted_median(values: np.ndarray, weight: np.ndarray) -> float:
    order = np.argsort(values, kind="stable")
    until = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(until, until[-1] / 2)])
