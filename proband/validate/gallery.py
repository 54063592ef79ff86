"""The images of the evidence: one form for all parts, a sample of each side, groups of images, and features of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from proband import seeds
from proband.errors import InputError
from proband.records.burned import alike
from proband.records.images import Images, resized
from proband.stats import images as stats
from proband.stats.resampling import Patients
from proband.validate.findings import Evidence
from proband.validate.recordings import PARTS, groups_of, images_of, owners_of

#: Images that the public network reads of each side, whole patients at random: one takes it a twentieth of a second on an ordinary core.
#: What asks for patients, and for what images teach, reads the many.
IMAGES = {"train": 500, "unseen": 500, "synthetic": 800}
MANY = {"train": 4_000, "unseen": 2_000, "synthetic": 2_000}

#: Pixels of a side that the public network sees, and the most that the small networks see: more are averaged.
SIDE, SMALL_SIDE = 128, 64
_MOST_SIDE = 256  # what is finer is averaged before anything looks

#: Pixels of a side at which the network that learns from the unseen images looks.
_OWN_SIDE = 48

SIDES = {"train": ("train",), "unseen": ("holdout", "reference"), "synthetic": ("synthetic",)}
PUBLIC, OWN = "public network", "own network"


@dataclass(frozen=True)
class Gallery:
    """Images of three sides (train; unseen: holdout and reference; synthetic), -1 black and 1 white.

    values    (images, channels, height, width) float32
    patients  whose each image is
    frames    the rows of the table beside them
    groups    name -> by side, which images belong to it (images,) bool: all, and the levels of discrete columns that 20 images of
              10 patients or more have on every side
    of        how many images each side has in all
    """

    like: Images
    values: Mapping[str, np.ndarray]
    patients: Mapping[str, Patients]
    frames: Mapping[str, pl.DataFrame]
    groups: Mapping[str, Mapping[str, np.ndarray]]
    of: Mapping[str, int]

    @staticmethod
    def of_evidence(evidence: Evidence, *, seed: int, most: Mapping[str, int] = IMAGES, side: int = _MOST_SIDE) -> Gallery:
        """So many images of each side at random, of at most `side` pixels.

        InputError where a part has no images, or others than the training patients: other channels, size, unit or range.
        """
        cohorts = {name: getattr(evidence, name) for name in PARTS}
        train = images_of(evidence.train)
        held = {name: _alike(name, images_of(cohort), train) for name, cohort in cohorts.items()}
        held = {name: alike(one, held["synthetic"]) for name, one in held.items()}
        values, patients, frames, count = {}, {}, {}, {}
        for name, parts in SIDES.items():
            codes = [owners_of(cohorts[part]) for part in parts]
            starts = np.cumsum([0, *(int(one.max(initial=-1)) + 1 for one in codes)])
            whose = Patients(np.concatenate([one + start for one, start in zip(codes, starts, strict=False)]))
            rows = _some(whose, most[name], seeds.generator(seed, "images", name))
            whole = np.concatenate([held[part].values for part in parts]) if len(parts) > 1 else held[parts[0]].values
            values[name] = _scaled(held["train"], whole[rows], side)
            patients[name], count[name] = Patients(whose.code[rows]), len(whole)
            frames[name] = pl.concat([cohorts[part].frame for part in parts])[rows]
        both = frames | {"real": pl.concat([frames["train"], frames["unseen"]])}
        owners = patients | {"real": _together(patients["train"], patients["unseen"])}
        return Gallery(held["train"], values, patients, frames, groups_of(evidence.train.schema.table.columns, both, owners), count)

    @property
    def real(self) -> Patients:
        """Whose each training image is, then whose each unseen one."""
        return _together(self.patients["train"], self.patients["unseen"])

    def small(self, most: int = SMALL_SIDE) -> dict[str, np.ndarray]:
        """The images at `most` pixels a side, if they have more."""
        return {side: _small(values, most) for side, values in self.values.items()}


@dataclass(frozen=True)
class Seen:
    """Features (images, numbers) of each side, and of the unseen images blurred by four where it was asked for, under one network."""

    network: str
    features: Mapping[str, np.ndarray]


def seen(held: Gallery, many: Gallery, *, seed: int) -> tuple[Seen, Seen, Seen]:
    """What a public network sees in the images, what a small one does that learned from the unseen images alone, and that one in `many`."""
    from proband.stats.own_features import own_encoder, public_features  # they load torch

    whole = {**held.values, "blurred": stats.blurred(held.values["unseen"])}
    public = {side: public_features(_of_three(_small(values, SIDE)), side=SIDE) for side, values in whole.items()}
    small = {side: _small(values, _OWN_SIDE) for side, values in whole.items()}
    encoder = own_encoder(small["unseen"], seed=seeds.integer(seed, "own features"))
    own = {side: encoder(values) for side, values in small.items()}
    return Seen(PUBLIC, public), Seen(OWN, own), Seen(OWN, {side: encoder(values) for side, values in many.small(_OWN_SIDE).items()})


def _of_three(images: np.ndarray) -> np.ndarray:
    """Grey or three colours, as the public network knows them; other channels as their mean."""
    return images if images.shape[1] in (1, 3) else images.mean(axis=1, keepdims=True)


def _small(values: np.ndarray, most: int) -> np.ndarray:
    """Images (n, channels, height, width) whose longer side has at most so many pixels."""
    height, width = values.shape[2:]
    if max(height, width) <= most:
        return values
    share = most / max(height, width)
    return resized(values, max(8, round(height * share)), max(8, round(width * share)))


def _scaled(like: Images, values: np.ndarray, side: int) -> np.ndarray:
    """(images, channels, height, width) float32 in [-1, 1], some at a time: thousands of large images are never all held as decimals."""
    parts = np.array_split(values, max(1, -(-len(values) // 256)))
    return np.concatenate([_small(replace(like, values=part, native=None).scaled(), side) for part in parts])


def _together(one: Patients, other: Patients) -> Patients:
    return Patients(np.concatenate([one.code, other.code + one.count]))


def _some(patients: Patients, most: int, generator: np.random.Generator) -> np.ndarray:
    """Rows of whole patients at random, in the order of the table, `most` of them or all."""
    return np.sort(patients.rows(generator.permutation(patients.count))[:most])


def _alike(name: str, found: Images | None, train: Images | None) -> Images:
    if found is None or train is None:
        raise InputError(
            f"Some patients have images, and those of {name if train else 'train'} have none. Give a folder with their images."
        )
    for what, mine, theirs in (
        ("channels", found.channels, train.channels),
        ("size in pixels", found.size, train.size),
        ("unit", found.unit, train.unit),
        ("range from black to white", (found.low, found.high), (train.low, train.high)),
    ):
        if mine != theirs:
            raise InputError(f"The images of {name} have another {what} than those of train: {mine}, not {theirs}. Bring them to one form.")
    return found
