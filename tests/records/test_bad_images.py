"""Folders of images that cannot be right: each is refused with the file, the reason and the remedy, and no file is touched."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from proband import Cohort, Column, Images, InputError, Schema, Table, read_images, write
from proband.records.photos import write_photo


def folder_of(tmp_path: Path, n: int, *, kinds: int = 1) -> Path:
    """A folder of n small grey images, in a subfolder for each class."""
    rng = np.random.default_rng(0)
    for at in range(n):
        path = tmp_path / "lungs" / f"class{at % kinds}" / f"{at:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_photo(path, rng.integers(0, 256, (1, 6, 5), np.uint8), mark=None)
    return tmp_path / "lungs"


def content(folder: Path) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


def dicom(path: Path, **told: object) -> None:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.data import get_testdata_file

    data = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    for name, value in told.items():
        setattr(data, name, value)
    data.save_as(path)


def undecodable(path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    dicom(path)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"  # High-Throughput JPEG 2000
    data.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f" + b"\0" * 30])
    data["PixelData"].is_undefined_length = True
    data.save_as(path)


def encrypted(path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    dicom(path)
    data = pydicom.dcmread(path)
    del data.PixelData
    data.EncryptedAttributesSequence = [pydicom.Dataset()]
    data.save_as(path)


def test_one_corrupt_file_in_a_thousand_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 1000)
    path = folder / "class0" / "0613.png"
    whole = path.read_bytes()
    flipped = whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]  # one pixel is another: only the check sum says so
    for spoiled in (whole[:-20], whole[:50], flipped):
        path.write_bytes(spoiled)
        before = content(folder)
        with pytest.raises(InputError, match=r"0613.png' cannot be read: .*Copy or export it again, or take it out"):
            read_images(folder)
        assert content(folder) == before
    path.unlink()
    assert len(read_images(folder)) == 999


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("x.png", lambda path: path.write_bytes(b""), r"x.png' cannot be read"),
        ("x.jpg", lambda path: path.write_bytes(b"\xff\xd8\xff\xe0 cut off"), r"x.jpg' cannot be read"),
        (
            "x.png",
            lambda path: write_photo(path, np.zeros((1, 6, 5), np.uint16), mark=None),
            "different bits: white 5 of 255.0, 1 of 65535.0",
        ),
        (
            "x.png",
            lambda path: write_photo(path, np.arange(90, dtype=np.uint8).reshape(3, 6, 5), mark=None),
            "grey among colour.*such as 'x'",
        ),
        (
            "x.png",
            lambda path: write_photo(path, np.zeros((1, 7, 5), np.uint8), mark=None),
            r"size 5 of 6 x 5, 1 of 7 x 5, such as 'x'.*--size",
        ),
        ("x.dcm", lambda path: dicom(path, NumberOfFrames=3), "x.dcm' has 3 frames"),
        ("x.dcm", lambda path: dicom(path, SamplesPerPixel=3, PhotometricInterpretation="RGB"), r"in colour \(RGB\)"),
        ("x.dcm", undecodable, "High-Throughput.*cannot be decoded.*Install a decoder"),
        ("x.dcm", encrypted, "x.dcm' is encrypted.*Decrypt it first"),
        ("x.dcm", lambda path: dicom(path), "pixels of different units|different sizes"),
    ],
)
def test_one_file_that_does_not_fit_is_named_and_nothing_is_lost(
    tmp_path: Path, name: str, spoil: Callable[[Path], object], message: str
) -> None:
    folder = folder_of(tmp_path, 5)
    spoil(folder / name)
    before = content(folder)
    with pytest.raises(InputError, match=message):
        read_images(folder)
    assert content(folder) == before


def test_mixed_sizes_are_read_where_one_is_asked_for(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 5)
    write_photo(folder / "class0" / "x.png", np.full((1, 9, 40), 7, np.uint8), mark=None)
    images = read_images(folder, size=8).media["images"]
    assert isinstance(images, Images) and images.size == (8, 8) and images.native is not None and [9, 40] in images.native.tolist()


def test_a_class_of_three_images_is_read_and_stays_whole(tmp_path: Path) -> None:
    """Such a class falls on any side of the split; no patient on two."""
    folder = folder_of(tmp_path, 300)
    (folder / "rare").mkdir()
    for at in range(3):
        shutil.copy(folder / "class0" / f"{at:04}.png", folder / "rare" / f"{at}.png")
    cohort = read_images(folder)
    assert cohort.frame["class"].value_counts(sort=True).rows() == [("class0", 300), ("rare", 3)]
    parts = cohort.split(seed=0)
    assert sum(part.frame["class"].eq("rare").sum() for part in parts) == 3
    assert all(isinstance(part.media["images"], Images) and len(part.media["images"]) == len(part.frame) for part in parts)


def test_many_images_of_one_patient_are_read_and_not_split(tmp_path: Path) -> None:
    columns = (Column(name="patient", kind="identifier"), Column(name="image", kind="identifier"))
    frame = pl.DataFrame({"patient": ["p"] * 300, "image": [f"i{at}" for at in range(300)]})
    schema = Schema(tables=(Table(name="xrays", columns=columns, key="patient"),))
    cohort = Cohort(schema, frame, media={"images": Images(np.zeros((300, 1, 4, 4), np.uint8))})
    write(cohort, tmp_path / "one", format="csv")
    back = read_images(tmp_path / "one", schema)
    assert len(back) == 1 and back.fingerprint == cohort.fingerprint
    with pytest.raises(InputError, match=r"1 patients are too few: .*Bring at least 250 patients"):
        back.split(seed=0)
