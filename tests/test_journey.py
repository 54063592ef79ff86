"""One journey: from a CSV of real patients, or a folder of linked tables, to a release that a stranger can verify. And the one that must be
stopped."""

import json
import sys
from pathlib import Path

import polars as pl
import pytest

import proband
from proband.cli import run
from proband.records import find_mark
from tests.clinic import clinic
from tests.ward import SCHEMA, ward, with_events


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The exit code of `proband WORDS`."""
    monkeypatch.setattr(sys, "argv", ["proband", *map(str, words)])
    return run()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "patients.csv"
    clinic(3000).write_csv(path)
    return path


@pytest.fixture
def few(tmp_path: Path) -> Path:
    path = tmp_path / "patients.csv"
    clinic(1000).write_csv(path)
    return path


def test_from_csv_to_verified_release(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    schema, release = tmp_path / "schema.toml", tmp_path / "release"
    assert command(monkeypatch, "schema", data, "--out", schema) == 0
    words = "synthesize", data, "--schema", schema, "--target", "died", "--policy", "internal", "--format", "csv"
    assert command(monkeypatch, *words, "--out", release) == 0, capsys.readouterr()
    assert command(monkeypatch, "verify", release) == 0
    capsys.readouterr()
    assert command(monkeypatch, "verify", release, "--json") == 0
    assert json.loads(capsys.readouterr().out)["status"] == "intact"

    synthetic = proband.read(release / "synthetic.csv", proband.Schema.load(release / "schema.toml"))
    assert synthetic.mark is not None
    frame = synthetic.frame
    assert frame.height == 3000
    assert frame.filter((pl.col("ward") == "surgery") != (pl.col("building") == "north")).height == 0
    assert frame.filter(pl.col("diastolic_mmhg") > pl.col("systolic_mmhg")).height == 0
    assert frame.filter(pl.col("lactate_measured") != pl.col("lactate_mmol_l").is_not_null()).height == 0
    assert not set(frame["patient_id"]) & {f"P{i:05d}" for i in range(3000)}

    again = tmp_path / "again"
    assert command(monkeypatch, *words, "--out", again) == 0
    names = sorted(path.name for path in release.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert [n for n in names if (release / n).read_bytes() != (again / n).read_bytes()] == [], "same seed, same bytes"

    file = release / "synthetic.csv"
    file.write_bytes(file.read_bytes().replace(b"surgery", b"surgerx", 1))
    assert command(monkeypatch, "verify", release) == 1
    assert "synthetic.csv" in capsys.readouterr().out


def test_copied_patients_do_not_leave(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    release = tmp_path / "release"
    words = "synthesize", few, "--target", "died", "--policy", "internal", "--synthesizer", "bootstrap", "--out", release
    assert command(monkeypatch, *words) == 1
    assert "exact_copies_excess" in capsys.readouterr().err
    assert sorted(path.name for path in release.iterdir()) == ["report.html", "report.json"]


def test_step_by_step_with_a_condition(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, model = tmp_path / "parts", tmp_path / "model"
    assert command(monkeypatch, "split", few, "--out", parts, "--seed", 3) == 0
    ids = [set(proband.read(parts / f"{n}.parquet").patients) for n in ("train", "holdout", "reference")]
    assert [len(s) for s in ids] == [600, 200, 200]
    assert len(set.union(*ids)) == 1000
    words = "fit", parts / "train.parquet", "--schema", parts / "schema.toml", "--minutes", 0.05
    assert command(monkeypatch, *words, "--out", model) == 0
    where = "age BETWEEN 60 AND 70 AND sex = 'F' AND smoker = 'yes'"
    for name in ("one.csv", "two.csv"):
        assert command(monkeypatch, "sample", model, "-n", 40, "--where", where, "--out", tmp_path / name) == 0
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    made = pl.read_csv(tmp_path / "one.csv")
    assert made.height == 40
    assert made["age"].is_between(60, 70).all() and (made["sex"] == "F").all() and (made["smoker"] == "yes").all()
    assert command(monkeypatch, "verify", tmp_path / "one.csv") == 0


def test_from_a_folder_of_linked_tables_to_verified_releases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copies of real patients, under a policy that asks of them only what time shows: nothing has to be learned."""
    few = with_events(
        ward(250, seed=1), lambda events: events.filter((pl.col("minute") < 300) & pl.col("what").is_in(["pulse", "creatinine"]))
    )
    proband.write(few, tmp_path / "ward", format="csv")
    schema, policy, out, again = (tmp_path / name for name in ("schema.toml", "policy.toml", "out", "again"))
    SCHEMA.save(schema)
    bounds = {name: {"at_most": 1, "why": "It was measured."} for name in ("moment_auc", "lengths_distance")}
    content = {"name": "lenient", "version": 1, "audience": "a test", "required": [*bounds], "limits": bounds}
    proband.Policy.model_validate(content).save(policy)

    words = "--schema", schema, "--policy", policy, "--synthesizer", "bootstrap", "-n", 200
    assert command(monkeypatch, "synthesize", tmp_path / "ward", *words, "--out", out) == 0, capsys.readouterr()
    assert command(monkeypatch, "verify", out) == 0
    made = proband.read(out, proband.Schema.load(out / "schema.toml"))
    assert len(made) == 200 and made.mark is not None and made.mark == find_mark(out)
    report = proband.Report.load(out / "report.json")
    assert report.context["subject"]["sha256"] == made.fingerprint
    page = (out / "report.html").read_text()
    assert "One synthetic patient" in page and "How often things happen" in page, "the pictures over time"

    words = "release", out, "--schema", schema, "--report", out, "--policy", policy, "--into", again
    assert command(monkeypatch, *words) == 0, capsys.readouterr()
    assert {path.name for path in again.iterdir()} == {path.name for path in out.iterdir()}
    events = again / "events.parquet"
    pl.read_parquet(events)[:-1].write_parquet(events, metadata=pl.read_parquet_metadata(events))
    capsys.readouterr()
    assert command(monkeypatch, "verify", again) == 1 and "events.parquet: changed" in capsys.readouterr().out
