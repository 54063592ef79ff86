"""The look that CI takes at a report would notice a blank one."""

from pathlib import Path

import matplotlib.image
import numpy as np

from tests.look import LEAST_INK, ink


def test_a_blank_picture_has_no_ink_and_a_drawn_one_has(tmp_path: Path) -> None:
    pixels = np.ones((100, 100, 3))
    matplotlib.image.imsave(tmp_path / "blank.png", pixels)
    pixels[:10] = 0.2  # a tenth of the rows
    matplotlib.image.imsave(tmp_path / "drawn.png", pixels)
    assert ink(tmp_path / "blank.png") == 0 < LEAST_INK < 0.1 == round(ink(tmp_path / "drawn.png"), 6)
