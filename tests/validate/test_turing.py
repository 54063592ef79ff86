"""The visual Turing test: the page that asks, and the answers that are read."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from proband import Cohort, Column, Images, InputError, Mark, Schema, Table, read_turing, turing
from proband.records.burned import burned
from proband.stats.intervals import wilson

COLUMNS = (
    Column(name="patient", kind="identifier"),
    Column(name="image", kind="identifier"),
    Column(name="finding", kind="category", categories=("ill", "well")),
)
SCHEMA = Schema(tables=(Table(name="xrays", columns=COLUMNS, key="patient"),))


def images(value: int, mark: Mark | None, n: int = 40) -> Cohort:
    """Two images of each patient, all of one grey; every second patient is ill, whose images are one brighter."""
    ill = np.arange(n) // 2 % 2 == 0
    values = np.full((n, 1, 32, 32), value, np.uint8) + ill[:, None, None, None]
    finding = np.where(ill, "ill", "well")
    frame = pl.DataFrame({"patient": [f"p{at // 2}" for at in range(n)], "image": [f"i{at}" for at in range(n)], "finding": finding})
    return Cohort(SCHEMA, frame, mark, media={"images": Images(values.astype(np.uint8))})


REAL, MADE = images(50, None), images(150, Mark("images", "1", 0, SCHEMA.hash))


def trials(page: Path) -> list[dict[str, object]]:
    """What the page shows: the grey of both sides, and which is real."""
    (told,) = re.findall(r"^const trials = (.*);$", page.read_text(), re.MULTILINE)

    def grey(source: str) -> int:
        return int(np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))[0, 0])

    return [{"left": grey(one["left"]), "right": grey(one["right"]), "real": one["real"]} for one in json.loads(told)]


def test_a_page_shows_a_real_and_a_made_image_in_each_pair_and_one_of_each_patient(tmp_path: Path) -> None:
    assert turing(REAL, MADE, tmp_path / "a.html", by="finding", seed=1) == 20
    shown = trials(tmp_path / "a.html")
    for one in shown:
        other = "right" if one["real"] == "left" else "left"
        assert one[str(one["real"])] in (50, 51) and one[other] == one[str(one["real"])] + 100, (
            "the real one is where it says, of one finding"
        )  # type: ignore[operator]
    assert sum(one["real"] == "left" for one in shown) == 10, "each side as often"
    turing(REAL, MADE, tmp_path / "b.html", by="finding", seed=1)
    turing(REAL, MADE, tmp_path / "c.html", by="finding", seed=2)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes() != (tmp_path / "c.html").read_bytes()
    assert turing(REAL, MADE, tmp_path / "d.html", pairs=12) == 12


def test_a_page_asks_nothing_of_a_network_and_says_whom_it_shows(tmp_path: Path) -> None:
    turing(REAL, MADE, tmp_path / "a.html", title="Ward <7>")
    text = (tmp_path / "a.html").read_text()
    assert "default-src 'none'" in text and not re.search(r"https?://|src=\"(?!data:)|@import|url\(", text)
    assert "images of real patients" in text and "must not leave the house" in text and "Ward &lt;7&gt;" in text


@pytest.mark.parametrize(
    ("real", "made", "how", "message"),
    [
        (MADE, MADE, {}, "marked as synthetic"),
        (REAL, REAL, {}, "carry no mark"),
        (replace(REAL, media={}), MADE, {}, "real cohort has no images"),
        (REAL, replace(MADE, media={"images": burned(MADE.media["images"])}), {}, "watermark and stamp in their pixels.*--no-stamp"),  # type: ignore[arg-type]
        (REAL, replace(MADE, media={"images": MADE.media["images"].resized(16, 16)}), {}, r"size is \(32, 32\)"),  # type: ignore[attr-defined]
        (REAL, MADE, {"by": "site"}, "'site' is not in the real table"),
        (images(50, None, 10), MADE, {}, "5 pairs are too few"),
        (REAL, MADE, {"out": "a.png"}, "ends in .html"),
    ],
)
def test_what_would_be_no_test_is_refused_and_leaves_nothing(tmp_path: Path, real: Cohort, made: Cohort, how: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        turing(real, made, tmp_path / how.pop("out", "a.html"), **how)
    assert list(tmp_path.iterdir()) == []


def answers(right: int, n: int = 20) -> dict[str, object]:
    """What the page saves: the first `right` answers are right, in one second each, the others take three."""
    given = [
        {"pair": at, "chosen": "left", "real": "left" if at < right else "right", "milliseconds": 1000 if at < right else 3000}
        for at in range(n)
    ]
    return {"kind": "proband turing 1", "page": "0123", "seed": 0, "pairs": n, "reader": "radiologist", "answers": given}


def test_answers_are_read_with_their_interval_and_times(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(answers(15)))
    found = read_turing(tmp_path / "a.json")
    assert (found.reader, found.pairs, found.right, found.seconds_right, found.seconds_wrong) == ("radiologist", 20, 15, 1.0, 3.0)
    assert found.share == wilson(15, 20) and found.told and "15 of 20 right, 75% (95 % interval 53% to 89%" in str(found)
    (tmp_path / "a.json").write_text(json.dumps(answers(12)))
    assert not read_turing(tmp_path / "a.json").told
    assert json.loads(json.dumps(found.as_dict()))["share"]["low"] == pytest.approx(0.531, abs=1e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no JSON", "cannot be read"),
        ("[]", "cannot be read"),
        (json.dumps(answers(5) | {"kind": "other"}), "of kind 'other'"),
        (json.dumps(answers(5, 9)), "9 answers, and 10 are the fewest"),
        (json.dumps(answers(5) | {"answers": [{"pair": 0, "chosen": "left", "real": "left", "milliseconds": 1}] * 12}), "a pair twice"),
        (json.dumps(answers(5) | {"answers": [{"pair": 0}]}), "cannot be read"),
    ],
)
def test_what_is_no_answers_is_said(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_turing(tmp_path / "a.json")
    with pytest.raises(InputError, match="No such file"):
        read_turing(tmp_path / "none.json")


def test_wilsons_interval() -> None:
    """By hand: (p + z2/2n +- z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n) with z = 1.96."""
    assert wilson(5, 10) == pytest.approx((0.5, 0.2366, 0.7634), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0, 0, 0.2775), abs=1e-4)
    with pytest.raises(ValueError, match="3 successes in 2 trials"):
        wilson(3, 2)
