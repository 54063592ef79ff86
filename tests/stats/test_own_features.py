"""Features that a small network learned from the images themselves tell blur and collapse from other images of the same kind."""

import numpy as np

from proband.stats.images import blurred, calibrated, kid
from proband.stats.own_features import own_encoder


def waves(n: int, seed: int) -> np.ndarray:
    """(n, 1, 24, 24) a wave of a frequency, direction and phase of its own, with noise."""
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[0:24, 0:24] / 24
    cycles, angle, phase = (one[:, None, None] for one in (rng.uniform(1, 5, n), rng.uniform(0, np.pi, n), rng.uniform(0, 6, n)))
    wave = np.sin(2 * np.pi * cycles * (np.cos(angle) * down + np.sin(angle) * right) + phase)
    return (0.6 * wave + 0.1 * rng.normal(size=wave.shape)).astype(np.float32)[:, None]


def test_other_images_of_the_kind_are_near_and_blurred_ones_far() -> None:
    train, unseen, fresh = waves(150, 0), waves(150, 1), waves(150, 2)
    encoder = own_encoder(unseen, seed=0, steps=30)
    near, far, made = (encoder(images) for images in (train, blurred(unseen), fresh))
    seen = encoder(unseen)
    assert seen.shape == (150, 15) and np.allclose(np.linalg.norm(seen, axis=1), 15**0.5)
    assert abs(calibrated(made, near, seen, far)) < 0.2, "a standard error or two of 150 images"
    assert kid(encoder(np.repeat(fresh[:5], 30, axis=0)), seen) > 5 * abs(kid(made, seen)), "five images, thirty times each"


def test_the_same_seed_gives_the_same_features() -> None:
    images = waves(60, 0)
    one, again, other = (own_encoder(images, seed=seed, steps=3)(images) for seed in (0, 0, 1))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
