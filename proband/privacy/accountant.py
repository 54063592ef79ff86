"""What many noisy sums over chance samples of patients cost, in the rho that budgets and ledgers add up.

A sum over a sample in which each patient is with chance `rate`, with Gaussian noise, tells less of a patient than the sum over all. Its
Renyi divergence (Mironov, Talwar and Zhang, arXiv 1908.10530; opacus computes it) stays below a line rho * order up to some order, not
for all: that is truncated concentrated privacy (Bun, Dwork, Rothblum and Steinke, STOC 2018). It adds up as rho does, and means the same
epsilon as long as that is read off below that order, which `furthest` sees to.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from proband.errors import InputError, Unavailable

LEAST_DELTA = 1e-12  # that a guarantee or a ledger may have
_FIRST = (1.03, 1.08, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0)  # orders; then whole ones, each a seventh above the last. Broken ones are slow
_HIGHEST = 1000.0  # order that opacus has binomial coefficients for
_QUIETEST, _LOUDEST = 0.3, 1e6  # noise multipliers that are tried


def furthest(rho: float) -> float:
    """The order below which an epsilon is read off `rho`, or more than `rho`, at any delta that we allow."""
    return 1 + math.sqrt(math.log(1 / LEAST_DELTA) / rho)


def rho_of_course(noise: float, rate: float, steps: int, *, up_to: float) -> float:
    """The smallest rho such that `steps` sums have a Renyi divergence of at most rho * order, at all orders from 1 `up_to`.

    noise   standard deviation, in units of what one patient can add
    rate    the chance of each patient to be in a sum, by a coin of their own

    Between the orders at which opacus computes it, (order - 1) * divergence lies below its chord, since it is convex.
    """
    orders = _orders(up_to)
    divergence = np.asarray(_rdp()(q=rate, noise_multiplier=noise, steps=steps, orders=orders.tolist()), float)
    between = 1 + np.geomspace(1e-3, up_to - 1, 4000)
    chord = np.interp(between, np.r_[1.0, orders], np.r_[0.0, (orders - 1) * divergence])
    return float((chord / ((between - 1) * between)).max())


@cache
def noise_for(rho: float, rate: float, steps: int) -> float:
    """The least noise, in units of what one patient can add, at which `steps` sums cost at most `rho`."""
    quiet, loud = _QUIETEST, _LOUDEST
    if furthest(rho) > _HIGHEST:
        raise InputError(f"rho = {rho:.3g} is less than can be accounted for in sums over samples. Take a larger epsilon, such as 1.")
    guess = max(1.0, rate * math.sqrt(steps / (2 * rho)))  # what much noise costs
    for tried in (1.5 * guess, 0.8 * guess):
        quiet, loud = (tried, loud) if rho_of_course(tried, rate, steps, up_to=furthest(rho)) > rho else (quiet, tried)
    while loud / quiet > 1.001:
        middle = math.sqrt(quiet * loud)
        quiet, loud = (middle, loud) if rho_of_course(middle, rate, steps, up_to=furthest(rho)) > rho else (quiet, middle)
    return loud


def _orders(up_to: float) -> np.ndarray:
    found, order = list(_FIRST), 4
    while found[-1] < up_to:
        found.append(float(order))
        order += max(1, order // 7)
    return np.array(found)


def _rdp() -> Any:
    """opacus' account of the sampled Gaussian, or Unavailable with the line that installs it."""
    try:
        from opacus.accountants.analysis.rdp import compute_rdp
    except ImportError as error:
        raise Unavailable("Private training needs opacus' accountant. Install it with: pip install 'proband[privacy]'") from error
    return compute_rdp
