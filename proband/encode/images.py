"""Images and what is known of their patients <-> arrays: pixels from black -1 to white 1, and a Gaussian sketch of each kind of image."""

from __future__ import annotations

import numpy as np

from proband.encode.waveforms import covariances
from proband.records.images import Images, resized

SKETCHED = 64  # pixels of a side at most that the sketch is drawn in
SCORES = 512  # principal components at most
COARSE = 96  # of them make the sketch: where things are, and little of how they look
KIND = 100  # images of a group to each kind
SHRUNK = 50.0  # a kind's covariance counts as n / (n + this), that of everybody as the rest
RIDGE = 0.5  # images by which an attribute's effect is drawn to none: a level of one image alone would be that image
TURNS = 1  # power iterations of the principal components: the first ninety-six are exact with so many more beside them


def to_canvas(images: Images, of: int) -> np.ndarray:
    """(images, channels, height, width) float32 from -1 to 1, edges repeated to sides that are multiples of `of`."""
    height, width = images.size
    padding = _margins(images.size, (height + -height % of, width + -width % of))
    return np.pad(images.scaled(), ((0, 0), (0, 0), *padding), mode="edge")


def from_canvas(values: np.ndarray, like: Images) -> Images:
    """And back: in the size, units, range and type of `like`."""
    height, width = like.size
    (top, _), (left, _) = _margins(like.size, (values.shape[2], values.shape[3]))
    return like.unscaled(values[:, :, top : top + height, left : left + width])


def _margins(size: tuple[int, int], canvas: tuple[int, int]) -> list[tuple[int, int]]:
    """What the canvas has more than the image, before and after, of each axis."""
    return [((long - side) // 2, long - side - (long - side) // 2) for side, long in zip(size, canvas, strict=True)]


def sketch_of(values: np.ndarray, given: np.ndarray, kinds: int, *, seed: int) -> dict[str, np.ndarray]:
    """The arrays of `game.images.Sketch` for images (n, channels, height, width), each of the kind given[:, 0].

    The effect of attributes and kinds on the first principal components is a ridge regression; what is left has a covariance in each kind,
    drawn to everybody's. The other components are independent. Components by Halko et al., SIAM Review 2011.
    """
    from sklearn.utils.extmath import randomized_svd

    small = sketched(values)
    flat = small.reshape(len(small), -1)
    mean = flat.mean(axis=0)
    number = min(SCORES, len(flat) - 1, flat.shape[1])
    _, _, basis = randomized_svd(flat - mean, number, n_iter=TURNS, power_iteration_normalizer="QR", random_state=seed % 2**31)
    scores = ((flat - mean) @ basis.T).astype(float)
    coarse = min(COARSE, number)
    kind = given[:, 0].astype(int)
    told = np.concatenate([given[:, 1:], np.eye(kinds)[kind]], axis=1).astype(float)
    first = scores[:, :coarse]
    slopes = np.linalg.solve(told.T @ told + RIDGE * np.eye(told.shape[1]), told.T @ first)
    factors = []
    for covariance in covariances(first - told @ slopes, kind, kinds, shrunk=SHRUNK):
        ridge = 1e-6 * np.trace(covariance) / coarse + 1e-12
        factors.append(np.linalg.cholesky(covariance + ridge * np.eye(coarse)))
    found = {
        "mean": mean,
        "basis": basis,
        "slopes": slopes[:-kinds],
        "centres": slopes[-kinds:],
        "factors": np.stack(factors),
        "rest": scores[:, coarse:].std(axis=0),
    }
    return {name: array.astype(np.float32) for name, array in found.items()}


def sketched(values: np.ndarray) -> np.ndarray:
    """Images on the canvas of their sketch: as they are, or averaged to sides of at most 64 pixels."""
    height, width = values.shape[2:]
    less = -(-max(height, width) // SKETCHED)
    while height % less or width % less:
        less += 1
    return values if less == 1 else resized(values, height // less, width // less).astype(np.float32)
