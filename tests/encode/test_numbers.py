"""Numbers <-> tokens: exact where it was learned, snapped to the grid between, never a heap lost, and no single patient's value told."""

import time

import numpy as np
import pytest

from proband.encode.anonymous import significant
from proband.encode.numbers import BINS, Numbers, grid_of
from proband.schema import Grid


def there_and_back(numbers: Numbers, values: np.ndarray) -> np.ndarray:
    tokens, offsets = numbers.encode(values)
    return numbers.decode(tokens, offsets.astype(np.float32))


def at_random(numbers: Numbers, n: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    return numbers.decode(rng.integers(0, numbers.levels, n), rng.random(n))


def held_once(values: np.ndarray) -> np.ndarray:
    distinct, rows = np.unique(values, return_counts=True)
    return distinct[rows == 1]


def test_few_values_are_a_token_each():
    numbers = Numbers.learn(np.repeat([1.0, 2.0, 4.0], [5, 3, 2]), None)
    assert numbers.levels == 3
    assert numbers.counts.tolist() == [5, 3, 2]
    assert not numbers.binned.any()
    assert numbers.encode(np.array([1.0, 2.0, 4.0, 3.9, 99.0]))[0].tolist() == [0, 1, 2, 2, 2]


@pytest.mark.parametrize("decimals", [0, 1, 2, None])
def test_every_training_value_comes_back_exactly_when_one_patient_is_enough(decimals):
    values = np.random.default_rng(0).lognormal(3, 1, 3000)
    values = values if decimals is None else np.round(values, decimals)
    numbers = Numbers.learn(values, grid_of(values, None, whole=False), held_by=1)
    assert numbers.levels <= 2 * BINS
    assert np.array_equal(there_and_back(numbers, values), values)


def test_truncated_floats_stay_on_their_lattice():
    grid = Grid(step=0.1, decimals=1, bits=12, truncated=True)
    values = grid.snap(np.random.default_rng(1).gamma(4, 1, 3000))
    numbers = Numbers.learn(values, grid)
    held = held_once(values)
    shared = values[~np.isin(values, held)]
    assert len(held) and np.array_equal(there_and_back(numbers, shared), shared)
    drawn = np.concatenate([at_random(numbers, 5000), there_and_back(numbers, values)])
    assert np.array_equal(grid.snap(drawn), drawn)
    assert not np.isin(drawn, held).any()


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
    """0, 3, ... 999 once each: 3 is the second patient from below, and 3 itself is one patient's, so that 4.5 is the least learned."""
    values = np.arange(0, 1000, 3.0)
    numbers = Numbers.learn(values, Grid(step=1, decimals=0))
    assert there_and_back(numbers, np.array([-5.0, 1.0, 500.0, 501.0, 5000.0])).tolist() == [4.0, 4.0, 500.0, 500.0, 994.0]


@pytest.mark.parametrize("values", [[], [7.0], [1.0, 2.0], [1.0, 2.0, 3.0]])
def test_nothing_may_be_told_of_hardly_any_patients(values):
    assert Numbers.learn(np.array(values), None).levels == 0


@pytest.mark.parametrize("values", [[7.0] * 100, [1.0, 1.0, 2.0, 2.0], [1.0, 2.0, 1.0]])
def test_few_shared_values(values):
    numbers = Numbers.learn(np.array(values), None)
    assert there_and_back(numbers, np.array(values)).tolist() == [v if values.count(v) > 1 else 1.0 for v in values]


WHOLE, TENTHS = Grid(step=1, decimals=0), Grid(step=0.1, decimals=1)


def test_a_value_of_one_patient_moves_to_the_nearest_that_is_none():
    """12 and 13 are one patient's each. 11 and 14 are nobody's and on the grid: the nearest; 9 is beyond the second smallest."""
    values = np.concatenate([np.repeat([10.0, 20.0], 40), [9.0, 12.0, 13.0], np.repeat(np.arange(21.0, 80.0), 2)])
    numbers = Numbers.learn(values, WHOLE)
    assert there_and_back(numbers, np.array([9.0, 10.0, 11.0, 12.0, 13.0, 20.0])).tolist() == [10.0, 10.0, 11.0, 11.0, 14.0, 20.0]


def test_means_of_values_off_the_grid_stay_within_the_limits():
    """2.4 and 2.5 are the second and third smallest; their mean on the grid of whole numbers is 2, which the smallest alone holds."""
    values = np.concatenate([[2.0, 2.4, 2.5], np.arange(10.0, 400.0).repeat(2)])
    assert at_random(Numbers.learn(values, WHOLE), 5000).min() == 10.0


def test_of_two_equally_near_values_the_lower():
    values = np.concatenate([np.repeat(np.arange(0.0, 100.0, 5.0), 2), [52.0], np.arange(1000.0, 1030.0)[::2].repeat(2)])
    assert there_and_back(Numbers.learn(values, WHOLE), np.array([52.0])).tolist() == [51.0]


def test_few_values_move_to_a_shared_one():
    """Answers 1, 2, 3 and a 6 of one patient: 4 and 5 are on the grid, but nobody's answers."""
    numbers = Numbers.learn(np.array([1.0] * 10 + [2.0] * 10 + [3.0] * 10 + [6.0]), WHOLE)
    assert numbers.levels == 3 and numbers.counts.tolist() == [10, 10, 11]
    assert there_and_back(numbers, np.array([6.0, 5.0])).tolist() == [3.0, 3.0]


def test_a_patient_with_several_rows_counts_once():
    values, patients = np.array([5.0, 5.0, 5.0] + [1.0, 2.0] * 10), np.array([0, 0, 0, *range(1, 21)])
    assert not np.isin(5.0, at_random(Numbers.learn(values, WHOLE, patients), 100))
    assert np.isin(5.0, at_random(Numbers.learn(values, WHOLE), 100))


@pytest.mark.parametrize("grid", [WHOLE, TENTHS, None])
@pytest.mark.parametrize("scale", [3.0, 30.0, 3000.0])
def test_no_value_of_one_patient_is_told(grid, scale):
    values = np.random.default_rng(10).lognormal(0, 1, 2000) * scale
    values = values if grid is None else grid.snap(values)
    numbers = Numbers.learn(values, grid)
    low, high = np.sort(values)[[1, -2]]
    for told in (at_random(numbers, 50_000), there_and_back(numbers, values), numbers.values):
        assert not np.isin(told, held_once(values)).any()
        assert told.min() >= low and told.max() <= high
        assert grid is None or np.array_equal(grid.snap(told), told)


def test_several_lattices_give_learned_values_only():
    """Degrees that were rounded to .5 in two units have no common grid: nothing between two of them is on format."""
    rng = np.random.default_rng(11)
    celsius = np.round(rng.normal(37, 1, 3000) * 2) / 2
    values = np.concatenate([celsius, (np.round(rng.normal(98.6, 2, 3000)) - 32) / 1.8])
    numbers = Numbers.learn(values, None)
    assert np.isin(at_random(numbers, 5000), values).all()


def test_a_row_number_stays_one():
    """1 to 1,000 once each: no number in the range is nobody's. The column is neither empty nor one heap."""
    numbers = Numbers.learn(np.arange(1.0, 1001.0), WHOLE)
    drawn = at_random(numbers, 2000)
    assert len(np.unique(drawn)) > 500 and np.array_equal(drawn, np.round(drawn))


def test_dense_columns_are_quick():
    values = np.random.default_rng(12).normal(size=200_000)
    for grid in (None, Grid(step=1e-4, decimals=4), WHOLE):
        start = time.perf_counter()
        numbers = Numbers.learn(values if grid is None else grid.snap(values), grid)
        at_random(numbers, 200_000)
        assert time.perf_counter() - start < 5  # about half a second


def test_the_model_holds_no_value_of_one_patient_where_it_need_not():
    """What is learned are means of neighbours; on a grid the values to be avoided have to be known, elsewhere they cannot come out."""
    values = np.random.default_rng(13).normal(size=1000)
    _, arrays = Numbers.learn(values, None).state()
    assert not any(np.isin(array, values).any() for array in arrays.values())


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
