"""Singling out: descriptions from the synthetic table that fit exactly one real person."""

from dataclasses import replace

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.privacy.patients import gathered
from proband.privacy.singling_out import Singled, single_out
from proband.schema import Column, Schema, Table
from proband.validate.findings import Evidence
from tests.privacy.planted import bootstrap, fresh, memoriser


def singled(evidence: Evidence, seed: int = 0) -> Singled:
    made = evidence.synthetic.frame
    return single_out(gathered(made, evidence.train, evidence.holdout, evidence.reference), made, seed=seed)


def ages(values: list[float], wards: list[str]) -> Cohort:
    columns = (Column(name="age", kind="number"), Column(name="ward", kind="category", categories=("a", "b", "c")))
    return Cohort(Schema(tables=(Table(name="p", columns=columns),)), pl.DataFrame({"age": values, "ward": wards}))


def test_an_extreme_fits_one_person_or_it_does_not_count() -> None:
    train = ages([91.0, 50.0, 50.0, 40.0, 20.0], ["a", "a", "a", "a", "b"])
    unseen = ages([60.0, 45.0, 20.0], ["a", "a", "a"])
    found = single_out(gathered(train.frame, train, unseen), train.frame, seed=0)
    # 91 or older: the first alone; 20 or younger: a member and a control; ward b, which one synthetic row has: the last alone.
    assert found.extremes.tolist() == [True, False, False, False, True, False, False, False]


def test_a_person_with_two_rows_is_one_person() -> None:
    schema = Schema(tables=(Table(name="p", key="id", columns=(Column(name="id", kind="identifier"), Column(name="age", kind="number"))),))
    train = Cohort(schema, pl.DataFrame({"id": ["x", "x", "y"], "age": [91.0, 92.0, 50.0]}))
    unseen = Cohort(schema, pl.DataFrame({"id": ["z"], "age": [40.0]}))
    made = pl.DataFrame({"id": ["1", "2"], "age": [91.0, 45.0]})
    assert single_out(gathered(made, train, unseen), made, seed=0).extremes.tolist() == [True, False, True]


def test_strangers_are_singled_out_as_often_as_members() -> None:
    found = [singled(fresh(seed), seed) for seed in range(4)]
    gaps = [each.any[each.member].mean() - each.any[~each.member].mean() for each in found]
    assert abs(np.mean(gaps)) < 0.01  # 3 standard errors of about .003


def test_copies_are_singled_out_by_a_few_of_their_values() -> None:
    found = singled(memoriser(0, 0.2))
    assert 0.15 < found.conjunctions[found.member].mean() < 0.25
    assert found.conjunctions[~found.member].mean() < 0.02
    assert found.blind.mean() < 0.02  # values that stand alone in no row find hardly anybody
    leaky = singled(bootstrap(0))
    assert leaky.any[leaky.member].mean() > 0.5


def test_common_values_describe_nobody() -> None:
    """Two columns of two levels: no description is of small weight, so no conjunction or leaf is written."""
    draw = np.random.default_rng(0)
    columns = tuple(Column(name=name, kind="boolean") for name in "ab")
    whole = Cohort(Schema(tables=(Table(name="p", columns=columns),)), pl.DataFrame({name: draw.random(300) < 0.5 for name in "ab"}))
    train, unseen = replace(whole, frame=whole.frame[:200]), replace(whole, frame=whole.frame[200:])
    found = single_out(gathered(train.frame, train, unseen), train.frame, seed=0)
    assert not found.any.any() and not found.blind.any()


def test_the_same_seed_finds_the_same_people() -> None:
    one, other = (singled(memoriser(3, 0.05), 7) for _ in range(2))
    assert one.any.tolist() == other.any.tolist() and one.blind.tolist() == other.blind.tolist()
