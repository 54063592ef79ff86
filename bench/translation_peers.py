"""The usual ways to make a CT of an MRI, small enough for one core: a plain U-Net, pix2pix and CycleGAN, each written after its paper.

None uses a network or a loss of proband's, so that what is compared is the recipe: instance normalisation, Adam and zero padding as usual.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as told
from torch.nn.functional import interpolate

BATCH = 4


def twice(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in ((inputs, outputs), (outputs, outputs)):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.InstanceNorm2d(b, affine=True), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Ronneberger et al., MICCAI 2015; 0.5 million weights."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128)) -> None:
        super().__init__()
        self.left = nn.ModuleList(twice(a, b) for a, b in zip((1, *widths), widths, strict=False))
        self.right = nn.ModuleList(twice(a + b, a) for a, b in pairwise(widths))
        self.out = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for at, block in enumerate(self.left):
            x = block(x if at == 0 else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        for block, skip in zip(reversed(self.right), reversed(skips[:-1]), strict=True):
            x = block(torch.cat([skip, interpolate(x, scale_factor=2)], dim=1))
        return torch.tanh(self.out(x))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            *(nn.Conv2d(width, width, 3, padding=1), nn.InstanceNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1), nn.InstanceNorm2d(width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


def resnet(width: int = 24) -> nn.Sequential:
    """CycleGAN's generator (Zhu et al., ICCV 2017), with four blocks instead of nine."""
    down = [nn.Conv2d(1, width, 7, padding=3), nn.InstanceNorm2d(width), nn.ReLU()]
    for a in (width, 2 * width):
        down += [nn.Conv2d(a, 2 * a, 3, stride=2, padding=1), nn.InstanceNorm2d(2 * a), nn.ReLU()]
    up: list[nn.Module] = []
    for a in (4 * width, 2 * width):
        up += [nn.Upsample(scale_factor=2), nn.Conv2d(a, a // 2, 3, padding=1), nn.InstanceNorm2d(a // 2), nn.ReLU()]
    return nn.Sequential(*down, *(Residual(4 * width) for _ in range(4)), *up, nn.Conv2d(width, 1, 7, padding=3), nn.Tanh())


def patches(inputs: int, width: int = 24) -> nn.Sequential:
    """A PatchGAN (Isola et al., CVPR 2017)."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    for a in (width, 2 * width):
        layers += [nn.Conv2d(a, 2 * a, 4, stride=2, padding=1), nn.InstanceNorm2d(2 * a), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(4 * width, 1, 3, padding=1))


def batches(source: Tensor, target: Tensor, rng: torch.Generator, *, paired: bool) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        rows = torch.randint(len(source), (BATCH,), generator=rng)
        yield source[rows], target[rows if paired else torch.randint(len(target), (BATCH,), generator=rng)]


def paired(source: np.ndarray, target: np.ndarray, mask: np.ndarray, steps: int, seed: int, *, game: bool) -> nn.Module:
    """A U-Net of pairs (n, height, width) in -1 ... 1: masked L1, and with `game` pix2pix's conditional PatchGAN (L1 weighs 100)."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    net, judge = UNet(), patches(2)
    moves = torch.optim.Adam(net.parameters(), 1e-3 if not game else 5e-4, betas=(0.5, 0.999))
    judged = torch.optim.Adam(judge.parameters(), 2e-4, betas=(0.5, 0.999))
    falls = torch.optim.lr_scheduler.LinearLR(moves, 1.0, 0.1, steps)
    both = torch.from_numpy(np.stack([target, mask], axis=1).astype(np.float32))
    for (one, held), _ in zip(batches(torch.from_numpy(source[:, None]), both, rng, paired=True), range(steps), strict=False):
        real, inside = held[:, :1], held[:, 1:]
        made = net(one)
        loss = ((made - real).abs() * (0.1 + 0.9 * inside)).sum() / inside.sum()
        if game:
            scores = judge(torch.cat([one, made.detach()], 1)), judge(torch.cat([one, real], 1))
            descend(judged, (told(scores[0], torch.zeros_like(scores[0])) + told(scores[1], torch.ones_like(scores[1]))) / 2)
            score = judge(torch.cat([one, made], 1))
            loss = 100 * loss + told(score, torch.ones_like(score))
        descend(moves, loss)
        falls.step()
    return net.eval()


def cycle(source: np.ndarray, target: np.ndarray, steps: int, seed: int) -> nn.Module:
    """CycleGAN: two generators, two discriminators (least squares), cycle weight 10, identity weight 5. The one from source to target."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    there, back, judge_target, judge_source = resnet(), resnet(), patches(1), patches(1)
    moves = torch.optim.Adam(chain(there.parameters(), back.parameters()), 5e-4, betas=(0.5, 0.999))
    judged = torch.optim.Adam(chain(judge_target.parameters(), judge_source.parameters()), 5e-4, betas=(0.5, 0.999))
    falls = torch.optim.lr_scheduler.LinearLR(moves, 1.0, 0.1, steps)
    sides = torch.from_numpy(source[:, None]), torch.from_numpy(target[:, None])
    for (one, other), _ in zip(batches(*sides, rng, paired=False), range(steps), strict=False):
        made, remade = there(one), back(other)
        loss = 10 * ((back(made) - one).abs().mean() + (there(remade) - other).abs().mean())
        loss = loss + 5 * ((there(other) - other).abs().mean() + (back(one) - one).abs().mean())
        loss = loss + (judge_target(made) - 1).square().mean() + (judge_source(remade) - 1).square().mean()
        descend(moves, loss)
        falls.step()
        pairs = (judge_target, other, made.detach()), (judge_source, one, remade.detach())
        descend(judged, sum((((d(real) - 1) ** 2).mean() + (d(fake) ** 2).mean()) / 2 for d, real, fake in pairs))
    return there.eval()


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


@torch.no_grad()
def applied(net: nn.Module, source: np.ndarray) -> np.ndarray:
    """(n, height, width) in -1 ... 1."""
    return torch.cat([net(part) for part in torch.from_numpy(source[:, None]).split(16)])[:, 0].numpy()
