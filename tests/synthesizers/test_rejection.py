"""Rows are made until enough are kept, and not for ever."""

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.encode import Codes, TableEncoder
from proband.errors import InputError
from proband.schema import Column, Schema, Table
from proband.synthesizers.rejection import kept, rows_of


@pytest.fixture
def encoder():
    """One column: 900 patients say no, 100 yes."""
    table = Table(name="patients", columns=(Column(name="rare", kind="category", categories=("no", "yes")),))
    return TableEncoder.fit(Cohort(Schema(tables=(table,)), pl.DataFrame({"rare": ["no"] * 900 + ["yes"] * 100})))


def coin(share: float, asked: list[int]):
    """Makes rows of which `share` say yes, and notes how many were asked for."""
    rng = np.random.default_rng(0)

    def make(rows: int) -> Codes:
        asked.append(rows)
        return Codes((1 + (rng.random((rows, 1)) < share)).astype(np.int32), np.full((rows, 1), 0.5))

    return make


def test_all_rows_that_come_out_are_kept(encoder):
    asked: list[int] = []
    codes = rows_of(encoder, 500, coin(0.1, asked), "rare = 'yes'")
    assert len(codes) == 500 and kept(encoder, codes, "rare = 'yes'").all()
    assert sum(asked) < 10_000  # 5,000 would be enough on average


def test_without_a_condition_no_row_is_wasted(encoder):
    asked: list[int] = []
    assert len(rows_of(encoder, 500, coin(0.1, asked), None)) == 500
    assert asked == [600]


def test_a_condition_that_is_too_rare_is_refused_early(encoder):
    asked: list[int] = []
    with pytest.raises(InputError, match="Too few synthetic patients keep"):
        rows_of(encoder, 10_000, coin(0.0001, asked), "rare = 'yes'")
    assert sum(asked) < 20_000


def test_a_condition_that_cannot_be_read_is_refused_before_any_work(encoder):
    asked: list[int] = []
    with pytest.raises(InputError):
        rows_of(encoder, 10, coin(0.1, asked), "AND =")
    assert asked == []
