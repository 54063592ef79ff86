"""What sums over chance samples cost, against what can be worked out otherwise."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from proband.errors import InputError
from proband.privacy.accountant import furthest, noise_for, rho_of_course
from proband.privacy.budget import epsilon_of, rho_of


def test_without_sampling_it_is_the_gaussian_of_every_textbook():
    """Orders are some way apart, and what lies between is taken by a chord: that costs up to 3 %."""
    assert 0.08 <= rho_of_course(5.0, 1.0, 4, up_to=20) == pytest.approx(4 / (2 * 5.0**2), rel=0.035)


def divergence(noise, rate, order):
    """Of order `order`, by integration, between N(0, noise^2) with and without one patient who is in with chance `rate`."""

    def integrand(x):
        return stats.norm.pdf(x, 0, noise) * (1 - rate + rate * np.exp((2 * x - 1) / (2 * noise**2))) ** order

    return math.log(integrate.quad(integrand, -30 * noise, 30 * noise, limit=400)[0]) / (order - 1)


def test_no_order_is_above_the_line():
    """At a rate of .1, and noise that lets the divergence bend upward: in between the orders that are computed, too."""
    cost = rho_of_course(1.5, 0.1, 1, up_to=12)
    ratios = [divergence(1.5, 0.1, order) / order / cost for order in (1.1, 1.37, 1.8, 2.2, 3.6, 5.5, 8.3, 11.9)]
    assert max(ratios) <= 1 and max(ratios) > 0.9


def test_the_least_noise_costs_what_may_be_spent():
    noise = noise_for(0.02, 0.05, 100)
    assert rho_of_course(noise, 0.05, 100, up_to=furthest(0.02)) <= 0.02
    assert rho_of_course(noise * 0.99, 0.05, 100, up_to=furthest(0.02)) > 0.02


def test_sampling_and_fewer_rounds_need_less_noise():
    assert noise_for(0.02, 0.05, 100) < noise_for(0.02, 0.1, 100) < noise_for(0.02, 0.1, 400)


@pytest.mark.parametrize("delta", [1e-12, 1e-5, 1e-3])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0, 50.0])
def test_epsilon_is_read_off_below_the_furthest_order(epsilon, delta):
    """The smallest epsilon over all orders is already the smallest over those that are accounted for, at every delta that is allowed."""
    rho = rho_of(epsilon, 1e-5)

    def read(orders):  # Canonne, Kamath and Steinke, NeurIPS 2020, proposition 12
        return (rho * orders - (np.log(delta) + np.log(orders)) / (orders - 1) + np.log1p(-1 / orders)).min()

    below = read(1 + np.geomspace(1e-4, furthest(rho) - 1, 20_000))
    assert epsilon_of(rho, delta) == pytest.approx(below, rel=2e-3)
    assert read(1 + np.geomspace(1e-4, 1e6, 40_000)) == pytest.approx(below, rel=1e-3)


def test_less_than_can_be_accounted_for_is_refused():
    with pytest.raises(InputError, match="larger epsilon"):
        noise_for(2e-5, 0.1, 10)
