"""Canaries: a private fit is attacked in one run, and what the attack proves of epsilon may not exceed the claim.

Canaries are extra patients, each put in by a fair coin that the attacker does not see. From what the fit gives away the attacker guesses
some coins; the more guesses are right, the larger epsilon must be (Steinke, Nasr and Jagielski, NeurIPS 2023). One fit with thousands of
canaries tells as much as thousands of fits. A bound above the claim proves a fault; one below it proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

from proband import seeds
from proband.cohort import Cohort
from proband.errors import InputError
from proband.privacy.budget import GRID, Budget

CANARIES = 5000
GUESSED = 0.1  # of the canaries: the most suspicious and the least; fixed beforehand, since choosing would have to be paid for


class Bound(NamedTuple):
    """What an attack proves: `epsilon` is at least this much, with 95 % confidence, as `right` of `guesses` coins of `canaries` say."""

    epsilon: float
    right: int
    guesses: int
    canaries: int


def white_box(fit: Callable[[Cohort, Budget], object], cohort: Cohort, budget: Budget, *, delta: float, seed: int) -> Bound:
    """The bound of an attacker who sees every noisy sum of the fit, and knows all patients but not which canaries are in.

    fit      learns by the budget that it is given, and by nothing else, as for `audit.replay`; it has to ask for sums (`Budget.course`)
    budget   what the fit may spend; one with a fault in its noise is found out
    seed     of the coins; the fit's noise has none

    A canary's vector has length 1 and random signs, other ones in every sum, so that no two point the same way for long. Its score is the
    logarithm of how much more probable the sums are if it is in.
    """
    planted = _Planted(budget, seeds.generator(seed, "canaries"))
    fit(cohort, planted)
    if planted.scores is None:
        raise InputError("The fit asked for no sum over samples, so no canary could be put into one. Use black_box.")
    return proven(planted.scores, planted.inside, delta)


def black_box(draw: Callable[[Cohort], np.ndarray], cohort: Cohort, canaries: Cohort, *, delta: float, seed: int) -> Bound:
    """The bound of an attacker who sees only what the fit is for.

    draw       fits the cohort that it is given, and tells how like what came out each canary is, (canaries,), higher is more
    canaries   patients who are not in the cohort, under its schema; the stranger, the better
    """
    inside = seeds.generator(seed, "canaries").random(len(canaries)) < 0.5
    kept = canaries.take(canaries.patients.filter(inside))
    together = Cohort(cohort.schema, cohort.frame.vstack(kept.frame), cohort.mark)
    return proven(np.asarray(draw(together), float), inside, delta)


def proven(scores: np.ndarray, inside: np.ndarray, delta: float, *, error: float = 0.05) -> Bound:
    """The bound from the `scores` of canaries, higher for those who seem to be in, and who was `inside`, both (canaries,)."""
    each = max(1, round(len(scores) * GUESSED / 2))
    order = np.argsort(scores, kind="stable")
    right = int(inside[order[-each:]].sum() + (~inside[order[:each]]).sum())
    return Bound(epsilon_at_least(right, 2 * each, len(scores), delta, error=error), right, 2 * each, len(scores))


def epsilon_at_least(right: int, guesses: int, canaries: int, delta: float, *, error: float = 0.05) -> float:
    """The largest epsilon that so many right guesses refute, at this delta (Steinke et al., theorem 5.2); 0 when none.

    >>> round(epsilon_at_least(95, 100, 1000, 1e-5), 2), epsilon_at_least(55, 100, 1000, 1e-5)
    (2.2, 0.0)
    """

    def as_many(epsilon: float) -> float:
        chance, fewer = 1 / (1 + np.exp(-epsilon)), np.arange(1, right + 1)
        beyond = stats.binom.sf(right - 1, guesses, chance)
        slack = ((stats.binom.sf(right - fewer - 1, guesses, chance) - beyond) * 2 / fewer).max(initial=0.0)
        return float(beyond + canaries * delta * slack)

    if as_many(0.0) > error:
        return 0.0
    low, high = 0.0, 50.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if as_many(middle) <= error else (low, middle)
    return low


class _Planted(Budget):
    """Another budget, whose samples and sums have canaries among the patients; all else passes through."""

    def __init__(self, real: Budget, rng: np.random.Generator) -> None:
        super().__init__(real.rho)
        self.real, self.rng = real, rng
        self.inside = rng.random(CANARIES) < 0.5
        self.scores: np.ndarray | None = None
        self.signs = np.zeros((0, 0), np.float32)
        self.rate = 0.0
        self.here = np.zeros(CANARIES, bool)

    def _coins(self, patients: int, rate: float) -> np.ndarray:
        coins = self.real._coins(patients + CANARIES, rate)
        self.here, self.rate = coins[patients:] & self.inside, rate
        return coins[:patients]

    def _noisy(self, total: np.ndarray, noise: float, what: str) -> np.ndarray:
        if self.scores is None:
            self.scores = np.zeros(CANARIES)
            self.signs = self.rng.choice(np.array([-1, 1], np.float32), (CANARIES, len(total)))
        unit, whose = int(GRID / np.sqrt(len(total))), self.rng.permutation(CANARIES)
        canaries = unit * self.signs[whose[self.here]].sum(0).astype(np.int64)
        answer = self.real._noisy(total + canaries, noise, what)
        seen = self.signs @ ((answer - total) / (GRID * np.sqrt(len(total)))).astype(np.float32)
        seen = seen[whose]
        self.scores += np.log1p(self.rate * np.expm1((2.0 * seen - 1) / (2 * noise**2)))
        return answer
