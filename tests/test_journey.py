"""One journey: from a CSV of real patients to a release that a stranger can verify. And the one that must be stopped."""

import json
import sys
from pathlib import Path

import polars as pl
import pytest

import proband
from proband.cli import run
from tests.clinic import clinic


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
