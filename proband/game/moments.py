"""Which two values go together, and how often: a smooth loss over all pairs of fields at once."""

from __future__ import annotations

import torch
from torch import Tensor

from proband.game.fields import Layout

ROWS_AT_ONCE = 8192


class PairTables:
    """The two-way tables of real rows, and how far a generator's probabilities are from them.

    Given what a row's fields share, they are drawn independently, so the expected table of two fields is the mean product of their
    probabilities: no draw, hence little noise, and all tables are one matrix product. Matching them is what marginal-based
    synthesis does (McKenna et al., *Winning the NIST contest*, 2021), here by gradient.
    """

    def __init__(self, layout: Layout, tokens: Tensor) -> None:
        counted = torch.zeros(layout.width, layout.width)
        for part in tokens.split(ROWS_AT_ONCE):
            codes = layout.codes(part)
            counted += codes.T @ codes  # whole numbers, exact in float32 up to 16 million rows
        self.tables = counted / len(tokens)  # (width, width)
        self.shares = self.tables.diagonal().clone()  # (width,)
        # A cell's squared error counts by the inverse root of the cell's share under independence: between total
        # variation, which forgets rare levels, and chi squared, which is mostly their noise.
        expected = self.shares[:, None] * self.shares
        weights = (expected + 1e-4).rsqrt() * (layout.field[:, None] != layout.field)
        self.weights = 100 * weights / (weights * expected).sum().clamp(min=1e-9)
        self.single = (self.shares + 1e-4).rsqrt()

    def distance(self, probabilities: Tensor) -> Tensor:
        """The weighted squared distance of (rows, width) probabilities, one- and two-way. Its mean over batches is the true distance:
        the error of one half of the rows times that of the other half, which for a perfect generator is zero on average."""
        first, second = probabilities.split([len(probabilities) // 2, len(probabilities) - len(probabilities) // 2])
        pairs = (self._gap(first) * self._gap(second) * self.weights).sum()
        singles = ((first.mean(0) - self.shares) * (second.mean(0) - self.shares) * self.single).sum()
        return pairs + singles

    def _gap(self, probabilities: Tensor) -> Tensor:
        return probabilities.T @ probabilities / len(probabilities) - self.tables
