"""A folder of WFDB records and their table, in and out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from proband import Cohort, Column, InputError, Schema, Signals, Table, read, write, write_wfdb
from proband.cohort import Mark
from tests.hearts import SCHEMA


def hearts(mark: Mark | None = None) -> Cohort:
    """Three records of two channels, each at its own height."""
    values = np.arange(3)[:, None, None] + np.arange(2)[:, None] / 2 + np.zeros((3, 2, 5))
    frame = pl.DataFrame({"id": ["b", "a", "c"], "beat": ["broad", "normal", "broad"]})
    return Cohort(SCHEMA, frame, mark, media={"signals": Signals(values, ("II", "V5"), ("mV", "uV"), 250.0, (200.0, 200.0))})


def test_a_cohort_comes_back_as_it_was(tmp_path: Path):
    mark = Mark("waves", "1", 3, "hash")
    for at, cohort in enumerate((hearts(), hearts(mark))):
        write(cohort, tmp_path / f"{at}", format="csv")
        back = read(tmp_path / f"{at}", SCHEMA)
        assert back.fingerprint == cohort.fingerprint and back.mark == cohort.mark
        assert back.media["signals"].units == ("mV", "uV")  # type: ignore[attr-defined]


def test_without_a_table_only_the_records_are_known(tmp_path: Path):
    (tmp_path / "in").mkdir()
    write_wfdb(hearts().media["signals"], tmp_path / "in" / "deep", name="r")  # type: ignore[arg-type]
    cohort = read(tmp_path / "in")
    assert cohort.frame.rows() == [("deep/r_1",), ("deep/r_2",), ("deep/r_3",)] and len(cohort.media["signals"]) == 3


def test_a_column_called_record_goes_before_the_key(tmp_path: Path):
    """One patient may have several records."""
    write_wfdb(hearts().media["signals"], tmp_path / "in", name="r")  # type: ignore[arg-type]
    pl.DataFrame({"patient": ["x", "x", "y"], "record": ["r_3", "r_1.hea", "r_2"]}).write_csv(tmp_path / "in" / "who.csv")
    columns = (Column(name="patient", kind="identifier"), Column(name="record", kind="identifier"))
    cohort = read(tmp_path / "in", Schema(tables=(Table(name="who", key="patient", columns=columns),)))
    assert len(cohort) == 2 and cohort.media["signals"].values[:, 0, 0].tolist() == [2, 0, 1]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "a.hea").unlink(), "no record a.hea"),
        (lambda folder: write_wfdb(hearts().media["signals"], folder / "more"), r"no row of the table names record 'more/record_1' \(3"),
        (lambda folder: (folder / "x.csv").write_text("id\na\n"), "2 tables: hearts, x"),
        (lambda folder: (folder / "a.hea").write_text((folder / "a.hea").read_text().replace("250.0", "500")), "record 'a' has rate_hz"),
        (lambda folder: (folder / "a.hea").write_text((folder / "a.hea").read_text().replace("uV", "V")), "'a' has units"),
        (lambda folder: (folder / "a.hea").write_text((folder / "a.hea").read_text().replace("250.0 5", "250.0 4")), "4 samples"),
        (lambda folder: (folder / "hearts.csv").write_text("id,beat\na,broad\na,broad\nb,broad\nc,broad\n"), "names a record twice"),
        (lambda folder: (folder / "a.hea").write_text((folder / "a.hea").read_text() + "# proband.synthetic: true\n"), "not|cannot"),
    ],
)
def test_what_does_not_fit_together_is_said(tmp_path: Path, change, message: str):
    write(hearts(), tmp_path / "in", format="csv")
    change(tmp_path / "in")
    with pytest.raises(InputError, match=message):
        read(tmp_path / "in", SCHEMA)


def test_a_table_and_a_record_of_one_name_are_told_apart(tmp_path: Path):
    write(hearts(Mark("waves", "1", 3, "hash")), tmp_path / "in", format="csv")
    (tmp_path / "in" / "a.csv").write_text("id,beat\na,normal\nb,broad\nc,broad\n")  # unlabelled, called as the record a
    for old in ("hearts.csv", "hearts.csv.synthetic.json"):
        (tmp_path / "in" / old).unlink()
    with pytest.raises(InputError, match=r"'a\.hea' is labelled as synthetic and 'a\.csv' is not"):
        read(tmp_path / "in", SCHEMA)


def test_what_cannot_be_written_is_said(tmp_path: Path):
    cohort = hearts()
    odd = replace(cohort, frame=cohort.frame.with_columns(id=pl.Series(["a b", "c", "d"])))
    twice = replace(cohort, frame=cohort.frame.with_columns(id=pl.Series(["a", "a", "d"])))
    nameless = Schema(tables=(Table(name="hearts", columns=(Column(name="age", kind="integer"),)),))
    bare = Cohort(nameless, pl.DataFrame({"age": [1, 2, 3]}), media=cohort.media)
    for wrong, message in ((odd, "'a b'"), (twice, "does not tell every row"), (bare, "nothing in the table names the records")):
        with pytest.raises(InputError, match=message):
            write(wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists()
