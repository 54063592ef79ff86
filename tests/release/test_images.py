"""A release of synthetic images: labelled in header and pixels, signed, and known again when one is taken out and handed on."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image
from scipy.ndimage import gaussian_filter

from proband import Cohort, Column, Finding, Images, InputError, Mark, Report, Schema, Table, Unavailable, read, release, verify, write
from proband.records.burned import burned
from proband.records.image_folder import read_images
from proband.records.nifti import write_nifti
from proband.records.photos import read_photo
from proband.records.watermark import PUBLIC, key_id
from proband.release.policy import Policy
from proband.release.provenance import opened

COLUMNS = (Column(name="image", kind="identifier"), Column(name="finding", kind="category", categories=("ill", "well")))
SCHEMA = Schema(tables=(Table(name="xrays", columns=COLUMNS, key="image"),))
MARK = Mark("images", "1", 3, SCHEMA.hash)


def xray(seed: int, size: int = 96) -> np.ndarray:
    """(size, size) uint8: as much of every frequency as photographs have, and a little grain."""
    rng = np.random.default_rng(seed)
    shape = sum(gaussian_filter(rng.normal(size=(size, size)), 2.0**at) * 2.0**at for at in range(1, 6))
    shape = (shape - shape.min()) / np.ptp(shape)
    return np.rint(np.clip(20 + 200 * shape + rng.normal(0, 2, (size, size)), 0, 255)).astype(np.uint8)


def xrays(*, unit: str = "") -> Cohort:
    values = np.stack([xray(seed)[None] for seed in range(4)])
    frame = pl.DataFrame({"image": list("abcd"), "finding": ["ill", "well"] * 2})
    images = Images(values) if not unit else Images(values.astype(np.int16) - 100, low=-100, high=155, unit=unit)
    return Cohort(SCHEMA, frame, MARK, media={"images": images})


def about(cohort: Cohort) -> Report:
    findings = (
        Finding("faithful", "detection_auc", "A judge's success", 0.55, "Nothing gives them away.", interval=(0.53, 0.58)),
        Finding("private", "copies", "Copies of real patients", 0.0, "None was found.", interval=(0.0, 0.004)),
    )
    return Report(findings, {"subject": {"sha256": cohort.fingerprint}, "sizes": {"train": 600, "holdout": 200, "reference": 200}})


@pytest.mark.parametrize(("unit", "ending"), [("", "png"), ("HU", "dcm")])
def test_what_is_released_is_labelled_signed_and_read_again(
    tmp_path: Path, policy: Policy, key: Ed25519PrivateKey, unit: str, ending: str
) -> None:
    cohort = xrays(unit=unit)
    for name in ("one", "two"):
        made = release(cohort, about(cohort), policy, tmp_path / name, key=key)
    files = [{path.relative_to(tmp_path / n): path.read_bytes() for path in (tmp_path / n).rglob("*.*")} for n in ("one", "two")]
    assert files[0] == files[1], "the same patients and key give the same bytes"
    assert made.verify(key.public_key()).status == "intact" and made.verify().mark == MARK
    assert sorted(path.name for path in (made.path / "synthetic").iterdir()) == [f"{n}.{ending}" for n in "abcd"] + ["xrays.parquet"]

    back = read(made.path / "synthetic", Schema.load(made.path / "schema.toml"))
    said = opened((made.path / "statement.json").read_bytes()).predicate["patients"]
    assert said == {"count": 4, "fingerprint": back.fingerprint, "judged": cohort.fingerprint}
    assert back.media["images"].burned_in == (f"watermark:{key_id(PUBLIC)}", "stamp")
    card, croissant = (made.path / "card.md").read_text(), json.loads((made.path / "croissant.json").read_text())
    assert "one for each row, 96 x 96 pixels: grey" in card and "SYNTHETIC in the lower left corner and a watermark" in card
    assert croissant["distribution"][1]["includes"] == f"synthetic/**/*.{ending}" and "medical images" in croissant["keywords"]

    taken = Path(shutil.copy(made.path / "synthetic" / f"b.{ending}", tmp_path / f"elsewhere.{ending}"))
    found = verify(taken)
    assert (found.status, found.synthetic, found.ok, found.mark) == ("labelled", "yes", True, MARK)
    assert found.watermark is not None and found.watermark.p < 1e-6
    (made.path / "synthetic" / f"b.{ending}").unlink()
    assert made.verify().faults[0].name == f"synthetic/b.{ending}"


def test_a_folder_that_was_sampled_is_released_as_it_is(tmp_path: Path, policy: Policy, key: Ed25519PrivateKey) -> None:
    """Stamp and watermark are put in once: what was judged as a folder is what leaves, pixel for pixel."""
    write(xrays(), tmp_path / "made")
    made = read(tmp_path / "made", SCHEMA)
    left = release(made, about(made), policy, tmp_path / "out", key=key)
    said = opened((left.path / "statement.json").read_bytes()).predicate["patients"]
    assert said["fingerprint"] == said["judged"] == made.fingerprint
    assert (tmp_path / "made" / "a.png").read_bytes() == (left.path / "synthetic" / "a.png").read_bytes()


def test_stamp_and_watermark_can_be_left_away_and_the_key_be_ones_own(tmp_path: Path, policy: Policy, key: Ed25519PrivateKey) -> None:
    cohort = xrays()
    bare = release(cohort, about(cohort), policy, tmp_path / "bare", key=key, stamp=False, watermark=False)
    assert read(bare.path / "synthetic", SCHEMA).fingerprint == cohort.fingerprint
    assert "no stamp and no watermark" in (bare.path / "card.md").read_text()
    write(cohort, tmp_path / "ours", stamp=False, watermark="our secret")
    assert read_images(tmp_path / "ours", SCHEMA).media["images"].burned_in == (f"watermark:{key_id('our secret')}",)  # type: ignore[attr-defined]
    Image.fromarray(read_photo(tmp_path / "ours" / "a.png")[0][0]).save(tmp_path / "a.png")  # without its header
    assert verify(tmp_path / "a.png").synthetic == "unknown" and verify(tmp_path / "a.png", watermark="our secret").synthetic == "yes"
    twice = burned(burned(Images(cohort.media["images"].values), watermark="our secret"))  # type: ignore[attr-defined]
    assert twice.burned_in == (f"watermark:{key_id('our secret')}", "stamp"), "a key of one's own stays the only one"
    with pytest.raises(InputError, match="is no key"):
        write(cohort, tmp_path / "none", watermark="")
    assert not (tmp_path / "none").exists()


def test_real_images_get_neither(tmp_path: Path) -> None:
    real = replace(xrays(), mark=None)
    write(real, tmp_path / "real")
    assert read(tmp_path / "real", SCHEMA).fingerprint == real.fingerprint
    found = verify(tmp_path / "real" / "a.png")
    assert (found.status, found.synthetic, found.ok) == ("unlabelled", "unknown", False) and "Watermark not found: p =" in str(found)
    assert json.loads(json.dumps(found.as_dict()))["watermark"]["p"] > 1e-6


def copy_of(path: Path, to: Path) -> None:
    """Cropped by a tenth, three quarters as large, as JPEG: what a screenshot in a chat leaves."""
    image = Image.open(path)
    side = image.width
    image = image.crop((4, 7, side - 6, side - 3))
    image.resize((round(image.width * 0.75), round(image.height * 0.75)), Image.Resampling.BOX).save(to, quality=75)


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_a_copy_without_its_header_is_known_by_its_pixels(tmp_path: Path, ending: str) -> None:
    write(xrays(), tmp_path / "made")
    copy_of(tmp_path / "made" / "a.png", tmp_path / f"copy{ending}")
    found = verify(tmp_path / f"copy{ending}")
    assert (found.status, found.synthetic, found.ok, found.mark) == ("watermarked", "yes", True, None)
    assert found.watermark is not None and found.watermark.p < 1e-6 and found.watermark.scale == pytest.approx(0.75, rel=0.02)
    assert verify(tmp_path / f"copy{ending}", Ed25519PrivateKey.generate().public_key()).status == "unsigned"


def test_a_volume_is_known_by_header_and_by_pixels(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    slices = Images(np.stack([xray(seed)[None] for seed in range(3)]).astype(np.int16), low=0, high=255, spacing_mm=(1.0, 1.0))
    write_nifti(slices, tmp_path / "a.nii.gz", mark=MARK)
    found = verify(tmp_path / "a.nii.gz")
    assert (found.status, found.mark) == ("labelled", MARK) and found.watermark is not None and found.watermark.p < 1e-6
    nibabel.save(
        nibabel.Nifti1Image(np.asarray(nibabel.load(tmp_path / "a.nii.gz").dataobj).transpose(1, 0, 2), np.eye(4)), tmp_path / "b.nii"
    )
    assert verify(tmp_path / "b.nii").status == "watermarked", "its axes are swapped and its header is gone"
    write_nifti(slices, tmp_path / "c.nii")
    assert verify(tmp_path / "c.nii").status == "unlabelled"


def test_an_image_that_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    for name in ("a.png", "b.dcm", "c.nii"):
        (tmp_path / name).write_bytes(b"no image")
        found = verify(tmp_path / name)
        assert (found.status, found.watermark, found.synthetic) == ("unlabelled", None, "unknown")


def test_c2pa_says_so_in_other_peoples_viewers(tmp_path: Path, policy: Policy, key: Ed25519PrivateKey) -> None:
    cohort = xrays()
    try:
        import c2pa
    except ImportError:
        with pytest.raises(Unavailable, match=r"pip install 'proband\[c2pa\]'"):
            release(cohort, about(cohort), policy, tmp_path / "out", key=key, c2pa=True)
        assert list(tmp_path.iterdir()) == []
        return
    made = release(cohort, about(cohort), policy, tmp_path / "out", key=key, c2pa=True)
    assert made.verify().status == "intact" and verify(made.path / "synthetic" / "a.png").status == "labelled"
    with c2pa.Reader("image/png", io.BytesIO((made.path / "synthetic" / "a.png").read_bytes())) as reader:
        told = json.loads(reader.json())
    (manifest,) = told["manifests"].values()
    (action,) = manifest["assertions"][0]["data"]["actions"]
    assert action["action"] == "c2pa.created" and action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert [one["code"] for one in told["validation_status"]] == ["signingCredential.untrusted"], "whole, and by a signer on no list"
