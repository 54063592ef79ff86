"""Features of images from a small network that learned from these very images, without labels: a second judge beside the public network.

What a network of photographs overlooks in an X-ray, or overrates, this one does not; and no generator has it to learn against.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, group_norm, mse_loss, relu

from proband.stats.cores import on_cores
from proband.stats.small_net import one_thread

WIDTHS = (32, 64, 128)
STEPS, BATCH, RATE = 200, 48, 2e-3
_PROJECTED = 256
_KEPT, _EACH = 64, 10  # numbers of the whitened features at most, and images for each: whitening fits the images that it learned from
_ALIKE, _SPREAD, _APART = 25.0, 25.0, 1.0  # the weights of the three terms, as published
#: How two views of one image differ: scale, place, angle (radians), contrast, brightness. Not by blur or noise: what is held equal in both
#: views is what the network learns to overlook, and these are faults that it must see.
_SCALE, _PLACE, _ANGLE, _CONTRAST, _BRIGHTNESS = 0.15, 0.12, 0.12, 0.2, 0.15
_AT_ONCE, _TOGETHER = 256, 64

Encoder = Callable[[np.ndarray], np.ndarray]


def own_encoder(images: np.ndarray, *, seed: int, steps: int = STEPS) -> Encoder:
    """A function from images (n, channels, height, width) in [-1, 1] to features (n, 64 or fewer), none of which says what another does.

    Three convolutions learn that two views of an image are one image (VICReg: Bardes, Ponce and LeCun, ICLR 2022). The features are the
    means of all three layers, not the last alone (the first sees how sharp an image is), whitened over these images, and of one length:
    of chest X-rays the bootstrap error of KID fell from .30 to .007 of the way to the blurred ones, since no odd image counts for many.
    """
    with one_thread():
        generator = torch.Generator().manual_seed(seed % 2**63)
        net = _Net(images.shape[1], generator)
        optimiser = torch.optim.AdamW(net.weights, RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
        seen = torch.from_numpy(np.ascontiguousarray(images, np.float32))
        for _ in range(steps):
            some = seen[torch.randint(len(seen), (BATCH,), generator=generator)]
            one, other = (net.projected(_view(some, generator)) for _ in range(2))
            loss = _ALIKE * mse_loss(one, other) + sum(_told_apart(side) for side in (one, other)) / 2
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        values = net.features(images)
    centre, spread = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-6)
    _, sizes, axes = np.linalg.svd((values - centre) / spread, full_matrices=False)
    kept = max(1, min(_KEPT, len(images) // _EACH, int((sizes > 1e-3 * sizes[0]).sum())))
    whitened = axes[:kept].T / sizes[:kept]

    def features(other: np.ndarray) -> np.ndarray:
        told = (net.features(other) - centre) / spread @ whitened
        return np.asarray(told * (kept**0.5 / np.maximum(np.linalg.norm(told, axis=1, keepdims=True), 1e-12)), np.float32)

    return features


def public_features(images: np.ndarray, *, side: int = 128) -> np.ndarray:
    """(n, 1280) what EfficientNet-lite2 sees in images (n, 1 or 3, height, width) in [-1, 1], each brought to `side` pixels; see `lite`.

    The same on one core as on many. Unavailable without the extra `images`.
    """
    from proband.stats.lite import features, lite

    lite(2)  # read once, before threads ask for it
    parts = torch.from_numpy(np.ascontiguousarray(images, np.float32)).split(_TOGETHER)

    def one(part: Tensor) -> np.ndarray:
        with one_thread():
            return features(part, side=side).numpy()

    with one_thread():
        return np.concatenate(list(on_cores(one, parts)))


class _Net:
    """Weights by hand: the constructors of torch would draw from, and move, the caller's own stream of random numbers."""

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        widths = (channels, *WIDTHS)
        shapes: list[tuple[int, ...]] = [(out, into, 3, 3) for into, out in zip(widths, WIDTHS, strict=False)]
        shapes += [(WIDTHS[-1], _PROJECTED), (_PROJECTED, _PROJECTED)]
        fan = [float(np.prod(shape[1:])) if len(shape) == 4 else float(shape[0]) for shape in shapes]
        self.weights = [
            (torch.randn(shape, generator=generator) * (2 / into) ** 0.5).requires_grad_() for shape, into in zip(shapes, fan, strict=True)
        ]

    def layers(self, images: Tensor) -> list[Tensor]:
        found = [images]
        for at, kernel in enumerate(self.weights[: len(WIDTHS)]):
            x = conv2d(found[-1], kernel, stride=2, padding=1)
            found.append(relu(group_norm(x, 8) if at else x))  # the first as it comes: how strong an edge is tells how sharp
        return [one.mean((2, 3)) for one in found[1:]]

    def projected(self, images: Tensor) -> Tensor:
        return relu(self.layers(images)[-1] @ self.weights[-2]) @ self.weights[-1]

    def features(self, images: np.ndarray) -> np.ndarray:
        """(n, 224) as they come."""
        with one_thread(), torch.no_grad():
            parts = torch.from_numpy(np.ascontiguousarray(images, np.float32)).split(_AT_ONCE)
            return torch.cat([torch.cat(self.layers(part), 1) for part in parts]).numpy().astype(float)


def _told_apart(made: Tensor) -> Tensor:
    """Every number varies over images, and no two vary together: so that not all images become one."""
    centred = made - made.mean(0)
    varied = relu(1 - torch.sqrt(centred.var(0) + 1e-4)).mean()
    together = centred.T @ centred / (len(made) - 1)
    return _SPREAD * varied + _APART * (together.square().sum() - together.diagonal().square().sum()) / made.shape[1]


def _view(images: Tensor, generator: torch.Generator) -> Tensor:
    n = len(images)
    drawn = torch.rand(n, 6, generator=generator) * 2 - 1
    scale, angle = 1 - _SCALE * (drawn[:, 0] + 1) / 2, _ANGLE * drawn[:, 1]
    turn = torch.stack([scale * torch.cos(angle), -scale * torch.sin(angle), _PLACE * drawn[:, 2]], 1)
    rise = torch.stack([scale * torch.sin(angle), scale * torch.cos(angle), _PLACE * drawn[:, 3]], 1)
    grid = affine_grid(torch.stack([turn, rise], 1), list(images.shape), align_corners=False)
    seen = grid_sample(images, grid, padding_mode="border", align_corners=False)
    return seen * (1 + _CONTRAST * drawn[:, 4, None, None, None]) + _BRIGHTNESS * drawn[:, 5, None, None, None]
