"""Attribute inference: hidden values told right, by the synthetic table and by other people's records."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.privacy.attributes import Guesses, guess
from proband.privacy.patients import gathered
from proband.schema import Column, Schema, Table
from proband.validate.findings import Evidence
from tests.privacy.planted import SCHEMA, bootstrap, fresh


def guessed(evidence: Evidence, seed: int = 0) -> Guesses:
    made = evidence.synthetic.frame
    return guess(gathered(made, evidence.train, evidence.holdout, evidence.reference), made, seed=seed)


def excess(guesses: Guesses) -> float:
    return float(guesses.gain[guesses.member].mean() - guesses.gain[~guesses.member].mean())


def small(ages: list[int], wards: list[str | None], sensitive: bool = False) -> Cohort:
    columns = (Column(name="age", kind="integer"), Column(name="ward", kind="category", categories=("a", "b"), sensitive=sensitive))
    return Cohort(Schema(tables=(Table(name="p", columns=columns),)), pl.DataFrame({"age": ages, "ward": wards}))


def test_a_copied_record_tells_the_hidden_value_and_other_people_do_not() -> None:
    """Everybody aged below 50 is in ward a but one member of 20: only the synthetic table, which copied them, says b."""
    train = small([20, 21, 22, 23, 24, 25], ["b", "a", "a", "a", "a", "a"], sensitive=True)
    unseen = small([19, 20, 21, 22, 23, 24, 25, 26, 27, 28], ["a"] * 10, sensitive=True)
    guesses = guess(gathered(train.frame, train, unseen), train.frame, seed=0)
    assert guesses.columns == ("ward",)
    assert guesses.member.tolist() == [True] * 6 + [False] * 10
    assert guesses.synthetic[0, 0] == pytest.approx(1, abs=1e-6) and guesses.real[0, 0] == 0
    assert guesses.synthetic[7, 0] == pytest.approx(0, abs=1e-6)  # the control of 20 is taken for the member
    assert guesses.blind[:, 0].tolist() == [0] + [1] * 15
    assert guesses.closeness[0, 0] == 0  # the member's age is that of a control, so other people come as near


def test_what_holds_for_everybody_is_no_gain() -> None:
    """The ward follows from the age: both tables tell it always, and nothing is gained."""
    ages = list(range(20, 80))
    train, unseen = small(ages, ["a" if age < 50 else "b" for age in ages]), small(ages, ["a" if age < 50 else "b" for age in ages])
    guesses = guess(gathered(train.frame, train, unseen), train.frame, seed=0)
    assert guesses.synthetic[:, 1].mean() > 0.98 and guesses.real[:, 1].mean() > 0.98
    assert abs(excess(replace(guesses, synthetic=guesses.synthetic[:, 1:], real=guesses.real[:, 1:]))) < 0.02


def test_missing_is_a_value_to_guess() -> None:
    train = small([20, 60], [None, "a"], sensitive=True)
    unseen = small([61, 62], ["a", "a"], sensitive=True)
    guesses = guess(gathered(train.frame, train, unseen), train.frame, seed=0)
    assert guesses.synthetic[0, 0] == pytest.approx(1, abs=1e-6) and guesses.real[0, 0] == 0


def test_strangers_gain_nothing_and_copies_gain_much() -> None:
    assert abs(np.mean([excess(guessed(fresh(seed), seed)) for seed in range(3)])) < 0.01  # 3 standard errors of .006 / sqrt(3)
    assert excess(guessed(bootstrap(0))) > 0.3


def test_one_shuffled_column_does_not_hide_the_others() -> None:
    evidence = fresh(0)
    shuffled = evidence.train.frame["ward"].shuffle(seed=1)
    leak = replace(evidence, synthetic=replace(evidence.train, frame=evidence.train.frame.with_columns(ward=shuffled)))
    guesses = guessed(leak)
    gains = dict(zip(guesses.columns, (guesses.synthetic - guesses.real)[guesses.member].mean(axis=0), strict=True))
    assert gains["ward"] < 0.05 and all(gain > 0.3 for name, gain in gains.items() if name.startswith("lab"))


def test_the_attacker_is_surest_where_the_synthetic_table_comes_nearest() -> None:
    evidence = fresh(1)
    frame = pl.concat([evidence.synthetic.frame.head(570), evidence.train.frame.head(30)])  # 5 % copied
    guesses = guessed(replace(evidence, synthetic=replace(evidence.synthetic, frame=frame)))
    assert guesses.precision(0.01, member=True, seed=0) > 0.9
    assert guesses.precision(0.01, member=False, seed=0) < 0.6
    assert guesses.precision(1.0, member=True, seed=0) == pytest.approx(guesses.synthetic[guesses.member].mean())


def test_all_rows_of_a_patient_are_one_target() -> None:
    table = Table(name="visits", key="id", columns=(Column(name="id", kind="identifier"), *SCHEMA.table.columns))
    flat = fresh(2, (60, 20, 20))

    def twice(cohort: Cohort, prefix: str) -> Cohort:
        frame = cohort.frame.with_columns(id=pl.Series([f"{prefix}{number:03}" for number in range(cohort.frame.height)]))
        return Cohort(Schema(tables=(table,)), pl.concat([frame, frame]).select("id", *cohort.frame.columns))

    parts = [twice(cohort, name) for cohort, name in ((flat.train, "t"), (flat.holdout, "h"), (flat.reference, "r"))]
    real = gathered(flat.synthetic.frame, *parts)
    guesses = guess(real, flat.synthetic.frame, seed=0)
    assert guesses.synthetic.shape == (100, 10)
    assert guesses.real.mean() < 0.5  # a patient's second row is not among the people who give the value away
    once = guess(gathered(flat.synthetic.frame, flat.train, flat.holdout, flat.reference), flat.synthetic.frame, seed=0)
    moved = np.abs(guesses.synthetic - once.synthetic)
    assert moved.mean() < 0.02  # twice as many rows move the edges of the tenths a little, and nothing else


def test_one_column_alone_is_not_asked() -> None:
    cohort = Cohort(Schema(tables=(Table(name="p", columns=(Column(name="age", kind="integer"),)),)), pl.DataFrame({"age": [1, 2, 3]}))
    assert guess(gathered(cohort.frame, cohort, cohort), cohort.frame, seed=0).columns == ()
