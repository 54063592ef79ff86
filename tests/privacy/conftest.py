"""The patients on whom private fits are audited."""

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.schema import Column, Schema, Table


@pytest.fixture(scope="session")
def clinic() -> Cohort:
    """200 patients, some with several visits; one is far older than all, and one alone has the diagnosis C."""
    rng = np.random.default_rng(0)
    whose = np.sort(rng.integers(0, 200, 320))
    age = np.round(rng.normal(60, 10, 320))
    age[100] = 119
    diagnosis = rng.choice(["A", "B"], 320)
    diagnosis[whose == whose[50]] = "C"
    lactate = np.round(np.exp(rng.normal(0.5, 0.4, 320)) + (diagnosis == "B"), 1)
    frame = pl.DataFrame(
        {
            "patient": [f"P{number}" for number in whose],
            "age": age,
            "diagnosis": diagnosis,
            "lactate": pl.Series(lactate).set(pl.Series(rng.random(320) < 0.2), None),
            "died": rng.random(320) < 0.3,
        }
    )
    columns = (
        Column(name="patient", kind="identifier"),
        Column(name="age", kind="integer", low=0, high=120),
        Column(name="diagnosis", kind="category", categories=("A", "B", "C", "D", "E")),
        Column(name="lactate", kind="number", low=0, grid={"step": 0.1, "decimals": 1}),  # type: ignore[arg-type]
        Column(name="died", kind="boolean"),
    )
    schema = Schema(public=True, tables=(Table(name="visits", columns=columns, key="patient"),))
    return Cohort(schema, frame.cast({c.name: c.dtype for c in columns}))  # type: ignore[arg-type]
