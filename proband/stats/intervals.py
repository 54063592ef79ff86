"""How far a number can be trusted: exact binomial intervals, AUC, the tail of a ROC curve, and what an attack proves about epsilon.

Scores come as two arrays, `members` and `controls` (non-members); a higher score says "member".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats


class Estimate(NamedTuple):
    """A value with its confidence interval."""

    value: float
    low: float
    high: float


class TailRow(NamedTuple):
    """The `r` highest scores: how many were members, how many chance would put there, and the chance of as many or more."""

    r: int
    members: int
    expected: float
    p: float


def clopper_pearson(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """The exact binomial interval (low, high) of a share.

    Clopper and Pearson, Biometrika 1934. With no successes the upper end is about 3.7 / trials, the reason why
    small cohorts cannot show a small leak.

    >>> [round(end, 4) for end in clopper_pearson(0, 10)]
    [0.0, 0.3085]
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes in {trials} trials: give 0 <= successes <= trials and at least one trial")
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(special.betaincinv(successes, trials - successes + 1, tail))
    high = 1.0 if successes == trials else float(special.betaincinv(successes + 1, trials - successes, 1 - tail))
    return low, high


def wilson(successes: int, trials: int, *, level: float = 0.95) -> Estimate:
    """A share with its score interval: near its level on average, and shorter than the exact one (Wilson, JASA 1927).

    >>> [round(end, 3) for end in wilson(5, 10)]
    [0.5, 0.237, 0.763]
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes in {trials} trials: give 0 <= successes <= trials and at least one trial")
    z, share = float(stats.norm.ppf((1 + level) / 2)), successes / trials
    middle = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


def share_difference(successes: tuple[int, int], trials: tuple[int, int], *, level: float = 0.95) -> Estimate:
    """The first share minus the second, with an interval recovered from the two Clopper-Pearson intervals.

    Newcombe's way (Statistics in Medicine 1998, method 10) with exact intervals in the place of Wilson's, so that no hit
    among n patients still leaves an upper end of about 3.7 / n.
    """
    first, second = successes[0] / trials[0], successes[1] / trials[1]
    low_first, high_first = clopper_pearson(successes[0], trials[0], level=level)
    low_second, high_second = clopper_pearson(successes[1], trials[1], level=level)
    value = first - second
    return Estimate(
        value,
        max(-1.0, value - math.hypot(first - low_first, high_second - second)),
        min(1.0, value + math.hypot(high_first - first, second - low_second)),
    )


def auc(members: np.ndarray, controls: np.ndarray, *, level: float = 0.95) -> Estimate:
    """The chance that a member scores above a control (ties count half), with DeLong's interval on the logit scale.

    DeLong et al., Biometrics 1988, by mid-ranks (Sun and Xu 2014): O(n log n). A perfect separation has no DeLong variance;
    its interval is the exact one of the smaller group, all of whose patients were told apart.
    """
    members, controls = np.asarray(members, float), np.asarray(controls, float)
    m, n = len(members), len(controls)
    if m < 2 or n < 2:
        raise ValueError(f"{m} members and {n} controls: an AUC with an interval needs at least two of each")
    together = stats.rankdata(np.concatenate([members, controls]))
    # The share of controls below each member, and of members above each control.
    below = (together[:m] - stats.rankdata(members)) / n
    above = 1 - (together[m:] - stats.rankdata(controls)) / m
    value = float(below.mean())
    variance = below.var(ddof=1) / m + above.var(ddof=1) / n
    if variance <= 0 or not 0 < value < 1:
        exact = clopper_pearson(round(value * min(m, n)), min(m, n), level=level)
        return Estimate(value, min(exact[0], value), max(exact[1], value))
    width = float(special.ndtri((1 + level) / 2)) * math.sqrt(variance) / (value * (1 - value))
    middle = special.logit(value)
    return Estimate(value, float(special.expit(middle - width)), float(special.expit(middle + width)))


def controls_needed(false_positive_rate: float) -> int:
    """The fewest controls that can speak about a false-positive rate: none above the threshold among n only shows a rate below 3 / n."""
    return math.ceil(3 / false_positive_rate - 1e-9)


def true_positive_rate(members: np.ndarray, controls: np.ndarray, false_positive_rate: float, *, level: float = 0.95) -> Estimate | None:
    """The share of members above the threshold that `false_positive_rate` of the controls exceed; None with too few controls.

    The interval knows that the threshold was read off a sample: with n controls, Binomial(n, rate) of them lie above the true
    threshold. Each possible count j puts it beside the j-th highest control, and gives the Clopper-Pearson distribution of the
    rate among members there; the ends are quantiles of the mixture over j.
    """
    n, m = len(controls), len(members)
    if n < controls_needed(false_positive_rate):
        return None
    falling, rising = np.sort(controls)[::-1], np.sort(members)
    above = np.append(m - np.searchsorted(rising, falling, side="right"), m)  # members strictly above the j-th highest control, then all
    j = np.arange(n + 1)
    weight = stats.binom.pmf(j, n, false_positive_rate)
    j, weight = j[weight > 1e-9], weight[weight > 1e-9]
    tail = (1 - level) / 2

    def low_excess(rate: float) -> float:  # the true threshold is at most as strict as the j-th control
        fewest = np.where(j > 0, above[j - 1], 0)
        return float(weight @ np.where(fewest > 0, special.betainc(np.maximum(fewest, 1), m - fewest + 1, rate), 1.0)) - tail

    def high_excess(rate: float) -> float:  # and at least as strict as the next one
        most = above[j]
        return float(weight @ np.where(most < m, special.betainc(most + 1, np.maximum(m - most, 1), rate), 0.0)) - (1 - tail)

    low = 0.0 if low_excess(0.0) >= 0 else float(optimize.brentq(low_excess, 0.0, 1.0))
    high = 1.0 if high_excess(1.0) <= 0 else float(optimize.brentq(high_excess, 0.0, 1.0))
    value = above[math.floor(false_positive_rate * n + 1e-9)] / m
    return Estimate(value, min(low, value), max(high, value))


def no_leak_band(members: int, controls: int, rank: np.ndarray, *, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Ends (low, high) of the share of members above the `rank`-th highest control (1 is the highest) when all score alike.

    The number of members above it is then beta-binomial (members, rank, controls - rank + 1), so the band is exact at each point.
    """
    counts, tail = np.arange(members + 1), (1 - level) / 2
    ends = []
    for j in rank:
        below = np.cumsum(stats.betabinom.pmf(counts, members, j, controls - j + 1))
        ends.append(np.searchsorted(below, [tail, 1 - tail - 1e-12]))
    low, high = np.minimum(np.array(ends).reshape(-1, 2).T, members) / members
    return low, high


def depths(pool: int) -> tuple[int, ...]:
    """The depths r at which the top of `pool` scores is looked at: 10, 30, 100, ... up to a quarter, declared before any score is seen."""
    grid = (10, 30, 100, 300, 1_000, 3_000, 10_000)
    return tuple(r for r in grid if r <= pool / 4)


def top_r(scores: np.ndarray, member: np.ndarray, ties: np.random.Generator, *, grid: Sequence[int] | None = None) -> list[TailRow]:
    """Members among the r highest scores, for every depth of `grid`, with the exact (hypergeometric) chance of as many under no leak.

    `member` is a boolean array beside `scores`. Ties are broken by chance, so that equal scores carry no evidence.
    """
    member = np.asarray(member, bool)
    grid = depths(len(scores)) if grid is None else grid
    order = np.lexsort((ties.random(len(scores)), -np.asarray(scores)))
    found = np.cumsum(member[order])
    pool, members = len(member), int(member.sum())
    return [TailRow(r, int(found[r - 1]), r * members / pool, float(stats.hypergeom.sf(found[r - 1] - 1, pool, members, r))) for r in grid]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted so that the chance of any false alarm stays below the level, in the order given. Holm, 1979.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    raised = np.asarray(p_values, float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(raised))
    return adjusted.tolist()


def epsilon_lower_bound(members: int, r: int, prior_odds: float, *, error: float = 0.05) -> float:
    """The largest epsilon that the guesses refute: "this mechanism is epsilon-private" is then wrong with confidence 1 - error.

    Of `r` guesses "member", `members` were right; `prior_odds` = members / controls in the pool. Under epsilon, each guess is right
    with probability at most odds * e^epsilon / (1 + odds * e^epsilon), and the number of right guesses is below a binomial with
    it (Steinke, Nasr and Jagielski, NeurIPS 2023, theorem 5.2, with unequal odds). 0 when nothing is refuted.

    >>> round(epsilon_lower_bound(30, 30, 1.0), 2), epsilon_lower_bound(16, 30, 1.0)
    (2.25, 0.0)
    """
    if members == 0:
        return 0.0
    # The smallest chance of success under which as many right guesses are not yet surprising.
    least = float(special.betaincinv(members, r - members + 1, error))
    return max(0.0, math.log(least / (1 - least) / prior_odds))


def epsilon_ceiling(members: int, controls: int, *, error: float) -> float:
    """The largest epsilon that even perfect guessing could prove with so many patients: what this audit could never have seen beyond."""
    return max(
        (epsilon_lower_bound(r, r, members / controls, error=error) for r in depths(members + controls) if r <= members), default=0.0
    )


def smallest_visible_leak(members: int, controls: int, *, error: float, power: float = 0.8) -> float | None:
    """The smallest share of members, wholly given away, that `top_r` reports with probability `power`; None when no share would be.

    Given-away patients fill the top; the rest of each depth r is filled by chance. `error` is the level after correction.
    """
    pool, best = members + controls, None
    for r in depths(pool):
        leaked = np.arange(0, min(r, members) + 1)
        by_chance = np.arange(0, r + 1)
        significant = by_chance[stats.hypergeom.sf(by_chance - 1, pool, members, r) <= error]
        if len(significant) == 0:
            continue
        needed = significant[0] - leaked
        reached = stats.hypergeom.sf(needed - 1, pool - leaked, members - leaked, r - leaked)
        enough = leaked[reached >= power]
        if len(enough) and (best is None or enough[0] < best):
            best = int(enough[0])
    return None if best is None else best / members
