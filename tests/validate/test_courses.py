"""The pictures of histories: drawn from plain data, with real patients in bands only, the same bytes each time."""

import json

import polars as pl
import pytest

from proband.validate import courses
from proband.validate.charts import charts_broken
from proband.validate.findings import Evidence
from proband.validate.page import page
from proband.validate.report import Report
from proband.validate.sequences import Histories, sequences
from proband.validate.sequences import courses as drawn
from tests.ward import ward, with_events


@pytest.fixture(scope="module")
def report() -> Report:
    """Synthetic patients with a diastolic pressure 60 too high."""
    higher = pl.when(pl.col("what") == "diastolic").then(pl.col("value") + 60).otherwise("value").alias("value")
    made = with_events(ward(60, 4), lambda rows: rows.with_columns(higher))
    evidence = Evidence(ward(60, 1), ward(60, 2), ward(60, 3), made)
    return Report((*sequences(evidence, seed=1), charts_broken(evidence)))


def test_the_page_has_every_picture_of_histories_and_survives_the_file(report: Report) -> None:
    text = page(report)
    for title in ("What follows what: real", "How often things happen", "One synthetic patient", ">pulse<", "diastolic &lt; systolic"):
        assert title in text, title
    assert "mathdefault" not in text  # ticks are words, not formulas
    assert json.loads(report.json())["proband_report"] == 1
    assert page(report) == text


def test_bands_are_of_ten_patients_at_least_and_single_courses_are_synthetic() -> None:
    made = ward(40, 4)
    few = Histories.of(Evidence(ward(40, 1), ward(4, 2), ward(4, 3), made))
    many = Histories.of(Evidence(ward(40, 1), ward(40, 2), ward(40, 3), made))
    assert drawn(few) == []  # nothing to draw of eight patients
    rarely = (pl.col("what") != "creatinine") | pl.col("stay").is_in([f"2-{at}" for at in range(5)])
    five = with_events(ward(40, 2), lambda rows: rows.filter(rarely))
    rare = drawn(Histories.of(Evidence(ward(40, 1), five, ward(4, 3), made)))  # creatinine of nine unseen patients at most
    assert len(courses.trajectories(rare)) == len(rare) == 3
    pulse = next(course for course in drawn(many) if course["name"] == "pulse")
    assert all(low <= middle <= high for low, middle, high in zip(*pulse["real"].values(), strict=True))
    own = made.linked["events"].filter(what="pulse")["value"].to_list()
    assert len(pulse["patients"]) == 4 and all(value in own for one in pulse["patients"] for value in one["value"])


@pytest.mark.parametrize(
    "plate",
    [
        lambda: courses.rates([{"name": "x", "real": 0.0, "synthetic": 1.0}]),
        lambda: courses.transitions({"names": ["x"], "real": [[1]], "synthetic": [[1]]}),
        lambda: courses.timeline({"names": ["x"], "time": [], "variable": [], "value": []}),
        lambda: courses.trajectories([{"name": "x", "time": [1, 2], "real": {"low": [1]}, "synthetic": {"low": [1]}, "patients": []}]),
    ],
)
def test_what_cannot_be_drawn_is_refused(plate: object) -> None:
    with pytest.raises((KeyError, ValueError)):
        plate()  # type: ignore[operator]
