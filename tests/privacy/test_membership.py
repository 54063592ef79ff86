"""Membership attacks on rows whose neighbours a reader can count."""

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.privacy import membership
from proband.privacy.membership import ATTACKS, Neighbourhood, attack, neighbourhood, ratio, vote
from proband.privacy.patients import gathered
from proband.schema import Column, Schema, Table
from tests.privacy.planted import bootstrap, fresh, memoriser


def near(to_real: list[list[float]], to_synthetic: list[list[float]], owner: list[int] | None = None) -> Neighbourhood:
    real, synthetic = np.array(to_real, np.float32), np.array(to_synthetic, np.float32)
    who = np.arange(len(real)) if owner is None else np.array(owner)
    patients = np.unique(who)
    return Neighbourhood(patients, patients == 0, who, real, synthetic, 10, 10)


def test_the_ratio_is_a_difference_of_logarithms() -> None:
    assert ratio(near([[2.0, 4.0]], [[1.0, 4.0]])).tolist() == pytest.approx([np.log(2)])
    assert ratio(near([[2.0, 4.0]], [[1.0, 8.0]]), 2).tolist() == pytest.approx([np.log(0.5)])


def test_an_equal_row_scores_highest_unless_another_patient_has_it_too() -> None:
    lonely, close, common = ratio(near([[3.0], [3.0], [0.0]], [[0.0], [0.3], [0.0]]))
    assert lonely > close > common
    assert common == 0


def test_the_vote_is_the_share_of_synthetic_neighbours() -> None:
    votes = vote(near([[2.0, 3.0], [5.0, 6.0]], [[1.0, 4.0], [1.0, 2.0]]))
    assert votes.tolist() == [0.5, 1.0]


def test_a_patient_is_as_exposed_as_the_most_exposed_row() -> None:
    scores = near([[1.0]] * 3, [[1.0]] * 3, owner=[0, 1, 1]).per_patient(np.array([0.1, 0.7, 0.2]))
    assert scores.tolist() == [0.1, 0.7]


def test_several_rows_of_a_patient_count_as_one_target_and_are_not_their_own_neighbours() -> None:
    schema = Schema(tables=(Table(name="v", key="id", columns=(Column(name="id", kind="identifier"), Column(name="x", kind="number"))),))

    def visits(names: str, start: float) -> Cohort:
        rows = [(name, start + 10 * number + visit / 100) for number, name in enumerate(names) for visit in range(3)]
        return Cohort(schema, pl.DataFrame(rows, schema={"id": pl.String, "x": pl.Float64}, orient="row"))

    train, holdout = visits("abcd", 0), visits("efgh", 5)
    real = gathered(train.frame, train, holdout)
    found = neighbourhood(real, train.frame, seed=0)
    assert len(found.patients) == 8
    assert found.member.tolist() == [True] * 4 + [False] * 4
    assert (found.to_real[:, 0] > 0.1).all()  # the patient's own visits, a hundredth away, are passed over
    assert all(len(scores) == 8 for scores in attack(found).values())


def test_large_cohorts_are_drawn_down_to_balanced_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "QUERY_ROWS", 100)
    monkeypatch.setattr(membership, "REAL_ROWS", 300)
    evidence = fresh(0)
    real = gathered(evidence.synthetic.frame, evidence.train, evidence.holdout, evidence.reference)
    found = neighbourhood(real, evidence.synthetic.frame, seed=0)
    assert (len(found.patients), int(found.member.sum()), found.real_rows) == (100, 50, 300)
    again = neighbourhood(real, evidence.synthetic.frame, seed=0)
    np.testing.assert_array_equal(found.to_synthetic, again.to_synthetic)


def top_members(scores: np.ndarray, member: np.ndarray, count: int) -> int:
    return int(member[np.argsort(-scores, kind="stable")[:count]].sum())


@pytest.mark.parametrize("name", list(ATTACKS))
def test_every_attack_sees_a_bootstrap_and_none_sees_strangers(name: str) -> None:
    def area(evidence) -> float:  # type: ignore[no-untyped-def]
        found = neighbourhood(
            gathered(evidence.synthetic.frame, evidence.train, evidence.holdout, evidence.reference), evidence.synthetic.frame, seed=1
        )
        scores = attack(found)[name]
        members, controls = scores[found.member], scores[~found.member]
        return float((members[:, None] > controls[None]).mean() + 0.5 * (members[:, None] == controls[None]).mean())

    assert area(bootstrap(1)) > 0.55  # the vote and 20 neighbours dilute one copy; the ratio of nearest neighbours gives .8
    assert abs(area(fresh(1)) - 0.5) < 0.056  # three standard errors with 600 members and 400 controls


def test_the_ratio_puts_copied_patients_on_top() -> None:
    evidence = memoriser(2, 0.01)
    real = gathered(evidence.synthetic.frame, evidence.train, evidence.holdout, evidence.reference)
    found = neighbourhood(real, evidence.synthetic.frame, seed=2)
    assert top_members(attack(found)["nearest neighbour ratio"], found.member, 6) == 6


def test_rows_that_coincide_anyway_give_no_top_score() -> None:
    evidence = fresh(3, kind="coincident")
    real = gathered(evidence.synthetic.frame, evidence.train, evidence.holdout, evidence.reference)
    found = neighbourhood(real, evidence.synthetic.frame, seed=3)
    scores = ratio(found)
    usual = (found.to_real[:, 0] == 0) & (found.to_synthetic[:, 0] == 0)
    assert usual.sum() > 300  # most rows have a twin in reality and in the fresh sample
    assert (scores[usual] == 0).all()
