"""Rows that name a stay are told as the stay's own, and lie in it; what lasts ends with its owner, or as little later as it really does."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema.integrity import strays, unowned
from proband.schema.model import Column, Table
from proband.synthesizers import linked, nearer
from proband.synthesizers.sequences import SequenceGAN
from tests.linked import SCHEMA

HOUR = timedelta(hours=1)


def ward(patients: int, *, alone: int = 3) -> Cohort:
    """Every patient has two stays of ten hours, a month apart, two labs in each; one of every `alone` patients another between them."""
    stays, labs = [], []
    for at in range(patients):
        for turn in range(2):
            begun = datetime(2020, 1 + turn, 1 + at % 28, at % 24)
            stays.append((f"{2 * at + turn}", f"{at}", begun, begun + 10 * HOUR))
            labs += [(f"{at}", f"{2 * at + turn}", begun + hours * HOUR, "K", 4.0 + turn) for hours in (1, 2 + at % 6)]
            if alone and turn == 0 and at % alone == 0:
                labs.append((f"{at}", None, begun + timedelta(days=5), "Na", 140.0))
    patient = pl.DataFrame({"pid": [f"{at}" for at in range(patients)], "age": [30 + at % 50 for at in range(patients)]})
    frames = {
        name: pl.DataFrame(rows, {column.name: column.dtype for column in SCHEMA[name].columns}, orient="row")
        for name, rows in (("stays", stays), ("labs", labs))
    }
    return Cohort(SCHEMA, patient.cast({"age": pl.Int64}), linked=frames)


def test_a_table_is_told_as_two_and_comes_back() -> None:
    real = ward(30)
    told = nearer.told(real)
    assert [(table.name, table.parent, table.on) for table in told.children] == [
        ("stays", "patients", "pid"), ("labs", "stays", "stay"), ("labs (alone)", "patients", "pid"),
    ]  # fmt: skip
    parts = nearer.divided(real, told)
    assert parts.linked["labs"].height == 120 and parts.linked["labs (alone)"].height == 10
    frames = {table.name: frame for table, frame in parts.tables}
    assert nearer.joined(SCHEMA, told, frames)["labs"].equals(real.linked["labs"])
    everybody_in = nearer.told(ward(30, alone=0))
    assert [table.name for table in everybody_in.children] == ["stays", "labs"]
    with pytest.raises(InputError, match=r"Table 'labs', column 'stay': 10 rows name no row of 'stays' that has the same pid"):
        nearer.divided(real, everybody_in)
    assert nearer.told(ward(4)) == SCHEMA  # below 20 rows nothing is believed


def test_another_patients_stay_is_no_nearer_row() -> None:
    real = ward(30, alone=0)
    swapped = real.linked["labs"].with_columns(pid=pl.col("pid").replace({"0": "1"}))
    parts = nearer.divided(mixed := Cohort(SCHEMA, real.frame, linked={**real.linked, "labs": swapped}), nearer.told(mixed))
    assert parts.linked["labs (alone)"].height == 4 and parts.linked["labs (alone)"]["stay"].null_count() == 4


@pytest.fixture(scope="module")
def fitted() -> SequenceGAN:
    return SequenceGAN(minutes=0.1, select=False).fit(ward(90), seed=0)


def test_what_names_a_stay_lies_in_it(fitted: SequenceGAN, tmp_path) -> None:
    made = fitted.sample(90, seed=1)
    assert made.schema == SCHEMA
    frames = {table.name: frame for table, frame in made.tables}
    assert unowned(SCHEMA, frames) == []
    assert [one.message for one in strays(SCHEMA, frames) if "twice" not in one.message] == []
    labs = made.linked["labs"]
    assert 0.02 < labs["stay"].is_null().mean() < 0.2 and labs.filter(pl.col("stay").is_null())["test"].unique().to_list() == ["Na"]
    fitted.save(tmp_path / "model")
    assert SequenceGAN.load(tmp_path / "model").sample(90, seed=1).fingerprint == made.fingerprint


def test_futures_go_on_in_new_stays_and_never_before_what_is_known(fitted: SequenceGAN) -> None:
    real = ward(90)
    begun = pl.col("intime") < datetime(2020, 2, 1)
    stays = real.linked["stays"].filter(begun)
    labs = real.linked["labs"].filter(pl.col("stay").is_null() | pl.col("stay").is_in(stays["stay"].implode()))
    past = Cohort(SCHEMA, real.frame, linked={"stays": stays, "labs": labs})
    known = {pid: last for pid, last in labs.group_by("pid").agg(pl.col("time").max()).rows()}
    ahead = fitted.futures(past, 2, seed=0)
    for one in ahead:
        new = one.linked["labs"].join(labs, on=["pid", "time", "test"], how="anti")
        assert new.height and all(time >= known[pid] for pid, time in new.select("pid", "time").rows())
        later = one.linked["stays"].filter(~pl.col("stay").is_in(stays["stay"].implode()))
        assert later.height > 30 and new["stay"].drop_nulls().is_in(one.linked["stays"]["stay"].implode()).all()
        assert new["stay"].is_in(later["stay"].implode()).sum() > 30
        assert labs.join(one.linked["labs"], on=labs.columns, how="anti", nulls_equal=True).is_empty()


def test_an_end_is_what_half_of_the_rows_do_not_come_after() -> None:
    columns = Table(name="s", columns=(Column(name="born", kind="date"), Column(name="out", kind="datetime")))
    out = [datetime(2020, 1, 1, hour % 24) for hour in range(200)]
    context = pl.DataFrame({"born": [datetime(1950, 1, 1).date()] * 200, "out": out})
    late = np.r_[np.full(150, -5.0), np.full(48, 2.0), 90.0, 900.0]  # hours; the last two are the mistakes of 1 %
    times = linked.physical(context["out"], columns["out"], "datetime") + late * 3600e6
    found = linked.ends(context, columns, np.arange(200), times, Column(name="time", kind="datetime"))
    assert found == {"out": 2 * 3600e6}
    last = linked.until(context, columns, found, Column(name="time", kind="datetime"))
    assert last[0] == linked.physical(pl.Series([datetime(2020, 1, 1, 2)]), columns["out"], "datetime")[0]


def test_a_stay_that_would_last_too_long_is_told_like_a_shorter_one() -> None:
    columns = Table(name="p", columns=(Column(name="died", kind="datetime"),))
    table = SCHEMA["stays"].model_copy(update={"columns": (*SCHEMA["stays"].columns, Column(name="days", kind="integer"))})
    context = pl.DataFrame({"died": [datetime(2020, 1, 11), datetime(2020, 1, 2), None]})
    begun = [datetime(2020, 1, 1)] * 3
    rows = pl.DataFrame(
        {"pid": ["a", "b", "c"], "intime": begun, "outtime": [b + d * 24 * HOUR for b, d in zip(begun, (30, 1, 4), strict=True)]}
    )
    rows = rows.with_columns(days=pl.Series([30, 1, 4]))
    ends = {"outtime": {"died": 0.0}}
    made = linked.within(rows, np.arange(3), context, columns, table, ends, np.random.default_rng(0))
    assert made["pid"].to_list() == ["a", "b", "c"] and made[1:].equals(rows[1:])
    assert made["days"][0] in (1, 4) and made["outtime"][0] == begun[0] + made["days"][0] * 24 * HOUR  # the length goes with the days
    context = context.with_columns(died=pl.lit(datetime(2020, 1, 1, 1)))
    assert linked.within(rows, np.arange(3), context, columns, table, ends, np.random.default_rng(0)).is_empty()  # nobody fits
