"""A small convolutional network that reads images: what synthetic images teach is measured by it, and labels are asked of it.

It is small on purpose (about 60,000 numbers): a large network would hide in its own capacity what the images lack.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, conv2d, cross_entropy, group_norm, linear, pad, relu

from proband.errors import InputError
from proband.stats.cores import on_cores

WIDTHS = (24, 48, 96)  # channels after each of three convolutions with stride 2
STEPS, BATCH, RATE, DECAY, DROPPED = 300, 48, 3e-3, 1e-2, 0.3
_GROUPS = 8  # of the normalisation: unlike a batch's it is the same for one image as for many, and for 20 patients as for 2,000
_SHIFT = 0.08  # of the side: images are moved by as much while it learns. Never mirrored: left and right are content
_CONTRAST = 0.1
_AT_ONCE = 256


class Reader(nn.Module):
    """reader(images (n, channels, height, width), -1 black, 1 white) -> (n, classes) scores; softmax makes them probabilities."""

    def __init__(self, channels: int, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        widths = (channels, *WIDTHS)
        self.kernels = nn.ParameterList(_drawn((out, into, 3, 3), generator) for into, out in zip(widths, WIDTHS, strict=False))
        self.scales = nn.ParameterList(torch.ones(out) for out in WIDTHS)
        self.shifts = nn.ParameterList(torch.zeros(out) for out in WIDTHS)
        self.head = nn.Parameter(_drawn((classes, 4 * WIDTHS[-1]), generator))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, images: Tensor, dropped: Tensor | None = None) -> Tensor:
        x = images
        for kernel, scale, shift in zip(self.kernels, self.scales, self.shifts, strict=True):
            x = relu(group_norm(conv2d(x, kernel, stride=2, padding=1), _GROUPS, scale, shift))
        seen = adaptive_avg_pool2d(x, 2).flatten(1)
        return linear(seen if dropped is None else seen * dropped, self.head, self.bias)


def learned(
    images: np.ndarray, classes: np.ndarray, size: int, *, seed: int, start: Reader | None = None, steps: int = STEPS, rate: float = RATE
) -> Reader:
    """A network that learned to tell the classes (n,) whole numbers below `size`, from images (n, channels, height, width) in [-1, 1].

    start   a network that has learned from others before: it goes on from there. The same arguments give the same network.
    """
    if len(images) != len(classes) or not len(images):
        raise InputError(f"{len(images)} images and {len(classes)} classes: give a class for each of one image or more.")
    with one_thread():
        generator = torch.Generator().manual_seed(seed % 2**63)
        net = Reader(images.shape[1], size, generator)
        if start is not None:
            net.load_state_dict(start.state_dict())
        optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps)
        seen, truth = torch.from_numpy(np.ascontiguousarray(images, np.float32)), torch.from_numpy(classes.astype(np.int64))
        most = round(_SHIFT * min(images.shape[2:]))
        net.train()
        for _ in range(steps):
            rows = torch.randint(len(seen), (BATCH,), generator=generator)
            kept = (torch.rand(BATCH, 4 * WIDTHS[-1], generator=generator) > DROPPED).float() / (1 - DROPPED)
            loss = cross_entropy(net(_moved(seen[rows], most, generator), kept), truth[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        return net.eval()


def told(net: Reader, images: np.ndarray) -> np.ndarray:
    """(n, classes) probabilities of images (n, channels, height, width) in [-1, 1]."""
    with one_thread(), torch.no_grad():
        parts = torch.from_numpy(np.ascontiguousarray(images, np.float32)).split(_AT_ONCE)
        return torch.cat([net(part).softmax(1) for part in parts]).numpy().astype(float)


def each_told(jobs: list[tuple[np.ndarray, np.ndarray, int]], size: int, unseen: np.ndarray, *, steps: int = STEPS) -> np.ndarray:
    """(jobs, unseen images, classes) what networks tell that learned from these images, classes and seeds; one core each."""
    with one_thread():
        return np.stack(list(on_cores(lambda job: told(learned(job[0], job[1], size, seed=job[2], steps=steps), unseen), jobs)))


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums have the same last bits on one core as on twenty: on one thread each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _drawn(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """He et al., ICCV 2015."""
    return torch.randn(shape, generator=generator) * (2 / float(np.prod(shape[1:]))) ** 0.5


def _moved(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """The batch moved by up to `most` pixels, edges held, and each image a little more or less contrasted."""
    height, width = images.shape[2:]
    down, right = torch.randint(2 * most + 1, (2,), generator=generator).tolist()
    images = pad(images, (most, most, most, most), mode="replicate")[:, :, down : down + height, right : right + width]
    return images * (1 + _CONTRAST * torch.randn(len(images), 1, 1, 1, generator=generator))
