"""Folders of linked tables <-> Cohort."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

import proband
from proband.cohort import Cohort
from proband.errors import InputError
from proband.records import find_mark, is_synthetic, write_meds
from proband.records.folder import new_folder
from proband.records.mark import UNKNOWN, sidecar
from proband.schema import Schema
from tests.hearts import hearts
from tests.linked import MARK, SCHEMA, cohort, frames

FORMATS = ("parquet", "csv", "csv.gz")


def folder_of(path: Path, **changed: pl.DataFrame) -> Path:
    path.mkdir()
    for name, frame in (frames() | changed).items():
        frame.write_csv(path / f"{name}.csv")
    return path


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_comes_back_with_its_mark(tmp_path: Path, format: str) -> None:
    made = cohort(MARK)
    proband.write(made, tmp_path / "out", format=format)
    again = proband.read(tmp_path / "out", SCHEMA)
    assert again.mark == MARK
    assert again.fingerprint == made.fingerprint
    assert all(is_synthetic(tmp_path / "out" / f"{name}.{format}") for name in ("patients", "stays", "labs"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_cohort_gives_the_same_bytes(tmp_path: Path, format: str) -> None:
    for name in ("one", "two"):
        proband.write(cohort(MARK), tmp_path / name, format=format)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two and len(one) >= 3


def test_real_patients_carry_no_mark(tmp_path: Path) -> None:
    proband.write(cohort(), tmp_path / "out", format="csv")
    assert proband.read(tmp_path / "out", SCHEMA).mark is None
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["labs.csv", "patients.csv", "stays.csv"]
    assert find_mark(tmp_path / "out" / "labs.csv") is None


def test_a_folder_without_a_schema_is_guessed(tmp_path: Path) -> None:
    found = proband.read(folder_of(tmp_path / "in")).schema
    assert [(table.name, table.parent) for table in found.tables] == [("patients", None), ("stays", "patients"), ("labs", "patients")]


def test_dates_before_1900_and_values_of_their_own_kind_are_read(tmp_path: Path) -> None:
    labs = proband.read(folder_of(tmp_path / "in"), SCHEMA).linked["labs"]
    assert labs["time"][4] == datetime(1899, 12, 31, 23, 59)
    assert labs["stay"].to_list() == ["10", "10", "11", "20", None]


def test_a_table_below_the_first_may_be_empty(tmp_path: Path) -> None:
    few = cohort(MARK).take(["3"])
    assert few.linked["stays"].height == 0
    for format in FORMATS:
        proband.write(few, tmp_path / format, format=format)
        assert proband.read(tmp_path / format, SCHEMA).fingerprint == few.fingerprint
        assert proband.read(tmp_path / format, SCHEMA).mark == MARK


def test_a_folder_with_one_file_is_that_table(tmp_path: Path) -> None:
    one = Schema(tables=(SCHEMA.table,))
    (tmp_path / "release").mkdir()
    proband.write(Cohort(one, cohort().frame, MARK), tmp_path / "release" / "synthetic.csv")
    (tmp_path / "release" / "card.md").write_text("notes")
    for schema in (one, None):
        read = proband.read(tmp_path / "release", schema)
        assert len(read) == 3 and read.mark == MARK and not read.linked
    with pytest.raises(InputError, match="no file for table 'patients'"):
        proband.read(tmp_path / "release", SCHEMA)


def test_files_that_are_no_tables_are_left_alone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in")
    (folder / "README.md").write_text("notes")
    frames()["labs"].write_csv(folder / "d_labs.csv")
    with pytest.raises(InputError, match=r"d_labs\.csv' is no table of the schema \(patients, stays, labs\)"):
        proband.read(folder, SCHEMA)
    assert len(proband.read(folder, SCHEMA.model_copy(update={"codes": ("d_labs",)}))) == 3


def test_a_missing_table_and_two_files_for_one(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in")
    frames()["labs"].write_parquet(folder / "labs.parquet")
    with pytest.raises(InputError, match=r"two files for table 'labs': labs\.csv, labs\.parquet"):
        proband.read(folder, SCHEMA)
    for name in ("labs.parquet", "labs.csv"):
        (folder / name).unlink()
    with pytest.raises(InputError, match="no file for table 'labs'"):
        proband.read(folder, SCHEMA)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no data file"):
        proband.read(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "column", "values", "message"),
    [
        ("labs", "pid", [1, 1, 1, 2, 9], "Table 'labs': column 'pid', row 5: no row of table 'patients' has this key"),
        ("labs", "pid", [1, None, 1, 2, 3], "Table 'labs': column 'pid', row 2: it is missing, so nobody owns the row"),
        ("patients", "pid", [1, 2, 2], "Table 'patients': column 'pid', row 3: the key stood in a row before"),
        ("patients", "pid", [1, None, 3], "column 'pid', row 2: the patient is missing"),
        ("labs", "value", [4.1, 12.0, 3.9, 14.0, None], r"'value', row 2: it is beyond the bounds of variable 'Na' \(2 rows"),
        ("labs", "test", ["K", "Cl", "K", "K", "K"], r"labs\.csv': Column 'test', row 2"),
        ("labs", "time", ["2020-01-01 09:00"] * 4 + ["noon"], r"labs\.csv': Column 'time', row 5"),
    ],
)
def test_what_has_no_owner_or_does_not_fit_is_refused(tmp_path: Path, name: str, column: str, values: list[object], message: str) -> None:
    frame = frames()[name].with_columns(pl.Series(column, values))
    with pytest.raises(InputError, match=message):
        proband.read(folder_of(tmp_path / "in", **{name: frame}), SCHEMA)


def test_a_value_beyond_its_variable_may_be_made_missing() -> None:
    labs = SCHEMA["labs"]
    lenient = tuple(variable.model_copy(update={"outside": "missing"}) for variable in labs.variables)
    schema = SCHEMA.model_copy(update={"tables": (*SCHEMA.tables[:2], labs.model_copy(update={"variables": lenient}))})
    odd = frames() | {"labs": frames()["labs"].with_columns(value=pl.Series([99.0, 139.0, 3.9, 141.0, None]))}
    assert proband.read(odd, schema).linked["labs"]["value"].to_list() == [None, 139.0, 3.9, 141.0, None]


def test_real_and_synthetic_tables_are_not_mixed(tmp_path: Path) -> None:
    proband.write(cohort(MARK), tmp_path / "out", format="csv")
    sidecar(tmp_path / "out" / "labs.csv").unlink()
    assert proband.read(tmp_path / "out", SCHEMA).mark == MARK  # the label inside is left, and the others say what made it
    proband.write(cohort(replace(MARK, seed=8)), tmp_path / "other", format="csv")
    (tmp_path / "out" / "labs.csv").unlink()
    for name in ("labs.csv", "labs.csv.synthetic.json"):
        (tmp_path / "other" / name).rename(tmp_path / "out" / name)
    with pytest.raises(InputError, match="two synthetic cohorts"):
        proband.read(tmp_path / "out", SCHEMA)
    sidecar(tmp_path / "out" / "labs.csv").unlink()
    frames()["labs"].write_csv(tmp_path / "out" / "labs.csv")
    with pytest.raises(InputError, match="'patients' is labelled as synthetic and 'labs' is not"):
        proband.read(tmp_path / "out", SCHEMA)


def test_a_label_without_any_sidecar_is_still_a_label(tmp_path: Path) -> None:
    proband.write(cohort(MARK), tmp_path / "out", format="csv")
    for path in (tmp_path / "out").glob("*.synthetic.json"):
        path.unlink()
    assert proband.read(tmp_path / "out", SCHEMA).mark == UNKNOWN


def test_an_error_leaves_nothing_and_a_folder_is_not_overwritten(tmp_path: Path) -> None:
    made = cohort()
    (tmp_path / "there").mkdir()
    tables = [table.model_copy(update={"name": table.name.replace("labs", "a/b")}) for table in SCHEMA.tables]
    slashed = Cohort(Schema(tables=tuple(tables)), made.frame, None, {"stays": made.linked["stays"], "a/b": made.linked["labs"]})
    for what, path, message in (
        (made, "there", "exists"),
        (made, "no/such", "cannot be written"),
        (made, "one.csv", "one file"),
        (slashed, "out", "cannot name a file"),
    ):
        with pytest.raises(InputError, match=message):
            proband.write(what, tmp_path / path)
    with pytest.raises(InputError, match="no format of ours"):
        proband.write(made, tmp_path / "out", format="xlsx")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def measured() -> Cohort:
    """The patients of tests/linked.py and their labs, without stays."""
    labs = SCHEMA["labs"]
    labs = labs.model_copy(update={"links": (), "columns": tuple(column for column in labs.columns if column.name != "stay")})
    tables = frames()
    return proband.read({"patients": tables["patients"], "labs": tables["labs"].drop("stay")}, Schema(tables=(SCHEMA.table, labs)))


@pytest.mark.parametrize(
    "put",
    [
        lambda folder: proband.write(cohort(), folder),
        lambda folder: proband.write(hearts(3, seed=0), folder),
        lambda folder: proband.write_wfdb(hearts(3, seed=0).media["signals"], folder),
        lambda folder: write_meds(measured(), folder),
    ],
    ids=["tables", "recordings", "wfdb", "meds"],
)
def test_a_full_disk_leaves_nothing_in_the_way(tmp_path: Path, put: Callable[[Path], object]) -> None:
    """A limit of 100 bytes a file stands for a full disk; once there is room again the same folder is written."""
    resource = pytest.importorskip("resource")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be written: .*File too large"):
            put(tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not list(tmp_path.iterdir())
    put(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "out") as scratch:
        (scratch / "half.csv").write_text("id,a")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_one_table_is_not_read_under_a_schema_of_several() -> None:
    with pytest.raises(InputError, match="patients, stays, labs, and one is given"):
        proband.read(frames()["patients"], SCHEMA)
    with pytest.raises(InputError, match="Table 'labs' is missing"):
        proband.read({name: frame for name, frame in frames().items() if name != "labs"}, SCHEMA)
    with pytest.raises(InputError, match="Table 'notes' is not in the schema"):
        proband.read(frames() | {"notes": frames()["labs"]}, SCHEMA)


def test_nothing_much_and_nothing_but_missing_values(tmp_path: Path) -> None:
    """A patient without an event, one with one, one with 10,000; a variable of which every value is missing."""
    (tmp_path / "in").mkdir()
    pl.DataFrame({"pid": [1, 2, 3], "sex": ["F", "M", "F"]}).write_csv(tmp_path / "in" / "patients.csv")
    codes = ["HR", "temp", "lost"]
    values = [80.0 + at % 9 if at % 3 == 0 else 36.5 + at % 5 / 10 if at % 3 == 1 else None for at in range(10_001)]
    rows = {"pid": [2, *[3] * 10_000], "minute": [0, *range(10_000)], "code": [codes[at % 3] for at in range(10_001)], "value": values}
    pl.DataFrame(rows).write_csv(tmp_path / "in" / "events.csv")
    found = proband.read(tmp_path / "in")
    events = found.schema["events"]
    assert events.measures == ("code", "value") and [v.name for v in events.variables] == ["HR", "lost", "temp"]
    assert found.take(["1"]).linked["events"].height == 0
    assert found.take(["3"]).linked["events"].height == 10_000
    assert found.linked["events"].filter(pl.col("code") == "lost")["value"].is_null().all()
    proband.write(found, tmp_path / "out")
    assert proband.read(tmp_path / "out", found.schema).fingerprint == found.fingerprint
