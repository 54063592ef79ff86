"""What a Historian draws is what it holds likely, and how many cores it learns on changes nothing."""

import math

import pytest
import torch

from proband.game.fields import Layout
from proband.game.histories import begun, draw
from proband.game.learning import Charts, _sloped, learn
from proband.game.sequences import PLAN, Historian, Histories, losses

KNOWN, STEPS = Layout((3,), (0,)), Layout((3, 6, 4), (2, 5, 0))  # a gap of one or two, a number, a word


def network(seed: int, dropout: float = 0.0) -> Historian:
    """A Historian that says something: fresh ones have nothing but shares."""
    rng = torch.Generator().manual_seed(seed)
    counts = torch.tensor([400.0, 500, 300, 300, 100, 100, 100, 100, 100, 400, 200, 100, 100])
    net = Historian(KNOWN, STEPS, counts, rng, scale=10.0, periods=(1.0, 4.0, 24.0), dropout=dropout)
    net.doubted = dropout
    with torch.no_grad():
        for weight in net.parameters():
            weight += 0.03 * torch.randn(weight.shape, generator=rng)
    return net


def charts(net: Historian, histories: int, seed: int, most: int = 12) -> Charts:
    """Histories that `net` draws."""
    rng = torch.Generator().manual_seed(seed)
    given, plan = torch.randint(0, 3, (histories, 1), generator=rng), torch.full((histories, 2, PLAN), math.nan)
    nothing = Charts(given, plan, torch.zeros(histories, 3, dtype=torch.long), torch.zeros(histories), torch.arange(histories + 1))
    state = begun(net, nothing)
    who, tokens, clock = draw(
        net, given, plan, state, lambda gap: gap.double(), latest=torch.full((histories,), 1e9), most=most, blank=True, rng=rng
    )
    counts = torch.bincount(who, minlength=histories)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), (counts + 1).cumsum(0)])
    all_tokens, all_clock = torch.zeros(int(starts[-1]), 3, dtype=torch.long), torch.zeros(int(starts[-1]), dtype=torch.double)
    rows = torch.arange(len(who)) + who
    all_tokens[rows], all_clock[rows] = tokens, clock
    ends = starts[1:] - 1
    all_clock[ends] = torch.where(counts > 0, all_clock[(ends - 1).clamp(min=0)], 0.0)
    return Charts(given, plan, all_tokens, all_clock, starts)


def slopes(net: Historian, some: Histories) -> torch.Tensor:
    """The gradient of minus the log likelihood a history."""
    value = sum(part.sum() for part in losses(net, some)) / len(some.length)
    found = torch.autograd.grad(value, list(net.parameters()), materialize_grads=True)
    return torch.cat([part.flatten() for part in found])


def test_what_is_drawn_is_what_is_likely() -> None:
    """Under the network that drew them, the likelihood of histories has no slope but chance (its score has mean zero)."""
    net, other = network(0), network(1)
    own = charts(net, 3000, 2, most=200)
    everyone = torch.arange(3000)
    right, wrong = slopes(net, own.take(everyone)), slopes(other, own.take(everyone))
    halves = slopes(net, own.take(everyone[::2])) - slopes(net, own.take(everyone[1::2]))
    assert right.norm() < 0.8 * halves.norm(), "no more than chance: half of the difference of two halves, in the mean"
    assert right.norm() < 0.1 * wrong.norm()


def test_the_sides_of_a_batch_come_to_the_whole() -> None:
    net = network(0)
    some = charts(net, 41, 1).take(torch.arange(41))
    net.zero_grad()
    loss = _sloped(net, some, seed=3)
    summed = torch.cat([weight.grad.flatten() for weight in net.parameters()])
    whole = slopes(net, some) * 41 / some.length.sum()
    assert summed == pytest.approx(whole, abs=1e-5)
    assert loss == pytest.approx(float(sum(part.sum() for part in losses(net, some)).detach()) / int(some.length.sum()), rel=1e-5)


def test_the_cores_that_learn_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    own = charts(network(0), 60, 1)
    rows, found = torch.arange(60), []
    for cores in (1, 2):
        monkeypatch.setattr("proband.stats.cores.cores", lambda cores=cores: cores)
        found.append(learn(network(4, dropout=0.2), own, rows[:50], rows[50:], batches=6, seed=5))
    for one, other in zip(*(net.parameters() for net in found), strict=True):
        assert torch.equal(one, other)
