"""Simulated patients with known dependence, and planted generators: tables with one fault each."""

from __future__ import annotations

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.schema import Column, Grid, Rule, Schema, Table

SCHEMA = Schema(
    tables=(
        Table(
            name="patients",
            columns=(
                Column(name="age", kind="integer", low=18, high=100),
                Column(name="sex", kind="category", categories=("F", "M")),
                Column(name="ward", kind="category", categories=("cardiology", "medicine", "surgery", "hospice")),
                Column(name="bmi", kind="number", low=10, high=70, grid=Grid(step=0.1, decimals=1)),
                Column(name="systolic", kind="integer", low=60, high=260),
                Column(name="diastolic", kind="integer", low=30, high=200),
                Column(name="creatinine", kind="number", low=0, high=30, grid=Grid(step=0.01, decimals=2)),
                Column(name="diabetes", kind="boolean"),
                Column(name="hba1c", kind="number", low=2, high=20, grid=Grid(step=0.1, decimals=1)),
                Column(name="rhythm", kind="category", categories=("sinus", "fibrillation", "flutter", "paced")),
                Column(name="death", kind="boolean"),
            ),
        ),
    ),
    rules=(Rule(sql="diastolic <= systolic"),),
)


def draw(n: int, seed: int) -> pl.DataFrame:
    """`n` patients: everything depends on age and diabetes, HbA1c is measured in most diabetics and few others."""
    rng = np.random.default_rng(seed)
    age = np.clip(rng.normal(62, 16, n), 18, 100).round()
    male = rng.random(n) < 0.55
    bmi = np.clip(27 + 4 * rng.normal(size=n) - 0.03 * (age - 62), 14, 60).round(1)
    diabetes = rng.random(n) < 1 / (1 + np.exp(-(-1.6 + 0.16 * (bmi - 27) + 0.02 * (age - 62))))
    systolic = np.clip(118 + 0.45 * (age - 50) + 8 * diabetes + 14 * rng.normal(size=n), 70, 250).round()
    diastolic = np.minimum(np.clip(0.55 * systolic + 10 + 6 * rng.normal(size=n), 35, 190).round(), systolic)
    creatinine = np.clip(np.exp(-0.15 + 0.006 * (age - 62) + 0.25 * male + 0.25 * diabetes + 0.3 * rng.normal(size=n)), 0.2, 20).round(2)
    hba1c = np.clip(5.4 + 2.0 * diabetes + 0.5 * rng.normal(size=n), 4, 15).round(1)
    measured = rng.random(n) < np.where(diabetes, 0.9, 0.25)
    ward = np.array(["cardiology", "medicine", "surgery", "hospice"])[
        (rng.random(n)[:, None] > np.cumsum(np.column_stack([np.full(n, 0.3), np.full(n, 0.38), np.full(n, 0.24)]), 1)).sum(1)
    ]
    rhythm = np.array(["sinus", "fibrillation", "flutter", "paced"])[np.digitize(rng.random(n) + 0.004 * (age - 62), [0.9, 0.985, 1.02])]
    risk = -1.7 + 0.06 * (age - 62) + 0.8 * diabetes + 0.9 * np.log(creatinine) + 1.2 * (ward == "hospice") + 0.6 * (rhythm != "sinus")
    death = rng.random(n) < 1 / (1 + np.exp(-risk))
    return pl.DataFrame(
        {
            "age": age.astype(int),
            "sex": np.where(male, "M", "F"),
            "ward": ward,
            "bmi": bmi,
            "systolic": systolic.astype(int),
            "diastolic": diastolic.astype(int),
            "creatinine": creatinine,
            "diabetes": diabetes,
            "hba1c": pl.Series(hba1c).to_frame("x").select(pl.when(pl.Series(measured)).then("x")).to_series(),
            "rhythm": rhythm,
            "death": death,
        }
    )


def cohort(frame: pl.DataFrame) -> Cohort:
    return Cohort(SCHEMA, frame)


# Planted generators: each takes the training frame and gives a table of `n` rows with one fault.


def fresh(train: pl.DataFrame, n: int) -> pl.DataFrame:
    """Other patients of the same population: no fault."""
    return draw(n, seed=77)


def independent(train: pl.DataFrame, n: int) -> pl.DataFrame:
    """Every column right, and nothing depends on anything."""
    rng = np.random.default_rng(5)
    return pl.DataFrame([train[name].gather(rng.integers(train.height, size=n)) for name in train.columns])


def constant(train: pl.DataFrame, n: int) -> pl.DataFrame:
    """One patient, over and over."""
    return pl.concat([draw(1, seed=3)] * n)


def collapsed(train: pl.DataFrame, n: int) -> pl.DataFrame:
    """Twenty patients, over and over."""
    return draw(20, seed=8).sample(n, with_replacement=True, seed=1)


def majority(train: pl.DataFrame, n: int) -> pl.DataFrame:
    """Only the most frequent kind of patient: no diabetes, sinus rhythm."""
    frame = draw(4 * n, seed=9)
    return frame.filter(~pl.col("diabetes") & (pl.col("rhythm") == "sinus")).head(n)


def flipped(train: pl.DataFrame, n: int) -> pl.DataFrame:
    """Right but for the outcome, which is upside down."""
    return draw(n, seed=10).with_columns(~pl.col("death"))


def dropped(train: pl.DataFrame, n: int) -> pl.DataFrame:
    """Nobody from the hospice, 8 % of the patients."""
    return draw(2 * n, seed=11).filter(pl.col("ward") != "hospice").head(n)


def imputed(train: pl.DataFrame, n: int) -> pl.DataFrame:
    """Missing values filled in."""
    return draw(n, seed=12).with_columns(pl.col("hba1c").fill_null(5.4))


def clipped(train: pl.DataFrame, n: int) -> pl.DataFrame:
    """No extremes: every number held within its 2nd and 98th percentile."""
    frame = draw(n, seed=13)
    numbers = [name for name, kind in frame.schema.items() if kind.is_numeric()]
    return frame.with_columns(
        pl.col(name).clip(pl.lit(train[name].quantile(0.02)), pl.lit(train[name].quantile(0.98))).cast(frame.schema[name])
        for name in numbers
    )


def without_rare(train: pl.DataFrame, n: int) -> pl.DataFrame:
    """Rare levels became the common one."""
    return draw(n, seed=14).with_columns(
        rhythm=pl.when(pl.col("rhythm").is_in(["flutter", "paced"])).then(pl.lit("sinus")).otherwise("rhythm")
    )


def rounded(train: pl.DataFrame, n: int) -> pl.DataFrame:
    """Numbers off the grid on which real ones were recorded."""
    rng = np.random.default_rng(15)
    return draw(n, seed=15).with_columns(bmi=pl.col("bmi") + pl.Series(rng.uniform(0.01, 0.04, n)))


def rule_breaking(train: pl.DataFrame, n: int) -> pl.DataFrame:
    """Diastolic and systolic pressure exchanged in one patient of fifty."""
    frame = draw(n, seed=16).with_row_index("row")
    swap = pl.col("row") % 50 == 0
    return frame.with_columns(
        systolic=pl.when(swap).then("diastolic").otherwise("systolic"), diastolic=pl.when(swap).then("systolic").otherwise("diastolic")
    ).drop("row")
