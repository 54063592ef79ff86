"""A ward whose rare event a reader can work out: what these tests learn from."""

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.schema import Column, Rule, Schema, Table

COLUMNS = (
    Column(name="id", kind="identifier"),
    Column(name="age", kind="integer", low=20, high=95),
    Column(name="sex", kind="category", categories=("F", "M")),
    Column(name="lactate", kind="number", low=0),
    Column(name="unit", kind="category", categories=("north", "south")),
    Column(name="died", kind="boolean", spelling=("no", "yes"), stored="String"),
    Column(name="alive", kind="boolean"),
)
SCHEMA = Schema(tables=(Table(name="ward", columns=COLUMNS, key="id"),), rules=(Rule(sql="alive = NOT died"),))


def ward(patients: int, *, seed: int = 0, schema: Schema = SCHEMA) -> Cohort:
    """One row a patient; one in five dies: the old, and those of high lactate, which is missing in one of five. The rest is noise."""
    rng = np.random.default_rng(seed)
    age = rng.integers(20, 96, patients)
    lactate = np.round(rng.lognormal(0.5, 0.5, patients), 1)
    died = rng.random(patients) < 1 / (1 + np.exp(-(age - 80) / 8 - 2 * (lactate - 2)))
    frame = pl.DataFrame(
        {
            "id": [f"P{seed}-{row}" for row in range(patients)],
            "age": age,
            "sex": rng.choice(["F", "M"], patients),
            "lactate": pl.Series(lactate).set(pl.Series(rng.random(patients) < 0.2), None),
            "unit": rng.choice(["north", "south"], patients),
            "died": died,
            "alive": ~died,
        }
    )
    return Cohort(schema, frame.cast({column.name: column.dtype for column in COLUMNS}))  # type: ignore[arg-type]
