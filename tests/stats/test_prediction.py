import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from proband.stats.classifiers import CLASSIFIERS, Classifier, random_trees
from proband.stats.discrimination import auc
from proband.stats.prediction import (
    average_precision,
    brier,
    calibration_intercept,
    calibration_line,
    calibration_slope,
    log_odds,
    prior_shift,
    rankings,
    risks,
    youden_threshold,
)


def predictions(n: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    odds = rng.normal(-0.5, 1.5, n)
    return odds, 1 / (1 + np.exp(-odds)), (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(int)


def test_brier_is_the_mean_squared_error() -> None:
    assert brier(np.array([1.0, 0.0, 0.5]), np.array([1, 1, 1])) == pytest.approx((0 + 1 + 0.25) / 3)


def test_average_precision_as_sklearn_has_it() -> None:
    rng = np.random.default_rng(1)
    outcomes, scores = rng.integers(0, 2, 300), rng.integers(0, 20, 300) / 20
    assert average_precision(scores, outcomes) == pytest.approx(average_precision_score(outcomes, scores))
    assert np.isnan(average_precision(scores, np.zeros(300)))


@pytest.mark.parametrize(("stretch", "slope"), [(1.0, 1.0), (2.0, 0.5), (-1.0, -1.0)])
def test_calibration_slope_undoes_a_stretch_of_the_log_odds(stretch: float, slope: float) -> None:
    odds, _, outcomes = predictions()
    # The standard error of the slope is about 0.02 with 20,000 patients.
    assert calibration_slope(1 / (1 + np.exp(-stretch * odds)), outcomes) == pytest.approx(slope, abs=0.06)


def test_calibration_slope_of_predictions_that_say_nothing_is_unknown() -> None:
    assert np.isnan(calibration_slope(np.full(10, 0.3), np.array([0, 1] * 5)))


def test_the_calibration_line_mends_what_was_bent() -> None:
    odds, right, outcomes = predictions()
    bent = risks(2 * odds - 1)  # too extreme, and too low
    intercept, slope = calibration_line(bent, outcomes)
    # Standard errors with 20,000 patients are about 0.02.
    assert (intercept, slope) == pytest.approx((0.5, 0.5), abs=0.06)
    assert risks(intercept + slope * log_odds(bent)) == pytest.approx(right, abs=0.02)


def test_near_perfect_predictions_do_not_upset_the_calibration_line() -> None:
    """Cases and others far apart: full Newton steps jump to and fro and end upside down."""
    rng = np.random.default_rng(3)
    outcomes = (np.arange(3000) < 60).astype(int)
    odds = rng.normal(np.where(outcomes, 4.0, -9.0), 2.5)
    assert 0.5 < calibration_line(risks(odds), outcomes)[1] < 5
    assert calibration_line(np.where(outcomes, 0.9, 0.1), outcomes)[1] == 5


@pytest.mark.parametrize("added", [0.0, -2.0, 1.0])
def test_calibration_intercept_is_what_the_log_odds_lack(added: float) -> None:
    odds, _, outcomes = predictions()
    assert calibration_intercept(risks(odds + added), outcomes) == pytest.approx(-added, abs=0.06)  # as above
    assert np.isnan(calibration_intercept(risks(odds), np.ones(len(odds))))


def test_prior_shift_takes_risks_back_to_the_true_share_of_cases() -> None:
    # Bayes by hand: 8 of 10 cases and 2 of 10 others show a sign. It means 0.8 where every second is a case, 0.5 where one in five is.
    assert prior_shift(np.array([0.8]), learned=0.5, true=0.2) == pytest.approx([0.5])
    assert prior_shift(np.array([0.1, 0.7]), learned=0.3, true=0.3) == pytest.approx([0.1, 0.7])


def test_youden_takes_the_threshold_that_parts_best() -> None:
    assert youden_threshold(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 0, 1, 1])) == 0.3
    assert youden_threshold(np.array([0.1, 0.2, 0.2, 0.4, 0.5]), np.array([0, 0, 1, 1, 1])) == 0.4  # 0.2 would call a healthy one ill


def test_rankings_of_samples_are_those_of_their_rows() -> None:
    rng = np.random.default_rng(4)
    outcomes, scores = rng.integers(0, 2, 200), rng.integers(0, 15, 200) / 15
    samples = [np.arange(200), *rng.integers(200, size=(3, 200))]
    auroc, precision = rankings(scores, outcomes, np.array([np.bincount(rows, minlength=200) for rows in samples]))
    assert auroc == pytest.approx([auc(scores[rows], outcomes[rows]) for rows in samples])
    assert precision == pytest.approx([average_precision(scores[rows], outcomes[rows]) for rows in samples])
    assert np.isnan(rankings(scores, np.zeros(200), np.ones((1, 200)))).all()


@pytest.mark.parametrize("fit", [*CLASSIFIERS.values(), random_trees])
def test_a_row_of_weight_three_counts_as_three_rows(fit: Classifier) -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(400, 2))
    outcome = (rng.random(400) < risks(values[:, 0])).astype(int)
    plain = fit(values, outcome, values, np.zeros(2, bool))
    heavy = fit(values, outcome, values, np.zeros(2, bool), np.where(outcome, 3.0, 1.0))
    # Odds times 3, where a forest's leaves are pure enough only roughly.
    assert np.median(log_odds(heavy) - log_odds(plain)) == pytest.approx(np.log(3), abs=0.35)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_find_a_level_a_number_and_a_missing_value(name: str) -> None:
    rng = np.random.default_rng(2)
    number, level = rng.normal(size=2000), rng.integers(0, 3, 2000).astype(float)
    missing = rng.random(2000) < 0.3
    odds = 1.5 * np.where(missing, 1.5, number) + np.array([-1, 0, 1])[level.astype(int)]
    outcome = (rng.random(2000) < 1 / (1 + np.exp(-odds))).astype(int)
    values = np.column_stack([np.where(missing, np.nan, number), level])
    fit, test = slice(0, 1200), slice(1200, None)
    found = CLASSIFIERS[name](values[fit], outcome[fit], values[test], np.array([False, True]))
    best = 1 / (1 + np.exp(-odds[test]))
    assert brier(found, outcome[test]) < brier(best, outcome[test]) + 0.02  # a fifth of what knowing nothing costs


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_one_class_gives_its_rate(name: str) -> None:
    values = np.arange(6.0)[:, None]
    assert CLASSIFIERS[name](values, np.ones(6), values[:2], np.array([False])).tolist() == [1, 1]
