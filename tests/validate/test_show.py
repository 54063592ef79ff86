"""One patient as a picture: what is drawn where, what is said, and that nobody else is in it."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import proband
from proband.cohort import Cohort, Mark
from proband.errors import InputError
from proband.schema import Column, Schema, Table
from proband.validate.show import save, show
from proband.validate.timeline import COLOURS, Axis
from tests.linked import MARK, cohort
from tests.ward import ward


def words(made: Cohort, patient: object) -> list[str]:
    """Every word of the picture, from the top."""
    texts = [text for axes in show(made, patient).axes for text in axes.texts]
    return [text.get_text() for text in sorted(texts, key=lambda text: text.get_position()[1])]


def test_all_tables_stand_below_one_another_and_nobody_else_does() -> None:
    told = words(cohort(), "1")
    order = [told.index(word) for word in ("Patient 1", "age", "stays: 2 rows", "intime to outtime", "labs: 3 rows", "K", "Na")]
    assert order == sorted(order)
    assert "3.9 – 4.1" in told and "2020-01-01 08:00" in told and "days" in told
    assert not [word for word in told if re.search(r"2021|141|\b43\b", word)]  # patient 2


def test_a_patient_without_a_row_below_has_their_own_row() -> None:
    told = words(cohort().take(["2"]), "2")
    assert "stays: 1 row" in told and "labs: 1 row" in told
    assert "No row in stays" in words(cohort(), "3")


@pytest.mark.parametrize(
    ("mark", "said", "unsaid"), [(None, "REAL RECORD", "SYNTHETIC"), (replace(MARK, details={}), "SYNTHETIC", "REAL RECORD")]
)
def test_it_says_whether_it_is_real(mark: Mark | None, said: str, unsaid: str, tmp_path: Path) -> None:
    told = words(cohort(mark), 1)
    assert told.count(said) >= 3 and unsaid not in told
    save(show(cohort(mark), 1), tmp_path / "one.svg")
    text = (tmp_path / "one.svg").read_text()
    assert f"<dc:title>{said}" in text and f">{said}<" in text and unsaid not in text


def test_copies_of_real_patients_carry_their_warning() -> None:
    made = proband.Bootstrap().fit(ward(20, 1), seed=0).sample(3, seed=0)
    assert any("real patients" in word for word in words(made, made.patients[0]))


def test_bands_are_of_ten_patients_at_least() -> None:
    assert any(word.startswith("all: ") for word in words(ward(10, 1), "1-3"))
    nine = ward(9, 1)
    assert not any(word.startswith("all: ") for word in words(nine, "1-3"))
    stranger = nine.linked["events"].head(4).with_columns(stay=pl.lit("nobody"))  # rows that no patient owns are no tenth patient
    strange = replace(nine, linked={"events": pl.concat([nine.linked["events"], stranger])})
    assert not any(word.startswith("all: ") for word in words(strange, "1-3"))


def test_a_patient_who_is_not_there_is_told_without_naming_any(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"Patient '1-99' is not among the 9 patients\. Give a value of column 'stay' of table 'stays'"
    ) as no:
        show(ward(9, 1), "1-99")
    assert not [name for name in ward(9, 1).patients if name in str(no.value)]


def test_one_table_is_shown_too_and_long_ones_over_time() -> None:
    rows = pl.DataFrame({"id": ["a", "a", "b"], "day": [0, 90, 0], "sex": ["f", "f", "m"], "bilirubin": [1.0, 1.4, 0.8]})
    columns = (
        Column(name="id", kind="identifier"),
        Column(name="day", kind="integer"),
        Column(name="sex", kind="category", categories=("f", "m")),
        Column(name="bilirubin", kind="number"),
    )
    told = words(Cohort(Schema(tables=(Table(name="visits", key="id", columns=columns),)), rows), "a")
    assert {"sex", "visits over time: 2 rows", "bilirubin", "1 – 1.4", "day"} <= set(told)
    alone = Cohort(Schema(tables=(Table(name="visits", columns=columns),)), rows)
    assert "0.8" in words(alone, 2) and "1.4" not in words(alone, 2)


def test_a_clock_that_begins_anew_has_an_axis_for_each_stay() -> None:
    schema = Schema(
        tables=(
            Table(name="patients", key="pid", columns=(Column(name="pid", kind="identifier"),)),
            Table(
                name="stays",
                key="stay",
                parent="patients",
                on="pid",
                columns=(Column(name="stay", kind="identifier"), Column(name="pid", kind="identifier")),
            ),
            Table(
                name="events",
                parent="stays",
                on="stay",
                order=("minute",),
                columns=(
                    Column(name="stay", kind="identifier"),
                    Column(name="minute", kind="integer"),
                    Column(name="pulse", kind="integer"),
                ),
            ),
        )
    )
    stays = pl.DataFrame({"stay": ["x", "y"], "pid": ["a", "a"]})
    events = pl.DataFrame({"stay": ["x", "y", "y"], "minute": [0, 0, None], "pulse": [70, 90, 91]})
    told = words(Cohort(schema, pl.DataFrame({"pid": ["a"]}), linked={"stays": stays, "events": events}), "a")
    assert {"events: 3 rows (stays 1 of 2)", "events: 3 rows (stays 2 of 2)", "1 without a time"} <= set(told)


@pytest.mark.parametrize("kind", ["integer", "date"])
@pytest.mark.parametrize("below", [False, True])
def test_rows_without_any_time_are_told_in_words(kind: str, below: bool) -> None:
    """Both rows of the only patient lack their day, in a table of visits below the patients, or below a stay of theirs."""
    identity, owner = Column(name="pid", kind="identifier"), "stay" if below else "pid"
    stays = Table(name="stays", key="stay", parent="patients", on="pid", columns=(Column(name="stay", kind="identifier"), identity))
    visits = Table(
        name="visits",
        parent="stays" if below else "patients",
        on=owner,
        order=("day",),
        columns=(Column(name=owner, kind="identifier"), Column(name="day", kind=kind), Column(name="pulse", kind="integer")),
    )
    days = pl.Series([None, None], dtype=pl.Date if kind == "date" else pl.Int64)
    rows = pl.DataFrame({owner: ["a", "a"], "day": days, "pulse": [70, 71]})
    linked = {"stays": pl.DataFrame({"stay": ["a"], "pid": ["a"]}), "visits": rows}
    schema = Schema(tables=(Table(name="patients", key="pid", columns=(identity,)), stays, visits))
    told = words(Cohort(schema, pl.DataFrame({"pid": ["a"]}), linked=linked), "a")
    assert {"visits: 2 rows", "2 without a time", "pulse", "70, 71"} <= set(told)


def test_the_axis_is_cut_at_a_pause_alone() -> None:
    hours = np.arange(24) / 24
    assert Axis(np.concatenate([hours, hours + 900])).pieces == [(0.0, 23 / 24), (900.0, 900 + 23 / 24)]
    assert len(Axis(np.array([0.0, 180, 365, 770, 1790])).pieces) == 1
    assert np.isfinite(Axis(np.array([5.0])).place(np.array([5.0]))).all()


@pytest.mark.parametrize("suffix", ["svg", "png", "html"])
def test_the_same_picture_gives_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        save(show(ward(12, 1), "1-0"), tmp_path / f"{name}.{suffix}")
    one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
    assert one == two and len(one) > 5000
    with pytest.raises(InputError, match=r"expected one of: \.svg, \.png, \.html"):
        save(show(ward(12, 1), "1-0"), tmp_path / "one.gif")


def test_its_colours_are_those_of_the_report(root: Path) -> None:
    light = (root / "proband" / "validate" / "report.css").read_text().split("@media")[0]
    assert {name: re.search(rf"--{name}: (#\w+)", light)[1] for name in COLOURS} == COLOURS  # type: ignore[index]
