"""The real patients under attack, members and controls in one table, and the numbers in which distances are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from proband import seeds
from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Column

WIDTH = 192  # embeddings wider than this are projected
PROJECTED = 128  # distances then err by about sqrt(2 / 128) = 12 %
LEVELS = 1_000  # levels of a category that get an axis; rarer ones share the last
FITTED = 50_000  # rows that are enough for levels and scales


QUERY_ROWS, REAL_ROWS, SYNTHETIC_ROWS = 20_000, 60_000, 400_000  # more are drawn down at random


@dataclass(frozen=True)
class Patients:
    """Real patients: those the synthesizer learned from (members) and those it never saw (controls).

    frame    all rows, (rows, columns); owner: (rows,) the patient of each row, 0 to patients - 1
    member   (patients,) bool
    columns  the columns an attacker compares: all but identifiers and text
    """

    frame: pl.DataFrame
    owner: np.ndarray
    member: np.ndarray
    columns: tuple[Column, ...]


def gathered(synthetic: pl.DataFrame, train: Cohort, *unseen: Cohort) -> Patients:
    """Members (train) and controls (every cohort in `unseen`) as one table, members first.

    A column that is wholly missing from the synthetic table is left out: dropping a column must not hide a copy.
    """
    table = train.schema.table
    compared = [column for column in table.columns if column.kind not in ("identifier", "text") and column.name != table.key]
    if not compared:
        raise InputError("The schema has identifiers only: no column is left to compare patients by. Declare at least one other column.")
    columns = tuple(column for column in compared if synthetic[column.name].null_count() < synthetic.height) or tuple(compared)
    owners: list[np.ndarray] = []
    counts: list[int] = []
    for cohort in (train, *unseen):
        codes = cohort.frame[table.key].rank("dense").to_numpy().astype(np.int64) - 1 if table.key else np.arange(cohort.frame.height)
        owners.append(codes + sum(counts))
        counts.append(int(codes.max(initial=-1)) + 1)
    names = [column.name for column in columns]
    frame = pl.concat([cohort.frame.select(names) for cohort in (train, *unseen)], rechunk=False)
    return Patients(frame, np.concatenate(owners), np.arange(sum(counts)) < counts[0], columns)


@dataclass(frozen=True)
class Attacked:
    """The rows under attack, and what an attacker compares them with.

    patients  (patients,) which real patients, numbers into `Patients`; member: (patients,) bool
    mine      (rows, columns) the attacked rows as `Values`; owner: (rows,) the patient of each, a position in `patients`
    theirs    (others, columns) real rows to compare with, drawn regardless of membership; made: synthetic rows
    row       (rows,) and other (others,): their numbers in the real frame; person and another: whose they are, numbers into `Patients`
    embed     turns values into vectors
    """

    patients: np.ndarray
    member: np.ndarray
    owner: np.ndarray
    row: np.ndarray
    other: np.ndarray
    person: np.ndarray
    another: np.ndarray
    mine: np.ndarray
    theirs: np.ndarray
    made: np.ndarray
    embed: Embedding
    seed: int

    def per_patient(self, row_scores: np.ndarray) -> np.ndarray:
        """(patients,) the highest score among each patient's rows: one record that gives the patient away is enough."""
        highest = np.full(len(self.patients), -np.inf)
        np.maximum.at(highest, self.owner, row_scores)
        return highest

    def fewer(self, most: int, what: str) -> tuple[np.ndarray, np.ndarray]:
        """Positions in `theirs` and in `made`, no more than `most` of each, for attacks that cost more."""
        draw = seeds.generator(self.seed, "privacy", what)
        return drawn(len(self.theirs), most, draw), drawn(len(self.made), most, draw)


def attacked(real: Patients, synthetic: pl.DataFrame, *, seed: int) -> Attacked:
    """Every real patient, or a random draw of patients with about 20,000 rows in all."""
    draw = seeds.generator(seed, "privacy", "patients")
    patients = drawn_patients(real, QUERY_ROWS, draw)
    position = np.full(len(real.member), -1)
    position[patients] = np.arange(len(patients))
    row = np.flatnonzero(position[real.owner] >= 0)
    other, shown = drawn(real.frame.height, REAL_ROWS, draw), drawn(synthetic.height, SYNTHETIC_ROWS, draw)
    embed = Embedding(real.columns, real.frame, seed=seed)
    read = embed.read
    return Attacked(
        patients=patients,
        member=real.member[patients],
        owner=position[real.owner[row]],
        row=row,
        other=other,
        person=real.owner[row],
        another=real.owner[other],
        mine=read(real.frame, row),
        theirs=read(real.frame, other),
        made=read(synthetic, shown),
        embed=embed,
        seed=seed,
    )


def drawn_patients(real: Patients, most: int, draw: np.random.Generator) -> np.ndarray:
    """Numbers of all patients, or of as many members as controls (more of one where the other runs short) with about `most` rows in all."""
    count = max(2, int(most * len(real.member) / len(real.owner)))
    if len(real.member) <= count:
        return np.arange(len(real.member))
    members, controls = np.flatnonzero(real.member), np.flatnonzero(~real.member)
    take_controls = min(len(controls), max(count // 2, count - len(members)))
    take_members = min(len(members), count - take_controls)
    chosen = [draw.choice(members, take_members, replace=False), draw.choice(controls, take_controls, replace=False)]
    return np.sort(np.concatenate(chosen))


def drawn(count: int, most: int, draw: np.random.Generator) -> np.ndarray:
    """Row numbers below `count`: all, or `most` of them at random; ascending."""
    return np.arange(count) if count <= most else np.sort(draw.choice(count, most, replace=False))


class Values:
    """Rows as float32: numbers as they are, levels by falling frequency in `fit`, NaN for missing."""

    def __init__(self, columns: tuple[Column, ...], fit: pl.DataFrame) -> None:
        self.columns = columns
        self.levels = [[] if column.numeric else _levels(fit[column.name]) for column in columns]

    def __call__(self, frame: pl.DataFrame, rows: np.ndarray | None = None) -> np.ndarray:
        """(rows, columns) of all rows, or of those numbered in `rows`. The frame is never copied, only a column."""
        read = np.empty((frame.height if rows is None else len(rows), len(self.columns)), np.float32)
        for at, (column, levels) in enumerate(zip(self.columns, self.levels, strict=True)):
            cells = frame[column.name] if rows is None else frame[column.name].gather(rows)
            if column.numeric:
                physical = cells if cells.dtype.is_numeric() else cells.to_physical()
                read[:, at] = physical.cast(pl.Float64).fill_null(float("nan")).to_numpy()
            else:  # rare and unknown levels share the last code
                known = pl.DataFrame({"level": levels, "code": np.arange(len(levels))}, schema={"level": pl.String, "code": pl.Float32})
                codes = cells.cast(pl.String).alias("level").to_frame().join(known, on="level", how="left", maintain_order="left")["code"]
                read[:, at] = codes.fill_null(float(len(levels))).to_numpy()
                read[cells.is_null().to_numpy(), at] = np.nan
        return read


def _levels(values: pl.Series) -> list[str]:
    counts = values.drop_nulls().cast(pl.String).alias("level").value_counts(name="rows")
    return counts.sort(["rows", "level"], descending=[True, False])["level"].head(LEVELS).to_list()


class Embedding:
    """Rows as float32 vectors whose Euclidean distance mixes all kinds of columns.

    A number is counted from the median in standard deviations (taken from the quartiles of `fit`, so that neither units nor outliers rule
    it), far values by their logarithm (asinh), beside a flag for missing; a category has one axis per level, two levels being at distance
    1. Wider than 192, the axes are projected at random on 128 (Johnson and Lindenstrauss): distances are kept to about 12 %.

    Ranks in the place of standard deviations see densities as well, but tear a copy whose numbers moved a little away from its patient
    where many patients crowd: of thyroid patients copied with 5 % of noise they find 73 % where these scales find 82 %.
    """

    def __init__(self, columns: tuple[Column, ...], fit: pl.DataFrame, *, seed: int) -> None:
        self.columns, self.seed = columns, seed
        fit = fit if fit.height <= FITTED else fit[seeds.generator(seed, "privacy", "scales").choice(fit.height, FITTED, replace=False)]
        self.read = Values(columns, fit)
        self.scales = [_scale(values) if column.numeric else (0.0, 1.0) for column, values in zip(columns, self.read(fit).T, strict=True)]

    def __call__(self, frame: pl.DataFrame, rows: np.ndarray | None = None) -> np.ndarray:
        """(rows, width) float32, at most 192 wide; all rows, or those numbered in `rows`."""
        return self.placed(self.read(frame, rows))

    def placed(self, values: np.ndarray, only: Sequence[int] | None = None) -> np.ndarray:
        """The same for rows read as `Values`; `only` names the columns that count."""
        only = range(len(self.columns)) if only is None else only
        widths = [2 if self.columns[at].numeric else len(self.read.levels[at]) + 1 for at in only]
        width = sum(widths)
        if width <= WIDTH:
            axes = np.eye(width, dtype=np.float32)
        else:
            draw = seeds.generator(self.seed, "privacy", "projection", *map(int, only))
            axes = draw.standard_normal((width, PROJECTED), np.float32) / np.float32(PROJECTED**0.5)
        found = np.zeros((len(values), axes.shape[1]), np.float32)
        for at, own in zip(only, np.split(axes, np.cumsum(widths)[:-1]), strict=True):
            middle, spread = self.scales[at]
            for start in range(0, len(values), 65_536):
                cells = values[start : start + 65_536, at]
                missing = np.isnan(cells)
                if self.columns[at].numeric:
                    score = np.arcsinh((np.where(missing, middle, cells) - middle) / spread)
                    found[start : start + 65_536] += score[:, None] * own[0] + missing[:, None] * own[1]
                else:
                    codes = np.where(missing, len(own) - 1, cells).astype(np.int64)
                    found[start : start + 65_536] += own[codes] * np.float32(0.5**0.5)
        return found


def _scale(values: np.ndarray) -> tuple[np.float32, np.float32]:
    """The median and the standard deviation by the quartiles; by the mean deviation where half of the values are equal."""
    present = values[~np.isnan(values)].astype(float)
    if not len(present):
        return np.float32(0), np.float32(1)
    low, middle, high = np.quantile(present, [0.25, 0.5, 0.75])
    spread = (high - low) / 1.349 or np.abs(present - middle).mean() * 1.253
    return np.float32(middle), np.float32(spread or 1.0)
