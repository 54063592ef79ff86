"""A generator that learns from released averages alone: what a public network sees in images, in the mean of each group.

After DP-MEPF (Harder, Jalali Asadabadi, Sutherland and Park, TMLR 2023). The averages were taken once, with noise. Here they are numbers
like others: nothing in this file can be given an image of a patient, so the generator may learn for as long as it likes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import relu

from proband.game.images import ALLOWED, BEYOND, Eyes, Generator, course
from proband.game.play import average, deterministic

BATCH = 16
RATE = 5e-4
WARM = 50  # rounds over which steps begin
EMA = 0.998  # share of the averaged weights that survives a round
MEMORY = 0.96  # share of what the generator's images looked like so far that survives a round: about 400 images are looked back at
FIRST = 256  # images by which that begins
PULL = 10.0  # weight of the distance to the released averages
ANCHOR = 5.0  # weight of the hold to the sketch, as in the game
FURTHEST = 4.0  # deviations of public images beyond which a look is cut
PUBLIC = 128  # images of chance alone, which set the scale of what is seen


class Look(NamedTuple):
    """look(images) -> (images, width) unit vectors: the mean and the loudness of every map that `eyes` see, and the squares of these.

    centre, scale   (width / 2,) from images of chance alone: no patient has a say in them
    """

    eyes: Eyes
    centre: Tensor
    scale: Tensor

    @staticmethod
    def of(eyes: Eyes, shape: tuple[int, int, int]) -> Look:
        """For images of `shape` (channels, height, width); always the same."""
        with torch.no_grad(), deterministic():
            seen = _seen(eyes, clouds(PUBLIC, shape, torch.Generator().manual_seed(0)))
        return Look(eyes, seen.mean(0), seen.std(0) + 1e-3)

    @property
    def width(self) -> int:
        return 2 * len(self.centre)

    def __call__(self, images: Tensor) -> Tensor:
        seen = ((_seen(self.eyes, images) - self.centre) / self.scale).clamp(-FURTHEST, FURTHEST)
        one = seen / (seen.norm(dim=1, keepdim=True) + 1e-6)
        two = seen.square() / (seen.square().norm(dim=1, keepdim=True) + 1e-6)
        return torch.cat([one, two], dim=1) / 2**0.5


def _seen(eyes: Eyes, images: Tensor) -> Tensor:
    return torch.cat([x for held in eyes(images) for x in (held.mean((2, 3)), (held.square().mean((2, 3)) + 1e-6).sqrt())], dim=1)


def clouds(count: int, shape: tuple[int, int, int], rng: torch.Generator) -> Tensor:
    """(count, *shape) images that show nothing, with as much at each scale as photographs have (amplitude 1 / frequency)."""
    channels, height, width = shape
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None, :]
    pace = torch.hypot(down, across).clamp(min=1 / max(height, width))
    waves = torch.fft.rfft2(torch.randn(count, channels, height, width, generator=rng)) / pace
    found = torch.fft.irfft2(waves, s=(height, width))
    return (0.4 * found / found.std((1, 2, 3), keepdim=True)).clamp(-1, 1)


#: given(count, rng) -> (count, 1 + attributes): what images are made of, the group first.
Given = Callable[[int, torch.Generator], Tensor]


def learn(
    generator: Generator,
    averages: Tensor,
    look: Look,
    given: Given,
    *,
    steps: int,
    rng: torch.Generator,
    on_step: Callable[[int, int, str, Mapping[str, float]], None] | None = None,
) -> Generator:
    """The generator, its weights averaged over the rounds, whose images look in each group as `averages` (groups, width) say.

    The squared distance of means falls along 2 (mean - average) . look(image). The mean is that of many rounds: were it that of one
    batch, its chance part would be made smaller too, and images with it all alike.
    """
    import copy

    averaged = copy.deepcopy(generator).requires_grad_(False)
    descent = torch.optim.Adam(generator.parameters(), lr=RATE, betas=(0.0, 0.99))
    seen, weight = torch.zeros_like(averages), torch.zeros(len(averages), 1)
    with deterministic():
        with torch.no_grad():
            for _ in range(FIRST // BATCH):
                told = given(BATCH, rng)
                _remember(seen, weight, told, look(generator(generator.noise(BATCH, rng), told)))
        for step in range(1, steps + 1):
            pace = min(1.0, step / WARM) * (0.55 + 0.45 * math.cos(math.pi * step / steps))
            descent.param_groups[0]["lr"] = RATE * pace
            told = given(BATCH, rng)
            noise = generator.noise(BATCH, rng)
            with torch.no_grad():
                sketches = generator.sketch(noise.normal, told)
            made = generator.finish(sketches, noise, told)
            looks = look(made)
            away = (seen / weight.clamp(min=1e-6) - averages)[told[:, 0].long()]
            losses = 2 * PULL * (away * looks).sum(1) + ANCHOR * (course(made) - course(sketches)).square().mean((1, 2, 3))
            losses = losses + BEYOND * relu(made.abs() - ALLOWED).square().mean((1, 2, 3))
            descent.zero_grad(set_to_none=True)
            losses.mean().backward()
            descent.step()
            _remember(seen, weight, told, looks.detach())
            average(averaged, generator, min(EMA, step / (step + 10)))
            if on_step is not None:
                on_step(step, steps, "released averages", {"distance": float(away.square().sum(1).mean())})
    return averaged


def _remember(seen: Tensor, weight: Tensor, told: Tensor, looks: Tensor) -> None:
    """Sums over rounds, by group; older rounds fade where newer ones have images of the group."""
    group = told[:, 0].long()
    fresh = torch.zeros(len(seen), 1).index_add_(0, group, torch.ones(len(group), 1))
    keep = MEMORY ** (fresh * len(seen) / BATCH)
    seen.mul_(keep).index_add_(0, group, looks)
    weight.mul_(keep).add_(fresh)
