"""A small hospital with everything that makes tables hard: what these tests learn from."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.schema import Column, Grid, Rule, Schema, Table

RULES = (
    "diastolic <= systolic",
    "admitted <= discharged",
    "creatinine_measured = (creatinine IS NOT NULL)",
    "pulse_pressure = systolic - diastolic",
    "NOT (pregnant AND sex = 'M')",
    "age < 90 OR sex = 'F'",
)


def hospital(patients: int = 300, seed: int = 0) -> Cohort:
    """One row a patient: kinds, missing values, ordered pairs, derived columns, an impossible combination, a level nobody has."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["F", "M"], patients)
    age = np.where(sex == "M", rng.integers(18, 90, patients), rng.integers(18, 96, patients))
    systolic = np.round(105 + 0.4 * age + rng.normal(0, 10, patients))
    diastolic = np.minimum(systolic, np.round(systolic * 0.6 + rng.normal(0, 8, patients)))
    admitted = [dt.date(2020, 1, 1) + dt.timedelta(int(day)) for day in rng.integers(0, 700, patients)]
    creatinine = pl.Series(np.round(rng.lognormal(0.01 * (age - 50), 0.3), 2)).set(pl.Series(rng.random(patients) < 0.3), None)
    frame = pl.DataFrame(
        {
            "id": [f"P{row}" for row in range(patients)],
            "age": age,
            "sex": sex,
            "systolic": systolic,
            "diastolic": diastolic,
            "pulse_pressure": systolic - diastolic,
            "creatinine": creatinine,
            "creatinine_measured": creatinine.is_not_null(),
            "pregnant": (rng.random(patients) < 0.2) & (sex == "F"),
            "admitted": admitted,
            "discharged": [day + dt.timedelta(int(stay)) for day, stay in zip(admitted, rng.poisson(5, patients), strict=True)],
            "seen": [
                dt.datetime.combine(day, dt.time(8)) + dt.timedelta(minutes=int(m))
                for day, m in zip(admitted, rng.integers(0, 600, patients), strict=True)
            ],
            "empty": pl.Series([None] * patients, dtype=pl.Float64),
        }
    )
    columns = (
        Column(name="id", kind="identifier"),
        Column(name="age", kind="integer", low=18, high=110),
        Column(name="sex", kind="category", categories=("F", "M", "X")),
        Column(name="systolic", kind="number", low=0),
        Column(name="diastolic", kind="number", low=0),
        Column(name="pulse_pressure", kind="number", low=0),
        Column(name="creatinine", kind="number", low=0, grid=Grid(step=0.01, decimals=2)),
        Column(name="creatinine_measured", kind="boolean"),
        Column(name="pregnant", kind="boolean"),
        Column(name="admitted", kind="date"),
        Column(name="discharged", kind="date"),
        Column(name="seen", kind="datetime"),
        Column(name="empty", kind="number"),
    )
    schema = Schema(tables=(Table(name="patients", columns=columns, key="id"),), rules=tuple(Rule(sql=text) for text in RULES))
    return Cohort(schema, frame.cast({column.name: column.dtype for column in columns}))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def cohort() -> Cohort:
    """300 patients of the hospital."""
    return hospital()
