"""Ranges and levels asked through a budget: where they are found, and what noise alone may not make up."""

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.encode.numbers import to_numbers
from proband.privacy.budget import Budget, rho_of
from proband.privacy.domain import (
    STAND_INS,
    Spread,
    _asked,
    _between,
    _counted,
    _drawn,
    _finer,
    _Look,
    _together,
    _where,
    one_row_each,
    private_encoder,
    shares,
)
from proband.schema import Column, Grid, Schema, Table

RHO = rho_of(1.0, 1e-5)


def test_shares_are_the_nearest_without_negatives():
    assert shares(np.array([60, 40])).tolist() == [0.6, 0.4]
    assert shares(np.array([80, 40, -20])).tolist() == [0.7, 0.3, 0.0]
    assert shares(np.array([-5, -3])).sum() == pytest.approx(1)


def test_counts_are_missing_then_cells_and_what_is_beyond_counts_at_the_ends():
    assert _counted(np.array([np.nan, -9, 0, 1, 1.5, 2, 99]), np.array([0.0, 1.0, 2.0])).tolist() == [1, 2, 4]


def test_finer_cells_go_where_the_patients_are_and_not_below_the_format():
    dense = Spread(np.array([0.0, 0.9, 0.1]), np.array([0.0, 1.0, 1024.0]))
    edges = _finer(dense, np.array([0.0, 1024.0]), 20, None)
    assert len(edges) == 21 and ((edges > 0) & (edges < 1)).sum() == 17
    even = Spread(np.array([0.0, 1.0]), np.array([-0.5, 4.5]))
    assert _finer(even, np.array([-0.5, 4.5]), 20, 1.0).tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5, 4.5]


def test_no_edge_lies_on_a_value_of_the_format():
    assert _between(np.array([0.0, 1.0, 2.0, 4.0]), 1.0).tolist() == [-0.5, 0.5, 1.5, 3.5, 4.5]
    assert _between(np.array([0.0, 1.0]), None).tolist() == [0.0, 1.0]
    assert _between(np.array([3.0]), None).tolist() == [3.0, 4.0]


def test_a_range_goes_on_while_patients_are_likely():
    edges = 2.0 ** np.arange(9)
    noisy = np.array([0, 0, 90, 25, 21, 5, 9, 0, 39])  # missing, then eight cells; the noise is 10
    found, counts = _where(edges, noisy, 10.0)
    assert found.tolist() == [1, 2, 4, 8, 16, 32] and counts.tolist() == [0, 0, 90, 25, 21, 5]


def test_two_looks_together_say_more_than_each():
    whole = _Look(np.array([0.0, 2.0, 4.0, 8.0, 12.0, 14.0, 16.0]), np.array([100, 0, 0, 400, 400, 0, 0]), 1.0)
    cut = _Look(np.array([0.0, 6.0, 10.0, 16.0]), np.array([100, 300, 400, 100]), 1.0)
    found = _together([whole, cut])
    assert found.edges.tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert found.shares * 900 == pytest.approx([100, 0, 0, 300, 100, 300, 100, 0, 0], abs=20)


def test_a_heap_is_not_smoothed_away():
    days = np.random.default_rng(0).choice([1, 2, 3, 5, 8, 20, 40], 5_000, p=[0.65, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05])
    column = Column(name="day", kind="integer", low=0)
    found = to_numbers(_drawn(_asked(pl.Series("day", days), column, Budget(RHO / 20), RHO / 20), column, np.random.default_rng(1)))
    assert np.mean(found == 1) == pytest.approx(0.65, abs=0.05)
    assert np.mean(found > 10) == pytest.approx(0.1, abs=0.05)


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
