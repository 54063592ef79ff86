"""A budget of differential privacy, and the only two ways to spend it: noisy counts, and a noisy choice.

The unit is the patient: neighbouring cohorts differ by all rows of one. Loss is counted in rho (zero-concentrated differential
privacy; Bun and Steinke, TCC 2016), which adds up over steps that look at each other's answers. Counts have exact noise (discrete
Gaussian; Canonne, Kamath and Steinke, NeurIPS 2020), choices Gumbel noise; both are OpenDP's, seeded by the operating
system: no seed of ours brings it back.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from proband.errors import InputError, ProbandError, Unavailable


class Spend(NamedTuple):
    """One look at the patients: what for, the rho it cost, and how much one patient can change what was asked."""

    what: str
    rho: float
    sensitivity: float


class Budget:
    """`rho` to spend, once. Whoever holds the patients asks through it, and hands on nothing but its answers.

    >>> budget = Budget(0.5)
    >>> noisy = budget.counts(np.array([40, 60]), rho=0.5, what="sex")
    >>> budget.left
    0.0
    """

    def __init__(self, rho: float) -> None:
        if not (math.isfinite(rho) and rho > 0):
            raise InputError(f"rho = {rho!r} is no budget. Give a number above 0.")
        self.rho = rho
        self.spends: list[Spend] = []

    @property
    def left(self) -> float:
        """What is not spent yet."""
        return max(0.0, self.rho - math.fsum(spend.rho for spend in self.spends))

    def counts(self, counts: np.ndarray, *, rho: float, what: str, sensitivity: float = 1.0) -> np.ndarray:
        """`counts` (whole numbers, any shape) with discrete Gaussian noise of standard deviation `deviation(rho, sensitivity)`.

        sensitivity   the most, in Euclidean norm, that one patient adds to them all; 1 where each is in one cell
        """
        counts = np.asarray(counts)
        if counts.dtype.kind not in "iu":
            raise ProbandError(f"Fault in proband: counts of {what} are {counts.dtype}, and only whole numbers take exact noise.")
        self._spend(Spend(what, rho, sensitivity))
        dp = opendp()
        space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
        mechanism = dp.m.make_gaussian(*space, scale=deviation(rho, sensitivity))
        self._confirm(mechanism.map(sensitivity), rho, what)
        return np.array(mechanism(counts.ravel().astype(int).tolist()), np.int64).reshape(counts.shape)

    def choose(self, scores: np.ndarray, k: int, *, rho: float, what: str, sensitivity: float = 1.0) -> list[int]:
        """The places of about the `k` highest `scores`, the best first; one patient changes none by more than `sensitivity`."""
        scores = np.asarray(scores, float)
        if not np.isfinite(scores).all():
            raise ProbandError(f"Fault in proband: a score of {what} is not finite.")
        self._spend(Spend(what, rho, sensitivity))
        dp = opendp()
        space = dp.vector_domain(dp.atom_domain(T="f64", nan=False)), dp.linf_distance(T="f64")
        measure = dp.zero_concentrated_divergence()
        mechanism = dp.m.make_noisy_top_k(*space, measure, k=k, scale=sensitivity * math.sqrt(k / (2 * rho)) * (1 + 1e-9))
        self._confirm(mechanism.map(sensitivity), rho, what)
        return [int(place) for place in mechanism(scores.tolist())]

    def _spend(self, spend: Spend) -> None:
        if not (math.isfinite(spend.rho) and spend.rho > 0 and math.isfinite(spend.sensitivity) and spend.sensitivity > 0):
            raise ProbandError(f"Fault in proband: {spend.what} was asked at rho {spend.rho} and sensitivity {spend.sensitivity}.")
        if spend.rho > self.left * (1 + 1e-9):
            raise ProbandError(f"Fault in proband: {spend.what} asks for rho {spend.rho:.3g}, and {self.left:.3g} is left of the budget.")
        self.spends.append(spend)

    def _confirm(self, cost: float, rho: float, what: str) -> None:
        if not 0 < cost <= rho * (1 + 1e-6):
            raise ProbandError(f"Fault in proband: the noise for {what} costs rho {cost:.3g}, and {rho:.3g} was charged.")


def deviation(rho: float, sensitivity: float = 1.0) -> float:
    """The standard deviation of Gaussian noise that costs `rho`."""
    return sensitivity / math.sqrt(2 * rho) * (1 + 1e-9)


def epsilon_of(rho: float, delta: float) -> float:
    """The smallest epsilon such that `rho` zero-concentrated privacy is (epsilon, delta) differential privacy.

    >>> round(epsilon_of(0.02, 1e-5), 2)
    0.86
    """
    dp = opendp()
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
    profile = dp.c.make_zCDP_to_approxDP(dp.m.make_gaussian(*space, scale=deviation(rho))).map(1.0)
    return float(profile.epsilon(delta))


def rho_of(epsilon: float, delta: float) -> float:
    """The largest rho whose guarantee is (`epsilon`, `delta`) differential privacy. InputError for numbers that are no guarantee.

    epsilon   above 0; from 1 to 3 is a strong promise, above 10 hardly one
    delta     the chance that the promise fails: well below one in the number of patients
    """
    if not (math.isfinite(epsilon) and 0 < epsilon <= 100):
        raise InputError(f"epsilon = {epsilon!r} is no promise of privacy. Give a number above 0 and up to 100, such as 1.")
    if not 1e-12 <= delta <= 1e-3:
        raise InputError(
            f"delta = {delta!r} is no promise of privacy: it is the chance that the promise fails. Give a number between 1e-12 and "
            "0.001, well below one in the number of patients, such as 1e-5."
        )
    low, high = 0.0, epsilon  # rho is below epsilon
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_of(middle, delta) <= epsilon else (low, middle)
    return low


def opendp() -> Any:
    """OpenDP, or Unavailable with the line that installs it."""
    try:
        import opendp.prelude as dp
    except ImportError as error:
        raise Unavailable("Differential privacy needs OpenDP. Install it with: pip install 'proband[privacy]'") from error
    dp.enable_features("contrib")
    return dp
