"""The phantom: what is bent is bent as told."""

import numpy as np
import pytest

from proband import InputError
from proband.records.phantom import BONE, FLUID, bent, painted, phantom


def test_the_ct_is_the_truth_bent_by_the_known_shift() -> None:
    straight, made = phantom(2, 2, 64, seed=3), phantom(2, 2, 64, seed=3, bend=3.0)
    assert (straight.truth.values == made.truth.values).all() and (straight.shift == 0).all()
    assert np.hypot(*made.shift).mean() == pytest.approx(3, abs=0.5)
    from scipy.ndimage import map_coordinates

    places = np.indices((64, 64)) + made.shift
    looked = np.stack([map_coordinates(one, places, order=1, mode="nearest") for one in made.truth.values[:, 0]])
    apart = np.abs(looked - made.ct.values[:, 0]), np.abs(made.truth.values - made.ct.values)
    assert apart[0].mean() < 0.4 * apart[1].mean()  # what is left is interpolation at edges, and noise


def test_patients_move_in_ways_of_their_own() -> None:
    made = phantom(2, 2, 32, seed=0, loose=3.0)
    assert (made.shift == 0).all() and np.abs(made.truth.values - made.ct.values).mean() > 100


def test_the_same_seed_gives_the_same_bodies() -> None:
    one, two, other = phantom(2, 2, 32, seed=1), phantom(2, 2, 32, seed=1), phantom(2, 2, 32, seed=2)
    assert one.mr.content() == two.mr.content() and one.mr.content() != other.mr.content()
    assert one.ct.unit == "HU" and one.mr.unit == "" and one.cases.tolist() == [0, 0, 1, 1]
    assert one.mask.any(axis=(1, 2)).all()


def test_later_ellipses_lie_above() -> None:
    down, right = np.meshgrid([-0.9, 0.0], [0.0, 0.9], indexing="ij")
    found = painted([(BONE, 0, 0, 1, 1, 0), (FLUID, 0, 0, 0.2, 0.2, 0)], down, right)
    assert found.tolist() == [[BONE, 0], [FLUID, BONE]]
    assert bent(down, right).shape == (2, 2, 2)


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"slices": 0}, {"size": 8}])
def test_nothing_is_no_phantom(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="give at least 1 patient"):
        phantom(**({"patients": 1, "slices": 1, "size": 16} | wrong), seed=0)
