"""MEDS folders <-> Cohort."""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from proband.cohort import Cohort
from proband.errors import InputError
from proband.records import is_synthetic, read_meds, write_meds
from proband.records.mark import to_text
from proband.schema import Column, Schema, Table
from proband.synthesizers.baselines import Bootstrap
from tests.linked import MARK, cohort

TYPES = {"subject_id": pl.Int64, "time": pl.Datetime("us"), "code": pl.String, "numeric_value": pl.Float32, "text_value": pl.String}


def day(number: int) -> datetime:
    return datetime(2020, 1, number)


#: Two shards of three patients: sex for all, height for one, a flag for one; two races of one patient; events with and without values.
SHARDS = {
    "train/0": [
        (1, None, "GENDER//F", None, None),
        (1, None, "HEIGHT//cm", 170.5, None),
        (1, datetime(1899, 5, 1), "MEDS_BIRTH", None, None),
        (1, day(2), "LAB//K", 4.1, None),
        (1, day(2), "LAB//Na", 139.0, None),
        (2, None, "GENDER//M", None, None),
        (2, None, "RACE//A", None, None),
        (2, None, "RACE//B", None, None),
        (2, day(5), "LAB//K", 3.9, None),
    ],
    "held_out/0": [(7, None, "DIABETES", None, None), (7, None, "GENDER//F", None, None), (7, day(9), "DIAGNOSIS//I50", None, None)],
}


def meds(path: Path, shards: dict[str, list[tuple[object, ...]]] = SHARDS) -> Path:
    for name, rows in shards.items():
        file = path / "data" / f"{name}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows, schema=TYPES, orient="row").write_parquet(file)
    return path


def test_what_never_changes_becomes_columns_and_the_rest_events(tmp_path: Path) -> None:
    found = read_meds(meds(tmp_path / "in"))
    assert dict(zip(found.frame.columns, found.frame.sort("subject_id").rows()[0], strict=True)) == {
        "subject_id": "1", "GENDER": "F", "HEIGHT//cm": 170.5, "DIABETES": None,
    }  # fmt: skip
    assert found.frame.sort("subject_id")["DIABETES"].to_list() == [None, None, True]
    events = found.schema["events"]
    assert (events.parent, events.on, events.order, events.measures) == ("patients", "subject_id", ("time",), ("code", "numeric_value"))
    assert [v.name for v in events.variables] == ["DIAGNOSIS//I50", "LAB//K", "LAB//Na", "MEDS_BIRTH", "RACE//A", "RACE//B"]
    assert found.linked["events"].height == 7 and "text_value" not in events


def test_a_round_trip_keeps_every_row(tmp_path: Path) -> None:
    write_meds(read_meds(meds(tmp_path / "in")), tmp_path / "out")
    rows = pl.read_parquet(tmp_path / "out" / "data" / "**" / "*.parquet")
    expected = pl.concat([pl.DataFrame(rows, schema=TYPES, orient="row") for rows in SHARDS.values()]).drop("text_value")
    assert rows.schema == expected.schema
    by = ["subject_id", "time", "code"]
    assert rows.sort(by).equals(expected.sort(by))
    assert rows["subject_id"].is_sorted() and pl.read_parquet(tmp_path / "out" / "metadata" / "codes.parquet")["code"].n_unique() == 10
    again = read_meds(tmp_path / "out")
    assert again.frame.sort("subject_id").rows() == read_meds(tmp_path / "in").frame.select(again.frame.columns).sort("subject_id").rows()


def test_numbers_that_are_labels_stay_numbers(tmp_path: Path) -> None:
    """A unit of numbers 1 to 4, told once a patient, is read as levels and written as the numbers it was."""
    rows: list[tuple[object, ...]] = [(i, None, "UNIT", float(1 + i % 4), None) for i in range(80)]
    write_meds(
        read_meds(meds(tmp_path / "in", {"0": [*rows, *((i, day(1), "LAB//K", 4.0 + i % 3, None) for i in range(80))]})), tmp_path / "out"
    )
    found = pl.read_parquet(tmp_path / "out" / "data" / "all" / "0.parquet").filter(pl.col("code") == "UNIT")
    assert found["numeric_value"].to_list() == [1.0 + i % 4 for i in range(80)] and found["time"].null_count() == 80


def test_synthetic_subjects_are_numbered_and_labelled(tmp_path: Path) -> None:
    made = Bootstrap().fit(read_meds(meds(tmp_path / "in")), seed=1).sample(4, seed=2)
    for name in ("one", "two"):
        write_meds(made, tmp_path / name)
    shard = Path("data/all/0.parquet")
    assert (tmp_path / "one" / shard).read_bytes() == (tmp_path / "two" / shard).read_bytes()
    assert sorted(pl.read_parquet(tmp_path / "one" / shard)["subject_id"].unique()) == [1, 2, 3, 4]
    assert read_meds(tmp_path / "one").mark == made.mark
    assert all(is_synthetic(path) for path in (tmp_path / "one").rglob("*.parquet"))
    assert json.loads((tmp_path / "one" / "metadata" / "dataset.json").read_text())["proband.synthetic"] == "true"


def test_another_shape_is_no_meds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this cohort has the tables patients, stays, labs"):
        write_meds(cohort(MARK), tmp_path / "out")
    good = read_meds(meds(tmp_path / "in"))
    events = good.schema["events"].model_copy(update={"measures": None, "variables": ()})
    bare = replace(good, schema=good.schema.model_copy(update={"tables": (good.schema.table, events)}))
    with pytest.raises(InputError, match="lacks `measures`"):
        write_meds(bare, tmp_path / "out")
    with pytest.raises(InputError, match="exists"):
        write_meds(good, tmp_path / "in")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ({}, "holds no MEDS data"),
        ({"0": [(None, day(1), "A", None, None), (1, day(1), "A", None, None)]}, "'subject_id' is missing in 1 events"),
        ({"0": [(1, day(1), None, None, None)]}, "'code' is missing in 1 events"),
    ],
)
def test_what_is_no_meds_is_refused(tmp_path: Path, shards: dict[str, list[tuple[object, ...]]], message: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match=message):
        read_meds(meds(tmp_path / "in", shards))


def test_a_shard_without_codes_is_refused(tmp_path: Path) -> None:
    folder = meds(tmp_path / "in")
    for path in folder.rglob("*.parquet"):
        pl.read_parquet(path).drop("code").write_parquet(path)
    with pytest.raises(InputError, match="lack column 'code'"):
        read_meds(folder)
    next(iter(folder.rglob("*.parquet"))).write_bytes(b"no parquet")
    with pytest.raises(InputError, match="cannot be read"):
        read_meds(folder)


def test_shards_of_one_file_name_are_told_apart(tmp_path: Path) -> None:
    """In the usual layout every folder of shards begins with a 0.parquet: one that says synthetic speaks for itself alone."""
    folder = meds(tmp_path / "in")
    pl.read_parquet(folder / "data/train/0.parquet").write_parquet(folder / "data/train/0.parquet", metadata=to_text(MARK))
    with pytest.raises(InputError, match=r"'data/train/0\.parquet' is labelled as synthetic and 'data/held_out/0\.parquet' is not"):
        read_meds(folder)


def patients(frame: pl.DataFrame) -> Cohort:
    """With a measured lab for each."""
    labs = frame.select("id", time=pl.lit(day(1)), code=pl.lit("K"), value=pl.lit(4.0))
    labs_table = Table(
        name="labs",
        parent="patients",
        on="id",
        order=("time",),
        measures=("code", "value"),
        columns=(
            Column(name="id", kind="identifier"),
            Column(name="time", kind="datetime"),
            Column(name="code", kind="category", categories=("K",)),
            Column(name="value", kind="number"),
        ),
    )
    columns = (Column(name="id", kind="identifier"), Column(name="DIABETES", kind="boolean", stored="Boolean"))
    return Cohort(Schema(tables=(Table(name="patients", key="id", columns=columns), labs_table)), frame, None, {"labs": labs})


def test_patients_of_one_number_stay_apart(tmp_path: Path) -> None:
    write_meds(patients(pl.DataFrame({"id": ["01", "1", "7"], "DIABETES": [True, True, None]})), tmp_path / "out")
    rows = pl.read_parquet(tmp_path / "out" / "data" / "all" / "0.parquet").select("subject_id", "code").rows()
    assert rows == [(1, "DIABETES"), (1, "K"), (2, "DIABETES"), (2, "K"), (3, "K")]


def test_a_no_is_not_lost(tmp_path: Path) -> None:
    made = patients(pl.DataFrame({"id": [f"{at}" for at in range(1, 61)], "DIABETES": [True, False, None] * 20}))
    write_meds(made, tmp_path / "out")
    rows = pl.read_parquet(tmp_path / "out" / "data" / "all" / "0.parquet").filter(pl.col("time").is_null())
    assert rows.select("subject_id", "code").rows()[:3] == [(1, "DIABETES//true"), (2, "DIABETES//false"), (4, "DIABETES//true")]
    again = read_meds(tmp_path / "out")
    assert again.frame.sort(pl.col("subject_id").cast(pl.Int64))["DIABETES"].to_list() == made.frame["DIABETES"].to_list()
