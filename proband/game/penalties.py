"""Zero-centred gradient penalties, |dD/dx|^2 per example: what makes the duel converge (Mescheder et al., ICML 2018)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Judge = Callable[[Tensor, Tensor | None], Tensor]
#: penalty(judge, examples, given, scores, rng) -> (examples,), where scores = judge(examples, given) are at hand already
Penalty = Callable[[Judge, Tensor, Tensor | None, Tensor, torch.Generator], Tensor]


def finite_difference(
    judge: Judge, examples: Tensor, given: Tensor | None, scores: Tensor, rng: torch.Generator, *, step: float = 0.01
) -> Tensor:
    """|D(x + s e) - D(x)|^2 / s^2 with e standard normal: its mean over e is |dD/dx|^2 where D is flat enough over s.

    First order only, so it costs one more forward pass and compiles; the idea is from Lin et al., arXiv 2501.08316, eq. 5.
    """
    shift = torch.randn(examples.shape, generator=rng, dtype=examples.dtype, device=examples.device)
    return ((judge(examples + step * shift, given) - scores) / step).square()


def exact(judge: Judge, examples: Tensor, given: Tensor | None, scores: Tensor, rng: torch.Generator) -> Tensor:
    """|dD/dx|^2 by double backward: no noise, two to seven times slower. `scores` and `rng` are not used."""
    examples = examples.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(judge(examples, given).sum(), examples, create_graph=True)
    return slope.square().flatten(1).sum(1)
