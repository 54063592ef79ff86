"""The two players for rows of tokens: every field is a choice among its levels, some of them ordered.

A row is its one-hot codes side by side, (rows, levels of all fields). Both players meet fakes and real rows in this one
form, so the discriminator cannot win on how a value is written, only on which values go together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from proband.game.layers import SLOPE, Tower, linear

#: Cosine waves per ordered field: neighbouring levels share them, so they are learned together.
WAVES = 6
#: Of the relaxed choice through which gradients pass.
TEMPERATURE = 0.7


@dataclass(frozen=True)
class Layout:
    """Where each field's levels lie in a row of codes.

    levels    how many levels each field has
    ordered   how many of them, counted from the end, are in order (0: a category)
    """

    levels: tuple[int, ...]
    ordered: tuple[int, ...]

    @staticmethod
    def of(fields: Sequence[Any]) -> Layout:
        """The layout of an encoder's fields: each has so many `levels`, and is `numeric` (all but the first are in order) or not."""
        return Layout(tuple(field.levels for field in fields), tuple(field.levels - 1 if field.numeric else 0 for field in fields))

    @property
    def width(self) -> int:
        """Levels of all fields."""
        return sum(self.levels)

    @cached_property
    def starts(self) -> Tensor:
        """(fields,) the place of each field's first level."""
        return torch.tensor([0, *self.levels[:-1]]).cumsum(0)

    @cached_property
    def field(self) -> Tensor:
        """(width,) the field of each level."""
        return torch.repeat_interleave(torch.arange(len(self.levels)), torch.tensor(self.levels))

    def part(self, field: int) -> slice:
        """The places of one field's levels."""
        start = int(self.starts[field])
        return slice(start, start + self.levels[field])

    def codes(self, tokens: Tensor) -> Tensor:
        """(rows, fields) tokens -> (rows, width) one-hot codes."""
        return torch.zeros(len(tokens), self.width).scatter_(1, tokens.long() + self.starts, 1.0)

    def tokens(self, scores: Tensor) -> Tensor:
        """(rows, width) -> (rows, fields) the level with the highest score in each field; the inverse of `codes`."""
        return torch.stack([scores[:, self.part(f)].argmax(1) for f in range(len(self.levels))], 1)

    def softmax(self, logits: Tensor) -> Tensor:
        """(rows, width) logits -> probabilities that add to 1 within each field."""
        with torch.no_grad():
            tops = torch.stack([logits[:, self.part(f)].amax(1) for f in range(len(self.levels))], 1)
        weights = torch.exp(logits - tops[:, self.field])
        return weights / (weights @ self.membership @ self.membership.T)

    @cached_property
    def membership(self) -> Tensor:
        """(width, fields) 1 where a level belongs to a field: sums within fields are a matrix product, which is fast both ways."""
        return nn.functional.one_hot(self.field, len(self.levels)).float()

    @cached_property
    def waves(self) -> Tensor:
        """(width, waves) cosines of the rank of each ordered level, field by field; zero elsewhere."""
        columns = []
        for f, ordered in enumerate(self.ordered):
            end = self.part(f).stop
            for frequency in range(1, min(WAVES, ordered - 1) + 1):
                wave = torch.zeros(self.width)
                wave[end - ordered : end] = torch.cos(torch.pi * frequency * (torch.arange(ordered) + 0.5) / ordered)
                columns.append(wave)
        return torch.stack(columns, 1) if columns else torch.zeros(self.width, 0)


class Generator(nn.Module):
    """noise -> rows of codes: what a row's fields share is worked out by the network, then each field draws its level.

    The noise is `latent` normal numbers, which all fields of a row share, then a Gumbel number per level, by which each field
    chooses its own. Gradients pass the choice straight through (Jang et al., ICLR 2017). Before training the logits are the
    log shares of `counts`, up to a whiff of noise that breaks the symmetry between rows: the game starts at independent columns.
    """

    def __init__(self, layout: Layout, counts: Sequence[Tensor], rng: torch.Generator, *, latent: int, width: int, blocks: int) -> None:
        super().__init__()
        self.layout, self.latent = layout, latent
        self.tower = Tower(latent, width, rng, width=width, blocks=blocks)
        self.head = linear(width, layout.width + layout.waves.shape[1], rng, gain=0.1)
        shares = torch.cat([c.double() / c.sum().clamp(min=1) for c in counts])
        self.log_shares = nn.Parameter(torch.log(shares + 1e-12).float())  # a level that nobody has stays out

    def noise(self, count: int, rng: torch.Generator) -> Tensor:
        """(count, latent + width)."""
        uniform = torch.rand(count, self.layout.width, generator=rng).clamp(1e-7, 1 - 1e-7)
        return torch.cat([torch.randn(count, self.latent, generator=rng), -torch.log(-torch.log(uniform))], 1)

    def hidden(self, shared: Tensor) -> Tensor:
        """(rows, latent) -> (rows, network width): all that the fields need to know of a row."""
        return leaky_relu(self.tower(shared), SLOPE)

    def logits(self, hidden: Tensor, part: slice = slice(None)) -> Tensor:
        """(rows, width of `part`) logits of the levels in `part`."""
        sizes = [self.layout.width, self.layout.waves.shape[1]]
        (free, smooth), (free_bias, smooth_bias) = self.head.weight.split(sizes), self.head.bias.split(sizes)
        waves = self.layout.waves[part]
        return hidden @ (free[part] + waves @ smooth).T + (self.log_shares + free_bias)[part] + waves @ smooth_bias

    def probabilities(self, shared: Tensor) -> Tensor:
        """(rows, latent) -> (rows, width) what each field is drawn from."""
        return self.layout.softmax(self.logits(self.hidden(shared)))

    def forward(self, noise: Tensor, given: None = None) -> Tensor:
        shared, gumbel = noise.split([self.latent, self.layout.width], 1)
        scores = self.logits(self.hidden(shared)) + gumbel
        soft = self.layout.softmax(scores / TEMPERATURE)
        hard = self.layout.codes(self.layout.tokens(scores.detach()))
        return hard + soft - soft.detach()


class Discriminator(nn.Module):
    """Rows of codes -> (rows,) scores. Beside the codes it reads their waves, so that neighbouring levels look alike."""

    def __init__(self, layout: Layout, rng: torch.Generator, *, width: int, blocks: int) -> None:
        super().__init__()
        self.layout = layout
        self.tower = Tower(layout.width + layout.waves.shape[1], 1, rng, width=width, blocks=blocks)

    def forward(self, rows: Tensor, given: None = None) -> Tensor:
        return self.tower(torch.cat([rows, rows @ self.layout.waves], 1))[:, 0]
