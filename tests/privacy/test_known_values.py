"""An attacker who knows three measurements: the score of a patient on paper, and who is attacked where there are too many."""

import numpy as np
import pytest

from proband.privacy.known_values import known_values
from proband.stats.sequences import Events


def history(patient: list[int], value: list[float], patients: int) -> Events:
    """Events of two variables in turn, without times that matter."""
    n = len(patient)
    return Events(np.array(patient), np.arange(n, dtype=float), np.arange(n) % 2, np.array(value), patients, ("x", "y"))


def test_the_score_is_the_share_of_synthetic_patients_who_hold_all_three_against_that_of_other_real_ones() -> None:
    """Patients 0 and 1 have x = 1, y = 1 and x = 2, and so have both synthetic ones; patient 2 has x = 1 twice and y = 5, which are two."""
    mine = [1.0, 1, 2, np.nan]
    real = history([0] * 4 + [1] * 4 + [2] * 4, [*mine, *mine, 1, 5, 1, 5], 3)
    score = known_values(real, history([0] * 4 + [1] * 4, [*mine, *mine], 2), np.array([True, False, False]), seed=1)
    assert score[:2] == pytest.approx(np.log(2.5 / 3) - np.log(1.5 / 3)) and np.isnan(score[2])


def test_all_of_the_few_who_were_never_seen_are_attacked() -> None:
    """Of 4,500 members and 400 others 4,000 are attacked; of a random 4,000 too few others would be left (300 are needed)."""
    n = 4_900
    everybody = history(np.repeat(np.arange(n), 3).tolist(), np.arange(3.0 * n).tolist(), n)
    attacked = ~np.isnan(known_values(everybody, everybody, np.arange(n) < 4_500, seed=1))
    assert attacked[:4_500].sum() == 3_600 and attacked[4_500:].all()
