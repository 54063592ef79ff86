"""DICOM files, in and out. Real files come inside pydicom's wheel."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from proband import InputError
from proband.cohort import Mark
from proband.records.dicom import dicom_mark, read_dicom, write_dicom
from proband.records.images import Images

pydicom = pytest.importorskip("pydicom")

MARK = Mark("images", "1", 3, "hash", {"where": "finding = 'ödem'"})


def real(name: str) -> Path:
    from pydicom.data import get_testdata_file

    return Path(get_testdata_file(name, download=False))


def pixels(dtype: type, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(1, 5, 7)).astype(dtype) if dtype is np.float32 else rng.integers(0, 200, (1, 5, 7)).astype(dtype)


def test_a_ct_is_read_in_hounsfield_units() -> None:
    found, data = read_dicom(real("CT_small.dcm")), pydicom.dcmread(real("CT_small.dcm"))
    assert found.unit == "HU" and found.values.shape == (1, 128, 128) and found.mark is None
    assert np.array_equal(found.values[0], data.pixel_array * data.RescaleSlope + data.RescaleIntercept)
    assert found.spacing_mm == (0.661468, 0.661468) and found.about["modality"] == "CT" and found.about["sex"] == "O"


def test_white_is_high_whatever_the_file_says(tmp_path: Path) -> None:
    data = pydicom.dcmread(real("MR_small.dcm"))
    data.PhotometricInterpretation, data.BitsStored = "MONOCHROME1", 16
    data.save_as(tmp_path / "one.dcm")
    plain, turned = read_dicom(real("MR_small.dcm")), read_dicom(tmp_path / "one.dcm")
    ends = -(2**15) + 2**15 - 1 if data.PixelRepresentation else 2**16 - 1
    assert np.array_equal(turned.values.astype(int), ends - plain.values.astype(int))
    assert turned.low is not None and plain.high is not None and turned.low == ends - plain.high


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_synthetic_images_come_back_with_their_mark(tmp_path: Path, dtype: type) -> None:
    values = pixels(dtype) - (100 if dtype is np.int16 else 0)
    like = Images(values[None], low=float(values.min()), high=float(values.max()), spacing_mm=(0.5, 0.7))
    for name in ("one.dcm", "two.dcm"):
        write_dicom(tmp_path / name, values, like, mark=MARK, patient="p1", number=1)
    assert (tmp_path / "one.dcm").read_bytes() == (tmp_path / "two.dcm").read_bytes()
    back = read_dicom(tmp_path / "one.dcm")
    assert back.mark == dicom_mark(tmp_path / "one.dcm") == MARK and back.spacing_mm == (0.5, 0.7)
    assert np.allclose(back.values, values, atol=0 if dtype is not np.float32 else 1e-4)
    data = pydicom.dcmread(tmp_path / "one.dcm")
    assert data.SyntheticData == "YES" and "NOT FOR DIAGNOSIS" in data.SeriesDescription
    assert data.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "109100"
    assert str(data.PatientName).startswith("SYNTHETIC") and data.PatientID == "SYN-p1"


def test_a_mark_of_any_length_comes_back(tmp_path: Path) -> None:
    long = Mark("images", "1", 3, "hash", {"where": "finding = 'ödem' AND " * 200})
    write_dicom(tmp_path / "a.dcm", pixels(np.uint8), Images(pixels(np.uint8)[None]), mark=long, patient="p" * 100, number=1)
    assert dicom_mark(tmp_path / "a.dcm") == long


def test_a_real_image_says_nothing_of_synthetic_and_keeps_its_unit(tmp_path: Path) -> None:
    like = Images(pixels(np.int16)[None], low=-1000.3, high=2000, unit="mm2/s")
    write_dicom(tmp_path / "a.dcm", like.values[0], like, mark=None, patient="p1", number=1)
    back = read_dicom(tmp_path / "a.dcm")
    assert back.mark is None and back.unit == "mm2/s" and (back.low, back.high) == (-1000.3, 2000) and back.about["patient"] == "p1"
    assert "SYN" not in str(pydicom.dcmread(tmp_path / "a.dcm"))


def test_images_of_one_patient_are_one_series_and_each_is_its_own(tmp_path: Path) -> None:
    like = Images(pixels(np.uint8)[None])
    for patient, number in (("a", 1), ("a", 2), ("b", 3)):
        write_dicom(tmp_path / f"{number}.dcm", pixels(np.uint8), like, mark=MARK, patient=patient, number=number)
    one, two, three = (pydicom.dcmread(tmp_path / f"{number}.dcm") for number in (1, 2, 3))
    assert one.SeriesInstanceUID == two.SeriesInstanceUID != three.SeriesInstanceUID
    assert len({one.SOPInstanceUID, two.SOPInstanceUID, three.SOPInstanceUID}) == 3


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("burned_in", [(), ("watermark:12345678", "stamp")])
def test_the_standards_own_check_finds_nothing_but_what_it_does_not_know(tmp_path: Path, dtype: type, burned_in: tuple[str, ...]) -> None:
    """Debian's dciodvfy is of 2022, and Synthetic Data (0008,001C) came into the standard in 2023: one error says so. Without it, none."""

    def errors(path: Path) -> list[str]:
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True)
        return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]

    like = Images(pixels(dtype)[None], high=200, unit="HU" if dtype is np.int16 else "", spacing_mm=(0.5, 0.7), burned_in=burned_in)
    write_dicom(tmp_path / "a.dcm", like.values[0], like, mark=MARK, patient="p1", number=1)
    unknown = errors(tmp_path / "a.dcm")
    assert len(unknown) <= 1 and all("not a recognized standard attribute - (0x0008,0x001c)" in line for line in unknown), unknown
    data = pydicom.dcmread(tmp_path / "a.dcm")
    assert data.SyntheticData == "YES" and data.BurnedInAnnotation == ("YES" if burned_in else "NO")
    del data.SyntheticData
    data.save_as(tmp_path / "b.dcm")
    assert errors(tmp_path / "b.dcm") == []
    write_dicom(tmp_path / "c.dcm", like.values[0], like, mark=None, patient="p1", number=1)
    assert errors(tmp_path / "c.dcm") == [], "of real patients"


def encrypted(path: Path) -> None:
    data = pydicom.dcmread(real("CT_small.dcm"))
    del data.PixelData
    data.EncryptedAttributesSequence = [pydicom.Dataset()]
    data.save_as(path)


def changed(path: Path, **told: object) -> None:
    data = pydicom.dcmread(real("CT_small.dcm"))
    for name, value in told.items():
        setattr(data, name, value)
    data.save_as(path)


def undecodable(path: Path) -> None:
    data = pydicom.dcmread(real("CT_small.dcm"))
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"  # High-Throughput JPEG 2000
    data.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f" + b"\0" * 30])
    data["PixelData"].is_undefined_length = True
    data.save_as(path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"no DICOM"), "cannot be read"),
        (lambda path: path.write_bytes(real("CT_small.dcm").read_bytes()[:9000]), "cannot be (read|decoded)"),
        (encrypted, "is encrypted"),
        (undecodable, "High-Throughput.*cannot be decoded.*pip install"),
        (lambda path: shutil.copy(real("rtplan.dcm"), path), "holds no image"),
        (lambda path: changed(path, NumberOfFrames=2), "2 frames"),
        (lambda path: changed(path, Rows=60_000, Columns=60_000), "3,600,000,000 pixels"),
        (lambda path: changed(path, SamplesPerPixel=3, PhotometricInterpretation="RGB"), r"in colour \(RGB\)"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, write, message: str) -> None:
    write(tmp_path / "a.dcm")
    with pytest.raises(InputError, match=message):
        read_dicom(tmp_path / "a.dcm")
