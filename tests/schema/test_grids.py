"""The lattice of numbers, found and snapped to."""

import numpy as np
import pytest

from proband.schema import Grid
from proband.schema.grids import find_grid
from proband.schema.model import keep_bits

TENTHS = np.round(np.arange(1, 400) / 10, 1)


def test_decimals_and_steps() -> None:
    assert find_grid(TENTHS) == Grid(step=0.1, decimals=1)
    assert find_grid(np.arange(80, 200) / 2) == Grid(step=0.5, decimals=1)
    assert find_grid(np.arange(1, 100) * 5.0) == Grid(step=5, decimals=0)
    pounds = find_grid(np.round(np.arange(80, 300) * 0.45359237, 8))
    assert pounds == Grid(step=0.45359237, decimals=8)


def test_a_few_odd_values_do_not_refine_the_grid() -> None:
    rows = np.full(400, 10)
    rows[-1] = 3  # 3 of 3,993 rows
    assert find_grid(np.append(TENTHS, 40.123), rows) == Grid(step=0.1, decimals=1)


def test_values_without_a_lattice_have_no_grid() -> None:
    assert find_grid(np.random.default_rng(0).random(1000)) is None
    assert find_grid(np.array([])) is None


def test_single_precision() -> None:
    grid = find_grid(TENTHS.astype(np.float32).astype(float))
    assert grid is not None
    assert (grid.decimals, grid.bits, grid.truncated) == (1, 23, False)


def test_twelve_bits_cut_off_and_printed() -> None:
    """SUPPORT's 1.2 mg/dL: 1.199951171875 was kept and 1.19995117 was printed."""
    kept = keep_bits(TENTHS, 12, truncate=True)
    printed = np.array([float(f"{value:.8f}") for value in kept])
    grid = find_grid(printed)
    assert grid is not None
    assert (grid.decimals, grid.bits, grid.truncated) == (1, 12, True)
    assert 1.19995117 in printed
    np.testing.assert_array_equal(grid.snap(printed), printed)
    np.testing.assert_array_equal(grid.snap(TENTHS), printed)


@pytest.mark.parametrize(
    "grid",
    [
        Grid(step=0.1, decimals=1),
        Grid(step=0.5, decimals=1),
        Grid(step=0.1, decimals=1, bits=12, truncated=True, places=8, digits=9),
        Grid(step=0.01, decimals=2, bits=23),
        Grid(step=1, decimals=0, bits=10),
    ],
)
def test_snap_is_on_the_grid_and_stays_there(grid: Grid) -> None:
    values = np.append(np.random.default_rng(1).normal(0, 300, 2000), [0.0, np.nan])
    once = grid.snap(values)
    np.testing.assert_array_equal(grid.snap(once), once)
    width = np.maximum(grid.step, np.abs(values) * 2.0 ** -(grid.bits or 52))
    assert (np.abs(once - values)[:-1] <= 1.01 * width[:-1]).all()
    assert np.isnan(once[-1])
