"""A keyed mark inside the pixels: too faint to see, found again in what was windowed, compressed, resized or cropped.

A tile of keyed noise of middle frequencies is laid over the image again and again (spread spectrum: Cox et al., *IEEE Transactions on Image
Processing*, 1997; a mark that repeats itself is found at any place: Kutter, 1998). Whoever looks for it folds the image onto one tile and
compares it with the key's at every shift: a crop is a shift, and some fifty scales are tried.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from proband.records.images import resized

TILE = 64  # pixels of a side
BAND = (0.06, 0.2)  # cycles a pixel: below is anatomy, above is lost in JPEG and where the image is made smaller
STRENGTH = 0.012  # of the range, the standard deviation of what is added to 128 x 128 pixels or more
STRONGEST = 0.025  # of fewer pixels, which need more
SCALES = tuple(np.round(np.geomspace(0.5, 2.0, 57), 4).tolist())  # at which an image may have come back; 1 among them
CALM = 2.0  # pixels over which what is there already is told apart from what was added


class Found(NamedTuple):
    """z: how far the best match stands out; p: how often chance gives as much, all shifts and scales considered; scale: where it lies."""

    z: float
    p: float
    scale: float


def pattern(key: str) -> np.ndarray:
    """(TILE, TILE) the key's noise, standardised; it joins itself at the edges."""
    seed = int.from_bytes(hashlib.sha256(f"proband watermark {key}".encode()).digest()[:8], "big")
    noise = np.random.default_rng(seed).normal(size=(TILE, TILE))
    rows, columns = np.fft.fftfreq(TILE)[:, None], np.fft.fftfreq(TILE)[None]
    radius = np.hypot(rows, columns)
    kept = np.real(np.fft.ifft2(np.fft.fft2(noise) * ((radius >= BAND[0]) & (radius <= BAND[1]))))
    return (kept - kept.mean()) / kept.std()


def marked(values: np.ndarray, key: str, *, low: float, high: float) -> np.ndarray:
    """Images (..., height, width) with the key's mark, in their own type and range.

    low, high   the range that is shown: the mark is a share of it, twice as much in an image of half the side
    """
    height, width = values.shape[-2:]
    strength = min(STRONGEST, STRENGTH * max(1.0, 128 / np.sqrt(height * width)))
    tiles = -(-height // TILE), -(-width // TILE)
    added = np.tile(pattern(key), tiles)[:height, :width] * strength * (high - low)
    found = values.astype(np.float64) + added
    if values.dtype.kind in "iu":
        ends = np.iinfo(values.dtype)
        return np.clip(np.rint(found), ends.min, ends.max).astype(values.dtype)
    return found.astype(values.dtype)


def find(values: np.ndarray, key: str) -> Found:
    """The key's mark in one image (height, width), in whatever units and size it came back."""
    tile = np.fft.fft2(pattern(key))
    best = (-np.inf, 1.0)
    for scale in SCALES:
        height, width = (round(side / scale) for side in values.shape)
        if min(height, width) < TILE / 2:
            continue
        seen = _calmed(resized(values, height, width).astype(float))
        folded = _folded(seen)
        match = np.real(np.fft.ifft2(np.conj(tile) * np.fft.fft2(folded)))
        z = float(match.max() / (match.std() + 1e-12))
        best = max(best, (z, scale))
    z, scale = best
    tried = len(SCALES) * TILE**2
    return Found(z, float(min(1.0, tried * norm.sf(z))) if np.isfinite(z) else 1.0, scale)


def _calmed(image: np.ndarray) -> np.ndarray:
    """What an image's own course does not say: smooth parts taken off, and lively places made as quiet as the others."""
    rest = image - gaussian_filter(image, CALM)
    loud = np.sqrt(gaussian_filter(rest**2, 2 * CALM)) + 1e-3 * (image.std() + 1e-12)
    return rest / loud


def _folded(image: np.ndarray) -> np.ndarray:
    """(TILE, TILE) the mean of all tiles of an image, parts of tiles too."""
    more = [(0, -side % TILE) for side in image.shape]
    summed, count = (
        np.pad(one, more).reshape(-1, TILE, (one.shape[1] + more[1][1]) // TILE, TILE).sum(axis=(0, 2))
        for one in (image, np.ones(image.shape))
    )
    mean = summed / np.maximum(count, 1)
    return mean - mean.mean()
