"""The budget: noise as wide as its price, no spending beyond it, and the promise that it comes to."""

import numpy as np
import pytest
from scipy import optimize, special

from proband.errors import InputError, ProbandError
from proband.privacy.budget import Budget, deviation, epsilon_of, rho_of


def test_noise_is_as_wide_as_its_price():
    budget = Budget(1.0)
    noisy = budget.counts(np.zeros(4_000, int), rho=0.02, what="nothing")
    assert noisy.dtype == np.int64 and noisy.shape == (4_000,)
    assert deviation(0.02) == pytest.approx(5)
    assert abs(noisy.mean()) < 5 * 5 / np.sqrt(4_000)  # five standard errors, so that one run in a million fails
    assert noisy.std() == pytest.approx(5, rel=5 / np.sqrt(2 * 4_000))


def test_sensitivity_widens_the_noise():
    assert deviation(0.02, 3) == pytest.approx(15)


def test_two_draws_differ_since_no_seed_brings_noise_back():
    budget = Budget(1.0)
    first, second = (budget.counts(np.zeros(50, int), rho=0.01, what="twice") for _ in range(2))
    assert (first != second).any()


def test_a_choice_finds_what_stands_out():
    budget = Budget(1.0)
    scores = np.zeros(500)
    scores[[7, 70]] = 10_000, 5_000
    assert budget.choose(scores, 2, rho=0.01, what="two") == [7, 70]


def test_a_choice_between_equals_is_chance():
    budget = Budget(1.0)
    firsts = [budget.choose(np.zeros(2), 1, rho=1e-3, what="a coin")[0] for _ in range(60)]
    assert 10 < sum(firsts) < 50  # 60 fair coins fall outside in fewer than one of a million runs


def test_every_look_is_written_down_and_none_goes_beyond_the_budget():
    budget = Budget(0.1)
    budget.counts(np.array([1]), rho=0.06, what="first")
    with pytest.raises(ProbandError, match=r"0\.04 is left"):
        budget.counts(np.array([1]), rho=0.05, what="second")
    assert [spend.what for spend in budget.spends] == ["first"]
    assert budget.left == pytest.approx(0.04)


@pytest.mark.parametrize("rho", [0.0, -1.0, float("nan"), float("inf")])
def test_no_look_is_free(rho):
    with pytest.raises(ProbandError):
        Budget(1.0).counts(np.array([1]), rho=rho, what="free")


def test_only_whole_numbers_take_exact_noise():
    with pytest.raises(ProbandError, match="float64"):
        Budget(1.0).counts(np.array([1.5]), rho=0.1, what="means")
    with pytest.raises(ProbandError, match="not finite"):
        Budget(1.0).choose(np.array([np.nan, 1.0]), 1, rho=0.1, what="scores")


@pytest.mark.parametrize("rho", [0.001, 0.02, 0.5, 2.0])
def test_the_promise_is_that_of_the_literature(rho):
    # Canonne, Kamath and Steinke 2020, corollary 13, minimised here by hand.
    def log_delta(alpha):
        return (alpha - 1) * (alpha * rho - epsilon) + (alpha - 1) * np.log1p(-1 / alpha) - np.log(alpha)

    epsilon = epsilon_of(rho, 1e-5)
    best = optimize.minimize_scalar(lambda a: log_delta(1 + np.exp(a)), bounds=(-5, 12), method="bounded").fun
    assert best == pytest.approx(np.log(1e-5), abs=0.01)


def test_the_promise_covers_what_the_noise_really_leaks():
    # The exact delta of Gaussian noise (Balle and Wang 2018) is below the one promised.
    for rho in (0.01, 0.1, 1.0):
        mu = np.sqrt(2 * rho)
        epsilon = epsilon_of(rho, 1e-5)
        exact = special.ndtr(mu / 2 - epsilon / mu) - np.exp(epsilon) * special.ndtr(-mu / 2 - epsilon / mu)
        assert 0 < exact <= 1e-5


def test_rho_is_the_inverse_of_epsilon():
    for epsilon in (0.1, 1, 3, 10):
        assert epsilon_of(rho_of(epsilon, 1e-5), 1e-5) == pytest.approx(epsilon, rel=1e-6)


@pytest.mark.parametrize(("epsilon", "delta"), [(0, 1e-5), (-1, 1e-5), (float("nan"), 1e-5), (101, 1e-5), (1, 0), (1, 0.5)])
def test_what_is_no_promise_is_refused(epsilon, delta):
    with pytest.raises(InputError, match="no promise"):
        rho_of(epsilon, delta)
