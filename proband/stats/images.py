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
    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (kernel(one, one), kernel(other, other))]
    return float(sum(within) - 2 * kernel(one, other).mean())


def kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(ones, others) the cubic kernel of features (n, numbers): what KID is made of."""
    return np.asarray((one.astype(float) @ other.astype(float).T / one.shape[1] + 1) ** 3)


def weighted_kids(kernels: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(draws,) the KID of many bootstrap samples at once, from the kernel of all images (n, n).

    one, other   (draws, n) how often each image was drawn on a side. An image that was drawn twice is no pair with itself, so that samples
                 with repeats are no farther apart than those they were drawn from. NaN where a side has less than two images.
    """
    diagonal = np.diagonal(kernels)
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = [side @ kernels for side in (one, other)]
        within = [
            ((there * side).sum(axis=1) - (side**2) @ diagonal) / (side.sum(axis=1) ** 2 - (side**2).sum(axis=1))
            for there, side in zip(seen, (one, other), strict=True)
        ]
        across = (seen[0] * other).sum(axis=1) / (one.sum(axis=1) * other.sum(axis=1))
    return np.asarray(sum(within) - 2 * across)


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


class Covered(NamedTuple):
    """The same for each image: precision and density (made images,), recall and coverage (real images,)."""

    precision: np.ndarray
    recall: np.ndarray
    density: np.ndarray
    coverage: np.ndarray


def cover(real: np.ndarray, made: np.ndarray, *, neighbours: int = NEIGHBOURS) -> Cover:
    """How features (n, numbers) of real and made images lie in one another. The radius of a ball is the distance to the k-th neighbour."""
    return Cover(*(float(one.mean()) for one in covered(real, made, neighbours=neighbours)))


def covered(real: np.ndarray, made: np.ndarray, *, neighbours: int = NEIGHBOURS) -> Covered:
    """What each image says of `cover`; its means are the four figures."""
    across = distances(real, made)
    real_radius, made_radius = _radius(real, neighbours), _radius(made, neighbours)
    inside = across <= real_radius[:, None]
    return Covered(
        inside.any(axis=0).astype(float),
        (across <= made_radius[None, :]).any(axis=1).astype(float),
        inside.sum(axis=0) / neighbours,
        inside.any(axis=1).astype(float),
    )


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(ones, others) Euclidean."""
    one, other = one.astype(float), other.astype(float)
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None] - 2 * one @ other.T
    return np.sqrt(np.maximum(squares, 0))


def _radius(points: np.ndarray, neighbours: int) -> np.ndarray:
    apart = distances(points, points)
    np.fill_diagonal(apart, np.inf)
    return np.sort(apart, axis=1)[:, min(neighbours, len(points) - 1) - 1]


def spectrum(images: np.ndarray) -> np.ndarray:
    """(frequencies,) the mean log10 power of images (n, channels, height, width) by distance from the centre of their spectrum: cycles a
    side from 1 to half of the shorter side. A checkerboard stands out at its end, blur sinks there."""
    return np.asarray(np.log10(powers(images).mean(axis=0) + 1e-12))


def powers(images: np.ndarray) -> np.ndarray:
    """(n, frequencies) the power of each image, as `spectrum` reads it."""
    height, width = images.shape[-2:]
    centred = images - images.mean(axis=(-2, -1), keepdims=True)
    power = (np.abs(np.fft.fft2(centred)) ** 2).mean(axis=1).reshape(len(images), -1) / (height * width)
    rows, columns = np.fft.fftfreq(height)[:, None] * min(height, width), np.fft.fftfreq(width)[None] * min(height, width)
    radius = np.rint(np.hypot(rows, columns)).astype(int).ravel()
    wanted = np.arange(1, min(height, width) // 2 + 1)
    rings = (radius[:, None] == wanted).astype(float)
    return np.asarray(power @ (rings / rings.sum(axis=0)))


def blurred(images: np.ndarray, factor: int = BLUR) -> np.ndarray:
    """Images (n, channels, height, width) averaged over squares of `factor` pixels and drawn smooth again: what counts as 1."""
    from scipy.ndimage import uniform_filter

    return np.asarray(uniform_filter(images, size=(1, 1, factor, factor), mode="nearest"))


def nearer(made: np.ndarray, train: np.ndarray, unseen: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """How many made images are nearer to a training image than to any unseen one, and of how many; (n, numbers) each. As many of either are
    asked: a larger bank is nearer by chance alone. Half is what images give that remember nobody."""
    size = min(len(train), len(unseen))
    banks = [bank[rng.permutation(len(bank))[:size]] for bank in (train, unseen)]
    to_train, to_unseen = (distances(made, bank).min(axis=1) for bank in banks)
    apart = to_train != to_unseen
    return int((to_train < to_unseen)[apart].sum()), int(apart.sum())


def shifts(images: np.ndarray, most: int = 2) -> list[np.ndarray]:
    """The images (n, channels, height, width) as they are, and moved by `most` pixels in eight directions, edges held: a copy
    that was moved is a copy."""
    padded = np.pad(images, ((0, 0), (0, 0), (most, most), (most, most)), mode="edge")
    height, width = images.shape[-2:]
    places = [(most, most)] + [(a, b) for a in (0, most, 2 * most) for b in (0, most, 2 * most) if (a, b) != (most, most)]
    return [padded[:, :, a : a + height, b : b + width] for a, b in places]
