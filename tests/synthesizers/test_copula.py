"""GaussianCopula: correlations are found again behind ranges and levels, and marginals stay."""

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.schema import Column, Schema, Table
from proband.synthesizers.copula import GaussianCopula, Variable, correlations
from proband.synthesizers.scores import Scale

ROWS = 4000


def patients(correlation: float, seed: int = 0) -> Cohort:
    """Two correlated numbers; the second also as yes or no, and as three levels whose names are in no order; missing where x is high."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=ROWS)
    y = correlation * x + np.sqrt(1 - correlation**2) * rng.normal(size=ROWS)
    frame = pl.DataFrame(
        {
            "x": np.round(x, 2),
            "y": np.round(np.exp(y), 3),
            "high": y > 0.5,
            "level": np.array(["b", "c", "a"])[np.digitize(y, [-0.5, 0.8])],
            "told": pl.Series(np.round(rng.normal(size=ROWS), 2)).set(pl.Series(x > 1), None),
        }
    )
    columns = (
        *(Column(name=name, kind="number") for name in ("x", "y")),
        Column(name="high", kind="boolean"),
        Column(name="level", kind="category", categories=("a", "b", "c")),
        Column(name="told", kind="number"),
    )
    return Cohort(Schema(tables=(Table(name="patients", columns=columns),)), frame)


@pytest.mark.parametrize("correlation", [-0.9, -0.3, 0.0, 0.5, 0.95])
def test_the_correlation_behind_two_halves_is_found(correlation):
    """A median split keeps 2/pi asin(r) of a correlation; the matrix gives r back. Standard error at 40,000 rows: .008 at most."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=40_000)
    y = correlation * x + np.sqrt(1 - correlation**2) * rng.normal(size=40_000)
    halves = Scale.of(np.array([0, 1, 1]))
    variables = [Variable(i, False, halves.order, halves.cuts) for i in range(2)]
    found = correlations(variables, np.stack([1 + (x > 0), 1 + (y > 0)], axis=1))
    assert found[0, 1] == pytest.approx(correlation, abs=0.03)  # and .02 for the series' end, seen at .95


def test_dependence_and_marginals_come_out_again():
    """Standard error of a correlation of .6 at 4,000 rows: .01, twice (real and synthetic); and 1 % for the bins of numbers."""
    real = patients(0.6).frame
    made = GaussianCopula().fit(patients(0.6), seed=1).sample(ROWS, seed=2).frame
    for name in ("high", "level"):
        assert made[name].value_counts(normalize=True).sort(name)["proportion"].to_numpy() == pytest.approx(
            real[name].value_counts(normalize=True).sort(name)["proportion"].to_numpy(), abs=0.04
        )

    def rank_correlation(frame: pl.DataFrame, name: str) -> float:
        second = frame[name].replace_strict({"b": 0, "c": 1, "a": 2}, return_dtype=pl.Float64) if name == "level" else frame[name]
        return float(np.corrcoef(frame["x"].rank().to_numpy(), second.rank().to_numpy())[0, 1])

    for name in ("y", "high", "level"):
        assert rank_correlation(made, name) == pytest.approx(rank_correlation(real, name), abs=0.05)
    assert made["told"].null_count() / ROWS == pytest.approx(0.16, abs=0.03)
    assert made.filter(pl.col("told").is_null())["x"].mean() > 1.2  # 1.5 among real patients; .0 if missingness knew nothing of x


def test_a_condition_moves_the_columns_drawn_before_it():
    made = GaussianCopula().fit(patients(0.8), seed=1).sample(500, seed=2, where="y > 3").frame
    assert (made["y"] > 3).all()
    assert made["x"].mean() == pytest.approx(patients(0.8).frame.filter(pl.col("y") > 3)["x"].mean(), abs=0.15)


def test_one_variable_a_column_and_one_for_its_gaps():
    """What a model holds grows with the columns, not with the patients: ranges, level counts and correlations."""
    model = GaussianCopula().fit(patients(0.5), seed=1)
    assert model._learned.correlation.shape == (6, 6)  # x, y, high, level, told, and whether told is missing
