import numpy as np
import pytest
import torch

from proband.game.fields import Layout
from proband.game.masked import PLACES, Completer, Rows, Variables, learn, loss, masks


def example(rows=2000, seed=0):
    """Two fields: a category of 3 levels (0: missing), and a number of 4 tokens, one of them a range, which equals the category."""
    rng = torch.Generator().manual_seed(seed)
    first = torch.randint(1, 3, (rows,), generator=rng)
    second = first.clone()
    low = torch.where(first == 1, 0.0, 0.5)[:, None]  # the place follows the category as well
    tokens = torch.stack([first, second], 1)
    return Variables.of(Layout((3, 4), (0, 3)), (1,)), Rows(tokens, low, torch.full((rows, 1), 0.5), torch.ones(rows, 1, dtype=torch.bool))


def fresh(variables, rows):
    counts = torch.cat([torch.bincount(rows.tokens[:, f], minlength=n) for f, n in ((0, 3), (1, 4))])
    counts = torch.cat([counts / len(rows.tokens), torch.full((PLACES,), 1 / PLACES)])
    return Completer(variables, counts, torch.Generator().manual_seed(1), width=32, blocks=1, dropout=0.1)


def test_before_training_it_knows_the_shares_exactly():
    variables, rows = example()
    net = fresh(variables, rows)
    hidden = torch.zeros(1, 2, dtype=torch.bool)
    shares = net.logits(net.trunk(torch.zeros(1, 2, dtype=torch.long), hidden), variables.layout.part(0)).softmax(1)
    assert shares[0].tolist() == pytest.approx((torch.bincount(rows.tokens[:, 0], minlength=3) / 2000).tolist(), abs=1e-6)


def test_it_fills_what_is_hidden_from_what_is_seen():
    variables, rows = example()
    net, history = learn(
        fresh(variables, rows), rows, rows.take(torch.arange(200)), steps=300, rng=torch.Generator().manual_seed(2), look_every=10
    )
    seen = torch.tensor([[True, False]])
    for level in (1, 2):
        trunk = net.trunk(torch.tensor([[level, 0]]), seen)
        assert net.logits(trunk, variables.layout.part(1)).softmax(1)[0, level] > 0.95
        # All tokens seen: the place lies in the category's own half.
        places = net.logits(
            net.trunk(torch.tensor([[level, level]]), torch.ones(1, 2, dtype=torch.bool)), variables.layout.part(2)
        ).softmax(1)[0]
        assert places[:4].sum() == pytest.approx(1.0 if level == 1 else 0.0, abs=0.1)
    assert min(value for _, value in history) < 0.7 * history[0][1]


def test_a_value_is_not_told_what_it_must_guess():
    """What is hidden does not reach the network: another hidden level changes nothing."""
    variables, rows = example()
    net = fresh(variables, rows)
    with torch.no_grad():
        net.tell.weight.normal_(0, 1, generator=torch.Generator().manual_seed(0))
    seen = torch.tensor([[True, False]])
    one, other = (net.logits(net.trunk(torch.tensor([[1, hidden]]), seen)) for hidden in (0, 3))
    assert torch.equal(one, other)


def test_masks_ask_for_places_only_where_all_tokens_are_seen():
    rng = torch.Generator().manual_seed(0)
    seen, told = masks(500, 2, torch.ones(500, 1, dtype=torch.bool), rng)
    assert (told[:, :2] == ~seen).all()
    assert (seen[told[:, 2]]).all()
    assert 0.1 < told[:, 2].float().mean() < 0.2


def test_it_stops_before_it_knows_its_rows_by_heart():
    """Ten fields of pure noise: all that can be learned beyond the shares is the sixty rows themselves."""
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 5, (120, 10), generator=rng)
    none = torch.zeros(120, 0)
    rows = Rows(tokens, none, none, none.bool())
    own, held = rows.take(torch.arange(60)), rows.take(torch.arange(60, 120))
    variables = Variables.of(Layout((5,) * 10, (0,) * 10), ())
    net = Completer(variables, torch.tensor([0.0, 0.25, 0.25, 0.25, 0.25] * 10), rng, width=64, blocks=1, dropout=0.0)
    found, history = learn(net, own, held, steps=600, rng=rng, look_every=10)
    look = torch.Generator().manual_seed(1)
    kept = torch.stack([loss(found, held.tokens, held.real, look, training=False).mean() for _ in range(4)]).mean()
    assert history[-1][0] < 600 and history[-1][1] > 1.05 * min(value for _, value in history)
    assert kept == pytest.approx(min(value for _, value in history))


def test_same_seed_same_weights():
    variables, rows = example(400)
    nets = [learn(fresh(variables, rows), rows, None, steps=20, rng=torch.Generator().manual_seed(5))[0] for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True))


def test_the_loss_is_finite_when_a_level_was_never_seen():
    variables, rows = example(50)
    value = loss(
        fresh(variables, rows), rows.levels(torch.Generator().manual_seed(0)), rows.real, torch.Generator().manual_seed(0), training=True
    )
    assert np.isfinite(value.detach().numpy()).all()
