"""Files and frames <-> Cohort."""

import gzip
import subprocess
import sys
from datetime import date
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from proband.cohort import Cohort, Mark
from proband.errors import InputError
from proband.records import find_mark, is_synthetic, like, read, read_frame, write
from proband.records.mark import UNKNOWN
from proband.schema import Column, Schema, Table

SPELLED = pl.DataFrame(
    {
        "patient_id": ["0017", "0018", "0021"],
        "age": [71, None, 43],
        "weight_kg": [70.5, 81.0, None],
        "smoker": ["yes", "no", "yes"],
        "dose": ["5 mg", "10 mg", None],
        "admitted": ["31/01/2020", "01/02/2020", None],
        "ward": ["A", "B", "missing"],
    }
)
SCHEMA = Schema(
    tables=(
        Table(
            name="patients",
            key="patient_id",
            columns=(
                Column(name="patient_id", kind="identifier"),
                Column(name="age", kind="integer", stored="Int64"),
                Column(name="weight_kg", kind="number", stored="Float64"),
                Column(name="smoker", kind="boolean", spelling=("no", "yes")),
                Column(name="dose", kind="integer", unit="mg", unit_in_cell=" mg"),
                Column(name="admitted", kind="date", layout="%d/%m/%Y"),
                Column(name="ward", kind="category", categories=("A", "B"), missing=("missing",)),
            ),
        ),
    )
)
MARK = Mark(synthesizer="forest", version="0.1.0", seed=7, schema_hash=SCHEMA.hash, details={"where": "age > 80"})


def cohort(mark: Mark | None = None) -> Cohort:
    return Cohort(SCHEMA, read(SPELLED, SCHEMA).frame, mark)


def test_reading_gives_meaning_to_spelling() -> None:
    frame = cohort().frame
    assert frame["dose"].to_list() == [5, 10, None]
    assert frame["smoker"].to_list() == [True, False, True]
    assert frame["admitted"].to_list() == [date(2020, 1, 31), date(2020, 2, 1), None]
    assert frame["ward"].to_list() == ["A", "B", None]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
@pytest.mark.parametrize("mark", [None, MARK], ids=["real", "synthetic"])
def test_written_and_read_again(tmp_path: Path, suffix: str, mark: Mark | None) -> None:
    path = tmp_path / f"patients{suffix}"
    write(cohort(mark), path)
    again = read(path, SCHEMA)
    assert again.frame.equals(cohort().frame)
    assert again.mark == mark
    assert find_mark(path) == mark
    assert is_synthetic(path) == (mark is not None)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_same_cohort_same_bytes_and_no_leftovers(tmp_path: Path, suffix: str) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        write(cohort(MARK), folder / f"p{suffix}")
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {p.name: p.read_bytes() for p in other.iterdir()}
    assert sorted(p.name for p in one.iterdir()) == sorted([f"p{suffix}"] + [f"p{suffix}.synthetic.json"] * (suffix != ".parquet"))


def test_a_csv_file_is_written_as_it_was_spelled(tmp_path: Path) -> None:
    write(cohort(), tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text().splitlines()[:2] == [
        "patient_id,age,weight_kg,smoker,dose,admitted,ward",
        "0017,71,70.5,yes,5 mg,31/01/2020,A",
    ]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_lone_csv_file_is_still_known_as_synthetic(tmp_path: Path, suffix: str) -> None:
    write(cohort(MARK), tmp_path / f"p{suffix}")
    (tmp_path / f"p{suffix}.synthetic.json").unlink()
    assert find_mark(tmp_path / f"p{suffix}") == UNKNOWN
    assert is_synthetic(tmp_path / f"p{suffix}")


def test_a_sidecar_labels_no_file_without_the_label(tmp_path: Path) -> None:
    write(cohort(MARK), tmp_path / "p.csv")
    write(cohort(), tmp_path / "real.csv")
    (tmp_path / "real.csv.synthetic.json").write_bytes((tmp_path / "p.csv.synthetic.json").read_bytes())
    assert not is_synthetic(tmp_path / "real.csv")


def test_writing_real_patients_over_synthetic_ones_takes_the_label_away(tmp_path: Path) -> None:
    write(cohort(MARK), tmp_path / "p.csv")
    write(cohort(), tmp_path / "p.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]
    assert find_mark(tmp_path / "p.csv") is None


def test_mixed_real_and_synthetic_rows_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("_synthetic,age\ntrue,41\n,52\n")
    with pytest.raises(InputError, match="mixed"):
        read(tmp_path / "p.csv")


@pytest.mark.parametrize("content", ["{", "[]", '{"proband.synthetic": "true"}', " " * 2_000_000])
def test_a_hostile_sidecar_is_refused(tmp_path: Path, content: str) -> None:
    write(cohort(MARK), tmp_path / "p.csv")
    (tmp_path / "p.csv.synthetic.json").write_text(content)
    with pytest.raises(InputError, match=r"p\.csv\.synthetic\.json"):
        find_mark(tmp_path / "p.csv")


def test_leading_zeros_and_codes_stay_text(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("code,icd,count,value\n007,250.0,1,1.5\n010,250.00,2,2\n")
    frame = read_frame(tmp_path / "p.csv")
    assert frame.to_dict(as_series=False) == {"code": ["007", "010"], "icd": ["250.0", "250.00"], "count": [1, 2], "value": [1.5, 2.0]}


def test_long_numbers_keep_every_digit(tmp_path: Path) -> None:
    """Of two patients the longer number is beyond Int64's sure 18 digits; a float would keep the first 15."""
    (tmp_path / "p.csv").write_text("patient_id,count,value\n1234567890123456789,123456789012345678,1.5\n17,2,1234567890123456\n")
    frame = read_frame(tmp_path / "p.csv")
    assert frame.rows() == [("1234567890123456789", 123456789012345678, "1.5"), ("17", 2, "1234567890123456")]
    columns = (Column(name="patient_id", kind="identifier"), Column(name="count", kind="integer"), Column(name="value", kind="number"))
    schema = Schema(tables=(Table(name="t", key="patient_id", columns=columns),))
    write(read(tmp_path / "p.csv", schema), tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "p.csv").read_text()


def test_a_code_beyond_any_sample_keeps_its_zeros(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("code\n" + "10\n" * 20_000 + "007\n")
    assert read_frame(tmp_path / "p.csv")["code"][-1] == "007"


def test_column_groups_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(cohort(), tmp_path / "p.csv.gz")
    whole = read_frame(tmp_path / "p.csv.gz")
    monkeypatch.setattr("proband.records.csv._CELLS_AT_ONCE", 8)  # two columns at a time
    assert read_frame(tmp_path / "p.csv.gz").equals(whole)


def test_missing_and_unknown_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks column 'ward'"):
        read(SPELLED.drop("ward"), SCHEMA)
    with pytest.raises(InputError, match="column 'height', which the schema does not declare"):
        read(SPELLED.with_columns(height=pl.lit(1)), SCHEMA)


def test_the_key_may_not_be_missing() -> None:
    with pytest.raises(InputError, match=r"'patient_id', row 2: the patient is missing"):
        read(SPELLED.with_columns(patient_id=pl.Series(["1", None, "3"])), SCHEMA)


def test_the_callers_kind_comes_back() -> None:
    pandas = like(cohort(), pd.DataFrame({"a": [1]}))
    arrow = like(cohort(), pa.table({"a": [1]}))
    assert isinstance(pandas, pd.DataFrame) and pandas["dose"].tolist()[:2] == ["5 mg", "10 mg"]
    assert isinstance(arrow, pa.Table) and arrow.column("age").to_pylist() == [71, None, 43]
    assert like(cohort(), SPELLED)["smoker"].to_list() == ["yes", "no", "yes"]
    with pytest.raises(InputError, match="Frames of type list"):
        like(cohort(), [1])


@pytest.mark.parametrize("convert", [pl.DataFrame.to_pandas, pl.DataFrame.to_arrow, pl.DataFrame.clone], ids=["pandas", "arrow", "polars"])
def test_every_kind_of_frame_is_read_alike(convert) -> None:  # type: ignore[no-untyped-def]
    frame = pl.DataFrame(
        {"x": [1.5, None, 2.5] * 10, "sex": ["F", "M", None] * 10, "seen": [date(2020, 1, 1), None, date(2021, 5, 2)] * 10}
    )
    found = read(convert(frame)).frame
    assert found["x"].to_list() == frame["x"].to_list()
    assert found["sex"].to_list() == frame["sex"].to_list()


def test_pandas_objects_of_mixed_types_become_text() -> None:
    found = read(pd.DataFrame({"grade": [1, "two", None, 1] * 10}))
    assert found.frame["grade"].to_list() == ["1", "two", None, "1"] * 10


def test_an_unwritable_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write(cohort(MARK), tmp_path / "nowhere" / "p.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_full_disk_leaves_nothing_and_the_old_file_whole(tmp_path: Path, suffix: str) -> None:
    """A limit on file size stands for a full disk: the system refuses the write in the middle of the file."""
    path = tmp_path / f"p{suffix}"
    path.write_bytes(b"old")
    program = f"""
import resource, numpy, polars as pl
from proband.records import read, write
from proband.errors import InputError
cohort = read(pl.DataFrame({{"x": numpy.random.default_rng(0).random(200_000)}}))
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    write(cohort, {str(path)!r})
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout and done.stdout.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"old"


def test_ctrl_c_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("proband.records.tables.spell", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(cohort(MARK), tmp_path / "p.csv")
    assert list(tmp_path.iterdir()) == []


def test_gzip_carries_no_time_and_no_name(tmp_path: Path) -> None:
    write(cohort(), tmp_path / "p.csv.gz")
    packed = (tmp_path / "p.csv.gz").read_bytes()
    assert packed[3] == 0 and packed[4:8] == b"\0\0\0\0"
    assert gzip.decompress(packed).startswith(b"patient_id,")
