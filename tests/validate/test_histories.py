"""Linked tables as events: long ones, wide ones, grandchildren; and one row of figures a patient."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Column, Schema, Table
from proband.stats.sequences import SUMMARIES
from proband.validate.findings import Evidence
from proband.validate.histories import events, flattened, history_table, summarised
from tests.ward import ward

PATIENTS = Table(name="patients", key="id", columns=(Column(name="id", kind="identifier"), Column(name="age", kind="integer")))
VISITS = Table(
    name="visits",
    parent="patients",
    on="id",
    order=("day",),
    columns=(
        Column(name="id", kind="identifier"),
        Column(name="day", kind="integer"),
        Column(name="bilirubin", kind="number"),
        Column(name="edema", kind="category", categories=("no", "some", "much")),
    ),
)


@pytest.fixture
def visits() -> Cohort:
    frame = pl.DataFrame(
        {"id": ["b", "a", "a", "?"], "day": [0, 90, 0, 5], "bilirubin": [1.5, None, 0.5, 9.0], "edema": ["no", "much", "some", "no"]}
    )
    return Cohort(Schema(tables=(PATIENTS, VISITS)), pl.DataFrame({"id": ["a", "b", "c"], "age": [50, 60, 70]}), linked={"visits": frame})


def test_a_visit_is_an_event_for_every_cell_that_is_filled_and_strangers_are_left_out(visits: Cohort) -> None:
    found = events(visits)
    assert found.names == ("bilirubin", "edema") and found.patients == 3
    assert found.patient.tolist() == [0, 0, 0, 1, 1] and found.time.tolist() == [0, 0, 90, 0, 0]
    assert found.value.tolist() == [0.5, 1, 2, 1.5, 0]  # levels by their place
    assert found.moment.tolist() == [0, 0, 1, 2, 2]


def test_one_row_a_patient_keeps_levels_as_levels(visits: Cohort) -> None:
    frame = summarised(visits).frame
    assert frame["bilirubin count"].to_list() == [1, 1, 0] and frame["bilirubin last"].to_list() == [0.5, 1.5, None]
    assert frame["edema first"].to_list() == ["some", "no", None] and frame["edema last"].to_list() == ["much", "no", None]
    assert "edema mean" not in frame.columns and frame["age"].to_list() == [50, 60, 70]


def test_events_of_a_grandchild_belong_to_the_patient_and_dates_run_from_their_first() -> None:
    stays = Table(
        name="stays",
        key="stay",
        parent="patients",
        on="id",
        columns=(Column(name="stay", kind="identifier"), Column(name="id", kind="identifier")),
    )
    labs = Table(
        name="labs",
        parent="stays",
        on="stay",
        order=("at",),
        measures=("code", "value"),
        columns=(
            Column(name="stay", kind="identifier"),
            Column(name="at", kind="datetime"),
            Column(name="code", kind="category", categories=("Na", "K")),
            Column(name="value", kind="number"),
        ),
    )
    noon = dt.datetime(1899, 12, 31, 12)
    cohort = Cohort(
        Schema(tables=(PATIENTS, stays, labs)),
        pl.DataFrame({"id": ["a", "b"], "age": [50, 60]}),
        linked={
            "stays": pl.DataFrame({"stay": ["1", "2"], "id": ["b", "b"]}),
            "labs": pl.DataFrame(
                {
                    "stay": ["2", "1", "3"],
                    "at": [noon + dt.timedelta(hours=3), noon, noon],
                    "code": ["K", "Na", "K"],
                    "value": [4.1, 140.0, 9.0],
                }
            ).cast({"at": pl.Datetime("us")}),
        },
    )
    found = events(cohort)
    assert history_table(cohort.schema).name == "labs"
    assert found.patient.tolist() == [1, 1] and found.time.tolist() == [0, 3]
    assert found.variable.tolist() == [0, 1] and found.value.tolist() == [140.0, 4.1]


def test_a_clock_that_counts_from_each_stay_goes_on_from_stay_to_stay() -> None:
    """Patient a is in stay x, to minute 10, then in y, whose blood was drawn 5 minutes before it began; b is in z alone, at minute 7."""
    stays = Table(
        name="stays",
        key="stay",
        parent="patients",
        on="id",
        order=("admitted",),
        columns=(Column(name="stay", kind="identifier"), Column(name="id", kind="identifier"), Column(name="admitted", kind="date")),
    )
    labs = Table(
        name="labs",
        parent="stays",
        on="stay",
        order=("minute",),
        columns=(Column(name="stay", kind="identifier"), Column(name="minute", kind="integer"), Column(name="pulse", kind="number")),
    )
    days = [dt.date(2020, 2, 1), dt.date(2020, 1, 1), dt.date(2020, 1, 1)]
    linked = {
        "stays": pl.DataFrame({"stay": ["y", "x", "z"], "id": ["a", "a", "b"], "admitted": days}),
        "labs": pl.DataFrame({"stay": ["y", "x", "y", "x", "z"], "minute": [0, 0, -5, 10, 7], "pulse": [81.0, 70, 80, 71, 60]}),
    }
    found = events(Cohort(Schema(tables=(PATIENTS, stays, labs)), pl.DataFrame({"id": ["a", "b"], "age": [50, 60]}), linked=linked), "labs")
    assert found.value.tolist() == [70, 71, 80, 81, 60] and found.time.tolist() == [0, 10, 11, 16, 7]
    assert found.moment.tolist() == [0, 1, 2, 3, 4]


def test_flattened_evidence_has_the_columns_that_tell_something_in_the_training_patients() -> None:
    train = ward(60, 1)
    flat = flattened(Evidence(train, ward(30, 2), ward(30, 3), ward(40, 4)))
    names = flat.synthetic.frame.columns
    assert names[:3] == ["stay", "age", "died"] and "creatinine slope" in names and len(names) == 3 + 4 * 7
    assert flat.train.frame["pulse count"].to_list() == events(train).counts[:, 0].tolist()
    assert not np.isnan(flat.train.frame["creatinine mean"].drop_nulls().to_numpy()).any()


def test_of_many_variables_those_that_most_patients_have_are_kept_with_all_their_figures() -> None:
    """Fifty codes have 350 figures. Two patients have all fifty, the third has the last 42: their 294 figures are kept."""
    codes = tuple(f"code {at}" for at in range(50))
    labs = Table(
        name="labs",
        parent="patients",
        on="id",
        order=("day",),
        measures=("code", "value"),
        columns=(
            Column(name="id", kind="identifier"),
            Column(name="day", kind="integer"),
            Column(name="code", kind="category", categories=codes),
            Column(name="value", kind="number"),
        ),
    )
    rows = [(who, day, code, float(by * day)) for who, by, many in (("a", 1, 3), ("b", 2, 2)) for code in codes for day in (1, 2, 3)[:many]]
    rows += [("c", day, code, 9.0 - day) for code in codes[8:] for day in (2, 3)]
    frame = pl.DataFrame(rows, schema=["id", "day", "code", "value"], orient="row")
    people = pl.DataFrame({"id": ["a", "b", "c"], "age": [50, 60, 70]})
    train = Cohort(Schema(tables=(PATIENTS, labs)), people, linked={"labs": frame})
    flat = flattened(Evidence(train, train, train, train)).synthetic.frame
    assert flat.columns[2:] == [f"{code} {what}" for code in codes[8:] for what in SUMMARIES]
    assert flat["code 49 slope"].to_list() == [1, 2, -1]


def test_a_cohort_of_one_table_has_no_history() -> None:
    one = Cohort(Schema(tables=(PATIENTS,)), pl.DataFrame({"id": ["a"], "age": [50]}))
    with pytest.raises(InputError, match="no patient has a history"):
        events(one)
    assert flattened(Evidence(one, one, one, one)).train is one


def test_the_patients_own_table_is_no_history(visits: Cohort) -> None:
    with pytest.raises(InputError, match="holds the patients"):
        events(visits, "patients")
