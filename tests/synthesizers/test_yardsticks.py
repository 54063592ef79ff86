"""The yardsticks on patients with linked tables: independent events, and the last value carried forward."""

from pathlib import Path

import polars as pl
import pytest

import proband
from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema.integrity import unowned
from proband.stats.sequences import at_once, persistence
from proband.synthesizers.baselines import IndependentColumns
from proband.synthesizers.carried import CarriedForward, held
from proband.validate.histories import events
from tests.linked import SCHEMA
from tests.linked import cohort as three
from tests.ward import ward


def test_independent_events_have_real_counts_and_values_and_nothing_else() -> None:
    real = ward(200, 1)
    made = IndependentColumns().fit(real, seed=1).sample(300, seed=2)
    theirs, ours = events(real), events(made)
    assert len(made) == 300 and set(ours.counts.sum(axis=1)) <= set(theirs.counts.sum(axis=1))
    known = real.linked["events"].select("what", "value").unique()
    assert made.linked["events"].join(known, on=["what", "value"], how="anti").height == 0
    assert made.linked["events"].select(pl.col("minute").diff().over("stay") < 0).to_series().any() is False
    assert persistence(theirs)[0] > 0.8 and abs(persistence(ours)[0]) < 0.1
    assert at_once(theirs)[1, 2] == 1 and at_once(ours)[1, 2] < 0.2
    assert not made.frame["stay"].is_in(real.frame["stay"].implode()).any()


def test_keys_of_independent_grandchildren_hold() -> None:
    made = IndependentColumns().fit(_many(three()), seed=1).sample(50, seed=2)
    frames = {table.name: frame for table, frame in made.tables}
    assert unowned(made.schema, frames) == []
    assert made.linked["stays"]["stay"].is_unique().all() and made.linked["stays"].height > 0
    assert made.schema.tables == SCHEMA.tables


def test_the_same_seed_gives_the_same_patients_also_after_saving(tmp_path: Path) -> None:
    for model in (IndependentColumns().fit(ward(60, 1), seed=1), CarriedForward().fit(ward(60, 1), seed=1)):
        path = tmp_path / type(model).__name__
        model.save(path)
        first, again, other = model.sample(20, seed=2), type(model).load(path).sample(20, seed=2), model.sample(20, seed=3)
        assert first.fingerprint == again.fingerprint != other.fingerprint
        assert model.sample(10, seed=1, where="died = TRUE").frame["died"].all() and len(model.sample(0, seed=1)) == 0


def test_a_chart_carried_forward_keeps_its_times_and_its_first_values() -> None:
    rows = held(ward(30, 1)).linked["events"]
    assert rows.drop("value").equals(ward(30, 1).linked["events"].drop("value"))
    assert rows.group_by("stay", "what").agg(pl.col("value").n_unique())["value"].max() == 1
    first = ward(30, 1).linked["events"].unique(["stay", "what"], keep="first", maintain_order=True)
    assert rows.unique(["stay", "what"], keep="first", maintain_order=True).equals(first)


def test_missing_values_of_a_wide_table_stay_missing() -> None:
    from proband.schema import Column, Schema, Table

    key = Column(name="id", kind="identifier")
    visits = Table(
        name="visits",
        parent="p",
        on="id",
        order=("day",),
        columns=(key, Column(name="day", kind="integer"), Column(name="x", kind="number")),
    )
    frame = pl.DataFrame({"id": ["a"] * 3, "day": [9, 0, 4], "x": [3.0, None, 2.0]})
    cohort = Cohort(
        Schema(tables=(Table(name="p", key="id", columns=(key,)), visits)), pl.DataFrame({"id": ["a"]}), linked={"visits": frame}
    )
    assert held(cohort).linked["visits"]["x"].to_list() == [2.0, None, 2.0]


def test_a_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    IndependentColumns().fit(ward(60, 1), seed=1).save(tmp_path / "model")
    with pytest.raises(InputError, match="no copies of charts"):
        CarriedForward.load(tmp_path / "model")


def _many(cohort: Cohort) -> Cohort:
    """The three patients, thirty times: enough for a level or a number to be held by several."""
    return proband.synthesizer.make("bootstrap").fit(cohort, seed=1).sample(90, seed=1)
