"""PrivateMarginals: what is strong survives the noise, what is promised is charged, and nothing of a patient goes round the budget."""

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Column, Schema, Table
from proband.synthesizer import make
from proband.synthesizers.marginals import PrivateMarginals, cells


def clinic(patients: int = 4_000, seed: int = 0, *, public: bool = True) -> Cohort:
    """Age, a lactate that is measured in the sick, a ward that follows from both, and an outcome that follows from age."""
    rng = np.random.default_rng(seed)
    age = np.clip(np.round(rng.normal(60, 15, patients)), 0, 110)
    sick = rng.random(patients) < 1 / (1 + np.exp(-(age - 60) / 8))
    lactate = pl.Series(np.round(np.exp(rng.normal(0.3 + sick, 0.4, patients)), 1)).set(
        pl.Series(~sick & (rng.random(patients) < 0.6)), None
    )
    ward = np.where(sick, "intensive care", rng.choice(["medicine", "surgery"], patients))
    died = rng.random(patients) < np.where(sick, 0.4, 0.05)
    columns = (
        Column(name="age", kind="integer", low=0, high=110),
        Column(name="lactate", kind="number", low=0, grid={"step": 0.1, "decimals": 1}),  # type: ignore[arg-type]
        Column(name="ward", kind="category", categories=("intensive care", "medicine", "surgery", "maternity")),
        Column(name="died", kind="boolean"),
    )
    frame = pl.DataFrame({"age": age, "lactate": lactate, "ward": ward, "died": died})
    schema = Schema(public=public, tables=(Table(name="patients", columns=columns),))
    return Cohort(schema, frame.cast({c.name: c.dtype for c in columns}))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted() -> PrivateMarginals:
    return PrivateMarginals(epsilon=2).fit(clinic(), seed=0)


def test_what_is_strong_survives_the_noise(fitted):
    real, made = clinic(seed=1).frame, fitted.sample(4_000, seed=1).frame
    for name in ("age", "lactate"):
        assert made[name].median() == pytest.approx(real[name].median(), rel=0.1)
        assert made[name].null_count() / 4_000 == pytest.approx(real[name].null_count() / 4_000, abs=0.05)
    for frame in (real, made):
        dead = frame.group_by("ward").agg(pl.col("died").mean(), pl.col("age").mean()).sort("ward").rows_by_key("ward", unique=True)
        assert dead["intensive care"][0] > 3 * dead["medicine"][0]
        assert dead["intensive care"][1] > dead["medicine"][1] + 10
    assert not made["ward"].is_in(["maternity"]).any() or (made["ward"] == "maternity").mean() < 0.02


def test_the_mark_says_what_was_promised(fitted):
    mark = fitted.sample(1, seed=1).mark
    assert (mark.details["epsilon"], mark.details["delta"], mark.details["unit"]) == ("2", "1e-05", "patient")


def test_all_of_the_budget_is_spent_and_no_more(fitted):
    assert sum(spend.rho for spend in fitted.spends) == pytest.approx(fitted.rho, rel=1e-6)
    assert sum(spend.what.startswith("which pairs") for spend in fitted.spends) >= 1


def test_conditions_hold_and_bring_what_goes_with_them(fitted):
    made = fitted.sample(500, seed=2, where="died = true AND age > 80").frame
    assert made.height == 500 and made["died"].all() and (made["age"] > 80).all()
    assert (made["ward"] == "intensive care").mean() > 0.6


def test_the_same_fit_gives_the_same_patients_and_another_fit_does_not():
    cohort = clinic(300)
    first, second = (PrivateMarginals(epsilon=2).fit(cohort, seed=0) for _ in range(2))
    assert first.sample(50, seed=1).frame.equals(first.sample(50, seed=1).frame)
    assert not first.sample(50, seed=1).frame.equals(second.sample(50, seed=1).frame)


def test_what_is_missing_together_stays_together():
    cohort = clinic(3_000)
    gone = np.random.default_rng(5).random(3_000) < 0.04  # too few for any pair of columns to stand out
    frame = cohort.frame.with_columns(
        pl.when(pl.Series(~gone)).then("age").alias("age"), pl.when(pl.Series(~gone)).then("lactate").alias("lactate")
    )
    made = PrivateMarginals(epsilon=3).fit(Cohort(cohort.schema, frame), seed=0).sample(6_000, seed=1).frame
    lactate_gone = made.filter(pl.col("age").is_null())["lactate"].is_null().mean()
    assert lactate_gone > 0.85 and frame["lactate"].null_count() / 3_000 < 0.4


def test_a_schema_that_may_have_been_read_off_the_patients_is_refused():
    with pytest.raises(InputError, match="public = true"):
        PrivateMarginals(epsilon=1).fit(clinic(300, public=False), seed=0)


def test_one_column_alone_is_enough():
    cohort = clinic(300)
    table = Table(name="patients", columns=cohort.schema.table.columns[:1])
    alone = Cohort(Schema(public=True, tables=(table,)), cohort.frame.select("age"))
    steps = []
    model = PrivateMarginals(epsilon=5).fit(alone, seed=0, on_step=lambda done, total, what, figures: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1]
    assert model.sample(20, seed=0).frame["age"].is_between(0, 110).all()


def test_a_cell_is_missing_a_run_of_numbers_or_frequent_levels(fitted):
    fields = {field.name: field for field in fitted._learned.encoder.fields}
    age = cells(fields["age"], 5)
    assert age[0] == 0 and (np.diff(age) >= 0).all() and age.max() == 4
    assert cells(fields["died"], 5).tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["gan", "forest", "copula"])
def test_epsilon_is_refused_where_patients_are_read_without_noise(name):
    with pytest.raises(InputError, match="cannot keep epsilon"):
        make(name, epsilon=1)


def test_a_name_is_not_needed_to_ask_for_privacy():
    assert make(epsilon=1).name == "marginals" and make().name == "gan"
    with pytest.raises(InputError, match="no epsilon"):
        make(delta=1e-5)
