"""What stands beside code and value: units follow the code, flags come as often as they did, delays stay delays."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from proband.encode.beside import Beside
from proband.schema import Column, Table

TABLE = Table(
    name="labs",
    parent="patients",
    on="pid",
    order=("taken",),
    measures=("code", "value"),
    columns=(
        Column(name="pid", kind="identifier"),
        Column(name="taken", kind="datetime"),
        Column(name="code", kind="category", categories=("Na", "rhythm")),
        Column(name="value", kind="number"),
        Column(name="said", kind="category", categories=("140", "141", "sinus", "paced", "mine alone")),
        Column(name="unit", kind="category", categories=("mmol/L",)),
        Column(name="stored", kind="datetime"),
    ),
)


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """Sodium has a value, said again as text, and a unit; rhythms have words only. All are stored within the hour."""
    rng, begin, found = np.random.default_rng(0), datetime(2100, 1, 1), []
    for patient in range(40):
        for k in range(5):
            taken = begin + timedelta(hours=patient + k)
            late = taken + timedelta(minutes=int(rng.integers(1, 60)))
            sodium = float(140 + rng.integers(2))
            found.append((f"p{patient}", taken, "Na", sodium, f"{sodium:g}", "mmol/L", late))
            word = "mine alone" if (patient, k) == (0, 0) else "sinus" if rng.random() < 0.8 else "paced"
            found.append((f"p{patient}", taken, "rhythm", None, word, None, late))
    return pl.DataFrame(found, {c.name: c.dtype for c in TABLE.columns}, orient="row")


def drawn(beside: Beside, frame: pl.DataFrame) -> pl.DataFrame:
    return beside.draw(frame.select("pid", "taken", "code", "value"), np.random.default_rng(1))


def test_what_stands_beside_follows_the_code(frame: pl.DataFrame) -> None:
    patients = frame["pid"].rank("dense").to_numpy()
    beside = Beside.learn(TABLE, frame, patients)
    assert beside is not None and beside.copies == ("said",)
    made = drawn(beside, frame)
    sodium, rhythm = (made.filter(pl.col("code") == code) for code in ("Na", "rhythm"))
    assert (sodium["unit"] == "mmol/L").all() and rhythm["unit"].null_count() == rhythm.height
    assert (sodium["said"].cast(pl.Float64) == sodium["value"]).all()
    assert set(rhythm["said"].drop_nulls()) == {"sinus", "paced"}  # what one patient alone said is not told
    assert 0.7 < (rhythm["said"] == "sinus").mean() < 0.9
    late = (made["stored"] - made["taken"]).dt.total_minutes()
    assert late.is_between(1, 60).all() and late.n_unique() > 20
    config, arrays = beside.state()
    assert drawn(Beside.restored(TABLE, config, arrays), frame).equals(made)


def test_a_text_that_says_the_value_says_no_word_that_the_schema_does_not_know(frame: pl.DataFrame) -> None:
    words = TABLE["said"].model_copy(update={"categories": ("140.0", "sinus", "paced", "mine alone")})
    table = TABLE.model_copy(update={"columns": tuple(words if c.name == "said" else c for c in TABLE.columns)})
    beside = Beside.learn(TABLE, frame, frame["pid"].rank("dense").to_numpy())
    assert beside is not None
    made = drawn(replace(beside, table=table), frame).filter(pl.col("code") == "Na")
    assert set(made.filter(pl.col("value") == 140)["said"]) == {"140.0"} and set(made.filter(pl.col("value") == 141)["said"]) == {None}


def test_a_table_of_code_and_value_alone_has_nothing_beside() -> None:
    bare = TABLE.model_copy(update={"columns": TABLE.columns[:4]})
    frame = pl.DataFrame({"pid": ["p"], "taken": [datetime(2100, 1, 1)], "code": ["Na"], "value": [140.0]})
    assert Beside.learn(bare, frame, np.zeros(1, int)) is None
