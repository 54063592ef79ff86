"""Smooth shifts of images: a coarse control grid, the warp that follows it, and what stays alike when only the contrast changes."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, grid_sample, leaky_relu

from proband.game.layers import SLOPE

PACE, QUICK = 10.0, 60.0  # pixels that a number of 1 stands for, of a network's grid and of a domain's: what suits weights moves grids too
KNOTS = 6  # control points a side of a domain's own shift: affine maps and wide bends, nothing smaller
FLOOR = 1e-3  # of the local variance of descriptors, (half the range)^2: what is quieter is noise, and says nothing of shape


def spline(pixels: int, knots: int) -> Tensor:
    """(pixels, knots): the weights of a uniform cubic B-spline, so that a grid (knots,) becomes a smooth curve (pixels,)."""
    place = (torch.arange(pixels) + 0.5)[:, None] / pixels * (knots - 3) + 1
    apart = (place - torch.arange(knots)).abs()
    near, far = 2 / 3 - apart.square() + apart**3 / 2, (2 - apart).clamp(min=0) ** 3 / 6
    return torch.where(apart < 1, near, far)


def spread(control: Tensor, height: int, width: int) -> Tensor:
    """Control grids (n, 2, rows, columns) in pixels -> shifts (n, 2, height, width), down and right, in pixels."""
    rows, columns = spline(height, control.shape[2]).to(control), spline(width, control.shape[3]).to(control)
    return torch.einsum("yr,nkrc,xc->nkyx", rows, control, columns)


def warp(images: Tensor, shift: Tensor) -> Tensor:
    """Images (n, channels, height, width) looked up at x + shift(x); shift (n or 1, 2, height, width) in pixels, edges held."""
    count, _, height, width = images.shape
    down, right = shift[:, 0], shift[:, 1]
    y = (torch.arange(height, device=images.device)[:, None] + 0.5 + down) * 2 / height - 1
    x = (torch.arange(width, device=images.device) + 0.5 + right) * 2 / width - 1
    places = torch.stack([x, y], dim=-1).expand(count, -1, -1, -1)
    return grid_sample(images, places, mode="bilinear", padding_mode="border", align_corners=False)


def roughness(control: Tensor) -> Tensor:
    """(n,) the mean squared difference of neighbouring control points (n, 2, rows, columns): 0 for a shift of all as one."""
    return torch.diff(control, dim=2).square().mean((1, 2, 3)) + torch.diff(control, dim=3).square().mean((1, 2, 3))


class DomainShift(nn.Module):
    """One smooth shift for a whole domain of images: how all of its pictures are bent beside another domain's."""

    def __init__(self, knots: int = KNOTS) -> None:
        super().__init__()
        self.grid = nn.Parameter(torch.zeros(1, 2, knots, knots))

    @property
    def control(self) -> Tensor:
        """(1, 2, knots, knots) in pixels."""
        return self.grid * QUICK

    def forward(self, images: Tensor) -> Tensor:
        return warp(images, spread(self.control, *images.shape[2:]))


class Registration(nn.Module):
    """How each made image has to be bent to lie on its target: (n, 2, rows, columns) in pixels, a control point every 16 pixels.

    It sees both, so it takes the noise of bad alignment out of the generator's target, as RegGAN does (Kong et al., NeurIPS 2021), and
    is dropped afterwards. A coarse grid cannot move a contour of its own, which would excuse what is wrongly made.
    """

    def __init__(self, channels: int, rng: torch.Generator, *, width: int = 32) -> None:
        super().__init__()
        widths = [2 * channels, width, width, 2 * width, 2 * width]
        self.layers = nn.ModuleList(convolution(a, b, rng, gain=2**0.5, stride=2) for a, b in pairwise(widths))
        self.middle = convolution(widths[-1], widths[-1], rng, gain=2**0.5)
        self.out = convolution(widths[-1], 2, rng, gain=0.01)

    def forward(self, made: Tensor, target: Tensor) -> Tensor:
        x = torch.cat([made, target], dim=1)
        for layer in self.layers:
            x = leaky_relu(layer(x), SLOPE)
        control: Tensor = self.out(leaky_relu(self.middle(x), SLOPE)) * PACE
        # B-splines reach one point beyond the image on either side.
        return nn.functional.pad(control, (1, 1, 1, 1), mode="replicate")


def descriptors(images: Tensor) -> Tensor:
    """(n, 4, height, width) in (0, 1]: how alike the neighbours above, right, below and left of a pixel are, each with the next.

    What changes contrast, as MRI to CT does, leaves them nearly as they are: MIND-SSC in two dimensions (Heinrich et al., MICCAI 2013, eq.
    3-4), patches of 3 x 3 pixels at a distance of 2. Channels are averaged.
    """
    grey = images.mean(1, keepdim=True)
    padded = nn.functional.pad(grey, (2, 2, 2, 2), mode="replicate")
    height, width = grey.shape[2:]
    around = [padded[:, :, y : y + height, x : x + width] for y, x in ((0, 2), (2, 4), (4, 2), (2, 0))]
    apart = torch.cat([(one - other).square() for one, other in zip(around, [*around[1:], around[0]], strict=True)], dim=1)
    apart = avg_pool2d(nn.functional.pad(apart, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.exp(-apart / (apart.mean(1, keepdim=True) + FLOOR))


def convolution(
    inputs: int, outputs: int, rng: torch.Generator, *, kernel: int = 3, gain: float = 1.0, stride: int = 1, bias: bool = True
) -> nn.Conv2d:
    """A convolution drawn from `rng` (He et al., 2015, times `gain`); pixels beyond the edges count as zero."""
    layer = nn.utils.skip_init(nn.Conv2d, inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=bias)
    with torch.no_grad():
        layer.weight.normal_(0, gain / (inputs * kernel**2) ** 0.5, generator=rng)
        if layer.bias is not None:
            layer.bias.zero_()
    return layer
