"""Patients over three linked tables, small enough to follow by eye."""

import polars as pl

from proband.cohort import Cohort, Mark
from proband.schema import Column, Schema, Table
from proband.schema.model import Link

ID = {"kind": "identifier", "stored": "Int64"}
SCHEMA = Schema(
    tables=(
        Table(name="patients", key="pid", columns=(Column(name="pid", **ID), Column(name="age", kind="integer", stored="Int64"))),
        Table(
            name="stays",
            key="stay",
            parent="patients",
            on="pid",
            order=("intime",),
            columns=(
                Column(name="stay", **ID),
                Column(name="pid", **ID),
                Column(name="intime", kind="datetime", layout="%Y-%m-%d %H:%M"),
                Column(name="outtime", kind="datetime", layout="%Y-%m-%d %H:%M"),
            ),
        ),
        Table(
            name="labs",
            parent="patients",
            on="pid",
            order=("time",),
            links=(Link(column="stay", table="stays"),),
            measures=("test", "value"),
            variables=(Column(name="K", kind="number", low=1.5, high=9.0), Column(name="Na", kind="integer", low=100.0)),
            columns=(
                Column(name="pid", **ID),
                Column(name="stay", **ID),
                Column(name="time", kind="datetime", layout="%Y-%m-%d %H:%M"),
                Column(name="test", kind="category", categories=("K", "Na")),
                Column(name="value", kind="number", stored="Float64"),
            ),
        ),
    )
)
MARK = Mark(synthesizer="bootstrap", version="0.1.0", seed=7, schema_hash=SCHEMA.hash, details={"warning": "copies"})


def frames() -> dict[str, pl.DataFrame]:
    """Patient 1 has two stays, 2 one, 3 none; labs within a stay, but for one of patient 3, who has no stay."""
    return {
        "patients": pl.DataFrame({"pid": [1, 2, 3], "age": [71, 43, 60]}),
        "stays": pl.DataFrame(
            {
                "stay": [10, 11, 20],
                "pid": [1, 1, 2],
                "intime": ["2020-01-01 08:00", "2020-03-01 08:00", "2021-05-05 12:00"],
                "outtime": ["2020-01-03 08:00", "2020-03-02 08:00", None],
            }
        ),
        "labs": pl.DataFrame(
            {
                "pid": [1, 1, 1, 2, 3],
                "stay": [10, 10, 11, 20, None],
                "time": ["2020-01-01 09:00", "2020-01-01 09:00", "2020-03-01 09:00", "2021-05-06 00:00", "1899-12-31 23:59"],
                "test": ["K", "Na", "K", "Na", "K"],
                "value": [4.1, 139.0, 3.9, 141.0, None],
            }
        ),
    }


def cohort(mark: Mark | None = None) -> Cohort:
    """The patients above, read."""
    from dataclasses import replace

    import proband

    return replace(proband.read(frames(), SCHEMA), mark=mark)
