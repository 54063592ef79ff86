"""The players of signals: where they start, how a record goes on, what shaking leaves."""

import pytest
import torch

from proband.game.signals import HISS, STYLE, Discriminator, Gaussian, Generator, shaken

NAN = float("nan")


def gaussian(level: float = NAN, tails: float = 0.0) -> Gaussian:
    """Two channels of three samples; six scores, each one value; group 1 spreads three times as far; the attribute moves the first."""
    slopes = torch.zeros(1, 6)
    slopes[0, 0] = 10.0
    factors = torch.stack([torch.eye(6), 3 * torch.eye(6)])
    return Gaussian(
        torch.zeros(6), torch.eye(6), slopes, torch.zeros(2, 6), factors, torch.full((2,), tails), torch.full((2, 2), level), coarse=4
    )


def given(rows: int, group: float, attribute: float) -> torch.Tensor:
    return torch.tensor([[float(group), float(attribute)]]).repeat(rows, 1)


def test_the_first_fakes_are_the_gaussians_own():
    rng = torch.Generator().manual_seed(0)
    generator = Generator(gaussian(), 1, rng, width=4)
    noise = generator.noise(5, rng)
    assert noise.shape == (5, 8 + STYLE + 3 * HISS)
    made = generator(noise, given(5, 1, 2))
    assert torch.allclose(made.flatten(1), 3 * noise[:, :6] + torch.tensor([20.0, 0, 0, 0, 0, 0]))
    assert torch.equal(generator.astray(noise, given(5, 1, 2), made), torch.zeros(5))


def test_loud_records_are_loud_all_along():
    normal = torch.cat([torch.ones(1, 6), torch.tensor([[1.0, -1.0]])], dim=1)
    shape, hiss = gaussian(tails=2.0)(normal, given(1, 0, 0))
    assert (shape + hiss).flatten().tolist() == pytest.approx([7.389] * 4 + [0.1353] * 2, abs=1e-3)  # e^2 for the shape, e^-2 for the hiss


def test_records_that_are_standardised_one_by_one_stay_so():
    rng = torch.Generator().manual_seed(0)
    generator = Generator(gaussian(level=1.0), 1, rng, width=4)
    made = generator(generator.noise(50, rng), given(50, 0, 0))
    assert torch.allclose(made.mean(2), torch.ones(50, 2), atol=1e-4) and torch.allclose(
        made.std(2, correction=0), torch.ones(50, 2), atol=1e-3
    )


def test_what_follows_begins_where_the_last_piece_ended():
    rng = torch.Generator().manual_seed(0)
    end = torch.tensor([[[5.0], [-5.0]]]).repeat(400, 1, 1)
    shape, hiss = gaussian().following(torch.randn(400, 8, generator=rng), given(400, 0, 0), end, 0.01, rng)
    made = shape + hiss
    # Variance 1 observed with noise .01: mean 5 / 1.01, variance .0099; the other samples are free.
    assert made[:, 0, 0].mean() == pytest.approx(4.95, abs=0.02) and made[:, 1, 0].std() == pytest.approx(0.0995, abs=0.015)
    assert made[:, :, 1:].mean() == pytest.approx(0, abs=0.1) and made[:, :, 1:].std() == pytest.approx(1, abs=0.1)


def test_shaking_moves_and_scales_a_little_and_not_always():
    records = torch.arange(100.0)[None, None].repeat(200, 1, 1)
    found = shaken(records, torch.Generator().manual_seed(0))
    changed = (found != records).flatten(1).any(1).double().mean()
    assert found.shape == records.shape and 0.6 < changed < 0.9  # half moved, half scaled, independently; a move of 0 in 7 changes nothing
    assert (found[:, 0, 50] / 50).min() > 0.9 * 47 / 50 - 1e-6 and (found[:, 0, 50] / 50).max() < 1.1 * 53 / 50 + 1e-6


def test_the_discriminator_is_told_the_class():
    judge = Discriminator(2, 16, 1, 1.0, torch.Generator().manual_seed(0), width=4)
    records = torch.randn(3, 2, 16, generator=torch.Generator().manual_seed(1))
    assert judge(records, given(3, 0, 0)).shape == (3,)
    assert not torch.allclose(judge(records, given(3, 0, 0)), judge(records, given(3, 0, 1)))
