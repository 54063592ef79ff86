"""A population of patients, and synthetic tables with known leaks. Tables are small; the leaks are what a check must see."""

from dataclasses import replace

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.schema import Column, Schema, Table
from proband.validate.findings import Evidence

NUMBERS = tuple(f"lab_{number}" for number in range(8))
SCHEMA = Schema(
    tables=(
        Table(
            name="patients",
            columns=(
                *(Column(name=name, kind="number") for name in NUMBERS),
                Column(name="ward", kind="category", categories=("a", "b", "c", "d")),
                Column(name="smoker", kind="boolean"),
            ),
        ),
    )
)
FEW = Schema(
    tables=(
        Table(
            name="patients",
            columns=(
                *(Column(name=f"flag_{number}", kind="boolean") for number in range(5)),
                Column(name="age", kind="integer"),
                Column(name="ward", kind="category", categories=("a", "b", "c")),
            ),
        ),
    )
)


def population(count: int, draw: np.random.Generator) -> Cohort:
    """Eight correlated numbers with one decimal or two, a few missing, and two levels."""
    common = draw.normal(size=(count, 2))
    values = common @ draw.normal(size=(2, 8)) + draw.normal(size=(count, 8))
    frame = pl.DataFrame({name: np.round(values[:, number], 2) for number, name in enumerate(NUMBERS)})
    frame = frame.with_columns(pl.when(pl.Series(draw.random(count) < 0.1)).then(None).otherwise(pl.col("lab_0")).alias("lab_0"))
    ward = np.array(["a", "b", "c", "d"])[np.clip(np.round(common[:, 0] + 1.5), 0, 3).astype(int)]
    return Cohort(SCHEMA, frame.with_columns(ward=pl.Series(ward), smoker=pl.Series(draw.random(count) < 0.3)))


def coincident(count: int, draw: np.random.Generator) -> Cohort:
    """A table in which most rows coincide: five rare flags, an age class and a ward."""
    frame = pl.DataFrame({f"flag_{number}": draw.random(count) < 0.15 for number in range(5)})
    age = pl.Series("age", 10 * draw.integers(2, 9, count))
    return Cohort(FEW, frame.with_columns(age, ward=pl.Series(np.array(["a", "b", "c"])[draw.integers(0, 3, count)])))


def parts(cohort: Cohort, sizes: tuple[int, int, int, int]) -> list[Cohort]:
    """Train, holdout, reference and a fresh sample, in order."""
    ends = np.cumsum(sizes)
    return [replace(cohort, frame=cohort.frame[end - size : end]) for end, size in zip(ends.tolist(), sizes, strict=True)]


def fresh(seed: int, sizes: tuple[int, int, int] = (600, 200, 200), kind: str = "population") -> Evidence:
    """A synthetic table without any leak: real patients that are in no other part."""
    make = population if kind == "population" else coincident
    cohort = make(sum(sizes) + sizes[0], np.random.default_rng(seed))
    return Evidence(*parts(cohort, (*sizes, sizes[0])))


def memoriser(
    seed: int, share: float, sizes: tuple[int, int, int] = (600, 200, 200), jitter: float = 0.0, kind: str = "population"
) -> Evidence:
    """The fresh sample with `share` of the train patients copied into it, their numbers moved by `jitter` standard deviations."""
    evidence = fresh(seed, sizes, kind)
    draw = np.random.default_rng(seed + 10_000)
    count = round(share * sizes[0])
    copied = evidence.train.frame[draw.choice(sizes[0], count, replace=False)]
    if jitter:
        copied = copied.with_columns(pl.col(name) + jitter * copied[name].std() * pl.Series(draw.normal(size=count)) for name in NUMBERS)
    frame = pl.concat([evidence.synthetic.frame.head(sizes[0] - count), copied])
    return replace(evidence, synthetic=replace(evidence.synthetic, frame=frame))


def bootstrap(seed: int, sizes: tuple[int, int, int] = (600, 200, 200)) -> Evidence:
    """Train patients drawn with replacement: the whole training data given away."""
    evidence = fresh(seed, sizes)
    rows = np.random.default_rng(seed).integers(0, sizes[0], sizes[0])
    return replace(evidence, synthetic=replace(evidence.train, frame=evidence.train.frame[rows]))


def with_synthetic(evidence: Evidence, frame: pl.DataFrame) -> Evidence:
    return replace(evidence, synthetic=replace(evidence.synthetic, frame=frame))
