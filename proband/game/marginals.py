"""A generator that plays against noisy counts: it never meets a row, only what was measured of many.

The generator is a mixture of `parts` patients who are nobody: each has a distribution for every field, and within a part the fields
know nothing of each other. Its pairs of fields then have closed form, all of them in one matrix product, so it is fitted by
gradient to whatever pairs were measured (Aydore et al., ICML 2021, relax a table of rows likewise; Liu, Vietri and Wu, NeurIPS
2021, a network).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from proband.game.fields import Layout
from proband.game.play import deterministic


class Measured(NamedTuple):
    """What is known of the patients: counts of levels and of pairs of levels, and the trust in each (1 / variance; 0: not measured).

    single, single_trust   (width,)
    pairs, pairs_trust     (width, width), symmetric
    """

    single: Tensor
    single_trust: Tensor
    pairs: Tensor
    pairs_trust: Tensor


def fresh(layout: Layout, shares: Tensor, *, parts: int, rng: torch.Generator) -> Tensor:
    """(parts, width) logits: every part has nearly the `shares` (width,) of all, so that fields begin almost independent."""
    return torch.log(shares.clamp(min=1e-4)).float() + 0.5 * torch.randn(parts, layout.width, generator=rng)


def expected(layout: Layout, logits: Tensor, total: float) -> tuple[Tensor, Tensor]:
    """Counts among `total` patients of the levels, (width,), and of pairs of levels, (width, width)."""
    chances = layout.softmax(logits)
    return chances.mean(0) * total, chances.T @ chances * (total / len(chances))


def learn(
    layout: Layout,
    logits: Tensor,
    measured: Measured,
    *,
    total: float,
    steps: int,
    rate: float,
) -> Tensor:
    """The logits after `steps` of Adam on the squared errors, each in its own standard deviations; the rate falls to a tenth."""
    logits = logits.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([logits], lr=rate)
    cells = float((measured.single_trust > 0).sum() + (measured.pairs_trust > 0).sum() / 2)
    with deterministic():
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = rate * (1 - 0.9 * step / steps)
            single, pairs = expected(layout, logits, total)
            wrong = ((single - measured.single) ** 2 * measured.single_trust).sum()
            wrong = wrong + ((pairs - measured.pairs) ** 2 * measured.pairs_trust).sum() / 2  # each pair stands there twice
            value = wrong / cells
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
    return logits.detach()
