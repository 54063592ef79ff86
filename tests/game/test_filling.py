import pytest
import torch

from proband.game.duel import forge_turn, judge_turn
from proband.game.fields import Discriminator
from proband.game.filling import FIRST, HIDDEN, Filler, gaps, refined
from proband.game.masked import loss
from proband.game.play import Game, play
from tests.game.test_masked import example, fresh


def agreement(net, level):
    """The probability that the second field equals the first, which is seen."""
    trunk = net.trunk(torch.tensor([[level, 0]]), torch.tensor([[True, False]]))
    return float(net.logits(trunk, net.variables.layout.part(1)).softmax(1)[0, level].detach())


def test_what_is_seen_stays_what_is_hidden_is_nothing_and_the_rest_is_drawn():
    variables, rows = example()
    filler = Filler(fresh(variables, rows))
    noise = filler.noise(3, torch.Generator().manual_seed(0))
    seen, filled, nothing = filler(noise, torch.tensor([[2, FIRST], [1, FIRST], [HIDDEN, FIRST]]))
    assert seen[:3].tolist() == [0, 0, 1] and filled[:3].tolist() == [0, 1, 0] and nothing[:3].tolist() == [0, 0, 0]
    for row in (seen, filled, nothing):
        assert row[3:].sum().item() == pytest.approx(1) and row[3:].max().item() == pytest.approx(1)


def test_a_field_that_is_filled_later_hears_those_before_it_and_teaches_them():
    variables, rows = example()
    net = fresh(variables, rows)
    with torch.no_grad():
        net.tell.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    filler = Filler(net)
    noise = filler.noise(200, torch.Generator().manual_seed(0))
    for given in ([FIRST, FIRST - 1], [FIRST - 1, FIRST]):
        net.zero_grad()
        codes = filler(noise, torch.tensor([given]).repeat(200, 1))
        first = given.index(FIRST)
        part = filler.layout.part(1 - first)
        (codes[:, part] * torch.arange(filler.layout.levels[1 - first])).sum().backward()
        of_the_other = net.tell.bias.grad[filler.layout.part(first)].abs().sum()
        assert of_the_other > 0, "the field told first has no gradient from the field told after it"


def test_real_rows_and_what_is_asked_of_them_lie_side_by_side():
    variables, rows = example(600)
    layout = Filler(fresh(variables, rows)).layout
    for _, pairs in zip(range(20), gaps(layout, rows.tokens, 50, torch.Generator().manual_seed(1)), strict=False):
        told = pairs.given != HIDDEN
        assert (pairs.real.split(layout.levels, 1)[0].sum(1) == told[:, 0]).all()
        assert (layout.tokens(pairs.real)[pairs.given >= 0] == pairs.given[pairs.given >= 0]).all()
        orders = (pairs.given <= FIRST) * pairs.given
        assert (orders == orders[0]).all() and (orders[0] == FIRST).sum() == 1


def test_the_duel_alone_teaches_what_belongs_together():
    """No likelihood: all that the network can learn from is the discriminator."""
    variables, rows = example()
    rng = torch.Generator().manual_seed(2)
    filler = Filler(fresh(variables, rows))
    game = Game(filler, Discriminator(filler.layout, rng, width=32, blocks=1), filler.noise)
    before = min(agreement(filler.net, level) for level in (1, 2))
    batches = gaps(filler.layout, rows.tokens, 64, rng)
    averaged = play(game, batches, steps=120, judge_turn=judge_turn, forge_turn=forge_turn, rng=rng, rates=(3e-3, 3e-3), ema=0.9)
    assert before < 0.55 and min(agreement(averaged.net, level) for level in (1, 2)) > 0.9


def test_the_network_that_came_in_stays_as_it_was():
    variables, rows = example(400)
    net = fresh(variables, rows).finished()
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    found, _ = refined(net, rows, None, steps=3, rng=torch.Generator().manual_seed(2))
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())
    assert not any(torch.equal(weight, before[name]) for name, weight in found.state_dict().items() if name.startswith("tell"))
    levels = rows.levels(torch.Generator().manual_seed(0))
    assert torch.isfinite(loss(found, levels, rows.real, torch.Generator().manual_seed(0), training=False)).all()
