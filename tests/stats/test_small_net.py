"""A small network learns what can be learned, the same on any number of cores, and leaves the caller's random numbers alone."""

import numpy as np
import pytest
import torch

from proband import InputError
from proband.stats.discrimination import auc
from proband.stats.small_net import Reader, each_told, learned, told


def bars(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 1, 16, 16) noise with a bright bar, upright or lying."""
    rng = np.random.default_rng(seed)
    images, classes = rng.normal(0, 0.3, (n, 1, 16, 16)).astype(np.float32), rng.integers(0, 2, n)
    for image, upright, at in zip(images, classes, rng.integers(3, 13, n), strict=True):
        image[0, :, at] += 0.7 * upright
        image[0, at, :] += 0.7 * (1 - upright)
    return images, classes


def test_it_learns_and_goes_on_from_what_it_has_learned() -> None:
    images, classes = bars(200, 0)
    unseen, truth = bars(100, 1)
    net = learned(images, classes, 2, seed=0, steps=60)
    assert auc(told(net, unseen)[:, 1], truth) > 0.9
    few, short = slice(6), {"seed": 1, "steps": 5, "rate": 1e-4}
    plain, tuned = (learned(images[few], classes[few], 2, start=start, **short) for start in (None, net))  # type: ignore[arg-type]
    assert auc(told(tuned, unseen)[:, 1], truth) > 0.85 > auc(told(plain, unseen)[:, 1], truth)
    assert sum(one.numel() for one in net.parameters()) == 53_162


def test_the_same_seed_gives_the_same_bits_alone_and_beside_others() -> None:
    images, classes = bars(40, 0)
    torch.manual_seed(3)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    alone = told(learned(images, classes, 2, seed=5, steps=4), images)
    beside = each_told([(images, classes, seed) for seed in (4, 5, 6)], 2, images, steps=4)
    assert np.array_equal(beside[1], alone) and not np.array_equal(beside[0], alone)
    assert torch.equal(torch.random.get_rng_state(), before) and torch.get_num_threads() == threads


def test_images_without_classes_are_refused() -> None:
    with pytest.raises(InputError, match="give a class for each"):
        learned(np.zeros((2, 1, 16, 16), np.float32), np.zeros(1, int), 2, seed=0)
    assert Reader(3, 2, torch.Generator().manual_seed(0))(torch.zeros(2, 3, 9, 7)).shape == (2, 2)
