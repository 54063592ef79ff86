"""Rows that name a stay are told as the stay's own, and lie in it; what lasts ends with its owner, or as little later as it really does."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema.integrity import strays, unowned
from proband.schema.model import Column, Link, Table
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
    real = ward(60)
    told = nearer.told(real)
    assert [(table.name, table.parent, table.on) for table in told.children] == [
        ("stays", "patients", "pid"), ("labs", "stays", "stay"), ("labs (alone)", "patients", "pid"),
    ]  # fmt: skip
    parts = nearer.divided(real, told)
    assert parts.linked["labs"].height == 240 and parts.linked["labs (alone)"].height == 20
    frames = {table.name: frame for table, frame in parts.tables}
    assert nearer.joined(SCHEMA, told, frames)["labs"].equals(real.linked["labs"])
    few = nearer.told(ward(60, alone=4))  # 15 rows name none
    assert [table.name for table in few.children] == ["stays", "labs"] and nearer.divided(ward(60, alone=4), few).linked[
        "labs"
    ].height == 240


def test_what_is_no_stay_stays_a_link() -> None:
    assert nearer.told(ward(4)) == SCHEMA  # fewer than 20 rows name one
    real = ward(60)
    undated = SCHEMA.model_copy(update={"tables": (SCHEMA.tables[0], SCHEMA["stays"].model_copy(update={"order": ()}), SCHEMA["labs"])})
    assert nearer.told(replace(real, schema=undated)) == undated
    twice = {**real.linked, "stays": pl.concat([real.linked["stays"], real.linked["stays"][:1]])}
    assert nearer.told(replace(real, linked=twice)) == SCHEMA
    taken = SCHEMA["labs"].model_copy(update={"name": "labs (alone)", "links": ()})
    named = replace(
        real,
        schema=SCHEMA.model_copy(update={"tables": (*SCHEMA.tables, taken)}),
        linked={**real.linked, "labs (alone)": real.linked["labs"]},
    )
    with pytest.raises(InputError, match=r"Table 'labs \(alone\)': the name is needed for rows of 'labs'"):
        nearer.told(named)


def test_the_link_that_leads_furthest_down_is_the_owner() -> None:
    """Beds are within stays, and every lab names both."""
    real = ward(30, alone=0)
    beds = real.linked["stays"].select(pl.col("stay").alias("bed"), "stay", "intime", "outtime")
    columns = (
        *(Column(name=name, kind="identifier") for name in ("bed", "stay")),
        *(Column(name=n, kind="datetime") for n in ("intime", "outtime")),
    )
    bed = Table(name="beds", key="bed", parent="stays", on="stay", order=("intime",), columns=columns)
    labs = SCHEMA["labs"].model_copy(
        update={"columns": (*SCHEMA["labs"].columns, columns[0]), "links": (*SCHEMA["labs"].links, Link(column="bed", table="beds"))}
    )
    schema = SCHEMA.model_copy(update={"tables": (*SCHEMA.tables[:2], bed, labs)})
    held = {**real.linked, "beds": beds, "labs": real.linked["labs"].with_columns(bed="stay")}
    told = nearer.told(Cohort(schema, real.frame, linked={name: held[name] for name in ("stays", "beds", "labs")}))
    assert (told["labs"].parent, told["labs"].on) == ("beds", "bed")
    assert [link.column for link in told["labs"].links] == ["stay", "pid"]


def test_another_patients_stay_is_no_nearer_row() -> None:
    real = ward(30, alone=0)
    swapped = real.linked["labs"].with_columns(pid=pl.col("pid").replace({f"{at}": f"{at + 5}" for at in range(5)}))
    parts = nearer.divided(mixed := Cohort(SCHEMA, real.frame, linked={**real.linked, "labs": swapped}), nearer.told(mixed))
    assert parts.linked["labs (alone)"].height == 20 and parts.linked["labs (alone)"]["stay"].null_count() == 20


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


def test_futures_go_on_in_new_stays_and_leave_what_is_known(fitted: SequenceGAN, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ward(90)
    begun = pl.col("intime") < datetime(2020, 2, 1)
    stays = real.linked["stays"].filter(begun)
    named = pl.col("stay").is_null() | pl.col("stay").is_in(stays["stay"].implode())
    labs = real.linked["labs"].filter(named).with_columns(stay=pl.col("stay").replace({"0": "2"}))  # another patient's: known all the same
    past = Cohort(SCHEMA, real.frame, linked={"stays": stays, "labs": labs})
    (one,) = fitted.futures(past, 1, seed=0)
    assert one.linked["labs"][: labs.height].equals(labs) and one.linked["stays"][: stays.height].equals(stays)
    new, later = one.linked["labs"][labs.height :], one.linked["stays"][stays.height :]
    assert later.height > 30 and new["stay"].is_in(later["stay"].implode()).sum() > 30
    assert not new["stay"].is_in(stays["stay"].implode()).any(), "the stays that are known are over"
    assert new["stay"].drop_nulls().is_in(later["stay"].implode()).all()
    (two,) = fitted.futures(one, 1, seed=1)  # whose new stays bear other keys
    assert not two.linked["stays"]["stay"].is_duplicated().any() and two.linked["stays"].height >= one.linked["stays"].height
    nobody = np.full(90, linked.physical(pl.Series([datetime(2250, 1, 1)]), SCHEMA["stays"]["intime"], "datetime")[0])
    monkeypatch.setattr("proband.synthesizers.linked.last_known", lambda *_: nobody)
    (late,) = fitted.futures(past, 1, seed=0)
    assert all(late.linked[name].height == past.linked[name].height for name in past.linked), "nothing comes before what is known"


def test_what_is_over_gets_no_more() -> None:
    real = ward(2)
    frames = {table.name: frame for table, frame in real.tables}
    below = SCHEMA["labs"].model_copy(update={"parent": "stays", "on": "stay", "links": ()})
    schema = SCHEMA.model_copy(update={"tables": (*SCHEMA.tables[:2], below)})
    now = linked.last_known(schema, frames | {"labs": frames["labs"].filter(pl.col("stay").is_not_null())})
    first, second = (linked.physical(pl.Series([t]), SCHEMA["stays"]["intime"], "datetime")[0] for t in (
        datetime(2020, 2, 1, 2), datetime(2020, 2, 2, 4)))  # fmt: skip
    assert now.tolist() == [first, second]  # two hours after the later stay began for the first patient, three for the second
    assert linked.over(schema, frames, below, now).to_list() == ["0", "2"]
    assert linked.over(schema, frames, schema["stays"], now).is_empty()
    untimed = below.model_copy(update={"order": ()})
    assert linked.over(schema, frames, untimed, now).to_list() == ["0", "1", "2", "3"]


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


def test_days_in_the_study_end_what_is_counted_in_days() -> None:
    day, rng = Column(name="day", kind="integer"), np.random.default_rng(0)
    columns = Table(
        name="p",
        columns=(
            Column(name="followed", kind="integer"),
            Column(name="income", kind="number"),
            Column(name="kg", kind="integer", unit="kg"),
        ),
    )
    followed = rng.integers(100, 400, 60)
    context = pl.DataFrame({"followed": followed, "income": np.full(60, 3e4), "kg": followed})
    owner = np.repeat(np.arange(60), 3)
    days = (followed[owner] * rng.random(180) * 0.9).round()
    # nobody lives as many days as the income says, by chance either; and kilograms are no days
    assert linked.ends(context, columns, owner, days, day) == {"followed": 0.0}
    days[7] = followed[owner[7]] + 1
    assert linked.ends(context, columns, owner, days, day) == {}


def test_a_stay_that_would_last_too_long_changes_places_with_a_shorter_one() -> None:
    columns = Table(name="p", columns=(Column(name="died", kind="datetime"),))
    table = SCHEMA["stays"].model_copy(update={"columns": (*SCHEMA["stays"].columns, Column(name="days", kind="integer"))})
    begun, days = [datetime(2020, 1, 1)] * 3, pl.Series("days", [30, 1, 4])
    ends = [datetime(2020, 1, 1) + day * 24 * HOUR for day in days]
    rows = pl.DataFrame([pl.Series("pid", ["a", "b", "c"]), pl.Series("intime", begun), pl.Series("outtime", ends), days])

    def within(*died: datetime | None) -> pl.DataFrame:
        context = pl.DataFrame({"died": pl.Series(died, dtype=pl.Datetime("us"))})
        made = linked.within(rows, np.arange(3), context, columns, table, {"outtime": {"died": 0.0}}, np.random.default_rng(0))
        known = made.join(pl.DataFrame({"pid": ["a", "b", "c"], "died": context["died"]}), on="pid")
        assert not (known["outtime"] > known["died"]).any()
        return made

    assert within(None, None, None).equals(rows)
    swapped = within(datetime(2020, 1, 6), datetime(2020, 1, 2), None)
    assert swapped["days"].to_list() == [4, 1, 30]
    assert swapped["outtime"].to_list() == [datetime(2020, 1, 5), datetime(2020, 1, 2), datetime(2020, 1, 31)]  # it goes with the days
    assert within(datetime(2020, 1, 3), datetime(2020, 1, 2), None)["days"].to_list() == [1, 1, 4]  # there is no place for 30 days
    soon = datetime(2020, 1, 1, 1)
    assert set(within(soon, soon, soon)["outtime"]) == {soon}  # nobody has room: they end with their owner
    assert within(*[datetime(2019, 1, 1)] * 3).is_empty()  # who is dead has no stay
