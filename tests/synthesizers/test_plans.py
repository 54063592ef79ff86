"""Plans: how often, how high and which way."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from proband.encode.sequences import Steps
from proband.synthesizers import plans


def test_a_plan_is_the_count_the_mean_and_the_later_half_less_the_earlier():
    """Two variables of three levels each, whose scores are -1, 0 and 1; tokens are 0 (not measured), 1, 2, 3."""
    scores = torch.tensor([0.0, -1, 0, 1] * 2)
    net = SimpleNamespace(score=scores, steps=SimpleNamespace(starts=torch.tensor([0, 0, 4])), variables=2)
    tokens = np.array([[1, 1, 0], [1, 2, 3], [1, 3, 0], [1, 1, 1], [1, 3, 1], [1, 2, 0]])
    plan = plans.of(net, Steps(np.array([0, 0, 0, 2, 2, 2]), tokens, np.arange(6.0)), 3).numpy()  # type: ignore[arg-type]
    nan = np.nan
    assert plan[0] == pytest.approx(np.array([[3, 0, 2], [1, 1, nan]]), nan_ok=True)  # -1, 0, 1; once
    assert plan[1] == pytest.approx(np.array([[0, nan, nan]] * 2), nan_ok=True)
    assert plan[2] == pytest.approx(np.array([[3, 0, 1], [2, -1, 0]]), nan_ok=True)  # -1, 1, 0; the same twice
