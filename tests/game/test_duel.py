"""The two moves and the penalties, on discriminators that can be worked out by hand."""

import math

import pytest
import torch
from torch import nn

from proband.game.duel import forge_turn, judge_turn
from proband.game.penalties import exact, finite_difference
from proband.game.play import Game, Pairs


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Score(nn.Module):
    """D(x) = weights . x: its gradient is `weights` everywhere."""

    def __init__(self, *weights):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, x, given):
        return x @ self.weights


class Shift(nn.Module):
    """G(z) = z + shift, which starts at 1."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(1.0))

    def forward(self, noise, given):
        return noise + self.shift


def ones_game(score):
    return Game(Shift(), score, lambda count, rng: torch.zeros(count, 1))


REAL = Pairs(torch.tensor([[3.0], [1.0], [0.0]]))


def test_each_move_gives_one_loss_per_example_and_they_mirror_each_other():
    """D(x) = x and every fake is 1: the gaps real - fake are 2, 0 and -1."""
    game = ones_game(Score(1.0))
    judge_losses = judge_turn(game, REAL, seeded(), gamma=0.0)
    forge_losses = forge_turn(game, REAL, seeded())
    expected = torch.tensor([2.0, 0.0, -1.0])
    assert torch.allclose(judge_losses, torch.log1p(torch.exp(-expected)))
    assert torch.allclose(forge_losses, torch.log1p(torch.exp(expected)))
    assert torch.allclose(forge_losses - judge_losses, expected)  # softplus(g) - softplus(-g) = g


def test_each_move_teaches_only_its_player():
    game = ones_game(Score(1.0))
    judge_turn(game, REAL, seeded()).mean().backward()
    assert game.generator.shift.grad is None and game.discriminator.weights.grad is not None
    game.discriminator.weights.grad = None
    forge_turn(game, REAL, seeded()).mean().backward()
    assert game.generator.shift.grad < 0  # towards a higher score


def test_given_a_count_the_generator_reads_nothing_real():
    losses = forge_turn(ones_game(Score(1.0)), 4, seeded())
    assert losses.tolist() == pytest.approx([math.log1p(math.exp(-1))] * 4)


def test_the_judge_pays_for_slopes_on_both_sides():
    """A linear D with slope 2 has penalty 4 at real and 4 at fake: gamma / 2 * 8."""
    game = ones_game(Score(2.0))
    without, with_penalty = (judge_turn(game, REAL, seeded(), gamma=gamma, penalty=exact) for gamma in (0.0, 0.5))
    assert torch.allclose(with_penalty - without, torch.full((3,), 0.25 * 8))


def test_the_exact_penalty_is_the_squared_slope():
    x = torch.randn(5, 2, generator=seeded())
    assert torch.allclose(exact(Score(3.0, 4.0), x, None, x[:, 0], seeded()), torch.full((5,), 25.0))


def test_finite_differences_average_to_the_exact_penalty():
    """For a linear D each draw is (w . e)^2, whose mean is |w|^2 = 25 and standard deviation 25 sqrt 2."""
    score, x = Score(3.0, 4.0), torch.zeros(20_000, 2)
    drawn = finite_difference(score, x, None, score(x, None), seeded())
    assert drawn.shape == (20_000,)
    assert drawn.mean().item() == pytest.approx(25.0, abs=4 * 25 * 2**0.5 / 20_000**0.5)
    shift = torch.randn(x.shape, generator=seeded())
    assert torch.allclose(drawn, (shift @ torch.tensor([3.0, 4.0])).square(), rtol=1e-3)


def test_the_penalties_agree_where_the_slope_varies():
    """D(x) = x0^2: the squared slope is 4 x0^2, which finite differences meet up to (3/4) s^2."""

    def square(x, given):
        return x[:, 0].square()

    x = torch.full((20_000, 1), 1.5)
    drawn = finite_difference(square, x, None, square(x, None), seeded(), step=0.01).mean().item()
    assert drawn == pytest.approx(exact(square, x, None, square(x, None), seeded())[0].item(), rel=0.04)  # four standard errors
