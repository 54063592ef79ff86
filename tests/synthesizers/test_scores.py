"""Tokens as ranges of a standard normal: who owns which stretch, and back."""

import numpy as np
import pytest

from proband.synthesizers.scores import Scale


def test_each_token_owns_its_share_of_the_normal():
    scale = Scale.of(np.array([7, 50, 0, 25, 25]))  # token 0 is missing, nobody has token 2
    assert scale.order.tolist() == [1, 3, 4]
    assert scale.until.tolist() == [0, 0.5, 0.75, 1]
    assert scale.cuts == pytest.approx([-np.inf, 0, 0.6745, np.inf], abs=1e-4)


def test_there_and_back():
    scale = Scale.of(np.array([7, 50, 0, 25, 25]))
    tokens, offsets = np.array([1, 3, 4, 4]), np.array([0.5, 0.0, 0.25, 0.999])
    again, places = scale.codes(scale.scores(tokens, offsets))
    assert again.tolist() == tokens.tolist()
    assert places == pytest.approx(offsets, abs=1e-6)


def test_missing_stands_in_the_middle():
    assert Scale.of(np.array([7, 50, 50])).scores(np.array([0]), np.array([0.5])).tolist() == [0]
    assert Scale.of(np.array([7, 0])).scores(np.array([0, 0]), np.array([0.5, 0.5])).tolist() == [0, 0]


def test_a_category_may_have_an_order_of_its_own():
    scale = Scale.of(np.array([0, 10, 20, 30]), np.array([3, 1, 2]))
    assert scale.ranks(np.array([3, 1, 2])).tolist() == [0, 1, 2]
    assert scale.until == pytest.approx([0, 0.5, 2 / 3, 1])
