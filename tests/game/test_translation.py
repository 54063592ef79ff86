"""The players of translation: transforms that can be undone, shifts that are known."""

import numpy as np
import pytest
import torch

from proband.game.flows import DomainShift, Registration, descriptors, spline, spread, warp
from proband.game.translation import Discriminator, Generator, doubted, graininess, haar, nothing, off, unhaar
from proband.stats import translation as stats

RNG = torch.Generator().manual_seed(0)
IMAGES = torch.rand(2, 1, 24, 32, generator=RNG) * 2 - 1


def test_haar_bands_are_the_image() -> None:
    colour = torch.randn(2, 3, 8, 12, generator=RNG)
    assert torch.allclose(unhaar(haar(colour)), colour, atol=1e-6)


def test_a_shift_of_all_control_points_is_one_of_all_pixels() -> None:
    assert torch.allclose(spline(20, 6).sum(1), torch.ones(20), atol=1e-6)
    control = torch.tensor([1.0, 2.0])[None, :, None, None].expand(1, 2, 6, 6)
    found = warp(IMAGES, spread(control, 24, 32))
    assert torch.allclose(found[:, :, :-1, :-2], IMAGES[:, :, 1:, 2:], atol=1e-4)
    assert torch.equal(DomainShift()(IMAGES), warp(IMAGES, torch.zeros(1, 2, 24, 32)))


def test_a_registration_hardly_moves_at_first() -> None:
    control = Registration(1, RNG)(IMAGES, IMAGES)
    assert control.shape == (2, 2, 4, 4) and control.abs().max() < 1


def test_descriptors_are_those_of_the_figures_and_know_no_contrast() -> None:
    found = descriptors(IMAGES)
    expected = np.stack([stats.descriptors(image[0].numpy(), -1, 1) for image in IMAGES])
    assert found.numpy() == pytest.approx(expected, abs=1e-4)
    assert torch.allclose(descriptors(-IMAGES), found) and (descriptors(0.5 * IMAGES) - found).abs().mean() < 0.01


def test_a_generator_makes_one_image_and_one_scale_of_another() -> None:
    net = Generator(1, 2, RNG)
    value, scale = net.both(IMAGES)
    assert value.shape == scale.shape == (2, 2, 24, 32)
    assert torch.equal(net(nothing(2, RNG), torch.cat([IMAGES, IMAGES], 1)), value)


@pytest.mark.parametrize(("told", "placed"), [(True, False), (False, True)])
def test_a_discriminator_gives_each_example_one_score(told: bool, placed: bool) -> None:
    judge = Discriminator(1, 1, RNG, told=told, placed=placed)
    given = torch.cat([IMAGES, torch.ones_like(IMAGES)], 1)
    scores = judge(IMAGES, given)
    assert scores.shape == (2,)
    assert (judge(torch.roll(IMAGES, 8, 3), given) != scores).all()
    hidden = torch.cat([IMAGES, torch.zeros_like(IMAGES)], 1)
    assert (judge(IMAGES, hidden)[0] == judge(-IMAGES, hidden)[0]).item() is told  # outside the mask nothing is shown


def test_errors_outside_the_mask_weigh_a_tenth() -> None:
    target = torch.zeros(1, 1, 8, 8)
    mask = torch.zeros_like(target)
    mask[..., :4] = 1
    inside, outside = target.clone(), target.clone()
    inside[..., 2, 1], outside[..., 2, 6] = 1, 1
    scale = torch.zeros_like(target)
    assert off(inside, scale, target, mask).item() == pytest.approx(10 * off(outside, scale, target, mask).item(), rel=1e-4)


def test_a_scale_learns_the_mean_error() -> None:
    """Of errors 1 and 3 the Laplace scale is 2: there the gradient is 0."""
    scale = torch.full((2,), float(np.log(2)), requires_grad=True)
    doubted(torch.tensor([1.0, 3.0]), scale).sum().backward()
    assert scale.grad is not None and scale.grad.sum().item() == pytest.approx(0, abs=1e-6)


def test_a_checkerboard_is_grain() -> None:
    board = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2)[None, None].float()
    ramp = torch.arange(8).float().expand(1, 1, 8, 8)
    assert graininess(board).item() == 4 and graininess(ramp).item() == 0
