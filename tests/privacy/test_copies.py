"""Copies: what is counted as one, and what is not, though it is equal."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.privacy.copies import copies_but_one, exact_copies, near_copies
from proband.privacy.membership import neighbourhood
from proband.privacy.patients import Patients, attacked, gathered
from proband.validate.findings import Evidence
from tests.privacy.planted import NUMBERS, fresh, memoriser, with_synthetic


def real_of(evidence: Evidence) -> Patients:
    return gathered(evidence.synthetic.frame, evidence.train, evidence.holdout, evidence.reference)


def test_exactly_the_copied_patients_are_found() -> None:
    evidence = memoriser(0, 0.01)
    found, telling = exact_copies(real_of(evidence), evidence.synthetic.frame)
    assert int(telling.sum()) == int(telling[:600].sum()) == 6
    np.testing.assert_array_equal(found, telling)  # two decimals in eight columns never coincide here


def test_a_synthetic_copy_of_an_unseen_patient_counts_against_the_excess() -> None:
    evidence = fresh(1)
    evidence = with_synthetic(evidence, pl.concat([evidence.synthetic.frame, evidence.holdout.frame.head(3)]))
    _, telling = exact_copies(real_of(evidence), evidence.synthetic.frame)
    assert np.flatnonzero(telling).tolist() == [600, 601, 602]


def test_rows_that_another_patient_has_do_not_tell() -> None:
    evidence = fresh(2)
    twin = evidence.train.frame.head(1)
    evidence = replace(evidence, holdout=replace(evidence.holdout, frame=pl.concat([twin, evidence.holdout.frame.slice(1)])))
    evidence = with_synthetic(evidence, pl.concat([evidence.synthetic.frame, twin]))
    found, telling = exact_copies(real_of(evidence), evidence.synthetic.frame)
    assert np.flatnonzero(found).tolist() == [0, 600]
    assert not telling.any()


def test_a_table_of_few_levels_coincides_without_telling() -> None:
    evidence = fresh(3, kind="coincident")
    found, telling = exact_copies(real_of(evidence), evidence.synthetic.frame)
    assert found.mean() > 0.6
    assert telling.mean() < 0.005


def test_a_missing_value_can_be_copied_too() -> None:
    evidence = fresh(4)
    hidden = evidence.train.frame.filter(pl.col("lab_0").is_null()).head(2)
    evidence = with_synthetic(evidence, pl.concat([evidence.synthetic.frame, hidden]))
    assert exact_copies(real_of(evidence), evidence.synthetic.frame)[1].sum() == 2


def test_dropping_a_column_does_not_hide_copies() -> None:
    evidence = memoriser(5, 0.01)
    dropped = evidence.synthetic.frame.with_columns(pl.lit(None, pl.Float64).alias("lab_3"))
    assert exact_copies(real_of(with_synthetic(evidence, dropped)), dropped)[1].sum() == 6


@pytest.mark.parametrize("column", ["lab_1", "ward"])
def test_one_changed_value_does_not_hide_a_copy(column: str) -> None:
    evidence = fresh(6)
    copied = evidence.train.frame.head(5)
    changed = copied.with_columns((pl.col(column) + 100) if column == "lab_1" else pl.lit("unheard of").alias(column))
    evidence = with_synthetic(evidence, pl.concat([evidence.synthetic.frame, changed]))
    real = real_of(evidence)
    assert not exact_copies(real, evidence.synthetic.frame)[1].any()
    assert np.flatnonzero(copies_but_one(real, evidence.synthetic.frame, np.arange(1000))).tolist() == [0, 1, 2, 3, 4]


def test_jittered_copies_are_near_and_strangers_are_not() -> None:
    evidence = memoriser(7, 0.01, jitter=0.05)
    real = real_of(evidence)
    close = near_copies(neighbourhood(attacked(real, evidence.synthetic.frame, seed=7)))
    assert close[:600].sum() >= 5  # of six; a copy in a crowd may stay unseen
    assert close[600:].sum() <= 1


def test_near_is_rare_without_a_leak() -> None:
    shares = []
    for seed in range(5):
        evidence = fresh(seed)
        shares.append(near_copies(neighbourhood(attacked(real_of(evidence), evidence.synthetic.frame, seed=seed))).mean())
    assert np.mean(shares) < 0.002  # built for one in 2,000; 5,000 patients here, so 2.5 expected and 10 allowed


def test_near_in_a_single_column_is_left_to_the_dimension() -> None:
    """On a line strangers are always near: hardly any distance is close enough to tell."""
    evidence = fresh(8)
    only = evidence.train.schema.model_copy(
        update={"tables": (evidence.train.schema.table.model_copy(update={"columns": evidence.train.schema.table.columns[1:2]}),)}
    )
    parts = [
        Cohort(only, cohort.frame.select(NUMBERS[1]))
        for cohort in (evidence.train, evidence.holdout, evidence.reference, evidence.synthetic)
    ]
    narrow = Evidence(*parts)
    close = near_copies(neighbourhood(attacked(real_of(narrow), narrow.synthetic.frame, seed=8)))
    assert close.mean() < 0.01
