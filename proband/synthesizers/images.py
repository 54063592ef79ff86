"""ImageGAN: patients with images. A Gaussian sketch of each kind of image, which a convolutional generator finishes in the game."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from proband import seeds
from proband.cohort import Cohort
from proband.encode.images import KIND, from_canvas, sketch_of, sketched, to_canvas
from proband.encode.waveforms import Attributes, drawn_kinds, kinds_of
from proband.errors import InputError, Unavailable
from proband.game.images import (
    SEEN,
    Discriminator,
    Eyes,
    Generator,
    Sketch,
    Viewing,
    course,
    forge_turn,
    judge_turn,
    multiple,
    through_haar,
    through_lite,
)
from proband.game.play import THREADS, Pairs, Progress, deterministic, play
from proband.records.images import Images
from proband.records.pictures import save_grid
from proband.schema import Schema
from proband.schema.model import validated
from proband.stats.cores import on_cores
from proband.stats.images import kid
from proband.synthesizer import Model, OnStep, restore, under, write_model
from proband.synthesizers.copula import GaussianCopula
from proband.synthesizers.drawing import marked
from proband.synthesizers.refine import attacker, held_out
from proband.synthesizers.unfinished import Unfinished

MINUTES = 10.0
BATCH = 16
RATES = (5e-4, 5e-4)  # of discriminator and generator: 1e-3 exploded
WARM = 100  # rounds over which they begin
EMA = 0.998  # share of the averaged weights that survives a round
SIDES = 2  # of a batch, played side by side: as many whatever the cores, so that they change nothing
HELD_OUT = 0.1  # share of the training patients that the gate judges by
FEWEST = 100  # images below which a sketch would be a handful of patients
FEWEST_OF_LEVEL = 5  # patients that each level of a column must have: an image of a level of three would be theirs
FEWEST_ASIDE = 20  # images below which the gate could not tell
RISK = 0.02  # by which the game may raise the success of the membership attack: fewer than a thousand images tell no less
LOOKS = 40  # at the game: progress kept, a picture drawn
LARGEST = 256  # pixels of a side
AT_ONCE = 2**19  # pixels drawn at a time on a core
SHOWN = (12, 6)  # images of a row of the picture, and rows at most
EDITION = 1  # to be raised whenever learning changes: what an older one kept is not gone on from


class _Fitted(NamedTuple):
    """shares (1 + groups, kinds): how often a group's images are of each kind. like: no image, but size, range, unit and type.
    stages: what the gate found of the sketch and of the game, `kept` or not; empty where nothing was played."""

    schema: Schema
    patients: GaussianCopula
    attributes: Attributes
    shares: np.ndarray
    generator: Generator
    like: Images
    name: str
    history: list[tuple[int, float]]
    stages: list[dict[str, float]]
    on_synthetic: bool

    @property
    def finished(self) -> bool:
        """Whether images are finished as the game learned, or are as a Gaussian has them."""
        return any(stage["kept"] for stage in self.stages[1:])


class ImageGAN:
    """Fits the first table and the images of its rows, and samples both: the attributes first, then each image given them.

    minutes   training time on two ordinary cores, about; with 0 the Gaussian stays as it is. The number of rounds follows from it and the
              size of the images alone

    Every column of the table conditions the images. An image is of one of the kinds that its group has (levels of the discrete columns);
    its sketch is drawn from the Gaussian of that kind around a mean that all attributes move, and a generator finishes it. That learns in a
    relativistic     duel, against a discriminator that looks through a frozen EfficientNet-lite0 (without the extra `images`: through Haar
    bands), and stays only if its images lie closer to held-out patients' and membership risk does not rise (`stages`). The attributes are
    a `GaussianCopula`.

    >>> model = ImageGAN(minutes=10).fit(cohort, seed=0)                                  # doctest: +SKIP
    >>> model.sample(100, seed=1, where="finding = 'virus'").media["images"].shown()      # doctest: +SKIP
    """

    name: ClassVar[str] = "images"

    def __init__(self, *, minutes: float | None = None) -> None:
        if minutes is not None and not 0 <= minutes <= 100_000:
            raise InputError(f"minutes = {minutes!r} is not a training time. Give a number such as 10, or 0 for the Gaussian alone.")
        self.minutes = MINUTES if minutes is None else minutes
        self._fitted: _Fitted | None = None

    @property
    def history(self) -> list[tuple[int, float]]:
        """(round, share of held-out pairs in which the discriminator scored the real image above the fake); 0.5 is a guess."""
        return list(self._learned.history)

    @property
    def stages(self) -> list[dict[str, float]]:
        """What the gate found of the Gaussian and of the game: `kid` to held-out images, `membership` (AUC), and which was `kept`."""
        return [dict(stage) for stage in self._learned.stages]

    @property
    def _learned(self) -> _Fitted:
        if self._fitted is None:
            raise InputError("This ImageGAN has not learned anything yet. Call fit(cohort, seed=...) first, or load a saved model.")
        return self._fitted

    def fit(
        self,
        cohort: Cohort,
        *,
        seed: int,
        on_step: OnStep | None = None,
        unfinished: str | Path | None = None,
        watch: str | Path | None = None,
    ) -> Self:
        """Learn from a cohort whose media hold one `Images`. A tenth of its patients only judge what the game made of the Gaussian; with
        fewer than 20 images of theirs nothing is played.

        unfinished   a folder that keeps how far the game is; killed and called again, the same fit goes on from there to the same
                     model. It holds what a model holds: delete it once the model is saved
        watch        a PNG file that is drawn anew as the game goes on: made images, a row or more for each level of the first
                     discrete column, labelled as synthetic

        Interrupted, the model stays as it was. InputError without images, with linked tables, below 100 images, above 256 pixels, and
        where a level of a column has fewer than 5 patients.
        """
        from proband import __version__

        name, images = images_of(cohort)
        patients = GaussianCopula().fit(replace(cohort, media={}), seed=seed)
        attributes = Attributes.fit(cohort)
        values, given = on_canvas(images), attributes.encode(cohort.frame)
        like, steps, eyes = images.take(np.zeros(0, int)), steps_in(self.minutes, values.shape), _eyes()
        aside = held_out(cohort, HELD_OUT, seed)
        playing = bool(steps and aside.sum() >= FEWEST_ASIDE)
        rows = ~aside if playing else np.ones(len(values), bool)
        generator, shares, kind = _gaussian(values[rows], given[rows], attributes, seed)
        told = np.concatenate([kind[:, None], given[rows, 1:]], axis=1).astype(np.float32)
        drawn = None if watch is None else _watched(Path(watch), like, attributes, told, seed)
        if drawn is not None:
            drawn(generator, False)
        rng = torch.Generator().manual_seed(seeds.integer(seed, "images", "fit"))
        history: list[tuple[int, float]] = []
        stages: list[dict[str, float]] = []
        if playing:
            facts = (cohort.fingerprint, cohort.schema.hash, seed, steps, __version__, EDITION)
            kept = None if unfinished is None else Unfinished.of(unfinished, *facts)
            real = Pairs(torch.from_numpy(values[rows]), torch.from_numpy(told))
            others = drawn_kinds(given[aside], shares, seeds.generator(seed, "images", "held out"))
            unseen = Pairs(torch.from_numpy(values[aside]), torch.from_numpy(others))
            game = _game(generator, real, eyes, rng)
            played = _played(game, real, unseen, steps, rng, on_step, kept, drawn)
            history, stages = game.history, _judged(generator, played, real, unseen, eyes, seed)
            generator = played if stages[1]["kept"] else generator
        elif on_step is not None:
            on_step(1, 1, "fit", {})
        generator.requires_grad_(False)
        marked_before = cohort.mark is not None
        self._fitted = _Fitted(cohort.schema, patients, attributes, shares, generator, like, name, history, stages, marked_before)
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` synthetic patients, each with an image; every one keeps the schema's rules and satisfies `where`."""
        learned = self._learned
        frame = learned.patients.sample(n, seed=seeds.integer(seed, "images", "patients"), where=where).frame
        given = drawn_kinds(learned.attributes.encode(frame), learned.shares, seeds.generator(seed, "images", "kinds"))
        rng = torch.Generator().manual_seed(seeds.integer(seed, "images", "sample"))
        made = _made(learned.generator, torch.from_numpy(given), rng, finished=learned.finished)
        cohort = marked(frame, learned.schema, self.name, seed, where=where, on_synthetic=learned.on_synthetic)
        return replace(cohort, media={learned.name: from_canvas(made.numpy(), learned.like)})

    def save(self, path: str | Path) -> None:
        """Write a model folder. It holds the generator with its sketch, and the table's copula; the discriminator stays behind."""
        learned = self._learned
        plain, arrays = learned.patients.state()
        like, sketch = learned.like, learned.generator.sketch
        config = {
            "patients": plain,
            "attributes": learned.attributes.state(),
            "images": {
                "name": learned.name,
                "channels": like.channels,
                "size": like.size,
                "dtype": like.values.dtype.name,
                "low": like.low,
                "high": like.high,
                "unit": like.unit,
                "spacing_mm": like.spacing_mm,
            },
            "canvas": sketch.canvas,
            "size": sketch.size,
            "minutes": self.minutes,
            "history": learned.history,
            "stages": learned.stages,
            "on_synthetic": learned.on_synthetic,
        }
        weights = {f"generator.{key}": weight.contiguous().numpy() for key, weight in learned.generator.state_dict().items()}
        stored = {f"patients.{key}": array for key, array in arrays.items()} | weights | {"shares": learned.shares}
        write_model(path, self.name, config, stored)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder; a missing, oversized, altered or hostile file raises InputError."""
        return restore(path, cls.name, cls._rebuilt)

    @classmethod
    def _rebuilt(cls, stored: Model) -> Self:
        config, told = stored.config, stored.config["images"]
        patients = GaussianCopula.rebuilt(Model("copula", stored.version, config["patients"], under("patients.", stored.arrays)))
        attributes = Attributes.restored(config["attributes"])
        weights = {key: torch.from_numpy(array) for key, array in under("generator.", stored.arrays).items()}
        if any(not weight.isfinite().all() for weight in weights.values()):
            raise ValueError("a weight is not a finite number")
        held = {key.removeprefix("sketch."): weight for key, weight in weights.items() if key.startswith("sketch.")}
        channels, *canvas = (int(side) for side in config["canvas"])
        size = tuple(int(side) for side in config["size"])
        if len(canvas) != 2 or len(size) != 2 or not 0 < max(size) <= 2 * LARGEST or channels != len(told["channels"]):
            raise ValueError("the sizes do not fit together")
        generator = _generator(held, (channels, canvas[0], canvas[1]), (size[0], size[1]), attributes.width, torch.Generator())
        try:
            generator.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError("the weights do not fit together") from error
        shares = stored.arrays["shares"]
        if shares.shape != (1 + len(attributes.groups), len(generator.sketch.centres)) or not np.allclose(shares.sum(axis=1), 1):
            raise ValueError("the kinds of image do not fit the groups")
        spacing = None if told["spacing_mm"] is None else (float(told["spacing_mm"][0]), float(told["spacing_mm"][1]))
        empty = np.zeros((0, channels, int(told["size"][0]), int(told["size"][1])), np.dtype(str(told["dtype"])))
        like = Images(empty, float(told["low"]), float(told["high"]), tuple(told["channels"]), str(told["unit"]), spacing)
        if on_canvas(like).shape[2:] != size:
            raise ValueError("the size of the images does not fit the canvas")
        model = cls(minutes=config["minutes"])
        schema = validated(config["patients"]["schema"], "The model's schema")
        history = [(int(step), float(rate)) for step, rate in config["history"]]
        stages = [{str(key): float(value) for key, value in stage.items()} for stage in config["stages"]]
        generator.requires_grad_(False)
        model._fitted = _Fitted(
            schema, patients, attributes, shares, generator, like, str(told["name"]), history, stages, bool(config["on_synthetic"])
        )
        return model


def steps_in(minutes: float, shape: tuple[int, ...]) -> int:
    """Rounds that fit in `minutes` on two ordinary cores: a fixed sum, not a measurement, so that the same seed plays the same game."""
    channels, height, width = shape[1:]
    seen = max(1, SEEN / min(height, width)) ** 2 * height * width * (1 if channels in (1, 3) else channels)
    return round(minutes * 60 / (BATCH * (2e-3 + 5e-6 * seen + 5.2e-6 * height * width)))


def images_of(cohort: Cohort) -> tuple[str, Images]:
    """The one Images of a cohort that can be learned, by name; InputError says what is in the way."""
    found = {name: held for name, held in cohort.media.items() if isinstance(held, Images)}
    if len(found) != 1 or len(cohort.media) != 1:
        raise InputError(
            f"The cohort's media are {list(cohort.media)}; one Images is learned. Give Cohort(..., media={{'images': Images(...)}})."
        )
    if cohort.linked:
        raise InputError(
            f"The cohort has linked tables {list(cohort.linked)}; images are learned with the first alone. Leave the others out."
        )
    name, images = next(iter(found.items()))
    if len(images) < FEWEST:
        raise InputError(f"{len(images)} images are too few to learn from. Bring at least {FEWEST}, better some thousands.")
    if max(images.size) > LARGEST:
        raise InputError(
            f"Images of {images.size[0]} x {images.size[1]} pixels are larger than {LARGEST}, the most that is learned. Say size=128 "
            f"(--size 128) where they are read."
        )
    key = cohort.schema.table.key
    patient = cohort.frame[key] if key else pl.int_range(cohort.frame.height, eager=True)
    if patient.n_unique() < FEWEST_OF_LEVEL:
        raise InputError(
            f"The images are of {patient.n_unique()} patients: nobody could be held out. Bring at least {FEWEST_OF_LEVEL} patients, better "
            f"hundreds."
        )
    for column in cohort.schema.table.columns:
        if not column.discrete:
            continue
        counts = pl.DataFrame({"level": cohort.frame[column.name], "patient": patient}).drop_nulls("level")
        counts = counts.group_by("level").agg(pl.col("patient").n_unique()).filter(pl.col("patient") < FEWEST_OF_LEVEL).sort("patient")
        if len(counts):
            level, number = counts.row(0)
            raise InputError(
                f"Column {column.name!r}: level {level!r} has images of {number} patient{'s' if number > 1 else ''}"
                f"{f', and {len(counts) - 1} more levels have as few' if len(counts) > 1 else ''}; fewer than {FEWEST_OF_LEVEL} would be "
                f"copied. Put the level together with another, or leave its images or the column out."
            )
    return name, images


def on_canvas(images: Images) -> np.ndarray:
    """(images, channels, height, width) in [-1, 1], padded to sides that the players can halve as often as they do."""
    return to_canvas(images, multiple(min(images.size)))


def _eyes() -> Eyes:
    """Through the network of the extra `images` where it is installed."""
    from proband.stats.lite import lite

    try:
        lite(0)
    except Unavailable:
        return through_haar
    return through_lite


def _gaussian(values: np.ndarray, given: np.ndarray, attributes: Attributes, seed: int) -> tuple[Generator, np.ndarray, np.ndarray]:
    """The generator around the sketch of these images, the shares of kinds in each group, and the kind of each image."""
    number = seeds.integer(seed, "images", "kinds")
    kind, shares = kinds_of(course(torch.from_numpy(values)).numpy(), given, len(attributes.groups), seed=number, size=KIND)
    told = np.concatenate([kind[:, None], given[:, 1:]], axis=1).astype(np.float32)
    arrays = {key: torch.from_numpy(array) for key, array in sketch_of(values, told, shares.shape[1], seed=number).items()}
    channels, *canvas = sketched(values[:1]).shape[1:]
    rng = torch.Generator().manual_seed(seeds.integer(seed, "images", "network"))
    size = (values.shape[2], values.shape[3])
    return _generator(arrays, (channels, canvas[0], canvas[1]), size, attributes.width, rng), shares, kind


def _generator(
    held: Mapping[str, Tensor], canvas: tuple[int, int, int], size: tuple[int, int], attributes: int, rng: torch.Generator
) -> Generator:
    """The generator around a sketch. ValueError when the sketch's parts do not fit together."""
    scores, pixels = held["basis"].shape
    kinds, coarse = held["centres"].shape
    fits = (
        pixels == canvas[0] * canvas[1] * canvas[2]
        and held["mean"].shape == (pixels,)
        and held["slopes"].shape == (attributes, coarse)
        and held["factors"].shape == (kinds, coarse, coarse)
        and held["rest"].shape == (scores - coarse,)
    )
    if not fits:
        raise ValueError("the sketch's parts do not fit together")
    return Generator(Sketch(**held, canvas=canvas, size=size), attributes, rng)


def _game(start: Generator, real: Pairs, eyes: Eyes, rng: torch.Generator) -> Viewing:
    """The game that begins with the generator `start`, which stays as it is."""
    assert real.given is not None
    discriminator = Discriminator(eyes, real.real[:256], real.given.shape[1] - 1, rng)
    generator = copy.deepcopy(start)
    return Viewing(generator, discriminator, generator.noise, eyes=eyes, rounds=LOOKS)


def _played(
    game: Viewing,
    real: Pairs,
    unseen: Pairs,
    steps: int,
    rng: torch.Generator,
    on_step: OnStep | None,
    kept: Unfinished | None,
    drawn: Callable[[Generator, bool], None] | None,
) -> Generator:
    """The generator that the game made."""

    def keep(progress: Progress, averaged: torch.nn.Module) -> None:
        assert isinstance(averaged, Generator)
        if drawn is not None:
            drawn(averaged, True)
        if kept is not None:
            kept.write("game", progress)

    assert unseen.given is not None
    averaged = play(
        game,
        _batches(real, rng),
        steps=steps,
        judge_turn=judge_turn,
        forge_turn=forge_turn,
        rng=rng,
        rates=RATES,
        warm=WARM,
        ema=EMA,
        held_out=Pairs(unseen.real[:200], unseen.given[:200]),
        look_every=max(1, steps // LOOKS),
        on_step=on_step,
        before=None if kept is None else kept.read("game"),
        keep=keep,
        sides=SIDES,
    )
    assert isinstance(averaged, Generator)
    return averaged


def _batches(real: Pairs, rng: torch.Generator) -> Iterator[Pairs]:
    """Endless batches, drawn with replacement from `rng` alone."""
    assert real.given is not None
    while True:
        rows = torch.randint(len(real.real), (BATCH,), generator=rng)
        yield Pairs(real.real[rows], real.given[rows])


def _judged(start: Generator, played: Generator, real: Pairs, unseen: Pairs, eyes: Eyes, seed: int) -> list[dict[str, float]]:
    """What the gate finds of the Gaussian and of the game: `kid`, the distance to held-out images in what the discriminator sees, and
    `membership`, the AUC of the nearest-neighbour ratio, which may not rise by more than .02."""
    assert real.given is not None
    with deterministic():
        known, others = summary(real.real, start.sketch, eyes), summary(unseen.real, start.sketch, eyes)
        spread = known.std(axis=0) + 1e-6
        attack = attacker(known[:, :ATTRIBUTED], others[:, :ATTRIBUTED], seed)
        found = []
        for generator, finished in ((start, False), (played, True)):
            rng = torch.Generator().manual_seed(seeds.integer(seed, "images", "judged"))
            told = real.given[torch.randperm(len(real.given), generator=rng)[: max(500, 2 * len(others))]]
            seen = summary(_made(generator, told, rng, finished=finished), start.sketch, eyes)
            apart = kid(seen / spread, others / spread)
            found.append({"kid": apart, "membership": float(attack(seen[:, :ATTRIBUTED])), "kept": 0.0})
    better = found[1]["kid"] < found[0]["kid"] and found[1]["membership"] <= max(0.5, found[0]["membership"]) + RISK
    found[int(better)]["kept"] = 1.0
    return found


ATTRIBUTED = 96  # numbers of the summary by which an attack compares: the sketch, and the loudest maps


@torch.no_grad()
def summary(images: Tensor, sketch: Sketch, eyes: Eyes) -> np.ndarray:
    """(images, numbers) the first scores of each sketch, then means and deviations of what the discriminator's eyes see."""
    found = []
    for some in images.split(64):
        small = some if sketch.size == sketch.canvas[1:] else torch.nn.functional.adaptive_avg_pool2d(some, sketch.canvas[1:])
        scores = (small.flatten(1) - sketch.mean) @ sketch.basis[:32].T
        maps = eyes(some)
        seen = [x for held in maps for x in (held.mean((2, 3)), held.std((2, 3)))]
        found.append(torch.cat([scores, *seen], dim=1))
    return torch.cat(found).numpy().astype(float)


def _made(generator: Generator, given: Tensor, rng: torch.Generator, *, finished: bool) -> Tensor:
    """(images, channels, height, width) in [-1, 1], of the game or of the Gaussian."""
    height, width = generator.sketch.size
    parts = given.split(max(1, AT_ONCE // (height * width)))
    numbers = torch.randint(2**62, (len(parts),), generator=rng).tolist()

    @torch.no_grad()
    def made(at: int) -> Tensor:
        torch.set_num_threads(THREADS)  # a new thread may not have heard
        own = torch.Generator().manual_seed(numbers[at])
        noise = generator.noise(len(parts[at]), own)
        drawn = generator(noise, parts[at]) if finished else generator.sketch.whole(noise.normal, parts[at], own)
        return drawn.clamp(-1, 1)

    with deterministic():
        return torch.cat([torch.zeros(0, generator.sketch.canvas[0], height, width), *on_cores(made, range(len(parts)))])


def _watched(path: Path, like: Images, attributes: Attributes, told: np.ndarray, seed: int) -> Callable[[Generator, bool], None]:
    """drawn(generator, finished) writes the picture of made images, always of the same noise."""
    rng = np.random.default_rng(seeds.integer(seed, "images", "watch"))
    across, most = SHOWN
    first = next(iter(attributes.levels.values()), [None])
    rows = []
    for at in range(min(most, len(first))):
        own = np.flatnonzero(told[:, 1 + at] > 0) if len(first) > 1 else np.arange(len(told))
        rows.append(rng.choice(own, across))
    given = torch.from_numpy(told[np.concatenate(rows)])

    def drawn(generator: Generator, finished: bool) -> None:
        made = _made(generator, given, torch.Generator().manual_seed(seeds.integer(seed, "images", "watched")), finished=finished)
        save_grid(from_canvas(made.numpy(), like), path, across=across)

    return drawn
