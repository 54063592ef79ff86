"""Are synthetic images worth having where real ones are few? A network learns from them first, then from a share of the real patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from proband import seeds as streams
from proband.cohort import Cohort
from proband.errors import InputError
from proband.records.images import resized
from proband.stats.cores import on_cores
from proband.stats.resampling import Patients, percentiles
from proband.validate.gallery import SMALL_SIDE
from proband.validate.image_classes import calibration_error, pair_aucs
from proband.validate.recordings import images_of, owners_of
from proband.validate.waveforms import classes_of

SHARES = (0.01, 0.05, 0.1, 1.0)
_FINE = 1 / 3  # of the rate: what was learned before is mended, not forgotten
_DRAWS = 500


@dataclass(frozen=True)
class Gain:
    """What pre-training on synthetic images gave, with one share of the real patients; means over networks, on unseen patients.

    share, patients   of the real training patients that were learned from
    real, tuned       mean AUC over pairs of classes: learned from real images alone; from synthetic ones first
    gain              tuned - real, and its 95 % interval over networks and unseen patients together
    calibration       the calibration errors of both, real and tuned
    """

    share: float
    patients: int
    real: float
    tuned: float
    gain: float
    interval: tuple[float, float]
    calibration: tuple[float, float]


def pretraining(
    train: Cohort,
    holdout: Cohort,
    synthetic: Cohort,
    target: str,
    *,
    shares: Sequence[float] = SHARES,
    networks: int = 5,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Gain]:
    """For each share of the training patients the AUC of one small network on holdout patients, with and without synthetic images first.

    Each of `networks` pairs learns from patients of its own; every class has one patient at least, however small the share. Both take the
    same steps over real images; the tuned one has taken as many over synthetic ones before. InputError where a cohort has no images, or
    the target has fewer than two classes.

    >>> pretraining(train, holdout, synthetic, "finding")[0].gain  # doctest: +SKIP
    0.083
    """
    from proband.stats.small_net import RATE, learned, told

    sides = {"train": train, "holdout": holdout, "synthetic": synthetic}
    values = {name: _read(name, cohort) for name, cohort in sides.items()}
    truth = {name: classes_of(cohort.frame, train.schema, target, train.frame) for name, cohort in sides.items()}
    known = {name: one >= 0 for name, one in truth.items()}
    classes = np.unique(truth["train"][known["train"]])
    if len(classes) < 2 or any(len(np.unique(one[one >= 0])) < len(classes) for one in truth.values()):
        raise InputError(f"Target {target!r} has classes that not every side has. Bring more patients, or name another target.")
    values, truth = ({name: one[known[name]] for name, one in both.items()} for both in (values, truth))
    owners = {name: Patients(owners_of(cohort)[known[name]]) for name, cohort in sides.items()}
    size = int(classes.max()) + 1

    def one(number: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """For each share how many patients it is, and what both networks tell of the holdout images."""
        draw = streams.generator(seed, "pretraining", number)
        start = learned(values["synthetic"], truth["synthetic"], size, seed=int(draw.integers(2**62)))
        order = _every_class_first(owners["train"], truth["train"], draw.permutation(owners["train"].count))
        found = []
        for share in shares:
            patients = order[: max(len(classes), round(share * len(order)))]
            rows, own = owners["train"].rows(patients), int(draw.integers(2**62))
            plain = learned(values["train"][rows], truth["train"][rows], size, seed=own)
            tuned = learned(values["train"][rows], truth["train"][rows], size, seed=own, start=start, rate=RATE * _FINE)
            found.append((len(patients), told(plain, values["holdout"]), told(tuned, values["holdout"])))
        if on_step is not None:
            on_step(number + 1, networks)
        return found

    every = list(on_cores(one, range(networks)))
    draw = streams.generator(seed, "pretraining", "draws")
    gains = []
    for at, share in enumerate(shares):
        real, tuned = (np.stack([net[at][side] for net in every]) for side in (1, 2))
        gains.append(_gain(share, every[0][at][0], real, tuned, truth["holdout"], owners["holdout"], draw))
    return gains


def _gain(
    share: float, patients: int, real: np.ndarray, tuned: np.ndarray, truth: np.ndarray, owners: Patients, draw: np.random.Generator
) -> Gain:
    """real, tuned: (networks, holdout images, classes)."""
    means = [pair_aucs(side, truth).mean(axis=1) for side in (real, tuned)]  # (networks,) each
    drawn = []
    for _ in range(_DRAWS):
        nets, rows = draw.integers(len(real), size=len(real)), owners.redraw(draw)
        some = [np.nanmean(pair_aucs(side[np.unique(nets)][:, rows], truth[rows]), axis=1) for side in (tuned, real)]
        weights = np.bincount(nets, minlength=len(real))[np.unique(nets)]
        drawn.append(float(np.average(some[0] - some[1], weights=weights)))
    gain = float(np.mean(means[1] - means[0]))
    low, high = percentiles(np.array(drawn))
    errors = tuple(float(np.mean([calibration_error(net, truth) for net in side])) for side in (real, tuned))
    return Gain(
        share, patients, float(means[0].mean()), float(means[1].mean()), gain, (min(low, gain), max(high, gain)), (errors[0], errors[1])
    )


def _every_class_first(owners: Patients, truth: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The patients in this order, but first one of each class: with one in a hundred of them no class may be missing."""
    place = np.empty(owners.count, int)
    place[order] = np.arange(owners.count)
    first = [int(min(np.unique(owners.code[truth == one]), key=lambda patient: place[patient])) for one in np.unique(truth)]
    first = list(dict.fromkeys(first))
    return np.array([*first, *(patient for patient in order if patient not in set(first))])


def _read(name: str, cohort: Cohort) -> np.ndarray:
    images = images_of(cohort)
    if images is None:
        raise InputError(f"The {name} patients have no images. Give a folder with their images.")
    height, width = images.size
    share = min(1.0, SMALL_SIDE / max(height, width))
    return resized(images.scaled(), round(height * share), round(width * share)) if share < 1 else images.scaled()
