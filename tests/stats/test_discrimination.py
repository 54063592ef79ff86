import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from proband.stats.discrimination import auc, discriminate, roc, told_by


def test_auc_counts_pairs_and_ties_half() -> None:
    assert auc(np.array([1.0, 1.0]), np.array([0, 1])) == 0.5
    assert np.isnan(auc(np.array([1.0, 2.0]), np.array([1, 1])))
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 10, 200), rng.integers(0, 2, 200)
    assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_roc_runs_from_corner_to_corner_and_its_area_is_the_auc() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 2000)
    scores = rng.normal(size=2000) + labels
    fpr, tpr = roc(scores, labels)
    assert (fpr[0], fpr[-1], tpr[-1]) == (0, 1, 1) and (np.diff(tpr) >= 0).all()
    assert np.trapezoid(tpr, fpr) == pytest.approx(auc(scores, labels), abs=0.01)


def two_tables(shift: float, rows: int = 600) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    values, labels = rng.normal(size=(2 * rows, 4)), np.repeat([1, 0], rows)
    values[:rows, 2] += shift
    values[rng.random(values.shape) < 0.1] = np.nan
    return values, labels


def test_the_same_population_cannot_be_told_apart_and_a_shifted_column_is_named() -> None:
    values, labels = two_tables(0.0)
    same = discriminate(values, labels, np.arange(len(labels)), seed=0)
    assert 0.45 < auc(same.scores, labels) < 0.55  # three standard errors of an AUC with 600 rows a side
    values, labels = two_tables(2.0)
    other = discriminate(values, labels, np.arange(len(labels)), seed=0, importance=True)
    assert auc(other.scores, labels) > 0.85
    assert other.importance is not None and other.importance.argmax() == 2


def test_a_patient_is_never_judged_by_a_model_that_saw_another_of_their_rows() -> None:
    # Ten equal rows a patient and labels by patient: rows split at random would be recognised perfectly.
    rng = np.random.default_rng(3)
    values = np.repeat(rng.normal(size=(60, 5)), 10, axis=0)
    labels, patients = np.repeat(rng.integers(0, 2, 60), 10), np.repeat(np.arange(60), 10)
    apart = discriminate(values, labels, patients, seed=0)
    mixed = discriminate(values, labels, np.arange(600), seed=0)
    assert auc(mixed.scores, labels) > 0.95
    assert auc(apart.scores, labels) < 0.8


def test_the_same_seed_gives_the_same_scores() -> None:
    values, labels = two_tables(0.5, rows=100)
    one, other = (discriminate(values, labels, np.arange(200), seed=4, importance=True) for _ in range(2))
    assert (one.scores == other.scores).all() and (one.importance == other.importance).all()


def test_a_judge_of_codes_finds_what_one_side_alone_has() -> None:
    codes = np.concatenate([np.tile([0, 1], 500), np.tile([1, 2], 500)])
    assert told_by(codes, 1000) == pytest.approx(7 / 8)  # half of each side is told for sure; of the shared code nothing: 3/4 + 1/2 * 1/4


def test_a_judge_of_codes_can_only_guess_where_there_is_no_difference() -> None:
    codes = np.random.default_rng(0).integers(0, 50, 8_000)
    assert abs(told_by(codes, 4_000) - 0.5) < 0.025  # two standard errors of an AUC of 4,000 against 4,000 are .013
    assert told_by(np.zeros(10, int), 5) == 0.5


def test_a_column_without_any_value_tells_nothing_and_is_no_fault() -> None:
    values = np.column_stack([np.tile([0.0, 1.0], 100), np.full(200, np.nan)])
    judged = discriminate(values, np.tile([0, 1], 100), np.arange(200), seed=0, trees=5)
    assert auc(judged.scores, np.tile([0, 1], 100)) == 1.0
