"""WaveformGAN: patients with signals. A Gaussian of each group's records, which a convolutional generator corrects in the game."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from proband import seeds
from proband.cohort import Cohort
from proband.encode.waveforms import COARSE, Attributes, Scale, drawn_kinds, gaussian_of, kinds_of, summary
from proband.errors import InputError
from proband.game import duel
from proband.game.play import Pairs, deterministic, play
from proband.game.signals import HISS, STYLE, Discriminator, Gaussian, Generator, Shaken, forge_turn, shaken
from proband.records.waveforms import Signals
from proband.schema import Schema
from proband.schema.model import validated
from proband.stats.discrimination import auc
from proband.synthesizer import Model, OnStep, restore, under, write_model
from proband.synthesizers.copula import GaussianCopula
from proband.synthesizers.drawing import marked
from proband.synthesizers.refine import RISK, attacker, held_out

WIDTH = 32  # of both players
MINUTES = 1.5
BATCH = 32
GAMMA = 0.01  # of the zero-centred penalties; .3 left the discriminator blind to what trees tell at a glance
RATES = (1e-3, 3e-4)  # of discriminator and generator: on a few hundred records an equally quick generator ran ahead into noise
HELD_OUT = 0.2  # share of the training patients that the gate judges by
FEWEST = 30  # records below which a spread would be a handful of patients
DRAWN = 3  # draws that the judges see: one draw's luck decides too often
TREES, FOLDS = 100, 5
STRENGTHS = (1.0, 0.5)  # shares of the game's correction among which the gate chooses
FEWEST_ASIDE = 20  # records below which the gate could not tell
OVERLAP = 64  # a longer record is drawn in pieces that share the 64th part of one: enough to join, too little to blur two beats
LOOSE = 0.05  # variance, in standard units, by which the shared part may differ before it is blended
AT_ONCE = 2**23  # numbers in the widest layer at a time


class _Fitted(NamedTuple):
    """shares (1 + groups, kinds): how often a group's records are of each kind. like: no record, but names, units, rate and gains.
    stages: what the gate's judges found of the Gaussian and of the game, `kept` or not; empty where nothing was played."""

    schema: Schema
    patients: GaussianCopula
    attributes: Attributes
    scale: Scale
    shares: np.ndarray
    generator: Generator
    like: Signals
    name: str
    history: list[tuple[int, float]]
    stages: list[dict[str, float]]
    on_synthetic: bool


class WaveformGAN:
    """Fits the first table and the signals of its rows, and samples both: the attributes first, then each record given them.

    minutes   training time on an ordinary core, at most; with 0 the Gaussian stays as it is. The number of rounds follows from it and
              the size of a record alone

    A record is of one of the kinds that its group has (levels of the discrete columns), is drawn from the Gaussian of that kind around a
    mean that all attributes move, and corrected by convolutions that learn in the relativistic duel. The correction, or half of it,
    stays only if judges find its records harder to tell from held-out patients' and membership risk does not rise (`stages`). The
    attributes are a `GaussianCopula`.

    >>> model = WaveformGAN(minutes=2).fit(cohort, seed=0)                    # doctest: +SKIP
    >>> model.sample(100, seed=1, where="label = '2'").media["ecg"].values    # doctest: +SKIP
    """

    name: ClassVar[str] = "waves"

    def __init__(self, *, minutes: float | None = None) -> None:
        if minutes is not None and not 0 <= minutes <= 100_000:
            raise InputError(f"minutes = {minutes!r} is not a training time. Give a number such as 4, or 0 for the Gaussian alone.")
        self.minutes = MINUTES if minutes is None else minutes
        self._fitted: _Fitted | None = None

    @property
    def history(self) -> list[tuple[int, float]]:
        """(round, share of held-out pairs in which the discriminator scored the real record above the fake); 0.5 is a guess."""
        return list(self._learned.history)

    @property
    def stages(self) -> list[dict[str, float]]:
        """What the gate found of the Gaussian, of all and of half the correction (`strength`): `success` and `membership` of judges, both
        AUCs, and which was `kept`."""
        return list(self._learned.stages)

    @property
    def _learned(self) -> _Fitted:
        if self._fitted is None:
            raise InputError("This WaveformGAN has not learned anything yet. Call fit(cohort, seed=...) first, or load a saved model.")
        return self._fitted

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Learn from a cohort whose media hold one `Signals`. A fifth of its patients only judge what the game made of the Gaussian;
        with fewer than 20 records of theirs nothing is played.

        Interrupted, the model stays as it was. InputError without signals, with linked tables, or below 30 records.
        """
        name, signals = _signals_of(cohort)
        patients = GaussianCopula().fit(replace(cohort, media={}), seed=seed)
        steps = steps_in(self.minutes, signals)
        attributes, scale = Attributes.fit(cohort), Scale.of(signals)
        values, given = scale.encode(signals.values), attributes.encode(cohort.frame)
        rng = torch.Generator().manual_seed(seeds.integer(seed, "waves", "fit"))

        def gaussian(rows: np.ndarray) -> tuple[Generator, np.ndarray, Pairs]:
            number = seeds.integer(seed, "waves", "kinds")
            kind, shares = kinds_of(values[rows], given[rows], len(attributes.groups), seed=number)
            told = np.concatenate([kind[:, None], given[rows, 1:]], axis=1).astype(np.float32)
            arrays = gaussian_of(values[rows], told, shares.shape[1])
            made = _generator({key: torch.from_numpy(array) for key, array in arrays.items()}, attributes.width, rng)
            return made, shares, Pairs(torch.from_numpy(values[rows]), torch.from_numpy(told))

        history: list[tuple[int, float]] = []
        stages: list[dict[str, float]] = []
        aside = held_out(cohort, HELD_OUT, seed)
        if steps and aside.sum() >= FEWEST_ASIDE:
            start, shares, real = gaussian(~aside)
            told = drawn_kinds(given[aside], shares, seeds.generator(seed, "waves", "held out"))
            unseen = Pairs(torch.from_numpy(values[aside]), torch.from_numpy(told))
            played, history = _played(start, real, unseen, steps, rng, on_step)
            generator, stages = _judged(start, played, real, unseen, seed)
        elif on_step is not None:
            on_step(1, 1, "fit", {})
        if not any(stage["kept"] for stage in stages[1:]):
            generator, shares, _ = gaussian(np.ones(len(values), bool))
        like = signals.take(np.zeros(0, int))
        generator.requires_grad_(False)
        self._fitted = _Fitted(
            cohort.schema, patients, attributes, scale, shares, generator, like, name, history, stages, cohort.mark is not None
        )
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None, seconds: float | None = None) -> Cohort:
        """`n` synthetic patients, each with a record; every one keeps the schema's rules and satisfies `where`.

        seconds   how long the records are, as long as the training records unless told. Longer ones are drawn piece after piece, each
                  given the end of the one before, and corrected as a whole
        """
        learned = self._learned
        rate, width = learned.like.rate_hz, learned.generator.samples
        samples = width if seconds is None else round(seconds * rate)
        if samples < 1:
            raise InputError(f"seconds = {seconds!r} is less than one sample at {rate:g} Hz. Give at least {1 / rate:g}.")
        frame = learned.patients.sample(n, seed=seeds.integer(seed, "waves", "patients"), where=where).frame
        given = learned.attributes.encode(frame)
        told = torch.from_numpy(drawn_kinds(given, learned.shares, seeds.generator(seed, "waves", "kinds")))
        rng = torch.Generator().manual_seed(seeds.integer(seed, "waves", "sample"))
        rows = max(1, AT_ONCE // (2 * WIDTH * samples))
        with deterministic(), torch.no_grad():
            parts = [_records(learned.generator, part, samples, rng) for part in told.split(rows) if len(part)]
        nothing = np.zeros((0, len(learned.like.names), samples), np.float32)
        values = learned.scale.decode(np.concatenate([nothing, *(part.numpy() for part in parts)]))
        made = marked(frame, learned.schema, self.name, seed, where=where, on_synthetic=learned.on_synthetic)
        return replace(made, media={learned.name: replace(learned.like, values=values).on_grid()})

    def save(self, path: str | Path) -> None:
        """Write a model folder. It holds the generator with its Gaussian, and the table's copula; the discriminator stays behind."""
        learned = self._learned
        plain, arrays = learned.patients.state()
        like = learned.like
        config = {
            "patients": plain,
            "attributes": learned.attributes.state(),
            "signals": {"name": learned.name, "names": like.names, "units": like.units, "rate_hz": like.rate_hz, "gains": like.gains},
            "minutes": self.minutes,
            "history": learned.history,
            "stages": learned.stages,
            "on_synthetic": learned.on_synthetic,
        }
        weights = {f"generator.{key}": weight.numpy() for key, weight in learned.generator.state_dict().items()}
        scale = {f"scale.{key}": array for key, array in learned.scale._asdict().items()}
        write_model(
            path,
            self.name,
            config,
            {f"patients.{key}": array for key, array in arrays.items()} | weights | scale | {"shares": learned.shares},
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder; a missing, oversized, altered or hostile file raises InputError."""
        return restore(path, cls.name, cls._rebuilt)

    @classmethod
    def _rebuilt(cls, stored: Model) -> Self:
        config, told = stored.config, stored.config["signals"]
        patients = GaussianCopula.rebuilt(Model("copula", stored.version, config["patients"], under("patients.", stored.arrays)))
        attributes = Attributes.restored(config["attributes"])
        weights = {key: torch.from_numpy(array) for key, array in under("generator.", stored.arrays).items()}
        if any(not weight.isfinite().all() for key, weight in weights.items() if key != "gaussian.level"):
            raise ValueError("a weight is not a finite number")
        held = {key.removeprefix("gaussian."): weight for key, weight in weights.items() if key.startswith("gaussian.")}
        generator = _generator(held, attributes.width, torch.Generator())
        try:
            generator.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError("the weights do not fit together") from error
        shares = stored.arrays["shares"]
        if shares.shape != (1 + len(attributes.groups), len(generator.gaussian.centres)) or not np.allclose(shares.sum(axis=1), 1):
            raise ValueError("the kinds of record do not fit the groups")
        scale = Scale(**under("scale.", stored.arrays))
        empty = np.zeros((0, generator.gaussian.channels, generator.samples))
        gains = None if told["gains"] is None else tuple(told["gains"])
        like = Signals(empty, tuple(told["names"]), tuple(told["units"]), told["rate_hz"], gains)
        history = [(int(step), float(rate)) for step, rate in config["history"]]
        model = cls(minutes=config["minutes"])
        schema = validated(config["patients"]["schema"], "The model's schema")
        model._fitted = _Fitted(
            schema,
            patients,
            attributes,
            scale,
            shares,
            generator.requires_grad_(False),
            like,
            str(told["name"]),
            history,
            list(config["stages"]),
            bool(config["on_synthetic"]),
        )
        return model


def steps_in(minutes: float, signals: Signals) -> int:
    """Rounds that fit in `minutes` on an ordinary core: a fixed sum, not a measurement, so that the same seed plays the same game."""
    _, channels, samples = signals.values.shape
    return round(minutes * 60 / (0.01 + 5e-4 * samples * (1 + 0.1 * channels)))


def _signals_of(cohort: Cohort) -> tuple[str, Signals]:
    """The one Signals of a cohort, by name."""
    found = {name: held for name, held in cohort.media.items() if isinstance(held, Signals)}
    if len(found) != 1 or len(cohort.media) != 1:
        raise InputError(
            f"The cohort's media are {list(cohort.media)}; one Signals is learned. Give Cohort(..., media={{'ecg': Signals(...)}})."
        )
    if cohort.linked:
        raise InputError(
            f"The cohort has linked tables {list(cohort.linked)}; signals are learned with the first alone. Leave the others out."
        )
    name, signals = next(iter(found.items()))
    if len(signals) < FEWEST:
        raise InputError(f"{len(signals)} records are too few to learn from. Bring at least {FEWEST}, better some hundreds.")
    return name, signals


def _generator(held: Mapping[str, Tensor], attributes: int, rng: torch.Generator) -> Generator:
    """The generator around a Gaussian. ValueError when the Gaussian's parts do not fit together."""
    scores, size = held["basis"].shape
    channels = held["level"].shape[1]
    kinds = len(held["factors"])
    fits = (
        held["mean"].shape == (size,)
        and held["slopes"].shape == (attributes, scores)
        and held["factors"].shape == (kinds, scores, scores)
        and held["centres"].shape == (kinds, scores)
        and held["tails"].shape == (2,)
        and held["level"].shape == (2, channels)
        and size % channels == 0
    )
    if not fits:
        raise ValueError("the Gaussian's parts do not fit together")
    return Generator(Gaussian(**held, coarse=min(COARSE, scores)), attributes, rng, width=WIDTH)


def _played(
    start: Generator, real: Pairs, unseen: Pairs, steps: int, rng: torch.Generator, on_step: OnStep | None
) -> tuple[Generator, list[tuple[int, float]]]:
    """The generator that the game made of `start`, which stays as it is, and the game's history."""
    assert real.given is not None
    step = float(torch.diff(real.real, dim=2).std()) if start.samples > 1 else 1.0
    discriminator = Discriminator(start.gaussian.channels, start.samples, real.given.shape[1] - 1, step or 1.0, rng, width=WIDTH)
    game = Shaken(copy.deepcopy(start), discriminator, start.noise)
    averaged = play(
        game,
        _batches(real, rng),
        steps=steps,
        judge_turn=partial(duel.judge_turn, gamma=GAMMA),
        forge_turn=forge_turn,
        rng=rng,
        rates=RATES,
        held_out=unseen,
        look_every=max(1, steps // 40),
        on_step=on_step,
    )
    assert isinstance(averaged, Generator)
    return averaged, game.history


def _judged(start: Generator, played: Generator, real: Pairs, unseen: Pairs, seed: int) -> tuple[Generator, list[dict[str, float]]]:
    """The generator that judges find hardest to tell, with all of the game's correction, half of it or none, and what they found of each:
    `success` of trees that tell its records from held-out patients' and from those learned from (the mean of two AUCs), `membership` (AUC
    of the nearest-neighbour ratio), which may not rise by more than .01.
    """
    assert real.given is not None
    known, others = real.real.numpy(), unseen.real.numpy()
    attack = attacker(summary(known), summary(others), seed)
    found: list[dict[str, float]] = []
    candidates = [start, *(_weakened(played, strength) for strength in STRENGTHS)]
    for generator, strength in zip(candidates, (0.0, *STRENGTHS), strict=True):
        rng = torch.Generator().manual_seed(seeds.integer(seed, "waves", "judged"))
        with deterministic(), torch.no_grad():
            draws = [_records(generator, real.given, generator.samples, rng).numpy() for _ in range(DRAWN)]
        success = np.mean([_told(draw, side, seed) for draw in draws for side in (others, known)])
        membership = np.mean([attack(summary(draw)) for draw in draws])
        found.append({"strength": strength, "success": float(success), "membership": float(membership), "kept": 0.0})
    allowed = [at for at, stage in enumerate(found) if stage["membership"] <= found[0]["membership"] + RISK]
    best = min(allowed, key=lambda at: found[at]["success"])
    found[best]["kept"] = 1.0
    return candidates[best], found


def _weakened(generator: Generator, strength: float) -> Generator:
    """The generator with only a share of its correction."""
    found = copy.deepcopy(generator)
    with torch.no_grad():
        for weight in found.out.parameters():
            weight.mul_(strength)
    return found


def _told(made: np.ndarray, real: np.ndarray, seed: int) -> float:
    """AUC of cross-fitted randomised trees that see values and steps; .5: they cannot tell."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    both, label = np.concatenate([made, real]), np.repeat([0, 1], [len(made), len(real)])
    seen = np.concatenate([both, np.diff(both, axis=2)], axis=2).reshape(len(both), -1)
    number = seeds.integer(seed, "waves", "trees") % 2**31
    trees, folds = ExtraTreesClassifier(TREES, random_state=number), StratifiedKFold(FOLDS, shuffle=True, random_state=number)
    return auc(cross_val_predict(trees, seen, label, cv=folds, method="predict_proba")[:, 1], label)


def _batches(real: Pairs, rng: torch.Generator) -> Iterator[Pairs]:
    """Endless batches of records, each shaken anew."""
    assert real.given is not None
    while True:
        rows = torch.randint(len(real.real), (BATCH,), generator=rng)
        yield Pairs(shaken(real.real[rows], rng), real.given[rows])


def _records(generator: Generator, given: Tensor, samples: int, rng: torch.Generator) -> Tensor:
    """(rows, channels, samples) standardised records of any length."""
    width, gaussian = generator.samples, generator.gaussian
    shared = min(max(1, width // OVERLAP), width - 1)
    pieces = max(1, -(-(samples - shared) // (width - shared)))
    normal = torch.randn(pieces, len(given), gaussian.numbers, generator=rng)
    normal[1:, :, -2:] = normal[0, :, -2:]  # as loud as it began
    shape, loud = gaussian(normal[0], given)
    fade = torch.linspace(0, 1, shared + 2)[1:-1]
    for piece in normal[1:]:
        follow = gaussian.following(piece, given, (shape + loud)[:, :, shape.shape[2] - shared :], LOOSE, rng)
        shape, loud = (_joined(before, after, fade) for before, after in zip((shape, loud), follow, strict=True))
    style = torch.randn(len(given), STYLE, generator=rng)
    hiss = torch.randn(len(given), HISS, samples, generator=rng)
    return generator.correct(shape[:, :, :samples], loud[:, :, :samples], style, hiss, given)


def _joined(before: Tensor, after: Tensor, fade: Tensor) -> Tensor:
    """Two stretches that share len(fade) samples, the one faded into the other."""
    shared, end = len(fade), before.shape[2] - len(fade)
    between = before[:, :, end:] * (1 - fade) + after[:, :, :shared] * fade
    return torch.cat([before[:, :, :end], between, after[:, :, shared:]], dim=2)
