"""A discriminator for private training: how a patient's values go together in pairs, and little to drown in noise.

Noise goes to every weight, so that a discriminator with many of them hears nothing else. This one has `features` weights: each is of the
product of two random directions through a row of codes, that is, of a fixed random mixture of all pairs of levels. What it can learn is
any table of two fields; nothing of it is learned but the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from proband.game.fields import Layout

RARE = 0.02  # a level of this share counts by about its own root; rarer ones do not count ever more


class PairDiscriminator(nn.Module):
    """Rows of codes (rows, width) -> (rows,) scores, 0 before the first round.

    shares   (width,) about how frequent each level is: rows are looked at as differences from them
    """

    def __init__(self, layout: Layout, shares: Tensor, rng: torch.Generator, *, features: int) -> None:
        super().__init__()
        scale = 1 / torch.sqrt(shares + RARE) / len(layout.levels) ** 0.5
        first, second = (scale[:, None] * torch.randn(layout.width, features, generator=rng) for _ in "ab")
        self.shares, self.first, self.second = shares, first, second / features**0.5
        self.single_scale = scale
        self.pairs = nn.Parameter(torch.zeros(features))
        self.singles = nn.Parameter(torch.zeros(layout.width))

    def forward(self, rows: Tensor, given: None = None) -> Tensor:
        rows = rows - self.shares
        return ((rows @ self.first) * (rows @ self.second)) @ self.pairs + (rows * self.single_scale) @ self.singles
