"""NIfTI files, in and out."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from proband import Images, InputError, Mark, read_nifti, write_nifti

nibabel = pytest.importorskip("nibabel")

MARK = Mark("images", "1", 3, "hash", {"where": "finding = 'ödem'"})


def slices(dtype: type = np.uint8) -> Images:
    """Three slices of 5 x 7 pixels, with numbers that no smaller type has."""
    low, high = {np.uint8: (0, 256), np.uint16: (0, 60_000), np.int16: (-1000, 2000), np.float32: (-1.5, 1.5)}[dtype]
    values = np.random.default_rng(0).uniform(low, high, (3, 1, 5, 7))
    return Images(values.astype(dtype), low=-0.3, high=254.2, spacing_mm=(0.5, 2.0))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("mark", [None, MARK])
def test_images_come_back_as_they_were(tmp_path: Path, dtype: type, ending: str, mark: Mark | None) -> None:
    for name in ("one", "two"):
        write_nifti(slices(dtype), tmp_path / f"{name}{ending}", mark=mark)
    assert (tmp_path / f"one{ending}").read_bytes() == (tmp_path / f"two{ending}").read_bytes()
    back, told = read_nifti(tmp_path / f"one{ending}")
    assert back.content() == slices(dtype).content() and told == mark
    described = nibabel.load(tmp_path / f"one{ending}").header["descrip"].tobytes()
    assert described.startswith(b"SYNTHETIC") is (mark is not None)


def test_what_other_people_wrote_is_read(tmp_path: Path) -> None:
    """Decimal numbers on whole levels, micrometres, no range told; two axes are one slice."""
    volume = nibabel.Nifti1Image(np.arange(6, dtype=np.int16).reshape(2, 3), np.diag([500.0, 250, 1, 1]))
    volume.header.set_slope_inter(0.5, 1)
    volume.header.set_xyzt_units("micron")
    nibabel.save(volume, tmp_path / "a.nii")
    images, mark = read_nifti(tmp_path / "a.nii")
    assert images.values.tolist() == [[[[1.0, 1.5, 2.0], [2.5, 3.0, 3.5]]]] and mark is None
    assert images.spacing_mm == (0.5, 0.25) and (images.low, images.high) == pytest.approx((1, 3.5), abs=0.02)


def volume(path: Path, *shape: int, value: float = 0.0) -> None:
    nibabel.save(nibabel.Nifti1Image(np.full(shape, value, np.float32), np.eye(4)), path)


def cut_off(path: Path) -> None:
    volume(path, 30, 30, 30)
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(gzip.compress(b"no NIfTI")), "cannot be read"),
        (cut_off, "cannot be read"),
        (lambda path: volume(path, 3, 3, 3, 3), "two or three are read"),
        (lambda path: volume(path, 3, 3, 3, value=np.nan), r"voxel \(0, 0, 0\).*27 in all"),
        (lambda path: volume(path, 3, 3, 4), r"36 voxels; 30 are read"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write, message: str) -> None:
    if "36" in message:
        monkeypatch.setattr("proband.records.nifti.LARGEST_VOXELS", 30)
    write(tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=message):
        read_nifti(tmp_path / "a.nii.gz")


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    two = Images(np.zeros((1, 2, 4, 4), np.uint8), channels=("T1", "T2"))
    for images, path, message in (
        (two, "a.nii", "channels T1, T2"),
        (slices(), "a.img", "suffix '.img'"),
        (slices(), "none/a.nii", "cannot be written"),
    ):
        with pytest.raises(InputError, match=message):
            write_nifti(images, tmp_path / path)
    assert list(tmp_path.iterdir()) == []
