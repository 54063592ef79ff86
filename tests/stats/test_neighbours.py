"""Neighbours against brute force and scikit-learn; equal rows by their hashes."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from proband.stats import neighbours
from proband.stats.neighbours import mixed, nearest, owners_sharing, row_hashes


@pytest.mark.parametrize("blocks", [(1_024, 8_192), (7, 64), (3, 5)])
def test_nearest_agrees_with_scikit_learn_whatever_the_blocks(blocks: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "QUERIES", blocks[0])
    monkeypatch.setattr(neighbours, "POINTS", blocks[1])
    draw = np.random.default_rng(0)
    queries, points = draw.normal(size=(50, 6)).astype(np.float32), draw.normal(size=(300, 6)).astype(np.float32)
    expected, rows = NearestNeighbors(n_neighbors=4, algorithm="brute").fit(points).kneighbors(queries)
    found, found_rows = nearest(queries, points, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_array_equal(found_rows, rows)


def test_an_equal_row_is_at_distance_zero_even_far_from_the_origin() -> None:
    points = np.random.default_rng(1).normal(size=(100, 20)).astype(np.float32) + 1_000
    distances, rows = nearest(points, points, 2)
    assert (distances[:, 0] == 0).all()
    np.testing.assert_array_equal(rows[:, 0], np.arange(100))


def test_rows_of_the_same_owner_are_passed_over() -> None:
    points = np.array([[0.0], [0.1], [5.0]], np.float32)
    owner = np.array([7, 7, 8])
    distances, rows = nearest(points, points, 1, query_owner=owner, point_owner=owner)
    np.testing.assert_allclose(distances[:, 0], [5.0, 4.9, 4.9], rtol=1e-6)
    np.testing.assert_array_equal(rows[:, 0], [2, 2, 1])


def test_too_few_points_leave_infinite_distances() -> None:
    distances, rows = nearest(np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32), 3)
    assert np.isinf(distances[0, 1:]).all()
    assert rows.tolist() == [[0, -1, -1]]
    assert np.isinf(nearest(np.zeros((1, 2), np.float32), np.empty((0, 2), np.float32), 1)[0]).all()


def test_equal_rows_hash_alike_and_others_apart() -> None:
    left, right = np.array([1, 1, 2, 1]), np.array([2, 2, 1, 1])
    hashes = row_hashes([left, right])
    assert hashes[0] == hashes[1]
    assert len(set(hashes.tolist())) == 3  # (1, 2) and (2, 1) differ: the column counts
    assert len(np.unique(row_hashes([np.arange(100_000), np.zeros(100_000, int)]))) == 100_000


def test_a_row_without_one_column_is_a_difference_of_hashes() -> None:
    left, right = np.array([1, 5]), np.array([2, 2])
    rest = row_hashes([left, right]) - mixed(left, 0)
    assert rest[0] == rest[1]


def test_owners_are_counted_once() -> None:
    hashes = np.array([10, 10, 10, 20], np.uint64)
    owner = np.array([0, 0, 1, 1])
    np.testing.assert_array_equal(owners_sharing(np.array([20, 10, 10], np.uint64), hashes, owner), [1, 2, 2])
    assert len(owners_sharing(np.empty(0, np.uint64), hashes, owner)) == 0


def test_no_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="no columns"):
        row_hashes([])
