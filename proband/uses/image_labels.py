"""Labels of images: an ensemble of small networks that learned from real patients, each calibrated on patients it had not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proband import seeds
from proband.cohort import Cohort
from proband.errors import InputError
from proband.records.images import resized
from proband.stats.cores import on_cores
from proband.stats.prediction import calibration_line
from proband.stats.resampling import Patients
from proband.synthesizer import OnStep
from proband.uses.features import folds, owners
from proband.validate.gallery import SMALL_SIDE
from proband.validate.recordings import images_of

#: Networks of the ensemble, each of as many folds: what they disagree on is what the training patients do not settle.
NETWORKS, FOLDS = 3, 4


@dataclass(frozen=True)
class ImageModels:
    """Networks by model and fold, of images of one size; they hold no patient, but what they learned of them."""

    networks: tuple[tuple[object, ...], ...]
    size: tuple[int, int]
    channels: tuple[str, ...]

    def __call__(self, cohort: Cohort) -> np.ndarray:
        """(models, images, codes) uncalibrated probabilities: of each model the mean over its folds."""
        from proband.stats.small_net import told

        values = _read(cohort)
        images = images_of(cohort)
        assert images is not None
        if (images.size, images.channels) != (self.size, self.channels):
            raise InputError(
                f"The images are {images.size[0]} x {images.size[1]} pixels of {', '.join(images.channels)}, and labels were learned from "
                f"{self.size[0]} x {self.size[1]} of {', '.join(self.channels)}. Bring both to one form (--size)."
            )
        return np.stack([np.mean([told(net, values) for net in nets], axis=0) for nets in self.networks])  # type: ignore[arg-type]


def names() -> list[str]:
    """The models' names, under which their calibration lines stand."""
    return [f"network {at + 1}" for at in range(NETWORKS)]


def fitted(
    train: Cohort, rows: np.ndarray, codes: np.ndarray, size: int, *, seed: int, on_step: OnStep | None = None
) -> tuple[ImageModels, np.ndarray, dict[str, np.ndarray]]:
    """The networks, (models, rows, codes) what each tells of training images that it never saw, and each model's calibration lines.

    rows, codes   which training rows have a label, and which; `size` codes in all
    """
    from proband.stats.small_net import Reader, learned, told

    images = images_of(train)
    assert images is not None
    values = _read(train)[rows]
    whose = Patients(owners(train).code[rows])
    networks, across, lines = [], np.empty((NETWORKS, len(codes), size)), {}
    for model, name in enumerate(names()):
        # Folds of its own: another network has seen other patients.
        fold = folds(whose, FOLDS, seeds.generator(seed, "labels", "folds", model))

        def one(k: int, model: int = model, fold: np.ndarray = fold) -> tuple[Reader, np.ndarray]:
            net = learned(values[fold != k], codes[fold != k], size, seed=seeds.integer(seed, "labels", model, k))
            return net, told(net, values[fold == k])

        nets = []
        for k, (net, said) in enumerate(on_cores(one, range(FOLDS))):
            nets.append(net)
            across[model, fold == k] = said
            if on_step is not None:
                on_step(model * FOLDS + k + 1, NETWORKS * FOLDS, "labels: networks", {})
        networks.append(tuple(nets))
        lines[name] = np.array([calibration_line(across[model, :, code], (codes == code).astype(float)) for code in range(size)])
    return ImageModels(tuple(networks), images.size, images.channels), across, lines


def _read(cohort: Cohort) -> np.ndarray:
    images = images_of(cohort)
    if images is None:
        raise InputError("These patients have no images, and the labels were learned from images. Give the folder with their images.")
    height, width = images.size
    share = min(1.0, SMALL_SIDE / max(height, width))
    return resized(images.scaled(), round(height * share), round(width * share)) if share < 1 else images.scaled()
