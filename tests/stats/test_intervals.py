"""Intervals against published numbers, brute force, and the coverage that they promise."""

import math

import numpy as np
import pytest
from scipy import stats

from proband.stats import intervals


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (5, 10, 0.1871, 0.8129), (1, 20, 0.0013, 0.2487)],  # tabulated values
)
def test_clopper_pearson_gives_the_tabulated_interval(successes: int, trials: int, low: float, high: float) -> None:
    assert intervals.clopper_pearson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("successes", "trials"), [(3, 2), (-1, 5), (0, 0)])
def test_clopper_pearson_refuses_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        intervals.clopper_pearson(successes, trials)


def test_no_hit_in_either_group_still_leaves_room_for_a_difference() -> None:
    value, low, high = intervals.share_difference((0, 0), (1000, 500))
    assert value == 0
    assert high == pytest.approx(intervals.clopper_pearson(0, 1000)[1])
    assert low == pytest.approx(-intervals.clopper_pearson(0, 500)[1])


def test_the_share_difference_covers_the_truth() -> None:
    draw = np.random.default_rng(1)
    hits = draw.binomial(400, 0.04, 1000), draw.binomial(300, 0.01, 1000)
    found = [intervals.share_difference((int(a), int(b)), (400, 300)) for a, b in zip(*hits, strict=True)]
    covered = np.mean([low <= 0.03 <= high for _, low, high in found])
    assert covered >= 0.94  # 95 % less two standard errors of 1,000 runs; the method is conservative


def delong_by_hand(members: list[float], controls: list[float]) -> tuple[float, float]:
    """AUC and its variance straight from the definition: placement values of every patient."""
    wins = np.array([[1.0 if m > c else 0.5 if m == c else 0.0 for c in controls] for m in members])
    return wins.mean(), wins.mean(axis=1).var(ddof=1) / len(members) + wins.mean(axis=0).var(ddof=1) / len(controls)


@pytest.mark.parametrize(
    ("members", "controls"),
    [([3, 2, 4], [1, 2]), ([0.1, 0.4, 0.4, 0.9], [0.2, 0.4, 0.3, 0.05, 0.9])],
)
def test_auc_is_delongs(members: list[float], controls: list[float]) -> None:
    value, low, high = intervals.auc(np.array(members), np.array(controls))
    expected, variance = delong_by_hand(members, controls)
    assert value == pytest.approx(expected)
    # On the logit scale the interval is symmetric with DeLong's standard error divided by value * (1 - value).
    half = (math.log(high / (1 - high)) - math.log(low / (1 - low))) / 2
    assert half == pytest.approx(1.959964 * math.sqrt(variance) / (expected * (1 - expected)), rel=1e-5)


def test_auc_worked_by_hand() -> None:
    # Members 3, 2, 4 against controls 1, 2: of six pairs five are won and one is tied: 5.5 / 6.
    assert intervals.auc(np.array([3, 2, 4]), np.array([1, 2])).value == pytest.approx(5.5 / 6)


def test_a_perfect_auc_still_has_an_interval() -> None:
    value, low, high = intervals.auc(np.arange(10, 20), np.arange(10))
    assert (value, high) == (1, 1)
    assert low == pytest.approx(0.6915, abs=1e-4)  # ten of ten, Clopper-Pearson


def test_the_tail_rate_refuses_too_few_controls() -> None:
    scores = np.random.default_rng(0).normal(size=299)
    assert intervals.controls_needed(0.01) == 300
    assert intervals.true_positive_rate(scores, scores, 0.01) is None
    assert intervals.true_positive_rate(scores, scores, 0.02) is not None


def test_the_tail_rate_counts_strictly_above_the_threshold() -> None:
    controls = np.arange(1000)  # ten controls exceed 989
    members = np.array([989.0] * 5 + [989.5] * 5)
    rate = intervals.true_positive_rate(members, controls, 0.01)
    assert rate is not None
    assert rate.value == 0.5


def test_the_tail_rate_covers_the_truth_though_its_threshold_is_estimated() -> None:
    draw = np.random.default_rng(2)
    truth = stats.norm.sf(stats.norm.isf(0.01) - 1)  # members one standard deviation above controls
    found = [intervals.true_positive_rate(draw.normal(1, 1, 500), draw.normal(0, 1, 400), 0.01) for _ in range(300)]
    covered = [estimate.low <= truth <= estimate.high for estimate in found if estimate is not None]
    assert np.mean(covered) >= 0.92  # 95 % less two standard errors of 300 runs
    below = [estimate.high < truth for estimate in found if estimate is not None]
    assert np.mean(below) <= 0.06  # the end that is judged errs in at most 2.5 %, plus two standard errors


def test_the_band_under_no_leak_holds_by_permutation() -> None:
    draw = np.random.default_rng(5)
    low, high = intervals.no_leak_band(60, 40, np.array([4]))
    shares = []
    for _ in range(4000):
        member = draw.permutation(np.arange(100) < 60)  # highest score first
        shares.append((np.flatnonzero(~member)[3] - 3) / 60)
    inside = np.mean((low[0] <= np.array(shares)) & (np.array(shares) <= high[0]))
    assert 0.945 <= inside <= 0.985  # at least 95 % less two standard errors; a discrete band holds a little more


def test_depths_stop_at_a_quarter_of_the_pool() -> None:
    assert intervals.depths(39) == ()
    assert intervals.depths(1000) == (10, 30, 100)
    assert intervals.depths(1200) == (10, 30, 100, 300)


def test_the_top_worked_by_hand() -> None:
    # Pool of four, two members; the two highest are both members: chance 1 / 6.
    row = intervals.top_r(np.array([9, 8, 2, 1]), np.array([True, True, False, False]), np.random.default_rng(0), grid=[2])[0]
    assert (row.r, row.members, row.expected) == (2, 2, 1.0)
    assert row.p == pytest.approx(1 / 6)


def test_equal_scores_carry_no_evidence() -> None:
    member = np.arange(1000) < 500  # members first: an unfair tie-break would take them
    p = [intervals.top_r(np.zeros(1000), member, np.random.default_rng(seed), grid=[100])[0].p for seed in range(200)]
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.09


def test_holm_by_hand() -> None:
    assert intervals.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert intervals.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(("members", "odds"), [(30, 1.0), (28, 1.5), (25, 0.5)])
def test_the_epsilon_bound_is_the_largest_that_is_refuted(members: int, odds: float) -> None:
    bound = intervals.epsilon_lower_bound(members, 30, odds, error=0.05)
    assert bound > 0
    chance = odds * math.exp(bound) / (1 + odds * math.exp(bound))
    assert stats.binom.sf(members - 1, 30, chance) == pytest.approx(0.05)  # just refuted at 5 %


def test_the_epsilon_bound_worked_by_hand() -> None:
    # Ten of ten right at even odds: p^10 = .05 gives p = .7411, odds 2.863, epsilon 1.052.
    assert intervals.epsilon_lower_bound(10, 10, 1.0) == pytest.approx(1.052, abs=1e-3)
    # With twice as many members as controls, the same guesses prove less by log 2.
    assert intervals.epsilon_lower_bound(10, 10, 2.0) == pytest.approx(1.052 - math.log(2), abs=1e-3)
    assert intervals.epsilon_lower_bound(0, 10, 1.0) == 0


def test_the_epsilon_bound_seldom_exceeds_the_truth() -> None:
    draw = np.random.default_rng(3)
    chance = math.e / (1 + math.e)  # epsilon = 1, even odds
    bounds = [intervals.epsilon_lower_bound(int(right), 100, 1.0) for right in draw.binomial(100, chance, 2000)]
    assert np.mean(np.array(bounds) > 1) <= 0.06  # 5 % plus two standard errors


def test_the_ceiling_is_what_perfect_guessing_proves() -> None:
    assert intervals.epsilon_ceiling(100, 100, error=0.05) == pytest.approx(intervals.epsilon_lower_bound(30, 30, 1.0))
    assert intervals.epsilon_ceiling(10, 10, error=0.05) == 0


@pytest.mark.parametrize(("members", "controls"), [(600, 400), (1000, 1000), (5500, 3600)])
def test_the_smallest_visible_leak_is_seen_and_a_third_of_it_is_not(members: int, controls: int) -> None:
    draw, error = np.random.default_rng(4), 0.003
    smallest = intervals.smallest_visible_leak(members, controls, error=error)
    assert smallest is not None
    member = np.arange(members + controls) < members

    def seen(share: float) -> float:
        hits = 0
        for _ in range(200):
            scores = draw.random(members + controls)
            scores[: round(share * members)] += 1
            hits += min(row.p for row in intervals.top_r(scores, member, draw)) <= error
        return hits / 200

    assert seen(smallest) >= 0.72  # .8 less three standard errors; other depths only add to it
    assert seen(smallest / 3) <= 0.5


def test_no_leak_is_visible_among_a_handful() -> None:
    assert intervals.smallest_visible_leak(12, 12, error=0.01) is None
