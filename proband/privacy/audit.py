"""The auditor of ourselves: does a private fit spend what it says, and learn nothing but through its budget?

Replay (after Cebere et al., PETS 2026). The fit runs on a cohort, and every question to its budget is written down with its answer.
Then it runs on the cohort without one patient and is given the same answers. If all that it knows of patients comes through the
budget, it must ask the same questions at the same price, no question may differ by more than its declared sensitivity, and the same
must come out, byte for byte. Whatever else read the patients shows: a bound, a level, a row count, a stop on the raw loss.
Where sums are asked over chance samples, the others' coins fall as they fell before, so that one patient alone makes the difference.
Replay cannot see whether the noise is as wide as its price: `noise` draws it and measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import stats

from proband.cohort import Cohort
from proband.privacy.accountant import noise_for
from proband.privacy.budget import GRID, Budget, Spend, deviation

#: A private fit: patients and a budget in, whatever leaves out, as bytes.
Fit = Callable[[Cohort, Budget], bytes]
DRAWS, CHOICES, PATIENTS = 20_000, 600, 1_000
CERTAIN = 1e-9  # the chance that sound noise is called too narrow


class Asked(NamedTuple):
    """A question to a budget, what was exactly true, and what was answered."""

    spend: Spend
    k: int | None  # of a choice; None: counts and sums
    truth: np.ndarray
    answer: np.ndarray


class Breach(NamedTuple):
    """What was found: `kind` is sensitivity, flow, price, output or noise."""

    kind: str
    what: str


class Recorder(Budget):
    """A budget that writes down what it is asked, and answers as ever."""

    def __init__(self, rho: float) -> None:
        super().__init__(rho)
        self.tape: list[Asked] = []

    def counts(self, counts: np.ndarray, *, rho: float, what: str, sensitivity: float = 1.0) -> np.ndarray:
        answer = super().counts(counts, rho=rho, what=what, sensitivity=sensitivity)
        self.tape.append(Asked(self.spends[-1], None, np.array(counts, float), answer))
        return answer

    def choose(self, scores: np.ndarray, k: int, *, rho: float, what: str, sensitivity: float = 1.0) -> list[int]:
        answer = super().choose(scores, k, rho=rho, what=what, sensitivity=sensitivity)
        self.tape.append(Asked(self.spends[-1], k, np.array(scores, float), np.array(answer)))
        return answer

    def _coins(self, patients: int, rate: float) -> np.ndarray:
        coins = super()._coins(patients, rate)
        self.tape.append(Asked(_coins_at(rate), None, np.zeros(patients), coins))
        return coins

    def _noisy(self, total: np.ndarray, noise: float, what: str) -> np.ndarray:
        answer = super()._noisy(total, noise, what)
        self.tape.append(Asked(_sum_at(noise, what), None, total / GRID, answer))
        return answer


class Replayer(Budget):
    """A budget that gives the answers on a tape, and notes where what it is asked is not what it should be.

    gone   the place of the patient who left, in order of appearance: the coins of all others fall as before
    """

    def __init__(self, rho: float, tape: list[Asked], gone: int) -> None:
        super().__init__(rho)
        self.tape, self.at, self.gone = tape, 0, gone
        self.breaches: list[Breach] = []

    def counts(self, counts: np.ndarray, *, rho: float, what: str, sensitivity: float = 1.0) -> np.ndarray:
        return self._again(Spend(what, rho, sensitivity), None, np.asarray(counts, float))

    def choose(self, scores: np.ndarray, k: int, *, rho: float, what: str, sensitivity: float = 1.0) -> list[int]:
        return [int(place) for place in self._again(Spend(what, rho, sensitivity), k, np.asarray(scores, float))]

    def _coins(self, patients: int, rate: float) -> np.ndarray:
        return np.delete(self._again(_coins_at(rate), None, np.zeros(patients + 1), spent=False), self.gone)

    def _noisy(self, total: np.ndarray, noise: float, what: str) -> np.ndarray:
        return self._again(_sum_at(noise, what), None, total / GRID, spent=False)

    def _again(self, spend: Spend, k: int | None, truth: np.ndarray, *, spent: bool = True) -> np.ndarray:
        if spent:
            self._spend(spend)
        if self.at >= len(self.tape):
            raise Strayed(f"asked for {spend.what}, which was not asked before")
        before = self.tape[self.at]
        self.at += 1
        if (spend, k, truth.shape) != (before.spend, before.k, before.truth.shape):
            raise Strayed(f"asked for {spend} where it asked for {before.spend} before")
        gap = np.abs(truth - before.truth)
        moved = float(np.sqrt((gap**2).sum()) if k is None else gap.max(initial=0.0))
        if not moved <= spend.sensitivity * (1 + 1e-6) + 1e-6:  # NaN is a breach
            self.breaches.append(Breach("sensitivity", f"{spend.what}: one patient changes {moved:.3g}, declared {spend.sensitivity:.3g}"))
        return before.answer.copy()


def _coins_at(rate: float) -> Spend:
    return Spend(f"a sample at rate {rate:.6g}", 0.0, 1.0)


def _sum_at(noise: float, what: str) -> Spend:
    return Spend(f"a sum with noise {noise:.6g} in {what}", 0.0, 1.0)  # the course that it belongs to has paid


class Strayed(Exception):
    """The second run did not ask what the first asked."""


def replay(fit: Fit, cohort: Cohort, rho: float, *, neighbours: int = 12) -> list[Breach]:
    """What gives away that a patient left: one run on `cohort`, and one without each of `neighbours` patients who stand out.

    fit   learns by the budget that it is given, and by nothing else
    rho   the budget of the fit
    """
    recorder = Recorder(rho)
    made = fit(cohort, recorder)
    found: list[Breach] = []
    if sum(spend.rho for spend in recorder.spends) > rho * (1 + 1e-6):
        found.append(Breach("price", "more was asked than the budget has"))
    for who, gone, without in _neighbours(cohort, neighbours):
        replayer = Replayer(rho, recorder.tape, gone)
        try:
            again = fit(without, replayer)
            if replayer.at < len(recorder.tape):
                raise Strayed(f"asked {replayer.at} questions, and {len(recorder.tape)} before")
            if again != made:
                found.append(Breach("output", f"without {who}, the same answers make something else"))
        except Strayed as strayed:
            found.append(Breach("flow", f"without {who}, it {strayed}"))
        except Exception as failed:  # to fail for want of one patient tells of them; what the error says may hold a value
            found.append(Breach("flow", f"without {who}, it failed with {type(failed).__name__}"))
        found += replayer.breaches
    return found


def standing_out(cohort: Cohort, most: int) -> Iterator[tuple[str, Cohort]]:
    """Up to `most` neighbours of the cohort, each without one patient: those with the most rows, the rarest levels and the extremes."""
    yield from ((who, without) for who, _, without in _neighbours(cohort, most))


def _neighbours(cohort: Cohort, most: int) -> Iterator[tuple[str, int, Cohort]]:
    """Who left, at which place in order of appearance, and the others."""
    patients = cohort.patients
    whose = cohort.frame[cohort.schema.table.key] if cohort.schema.table.key else pl.int_range(cohort.frame.height, eager=True)
    suspects: list[tuple[str, object]] = []
    rows = whose.value_counts(sort=True)
    if rows["count"][0] > 1:
        suspects.append(("the patient with the most rows", rows[whose.name][0]))
    for column in cohort.schema.table.columns:
        values = cohort.frame[column.name]
        if column.kind in ("identifier", "text") or values.null_count() == len(values):
            continue
        if column.discrete:
            rarest = values.drop_nulls().value_counts().sort("count", column.name)[column.name][0]
            suspects.append((f"a patient with the rarest level of {column.name}", whose[int((values == rarest).arg_true()[0])]))
        else:
            suspects.append((f"the patient with the highest {column.name}", whose[values.arg_max() or 0]))
            suspects.append((f"the patient with the lowest {column.name}", whose[values.arg_min() or 0]))
        if values.null_count():
            suspects.append((f"a patient without {column.name}", whose[int(values.is_null().arg_true()[0])]))
    # Evenly over the columns, and never the same patient twice.
    seen: dict[object, str] = {}
    for who, patient in suspects:
        seen.setdefault(patient, who)
    picked = list(seen.items())
    for at in np.unique(np.linspace(0, len(picked) - 1, min(most, len(picked))).astype(int)):
        patient, who = picked[at]
        yield who, int((patients == patient).arg_max() or 0), cohort.take(patients.filter(patients != patient))


def noise(make: Callable[[float], Budget], *, rho: float = 0.02) -> list[Breach]:
    """Whether a budget's counts, choices, sums and samples are as uncertain as their price; sound ones fail once in a billion."""
    budget = make(1.0)
    drawn = budget.counts(np.zeros(DRAWS, int), rho=rho, what="noise").astype(float)
    least = stats.chi2.ppf(CERTAIN, DRAWS) / DRAWS
    width = float(np.mean(drawn**2)) / deviation(rho) ** 2
    found = [] if width >= least else [Breach("noise", f"counts have {width:.2f} of the variance that they were charged for")]
    wide = make(1.0).counts(np.zeros(DRAWS, int), rho=rho, what="noise", sensitivity=3.0).astype(float)
    width = float(np.mean(wide**2)) / deviation(rho, 3.0) ** 2
    found += [] if width >= least else [Breach("noise", f"at sensitivity 3, counts have {width:.2f} of the variance")]
    # The exponential mechanism takes the best of a few scores, one scale ahead of the others, in e of (e + others) cases.
    for others, k, sensitivity, price in ((1, 1, 1.0, 0.5), (1, 1, 3.0, 0.5), (2, 2, 1.0, 1.0), (1, 1, 1.0, 0.005)):
        ahead = sensitivity * np.sqrt(k / (2 * price))
        scores = np.array([ahead] + [0.0] * others)
        chosen = [make(2.0).choose(scores, k, rho=price, what="a choice", sensitivity=sensitivity)[0] for _ in range(CHOICES)]
        missed, expected = sum(first != 0 for first in chosen), others / (np.e + others)
        if stats.binom.cdf(missed, CHOICES, expected) < CERTAIN:
            found.append(Breach("noise", f"of {CHOICES} choices at rho {price:g}, {missed} missed the best, and {expected:.0%} should"))
    return found + noise_of_sums(make, rho=rho)


def noise_of_sums(make: Callable[[float], Budget], *, rho: float = 0.02) -> list[Breach]:
    """The part of `noise` that is about sums over samples, and about who is in them."""
    rate = 0.1
    course = make(1.0).course(patients=0, rate=rate, steps=1, rho=rho, what="noise")
    course.sample()
    width = float(np.mean((course.sum(np.zeros((0, DRAWS))) / noise_for(rho, rate, 1)) ** 2))
    narrow = width < stats.chi2.ppf(CERTAIN, DRAWS) / DRAWS
    found = [Breach("noise", f"sums have {width:.2f} of the variance that they were charged for")] if narrow else []
    course = make(1.0).course(patients=PATIENTS, rate=rate, steps=1, rho=rho, what="samples")
    sizes = np.array([len(course.sample()) for _ in range(CHOICES)])
    if stats.binom.sf(sizes.sum(), PATIENTS * CHOICES, rate) < CERTAIN:
        found.append(Breach("noise", f"a sample at rate {rate} has {sizes.mean() / PATIENTS:.3f} of the patients"))
    spread, own = float(((sizes - PATIENTS * rate) ** 2).sum()), PATIENTS * rate * (1 - rate)
    if stats.chi2.cdf(spread / own, CHOICES) < CERTAIN:
        found.append(
            Breach("noise", "samples are more alike in size than the coins of single patients would make them, as when rows are shuffled")
        )
    return found
