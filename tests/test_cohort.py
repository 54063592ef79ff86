"""A cohort is split by patient, once."""

import polars as pl
import pytest

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Column, Schema, Table

COLUMNS = (Column(name="pid", kind="identifier"), Column(name="x", kind="integer"))
KEYED = Schema(tables=(Table(name="t", columns=COLUMNS, key="pid"),))
KEYLESS = Schema(tables=(Table(name="t", columns=COLUMNS),))
VISITS = pl.DataFrame({"pid": [f"P{i // 3}" for i in range(900)], "x": range(900)})


def test_patients_not_rows_are_counted_taken_and_split() -> None:
    cohort = Cohort(KEYED, VISITS)
    assert len(cohort) == 300
    assert cohort.take(["P7"]).frame["x"].to_list() == [21, 22, 23]
    parts = cohort.split(seed=1)
    assert [len(part) for part in parts] == [180, 60, 60]
    patients = [set(part.patients) for part in parts]
    assert set.union(*patients) == set(cohort.patients) and sum(map(len, patients)) == 300
    assert all(part.frame.height == 3 * len(part) for part in parts)


def test_without_a_key_every_row_is_a_patient() -> None:
    cohort = Cohort(KEYLESS, VISITS)
    assert len(cohort) == 900
    assert cohort.take([1, 0]).frame["x"].to_list() == [0, 1]


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    cohort = Cohort(KEYED, VISITS)
    shuffled = Cohort(KEYED, VISITS.reverse())
    assert set(cohort.split(seed=1).train.patients) == set(shuffled.split(seed=1).train.patients)
    assert set(cohort.split(seed=1).train.patients) != set(cohort.split(seed=2).train.patients)


def test_too_few_patients() -> None:
    with pytest.raises(InputError, match="Bring at least 250 patients"):
        Cohort(KEYED, VISITS.head(600)).split(seed=1)


@pytest.mark.parametrize("frame", [VISITS.drop("x"), VISITS.select("x", "pid"), VISITS.with_columns(y=1), VISITS.cast({"x": pl.Float64})])
def test_the_frame_must_be_what_the_schema_says(frame: pl.DataFrame) -> None:
    with pytest.raises(InputError, match=r"proband\.read"):
        Cohort(KEYED, frame)
