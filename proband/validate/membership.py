"""Who was in the training data? The attacks' scores, and what may be read off them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import special

from proband import seeds
from proband.privacy.ensemble import Ensemble
from proband.stats import intervals
from proband.validate.excess import LEVEL, sizes
from proband.validate.findings import Finding
from proband.validate.rounding import percentiles, rounded, rounded_all, share_of, significant

LOW_RATES = (0.01, 0.001)  # false-positive rates at which a recognised patient is a harm: one stranger accused in a hundred, in a thousand
PERMUTATIONS = 200
VISIBLE = 0.06  # a test that cannot see 6 % of the patients given away says nothing
FEWEST = 30  # members, and controls, that a group needs
ENSEMBLE, COPIES = "ensemble of all attacks", "copies found"


@dataclass(frozen=True)
class Trial:
    """The attacks' scores and what was read off them. Scores stay in here.

    scores   per attack, (patients,) ranks from 0, each once; the ensemble is one of them
    found    (patients,) bool: who has a copy or a near copy, the one guess that needs no depth
    """

    scores: dict[str, np.ndarray]
    ensemble: Ensemble
    found: np.ndarray
    member: np.ndarray
    seed: int

    @staticmethod
    def of(scores: Mapping[str, np.ndarray], found: np.ndarray, member: np.ndarray, seed: int) -> Trial:
        """Equal scores are ordered by chance, so that no tie favours members."""
        ensemble = Ensemble(scores, seed=seed)
        every = dict(scores) | {ENSEMBLE: ensemble(member)}
        return Trial({name: _without_ties(one, seed, name) for name, one in every.items()}, ensemble, found, member, seed)

    @property
    def members(self) -> int:
        return int(self.member.sum())

    @property
    def controls(self) -> int:
        return int((~self.member).sum())

    @cached_property
    def error(self) -> float:
        """The level of one test, so that all depths of all attacks together err in 5 % of audits."""
        pool = len(self.member)
        tests = (len(self.scores) - 1) * len(intervals.depths(pool)) + len(intervals.depths(pool // 2)) + 1
        return (1 - LEVEL) / tests

    @cached_property
    def tails(self) -> dict[str, list[tuple[intervals.TailRow, float]]]:
        """Per attack and depth: the members among the most suspected, and the epsilon that they prove."""
        found = {name: self._tail(one, np.ones(len(one), bool), self.error) for name, one in self.scores.items() if name != ENSEMBLE}
        # What taught one half was tested in the other: each half is a test of its own, at half the level.
        halves = [self._tail(self.scores[ENSEMBLE], side, self.error / 2) for side in (self.ensemble.half, ~self.ensemble.half)]
        found[ENSEMBLE] = [
            (
                intervals.TailRow(2 * a.r, a.members + b.members, a.expected + b.expected, min(1.0, 2 * min(a.p, b.p))),
                max(first, second),
            )
            for (a, first), (b, second) in zip(*halves, strict=False)
        ]
        r = int(self.found.sum())
        found[COPIES] = self._tail(self.found.astype(float), np.ones(len(self.found), bool), self.error, (r,)) if r else []
        return found

    def _tail(
        self, scores: np.ndarray, among: np.ndarray, error: float, grid: tuple[int, ...] | None = None
    ) -> list[tuple[intervals.TailRow, float]]:
        member = self.member[among]
        odds = member.sum() / max((~member).sum(), 1)
        rows = intervals.top_r(scores[among], member, seeds.generator(self.seed, "privacy", "tail"), grid=grid)
        return [(row, intervals.epsilon_lower_bound(row.members, row.r, odds, error=error)) for row in rows]

    @cached_property
    def adjusted(self) -> dict[str, list[float]]:
        """Per attack and depth, the p-value corrected by Holm over all of them."""
        every = [row.p for tail in self.tails.values() for row, _ in tail]
        corrected = iter(intervals.holm(every))
        return {name: [next(corrected) for _ in tail] for name, tail in self.tails.items()}

    def sides(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Scores of members and of controls."""
        return self.scores[name][self.member], self.scores[name][~self.member]

    def estimates(self, of: Callable[[str, float], intervals.Estimate]) -> tuple[dict[str, intervals.Estimate], intervals.Estimate]:
        """Per attack `of(name, level)`, and the strongest attack's.

        Its upper end holds for the worst attack as it stands; the lower end is at a level corrected for the number of attacks.
        """
        found = {name: of(name, LEVEL) for name in self.scores}
        value = max(estimate.value for estimate in found.values())
        low = max(of(name, 1 - (1 - LEVEL) / len(self.scores)).low for name in self.scores)
        return found, intervals.Estimate(value, min(low, value), max(estimate.high for estimate in found.values()))

    @cached_property
    def under_no_leak(self) -> np.ndarray:
        """(permutations, 2): the strongest AUC and tail rate when members are drawn anew: exactly what no leak means."""
        draw = seeds.generator(self.seed, "privacy", "permutations")
        ranks = np.vstack(list(self.scores.values())).astype(np.int64)
        orders = np.argsort(-ranks, axis=1)
        allowed = math.floor(LOW_RATES[0] * self.controls + 1e-9)
        least, pairs = self.members * (self.members - 1) / 2, self.members * self.controls
        at = list(self.scores).index(ENSEMBLE)
        found = np.empty((PERMUTATIONS, 2))
        for i in range(PERMUTATIONS):
            member = draw.permutation(self.member)
            ranks[at] = self.ensemble(member)
            orders[at, ~ranks[at]] = np.arange(len(member))  # the highest rank first
            areas = (ranks[:, member].sum(axis=1) - least) / pairs
            strangers = (~member)[orders].cumsum(axis=1)
            threshold = (strangers <= allowed).sum(axis=1)  # the place of the first stranger that is one too many
            found[i] = areas.max(), (threshold.max() - allowed) / self.members
        return found

    def detail(self, attacker: str) -> dict[str, Any]:
        """The ROC of one attack with its band under no leak, its tail and the power: counts and rates, no scores."""
        tail = zip(self.tails[attacker], self.adjusted[attacker], strict=True)
        return {
            "attack": attacker,
            "tail": [{"r": row.r, "members": row.members, "expected": rounded(row.expected), "p": significant(p)} for (row, _), p in tail],
            "power": self.power(),
            **sizes(self.member),
        } | ({"roc": self.roc(attacker)} if attacker in self.scores else {})

    def roc(self, attacker: str) -> dict[str, list[float]]:
        """Rates on a fixed grid of false-positive rates, and the band in which 95 % of attacks on strangers lie at each of them."""
        members, controls = self.sides(attacker)
        falling, rising = np.sort(controls)[::-1], np.sort(members)
        grid = np.unique(np.round(np.concatenate([np.geomspace(1 / self.controls, 1, 25), np.linspace(0, 1, 21)[1:]]) * self.controls))
        j = grid[(grid >= 1) & (grid <= self.controls)].astype(int)
        above = self.members - np.searchsorted(rising, falling[j - 1], side="right")
        low, high = intervals.no_leak_band(self.members, self.controls, j)
        return {
            "fpr": [0.0, *rounded_all((j - 1) / self.controls), 1.0],
            "tpr": [0.0, *rounded_all(above / self.members), 1.0],
            "band_low": [0.0, *rounded_all(low), 1.0],
            "band_high": [0.0, *rounded_all(high), 1.0],
        }

    @cached_property
    def visible(self) -> float | None:
        return intervals.smallest_visible_leak(self.members, self.controls, error=self.error)

    @cached_property
    def ceiling(self) -> float:
        return intervals.epsilon_ceiling(self.members, self.controls, error=self.error)

    def power(self) -> str:
        counted = f"{self.members:,} members against {self.controls:,} controls"
        if self.visible is None:
            return f"{counted}: too few to see any leak."
        return (
            f"{counted} could not have seen a leak smaller than {share_of(self.visible)} of the training patients given away "
            f"(that much is seen four times in five), nor proven an epsilon above {self.ceiling:.1f}."
        )


def membership(trial: Trial, groups: Mapping[str, np.ndarray], isolated: np.ndarray) -> list[Finding]:
    """Four findings: over all patients, at low false-positive rates, by the epsilon proven, and in the worst group.

    groups    by name, which patients belong to it, (patients,) bool; isolated: the tenth farthest from other real patients
    """
    return [_auc_finding(trial), _tail_finding(trial), _epsilon_finding(trial), _group_finding(trial, groups, isolated)]


def _auc_finding(trial: Trial) -> Finding:
    estimates, strongest = trial.estimates(lambda name, level: intervals.auc(*trial.sides(name), level=_level(name, level)))
    attacker = max(estimates, key=lambda name: estimates[name].value)
    reference = trial.under_no_leak[:, 0]
    return Finding(
        question="private",
        name="membership_auc",
        title="Guessing who was in the training data, over all patients",
        value=rounded(strongest.value),
        interval=(rounded(strongest.low), rounded(strongest.high)),
        reference=rounded(float(np.median(reference))),
        reference_interval=percentiles(reference),
        why=f"The strongest of {len(estimates)} attacks ({attacker}) tells a training patient from a stranger in {strongest.value:.1%} of "
        f"pairs; guessing gives 50 %, the luckiest of {len(estimates)} guesses {np.median(reference):.1%}. A mean hides a few leaks: read "
        "the tail too.",
        detail=trial.detail(attacker) | {"attacks": {name: rounded(e.value) for name, e in estimates.items()}},
    )


def _tail_finding(trial: Trial) -> Finding:
    title = "Training patients recognised while one stranger in a hundred is accused"
    if trial.controls < intervals.controls_needed(LOW_RATES[0]):
        return Finding(
            question="private",
            name="membership_tpr_at_1pct",
            title=title,
            value=None,
            why=f"{trial.controls:,} patients whom the synthesizer never saw are too few to set a 1 % false-positive rate: "
            f"bring {intervals.controls_needed(LOW_RATES[0])} (holdout and reference together).",
            detail=trial.detail(next(iter(trial.scores))) | {"rates": [_at(trial, rate, None) for rate in LOW_RATES]},
        )
    estimates, strongest = _recognised(trial, LOW_RATES[0])
    rarely = _recognised(trial, LOW_RATES[1])[1] if trial.controls >= intervals.controls_needed(LOW_RATES[1]) else None
    attacker = max(estimates, key=lambda name: estimates[name].value)
    reference = trial.under_no_leak[:, 1]
    at_a_thousandth = (
        f"At 0.1 % it is {rarely.value:.1%}, and more than {rarely.high:.1%} is excluded."
        if rarely
        else f"At 0.1 % nothing can be told: {trial.controls:,} strangers show no rate below {share_of(3 / trial.controls)}."
    )
    return Finding(
        question="private",
        name="membership_tpr_at_1pct",
        title=title,
        value=rounded(strongest.value),
        interval=(rounded(strongest.low), rounded(strongest.high)),
        reference=rounded(float(np.median(reference))),
        reference_interval=percentiles(reference),
        why=f"The strongest of {len(estimates)} attacks ({attacker}) recognises {strongest.value:.1%} of the training patients at 1 % "
        f"false accusations; without any leak about {np.median(reference):.1%}. The data exclude more than {strongest.high:.1%}. "
        f"{at_a_thousandth}",
        detail=trial.detail(attacker)
        | {
            "attacks": {name: rounded(e.value) for name, e in estimates.items()},
            "rates": [_at(trial, rate, one) for rate, one in zip(LOW_RATES, (strongest, rarely), strict=True)],
        },
    )


def _recognised(trial: Trial, rate: float) -> tuple[dict[str, intervals.Estimate], intervals.Estimate]:
    def share(name: str, level: float) -> intervals.Estimate:
        estimate = intervals.true_positive_rate(*trial.sides(name), rate, level=level)
        assert estimate is not None  # the caller has counted the controls
        return estimate

    return trial.estimates(share)


def _at(trial: Trial, rate: float, found: intervals.Estimate | None) -> dict[str, Any]:
    """A false-positive rate, the smallest that so many controls show, and what the strongest attack reaches (None: cannot be told)."""
    value, low, high = (None, None, None) if found is None else (rounded(end) for end in found)
    return {"fpr": rate, "smallest_fpr": significant(3 / trial.controls), "tpr": value, "low": low, "high": high}


def _epsilon_finding(trial: Trial) -> Finding:
    bounds = {name: max((bound for _, bound in tail), default=0.0) for name, tail in trial.tails.items()}
    adjusted = {name: min(trial.adjusted[name], default=1.0) for name in bounds}
    attacker = min(bounds, key=lambda name: (-bounds[name], adjusted[name]))
    bound, p = rounded(bounds[attacker]), adjusted[attacker]
    blind = trial.visible is None or trial.visible > VISIBLE
    value: float | None = bound
    interval: tuple[float, float] | None = (bound, bound)
    if bound > 0:
        said = f"The most suspected patients ({attacker}) prove a leak: epsilon is at least {bound:.2f} (corrected p = {significant(p):g})."
        if blind:  # a leak this audit could only just have seen may be as large as it could have proven
            interval = (bound, max(bound, rounded(trial.ceiling)))
    elif blind:
        said, value, interval = f"Too few patients to see a leak of {share_of(VISIBLE)} of them.", None, None
    else:
        said = f"The most suspected patients prove no leak (corrected p = {significant(p):g})."
    return Finding(
        question="private",
        name="membership_epsilon",
        title="Privacy loss (epsilon) that the most suspected patients prove, at least",
        value=value,
        interval=interval,
        reference=0.0,
        reference_interval=(0.0, 0.0),
        why=f"{said} {trial.power()}",
        detail=trial.detail(attacker) | {"attacks": {name: rounded(b) for name, b in bounds.items()}},
    )


def _group_finding(trial: Trial, groups: Mapping[str, np.ndarray], isolated: np.ndarray) -> Finding:
    """The ensemble and the copies in every group. Value: the AUC that the worst group has beyond doubt."""
    every = dict(groups) | {"the most isolated tenth": isolated}
    told = {name: one for name, own in every.items() if (one := _in_group(trial, own, 1 - (1 - LEVEL) / len(every))) is not None}
    title = "Guessing who was in the training data, in the worst group of patients, beyond doubt"
    if not told:
        return Finding(
            question="private",
            name="membership_worst_group",
            title=title,
            value=None,
            why="No group has 30 training patients and 30 strangers: what befalls single groups cannot be told.",
        )
    worst = max(told, key=lambda name: told[name]["low"])
    value = max(0.5, told[worst]["low"])
    said = (
        f"{told[worst]['auc']:.1%} of pairs are told apart among {told[worst]['members']:,} training patients with {worst}, "
        if worst in groups
        else f"{told[worst]['auc']:.1%} of pairs are told apart in {worst}, "
    )
    alone = told.get("the most isolated tenth")
    lonely = (
        f" The tenth of patients farthest from all others: {alone['auc']:.1%} ({alone['low']:.1%} to {alone['high']:.1%}), with copies "
        f"of {alone['copies_train']} of {alone['members']:,} training patients and "
        f"{alone['copies_holdout']} of {alone['controls']:,} others."
        if alone
        else ""
    )
    return Finding(
        question="private",
        name="membership_worst_group",
        title=title,
        value=value,
        interval=(value, value),
        reference=0.5,
        reference_interval=(0.5, 0.5),
        why=f"Of {len(told)} groups the worst: {said}at least {value:.1%} after correction for all groups.{lonely}",
        detail={"groups": [{"group": name, **one} for name, one in sorted(told.items(), key=lambda item: -item[1]["low"])][:12]},
    )


def _in_group(trial: Trial, own: np.ndarray, level: float) -> dict[str, Any] | None:
    member, found = trial.member[own], trial.found[own]
    members, controls = int(member.sum()), int((~member).sum())
    if min(members, controls) < FEWEST:
        return None
    scores = trial.scores[ENSEMBLE][own]
    area = intervals.auc(scores[member], scores[~member], level=_level(ENSEMBLE, level))
    return {
        "members": members,
        "controls": controls,
        "auc": rounded(area.value),
        "low": rounded(area.low),
        "high": rounded(area.high),
        "copies_train": int(found[member].sum()),
        "copies_holdout": int(found[~member].sum()),
    }


def _level(name: str, level: float) -> float:
    """The level at which to ask for the interval of an attack's AUC.

    What one half of the patients taught the ensemble by chance, the other repeats: its AUC varies up to as much as that of half as many
    patients, so that its interval is widened by the root of two (of 250 cohorts of 400 without a leak, plain
    ones missed 15 %, these 3 %). Its rate at few false positives needs no widening: the exact interval missed
    1 % of 200.
    """
    return level if name != ENSEMBLE else float(2 * special.ndtr(2**0.5 * special.ndtri((1 + level) / 2)) - 1)


def _without_ties(scores: np.ndarray, seed: int, name: str) -> np.ndarray:
    """Ranks, equal scores ordered by chance: a threshold inside a tie must favour nobody."""
    ties = seeds.generator(seed, "privacy", "ties", name).random(len(scores))
    ranks = np.empty(len(scores))
    ranks[np.lexsort((ties, scores))] = np.arange(len(scores))
    return ranks
