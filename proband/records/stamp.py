"""The word that people see: SYNTHETIC in the corner of an image, white on black, as large as the image allows."""

from __future__ import annotations

import numpy as np

#: Letters of 3 x 5 pixels, row by row.
_LETTERS = {
    "S": "111100111001111",
    "Y": "101101010010010",
    "N": "111101101101101",
    "T": "111010010010010",
    "H": "101101111101101",
    "E": "111100111100111",
    "I": "111010010010111",
    "C": "111100100100111",
}
WORDS = ("SYNTHETIC", "SYN")  # the second where there is no room for the first
_SHARE = 0.6  # of the width, at most


def stamped(values: np.ndarray, *, low: float, high: float) -> np.ndarray:
    """Images (..., height, width) with the stamp in their lower left corner, in their own type; `low` is its black, `high` its white.

    An image narrower than 20 pixels is left as it is: a stamp would be most of it.
    """
    height, width = values.shape[-2:]
    found = values.copy()
    for word in WORDS:
        stamp = _stamp(word)
        scale = int(width * _SHARE / stamp.shape[1])
        if scale >= 1 and stamp.shape[0] * scale <= height / 4:
            large = np.kron(stamp, np.ones((scale, scale), bool))
            found[..., height - large.shape[0] :, : large.shape[1]] = np.where(large, high, low).astype(values.dtype)
            break
    return found


def _stamp(word: str) -> np.ndarray:
    """(7, width) True where it is white; a pixel of black around."""
    letters = [np.pad(np.array(list(_LETTERS[letter]), int).reshape(5, 3), ((1, 1), (1, 0))) for letter in word]
    return np.pad(np.concatenate(letters, axis=1), ((0, 0), (0, 1))).astype(bool)
