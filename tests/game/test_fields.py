"""The players for rows of tokens, on three fields: a category of 2, four ordered levels after a missing one, a category of 3."""

import numpy as np
import pytest
import torch

from proband.game.fields import Discriminator, Generator, Layout
from proband.game.moments import PairTables

LAYOUT = Layout((2, 5, 3), (0, 4, 0))
TOKENS = torch.tensor([[0, 4, 2], [1, 0, 1], [1, 2, 0]], dtype=torch.int32)
COUNTS = [torch.tensor([3, 1]), torch.tensor([2, 2, 0, 2, 2]), torch.tensor([1, 1, 2])]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def a_generator(seed=0):
    return Generator(LAYOUT, COUNTS, seeded(seed), latent=4, width=16, blocks=1)


def test_codes_and_tokens_are_inverse():
    codes = LAYOUT.codes(TOKENS)
    assert codes[0].tolist() == [1, 0, 0, 0, 0, 0, 1, 0, 0, 1]
    assert torch.equal(LAYOUT.tokens(codes), TOKENS.long())


def test_softmax_is_one_within_each_field_even_for_wild_logits():
    logits = torch.randn(6, 10, generator=seeded()) * 200
    chances = LAYOUT.softmax(logits)
    for field in range(3):
        assert torch.allclose(chances[:, LAYOUT.part(field)], logits[:, LAYOUT.part(field)].softmax(1), atol=1e-6)


def test_waves_touch_ordered_levels_only():
    assert LAYOUT.waves.shape == (10, 3)
    assert torch.nonzero(LAYOUT.waves.abs().sum(1)).flatten().tolist() == [3, 4, 5, 6]
    assert torch.allclose(LAYOUT.waves.sum(0), torch.zeros(3), atol=1e-6)
    assert Layout((2, 2), (0, 0)).waves.shape == (4, 0)


def test_the_game_starts_at_independent_columns():
    """At its start the generator's mean probabilities are the shares, up to the small noise of its head."""
    generator = a_generator()
    chances = generator.probabilities(torch.randn(4000, 4, generator=seeded())).mean(0)
    shares = torch.cat([c / c.sum() for c in COUNTS])
    assert torch.allclose(chances, shares, atol=0.02)
    assert chances[4] < 1e-9  # nobody has this level


def test_fakes_are_one_hot_and_teach_the_generator():
    generator = a_generator()
    fakes = generator(generator.noise(3, seeded()))
    assert torch.allclose(fakes, fakes.round(), atol=1e-6)
    assert torch.equal(LAYOUT.codes(LAYOUT.tokens(fakes)), fakes.detach().round())
    (fakes * torch.arange(10)).sum().backward()
    assert generator.head.weight.grad.abs().sum() > 0


def test_the_drawn_tokens_follow_the_probabilities():
    generator = a_generator()
    noise = generator.noise(40_000, seeded(1))
    noise[:, :4] = noise[:1, :4]  # one patient's shared noise, many draws
    drawn = generator(noise).mean(0)
    expected = generator.probabilities(noise[:1, :4])[0]
    assert torch.allclose(drawn, expected, atol=4 * 0.5 / 40_000**0.5)  # four standard errors


def test_logits_of_a_part_are_a_part_of_the_logits():
    generator = a_generator()
    hidden = generator.hidden(torch.randn(5, 4, generator=seeded()))
    assert torch.allclose(generator.logits(hidden)[:, LAYOUT.part(1)], generator.logits(hidden, LAYOUT.part(1)), atol=1e-6)


def test_the_discriminator_gives_one_score_a_row():
    judge = Discriminator(LAYOUT, seeded(), width=16, blocks=1)
    assert judge(LAYOUT.codes(TOKENS)).shape == (3,)


def paired_rows(count, share_equal, seed):
    """Two fields of two levels that agree with chance `share_equal`, as tokens."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 2, count)
    second = np.where(rng.random(count) < share_equal, first, 1 - first)
    return torch.from_numpy(np.stack([first, second], 1))


def test_the_distance_of_pair_tables_is_zero_on_average_for_rows_from_the_same_people():
    layout = Layout((2, 2), (0, 0))
    tables = PairTables(layout, paired_rows(20_000, 0.9, 0))
    same = [tables.distance(layout.codes(paired_rows(256, 0.9, seed))).item() for seed in range(1, 201)]
    independent = [tables.distance(layout.codes(paired_rows(256, 0.5, seed))).item() for seed in range(1, 201)]
    standard_error = np.std(same) / 200**0.5
    assert abs(np.mean(same)) < 4 * standard_error
    assert np.mean(independent) > 20 * standard_error


def test_the_distance_of_pair_tables_by_hand():
    """Real: both fields always equal. Probabilities of a half each, independent: every cell is .25 off."""
    tables = PairTables(Layout((2, 2), (0, 0)), torch.tensor([[0, 0], [1, 1]]))
    found = tables.distance(torch.full((4, 4), 0.5)).item()
    assert found == pytest.approx(0.25**2 * 8 * tables.weights[0, 2].item())  # 4 cells, each counted from both sides; the shares are right
    assert tables.weights[0, 1] == 0  # a field with itself is no pair
