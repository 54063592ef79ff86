"""Folders of cases, one volume of each kind in NIfTI, as SynthRAD lays them out: CASE/mr.nii.gz, CASE/ct.nii.gz, CASE/mask.nii.gz."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from proband.errors import InputError
from proband.records.images import Images
from proband.records.nifti import SUFFIXES, read_nifti

HU = {"ct": (-1000.0, 2000.0), "cbct": (-1000.0, 2000.0)}  # kinds whose numbers are HU, and what of them is learned


class Case(NamedTuple):
    """One patient: slices of the source; of the target and a mask (slices, height, width) where they have files. `file` is the source's."""

    name: str
    file: Path
    source: Images
    target: Images | None
    mask: np.ndarray | None


def read_cases(folder: str | Path, *, source: str = "mr", target: str = "ct") -> list[Case]:
    """The cases of a folder by name. A volume without a unit, such as an MRI, is brought to -1 ... 1 by its own black and white, since
    every scanner has others. InputError where a case lacks the source, or its volumes differ in shape; made by us, for a synthetic one.

    >>> cases = read_cases("Task1/brain")  # doctest: +SKIP
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"'{folder}' is no folder. Give one with a folder for each case: CASE/{source}.nii.gz, CASE/{target}.nii.gz.")
    found = [_case(path, source, target) for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    cases = [case for case in found if case is not None]
    if not cases:
        raise InputError(f"'{folder}' holds no case: no folder in it has {source}.nii.gz. Lay the files out as CASE/{source}.nii.gz.")
    spacings = {case.source.spacing_mm: case.name for case in cases}
    if len(spacings) > 1:
        (one, first), (other, second), *_ = spacings.items()
        raise InputError(f"Case '{first}' has pixels of {one} mm, case '{second}' of {other}. Resample all to one size of pixel.")
    return cases


def together(images: Sequence[Images]) -> Images:
    """Slices of several volumes of one kind as one, smaller ones filled up with black below and to the right."""
    height, width = (max(one.size[at] for one in images) for at in (0, 1))
    values = [
        np.pad(one.values, ((0, 0), (0, 0), (0, height - one.size[0]), (0, width - one.size[1])), constant_values=one.low) for one in images
    ]
    return replace(images[0], values=np.concatenate(values))


def masks_together(masks: Sequence[np.ndarray]) -> np.ndarray:
    """The same of masks."""
    height, width = (max(one.shape[at] for one in masks) for at in (1, 2))
    return np.concatenate([np.pad(one, ((0, 0), (0, height - one.shape[1]), (0, width - one.shape[2]))) for one in masks])


def _case(path: Path, source: str, target: str) -> Case | None:
    file = _file(path, source)
    if file is None:
        if _file(path, target) is None:
            return None
        raise InputError(f"Case '{path.name}' has {target}.nii.gz but no {source}.nii.gz. Add it, or take the case out.")
    one = _read(file, source)
    held, inside = _file(path, target), _file(path, "mask")
    other = None if held is None else _read(held, target)
    mask = None if inside is None else read_nifti(inside)[0].values[:, 0] > 0
    for name, shape in ((target, None if other is None else other.values[:, 0].shape), ("mask", None if mask is None else mask.shape)):
        if shape is not None and shape != one.values[:, 0].shape:
            raise InputError(
                f"Case '{path.name}': {source} has {one.values[:, 0].shape} slices, rows and columns, {name} {shape}. "
                "Resample them to one grid."
            )
    return Case(path.name, file, one, other, mask)


def _file(path: Path, kind: str) -> Path | None:
    return next((path / f"{kind}{suffix}" for suffix in reversed(SUFFIXES) if (path / f"{kind}{suffix}").is_file()), None)


def _read(file: Path, kind: str) -> Images:
    images, mark = read_nifti(file)
    if mark is not None:
        raise InputError(
            f"'{file}' is synthetic (made by {mark.synthesizer!r}): a translation learned from it would copy its faults. Take it out."
        )
    if kind in HU:
        low, high = HU[kind]
        return replace(images, low=low, high=high, unit="HU", channels=(kind.upper(),))
    return replace(images, values=images.scaled(), low=-1.0, high=1.0, channels=(kind.upper(),))
