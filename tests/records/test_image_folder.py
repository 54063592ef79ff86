"""Folders of image files and their table, in and out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from proband import Cohort, Column, Images, InputError, Mark, Schema, Table, read, read_images, write
from proband.records.image_folder import frame_of, has_images, image_mark, write_images
from proband.records.images import COLOUR
from proband.records.photos import read_photo, write_photo

MARK = Mark("images", "1", 3, "hash", {"where": "finding = 'ödem'"})
SCHEMA = Schema(
    tables=(
        Table(
            name="xrays",
            key="patient",
            columns=(
                Column(name="patient", kind="identifier"),
                Column(name="image", kind="identifier"),
                Column(name="finding", kind="category", categories=("normal", "pneumonia")),
            ),
        ),
    )
)


def pixels(channels: int = 1, dtype: type = np.uint8, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (channels, 6, 5)).astype(dtype)


def xrays(mark: Mark | None = None, *, channels: int = 1, dtype: type = np.uint8) -> Cohort:
    """Three images of two patients."""
    frame = pl.DataFrame({"patient": ["a", "a", "b"], "image": ["one", "deep/two", "three"], "finding": ["normal", "pneumonia", "normal"]})
    values = np.stack([pixels(channels, dtype, seed=seed) for seed in range(3)])
    images = Images(values, high=np.iinfo(dtype).max, channels=("grey",) if channels == 1 else COLOUR)
    return Cohort(SCHEMA, frame, mark, media={"images": images})


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (1, np.uint16), (3, np.uint8)])
@pytest.mark.parametrize("mark", [None, MARK])
def test_a_cohort_comes_back_as_it_was(tmp_path: Path, channels: int, dtype: type, mark: Mark | None) -> None:
    cohort = xrays(mark, channels=channels, dtype=dtype)
    write(cohort, tmp_path / "out", format="csv")
    back = read(tmp_path / "out", SCHEMA)
    assert back.fingerprint == cohort.fingerprint and back.mark == mark and len(back) == 2
    assert image_mark(tmp_path / "out" / "deep" / "two.png") == mark
    assert has_images(tmp_path / "out") and not has_images(tmp_path / "out" / "none")


@pytest.mark.parametrize(
    "told", [{"unit": "HU", "low": -1000, "high": 2000}, {"unit": "SUV"}, {"spacing_mm": (0.5, 0.7)}, {"low": 3.3, "high": 250.1}]
)
@pytest.mark.parametrize("mark", [None, MARK])
def test_what_png_cannot_hold_is_kept_as_dicom(tmp_path: Path, told: dict, mark: Mark | None) -> None:
    pytest.importorskip("pydicom")
    values = np.stack([pixels(seed=seed) for seed in range(3)]).astype(np.int16) * 4 - 300
    cohort = replace(xrays(mark), media={"images": replace(Images(values, high=700), **told)})
    write(cohort, tmp_path / "out", format="csv")
    assert sorted(path.suffix for path in (tmp_path / "out").rglob("*.*") if "xrays" not in path.name) == [".dcm"] * 3
    back = read(tmp_path / "out", SCHEMA)
    assert back.fingerprint == cohort.fingerprint and back.mark == mark and image_mark(tmp_path / "out" / "one.dcm") == mark


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_images(xrays(MARK), tmp_path / name, "csv")
    files = [[path.read_bytes() for path in sorted((tmp_path / name).rglob("*")) if path.is_file()] for name in ("one", "two")]
    assert files[0] == files[1] and len(files[0]) == 5  # three images, the table, its sidecar


def test_subfolders_are_classes_where_there_is_no_table(tmp_path: Path) -> None:
    for kind in ("normal", "pneumonia"):
        (tmp_path / "lungs" / kind).mkdir(parents=True)
        write_photo(tmp_path / "lungs" / kind / "1.png", pixels(), mark=None)
    cohort = read_images(tmp_path / "lungs")
    assert cohort.frame.rows() == [("normal/1", "normal"), ("pneumonia/1", "pneumonia")]
    write_photo(tmp_path / "lungs" / "alone.png", pixels(), mark=None)
    assert read_images(tmp_path / "lungs").frame.columns == ["image"]
    assert frame_of(tmp_path / "lungs").rows() == [("alone",), ("normal/1",), ("pneumonia/1",)]


def test_a_synthetic_image_among_real_ones_of_its_name_is_found(tmp_path: Path) -> None:
    for kind, mark in (("normal", MARK), ("pneumonia", None)):
        (tmp_path / kind).mkdir()
        write_photo(tmp_path / kind / "1.png", pixels(), mark=mark)
    with pytest.raises(InputError, match=r"'normal/1.png' is labelled as synthetic and 'pneumonia/1.png' is not"):
        read_images(tmp_path)


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    (tmp_path / ".thumbnails").mkdir()
    write_photo(tmp_path / ".thumbnails" / "a.png", pixels(), mark=None)
    assert not has_images(tmp_path)


def test_one_size_is_made_of_many_where_it_is_asked_for(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", pixels(), mark=None)
    write_photo(tmp_path / "b.png", np.full((1, 8, 4), 200, np.uint8), mark=None)
    with pytest.raises(InputError, match=r"different sizes: size 1 of 6 x 5, 1 of 8 x 4, such as 'b'.*--size"):
        read_images(tmp_path)
    images = read_images(tmp_path, size=4).media["images"]
    assert isinstance(images, Images) and images.size == (4, 4) and images.native.tolist() == [[6, 5], [8, 4]]  # type: ignore[union-attr]


def test_grey_that_is_spelled_in_colour_is_grey(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", np.repeat(pixels(), 3, axis=0), mark=None)
    assert read_photo(tmp_path / "a.png")[0].shape == (1, 6, 5)


def test_a_photograph_stands_as_its_camera_said(tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by a quarter
    Image.fromarray(np.array([[0, 100, 255]], np.uint8)).save(tmp_path / "a.png", exif=exif)
    assert read_photo(tmp_path / "a.png")[0].tolist() == [[[0], [100], [255]]]


def write_broken(folder: Path) -> None:
    path = folder / "one.png"
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "one.png").unlink(), "no image 'one'"),
        (lambda folder: write_photo(folder / "x.png", pixels(), mark=None), "no row of the table names image 'x'"),
        (lambda folder: (folder / "one.jpg").write_bytes(b""), "two images 'one'"),
        (lambda folder: (folder / "more.csv").write_text("a,b\n1,2\n"), "images and 2 tables: more, xrays"),
        (lambda folder: write_photo(folder / "one.png", pixels(3), mark=None), "grey among colour: channels 2 of 1, 1 of 3, such as 'one'"),
        (
            lambda folder: write_photo(folder / "one.png", pixels(dtype=np.uint16), mark=None),
            "different bits: white 2 of 255.0, 1 of 65535.0",
        ),
        (write_broken, "one.png' cannot be read"),
        (lambda folder: write_photo(folder / "one.png", pixels(), mark=MARK), "labelled as synthetic"),
        (lambda folder: (folder / "xrays.csv").write_text("patient,image,finding\na,one,normal\nb,one,normal\n"), "names an image twice"),
    ],
)
def test_what_does_not_fit_together_is_said_and_nothing_is_lost(tmp_path: Path, change, message: str) -> None:
    write_images(xrays(), tmp_path / "in", "csv")
    change(tmp_path / "in")
    with pytest.raises(InputError, match=message):
        read_images(tmp_path / "in", SCHEMA)


def test_a_file_among_many_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for at in range(50):
        write_photo(tmp_path / f"{at:02}.png", pixels(), mark=None)
    for at in (7, 30):
        (tmp_path / f"{at:02}.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"07.png' cannot be read.* 2 files of the folder are such"):
        read_images(tmp_path)


def test_more_pixels_than_a_picture_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photo(tmp_path / "a.png", pixels(), mark=None)
    monkeypatch.setattr("proband.records.photos.LARGEST_PIXELS", 29)
    with pytest.raises(InputError, match="5 x 6 pixels"):
        read_photo(tmp_path / "a.png")
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 20)  # beyond this Pillow warns, and here a warning is an error
    with pytest.raises(InputError, match="decompression bomb"):
        read_photo(tmp_path / "a.png")


def test_transparent_pixels_are_refused_unless_they_hide_nothing(tmp_path: Path) -> None:
    from PIL import Image

    clear = np.full((4, 4, 4), 255, np.uint8)
    Image.fromarray(clear, "RGBA").save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png")[0].shape == (1, 4, 4)
    clear[0, 0, 3] = 0
    Image.fromarray(clear, "RGBA").save(tmp_path / "a.png")
    with pytest.raises(InputError, match="transparent"):
        read_photo(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("cohort", "message"),
    [
        (lambda: replace(xrays(), media={}), "a folder holds one Images"),
        (lambda: replace(xrays(), frame=xrays().frame.with_columns(image=pl.lit("one"))), "does not tell every row"),
        (lambda: replace(xrays(), frame=xrays().frame.with_columns(image=pl.Series(["x.png", "x.jpg", "y"]))), "does not tell every row"),
        (lambda: replace(xrays(), frame=xrays().frame.with_columns(image=pl.Series(["../x", "y", "z"]))), "cannot name a file"),
        (lambda: xrays(channels=3, dtype=np.uint16), "red, green, blue in uint16, from 0 to 65535, fit into no file"),
        (lambda: replace(xrays(), media={"images": Images(np.zeros((3, 2, 4, 4), np.uint8), channels=("T1", "T2"))}), "of T1, T2"),
    ],
)
def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path, cohort, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_images(cohort(), tmp_path / "out", "csv")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_dicom_tells_who_each_image_is_of(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.data import get_testdata_file

    data = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    for at, (patient, age) in enumerate((("p1", "045Y"), ("p1", "046Y"), ("p2", ""))):
        data.PatientID, data.PatientAge, data.PatientSex = patient, age, "F"
        data.save_as(tmp_path / f"{at}.dcm")
    cohort = read_images(tmp_path, size=32)
    images = cohort.media["images"]
    assert len(cohort) == 2 and cohort.schema.table.key == "patient"
    assert cohort.frame["age_years"].to_list() == [45, 46, None] and cohort.frame["sex"].to_list() == ["F"] * 3
    assert isinstance(images, Images) and images.size == (32, 32) and images.unit == "HU" and (images.low, images.high) == (-1000, 2000)
    assert images.spacing_mm == pytest.approx((4 * 0.661468, 4 * 0.661468)) and images.values.dtype == np.int16
    write_photo(tmp_path / "x.png", np.zeros((1, 32, 32), np.uint8), mark=None)
    with pytest.raises(InputError, match="different units: unit 3 of HU, 1 of grey levels, such as 'x'"):
        read_images(tmp_path, size=32)
