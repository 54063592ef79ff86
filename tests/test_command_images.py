"""The command on folders of synthetic images: looked at, released, verified, shown to people."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

import proband
from proband import Cohort, Column, Finding, Images, Mark, Report, Schema, Table
from proband.cli import run
from proband.records.photos import write_photo

COLUMNS = (Column(name="image", kind="identifier"), Column(name="finding", kind="category", categories=("ill", "well")))
SCHEMA = Schema(tables=(Table(name="xrays", columns=COLUMNS, key="image"),))
MARK = Mark("images", "1", 3, SCHEMA.hash)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The exit code of `proband WORDS`."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("PROBAND_KEY", raising=False)

    def command(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["proband", *map(str, words)])
        return run()

    return command


def xrays(n: int, mark: Mark | None, size: int = 64) -> Cohort:
    rng = np.random.default_rng(n)
    frame = pl.DataFrame({"image": [f"i{at}" for at in range(n)], "finding": ["ill", "well"] * (n // 2)})
    return Cohort(SCHEMA, frame, mark, media={"images": Images(rng.integers(60, 200, (n, 1, size, size)).astype(np.uint8))})


def test_a_folder_of_images_is_released_verified_and_known_again(command, tmp_path, capsys):
    """From what `sample` writes to a screenshot of one image of the release."""
    proband.write(xrays(4, MARK), tmp_path / "made", format="csv")
    SCHEMA.save(tmp_path / "schema.toml")
    subject = proband.read(tmp_path / "made", SCHEMA).fingerprint  # as `validate` reads it
    found = Finding("private", "exact_copies_excess", "Copies of real patients", 0.0, "None was found.", interval=(0.0, 0.004))
    (tmp_path / "report").mkdir()
    Report((found,), {"subject": {"sha256": subject}}).save(tmp_path / "report" / "report.json")
    limit = {"exact_copies_excess": {"at_most": 0.01, "why": "Copies are real patients."}}
    told = {"name": "ward", "version": 1, "audience": "us", "required": ["exact_copies_excess"], "limits": limit}
    proband.Policy.model_validate(told).save(tmp_path / "policy.toml")
    words = "release", tmp_path / "made", "--report", tmp_path / "report", "--schema", tmp_path / "schema.toml"
    assert command(*words, "--policy", tmp_path / "policy.toml", "--into", tmp_path / "out") == 0, capsys.readouterr().err
    assert command("verify", tmp_path / "out") == 0 and "Intact" in capsys.readouterr().out
    assert proband.read(tmp_path / "out" / "synthetic", SCHEMA).fingerprint == subject

    image = tmp_path / "out" / "synthetic" / "i1.png"
    assert command("verify", image, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["status"], said["synthetic"], said["mark"]["synthesizer"]) == ("labelled", "yes", "images") and said["watermark"][
        "p"
    ] < 1e-6
    Image.open(image).save(tmp_path / "shot.jpg", quality=75)
    assert command("verify", tmp_path / "shot.jpg") == 0 and "Synthetic by its watermark" in capsys.readouterr().out
    (tmp_path / "key.txt").write_text("another\n")
    assert command("verify", tmp_path / "shot.jpg", "--watermark-key", tmp_path / "key.txt") == 1
    assert "Watermark not found" in capsys.readouterr().out
    (tmp_path / "key.txt").write_text(" ")
    assert command("verify", tmp_path / "shot.jpg", "--watermark-key", tmp_path / "key.txt") == 2 and "is empty" in capsys.readouterr().err
    assert command(*words, "--into", tmp_path / "more", "--watermark-key", tmp_path / "none.txt") == 2
    assert not (tmp_path / "more").exists()


def test_what_gives_a_class_away_is_listed_before_anything_learns(command, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for at in range(120):
        path = tmp_path / "lungs" / ("covid" if at % 2 else "normal") / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_photo(path, rng.integers(0, 256, (1, 40, 50 if at % 2 else 40), np.uint8), mark=None)
    assert command("schema", tmp_path / "lungs", "--out", tmp_path / "a.toml") == 0
    said = capsys.readouterr().out
    assert "To look at:" in said and "class 'covid': the size of its files in pixels tells it from the others in 100% of pairs" in said
    assert command("schema", tmp_path / "lungs", "--out", tmp_path / "b.toml", "--json") == 0
    assert any("border" in one for one in json.loads(capsys.readouterr().out)["to_look_at"]), "of the padding to squares"


def test_a_page_for_people_is_made_and_their_answers_read(command, tmp_path, capsys):
    proband.write(xrays(24, None, 32), tmp_path / "holdout")
    SCHEMA.save(tmp_path / "schema.toml")
    made = replace(xrays(24, None, 32), mark=MARK)
    proband.write(made, tmp_path / "stamped")
    proband.write(made, tmp_path / "bare", stamp=False, watermark=False)
    words = "--schema", tmp_path / "schema.toml", "--pairs", 12, "--by", "finding", "--out", tmp_path / "page.html"
    assert command("turing", tmp_path / "holdout", tmp_path / "stamped", *words) == 2 and "a give-away" in capsys.readouterr().err
    assert command("turing", tmp_path / "holdout", tmp_path / "bare", *words) == 0, capsys.readouterr().err
    assert "12 pairs" in capsys.readouterr().out and (tmp_path / "page.html").exists()
    given = [{"pair": at, "chosen": "left", "real": "left", "milliseconds": 900} for at in range(12)]
    (tmp_path / "answers.json").write_text(json.dumps({"kind": "proband turing 1", "page": "0", "reader": "", "answers": given}))
    assert command("turing", "--answers", tmp_path / "answers.json") == 0 and "12 of 12 right" in capsys.readouterr().out
    assert command("turing", tmp_path / "holdout") == 2 and command("turing", tmp_path, "--answers", tmp_path / "answers.json") == 2
