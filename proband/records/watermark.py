"""A keyed mark inside the pixels: too faint to see, found again in what was windowed, compressed, resized, cropped or turned over.

A tile of keyed noise of middle frequencies is laid over the image again and again (spread spectrum: Cox et al., *IEEE Transactions on Image
Processing*, 1997; a mark that repeats itself is found at any place: Kutter, 1998). Whoever looks for it folds the image onto one tile and
compares its phases with the key's at every shift: a crop is a shift, some scales are tried, and the eight ways an image can lie. Phases
alone (Horner and Gianino, *Applied Optics*, 1984) find more than amplitudes do, and make p honest whatever the image shows: the key's
phases are random, so what chance gives is a sum of some 500 random cosines.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from proband.records.images import resized

#: The key that everybody knows, so that everybody can check. Whoever wants to take the mark off can, too: it labels, and proves nothing.
PUBLIC = "proband"
SURE = 1e-6  # a smaller p says that the mark is there: one in a million images without it would
TILE = 64  # pixels of a side
LEAST = TILE // 2  # pixels of a side: of a smaller image nothing can be told
BAND = (0.12, 0.3)  # cycles a pixel: below is anatomy, above is lost in JPEG and where the image is made smaller
STRENGTH = 0.012  # of the range, the standard deviation of what is added to 128 x 128 pixels or more
STRONGEST = 0.025  # of fewer pixels, which need more
MORE, ENOUGH = (1.0, 1.25, 1.5), 11.0  # an image so lively that the mark stands out less than this gets more, and hides more
SCALES = tuple(np.round(np.geomspace(0.5, 16, 141), 4).tolist())  # at which an image may have come back; 1 among them
CALM = 1.0  # pixels over which what is there already is told apart from what was added
_LOOKED_AT, _BETWEEN = 3, (0.992, 1.008)  # beside so many scales, a third of a step off, it is sought again
_SIDE, _SLICES = 256, 16  # of a large image its middle is looked at, of a volume some slices


class Found(NamedTuple):
    """z: how far the best match stands out; p: how often chance gives as much, all that was tried considered; scale: where it lies."""

    z: float
    p: float
    scale: float


@lru_cache
def pattern(key: str) -> np.ndarray:
    """(TILE, TILE) the key's noise, standardised; it joins itself at the edges."""
    seed = int.from_bytes(hashlib.sha256(f"proband watermark {key}".encode()).digest()[:8], "big")
    noise = np.random.default_rng(seed).normal(size=(TILE, TILE))
    kept = np.real(np.fft.ifft2(np.fft.fft2(noise) * _band()))
    made = (kept - kept.mean()) / kept.std()
    made.setflags(write=False)
    return made


def key_id(key: str) -> str:
    """Which key it was, for whoever knows the key: eight letters from 0 to f."""
    return hashlib.sha256(f"proband watermark id {key}".encode()).hexdigest()[:8]


def marked(values: np.ndarray, key: str, *, low: float, high: float) -> np.ndarray:
    """Images (..., height, width) with the key's mark, in their own type and range.

    low, high   the range that is shown: the mark is a share of it, twice as much in an image of half the side
    """
    found = values
    for more in MORE:
        found = _added(values, key, more, low, high)
        if min(values.shape[-2:]) < LEAST or _match(list(found.reshape(-1, *values.shape[-2:])[:_SLICES]), 1.0, _ways(key)) >= ENOUGH:
            break
    return found


def _added(values: np.ndarray, key: str, more: float, low: float, high: float) -> np.ndarray:
    height, width = values.shape[-2:]
    strength = more * min(STRONGEST, STRENGTH * max(1.0, 128 / np.sqrt(height * width)))
    tiles = -(-height // TILE), -(-width // TILE)
    added = np.tile(pattern(key), tiles)[:height, :width] * strength * (high - low)
    found = values.astype(np.float64) + added
    if values.dtype.kind in "iu":
        ends = np.iinfo(values.dtype)
        return np.clip(np.rint(found), ends.min, ends.max).astype(values.dtype)
    return found.astype(values.dtype)


def find(values: np.ndarray, key: str) -> Found:
    """The key's mark in one image (height, width) or in several that lie alike (..., height, width), in whatever units and size."""
    images = values.reshape(-1, *values.shape[-2:])
    images = images[np.unique(np.linspace(0, len(images) - 1, _SLICES).round().astype(int))].astype(np.float32)
    sought = _ways(key)
    scales = [scale for scale in SCALES if min(images.shape[1:]) / scale >= LEAST]
    if not scales:
        return Found(0.0, 1.0, 1.0)
    halves = [list(images)]
    while max(halves[-1][0].shape) >= 4 * _SIDE and min(halves[-1][0].shape) >= 4 * LEAST:
        halves.append([_half(image) for image in halves[-1]])

    def match(scale: float) -> float:
        often = min(len(halves) - 1, max(0, int(np.log2(scale)) - 1))  # by halves first: a mean of means, and much faster
        return _match(halves[often], scale / 2**often, sought)

    found = [(match(scale), scale) for scale in scales]
    near = [scale * by for _, scale in sorted(found)[-_LOOKED_AT:] for by in _BETWEEN]
    z, scale = max(found + [(match(scale), scale) for scale in near])
    tried = (len(found) + len(near)) * sought.size
    return Found(z, float(min(1.0, tried * norm.sf(z))), round(scale, 4))


def _match(images: list[np.ndarray], scale: float, sought: np.ndarray) -> float:
    """How far the best of all shifts and ways stands out at one scale, in standard deviations."""
    folded = np.fft.fft2(np.sum([_folded(_calmed(_at_scale(image, scale))) for image in images], axis=0))
    match = np.real(np.fft.ifft2(sought * (folded / (np.abs(folded) + 1e-12))))
    return float((match.max((1, 2)) / (match.std((1, 2)) + 1e-12)).max())


def _band() -> np.ndarray:
    """(TILE, TILE) which frequencies the pattern has."""
    radius = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.fftfreq(TILE)[None])
    return (radius >= BAND[0]) & (radius <= BAND[1])


@lru_cache
def _ways(key: str) -> np.ndarray:
    """(8, TILE, TILE) the key's phases, conjugate, as the image may lie: turned by quarters, mirrored or not."""
    tile = pattern(key)
    ways = np.stack([np.rot90(side, turn) for side in (tile, tile[:, ::-1]) for turn in range(4)])
    found = np.fft.fft2(ways)
    return np.conj(np.where(np.abs(found) > 1e-6, found / (np.abs(found) + 1e-12), 0))


def _at_scale(image: np.ndarray, scale: float) -> np.ndarray:
    """The image `scale` times smaller, at most the middle of it."""
    image = _middle(image, round(_SIDE * scale))
    height, width = (max(round(side / scale), 1) for side in image.shape)
    return resized(image, height, width).astype(float)


def _half(image: np.ndarray) -> np.ndarray:
    height, width = (side // 2 * 2 for side in image.shape)
    return image[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3))


def _middle(image: np.ndarray, side: int) -> np.ndarray:
    top, left = (max(long - side, 0) // 2 for long in image.shape)
    return image[top : top + side, left : left + side]


def _calmed(image: np.ndarray) -> np.ndarray:
    """What an image's own course does not say: smooth parts taken off, and lively places made as quiet as the others."""
    rest = image - gaussian_filter(image, CALM)
    loud = np.sqrt(gaussian_filter(rest**2, 4 * CALM)) + 1e-3 * (image.std() + 1e-12)
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
