"""Distances of features, cover, spectra: clouds whose answer is known."""

import numpy as np
import pytest

from proband.stats.images import blurred, calibrated, cover, kid, nearer, shifts, spectrum


def cloud(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 8)) + shift


def test_kid_is_none_between_samples_of_one_cloud_and_grows_with_the_distance() -> None:
    same = [kid(cloud(200, seed), cloud(200, 50 + seed)) for seed in range(20)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(20), "unbiased: below 0 as often as above"
    assert kid(cloud(200, 0), cloud(200, 1, 0.5)) < kid(cloud(200, 0), cloud(200, 1, 1.0))


def test_the_calibrated_scale_is_0_at_real_images_and_1_at_blurred_ones() -> None:
    train, unseen, far = cloud(300, 0), cloud(300, 1), cloud(300, 2, 1.0)
    assert calibrated(train, train, unseen, far) == pytest.approx(0)
    assert calibrated(far, train, unseen, far) == pytest.approx(1)
    assert 0.1 < calibrated(cloud(300, 3, 0.5), train, unseen, far) < 0.5


def test_cover_tells_what_is_made_up_from_what_is_left_out() -> None:
    real = np.concatenate([cloud(100, 0), cloud(100, 1, 20.0)])
    lost = cover(real, cloud(200, 2))  # half of the real images have no like
    assert lost.precision > 0.9 and 0.35 < lost.recall < 0.55 and 0.35 < lost.coverage < 0.55
    odd = cover(cloud(200, 0), np.concatenate([cloud(100, 2), cloud(100, 3, 20.0)]))  # half of the made ones have none
    assert 0.35 < odd.precision < 0.55 and odd.recall > 0.9 and 0.35 < odd.density < 0.7


def test_a_spectrum_shows_a_checkerboard_at_its_end_and_blur_as_its_fall() -> None:
    noise = np.random.default_rng(0).normal(size=(20, 1, 32, 32))
    flat = spectrum(noise)
    assert len(flat) == 16 and np.ptp(flat) < 0.2, "white noise has as much of each frequency"
    board = spectrum(noise + 3 * (-1.0) ** np.arange(32))
    assert board[-1] - flat[-1] > 0.5 and abs(board[:10] - flat[:10]).max() < 0.1
    assert (spectrum(blurred(noise)) - flat)[-4:].max() < -1


def test_copies_are_nearer_to_the_training_images_and_strangers_are_not() -> None:
    train, unseen = cloud(200, 0), cloud(200, 1)
    rng = np.random.default_rng(0)
    count, of = nearer(train[:100] + 0.01, train, unseen, rng)
    assert of == 100 and count > 95
    count, of = nearer(cloud(400, 2), train, unseen, rng)
    assert 0.4 < count / of < 0.6
    count, of = nearer(cloud(400, 2), np.concatenate([train, cloud(800, 3)]), unseen, rng)
    assert 0.4 < count / of < 0.6, "a larger bank is not nearer by chance"


def test_a_copy_that_was_moved_is_among_the_shifts() -> None:
    image = np.random.default_rng(0).normal(size=(1, 1, 8, 8))
    moved = np.pad(image, ((0, 0), (0, 0), (2, 0), (0, 0)), mode="edge")[:, :, :8]
    found = shifts(image)
    assert len(found) == 9 and any(np.array_equal(one, moved) for one in found) and np.array_equal(found[0], image)
