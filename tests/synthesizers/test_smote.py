"""Smote: new patients lie between two real ones, within their class, and what is missing stays together."""

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Column, Schema, Table
from proband.synthesizers.smote import Smote


def blobs(*, words: bool = True, rows: int = 60) -> Cohort:
    """Two wards far apart: around 0 with c missing, around 100 with c known."""
    rng = np.random.default_rng(0)
    far = np.repeat([0, 100], rows // 2)
    frame = pl.DataFrame(
        {
            "a": far + np.round(rng.normal(size=rows), 2),
            "b": far + np.round(rng.normal(size=rows), 2),
            "c": pl.Series(np.round(rng.normal(size=rows), 2)).set(pl.Series(far == 0), None),
            "ward": np.where(far == 0, "north", "south"),
        }
    )
    columns = [*(Column(name=name, kind="number") for name in "abc"), Column(name="ward", kind="category", categories=("north", "south"))]
    columns = columns if words else columns[:3]
    return Cohort(Schema(tables=(Table(name="patients", columns=tuple(columns)),)), frame.select(column.name for column in columns))


@pytest.mark.parametrize("words", [True, False])
def test_nobody_stands_between_two_wards(words):
    made = Smote().fit(blobs(words=words), seed=1).sample(200, seed=2).frame
    near, far = made.filter(pl.col("a") < 50), made.filter(pl.col("a") > 50)
    assert min(near.height, far.height) > 50
    assert near["b"].max() < 50 < far["b"].min()
    assert near["c"].null_count() == near.height and far["c"].null_count() == 0
    if words:
        assert set(near["ward"]) == {"north"} and set(far["ward"]) == {"south"}


def test_values_stay_on_their_grid_and_within_what_was_seen():
    real, made = blobs().frame, Smote().fit(blobs(), seed=1).sample(200, seed=2).frame
    assert made["a"].is_between(real["a"].min(), real["a"].max()).all()
    assert made["a"].round(2).equals(made["a"])
    assert not made["a"].is_in(real["a"].implode()).all()  # it does not only copy


@pytest.mark.parametrize("kind", ["smote", "borderline", "adasyn"])
def test_classes_keep_their_shares(kind):
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(0, 1, 150), rng.normal(1.5, 1, 50)])
    frame = pl.DataFrame({"x": np.round(x, 2), "y": np.round(rng.normal(size=200), 2), "case": np.repeat([False, True], [150, 50])})
    columns = (Column(name="x", kind="number"), Column(name="y", kind="number"), Column(name="case", kind="boolean"))
    cohort = Cohort(Schema(tables=(Table(name="patients", columns=columns),)), frame)
    made = Smote(kind=kind, target="case").fit(cohort, seed=1).sample(1000, seed=2).frame
    assert made["case"].mean() == pytest.approx(0.25, abs=0.05)  # standard error .014
    assert made.filter("case")["x"].mean() > made.filter(~pl.col("case"))["x"].mean() + 0.5


def two_words() -> Cohort:
    """Two categories that say the same."""
    rng = np.random.default_rng(4)
    first = rng.choice(["u", "v"], 80)
    second = np.where(first == "u", "p", "q")
    columns = (Column(name="first", kind="category", categories=("u", "v")), Column(name="second", kind="category", categories=("p", "q")))
    return Cohort(Schema(tables=(Table(name="patients", columns=columns),)), pl.DataFrame({"first": first, "second": second}))


def test_categories_alone_are_voted_on():
    made = Smote().fit(two_words(), seed=1).sample(100, seed=2).frame
    assert set(made.rows()) == {("u", "p"), ("v", "q")}


def test_the_mark_and_the_model_folder_say_what_they_hold(tmp_path):
    model = Smote().fit(blobs(), seed=1)
    assert "between two real ones" in model.sample(1, seed=1).mark.details["warning"]
    model.save(tmp_path / "model")
    assert "between two real ones" in (tmp_path / "model" / "model.json").read_text()


def test_what_cannot_be_asked_for_is_refused():
    with pytest.raises(InputError, match="is not known"):
        Smote(kind="tomek")
    with pytest.raises(InputError, match="where classes meet"):
        Smote(kind="adasyn")
    with pytest.raises(InputError, match="knows numbers only"):
        Smote(kind="borderline", target="first").fit(two_words(), seed=1)
    with pytest.raises(InputError, match="has no classes"):
        Smote(target="a").fit(blobs(), seed=1)
    with pytest.raises(InputError, match="lines between two"):
        Smote().fit(blobs(), seed=1).sample(1, seed=1, where="a > 1000")
