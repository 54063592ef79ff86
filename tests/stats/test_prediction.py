import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from proband.stats.classifiers import CLASSIFIERS
from proband.stats.prediction import average_precision, brier, calibration_slope


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
