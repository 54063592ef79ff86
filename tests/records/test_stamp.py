"""The word in the corner."""

import numpy as np
import pytest

from proband.records.stamp import stamped


def test_the_word_stands_in_the_corner_and_nothing_else_changes() -> None:
    image = np.full((1, 1, 64, 64), 100, np.uint8)
    after = stamped(image, low=0, high=255)
    changed = after != image
    assert set(np.unique(after)) == {0, 100, 255} and not changed[..., :57, :].any() and not changed[..., 37:].any()
    rows = ["".join("#" if white else "." for white in row) for row in after[0, 0, -6:-1, 1:12] == 255]
    assert rows == ["###.#.#.###", "#...#.#.#.#", "###..#..#.#", "..#..#..#.#", "###..#..#.#"], "S, Y, N"


@pytest.mark.parametrize(("size", "share"), [(256, 0.57), (128, 0.58), (64, 0.58), (28, 0.47)])
def test_it_is_as_large_as_there_is_room(size: int, share: float) -> None:
    after = stamped(np.full((size, size), 0.5, np.float32), low=-1, high=1)
    assert (after != 0.5).any(axis=0).mean() == pytest.approx(share, abs=0.02)


def test_a_tiny_image_has_no_room() -> None:
    assert (stamped(np.ones((8, 8)), low=0, high=2) == 1).all()
