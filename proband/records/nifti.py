"""NIfTI files <-> slices in physical units, with the mark of synthetic patients in the header's extension; read by nibabel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from proband.cohort import Mark
from proband.errors import InputError, Unavailable
from proband.records import mark as marks
from proband.records.images import Images

SUFFIXES = (".nii", ".nii.gz")
LARGEST_VOXELS = 600_000_000
_COMMENT = 6  # the code of an extension that holds text (NIfTI-1, section on extensions)
_DESCRIPTION = "SYNTHETIC - NOT FOR DIAGNOSIS"


def read_nifti(path: Path) -> tuple[np.ndarray, tuple[float, float], Mark | None]:
    """The slices of a volume along its last axis, (slices, height, width) float32 after the file's own scaling; height and width of a
    voxel in mm; and the mark if it is synthetic. A picture of two axes is one slice.

    Rows run as the file's first axis does. InputError for a file that cannot be read, volumes of four axes, and voxels without a value.
    """
    nibabel = _library()
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
    values = values.reshape(shape[:2] + ((int(np.prod(shape[2:])),) if len(shape) > 2 else (1,)))
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        raise InputError(
            f"{where}, voxel {tuple(int(at) for at in wrong[0])}: it has no value ({len(wrong):,} in all). Fill it with what lies outside "
            "the body, or take the volume out."
        )
    spacing = tuple(float(side) for side in volume.header.get_zooms()[:2])
    return np.moveaxis(values, 2, 0), (spacing[0], spacing[1]), _mark(volume, where)


def write_nifti(path: Path, values: np.ndarray, like: Images, *, mark: Mark | None) -> None:
    """Write one image (1, height, width), or a volume of slices (slices, height, width), in its own pixel type; beside a synthetic one a
    BIDS sidecar (.json) says what made it. The same pixels give the same bytes."""
    nibabel = _library()
    spacing = like.spacing_mm or (1.0, 1.0)
    image = nibabel.Nifti1Image(np.moveaxis(values, 0, 2), np.diag([*spacing, 1.0, 1.0]), dtype=values.dtype)
    image.header.set_xyzt_units("mm" if like.spacing_mm else "unknown")
    image.header["cal_min"], image.header["cal_max"] = like.low, like.high
    if mark is not None:
        told = json.dumps(marks.to_text(mark), sort_keys=True, ensure_ascii=False)
        image.header["descrip"] = _DESCRIPTION.encode()
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(_COMMENT, told.encode()))
    path.write_bytes(_bytes(image, path))
    if mark is not None:
        stem = path.name[: -len(next(end for end in (".nii.gz", ".nii") if path.name.endswith(end)))]
        sidecar = {"GeneratedBy": [{"Name": "proband", "Version": mark.version, "Description": _DESCRIPTION}], **marks.to_text(mark)}
        path.with_name(f"{stem}.json").write_text(json.dumps(sidecar, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _bytes(image: Any, path: Path) -> bytes:
    if not path.name.endswith(".gz"):
        return bytes(image.to_bytes())
    import gzip

    return gzip.compress(image.to_bytes(), 6, mtime=0)


def _library() -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise Unavailable("NIfTI needs nibabel. Run: pip install 'proband[images]'") from error
    return nibabel


def _mark(volume: Any, where: str) -> Mark | None:
    for extension in volume.header.extensions:
        content = extension.get_content()
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
        text = text.rstrip("\0 ")
        if text.startswith("{") and "proband." in text:
            try:
                return marks.from_text(json.loads(text), where)
            except ValueError as error:
                raise InputError(f"{where} says that it is synthetic, but its mark cannot be read: {error}. Write it anew.") from error
    return None
