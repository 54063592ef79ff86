"""Is it private? Attacks on the synthetic table, members of the training data against patients it never saw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import stats

from proband import seeds
from proband.cohort import Mark
from proband.privacy.copies import copies_but_one, exact_copies, near_copies
from proband.privacy.membership import ATTACKS, Neighbourhood, attack, neighbourhood
from proband.privacy.patients import Patients, gathered
from proband.stats import intervals
from proband.validate.findings import Evidence, Finding
from proband.validate.inference import inference

LEVEL = 0.95
LOW_RATE = 0.01  # the false-positive rate at which a recognised patient is a harm: one stranger accused in a hundred
PERMUTATIONS = 200
VISIBLE = 0.06  # a test that cannot see 6 % of the patients given away says nothing


def privacy(evidence: Evidence, *, seed: int) -> list[Finding]:
    """Five findings: exact copies, near copies, and the membership attack by its AUC, its tail and the epsilon that it proves.

    A sixth, `epsilon`, where the mark of the synthetic patients promises differential privacy.

    Members are the train patients. Controls are the patients of holdout and reference, whom the synthesizer never saw; each real
    patient's distance to the other real patients calibrates its score, so no separate calibration set is spent.
    The findings carry no limit (see `limits.LIMITS`) and nothing about a single patient: counts and shares only, rounded.
    """
    made = evidence.synthetic.frame
    real = gathered(made, evidence.train, evidence.holdout, evidence.reference)
    found, telling = exact_copies(real, made)
    near = neighbourhood(real, made, seed=seed)
    close = telling[near.patients] | copies_but_one(real, made, near.patients) | near_copies(near)
    trial = _Trial.of(attack(near), near.member, seed)
    return [
        _exact_finding(real, found, telling),
        _near_finding(near, close),
        _auc_finding(trial),
        _tail_finding(trial),
        _epsilon_finding(trial),
        *inference(real, made, seed=seed),
        *_promises(evidence.synthetic.mark),
    ]


# --- copies ---------------------------------------------------------------------------------------------------------------------


def _exact_finding(real: Patients, found: np.ndarray, telling: np.ndarray) -> Finding:
    member = real.member
    excess = _excess(telling, member)
    counted = f"{_share(telling[member])} of the training patients have a record in the synthetic table that chance would not repeat"
    return Finding(
        question="private",
        name="exact_copies_excess",
        title="Training patients copied exactly, beyond the rate of patients never seen",
        why=f"{counted}, against {_share(telling[~member])} of the patients it never saw. {_copies_advice(excess, member)}",
        detail=_copies_detail(telling, member)
        | {"any_equal_row_train": _rounded(found[member].mean()), "any_equal_row_holdout": _rounded(found[~member].mean())},
        **_copies_numbers(excess, telling, member),
    )


def _near_finding(near: Neighbourhood, close: np.ndarray) -> Finding:
    member = near.member
    excess = _excess(close, member)
    counted = (
        f"{_share(close[member])} of the training patients have a synthetic record equal in all columns but one, "
        "or far nearer than any other real patient,"
    )
    return Finding(
        question="private",
        name="near_copies_excess",
        title="Training patients copied nearly, beyond the rate of patients never seen",
        why=f"{counted} against {_share(close[~member])} of the patients it never saw. {_copies_advice(excess, member)}",
        detail=_copies_detail(close, member),
        **_copies_numbers(excess, close, member),
    )


def _excess(hit: np.ndarray, member: np.ndarray) -> intervals.Estimate:
    hits = int(hit[member].sum()), int(hit[~member].sum())
    return intervals.share_difference(hits, (int(member.sum()), int((~member).sum())), level=LEVEL)


def _copies_numbers(excess: intervals.Estimate, hit: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    """Value, interval and reference: the same hits with members and controls drawn anew, which is what no leak means."""
    members, controls, hits = int(member.sum()), int((~member).sum()), int(hit.sum())
    drawn = np.asarray(stats.hypergeom.ppf([0.025, 0.975], members + controls, hits, members))
    low, high = (drawn / members - (hits - drawn) / controls).tolist()
    return {
        "value": _rounded(excess.value),
        "interval": (_rounded(excess.low), _rounded(excess.high)),
        "reference": 0.0,
        "reference_interval": (_rounded(low), _rounded(high)),
    }


def _copies_detail(hit: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    """Shares of patients (not of synthetic rows) whose record was found; `holdout` stands for all patients never seen."""
    return {
        "synthetic_share_train": _rounded(hit[member].mean()),
        "synthetic_share_holdout": _rounded(hit[~member].mean()),
        "patients_train": int(member.sum()),
        "patients_holdout": int((~member).sum()),
    }


def _copies_advice(excess: intervals.Estimate, member: np.ndarray) -> str:
    if excess.low > 0:
        return "The synthesizer memorised patients: train it less long, on more patients, or with noise."
    return f"With {int(member.sum()):,} training patients, an excess above {_share_of(excess.high)} is excluded."


# --- membership -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Trial:
    """The attacks' scores and what was read off them. Scores stay in here."""

    scores: dict[str, np.ndarray]
    member: np.ndarray
    tails: dict[str, list[intervals.TailRow]]
    error: float  # the level of one test, so that all depths of all attacks together err in 5 % of audits
    seed: int

    @staticmethod
    def of(scores: dict[str, np.ndarray], member: np.ndarray, seed: int) -> _Trial:
        """Every attack's tail. Equal scores are ordered by chance, so that no tie favours members."""
        tails = {name: intervals.top_r(s, member, seeds.generator(seed, "privacy", "ties", name)) for name, s in scores.items()}
        tests = sum(len(tail) for tail in tails.values())
        return _Trial(scores, member, tails, (1 - LEVEL) / max(tests, 1), seed)

    @property
    def members(self) -> int:
        return int(self.member.sum())

    @property
    def controls(self) -> int:
        return int((~self.member).sum())

    def strongest(self, estimates: dict[str, intervals.Estimate], corrected: dict[str, intervals.Estimate]) -> intervals.Estimate:
        """The strongest attack's value. Its upper end holds for the worst attack as it stands; the lower end needs the corrected level."""
        value = max(estimate.value for estimate in estimates.values())
        low = max(estimate.low for estimate in corrected.values())
        return intervals.Estimate(value, min(low, value), max(estimate.high for estimate in estimates.values()))

    @cached_property
    def under_no_leak(self) -> np.ndarray:
        """(permutations, 2): the strongest AUC and tail rate when members are drawn anew: exactly what no leak means."""
        draw = seeds.generator(self.seed, "privacy", "permutations")
        ranks = np.vstack([stats.rankdata(s) for s in self.scores.values()])
        orders = np.argsort(-ranks, axis=1, kind="stable")
        allowed = math.floor(LOW_RATE * self.controls + 1e-9)
        found = np.empty((PERMUTATIONS, 2))
        for i in range(PERMUTATIONS):
            member = draw.permutation(self.member)
            least = self.members * (self.members + 1) / 2
            areas = (ranks[:, member].sum(axis=1) - least) / (self.members * self.controls)
            tails = []
            for order in orders:
                threshold = np.flatnonzero(~member[order])[allowed]
                tails.append((threshold - allowed) / self.members)
            found[i] = areas.max(), max(tails)
        return found

    def detail(self, attacker: str) -> dict[str, Any]:
        """The ROC of one attack with its band under no leak, every attack's tail and the power: counts and rates, no scores."""
        return {
            "attack": attacker,
            "roc": self.roc(attacker),
            "tail": [
                {"r": row.r, "members": row.members, "expected": _rounded(row.expected), "p": _significant(p)}
                for row, p in zip(self.tails[attacker], self.adjusted(attacker), strict=True)
            ],
            "power": self.power(),
            "patients_train": self.members,
            "patients_holdout": self.controls,
        }

    def adjusted(self, attacker: str) -> list[float]:
        every = [(name, row.p) for name, tail in self.tails.items() for row in tail]
        adjusted = intervals.holm([p for _, p in every])
        return [p for (name, _), p in zip(every, adjusted, strict=True) if name == attacker]

    def roc(self, attacker: str) -> dict[str, list[float]]:
        """Rates on a fixed grid of false-positive rates, and the band in which 95 % of attacks on strangers lie at each of them."""
        members, controls = _without_ties(self.scores[attacker], self, attacker)
        falling, rising = np.sort(controls)[::-1], np.sort(members)
        grid = np.unique(np.round(np.concatenate([np.geomspace(1 / self.controls, 1, 25), np.linspace(0, 1, 21)[1:]]) * self.controls))
        j = grid[(grid >= 1) & (grid <= self.controls)].astype(int)
        above = self.members - np.searchsorted(rising, falling[j - 1], side="right")
        low, high = intervals.no_leak_band(self.members, self.controls, j)
        return {
            "fpr": [0.0, *_rounded_all((j - 1) / self.controls), 1.0],
            "tpr": [0.0, *_rounded_all(above / self.members), 1.0],
            "band_low": [0.0, *_rounded_all(low), 1.0],
            "band_high": [0.0, *_rounded_all(high), 1.0],
        }

    def visible(self) -> float | None:
        return intervals.smallest_visible_leak(self.members, self.controls, error=self.error)

    def ceiling(self) -> float:
        return intervals.epsilon_ceiling(self.members, self.controls, error=self.error)

    def power(self) -> str:
        visible = self.visible()
        counted = f"{self.members:,} members against {self.controls:,} controls"
        if visible is None:
            return f"{counted}: too few to see any leak."
        return (
            f"{counted} could not have seen a leak smaller than {_share_of(visible)} of the training patients given away "
            f"(that much is seen four times in five), nor proven an epsilon above {self.ceiling():.1f}."
        )


def _auc_finding(trial: _Trial) -> Finding:
    groups = {name: (s[trial.member], s[~trial.member]) for name, s in trial.scores.items()}
    estimates = {name: intervals.auc(*pair, level=LEVEL) for name, pair in groups.items()}
    corrected = {name: intervals.auc(*pair, level=1 - (1 - LEVEL) / len(ATTACKS)) for name, pair in groups.items()}
    strongest = trial.strongest(estimates, corrected)
    attacker = max(estimates, key=lambda name: estimates[name].value)
    reference = trial.under_no_leak[:, 0]
    return Finding(
        question="private",
        name="membership_auc",
        title="Guessing who was in the training data, over all patients",
        value=_rounded(strongest.value),
        interval=(_rounded(strongest.low), _rounded(strongest.high)),
        reference=_rounded(float(np.median(reference))),
        reference_interval=_percentiles(reference),
        why=f"The strongest of {len(ATTACKS)} attacks tells a training patient from a stranger in {strongest.value:.1%} of pairs; guessing "
        f"gives 50 %, the luckiest of {len(ATTACKS)} guesses {np.median(reference):.1%}. A mean hides a few leaks: read the tail too.",
        detail=trial.detail(attacker) | {"attacks": {name: _rounded(e.value) for name, e in estimates.items()}},
    )


def _tail_finding(trial: _Trial) -> Finding:
    title = "Training patients recognised while one stranger in a hundred is accused"
    if trial.controls < intervals.controls_needed(LOW_RATE):
        return Finding(
            question="private",
            name="membership_tpr_at_1pct",
            title=title,
            value=None,
            why=f"{trial.controls:,} patients whom the synthesizer never saw are too few to set a 1 % false-positive rate: "
            f"bring {intervals.controls_needed(LOW_RATE)} (holdout and reference together).",
            detail=trial.detail(next(iter(ATTACKS))),
        )
    groups = {name: _without_ties(s, trial, name) for name, s in trial.scores.items()}
    estimates = {name: _known(intervals.true_positive_rate(*pair, LOW_RATE, level=LEVEL)) for name, pair in groups.items()}
    corrected = {
        name: _known(intervals.true_positive_rate(*pair, LOW_RATE, level=1 - (1 - LEVEL) / len(ATTACKS))) for name, pair in groups.items()
    }
    strongest = trial.strongest(estimates, corrected)
    attacker = max(estimates, key=lambda name: estimates[name].value)
    reference = trial.under_no_leak[:, 1]
    return Finding(
        question="private",
        name="membership_tpr_at_1pct",
        title=title,
        value=_rounded(strongest.value),
        interval=(_rounded(strongest.low), _rounded(strongest.high)),
        reference=_rounded(float(np.median(reference))),
        reference_interval=_percentiles(reference),
        why=f"The strongest of {len(ATTACKS)} attacks recognises {strongest.value:.1%} of the training patients at 1 % false accusations; "
        f"without any leak about {np.median(reference):.1%}. The data exclude more than {strongest.high:.1%}.",
        detail=trial.detail(attacker) | {"attacks": {name: _rounded(e.value) for name, e in estimates.items()}},
    )


def _epsilon_finding(trial: _Trial) -> Finding:
    odds = trial.members / trial.controls
    bounds = {
        name: max((intervals.epsilon_lower_bound(row.members, row.r, odds, error=trial.error) for row in tail), default=0.0)
        for name, tail in trial.tails.items()
    }
    adjusted = {name: min(trial.adjusted(name), default=1.0) for name in bounds}
    attacker = min(bounds, key=lambda name: (-bounds[name], adjusted[name]))
    bound, p = _rounded(bounds[attacker]), adjusted[attacker]
    visible = trial.visible()
    blind = visible is None or visible > VISIBLE
    value: float | None = bound
    interval: tuple[float, float] | None = (bound, bound)
    if bound > 0:
        said = f"The most suspected patients prove a leak: epsilon is at least {bound:.2f} (corrected p = {_significant(p):g})."
        if blind:  # a leak this audit could only just have seen may be as large as it could have proven
            interval = (bound, max(bound, _rounded(trial.ceiling())))
    elif blind:
        said, value, interval = f"Too few patients to see a leak of {_share_of(VISIBLE)} of them.", None, None
    else:
        said = f"The most suspected patients prove no leak (corrected p = {_significant(p):g})."
    return Finding(
        question="private",
        name="membership_epsilon",
        title="Privacy loss (epsilon) that the most suspected patients prove, at least",
        value=value,
        interval=interval,
        reference=0.0,
        reference_interval=(0.0, 0.0),
        why=f"{said} {trial.power()}",
        detail=trial.detail(attacker) | {"attacks": {name: _rounded(b) for name, b in bounds.items()}},
    )


def _promises(mark: Mark | None) -> list[Finding]:
    """The bound that whoever made the patients promises, as their mark says; none where it says nothing."""
    if mark is None or any(key == "trained_on" or key.startswith(("label", "chosen")) for key in mark.details):
        return []  # real patients had a say in them by another way
    try:
        epsilon, delta = float(mark.details["epsilon"]), float(mark.details["delta"])
    except (KeyError, ValueError):
        return []
    if not (math.isfinite(epsilon) and epsilon > 0 and 0 <= delta < 1):
        return []
    said = (
        f"The mark of the synthetic patients says: differential privacy of every {mark.details.get('unit', 'patient')}, "
        f"epsilon {epsilon:g}, delta {delta:g}, kept by {mark.synthesizer} {mark.version}. No measurement can prove that: "
        "the cohort's ledger has the fit, and an audit of the synthesizer shows whether it keeps its word. It covers the "
        "synthetic patients, not this report's figures."
    )
    title = "Privacy loss (epsilon) of any patient, at most, as differential privacy promises"
    return [Finding(question="private", name="epsilon", title=title, value=epsilon, interval=(epsilon, epsilon), why=said)]


def _without_ties(scores: np.ndarray, trial: _Trial, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of members and of controls, equal scores ordered by chance: a threshold inside a tie must favour nobody."""
    ties = seeds.generator(trial.seed, "privacy", "ties", name).random(len(scores))
    ranks = np.empty(len(scores))
    ranks[np.lexsort((ties, scores))] = np.arange(len(scores))
    return ranks[trial.member], ranks[~trial.member]


def _known(estimate: intervals.Estimate | None) -> intervals.Estimate:
    assert estimate is not None  # the caller has counted the controls
    return estimate


def _rounded(value: float) -> float:
    return round(float(value), 3) + 0.0  # no -0.0


def _rounded_all(values: np.ndarray) -> list[float]:
    return [_rounded(value) for value in values]


def _significant(p: float) -> float:
    return float(f"{p:.2g}")


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return _rounded(low), _rounded(high)


def _share(hit: np.ndarray) -> str:
    return _share_of(float(hit.mean()))


def _share_of(share: float) -> str:
    return f"{100 * share:.3g} %" if share < 0.995 else f"{100 * share:.0f} %"
