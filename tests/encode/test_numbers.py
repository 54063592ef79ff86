"""Numbers <-> tokens: exact where it was learned, snapped to the grid between, and never a heap lost."""

import numpy as np
import pytest

from proband.encode.numbers import BINS, Numbers, grid_of, significant
from proband.schema import Grid


def there_and_back(numbers: Numbers, values: np.ndarray) -> np.ndarray:
    tokens, offsets = numbers.encode(values)
    return numbers.decode(tokens, offsets.astype(np.float32))


def test_few_values_are_a_token_each():
    numbers = Numbers.learn(np.repeat([1.0, 2.0, 4.0], [5, 3, 2]), None)
    assert numbers.levels == 3
    assert numbers.counts.tolist() == [5, 3, 2]
    assert not numbers.binned.any()
    assert numbers.encode(np.array([1.0, 2.0, 4.0, 3.9, 99.0]))[0].tolist() == [0, 1, 2, 2, 2]


@pytest.mark.parametrize("decimals", [0, 1, 2, None])
def test_every_training_value_comes_back_exactly(decimals):
    values = np.random.default_rng(0).lognormal(3, 1, 3000)
    values = values if decimals is None else np.round(values, decimals)
    numbers = Numbers.learn(values, grid_of(values, None, whole=False))
    assert numbers.levels <= 2 * BINS
    assert np.array_equal(there_and_back(numbers, values), values)


def test_truncated_floats_stay_on_their_lattice():
    grid = Grid(step=0.1, decimals=1, bits=12, truncated=True)
    values = grid.snap(np.random.default_rng(1).gamma(4, 1, 3000))
    numbers = Numbers.learn(values, grid)
    assert np.array_equal(there_and_back(numbers, values), values)
    rng = np.random.default_rng(2)
    drawn = numbers.decode(rng.integers(0, numbers.levels, 5000), rng.random(5000))
    assert np.array_equal(grid.snap(drawn), drawn)


def test_a_heap_is_an_atom_and_keeps_its_share():
    rng = np.random.default_rng(3)
    values = np.concatenate([np.full(500, 120.0), np.round(rng.normal(120, 15, 1500), 2)])
    numbers = Numbers.learn(values, Grid(step=0.01, decimals=2))
    token = numbers.encode(np.array([120.0]))[0][0]
    assert not numbers.binned[token]
    assert numbers.counts[token] >= 500


def test_offsets_give_back_the_training_distribution():
    values = np.round(np.random.default_rng(4).normal(70, 12, 4000))
    numbers = Numbers.learn(values, Grid(step=1, decimals=0))
    rng = np.random.default_rng(5)
    drawn = numbers.decode(rng.choice(numbers.levels, 200_000, p=numbers.counts / numbers.counts.sum()), rng.random(200_000))
    assert drawn.min() >= values.min() and drawn.max() <= values.max()
    real = np.array([(values == v).mean() for v in range(40, 101)])
    made = np.array([(drawn == v).mean() for v in range(40, 101)])
    # 200,000 draws leave an error of .0004 a value; spreading one patient in 4,000 leaves .00025 more.
    assert np.abs(real - made).max() < 0.002


def test_one_patients_value_is_not_repeated():
    """A value that one patient has owns no stretch of its bin: it is met about as often as its neighbourhood, not more."""
    values = np.random.default_rng(6).normal(size=1000)
    numbers = Numbers.learn(values, None)
    drawn = numbers.decode(np.random.default_rng(7).integers(0, numbers.levels, 100_000), np.random.default_rng(8).random(100_000))
    assert np.isin(drawn, values).mean() < 0.01


def test_values_between_and_beyond_those_learned():
    values = np.arange(0, 1000, 3.0)
    numbers = Numbers.learn(values, Grid(step=1, decimals=0))
    assert there_and_back(numbers, np.array([-5.0, 1.0, 500.0, 5000.0])).tolist() == [0.0, 1.0, 500.0, 999.0]


@pytest.mark.parametrize("values", [[], [7.0], [7.0] * 100, [1.0, 2.0]])
def test_hardly_any_values(values):
    values = np.array(values)
    numbers = Numbers.learn(values, None)
    assert np.array_equal(there_and_back(numbers, values), values)


def test_restored_from_its_state():
    numbers = Numbers.learn(np.random.default_rng(9).normal(size=500), Grid(step=0.001, decimals=3))
    config, arrays = numbers.state()
    again = Numbers.restored(config, arrays)
    tokens, offsets = np.arange(numbers.levels), np.full(numbers.levels, 0.3)
    assert np.array_equal(again.decode(tokens, offsets), numbers.decode(tokens, offsets))


def test_grids_are_found():
    assert grid_of(np.array([10.0, 12.5, 15.0]), None, whole=False) == Grid(step=2.5, decimals=1)
    assert grid_of(np.array([5.0, 15.0]), None, whole=True) == Grid(step=5, decimals=0)
    assert grid_of(np.array([1 / 3]), None, whole=False) is None


def test_significant_digits():
    assert significant(np.array([0.1 + 0.2, -1e300, 0.0, 1e-200])).tolist() == [0.3, -1e300, 0.0, 1e-200]
    assert np.isnan(significant(np.array([np.nan]))).all()
