"""Stamp and watermark go into the pixels once, and only into what is synthetic."""

import numpy as np
import pytest

from proband import Images, InputError
from proband.records.burned import alike, burned
from proband.records.watermark import PUBLIC, SURE, find, key_id


def grey(n: int = 2, size: int = 64, dtype: type = np.uint8) -> Images:
    values = np.random.default_rng(0).integers(60, 200, (n, 1, size, size)).astype(dtype)
    return Images(values, low=0, high=255)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_both_are_put_in_once(dtype: type) -> None:
    plain = grey(dtype=dtype)
    after = burned(plain)
    assert after.burned_in == (f"watermark:{key_id(PUBLIC)}", "stamp") and after.values.dtype == dtype
    assert all(find(one, PUBLIC).p < SURE for one in after.values)
    assert set(np.unique(after.values[:, 0, -6:-1, 1:12])) == {0, 255}, "the stamp lies over the watermark"
    assert burned(after) is after and burned(after, watermark=False) is after
    assert burned(plain, stamp=False, watermark=False) is plain


def test_each_alone_and_a_key_of_ones_own() -> None:
    assert burned(grey(), watermark=False).burned_in == ("stamp",)
    ours = burned(grey(), stamp=False, watermark="ours")
    assert ours.burned_in == (f"watermark:{key_id('ours')}",)
    assert burned(ours, stamp=False) is ours, "the public key does not go over another"
    assert burned(burned(grey(), stamp=False), stamp=False, watermark="ours").burned_in[1] == f"watermark:{key_id('ours')}", "but ours does"
    with pytest.raises(InputError, match="is no key"):
        burned(grey(), watermark="")


def test_what_is_too_small_is_left_alone() -> None:
    assert burned(grey(size=28)).burned_in == ("stamp",)
    small = grey(size=16)
    assert burned(small) is small


def test_an_images_pixels_are_its_own_however_many_are_written_with_it() -> None:
    many, one = burned(grey(3)), burned(grey(3).take(np.array([1])))
    assert np.array_equal(many.values[1], one.values[0])


def test_what_follows_from_them_keeps_or_loses_them() -> None:
    after = burned(grey())
    assert after.take(np.array([0])).burned_in == after.resized(32, 32).burned_in == after.burned_in
    assert after.unscaled(after.scaled()).burned_in == (), "made anew by whoever learned from them"


def test_real_images_are_stamped_alike_to_be_judged() -> None:
    real, made = grey(), burned(grey())
    assert alike(real, grey()) is real
    seen = alike(real, made)
    assert "stamp" in seen.burned_in and alike(made, made) is made
    assert all(find(one, PUBLIC).p > SURE for one in seen.values), "no real image gets a watermark that anybody seeks, not even in memory"
    apart = [np.std(one.values.astype(float) - grey().values) for one in (seen, made)]
    assert apart[0] == pytest.approx(apart[1], rel=0.05), "as faint"
