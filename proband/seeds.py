"""Randomness is an argument: every random stream is named under one seed.

Streams with different names are independent, so adding a draw in one place moves nothing in another.
"""

import hashlib

import numpy as np


def integer(seed: int, *names: str | int) -> int:
    """A seed (63 bits) for the stream called `names` under `seed`, the same on every machine.

    >>> integer(7, "fit") == integer(7, "fit"), integer(7, "fit") == integer(7, "sample")
    (True, False)
    """
    text = "/".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator for the stream called `names` under `seed`."""
    return np.random.default_rng(integer(seed, *names))
