"""A budget of differential privacy, and the only four ways to spend it: noisy counts, a noisy choice, a noisy sum over all patients, noisy
sums over chance samples.

The unit is the patient: neighbouring cohorts differ by all rows of one. Loss is counted in rho (zero-concentrated differential
privacy; Bun and Steinke, TCC 2016), which adds up over steps that look at each other's answers. Counts have exact noise (discrete
Gaussian; Canonne, Kamath and Steinke, NeurIPS 2020), as do sums, on a fine grid; choices have Gumbel noise. All is OpenDP's, seeded by
the operating system: no seed of ours brings it back.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from proband.errors import InputError, ProbandError, Unavailable
from proband.privacy.accountant import noise_for

GRID = 2**20  # steps of a sum's grid in the length of what one patient may add
SLACK = 1e-3  # of that length, left free: the last bits of a patient's vector hang on who else is in the batch


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

    def total(self, vectors: Iterable[np.ndarray], *, width: int, rho: float, what: str) -> np.ndarray:
        """(width,) the sum of one vector a patient, none longer than 1, with noise of standard deviation `deviation(rho)`.

        A patient's vector may hang on that patient alone, to the last bit. Values are cut to a grid, toward 0: no vector grows by that,
        sums of whole numbers are exact, and so is their noise.
        """
        self._spend(Spend(what, rho, 1.0))
        total = np.zeros(width, np.int64)
        for vector in vectors:
            if vector.shape != (width,) or not float(np.dot(vector.astype(float), vector)) <= 1 + 1e-5:  # NaN is caught too
                raise ProbandError(f"Fault in proband: in {what} a patient adds more than was declared.")
            total += _on_grid(vector)
        return self._noisy(total, deviation(rho), what) / GRID

    def course(self, *, patients: int, rate: float, steps: int, rho: float, what: str) -> Course:
        """`steps` sums of vectors over samples in which each of `patients` is with chance `rate`, bought together. A vector has length 1
        at most. `rate` and `steps` may rest on noisy answers, not on patients."""
        self._spend(Spend(what, rho, 1.0))
        return Course(self, patients, rate, steps, noise_for(rho, rate, steps), what)

    def _coins(self, patients: int, rate: float) -> np.ndarray:
        """(patients,) True with chance `rate`, each by 64 bits of the operating system."""
        return np.frombuffer(os.urandom(8 * patients), np.uint64) < np.uint64(min(int(rate * 2.0**64), 2**64 - 1))

    def _noisy(self, total: np.ndarray, noise: float, what: str) -> np.ndarray:
        dp = opendp()
        space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
        mechanism = dp.m.make_gaussian(*space, scale=noise * GRID)
        self._confirm(mechanism.map(float(GRID)), 0.5 / noise**2, what)
        return np.array(mechanism(total.tolist()), np.int64)

    def _spend(self, spend: Spend) -> None:
        if not (math.isfinite(spend.rho) and spend.rho > 0 and math.isfinite(spend.sensitivity) and spend.sensitivity > 0):
            raise ProbandError(f"Fault in proband: {spend.what} was asked at rho {spend.rho} and sensitivity {spend.sensitivity}.")
        if spend.rho > self.left * (1 + 1e-9):
            raise ProbandError(f"Fault in proband: {spend.what} asks for rho {spend.rho:.3g}, and {self.left:.3g} is left of the budget.")
        self.spends.append(spend)

    def _confirm(self, cost: float, rho: float, what: str) -> None:
        if not 0 < cost <= rho * (1 + 1e-6):
            raise ProbandError(f"Fault in proband: the noise for {what} costs rho {cost:.3g}, and {rho:.3g} was charged.")


class Course:
    """Noisy sums over chance samples (Abadi et al., CCS 2016), made by `Budget.course`: `sample`, then `sum`, as often as was paid for.

    noise   standard deviation of each sum, in units of what one patient can add
    """

    def __init__(self, budget: Budget, patients: int, rate: float, steps: int, noise: float, what: str) -> None:
        self.budget, self.patients, self.rate, self.left, self.noise, self.what = budget, patients, rate, steps, noise, what
        self._picked: int | None = None

    def sample(self) -> np.ndarray:
        """The places of the patients in the next sum. How many they are is nobody's to know: divide by the expected number."""
        places = np.flatnonzero(self.budget._coins(self.patients, self.rate))
        self._picked = len(places)
        return places

    def sum(self, vectors: np.ndarray) -> np.ndarray:
        """(values,) the sum of `vectors` (patients in the sample, values), none longer than 1, with noise.

        Values are cut to a grid, toward 0: sums of whole numbers are exact, and so is their noise.
        """
        if self.left < 1 or self._picked is None or len(vectors) != self._picked:
            raise ProbandError(f"Fault in proband: {self.what} asks for a sum that no sample was drawn for, or that was not paid for.")
        if not bool((np.einsum("pv,pv->p", vectors, vectors, dtype=float) <= 1 + 1e-5).all()):  # NaN is caught too
            raise ProbandError(f"Fault in proband: in {self.what} a patient adds more than was declared.")
        self.left, self._picked = self.left - 1, None
        total = _on_grid(vectors).sum(0)
        return self.budget._noisy(total, self.noise, self.what) / GRID


def _on_grid(vectors: np.ndarray) -> np.ndarray:
    """Values as whole steps of the grid, cut toward 0."""
    return (vectors * ((1 - SLACK) * GRID)).astype(np.int64)


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
