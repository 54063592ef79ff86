"""Whether the pixels of one image file carry the watermark of synthetic images, whatever became of its header."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from proband.cohort import Mark
from proband.errors import ProbandError
from proband.records import dicom, nifti, photos
from proband.records.image_folder import image_mark
from proband.records.watermark import PUBLIC, Found, find

SUFFIXES = (*photos.SUFFIXES, *dicom.SUFFIXES, *nifti.SUFFIXES)


def mark_of(path: Path) -> Mark | None:
    """The mark in an image's header, pixels unread. InputError for a file that cannot be read."""
    return nifti.nifti_mark(path) if path.name.lower().endswith(nifti.SUFFIXES) else image_mark(path)


def watermark_of(path: Path, key: str | None = None) -> Found | None:
    """The watermark in an image's pixels, sought with `key`, else with the one that everybody knows; None where they cannot be read."""
    try:
        return find(_pixels(path), PUBLIC if key is None else key)
    except (ProbandError, OSError, ValueError):
        return None


def _pixels(path: Path) -> np.ndarray:
    """(..., height, width)"""
    if path.name.lower().endswith(nifti.SUFFIXES):
        return nifti.read_nifti(path)[0].values
    if path.name.lower().endswith(dicom.SUFFIXES):
        return dicom.read_dicom(path).values
    return photos.read_photo(path)[0]
