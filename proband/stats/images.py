"""How close made images are to real ones: distances of features, what is covered and what is believable, spectra, copies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NEIGHBOURS = 5  # of the balls by which precision, recall, density and coverage are told
BLUR = 4  # the factor of the blur that counts as 1 on the calibrated scale


def kid(one: np.ndarray, other: np.ndarray) -> float:
    """The unbiased squared maximum mean discrepancy of features (n, numbers) under the cubic kernel (Binkowski et al., ICLR 2018).

    Below 0 by chance where both are alike.
    """
    numbers = one.shape[1]
    kernel = lambda a, b: (a.astype(float) @ b.astype(float).T / numbers + 1) ** 3  # noqa: E731
    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (kernel(one, one), kernel(other, other))]
    return float(sum(within) - 2 * kernel(one, other).mean())


def calibrated(made: np.ndarray, train: np.ndarray, unseen: np.ndarray, blurred: np.ndarray) -> float:
    """KID of made images on a scale that needs no reference: 0 as near to unseen real images as the training images are, 1 as far as the
    unseen ones blurred by 4. All are features (n, numbers), of about as many images each.
    """
    near, far = kid(train, unseen), kid(blurred, unseen)
    return (kid(made, unseen) - near) / max(far - near, 1e-12)


class Cover(NamedTuple):
    """precision: share of made images within a real one's ball; recall: of real ones within a made one's; density: real balls that a made
    image is in, over `NEIGHBOURS`; coverage: share of real balls with a made image in them (Kynkaanniemi 2019; Naeem et al., ICML 2020)."""

    precision: float
    recall: float
    density: float
    coverage: float


def cover(real: np.ndarray, made: np.ndarray, *, neighbours: int = NEIGHBOURS) -> Cover:
    """How features (n, numbers) of real and made images lie in one another. The radius of a ball is the distance to the k-th neighbour."""
    across = _distances(real, made)
    real_radius, made_radius = _radius(real, neighbours), _radius(made, neighbours)
    inside = across <= real_radius[:, None]
    return Cover(
        float(inside.any(axis=0).mean()),
        float((across <= made_radius[None, :]).any(axis=1).mean()),
        float(inside.sum(axis=0).mean() / neighbours),
        float(inside.any(axis=1).mean()),
    )


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(ones, others) Euclidean."""
    one, other = one.astype(float), other.astype(float)
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None] - 2 * one @ other.T
    return np.sqrt(np.maximum(squares, 0))


def _radius(points: np.ndarray, neighbours: int) -> np.ndarray:
    apart = _distances(points, points)
    np.fill_diagonal(apart, np.inf)
    return np.sort(apart, axis=1)[:, min(neighbours, len(points) - 1) - 1]


def spectrum(images: np.ndarray) -> np.ndarray:
    """(frequencies,) the mean log10 power of images (n, channels, height, width) by distance from the centre of their spectrum: cycles a
    side from 1 to half of the shorter side. A checkerboard stands out at its end, blur sinks there."""
    height, width = images.shape[-2:]
    centred = images - images.mean(axis=(-2, -1), keepdims=True)
    power = (np.abs(np.fft.fft2(centred)) ** 2).mean(axis=(0, 1)) / (height * width)
    rows, columns = np.fft.fftfreq(height)[:, None] * min(height, width), np.fft.fftfreq(width)[None] * min(height, width)
    radius = np.rint(np.hypot(rows, columns)).astype(int)
    found = np.bincount(radius.ravel(), power.ravel()) / np.maximum(np.bincount(radius.ravel()), 1)
    return np.log10(found[1 : min(height, width) // 2 + 1] + 1e-12)


def blurred(images: np.ndarray, factor: int = BLUR) -> np.ndarray:
    """Images (n, channels, height, width) averaged over squares of `factor` pixels and drawn smooth again: what counts as 1."""
    from scipy.ndimage import uniform_filter

    return np.asarray(uniform_filter(images, size=(1, 1, factor, factor), mode="nearest"))


def nearer(made: np.ndarray, train: np.ndarray, unseen: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """How many made images are nearer to a training image than to any unseen one, and of how many; (n, numbers) each. As many of either are
    asked: a larger bank is nearer by chance alone. Half is what images give that remember nobody."""
    size = min(len(train), len(unseen))
    banks = [bank[rng.permutation(len(bank))[:size]] for bank in (train, unseen)]
    to_train, to_unseen = (_distances(made, bank).min(axis=1) for bank in banks)
    apart = to_train != to_unseen
    return int((to_train < to_unseen)[apart].sum()), int(apart.sum())


def shifts(images: np.ndarray, most: int = 2) -> list[np.ndarray]:
    """The images (n, channels, height, width) as they are, and moved by `most` pixels in eight directions, edges held: a copy
    that was moved is a copy."""
    padded = np.pad(images, ((0, 0), (0, 0), (most, most), (most, most)), mode="edge")
    height, width = images.shape[-2:]
    places = [(most, most)] + [(a, b) for a in (0, most, 2 * most) for b in (0, most, 2 * most) if (a, b) != (most, most)]
    return [padded[:, :, a : a + height, b : b + width] for a, b in places]
