"""The game on problems small enough to know the answer."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from proband.errors import ProbandError
from proband.game.duel import forge_turn, judge_turn
from proband.game.layers import Tower
from proband.game.penalties import exact
from proband.game.play import ROLLBACKS, THREADS, Game, Pairs, average, deterministic, play, shuffled, success


class Maker(nn.Module):
    """(noise, given) -> points; what is given is joined to the noise."""

    def __init__(self, inputs, outputs, rng):
        super().__init__()
        self.tower = Tower(inputs, outputs, rng, width=48, blocks=1)

    def forward(self, noise, given):
        return self.tower(noise if given is None else torch.cat([noise, given], 1))


class Critic(nn.Module):
    def __init__(self, inputs, rng):
        super().__init__()
        self.tower = Tower(inputs, 1, rng, width=48, blocks=1)

    def forward(self, points, given):
        return self.tower(points if given is None else torch.cat([points, given], 1))[:, 0]


def two_players(dimensions, rng, given=0, noise_width=4):
    maker, critic = Maker(noise_width + given, dimensions, rng), Critic(dimensions + given, rng)
    return Game(maker, critic, lambda count, rng: torch.randn(count, noise_width, generator=rng))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def two_clouds(count, rng):
    """Half the points near (-2, 0), half near (2, 1), with standard deviation 0.5."""
    centres = torch.tensor([[-2.0, 0.0], [2.0, 1.0]])[torch.randint(2, (count,), generator=rng)]
    return centres + 0.5 * torch.randn(count, 2, generator=rng)


def test_two_clouds_are_learned_and_the_discriminator_ends_up_guessing():
    rng = seeded(1)
    real = two_clouds(3000, rng)
    game = two_players(2, rng)
    generator = play(
        game,
        shuffled(real[:2000], 128, rng),
        steps=700,
        judge_turn=partial(judge_turn, gamma=0.1),
        forge_turn=forge_turn,
        rng=rng,
        rates=(2e-3, 2e-3),
        held_out=Pairs(real[2000:]),
        look_every=25,
    )
    fake = generator(game.noise(4000, rng), None)
    right = fake[:, 0] > 0
    assert 0.4 < right.float().mean() < 0.6  # both clouds, at about their weights
    # A cloud's mean lies within half its standard deviation; its spread within a factor of 1.5 (700 small steps).
    assert torch.allclose(fake[right].mean(0), torch.tensor([2.0, 1.0]), atol=0.25)
    assert torch.allclose(fake[~right].mean(0), torch.tensor([-2.0, 0.0]), atol=0.25)
    for cloud in (fake[right], fake[~right]):
        assert cloud.std(0).min() > 0.33 and cloud.std(0).max() < 0.75
    rates = [rate for _, rate in game.history]
    assert max(rates[:14]) > 0.7  # early on the fakes are easy to tell
    assert np.mean(rates[-8:]) == pytest.approx(0.5, abs=0.07)  # 8 looks at the same 1,000 points: the standard error is about .015


def test_a_generator_that_is_told_something_obeys_it():
    """real = given + noise: the fakes must follow what both players see."""
    rng = seeded(2)
    told = torch.randn(1500, 1, generator=rng)
    real = torch.cat([2 * told + 0.2 * torch.randn(1500, 1, generator=rng), told], 1)
    game = two_players(1, rng, given=1)
    batches = (Pairs(p.real[:, :1], p.real[:, 1:]) for p in shuffled(real, 128, rng))
    generator = play(game, batches, steps=600, judge_turn=judge_turn, forge_turn=forge_turn, rng=rng)
    fake = generator(game.noise(1500, rng), told)
    assert np.corrcoef(fake[:, 0].numpy(), told[:, 0].numpy())[0, 1] > 0.95


def test_a_private_generator_is_told_only_a_count():
    rng = seeded()
    seen = []

    def spy(game, pairs, rng):
        seen.append(pairs)
        return forge_turn(game, pairs, rng)

    play(
        two_players(1, rng),
        shuffled(torch.randn(64, 1, generator=rng), 16, rng),
        steps=3,
        judge_turn=judge_turn,
        forge_turn=spy,
        rng=rng,
        private=24,
    )
    assert seen == [24, 24, 24]


def test_same_seed_same_weights_and_the_global_generator_is_left_alone():
    def run(seed):
        rng = seeded(seed)
        game = two_players(2, rng)
        generator = play(game, shuffled(two_clouds(100, rng), 32, rng), steps=5, judge_turn=judge_turn, forge_turn=forge_turn, rng=rng)
        return torch.cat([p.flatten() for p in generator.parameters()]).numpy().tobytes()

    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = run(3)
    torch.manual_seed(99)
    assert first == run(3)
    assert first != run(4)
    torch.manual_seed(0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_players_are_drawn_without_the_global_generator():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    two_players(2, seeded())
    assert torch.equal(before, torch.random.get_rng_state())


def test_settings_are_fixed_inside_and_restored_outside():
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with pytest.raises(KeyError), deterministic():
        assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == THREADS
        raise KeyError
    assert (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()) == before


def test_the_number_of_threads_outside_changes_nothing():
    def run(threads):
        torch.set_num_threads(threads)
        rng = seeded()
        game = two_players(40, rng)
        batches = shuffled(torch.randn(600, 40, generator=rng), 256, rng)
        generator = play(game, batches, steps=3, judge_turn=judge_turn, forge_turn=forge_turn, rng=rng)
        return torch.cat([p.flatten() for p in generator.parameters()]).numpy().tobytes()

    before = torch.get_num_threads()
    try:
        assert run(1) == run(2) == run(3)
    finally:
        torch.set_num_threads(before)


def test_average_is_a_weighted_mean_of_weights():
    old, new = nn.Linear(1, 1), nn.Linear(1, 1)
    for layer, value in ((old, 1.0), (new, 5.0)):
        nn.init.constant_(layer.weight, value)
        nn.init.constant_(layer.bias, -value)
    average(old, new, keep=0.75)
    assert old.weight.item() == 2.0 and old.bias.item() == -2.0
    assert new.weight.item() == 5.0


def test_the_returned_generator_is_the_average_not_the_last():
    """Rounds 1 and 2 keep 1/11 and 2/12 of the average: with weights w0, w1, w2 it is .5/3 (w0/11 + 10 w1/11) + (10/12) w2."""
    rng = seeded()
    game = two_players(1, rng)
    weights = [copy.deepcopy(game.generator.state_dict())]
    batches = shuffled(torch.randn(64, 1, generator=rng), 16, rng)
    generator = play(
        game,
        batches,
        steps=2,
        judge_turn=judge_turn,
        forge_turn=forge_turn,
        rng=rng,
        on_step=lambda *_: weights.append(copy.deepcopy(game.generator.state_dict())),
    )
    for name, value in generator.state_dict().items():
        w0, w1, w2 = (w[name] for w in weights)
        assert torch.allclose(value, (w0 / 11 + 10 * w1 / 11) / 6 + 5 * w2 / 6, atol=1e-6)


def planted(fault_at):
    """A judge's move whose loss is not a number at the rounds in `fault_at`."""
    rounds = iter(range(1, 10_000))

    def turn(game, pairs, rng):
        losses = judge_turn(game, pairs, rng)
        return losses * math.nan if next(rounds) in fault_at else losses

    return turn


def test_one_bad_loss_sends_the_players_back_and_the_game_goes_on():
    rng = seeded()
    seen = []
    generator = play(
        two_players(1, rng),
        shuffled(torch.randn(64, 1, generator=rng), 16, rng),
        steps=12,
        judge_turn=planted({7}),
        forge_turn=forge_turn,
        rng=rng,
        look_every=5,
        on_step=lambda step, *_: seen.append(step),
    )
    assert seen == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]
    assert all(torch.isfinite(p).all() for p in generator.parameters())


def test_going_back_means_the_weights_of_the_last_look():
    rng = seeded()
    game = two_players(1, rng)
    weights = {}

    def bad_at_seven(game, pairs, rng):
        weights[len(weights) + 1] = copy.deepcopy(game.discriminator.state_dict())
        return judge_turn(game, pairs, rng) * (math.nan if len(weights) == 7 else 1.0)

    batches = shuffled(torch.randn(64, 1, generator=rng), 16, rng)
    play(game, batches, steps=8, judge_turn=bad_at_seven, forge_turn=forge_turn, rng=rng, look_every=5)
    for name, value in weights[6].items():  # as round 6 began is as round 5, a look, ended
        assert torch.equal(weights[8][name], value)
    assert any(not torch.equal(weights[7][name], weights[6][name]) for name in weights[6])


def test_a_game_that_keeps_breaking_says_so():
    rng = seeded()
    batches = shuffled(torch.randn(64, 1, generator=rng), 16, rng)
    with pytest.raises(ProbandError, match=rf"step {ROLLBACKS + 1} of 50: the loss was not finite, {ROLLBACKS + 1} times"):
        play(two_players(1, rng), batches, steps=50, judge_turn=planted(range(1000)), forge_turn=forge_turn, rng=rng)


def test_an_interrupt_passes_through_and_restores_the_setting():
    rng = seeded()
    before = torch.are_deterministic_algorithms_enabled()

    def stop(step, total, what, figures):
        assert (total, what) == (9, "game") and math.isfinite(figures["generator loss"])
        if step == 2:
            raise KeyboardInterrupt

    batches = shuffled(torch.randn(64, 1, generator=rng), 16, rng)
    with pytest.raises(KeyboardInterrupt):
        play(two_players(1, rng), batches, steps=9, judge_turn=judge_turn, forge_turn=forge_turn, rng=rng, on_step=stop)
    assert torch.are_deterministic_algorithms_enabled() == before


def test_what_was_kept_goes_on_to_the_same_generator():
    """Ten rounds at once, or six and then four in players that know nothing of the six; the warm-up is part of what has to fit."""
    real = torch.randn(64, 1, generator=seeded(1))

    def batches(rng):
        while True:
            yield Pairs(real[torch.randint(64, (16,), generator=rng)])

    def played(before=None, kept=None):
        rng = seeded(2)
        game = two_players(1, rng)
        keep = None if kept is None else lambda progress, averaged: kept.append(copy.deepcopy(progress))
        moves = {"judge_turn": judge_turn, "forge_turn": forge_turn, "rng": rng, "warm": 8, "look_every": 3}
        made = play(game, batches(rng), steps=10, held_out=Pairs(real), before=before, keep=keep, **moves)
        return made.state_dict(), game.history

    kept = []
    whole, history = played(kept=kept)
    assert [progress.step for progress in kept] == [3, 6, 9, 10]
    again, known = played(before=kept[1])
    assert known == history and all(torch.equal(again[name], value) for name, value in whole.items())
    with pytest.raises((KeyError, RuntimeError)):
        played(before=kept[1]._replace(tensors={"rollbacks": torch.tensor(0)}))


def test_success_counts_pairs_and_half_the_ties():
    """Fakes are all zero; the discriminator reads the number: 2 of 4 real numbers are above, one ties."""
    game = Game(lambda noise, given: torch.zeros_like(noise), lambda x, given: x[:, 0], lambda count, rng: torch.ones(count, 1))
    assert success(game, Pairs(torch.tensor([[1.0], [2.0], [0.0], [-1.0]])), seeded()) == 2.5 / 4


def test_shuffled_shows_every_example_once_a_round_and_copes_with_few():
    batches = shuffled(torch.arange(6).float()[:, None], 3, seeded())
    first = torch.cat([next(batches).real, next(batches).real]).flatten()
    assert sorted(first.tolist()) == [0, 1, 2, 3, 4, 5]
    assert len(next(shuffled(torch.zeros(2, 1), 128, seeded())).real) == 2


def test_the_exact_penalty_plays_in_the_same_loop():
    rng = seeded()
    exact_turn = partial(judge_turn, penalty=exact)
    batches = shuffled(torch.randn(64, 1, generator=rng), 16, rng)
    generator = play(two_players(1, rng), batches, steps=3, judge_turn=exact_turn, forge_turn=forge_turn, rng=rng)
    assert not any(p.requires_grad for p in generator.parameters())
