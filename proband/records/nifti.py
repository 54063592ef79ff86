"""NIfTI files <-> slices in physical units, with the mark of synthetic patients in the header's extension; read by nibabel."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from proband.cohort import Mark
from proband.errors import InputError, Unavailable
from proband.records import mark as marks
from proband.records.burned import burned
from proband.records.images import Images, seen_range, smallest
from proband.records.tables import replacing

SUFFIXES = (".nii", ".nii.gz")
LARGEST_VOXELS = 600_000_000
_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
_COMMENT = 6  # the code of an extension that holds text (NIfTI-1, section on extensions)
_DESCRIPTION = b"SYNTHETIC - NOT FOR DIAGNOSIS"


def read_nifti(path: str | Path) -> tuple[Images, Mark | None]:
    """The slices of a volume along its last axis as Images, after the file's own scaling, and its mark if it is synthetic.

    Rows run as the file's first axis does; a picture of two axes is one slice. InputError for a file that cannot be read, volumes of four
    axes, and voxels without a value.

    >>> images, mark = read_nifti("brain.nii.gz")  # doctest: +SKIP
    """
    nibabel = _library(path)
    where = f"NIfTI file '{path}'"
    try:
        volume = nibabel.load(path)
        shape = tuple(int(side) for side in volume.shape)
        if len([side for side in shape if side > 1]) > 3 or len(shape) < 2:
            raise InputError(f"{where} has the axes {shape}; two or three are read. Take one volume of it out (fslroi, nibabel).")
        if int(np.prod(shape)) > LARGEST_VOXELS:
            raise InputError(f"{where} has {int(np.prod(shape)):,} voxels; {LARGEST_VOXELS:,} are read. Cut or shrink it.")
        values = np.asarray(volume.dataobj, dtype=np.float32)
    except InputError:
        raise
    except Exception as error:  # nibabel, gzip and numpy each raise their own for a file that is cut off
        raise InputError(f"{where} cannot be read: {str(error).splitlines()[0]}. Copy or export it again, or take it out.") from error
    values = values.reshape(*shape[:2], -1)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        raise InputError(
            f"{where}, voxel {tuple(int(at) for at in wrong[0])}: it has no value ({len(wrong):,} in all). Fill it with what lies outside "
            "the body, or take the volume out."
        )
    low, high = (float(f"{volume.header[end]:.6g}") for end in ("cal_min", "cal_max"))
    low, high = (low, high) if low < high else seen_range(values)
    unit = _MM.get(volume.header.get_xyzt_units()[0])
    row, column = (float(f"{side * (unit or 1):.6g}") for side in volume.header.get_zooms()[:2])
    slices = smallest(np.moveaxis(values, 2, 0)[:, None])
    mark, burned_in = _mark(volume, where)
    return Images(slices, low=low, high=high, spacing_mm=(row, column) if unit else None, burned_in=burned_in), mark


def nifti_mark(path: str | Path) -> Mark | None:
    """The mark alone, voxels unread. InputError for a file that cannot be read."""
    nibabel, where = _library(path), f"NIfTI file '{path}'"
    try:
        volume = nibabel.load(path)
    except Exception as error:  # as in `read_nifti`
        raise InputError(f"{where} cannot be read: {str(error).splitlines()[0]}. Copy or export it again, or take it out.") from error
    return _mark(volume, where)[0]


def write_nifti(
    images: Images,
    path: str | Path,
    *,
    mark: Mark | None = None,
    like: str | Path | None = None,
    stamp: bool = True,
    watermark: bool | str = True,
) -> None:
    """Write images of one channel as the slices of one volume (.nii, .nii.gz), in their own pixel type.

    like    a NIfTI file of the same place: where it lies in the scanner, its directions and the distance of its slices are taken over

    Synthetic ones get stamp and watermark: see `proband.write`. The same images and mark give the same bytes. InputError for several
    channels, another ending, and a file that cannot be written; then an older file is untouched.

    >>> write_nifti(images, "brain.nii.gz", mark=cohort.mark)  # doctest: +SKIP
    """
    path = Path(path)
    nibabel = _library(path)
    if images.values.shape[1] != 1:
        raise InputError(f"The images have the channels {', '.join(images.channels)}; a volume has one. Write each on its own.")
    if mark is not None:
        images = burned(images, stamp=stamp, watermark=watermark)
    place, unit = np.diag([*(images.spacing_mm or (1, 1)), 1, 1]), "mm" if images.spacing_mm else "unknown"
    if like is not None:
        other = nibabel.load(like)
        place, unit = other.affine, other.header.get_xyzt_units()[0]
    volume = nibabel.Nifti1Image(np.moveaxis(images.values[:, 0], 0, 2), place)
    volume.header.set_xyzt_units(unit)
    volume.header["cal_min"], volume.header["cal_max"] = images.low, images.high
    if mark is not None:
        volume.header["descrip"] = _DESCRIPTION
        told = json.dumps(marks.to_text(mark, images.burned_in), sort_keys=True, ensure_ascii=False)
        volume.header.extensions.append(nibabel.nifti1.Nifti1Extension(_COMMENT, told.encode()))
    content = volume.to_bytes()
    with replacing(path) as file:
        file.write(gzip.compress(content, 6, mtime=0) if path.name.endswith(".gz") else content)


def _library(path: str | Path) -> Any:
    if not str(path).endswith(SUFFIXES):
        raise InputError(f"'{path}' has the suffix {Path(path).suffix!r}, expected one of: {', '.join(SUFFIXES)}. Convert or rename it.")
    try:
        import nibabel
    except ImportError as error:
        raise Unavailable("NIfTI needs nibabel. Run: pip install 'proband[images]'") from error
    return nibabel


def _mark(volume: Any, where: str) -> tuple[Mark | None, tuple[str, ...]]:
    for extension in volume.header.extensions:
        content = extension.get_content()
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
        text = text.rstrip("\0 ")
        if text.startswith("{") and "proband." in text:
            try:
                content = json.loads(text)
                return marks.from_text(content, where), marks.burned_in(content)
            except ValueError as error:
                raise InputError(f"{where} says that it is synthetic, but its mark cannot be read: {error}. Write it anew.") from error
    return None, ()
