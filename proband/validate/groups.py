"""Patients' groups that must not be lost: every level of a discrete column, and pairs of columns that describe people."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from proband.stats.divergences import Codes
from proband.validate.coded import Part, Tables

#: A group needs this many unseen patients: of 30, the loss of all is certain, and the loss of half is seen.
FEWEST = 30

#: Names of columns by which groups of people are usually told apart; a person can mark more as `sensitive` in the schema.
_PEOPLE = re.compile(
    r"(^|_)(sex|gender|age|race|ethni\w*|insur\w*|income|edu\w*|marital|religion|language|site|hospital)($|_)", re.IGNORECASE
)
_AGE = re.compile(r"(^|_)age($|_)", re.IGNORECASE)


@dataclass(frozen=True)
class Groups:
    """The groups, and how to find them: `axes` are columns of codes, a group is a combination of codes on one axis."""

    names: tuple[str, ...]
    axes: tuple[tuple[tuple[str, int], ...], ...]  # each: one or two (which codes, column)
    cells: tuple[np.ndarray, ...]  # per axis, the joint codes that are groups

    def counts(self, part: Part, rows: np.ndarray | None = None) -> np.ndarray:
        """Rows of each group in a part, or among some of its rows; (groups,)."""
        found = []
        for axis, cells in zip(self.axes, self.cells, strict=True):
            joint, size = _joint(part, axis, rows)
            found.append(np.bincount(joint, minlength=size)[cells])
        return np.concatenate(found) if found else np.zeros(0, int)

    def members(self, part: Part, rows: np.ndarray) -> list[np.ndarray]:
        """Per group, which of these rows belong to it (bool)."""
        found = []
        for axis, cells in zip(self.axes, self.cells, strict=True):
            joint = _joint(part, axis, rows)[0]
            found += [joint == cell for cell in cells]
        return found


def groups(tables: Tables, fewest: int = FEWEST) -> Groups:
    """All groups of which at least `fewest` patients stand on either side when synthetic and unseen ones are compared."""
    drawn = min(1.0, tables.matched / max(tables.unseen.patients.count, 1))
    discrete = [c for c in tables.codings if c.column.discrete]
    people = [at for at, c in enumerate(tables.columns) if c.sensitive or _PEOPLE.search(c.name)]
    aged = [at for at in people if tables.columns[at].numeric and _AGE.search(tables.columns[at].name)]
    pairs = [(a, b) for at, a in enumerate(people) for b in people[at + 1 :]]
    axes = (
        [(("levels", at),) for at in range(len(discrete))]
        + [(("coarse", at),) for at in aged]
        + [(("coarse", a), ("coarse", b)) for a, b in pairs]
    )
    names: list[str] = []
    kept_axes, kept_cells = [], []
    for axis in axes:
        joint, size = _joint(tables.unseen, axis)
        counts = np.bincount(joint, minlength=size)
        cells, labels = [], []
        for cell in np.flatnonzero(counts * drawn >= fewest):
            label = _label(tables, axis, int(cell))
            # A level that (nearly) everybody has is no group.
            if label is not None and counts[cell] < 0.98 * len(joint):
                cells.append(cell)
                labels.append(label)
        if cells:
            kept_axes.append(axis)
            kept_cells.append(np.array(cells))
            names += labels
    return Groups(tuple(names), tuple(kept_axes), tuple(kept_cells))


def surely_lost(synthetic: np.ndarray, real: np.ndarray, synthetic_rows: int, real_rows: int) -> np.ndarray:
    """Per group, the share of its patients that is missing beyond doubt: 0 none, 1 all; (groups,).

    Of the s + h rows of a group the synthetic ones are binomial; the upper Clopper-Pearson bound on the ratio of the two
    rates, at 5 % over all groups together (Bonferroni), is what may still be there.
    """
    from scipy.stats import beta

    if not len(real):
        return np.zeros(0)
    upper = beta.ppf(1 - 0.05 / len(real), synthetic + 1, real)
    ratio = np.where(real > 0, upper / np.maximum(1 - upper, 1e-12) * real_rows / max(synthetic_rows, 1), 1.0)
    return np.clip(1 - ratio, 0.0, 1.0)


def _joint(part: Part, axis: tuple[tuple[str, int], ...], rows: np.ndarray | None = None) -> tuple[np.ndarray, int]:
    tables = [(part.levels if which == "levels" else part.coarse, at) for which, at in axis]
    joint, size = np.zeros(part.frame.height if rows is None else len(rows), np.int32), 1
    for table, at in tables:
        joint = joint * np.int32(table.sizes[at]) + (table.values[at] if rows is None else table.values[at][rows])
        size *= int(table.sizes[at])
    return joint, size


def _label(tables: Tables, axis: tuple[tuple[str, int], ...], cell: int) -> str | None:
    """`sex = F, age 60 to 72`; None when a code means missing, not allowed or other."""
    words = []
    for which, at in reversed(axis):
        codes: Codes = getattr(tables.unseen, which)
        cell, code = divmod(cell, int(codes.sizes[at]))
        if which == "levels":
            coding = [c for c in tables.codings if c.column.discrete][at]
            label = coding.levels[code - 2] if 2 <= code < 2 + min(len(coding.levels), 250) else None
        else:
            coding = tables.codings[at]
            label = coarse_label(tables, at, code)
        if label is None:
            return None
        words.append(f"{coding.column.name} {label}" if coding.column.numeric else f"{coding.column.name} = {label}")
    return ", ".join(reversed(words))


def coarse_label(tables: Tables, at: int, code: int) -> str | None:
    """What a coarse code of a column means; None for missing, not allowed, and a mixture of levels."""
    fine = [k for k in np.flatnonzero(tables.lookups[at] == code) if k >= 2]
    if code < 2 or not fine:
        return None
    labels = [tables.codings[at].labels[k] for k in fine]
    if len(labels) == 1:
        return None if labels[0] == "other" else labels[0]
    if not tables.columns[at].numeric:
        return None
    labels = [label for label in labels if label != "other"]
    return f"{labels[0].split(' to ')[0]} to {labels[-1].split(' to ')[-1]}"
