"""The duel: the discriminator's move and the generator's, mirrored. Each gives one loss per example.

Relativistic pairing (Huang et al., *The GAN is dead; long live the GAN!*, NeurIPS 2024, eq. 2 and 4): a fake is judged
beside a real example, and only the difference of their scores counts, so no mode can be dropped without a price.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from proband.game.penalties import Penalty, finite_difference
from proband.game.play import Game, Pairs


def judge_turn(game: Game, pairs: Pairs, rng: torch.Generator, *, gamma: float = 1.0, penalty: Penalty = finite_difference) -> Tensor:
    """The discriminator's losses, one per pair: low when the real example scores above the fake, and the scores are flat around both."""
    with torch.no_grad():
        fake = game.forge(len(pairs.real), rng, pairs.given)
    real_scores, fake_scores = game.judge(pairs.real, pairs.given), game.judge(fake, pairs.given)
    steepness = penalty(game.judge, pairs.real, pairs.given, real_scores, rng) + penalty(game.judge, fake, pairs.given, fake_scores, rng)
    return softplus(fake_scores - real_scores) + gamma / 2 * steepness


def forge_turn(game: Game, pairs: Pairs | int, rng: torch.Generator) -> Tensor:
    """The generator's losses, one per fake: low when the fake scores above the real example it is paired with.

    Given only a count, nothing real is read (private training) and the fake's own score must do: softplus(-D(fake)).
    """
    if isinstance(pairs, int):
        return softplus(-game.judge(game.forge(pairs, rng)))
    fake = game.forge(len(pairs.real), rng, pairs.given)
    with torch.no_grad():
        real_scores = game.judge(pairs.real, pairs.given)
    fake_scores = game.judge(fake, pairs.given)
    return softplus(real_scores - fake_scores)
