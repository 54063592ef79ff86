import numpy as np
import polars as pl
import pytest

from proband.errors import InputError
from proband.uses.features import Features, folds, met, owners, tied
from tests.uses.patients import SCHEMA, ward


def test_numbers_stay_levels_are_coded_by_frequency_and_missing_is_nan() -> None:
    cohort = ward(4).take([])
    frame = pl.DataFrame(
        {
            "id": ["a", "b", "c"], "age": [30, 40, 50], "sex": ["M", "M", "F"], "lactate": [1.5, None, 2.0],
            "unit": ["south", None, "south"], "died": [True, False, None], "alive": [False, True, None],
        }
    )  # fmt: skip
    train = type(cohort)(SCHEMA, cohort.frame.vstack(frame.cast(dict(cohort.frame.schema))))  # type: ignore[arg-type]
    features = Features(train, target=["died"])
    assert [c.name for c in features.columns] == ["age", "sex", "lactate", "unit"]  # no identifier, no target, nor what a rule makes of it
    assert features.levels.tolist() == [False, True, False, True]
    expected = [[30, 0, 1.5, 0], [40, 0, np.nan, np.nan], [50, 1, 2.0, 0]]
    assert np.array_equal(features(train.frame), expected, equal_nan=True)
    assert np.array_equal(met("died = 'yes' AND age > 20", train), [1, 0, np.nan], equal_nan=True)


def test_what_a_rule_ties_to_the_target_goes_with_it() -> None:
    assert tied(SCHEMA, ["died"]) == {"died", "alive"} == tied(SCHEMA, ["alive"])
    assert tied(SCHEMA, ["age"]) == {"age"}


def test_nothing_left_to_predict_from_is_refused() -> None:
    with pytest.raises(InputError, match="No column is left"):
        Features(ward(10), target=["age", "sex", "lactate", "unit", "died"])


def test_all_rows_of_a_patient_fall_into_one_fold() -> None:
    cohort = ward(30)
    twice = type(cohort)(cohort.schema, pl.concat([cohort.frame, cohort.frame]))
    fold = folds(owners(twice), 3, np.random.default_rng(0))
    assert (fold[:30] == fold[30:]).all()
    assert np.bincount(fold).tolist() == [20, 20, 20]
