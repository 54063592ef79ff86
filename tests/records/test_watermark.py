"""A keyed mark inside the pixels, and what it survives. Images are drawn here: smooth shapes with noise, as X-rays are."""

import io

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from proband.records.images import resized
from proband.records.watermark import TILE, find, marked, pattern

SURE = 1e-6


def xray(seed: int = 0, size: int = 128) -> np.ndarray:
    """(size, size) uint8: as much of every frequency as photographs have (1/f), and a little grain."""
    rng = np.random.default_rng(seed)
    shape = sum(gaussian_filter(rng.normal(size=(size, size)), 2.0**at) * 2.0**at for at in range(1, 6))
    shape = (shape - shape.min()) / np.ptp(shape)
    return np.rint(np.clip(20 + 200 * shape + rng.normal(0, 2, (size, size)), 0, 255)).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(image).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(io.BytesIO(held.getvalue())))


def test_a_pattern_is_the_keys_own_and_joins_itself() -> None:
    one, other = pattern("one"), pattern("other")
    assert np.array_equal(one, pattern("one")) and abs((one * other).mean()) < 0.2
    assert one.shape == (TILE, TILE) and one.mean() == pytest.approx(0) and one.std() == pytest.approx(1)
    many = np.stack([pattern(str(at)) for at in range(40)])  # one edge says little: neighbours in it are alike
    across, within = np.abs(many[:, :, 0] - many[:, :, -1]).mean(), np.abs(np.diff(many, axis=2)).mean()
    assert across == pytest.approx(within, rel=0.1)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda image: image, id="as it was"),
        pytest.param(lambda image: jpeg(image, 75), id="JPEG"),
        pytest.param(lambda image: np.rint(resized(image, 96, 96)).astype(np.uint8), id="three quarters of its size"),
        pytest.param(lambda image: image[6:-6, 4:-8], id="cropped"),
        pytest.param(lambda image: np.clip(image.astype(float) * 1.3 - 40, 0, 255).astype(np.uint8), id="windowed"),
        pytest.param(lambda image: jpeg(np.rint(resized(image[6:-6, 6:-6], 87, 87)).astype(np.uint8), 75), id="all of it"),
    ],
)
def test_it_is_found_in_what_came_back(change) -> None:
    assert all(find(change(marked(xray(seed), "key", low=0, high=255)), "key").p < SURE for seed in range(3))


def test_it_survives_the_window_of_an_image_of_16_bits() -> None:
    deep = xray().astype(np.uint16) * 128 + 5000
    window = np.clip((marked(deep, "key", low=5000, high=5000 + 255 * 128).astype(float) - 5000) / 128, 0, 255).astype(np.uint8)
    assert find(window, "key").p < SURE


def test_nobody_elses_key_and_no_unmarked_image_raises_an_alarm() -> None:
    found = [find(xray(seed), "key").p for seed in range(10)] + [
        find(marked(xray(seed), "key", low=0, high=255), "other").p for seed in range(10)
    ]
    assert min(found) > 1e-4  # of twenty, each at most a uniform number


def test_it_is_faint_and_keeps_type_and_range() -> None:
    image = xray()
    after = marked(image, "key", low=0, high=255)
    assert after.dtype == np.uint8 and 2 < (after.astype(int) - image).std() < 4  # of 256 grey levels
    assert marked(np.full((64, 64), 255, np.uint8), "key", low=0, high=255).max() == 255
    volume = np.zeros((2, 1, 40, 30), np.float32)
    assert marked(volume, "key", low=-1, high=1).shape == volume.shape


def test_an_image_smaller_than_half_a_tile_says_nothing() -> None:
    assert find(xray(size=8), "key").p == 1.0
