"""Codes and values as variables: values, signs that a code was there, rare codes in groups."""

import numpy as np
import polars as pl
import pytest

from proband.encode.measured import FEWEST, GROUPS, MOST_VARIABLES, Measured
from proband.errors import InputError
from proband.schema import Column, Table


def table(variables: tuple[Column, ...] = ()) -> Table:
    return Table(
        name="labs",
        parent="patients",
        on="pid",
        measures=("code", "value"),
        variables=variables,
        columns=(
            Column(name="pid", kind="identifier"),
            Column(name="code", kind="category", categories=("Na", "K", "rhythm")),
            Column(name="value", kind="number"),
        ),
    )


def rows(*found: tuple[str | None, float | None]) -> pl.DataFrame:
    kinds = {"pid": pl.String, "code": pl.String, "value": pl.Float64}
    return pl.DataFrame([("p", code, value) for code, value in found], kinds, orient="row")


def test_every_row_is_a_variable_and_comes_back() -> None:
    frame = rows(("Na", 140.0), ("rhythm", None), (None, None), (None, 3.0), ("Na", None))
    measured = Measured.learn(table(), frame, np.zeros(5, int))
    assert [c.name for c in measured.columns] == ["Na", "(none) (no value)", "Na (no value)", "rhythm (no value)"]
    told = measured.told(frame)
    assert told["__variable"].to_list() == [
        "Na",
        "rhythm (no value)",
        "(none) (no value)",
        "Na (no value)",
    ]  # a value of no code is nobody's
    back = measured.rows(told["__variable"], told["__number"], np.random.default_rng(0))
    assert back.rows() == [("Na", 140.0), ("rhythm", None), (None, None), ("Na", None)]


def test_a_code_that_is_not_declared_is_refused() -> None:
    with pytest.raises(InputError, match="'K' is not among the declared variables"):
        Measured.learn(table((Column(name="Na", kind="number"),)), rows(("Na", 140.0), ("K", 4.0)), np.zeros(2, int))


def test_rare_codes_share_groups_and_keep_their_own_range() -> None:
    common = [(f"c{code}", 1.0) for code in range(MOST_VARIABLES) for _ in range(20)]
    rare = [("x", 100.0 + patient) for patient in range(FEWEST)] + [("y", 7.25)] * (FEWEST - 1)
    frame = rows(*common, *rare)
    patients = np.concatenate([np.zeros(len(common), int), np.arange(FEWEST), np.zeros(FEWEST - 1, int)])
    measured = Measured.learn(table(), frame, patients)
    assert len(measured.columns) == MOST_VARIABLES and {"x", "y"} < set(measured.rare)
    assert sum(c.kind == "category" for c in measured.columns) == GROUPS
    told = measured.told(frame)
    assert told.height == frame.height
    back = measured.rows(told["__variable"], told["__number"], np.random.default_rng(0))
    assert back["code"].to_list() == frame["code"].to_list()
    of_x = back.filter(pl.col("code") == "x")["value"]
    assert of_x.is_between(100, 100 + FEWEST).all() and of_x.n_unique() > 1
    assert back.filter(pl.col("code") == "y")["value"].null_count() == FEWEST - 1  # too few patients have it


def test_no_row_of_many_codes_is_dropped() -> None:
    codes = [(f"c{code:03d}", float(code)) for code in range(MOST_VARIABLES + 10) for _ in range(20)]
    frame = rows(*codes, *[("c000", None)] * 5, *[(None, None)] * 3)
    measured = Measured.learn(table(), frame, np.arange(frame.height))
    assert measured.told(frame).height == frame.height and len(measured.columns) <= MOST_VARIABLES


def test_restored_it_is_the_same() -> None:
    frame = rows(*[(f"c{code}", float(code)) for code in range(250)])
    measured = Measured.learn(table(), frame, np.arange(250))
    config, arrays = measured.state()
    again = Measured.restored(table(), config, arrays)
    assert again.columns == measured.columns and again.rare == measured.rare
    with pytest.raises(ValueError, match="do not fit"):
        Measured.restored(table(), config, arrays | {"valued": np.zeros(1)})
