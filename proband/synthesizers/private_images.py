"""PrivateImageGAN: patients with images under differential privacy, from a few noisy sums, and training that sees nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch

from proband import seeds
from proband.cohort import Cohort
from proband.encode.images import from_canvas, sketched
from proband.encode.waveforms import Attributes
from proband.errors import InputError
from proband.game.averages import Look, learn
from proband.game.images import Generator
from proband.privacy.budget import Budget, Spend, rho_of
from proband.privacy.domain import ready
from proband.records.dicom import CT_RANGE, HU
from proband.records.images import Images
from proband.synthesizer import Model, OnStep, restore, under, write_model
from proband.synthesizers import marginals
from proband.synthesizers.drawing import marked
from proband.synthesizers.image_release import Basis, Release, averages, patients_of, released, sketch_from
from proband.synthesizers.images import LARGEST, MINUTES, _eyes, _generator, _made, on_canvas, steps_in
from proband.synthesizers.marginals import PrivateMarginals

TABLE = 0.1  # of the budget: the table. What a table of one column leaves of it goes to the images
DRAWN = 4000  # patients of the noisy table, who tell groups and scales: real ones are not asked again
GROUPS = 24  # at most, the largest: the others share what everybody looks like


class _Asked(NamedTuple):
    """All that a fit learned of patients, each part from noisy answers alone; `like` has no image."""

    table: PrivateMarginals
    attributes: Attributes
    release: Release
    like: Images
    name: str
    spends: list[Spend]
    on_synthetic: bool


class _Fitted(NamedTuple):
    table: PrivateMarginals
    attributes: Attributes
    generator: Generator
    finished: bool
    like: Images
    name: str
    spends: list[Spend]
    on_synthetic: bool


class PrivateImageGAN:
    """Synthetic patients with images and a guarantee: whoever is in the training data, what comes out is nearly as probable without them.

    epsilon   the bound on the loss of privacy of every patient, all images and rows of one together; 1 is strong, 3 usual, 10 hardly a
              promise. Images need many patients: with fewer than some thousand, 1 leaves little
    delta     the chance that the bound fails, well below one in the number of patients
    minutes   training time on two ordinary cores, about; it costs no privacy. With 0 the images are of the noisy Gaussian
    range     what counts as black and as white, where neither the pixels' type nor HU tells: a public number, not one that was seen

    The schema must be public (`Schema.public`), and so are size, channels, type and unit of the images. Patients are asked by
    `image_release.released` and, for the table, by `PrivateMarginals`; a generator then learns from those answers alone. The noise comes
    from the operating system and is kept nowhere, so `fit` gives another model each time.

    >>> model = PrivateImageGAN(epsilon=3).fit(cohort, seed=0)                            # doctest: +SKIP
    >>> model.sample(100, seed=1, where="finding = 'virus'").media["images"].shown()      # doctest: +SKIP
    """

    name: ClassVar[str] = "private-images"

    def __init__(
        self, *, epsilon: float = 3.0, delta: float = 1e-5, minutes: float | None = None, range: tuple[float, float] | None = None
    ) -> None:
        if minutes is not None and not 0 <= minutes <= 100_000:
            raise InputError(f"minutes = {minutes!r} is not a training time. Give a number such as 10, or 0 for the Gaussian alone.")
        if range is not None and not -np.inf < range[0] < range[1] < np.inf:
            raise InputError(f"range = {range!r} is none. Give what counts as black, and above it white, such as (0, 4095).")
        self.epsilon, self.delta, self.range = float(epsilon), float(delta), range
        self.minutes = MINUTES if minutes is None else minutes
        self.rho = rho_of(self.epsilon, self.delta)  # what a fit costs, as ledgers count it
        self._fitted: _Fitted | None = None

    @property
    def spends(self) -> list[Spend]:
        """Every look at the patients: what for, its rho, and how much one patient can change the answer."""
        return list(self._learned.spends)

    @property
    def patients(self) -> int:
        """About how many patients it learned from: the exact number is nobody's to know."""
        return self._learned.table.patients

    @property
    def _learned(self) -> _Fitted:
        if self._fitted is None:
            raise InputError("This PrivateImageGAN has not learned anything yet. Call fit(cohort, seed=...) first, or load a saved model.")
        return self._fitted

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Ask the train part of a cohort, once, then learn from the answers. InputError when its schema is not public, when it holds no
        images or linked tables, and when their range may have been read off the pixels."""
        self._fitted = finished(self._asked(cohort, Budget(self.rho), seed), minutes=self.minutes, seed=seed, on_step=on_step)
        return self

    def _asked(self, cohort: Cohort, budget: Budget, seed: int) -> _Asked:
        """All that patients are asked, by `budget` alone. Nothing else of the cohort is handed on."""
        ready(cohort.schema)
        name, images = images_of(cohort)
        like = self._like(images)
        table = PrivateMarginals(epsilon=self.epsilon, delta=self.delta)
        table._fitted = marginals.learned(replace(cohort, media={}), budget, seed=seed, share_of_budget=TABLE)
        attributes = _attributes(table, seed)
        values = on_canvas(replace(images, low=like.low, high=like.high))
        key = cohort.schema.table.key
        numbers, look, basis = _public(attributes, values.shape[1:], sketched(values[:1]).shape[1:])
        release = released(
            sketched(values),
            values,
            attributes.encode(cohort.frame),
            patients_of(cohort.frame[key].to_list() if key else None, len(values)),
            1 + len(attributes.groups),
            numbers,
            basis,
            look,
            budget,
        )
        return _Asked(table, attributes, release, like, name, list(budget.spends), cohort.mark is not None)

    def _like(self, images: Images) -> Images:
        """What the images are like, without one, as far as that is public."""
        low, high = self.range or (images.low, images.high)
        whole = images.values.dtype.kind == "u" and (low, high) == (0, np.iinfo(images.values.dtype).max)
        if self.range is None and not whole and (images.unit, (low, high)) != (HU, CT_RANGE):
            raise InputError(
                f"Images from low = {low:g} to high = {high:g}: that range may have been read off the patients' pixels. Give a public one, "
                f"such as what the scanner writes: PrivateImageGAN(range=(0, 4095))."
            )
        return Images(images.values[:0], low, high, images.channels, images.unit)  # the size of a pixel may be somebody's

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` synthetic patients, each with an image; every one keeps the schema's rules and satisfies `where`."""
        learned = self._learned
        drawn = learned.table.sample(n, seed=seeds.integer(seed, "private images", "patients"), where=where)
        given = torch.from_numpy(learned.attributes.encode(drawn.frame))
        rng = torch.Generator().manual_seed(seeds.integer(seed, "private images", "sample"))
        made = _made(learned.generator, given, rng, finished=learned.finished)
        more = {"epsilon": f"{self.epsilon:g}", "delta": f"{self.delta:g}", "unit": "patient"}
        cohort = marked(drawn.frame, drawn.schema, self.name, seed, where=where, on_synthetic=learned.on_synthetic, more=more)
        return replace(cohort, media={learned.name: from_canvas(made.numpy(), learned.like)})

    def save(self, path: str | Path) -> None:
        """Write a model folder. All in it follows from noisy answers: the guarantee covers it as it covers the patients drawn from it."""
        learned = self._learned
        plain, arrays = learned.table.state()
        like, sketch = learned.like, learned.generator.sketch
        config = {
            "table": plain,
            "attributes": learned.attributes.state(),
            "images": {
                "name": learned.name,
                "channels": like.channels,
                "size": like.size,
                "dtype": like.values.dtype.name,
                "low": like.low,
                "high": like.high,
                "unit": like.unit,
            },
            "canvas": sketch.canvas,
            "size": sketch.size,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "minutes": self.minutes,
            "range": self.range,
            "finished": learned.finished,
            "spends": [list(spend) for spend in learned.spends],
            "on_synthetic": learned.on_synthetic,
        }
        weights = {f"generator.{key}": weight.contiguous().numpy() for key, weight in learned.generator.state_dict().items()}
        write_model(path, self.name, config, {f"table.{key}": array for key, array in arrays.items()} | weights)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder; a missing, oversized, altered or hostile file raises InputError."""
        return restore(path, cls.name, cls._rebuilt)

    @classmethod
    def _rebuilt(cls, stored: Model) -> Self:
        config, told = stored.config, stored.config["images"]
        table = PrivateMarginals.rebuilt(Model("marginals", stored.version, config["table"], under("table.", stored.arrays)))
        attributes = Attributes.restored(config["attributes"])
        like = _restored_like(told)
        sides = on_canvas(like).shape[1:]
        canvas, size = tuple(map(int, config["canvas"])), tuple(map(int, config["size"]))
        if size != sides[1:] or max(size) > 2 * LARGEST or canvas != sketched(np.zeros((1, *sides), np.float32)).shape[1:]:
            raise ValueError("the sizes do not fit together")
        weights = {key: torch.from_numpy(array) for key, array in under("generator.", stored.arrays).items()}
        if any(not weight.isfinite().all() for weight in weights.values()):
            raise ValueError("a weight is not a finite number")
        held = {key.removeprefix("sketch."): weight for key, weight in weights.items() if key.startswith("sketch.")}
        if len(held["centres"]) != 1 + len(attributes.groups):
            raise ValueError("the kinds of image do not fit the groups")
        generator = _generator(held, (canvas[0], canvas[1], canvas[2]), (size[0], size[1]), attributes.width, torch.Generator())
        try:
            generator.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError("the weights do not fit together") from error
        span = config["range"] and (float(config["range"][0]), float(config["range"][1]))
        model = cls(epsilon=config["epsilon"], delta=config["delta"], minutes=config["minutes"], range=span)
        spends = [Spend(str(what), float(rho), float(sensitivity)) for what, rho, sensitivity in config["spends"]]
        model._fitted = _Fitted(
            table,
            attributes,
            generator.requires_grad_(False),
            bool(config["finished"]),
            like,
            str(told["name"]),
            spends,
            bool(config["on_synthetic"]),
        )
        return model


def finished(asked: _Asked, *, minutes: float, seed: int, on_step: OnStep | None = None) -> _Fitted:
    """The model that follows from the answers: the sketch, and the generator that learned to show what they tell. With the same answers and
    seed the same comes out, whoever the patients are, and though they be deleted."""
    height, width = (int(side) for side in on_canvas(asked.like).shape[2:])
    canvas = tuple(int(side) for side in sketched(np.zeros((1, len(asked.like.channels), height, width), np.float32)).shape[1:])
    numbers, look, basis = _public(asked.attributes, (canvas[0], height, width), canvas)
    arrays = sketch_from(asked.release, basis, numbers, asked.attributes.width)
    held = {key: torch.from_numpy(array) for key, array in arrays.items()}
    start = torch.Generator().manual_seed(seeds.integer(seed, "private images", "network"))
    generator = _generator(held, (canvas[0], canvas[1], canvas[2]), (height, width), asked.attributes.width, start)
    steps = steps_in(minutes, (0, canvas[0], height, width))  # a round takes no longer than one of ImageGAN's
    if steps:
        frame = asked.table.sample(DRAWN, seed=seeds.integer(seed, "private images", "learn")).frame
        told = torch.from_numpy(asked.attributes.encode(frame))
        generator = learn(
            generator,
            torch.from_numpy(averages(asked.release).astype(np.float32)),
            look,
            lambda count, rng: told[torch.randint(len(told), (count,), generator=rng)],
            steps=steps,
            rng=torch.Generator().manual_seed(seeds.integer(seed, "private images", "learn")),
            on_step=on_step,
        )
    elif on_step is not None:
        on_step(1, 1, "fit", {})
    generator.requires_grad_(False)
    return _Fitted(asked.table, asked.attributes, generator, bool(steps), asked.like, asked.name, asked.spends, asked.on_synthetic)


def images_of(cohort: Cohort) -> tuple[str, Images]:
    """The one Images of a cohort, by name. How many images and patients there are is not asked: an answer would tell."""
    found = {name: held for name, held in cohort.media.items() if isinstance(held, Images)}
    if len(found) != 1 or len(cohort.media) != 1:
        raise InputError(
            f"The cohort's media are {list(cohort.media)}; one Images is learned. Give Cohort(..., media={{'images': Images(...)}})."
        )
    name, images = next(iter(found.items()))
    if max(images.size) > LARGEST:
        raise InputError(
            f"Images of {images.size[0]} x {images.size[1]} pixels are larger than {LARGEST}, the most that is learned. Say size=128 "
            f"(--size 128) where they are read."
        )
    return name, images


def _attributes(table: PrivateMarginals, seed: int) -> Attributes:
    """Groups and scales, from patients of the noisy table."""
    drawn = table.sample(DRAWN, seed=seeds.integer(seed, "private images", "attributes"))
    found = Attributes.fit(drawn)
    group = Counter(found.encode(drawn.frame)[:, 0].astype(int).tolist())
    largest = sorted(range(len(found.groups)), key=lambda at: -group[1 + at])[:GROUPS]
    return replace(found, groups=[found.groups[at] for at in sorted(largest)])


def _public(attributes: Attributes, sides: tuple[int, ...], canvas: tuple[int, ...]) -> tuple[list[int], Look, Basis]:
    """Places of numbers among what is given, how images are looked at, and the cosines: all follow from the size and noisy answers."""
    first = 1 + sum(map(len, attributes.levels.values()))
    numbers = [first + 2 * at for at in range(len(attributes.numbers))]
    look = Look.of(_eyes(), (sides[0], sides[1], sides[2]))
    return numbers, look, Basis.of((canvas[0], canvas[1], canvas[2]))


def _restored_like(told: dict[str, Any]) -> Images:
    channels = tuple(str(name) for name in told["channels"])
    height, width = (int(side) for side in told["size"])
    empty = np.zeros((0, len(channels), height, width), np.dtype(str(told["dtype"])))
    return Images(empty, float(told["low"]), float(told["high"]), channels, str(told["unit"]))
