"""Which columns are compared, who owns which row, and what distances mean."""

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.errors import InputError
from proband.privacy import patients
from proband.privacy.patients import Embedding, gathered
from proband.schema import Column, Schema, Table

VISITS = Schema(
    tables=(
        Table(
            name="patients",
            key="id",
            columns=(
                Column(name="id", kind="identifier"),
                Column(name="weight", kind="number"),
                Column(name="sex", kind="category", categories=("f", "m")),
            ),
        ),
    )
)


def visits(ids: list[str], weight: list[float | None], sex: list[str | None]) -> Cohort:
    return Cohort(
        VISITS, pl.DataFrame({"id": ids, "weight": weight, "sex": sex}, schema={"id": pl.String, "weight": pl.Float64, "sex": pl.String})
    )


def test_all_rows_of_a_patient_have_one_owner_and_equal_keys_in_two_parts_are_two_patients() -> None:
    train, holdout = visits(["a", "b", "a"], [1, 2, 3], ["f", "m", "f"]), visits(["a"], [4], ["m"])
    real = gathered(train.frame, train, holdout)
    assert real.owner.tolist() == [0, 1, 0, 2]
    assert real.member.tolist() == [True, True, False]
    assert [column.name for column in real.columns] == ["weight", "sex"]  # an identifier is nothing to compare by


def test_a_column_missing_from_the_synthetic_table_is_left_out() -> None:
    train = visits(["a", "b"], [1, 2], ["f", "m"])
    synthetic = train.frame.with_columns(sex=pl.lit(None, pl.String))
    assert [column.name for column in gathered(synthetic, train).columns] == ["weight"]


def test_identifiers_alone_are_refused() -> None:
    schema = Schema(tables=(Table(name="patients", key="id", columns=(Column(name="id", kind="identifier"),)),))
    only = Cohort(schema, pl.DataFrame({"id": ["a", "b"]}))
    with pytest.raises(InputError, match="identifiers only"):
        gathered(only.frame, only)


def test_a_level_apart_is_distance_one_and_missing_is_not_zero() -> None:
    columns = VISITS.table.columns[1:]
    frame = pl.DataFrame({"weight": [50.0, 50.0, None], "sex": ["f", "m", "f"]})
    points = Embedding(columns, frame, seed=0)(frame)
    assert np.linalg.norm(points[0] - points[1]) == pytest.approx(1)
    assert np.linalg.norm(points[0] - points[2]) == pytest.approx(1)  # both at the middle rank, one flagged missing


def test_numbers_are_counted_in_standard_deviations_so_units_do_not_matter() -> None:
    columns = (VISITS.table["weight"],)
    plain = pl.DataFrame({"weight": [1.0, 2.0, 3.0, 4.0]})
    grams = pl.DataFrame({"weight": [1000.0, 2000.0, 3000.0, 4000.0]})
    np.testing.assert_allclose(Embedding(columns, plain, seed=0)(plain), Embedding(columns, grams, seed=0)(grams), rtol=1e-6)


def test_an_outlier_moves_nobody_else_and_is_not_a_world_away() -> None:
    columns = (VISITS.table["weight"],)
    usual = [float(weight) for weight in range(40, 100)]
    alone, joined = (pl.DataFrame({"weight": weights}) for weights in (usual, [*usual, 65_526.0]))
    near, far = Embedding(columns, alone, seed=0)(alone), Embedding(columns, joined, seed=0)(joined)
    assert np.abs(near - far[:-1]).max() < 0.05
    assert np.linalg.norm(far[-1]) < 10


def test_half_a_column_at_zero_still_has_a_scale() -> None:
    columns = (VISITS.table["weight"],)
    frame = pl.DataFrame({"weight": [0.0] * 8 + [2.0, 4.0]})
    assert 1 < np.ptp(Embedding(columns, frame, seed=0)(frame)[:, 0]) < 5


def test_wide_tables_are_projected_and_keep_their_distances() -> None:
    names = [f"c{number}" for number in range(150)]
    columns = tuple(Column(name=name, kind="number") for name in names)
    draw = np.random.default_rng(0)
    frame = pl.DataFrame({name: draw.normal(size=60) for name in names})
    projected = Embedding(columns, frame, seed=0)(frame)
    assert projected.shape == (60, patients.PROJECTED)
    low, middle, high = np.quantile(frame.to_numpy(), [0.25, 0.5, 0.75], axis=0)
    exact = np.arcsinh((frame.to_numpy() - middle) / ((high - low) / 1.349))
    ratios = np.linalg.norm(projected[:30] - projected[30:], axis=1) / np.linalg.norm(exact[:30] - exact[30:], axis=1)
    assert np.abs(ratios - 1).mean() < 0.1  # sqrt(1 / (2 * 128)) = 6 % per pair


def test_an_unknown_level_and_an_all_missing_column_are_embedded() -> None:
    columns = VISITS.table.columns[1:]
    fit = pl.DataFrame({"weight": [None, None], "sex": ["f", "m"]}, schema={"weight": pl.Float64, "sex": pl.String})
    points = Embedding(columns, fit, seed=0)(pl.DataFrame({"weight": [3.0, None], "sex": ["x", "f"]}))
    assert np.isfinite(points).all()
