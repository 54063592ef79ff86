"""Ranges and levels asked through a budget: where they are found, and what noise alone may not make up."""

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.encode.numbers import to_numbers
from proband.privacy.budget import Budget, rho_of
from proband.privacy.domain import STAND_INS, _asked, _counted, _drawn, _finer, one_row_each, private_encoder, shares
from proband.schema import Column, Grid, Schema, Table

RHO = rho_of(1.0, 1e-5)


def test_shares_are_the_nearest_without_negatives():
    assert shares(np.array([60, 40])).tolist() == [0.6, 0.4]
    assert shares(np.array([80, 40, -20])).tolist() == [0.7, 0.3, 0.0]
    assert shares(np.array([-5, -3])).sum() == pytest.approx(1)


def test_counts_are_missing_then_cells_and_what_is_beyond_counts_at_the_ends():
    assert _counted(np.array([np.nan, -9, 0, 1, 1.5, 2, 99]), np.array([0.0, 1.0, 2.0])).tolist() == [1, 2, 4]


def test_finer_cells_go_where_the_patients_are_and_not_below_the_format():
    edges = _finer(np.array([0.0, 1.0, 1024.0]), np.array([0.9, 0.1]), None)
    assert ((edges > 0) & (edges < 1)).sum() > 20
    assert _finer(np.array([0.0, 4.0]), np.array([1.0]), 1.0).tolist() == [0.0, 0.5, 1.5, 2.5, 3.5, 4.0]


@pytest.mark.parametrize(("middle", "spread"), [(140.0, 4.0), (1.1, 0.3), (-40.0, 5.0), (50_000.0, 9_000.0)])
def test_a_range_is_found_without_bounds(middle, spread):
    values = pl.Series("x", np.random.default_rng(0).normal(middle, spread, 20_000))
    column = Column(name="x", kind="number")
    budget = Budget(RHO)
    found = _drawn(_asked(values, column, budget, RHO), column, np.random.default_rng(1))
    assert budget.left == pytest.approx(0, abs=1e-9)
    for at in (0.1, 0.5, 0.9):
        assert found.quantile(at) == pytest.approx(values.quantile(at), abs=0.35 * spread)


def test_one_giant_does_not_widen_the_range():
    values = pl.Series("x", np.append(np.random.default_rng(0).normal(100, 10, 5_000), 1e12))
    column = Column(name="x", kind="number")
    assert _drawn(_asked(values, column, Budget(RHO), RHO), column, np.random.default_rng(1)).max() < 1_000


def test_levels_keep_their_shares_and_formats_their_grid():
    rng = np.random.default_rng(0)
    sex = Column(name="sex", kind="category", categories=("F", "M", "X"))
    values = pl.Series("sex", rng.choice(["F", "M", None], 5_000, p=[0.5, 0.3, 0.2]), dtype=pl.String)
    found = _drawn(_asked(values, sex, Budget(RHO), RHO), sex, rng)
    assert (found == "F").sum() / STAND_INS == pytest.approx(0.5, abs=0.03)
    assert found.null_count() / STAND_INS == pytest.approx(0.2, abs=0.03)
    dose = Column(name="dose", kind="number", low=0, high=10, grid=Grid(step=0.25, decimals=2))
    made = to_numbers(_drawn(_asked(pl.Series("dose", np.round(rng.random(3_000) * 40) / 4), dose, Budget(RHO), RHO), dose, rng))
    made = made[~np.isnan(made)]  # noise may make up a few who are missing
    assert np.allclose(made * 4, np.round(made * 4)) and made.min() >= 0 and made.max() <= 10


def test_every_patient_has_one_row_and_identifiers_are_never_read():
    columns = (Column(name="id", kind="identifier"), Column(name="age", kind="integer", low=0, high=120))
    frame = pl.DataFrame({"id": ["a", "a", "b"], "age": [30, 31, 80]})
    cohort = Cohort(Schema(public=True, tables=(Table(name="visits", columns=columns, key="id"),)), frame)
    assert one_row_each(cohort).frame.rows() == [("a", 30), ("b", 80)]
    budget = Budget(RHO)
    encoder = private_encoder(one_row_each(cohort), budget, rho=RHO, rng=np.random.default_rng(0))
    assert [field.name for field in encoder.fields] == ["age"]
    assert all("age" in spend.what for spend in budget.spends)
