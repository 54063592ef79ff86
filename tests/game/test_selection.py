import numpy as np
import pytest

from proband.game.selection import balancing, effective, learn_critic, select


def test_selection_keeps_rows_in_proportion_to_their_weights():
    """Half of the candidates weigh 3, half 1; of 1,000 kept among 8,000, three quarters are of the heavy kind.

    Systematic draws along a random order are within three binomial standard errors (41), mostly far within.
    """
    log_weights = np.log(np.repeat([3.0, 1.0], 4000))
    kept = select(log_weights, 1000, np.random.default_rng(0))
    assert len(set(kept.tolist())) == 1000
    assert (kept < 4000).sum() == pytest.approx(750, abs=41)


def test_no_row_is_kept_twice_however_heavy():
    log_weights = np.concatenate([[50.0], np.zeros(99)])
    kept = select(log_weights, 50, np.random.default_rng(0))
    assert len(set(kept.tolist())) == 50 and 0 in kept


def test_all_candidates_may_be_kept_and_too_few_are_refused():
    assert select(np.random.default_rng(0).normal(size=7), 7, np.random.default_rng(1)).tolist() == list(range(7))
    assert len(select(np.zeros(3), 0, np.random.default_rng(0))) == 0
    with pytest.raises(ValueError, match="3 candidates cannot give 4"):
        select(np.zeros(3), 4, np.random.default_rng(0))


def test_effective_share():
    assert effective(np.zeros(10)) == pytest.approx(1)
    assert effective(np.array([0.0, -100.0])) == pytest.approx(0.5)


def test_the_critic_turns_a_wrong_share_into_the_right_one():
    """30 % of the real rows are 1, half of the fakes: its odds bring the fakes to 30 % (three standard errors of 2,000: .03)."""
    rng = np.random.default_rng(0)
    fake, real = (rng.random((6000, 1)) < 0.5).astype(float), (rng.random((6000, 1)) < 0.3).astype(float)
    critic = learn_critic(fake, real, seed=1)
    assert fake[select(critic.log_odds(fake), 2000, rng)].mean() == pytest.approx(0.3, abs=0.03)


def test_a_critic_that_finds_nothing_weighs_nothing():
    rng = np.random.default_rng(0)
    critic = learn_critic(rng.normal(size=(1500, 3)), rng.normal(size=(1500, 3)), seed=1)
    assert critic.success == pytest.approx(0.5, abs=0.04)  # three standard errors of 1,500 rows a side are .03
    assert effective(critic.log_odds(rng.normal(size=(1000, 3)))) > 0.95


def test_no_row_is_chosen_twice_however_far_apart_the_weights_are():
    weights = np.concatenate([np.zeros(2), np.full(98, -2000.0)])
    weights[50] = -1900.0
    found = select(weights, 10, np.random.default_rng(0))
    assert len(set(found)) == 10 and {0, 1, 50} <= set(found)


def test_strata_keep_their_shares_though_the_weights_are_against_them():
    rng = np.random.default_rng(0)
    stratum, shares = rng.integers(3, size=5000), np.array([0.2, 0.3, 0.5])
    weights = rng.normal(size=5000) - 1.5 * stratum
    alone = np.bincount(stratum[select(weights, 1000, rng)]) / 1000
    assert alone[2] < 0.15
    kept = select(weights + balancing(weights, stratum, shares, 1000)[stratum], 1000, rng)
    assert np.bincount(stratum[kept]) / 1000 == pytest.approx(shares, abs=0.04)  # four standard errors of a draw
    within = stratum[kept] == 0
    assert weights[kept][within].mean() > weights[stratum == 0].mean() + 0.5, "in a stratum the weights still choose"


def test_a_stratum_without_candidates_asks_for_nobody():
    added = balancing(np.zeros(100), np.zeros(100, int), np.array([0.5, 0.5]), 20)
    assert np.isfinite(added).all() and np.abs(added).max() <= 2
