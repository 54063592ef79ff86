"""Figures of translation, on images whose answer is known."""

import numpy as np
import pytest

from proband.records.phantom import CT_RANGE, MR_RANGE, phantom
from proband.stats import translation as stats
from proband.stats.intervals import Estimate

ENDS = {"low": CT_RANGE[0], "high": CT_RANGE[1]}
RNG = np.random.default_rng(0)
NOISE = RNG.uniform(0, 100, (2, 32, 32))
EVERYWHERE = np.ones((2, 32, 32), bool)


def test_errors_count_where_the_mask_is_true() -> None:
    real, made = np.zeros((1, 4, 4)), np.zeros((1, 4, 4))
    made[0, 0] = 10
    mask = np.zeros((1, 4, 4), bool)
    mask[0, :2] = True
    assert stats.mae(made, real, mask) == 5
    assert stats.psnr(made, real, mask, low=0, high=100) == pytest.approx(10 * np.log10(100**2 / 50))


def test_the_same_image_is_as_similar_as_can_be_and_noise_is_not() -> None:
    other = np.random.default_rng(1).uniform(0, 100, NOISE.shape)
    for of in (stats.ssim, stats.ms_ssim):
        assert of(NOISE, NOISE, EVERYWHERE, low=0, high=100) == pytest.approx(1)
        assert of(other, NOISE, EVERYWHERE, low=0, high=100) < 0.2


def test_dice_is_twice_the_overlap() -> None:
    real, made = np.zeros((1, 4, 4)), np.zeros((1, 4, 4))
    real[0, 0], made[0, :, 0] = 500, 500  # four pixels each, one of them common
    mask = np.ones((1, 4, 4), bool)
    assert stats.dice(made, real, mask, at_least=200) == 0.25
    assert np.isnan(stats.dice(made, real, mask, at_least=900))


def test_a_shifted_translation_is_caught() -> None:
    """Two pixels to the right: errors might be noise, the registration residual says that it moved, and where to."""
    made = phantom(2, 3, 64, seed=0)
    truth = made.truth.values[:, 0]
    still = stats.moved(truth, truth, made.mask, **ENDS, other_range=CT_RANGE)
    off = stats.moved(truth, np.roll(truth, 2, axis=2), made.mask, **ENDS, other_range=CT_RANGE)
    assert still.residual == 0 and still.common == 0
    assert off.residual == pytest.approx(2, abs=0.3) and off.shift.mean(axis=0) == pytest.approx([0, 2], abs=0.3)
    assert off.common == pytest.approx(2, abs=0.3)
    found = stats.figures(np.roll(truth, 2, axis=2), truth, made.mask, **ENDS, tissues=stats.TISSUES_HU)
    assert found["residual"] > 1.5 and found["Dice bone"] < 0.8


def test_a_shift_is_seen_through_another_contrast() -> None:
    """An MRI against its own CT, and against one that is bent by three pixels; what chance finds is below a third of a pixel."""
    here, bent = (phantom(4, 3, 64, seed=0, bend=bend) for bend in (0.0, 3.0))
    ends = {"low": MR_RANGE[0], "high": MR_RANGE[1], "other_range": CT_RANGE}
    near, far = (stats.moved(made.mr.values[:, 0], made.ct.values[:, 0], made.mask, **ends) for made in (here, bent))
    assert near.residual < 0.4 and far.residual > 1.5


def test_partners_share_information() -> None:
    one, other = stats.levels(NOISE)
    assert stats.information(one, one) == pytest.approx(np.log(stats.BINS), abs=0.01)  # a level tells itself
    # Of 1,024 pixels chance tells (12 - 1)^2 / 2,048 = .06 nats.
    assert stats.information(one, other) == pytest.approx(0.06, abs=0.03)


def test_patients_are_counted() -> None:
    assert stats.on_average(np.array([3.0, np.nan])) == Estimate(3.0, -np.inf, np.inf)
    mean, low, high = stats.on_average(np.array([1.0, 2.0, 3.0, np.nan]))
    assert mean == 2 and low == pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-3) and high == pytest.approx(4 - low)
