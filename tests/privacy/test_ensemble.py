"""The ensemble: it learns which attack works, never from the patient whom it scores, and finds nothing where there is nothing."""

import numpy as np
import pytest

from proband.privacy.ensemble import Ensemble
from proband.stats.intervals import auc
from proband.validate.membership import ENSEMBLE, _level

MEMBER = np.arange(800) < 400


def scores(draw: np.random.Generator, leak: float) -> dict[str, np.ndarray]:
    """One attack that sees members, one that sees nothing, one that is wrong."""
    return {
        "good": draw.normal(size=800) + leak * MEMBER,
        "blind": draw.normal(size=800),
        "wrong": draw.normal(size=800) - leak * MEMBER,
    }


def area(found: np.ndarray, member: np.ndarray = MEMBER) -> float:
    return auc(found[member], found[~member]).value


def test_it_beats_the_mean_rank_and_the_best_attack() -> None:
    attacks = scores(np.random.default_rng(0), leak=0.7)
    found = area(Ensemble(attacks, seed=0)(MEMBER))
    assert found > area(attacks["good"]) + 0.02  # the wrong one, turned round, is as good again
    assert abs(area(sum(attacks.values())) - 0.5) < 0.06  # type: ignore[arg-type]


def test_a_patient_is_never_scored_by_what_the_own_half_taught() -> None:
    ensemble = Ensemble(scores(np.random.default_rng(1), leak=0.5), seed=1)
    one, other = ensemble(MEMBER), ensemble(MEMBER ^ ensemble.half)
    np.testing.assert_array_equal(one[ensemble.half], other[ensemble.half])
    assert (one[~ensemble.half] != other[~ensemble.half]).any()


@pytest.mark.parametrize("patients", [20, 21])
def test_scores_are_ranks_each_once(patients: int) -> None:
    draw = np.random.default_rng(2)
    found = Ensemble({"a": draw.normal(size=patients), "b": np.zeros(patients)}, seed=2)(np.arange(patients) < 9)
    assert sorted(found.tolist()) == list(range(patients))


def test_each_half_alone_is_a_fair_test_where_nothing_leaks() -> None:
    """Within a half, given what the other taught, members are anybody: the top 20 hold as many as chance puts there."""
    draw, hits = np.random.default_rng(3), []
    for seed in range(150):
        ensemble = Ensemble({name: draw.normal(size=200) for name in "abcd"}, seed=seed)
        member = draw.permutation(200) < 100
        for side in (ensemble.half, ~ensemble.half):
            top = np.flatnonzero(side)[np.argsort(-ensemble(member)[side])[:20]]
            hits.append(member[top].mean() - member[side].mean())
    assert abs(np.mean(hits)) < 0.02  # 300 means of 20: a standard error of .006


def test_its_interval_misses_as_seldom_as_it_says() -> None:
    """Half of the patients repeat what chance taught the other half; an interval for independent ones misses one in seven."""
    draw, missed = np.random.default_rng(4), 0
    for seed in range(150):
        common, member = draw.normal(size=200), draw.permutation(200) < 100
        attacks = {name: 0.6 * common + draw.normal(size=200) for name in "abcdefgh"}
        found = Ensemble(attacks, seed=seed)(member)
        interval = auc(found[member], found[~member], level=_level(ENSEMBLE, 0.95))
        missed += not interval.low <= 0.5 <= interval.high
    assert missed <= 14  # 7.5 expected; as many as 15 once in a hundred
