"""Images: one size, one range, one area filter."""

import numpy as np
import pytest

from proband import Images, InputError
from proband.records.images import resized, seen_range, smallest, squared


def grey(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def test_a_pixel_of_a_smaller_image_is_the_mean_of_what_it_covers() -> None:
    values = np.arange(12.0).reshape(1, 1, 3, 4)
    assert resized(values, 3, 2).tolist() == [[[[0.5, 2.5], [4.5, 6.5], [8.5, 10.5]]]]
    assert resized(values, 2, 4)[0, 0, :, 0].tolist() == pytest.approx([(0 + 4 / 2) / 1.5, (4 / 2 + 8) / 1.5])
    assert np.allclose(resized(values, 6, 8), values.repeat(2, 2).repeat(2, 3)), "larger: each pixel several times"
    assert resized(values, 3, 4).tolist() == values.tolist()


def test_the_shorter_side_is_padded_with_black() -> None:
    assert squared(np.array([[[1, 2, 3]]])).tolist() == [[[1, 1, 1], [1, 2, 3], [1, 1, 1]]]


def test_the_size_changes_and_what_is_known_of_it_with_it() -> None:
    images = Images(grey(2, 1, 8, 6), spacing_mm=(0.5, 1.0))
    small = images.resized(4, 3)
    assert small.size == (4, 3) and small.spacing_mm == (1.0, 2.0) and small.values.dtype == np.uint8
    assert small.native is not None and small.native.tolist() == [[8, 6], [8, 6]]
    assert small.resized(2, 3).native.tolist() == [[8, 6], [8, 6]]  # type: ignore[union-attr]
    assert small.take(np.array([1])).native.tolist() == [[8, 6]]  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_scaled_and_back(dtype: type) -> None:
    images = Images(grey(3, 1, 4, 4, dtype=dtype), low=0, high=255)
    assert images.scaled().min() >= -1 and images.scaled().max() <= 1
    back = images.unscaled(images.scaled())
    assert np.allclose(back.values, images.values, atol=0.01) and back.values.dtype == dtype
    assert np.array_equal(images.shown(), images.values.astype(np.uint8))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([0, 255], np.uint8), ([0, 256], np.uint16), ([-1, 255], np.int16), ([-1, 40_000], np.float32), ([0.5, 1], np.float32)],
)
def test_the_smallest_type_holds_every_number(values: list[float], dtype: type) -> None:
    found = smallest(np.array(values))
    assert found.dtype == dtype and found.tolist() == values


def test_black_and_white_are_nearly_the_lowest_and_the_highest_pixel() -> None:
    assert seen_range(np.arange(1001)) == (1, 999) and seen_range(np.full(5, 7)) == (7, 8)


def test_what_lies_beyond_the_range_is_held_there() -> None:
    images = Images(np.array([[[[-3000, 0, 3000]]]], np.int16), low=-1000, high=1000, unit="HU")
    assert images.scaled().tolist() == [[[[-1.0, 0.0, 1.0]]]]
    assert images.unscaled(np.array([[[[-2.0, 0.0, 2.0]]]])).values.tolist() == [[[[-1000, 0, 1000]]]]


def test_equal_images_have_equal_bytes_and_others_have_not() -> None:
    one = Images(grey(2, 1, 4, 4))
    assert one.content() == Images(grey(2, 1, 4, 4)).content()
    assert one.content() != one.take(np.array([1, 0])).content() != Images(grey(2, 1, 4, 4), high=254).content()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Images(grey(4, 4)), r"shape \(4, 4\)"),
        (lambda: Images(grey(2, 1, 0, 4)), "none of the last three 0"),
        (lambda: Images(grey(2, 1, 4, 4).astype(np.int64)), "dtype int64"),
        (lambda: Images(grey(2, 3, 4, 4)), "for 3 channels"),
        (lambda: Images(grey(2, 1, 4, 4), low=5, high=5), "are no range"),
        (lambda: Images(np.full((1, 1, 2, 2), np.nan)), "Image 0, channel 'grey', row 0, column 0.*4 in all"),
        (lambda: Images(grey(2, 1, 4, 4), native=np.ones((1, 2))), "native"),
        (lambda: resized(grey(2, 2), 0, 3), "size = 0 x 3"),
    ],
)
def test_what_is_no_image_is_said(made, message: str) -> None:
    with pytest.raises(InputError, match=message):
        made()
