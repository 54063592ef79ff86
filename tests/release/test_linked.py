"""A release of linked tables: a file each, all of them labelled, described and signed."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import proband
from proband.cohort import Cohort
from proband.errors import InputError, NotReleasable
from proband.records.mark import find_mark, is_synthetic
from proband.release.bundle import Release, release
from proband.release.policy import Policy
from proband.release.provenance import opened
from proband.release.verify import Fault, verify
from proband.schema import Schema
from proband.validate.report import Report
from tests.linked import MARK, cohort

TABLES = ("patients", "stays", "labs")


@pytest.fixture
def linked() -> Cohort:
    return cohort(MARK)


def about(made: Cohort, report: Report) -> Report:
    """The report as if it had judged these patients."""
    return Report(report.findings, {**report.context, "subject": {"sha256": made.fingerprint}})


@pytest.fixture(params=["parquet", "csv"])
def made(request: pytest.FixtureRequest, tmp_path: Path, linked: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey) -> Release:
    return release(linked, about(linked, report), policy, tmp_path / "out", key=key, format=request.param, name="ward")


def file_of(made: Release, table: str) -> Path:
    return next(path for path in made.path.iterdir() if path.name in (f"{table}.parquet", f"{table}.csv"))


def test_every_table_is_a_file_labelled_and_signed(made: Release, linked: Cohort) -> None:
    assert made.verify().status == "intact" and made.verify().mark == MARK
    assert find_mark(made.path) == MARK and is_synthetic(made.path)
    assert proband.read(made.path, Schema.load(made.path / "schema.toml")).fingerprint == linked.fingerprint
    signed = opened((made.path / "statement.json").read_bytes())
    assert {file_of(made, table).name for table in TABLES} < set(signed.subject)
    assert signed.predicate["name"] == "ward" and signed.predicate["patients"] == {"count": 3, "fingerprint": linked.fingerprint}


def test_a_changed_cell_in_the_second_table_is_named(made: Release) -> None:
    stays = file_of(made, "stays")
    if stays.suffix == ".csv":
        changed = stays.read_text().replace("2020-01-03", "2020-01-04")
        assert changed != stays.read_text()
        stays.write_text(changed)
    else:
        frame = pl.read_parquet(stays)
        frame[0, "outtime"] = frame["outtime"][1]
        frame.write_parquet(stays, metadata=pl.read_parquet_metadata(stays))
    assert find_mark(stays) == MARK  # whoever changes a cell keeps the label
    assert made.verify().faults == (Fault(stays.name, "changed"),)


def test_a_missing_table_is_named(made: Release) -> None:
    labs = file_of(made, "labs")
    labs.unlink()
    assert made.verify().faults == (Fault(labs.name, "missing"),)


def test_a_table_that_was_added_is_named(made: Release) -> None:
    shutil.copy(file_of(made, "labs"), made.path / "more.csv")
    assert made.verify().faults == (Fault("more.csv", "extra: it was not signed"),)


def test_two_tables_that_changed_places_are_named(made: Release) -> None:
    stays, labs = file_of(made, "stays"), file_of(made, "labs")
    stays.rename(made.path / "kept")
    labs.rename(stays)
    (made.path / "kept").rename(labs)
    assert [fault.name for fault in made.verify().faults] == sorted([labs.name, stays.name])


def test_one_table_without_its_label_makes_the_folder_unlabelled(tmp_path: Path, linked: Cohort) -> None:
    for format in ("parquet", "csv"):
        folder = tmp_path / format
        proband.write(linked, folder, format=format)
        assert verify(folder).status == "labelled" and find_mark(folder) == MARK
        proband.write(cohort(), tmp_path / f"real_{format}", format=format)
        shutil.copy(tmp_path / f"real_{format}" / f"stays.{format}", folder / f"stays.{format}")
        assert verify(folder).status == "unlabelled" and not is_synthetic(folder)
        assert find_mark(tmp_path / f"real_{format}") is None
    (tmp_path / "csv" / "stays.csv.synthetic.json").unlink()  # left over, it would name the synthesizer of an unlabelled table
    for format in ("parquet", "csv"):
        with pytest.raises(InputError, match="'labs' is labelled as synthetic and 'stays' is not"):
            find_mark(tmp_path / format)


def test_a_table_without_rows_is_labelled_too(
    tmp_path: Path, linked: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey
) -> None:
    quiet = linked.take(["3"])
    assert quiet.linked["stays"].height == 0
    for format in ("parquet", "csv"):
        out = release(quiet, about(quiet, report), policy, tmp_path / format, key=key, format=format)
        assert out.verify().status == "intact" and find_mark(out.path) == MARK
        assert proband.read(out.path, linked.schema).fingerprint == quiet.fingerprint


def test_a_changed_cell_of_a_linked_table_needs_a_new_report(
    tmp_path: Path, linked: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey
) -> None:
    labs = linked.linked["labs"].with_columns(value=pl.col("value") + 0.1)
    other = replace(linked, linked={**linked.linked, "labs": labs})
    with pytest.raises(NotReleasable, match="other patients"):
        release(other, about(linked, report), policy, tmp_path / "out", key=key)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a/b", "a\nb", ".labs"])
def test_a_table_that_cannot_name_a_file_is_refused(
    tmp_path: Path, linked: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey, name: str
) -> None:
    tables = (*linked.schema.tables[:2], linked.schema["labs"].model_copy(update={"name": name}))
    odd = Cohort(Schema(tables=tables), linked.frame, MARK, {"stays": linked.linked["stays"], name: linked.linked["labs"]})
    with pytest.raises(InputError, match="cannot name a file"):
        release(odd, about(odd, report), policy, tmp_path / "out", key=key)
    assert not list(tmp_path.iterdir())


def test_the_card_tells_every_table(made: Release) -> None:
    text = (made.path / "card.md").read_text()
    for expected in (
        "Synthetic patients: 3 in patients, 3 rows of 2 columns; stays, 3 rows of 4 columns; labs, 5 rows of 5 columns",
        "the patient (all their rows in all tables)",
        "### stays\n\nRows of patients by pid.",
        "What value is, by test:",
        "| Na | integer |  |  |  |",
    ):
        assert expected in text, expected


def test_croissant_describes_every_table_and_how_they_hang_together(made: Release) -> None:
    described = json.loads((made.path / "croissant.json").read_text())
    signed = opened((made.path / "statement.json").read_bytes()).subject
    names = [file_of(made, table).name for table in TABLES]
    assert [(file["name"], file["sha256"]) for file in described["distribution"]] == [(name, signed[name]) for name in names]
    listed = "".join(f"{signed[name]}  {name}\n" for name in sorted(names))
    assert described["url"] == f"urn:sha256:{hashlib.sha256(listed.encode()).hexdigest()}"
    patients, stays, labs = described["recordSet"]
    assert (patients["key"], stays["key"], labs.get("key")) == ({"@id": "patients/pid"}, {"@id": "stays/stay"}, None)
    pointing = {
        field["@id"]: field["references"]["field"]["@id"]
        for records in (patients, stays, labs)
        for field in records["field"]
        if "references" in field
    }
    assert pointing == {"stays/pid": "patients/pid", "labs/pid": "patients/pid", "labs/stay": "stays/stay"}
    assert {field["source"]["fileObject"]["@id"] for field in labs["field"]} == {names[2]}
