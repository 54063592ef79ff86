"""Small networks for the players: residual blocks without normalisation layers, so that no example sees another."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

SLOPE = 0.2  # of the leaky rectifier on its negative side


def linear(inputs: int, outputs: int, rng: torch.Generator, *, gain: float = 1.0) -> nn.Linear:
    """A linear layer drawn from `rng` (He et al., 2015, times `gain`); the bias starts at zero. The global generator is not touched."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    with torch.no_grad():
        layer.weight.normal_(0, gain / inputs**0.5, generator=rng)
        layer.bias.zero_()
    return layer


class Block(nn.Module):
    """x + second(act(first(act(x)))); `second` starts at zero, so a deep stack starts as the identity (Zhang et al., *Fixup*, 2019)."""

    def __init__(self, width: int, rng: torch.Generator) -> None:
        super().__init__()
        self.first = linear(width, width, rng, gain=2**0.5)
        self.second = linear(width, width, rng, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(leaky_relu(self.first(leaky_relu(x, SLOPE)), SLOPE))


class Tower(nn.Module):
    """Linear in, `blocks` residual blocks, linear out: (examples, inputs) -> (examples, outputs). `gain` scales the first outputs."""

    def __init__(self, inputs: int, outputs: int, rng: torch.Generator, *, width: int, blocks: int, gain: float = 1.0) -> None:
        super().__init__()
        self.into = linear(inputs, width, rng)
        self.blocks = nn.Sequential(*(Block(width, rng) for _ in range(blocks)))
        self.out = linear(width, outputs, rng, gain=gain)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(leaky_relu(self.blocks(self.into(x)), SLOPE))
