import numpy as np
import pytest

from proband.stats.classifiers import CLASSIFIERS


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_column_without_any_value_is_no_fault(name: str) -> None:
    outcome = np.tile([0, 1], 100)
    values = np.column_stack([outcome.astype(float), np.full(200, np.nan)])
    probability = CLASSIFIERS[name](values, outcome, values, np.zeros(2, bool))
    assert probability[outcome == 1].min() > 0.9 > 0.1 > probability[outcome == 0].max()
