"""Membership attacks on rows whose neighbours a reader can count."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.privacy import patients
from proband.privacy.membership import ATTACKS, Neighbourhood, attack, influence, neighbourhood, ratio, vote
from proband.privacy.patients import Attacked, attacked, gathered
from proband.schema import Column, Schema, Table
from proband.stats.intervals import auc
from proband.validate.findings import Evidence
from tests.privacy.planted import bootstrap, fresh, memoriser


def attacked_by(evidence: Evidence, seed: int = 1) -> Attacked:
    real = gathered(evidence.synthetic.frame, evidence.train, evidence.holdout, evidence.reference)
    return attacked(real, evidence.synthetic.frame, seed=seed)


def near(
    to_real: list[list[float]], to_synthetic: list[list[float]], between: float = 1.0, owner: list[int] | None = None
) -> Neighbourhood:
    """Rows whose distances are given; what they hold does not matter."""
    real, synthetic = np.array(to_real, np.float32), np.array(to_synthetic, np.float32)
    who = np.arange(len(real)) if owner is None else np.array(owner)
    target = replace(attacked_by(fresh(0, (30, 20, 20))), owner=who, patients=np.unique(who))
    return Neighbourhood(target, real, synthetic, np.full((len(real), synthetic.shape[1], real.shape[1]), between, np.float32))


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


def test_a_synthetic_row_tells_most_where_nobody_else_explains_it() -> None:
    explained, unexplained = (influence(near([[1.0]], [[0.1]], between))[0] for between in (0.1, 1.0))
    far = influence(near([[1.0]], [[1.0]], 1.0))[0]
    assert unexplained > explained > far - 1e-9


def test_a_patient_is_as_exposed_as_the_most_exposed_row() -> None:
    scores = near([[1.0]] * 3, [[1.0]] * 3, owner=[0, 1, 1]).attacked.per_patient(np.array([0.1, 0.7, 0.2]))
    assert scores.tolist() == [0.1, 0.7]


def test_several_rows_of_a_patient_count_as_one_target_and_are_not_their_own_neighbours() -> None:
    schema = Schema(tables=(Table(name="v", key="id", columns=(Column(name="id", kind="identifier"), Column(name="x", kind="number"))),))

    def visits(names: str, start: float) -> Cohort:
        rows = [(name, start + 10 * number + visit / 100) for number, name in enumerate(names) for visit in range(3)]
        return Cohort(schema, pl.DataFrame(rows, schema={"id": pl.String, "x": pl.Float64}, orient="row"))

    train, holdout = visits("abcd", 0), visits("efgh", 5)
    real = gathered(train.frame, train, holdout)
    target = attacked(real, train.frame, seed=0)
    found = neighbourhood(target)
    assert len(target.patients) == 8
    assert target.member.tolist() == [True] * 4 + [False] * 4
    assert (found.to_real[:, 0] > 0.1).all()  # the patient's own visits, a hundredth away, are passed over
    assert all(len(scores) == 8 for scores in attack(found).values())


def test_large_cohorts_are_drawn_down_to_balanced_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patients, "QUERY_ROWS", 100)
    monkeypatch.setattr(patients, "REAL_ROWS", 300)
    target = attacked_by(fresh(0))
    assert (len(target.patients), int(target.member.sum()), len(target.theirs)) == (100, 50, 300)
    np.testing.assert_array_equal(neighbourhood(target).to_synthetic, neighbourhood(attacked_by(fresh(0))).to_synthetic)


@pytest.fixture(scope="module")
def scored() -> dict[str, tuple[Attacked, dict[str, np.ndarray]]]:
    targets = {"bootstrap": attacked_by(bootstrap(1)), "strangers": attacked_by(fresh(1))}
    return {name: (target, attack(neighbourhood(target))) for name, target in targets.items()}


@pytest.mark.parametrize("name", list(ATTACKS))
def test_every_attack_sees_a_bootstrap_and_none_sees_strangers(name: str, scored: dict) -> None:  # type: ignore[type-arg]
    def area(kind: str) -> float:
        target, scores = scored[kind]
        return auc(scores[name][target.member], scores[name][~target.member]).value

    assert area("bootstrap") > 0.54  # most attacks dilute one copy among many rows; the ratio of nearest neighbours gives .8
    assert abs(area("strangers") - 0.5) < 0.056  # three standard errors with 600 members and 400 controls


def test_no_attack_looks_at_who_is_a_member() -> None:
    """The same people with the roles exchanged score the same; the classifier, which splits them by chance, is left to its own test."""
    evidence = fresh(2, (200, 100, 100))
    there = gathered(evidence.synthetic.frame, evidence.train, evidence.holdout)
    back = gathered(evidence.synthetic.frame, evidence.holdout, evidence.train)
    one, other = (attack(neighbourhood(attacked(real, evidence.synthetic.frame, seed=3))) for real in (there, back))
    for name in set(ATTACKS) - {"classifier"}:
        np.testing.assert_allclose(one[name], np.roll(other[name], 200), atol=1e-5, err_msg=name)


def test_the_ratio_puts_copied_patients_on_top() -> None:
    target = attacked_by(memoriser(2, 0.01), seed=2)
    scores = attack(neighbourhood(target))["nearest neighbour ratio"]
    assert target.member[np.argsort(-scores, kind="stable")[:6]].all()


def test_rows_that_coincide_anyway_give_no_top_score() -> None:
    found = neighbourhood(attacked_by(fresh(3, kind="coincident"), seed=3))
    scores = ratio(found)
    usual = (found.to_real[:, 0] == 0) & (found.to_synthetic[:, 0] == 0)
    assert usual.sum() > 300  # most rows have a twin in reality and in the fresh sample
    assert (scores[usual] == 0).all()
