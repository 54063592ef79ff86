"""A procedural phantom: heads and pelvises of ellipses, as an MRI and as a CT would show them, bent apart by a known shift.

Nobody's: it is for tests and benchmarks of translation, where real pairs have no truth to be held against.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from proband import seeds
from proband.errors import InputError
from proband.records.images import Images, resized

AIR, FAT, MUSCLE, BONE, MARROW, WHITE, GREY, FLUID = range(8)
HU = np.array([-1000, -90, 50, 900, 250, 28, 42, 8], np.float32)
SIGNAL = np.array([0, 900, 380, 40, 600, 680, 480, 130], np.float32)  # of a T1-weighted MRI, in no unit
NOISE = 12.0  # standard deviation of either, in HU and in levels of signal
CT_RANGE, MR_RANGE = (-1000.0, 1500.0), (0.0, 1000.0)
FINER = 2  # pixels a side that are averaged, so that edges are as soft as a scanner's

#: tissue, place (right, down), half axes, turn in degrees; painted one over the other. Coordinates are -1 ... 1.
Ellipse = tuple[int, float, float, float, float, float]


class Phantom(NamedTuple):
    """Slices in one order: `mr` and `ct` of the same anatomy, the CT bent by `shift`; `truth`, the CT as it lies in the MRI.

    mask    (slices, height, width) bool, the body in the MRI
    cases   (slices,) the patient of each
    shift   (2, height, width) down and right in pixels: ct(x) = truth(x + shift(x)), but for each patient's own looseness
    """

    mr: Images
    ct: Images
    truth: Images
    mask: np.ndarray
    cases: np.ndarray
    shift: np.ndarray


def phantom(patients: int = 6, slices: int = 4, size: int = 64, *, seed: int, bend: float = 0.0, loose: float = 0.0) -> Phantom:
    """Heads and pelvises in turn, `slices` of each patient, `size` pixels a side.

    bend    pixels by which every CT is bent in the same way, as a scanner's distortion or a flat couch does: what a discriminator sees of
            the domain, and a translation must not copy
    loose   pixels by which each patient moved between MRI and CT, in a way of their own (standard deviation)

    >>> made = phantom(2, 3, 32, seed=0, bend=2.0)
    >>> made.mr.values.shape, made.cases.tolist()
    ((6, 1, 32, 32), [0, 0, 0, 1, 1, 1])
    """
    if patients < 1 or slices < 1 or size < 16:
        raise InputError(f"patients = {patients}, slices = {slices}, size = {size}: give at least 1 patient, 1 slice and 16 pixels.")
    rng = seeds.generator(seed, "phantom")
    places = (np.arange(size * FINER) + 0.5) / (size * FINER) * 2 - 1
    down, right = np.meshgrid(places, places, indexing="ij")
    fine = bend * bent(down, right)
    mr, ct, truth, mask = [], [], [], []
    for patient in range(patients):
        anatomy = (head, pelvis)[patient % 2]
        body = rng.normal(0, 1, 8)
        moved = fine + loose * _moved(down, right, rng)
        for level in np.linspace(-0.7, 0.7, slices) if slices > 1 else [0.0]:
            ellipses = anatomy(float(level), body)
            here = painted(ellipses, down, right)
            there = painted(ellipses, down + moved[0] * 2 / size, right + moved[1] * 2 / size)
            coil = 1 + 0.1 * rng.normal() * right + 0.1 * rng.normal() * down  # a receiver hears what is near it louder
            mr.append(_seen(SIGNAL[here] * coil, size, rng))
            ct.append(_seen(HU[there], size, rng))
            truth.append(resized(HU[here], size, size))
            mask.append(resized((here != AIR).astype(np.float32), size, size) >= 0.5)
    inside = np.array(mask) | np.array([_filled(one) for one in mask])
    kinds = [(mr, MR_RANGE, "", "MR"), (ct, CT_RANGE, "HU", "CT"), (truth, CT_RANGE, "HU", "CT")]
    seen, scanned, true = (
        Images(np.array(values)[:, None].clip(*ends).astype(np.float32), *ends, channels=(name,), unit=unit)
        for values, ends, unit, name in kinds
    )
    shift = np.stack([resized(part, size, size) for part in fine])
    return Phantom(seen, scanned, true, inside, np.repeat(np.arange(patients), slices), shift)


def bent(down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(2, ...) a smooth shift, down and right, whose mean length is about 1, at coordinates -1 ... 1."""
    return np.stack([0.7 * np.cos(np.pi * right / 2) - 0.9, 0.8 + 0.5 * np.sin(np.pi * down / 2)])


def head(level: float, body: np.ndarray) -> list[Ellipse]:
    """A head at a height of -1 ... 1; `body` (8,) standard normal numbers that make this one."""
    round_ = (1 - 0.25 * level**2) * (1 + 0.03 * body[0])
    wide, long, tilt = 0.70 * round_, 0.86 * round_ * (1 + 0.03 * body[1]), 3 * body[2]
    thick = 0.06 + 0.008 * body[3]
    inner = [(wide - 0.05 - thick * at, long - 0.05 - thick * at) for at in (0, 1, 2.2)]
    grown = 1 + 0.2 * body[4]
    ventricle = max(0.02, 0.20 * grown * (1 - level**2))
    found: list[Ellipse] = [(FAT, 0, 0, wide, long, tilt), (BONE, 0, 0, *inner[0], tilt), (GREY, 0, 0, *inner[1], tilt)]
    found += [(WHITE, 0, 0.02, inner[2][0] * 0.86, inner[2][1] * 0.86, tilt)]
    found += [(FLUID, side * 0.12, -0.05 + 0.03 * body[5], 0.06 * grown, ventricle, side * 12) for side in (-1, 1)]
    found += [(GREY, side * 0.30, 0.05, 0.10, 0.14, -side * 20) for side in (-1, 1)]
    if level < 0:  # the base: sinus, orbits, a denser skull
        found += [(BONE, 0, -long * 0.62, 0.26, 0.20, 0), (AIR, 0, -long * 0.66, 0.16, 0.13 * (1 + 0.1 * body[6]), 0)]
        found += [(FAT, side * 0.36, -long * 0.56, 0.17, 0.16, 0) for side in (-1, 1)]
        found += [(FLUID, side * 0.36, -long * 0.58, 0.11, 0.11, 0) for side in (-1, 1)]
    return found


def pelvis(level: float, body: np.ndarray) -> list[Ellipse]:
    """A pelvis at a height of -1 ... 1; `body` as in `head`."""
    wide, deep = 0.92 * (1 + 0.03 * body[0]), 0.66 * (1 + 0.05 * body[1])
    rind = 0.07 + 0.015 * body[2]
    ball, out = 0.17 * (1 - 0.2 * level**2), 0.50 * (1 + 0.03 * body[3])
    found: list[Ellipse] = [(FAT, 0, 0, wide, deep, 0), (MUSCLE, 0, 0.02, wide - rind, deep - rind, 0), (FAT, 0, -0.05, 0.36, 0.34, 0)]
    for side in (-1, 1):
        found += [(BONE, side * out, 0.02, ball, ball, 0), (MARROW, side * out, 0.02, ball * 0.7, ball * 0.7, 0)]
        found += [(BONE, side * 0.36, 0.02 + 0.2 * level, 0.05, 0.24, side * 18)]
    found += [(BONE, 0, deep * 0.66, 0.20, 0.10, 0), (MARROW, 0, deep * 0.66, 0.14, 0.06, 0)]
    full = 0.17 * (1 + 0.25 * body[4]) * (1 - 0.5 * level**2)
    found += [(FLUID, 0.03 * body[5], -0.14, full * 1.2, full, 0), (MUSCLE, 0.03 * body[6], 0.22, 0.12, 0.12, 0)]
    return [*found, (AIR, 0.03 * body[6], 0.22, 0.06, 0.05, 0)]


def painted(ellipses: list[Ellipse], down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(...) the tissue at each place."""
    tissue = np.zeros(down.shape, np.int64)
    for kind, x, y, wide, high, turn in ellipses:
        cosine, sine = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        across, along = (right - x) * cosine + (down - y) * sine, (down - y) * cosine - (right - x) * sine
        tissue[(across / wide) ** 2 + (along / high) ** 2 <= 1] = kind
    return tissue


def _moved(down: np.ndarray, right: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(2, ...) a patient's own movement: a shift, a turn and a stretch, of standard deviation about 1."""
    by, turn, stretch = rng.normal(0, 0.8, 2), rng.normal(0, 0.6), rng.normal(0, 0.6)
    return np.stack([by[0] + turn * right + stretch * down, by[1] - turn * down + stretch * right])


def _seen(values: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    return resized(values, size, size) + rng.normal(0, NOISE, (size, size)).astype(np.float32)


def _filled(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes(mask))
