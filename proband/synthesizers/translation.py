"""Translator: images of one kind from images of another, such as a CT from an MRI. How it learns is chosen by what the images are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from proband import seeds
from proband.errors import InputError
from proband.game import duel
from proband.game.flows import Registration, warp
from proband.game.play import Game, Pairs, deterministic, play
from proband.game.translation import MULTIPLE, Discriminator, Generator, Paired, Unpaired, forge_paired, forge_unpaired, nothing
from proband.records.images import Images
from proband.stats.translation import information, levels, moved
from proband.synthesizer import Model, OnStep, restore, under, write_model

MINUTES = 10.0
BATCH = 4
CROP = 128  # pixels a side that are learned from at a time; the unpaired discriminator sees whole images, since it knows places
GAMMA = 0.05  # of the zero-centred penalties
RATES = {"aligned": (5e-4, 2e-3), "misaligned": (5e-4, 1e-3), "unpaired": (5e-4, 1e-3)}  # of discriminator and generator
SECONDS = {"aligned": 2.2e-5, "misaligned": 2.6e-5, "unpaired": 4.5e-5}  # of a step for each pixel of an image, on an ordinary core
LOOKED_AT = 24  # pairs from which it is told whether they are pairs, and lie on one another
MOST, PARTNERS = 400, 3  # targets among which partners are looked for; partners of each source
COARSE = 32  # pixels a side at which it is asked whether pairs are pairs: a shift of some pixels does not matter there
ERROR = 0.01  # chance with which strangers are taken for pairs
FIRST = 0.25  # share of the time after which it is asked whether pairs lie on one another
APART = 0.75  # pixels of common shift from which pairs count as misaligned
TURN, GROW, MOVE, CONTRAST = 8.0, 0.08, 0.04, 0.2  # degrees, share, share of a side, standard deviation of log gamma
AT_ONCE = 2**20  # pixels that are translated at a time
PHYSICAL = "HU"


class _Kind(NamedTuple):
    """What a side's images are: no pixel of any."""

    low: float
    high: float
    channels: tuple[str, ...]
    unit: str
    dtype: str

    @classmethod
    def of(cls, images: Images) -> _Kind:
        return cls(images.low, images.high, images.channels, images.unit, images.values.dtype.name)


class _Fitted(NamedTuple):
    """common: pixels of shift that pairs had in common, NaN for unpaired images. shift: the domain's own, (2, knots, knots) or None."""

    net: Generator
    source: _Kind
    target: _Kind
    mode: str
    common: float
    shift: np.ndarray | None


class Translator:
    """Fits images of a source and of a target, and translates other images of the source; in physical units in and out, any size.

    minutes   training time on an ordinary core, at most. The number of steps follows from it and the size of the images alone

    `mode` says what the images were found to be, and so how it learned:

    aligned      pairs that lie on one another: L1, gradient difference and a small game
    misaligned   pairs that do not: the same against the target as a small registration bends what is made (Kong et al., *RegGAN*,
                 NeurIPS 2021); it is dropped afterwards
    unpaired     patch InfoNCE and identity (Park et al., *CUT*, ECCV 2020) and the game, in which the discriminator sees a view that a
                 learned shift of the whole domain bent, while the unbent image is held to the source (after Wang et al., *DiCyc*, 2021)

    >>> model = Translator(minutes=20).fit(mri, ct, cases=patients, mask=bodies, seed=0)     # doctest: +SKIP
    >>> made, doubt = model.translate(others), model.uncertainty(others)                    # doctest: +SKIP
    """

    name: ClassVar[str] = "translator"

    def __init__(self, *, minutes: float | None = None) -> None:
        if minutes is not None and not 0 < minutes <= 100_000:
            raise InputError(f"minutes = {minutes!r} is not a training time. Give a number such as 10.")
        self.minutes = MINUTES if minutes is None else minutes
        self._fitted: _Fitted | None = None

    @property
    def mode(self) -> str:
        """How it learned: aligned, misaligned or unpaired."""
        return self._learned.mode

    @property
    def common(self) -> float:
        """Pixels of shift that the pairs of the training images had in common; NaN where there were none."""
        return self._learned.common

    @property
    def shift(self) -> np.ndarray | None:
        """(2, knots, knots) down and right in pixels: how the target's images were found to be bent beside the source's; a control grid of
        cubic B-splines. None where pairs told."""
        return self._learned.shift

    @property
    def _learned(self) -> _Fitted:
        if self._fitted is None:
            raise InputError(
                "This Translator has not learned anything yet. Call fit(source, target, seed=...) first, or load a saved model."
            )
        return self._fitted

    def fit(
        self,
        source: Images,
        target: Images,
        *,
        cases: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        paired: bool | None = None,
        seed: int,
        on_step: OnStep | None = None,
    ) -> Self:
        """Learn from images of both kinds.

        cases    (images of the source,) the patient of each, so that every patient weighs the same; each image its own unless told
        mask     (images of the source, height, width) bool, where pixels count, such as the body. Not read where nothing is paired
        paired   whether image i of either is of the same place of the same patient; asked of the images unless told

        Interrupted, the model stays as it was. InputError where sizes or counts do not fit together.
        """
        _must_fit(source, target, cases, mask, paired)
        one, other = torch.from_numpy(source.scaled()), torch.from_numpy(target.scaled())
        if paired is None:
            paired = len(source) == len(target) and are_pairs(source, target, seed=seed)
        if not paired and len(source.channels) != len(target.channels):
            raise InputError(
                f"The source has {len(source.channels)} channels and the target {len(target.channels)}, and images are not paired: the "
                "same network reads both then. Bring pairs, or one channel of each."
            )
        inside = np.ones((len(source), *source.size), bool) if mask is None else np.asarray(mask, bool)
        rng = torch.Generator().manual_seed(seeds.integer(seed, "translator", "fit"))
        told = _padded(torch.cat([one, torch.from_numpy(inside[:, None].astype(np.float32))], dim=1))
        other, weights = _padded(other), _even(np.arange(len(source)) if cases is None else np.asarray(cases))
        net, common, shift = Generator(one.shape[1], other.shape[1], rng), float("nan"), None
        if paired:
            batches = _pairs(told, other, weights, source.unit == "", rng)
            steps = steps_in(self.minutes, source.size, "aligned")
            first = max(1, round(FIRST * steps))
            net = _played(Paired(net, None), batches, "aligned", first, rng, _part(on_step, 0, steps)).net
            common = _common(net, told, other, inside)
            mode = "misaligned" if common > APART else "aligned"
            rest = max(1, steps_in((1 - FIRST) * self.minutes, source.size, mode))
            registration = Registration(other.shape[1], rng) if mode == "misaligned" else None
            net = _played(Paired(net, registration), batches, mode, rest, rng, _part(on_step, first, first + rest)).net
        else:
            mode = "unpaired"
            batches = _strangers(told, other, partners(source, target), weights, rng)
            player = _played(Unpaired(net, rng), batches, mode, steps_in(self.minutes, source.size, mode), rng, on_step)
            assert isinstance(player, Unpaired)
            net, shift = player.net, player.shift.control[0].numpy()
        self._fitted = _Fitted(net.requires_grad_(False), _Kind.of(source), _Kind.of(target), mode, common, shift)
        return self

    def translate(self, images: Images) -> Images:
        """Images of the source as images of the target: its unit, range and pixel type, the size as it was.

        Grey levels are read from each set's own black to its own white, as every scanner has others; values with a unit as in training.
        """
        learned = self._learned
        return replace(self._blank(images), values=_typed(self._both(images)[0], learned.target))

    def uncertainty(self, images: Images) -> Images:
        """How far off `translate` is likely to be at each pixel, in the target's unit: the scale b of a Laplace distribution, under which
        half of all errors are below 0.69 b and nineteen in twenty below 3 b. It knows what training images taught, not what they lacked."""
        target = self._learned.target
        scale = np.exp(self._both(images)[1]) * (target.high - target.low) / 2
        return replace(self._blank(images), values=scale.astype(np.float32), low=0.0, high=(target.high - target.low) / 2)

    def save(self, path: str | Path) -> None:
        """Write a model folder; discriminator and registration stay behind."""
        learned = self._learned
        config: dict[str, Any] = {
            "minutes": self.minutes,
            "source": learned.source._asdict(),
            "target": learned.target._asdict(),
            "mode": learned.mode,
            "common": None if np.isnan(learned.common) else learned.common,
        }
        arrays = {f"net.{key}": weight.numpy() for key, weight in learned.net.state_dict().items()}
        write_model(path, self.name, config, arrays | ({} if learned.shift is None else {"shift": learned.shift}))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder; a missing, oversized, altered or hostile file raises InputError."""
        return restore(path, cls.name, cls._rebuilt)

    @classmethod
    def _rebuilt(cls, stored: Model) -> Self:
        config = stored.config
        source, target = (_Kind(**{**config[side], "channels": tuple(config[side]["channels"])}) for side in ("source", "target"))
        for side in (source, target):  # an image that cannot be is refused where images are
            Images(np.zeros((0, len(side.channels), 1, 1), np.dtype(side.dtype)), side.low, side.high, side.channels, side.unit)
        weights = {key: torch.from_numpy(array) for key, array in under("net.", stored.arrays).items()}
        if any(not weight.isfinite().all() for weight in weights.values()):
            raise ValueError("a weight is not a finite number")
        net = Generator(len(source.channels), len(target.channels), torch.Generator())
        try:
            net.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError("the weights do not fit together") from error
        if config["mode"] not in RATES:
            raise ValueError("there is no such mode")
        model = cls(minutes=config["minutes"])
        common = float("nan") if config["common"] is None else float(config["common"])
        model._fitted = _Fitted(net.requires_grad_(False), source, target, config["mode"], common, stored.arrays.get("shift"))
        return model

    def _blank(self, images: Images) -> Images:
        """Images of the target's kind without a pixel set, as large as `images`."""
        target = self._learned.target
        values = np.zeros((len(images), len(target.channels), *images.size), np.float32)
        return Images(values, target.low, target.high, target.channels, target.unit, images.spacing_mm)

    def _both(self, images: Images) -> tuple[np.ndarray, np.ndarray]:
        """Values and log scales, each (images, channels, height, width), in half ranges."""
        learned = self._learned
        known = learned.source
        if (images.channels, images.unit) != (known.channels, known.unit):
            raise InputError(
                f"The images have channels {list(images.channels)} in unit {images.unit!r}; the model learned from "
                f"{list(known.channels)} in {known.unit!r}. Translate images of that kind, or fit on this one."
            )
        if images.unit:
            images = replace(images, low=known.low, high=known.high)
        scaled, (height, width) = torch.from_numpy(images.scaled()), images.size
        rows = max(1, AT_ONCE // (height * width))
        with deterministic(), torch.no_grad():
            parts = [learned.net.both(_padded(part)) for part in scaled.split(rows) if len(part)]
        nothing = np.zeros((0, learned.net.outputs, height, width), np.float32)
        values, scales = (np.concatenate([nothing, *(part[at].numpy()[:, :, :height, :width] for part in parts)]) for at in (0, 1))
        return values, scales


def steps_in(minutes: float, size: tuple[int, int], mode: str) -> int:
    """Steps that fit in `minutes` on an ordinary core: a fixed sum, not a measurement, so that the same seed learns the same."""
    height, width = (-(-side // MULTIPLE) * MULTIPLE for side in size)
    pixels = height * width if mode == "unpaired" else min(height, CROP) * min(width, CROP)
    return max(1, round(minutes * 60 / (0.03 + SECONDS[mode] * pixels)))


def are_pairs(source: Images, target: Images, *, seed: int) -> bool:
    """Whether image i of either shows the same place: most share more with their partner than with a stranger (sign test, error .01).

    What is shared is mutual information at 32 x 32 pixels. Fewer than 8 images can never tell, and count as strangers.
    """
    from scipy.stats import binomtest

    count = len(source)
    rows = seeds.generator(seed, "translator", "pairs").permutation(count)[: 4 * LOOKED_AT]
    one, other = (levels(images.take(rows).resized(COARSE, COARSE).scaled().mean(axis=1)) for images in (source, target))
    ahead = [information(a, b) - information(a, c) for a, b, c in zip(one, other, np.roll(other, 1, axis=0), strict=True)]
    return count >= 8 and binomtest(int(np.sum(np.array(ahead) > 0)), len(ahead), alternative="greater").pvalue < ERROR


def partners(source: Images, target: Images) -> np.ndarray:
    """(sources, up to 3) the images of the target that share most with each of the source, by mutual information at 32 x 32 pixels; of at
    most 400 targets, evenly chosen."""
    rows = np.unique(np.linspace(0, len(target) - 1, MOST).astype(int))
    one, other = (levels(images.resized(COARSE, COARSE).scaled().mean(axis=1)) for images in (source, target.take(rows)))
    shared = np.array([[information(a, b) for b in other] for a in one])
    return np.asarray(rows[np.argsort(-shared, axis=1, kind="stable")[:, :PARTNERS]])


def _played(
    player: Paired | Unpaired, batches: Iterator[Pairs], mode: str, steps: int, rng: torch.Generator, on_step: OnStep | None
) -> Paired | Unpaired:
    """The player after so many rounds, its weights averaged."""
    net = player.net
    judge = Discriminator(net.outputs, net.inputs, rng, told=mode == "aligned", placed=mode == "unpaired")
    averaged = play(
        Game(player.requires_grad_(True), judge, nothing),
        batches,
        steps=steps,
        judge_turn=partial(duel.judge_turn, gamma=GAMMA),
        forge_turn=forge_unpaired if mode == "unpaired" else forge_paired,
        rng=rng,
        rates=RATES[mode],
        on_step=on_step,
    )
    assert isinstance(averaged, Paired | Unpaired)
    return averaged


def _part(on_step: OnStep | None, before: int, steps: int) -> OnStep | None:
    """Progress of a part of the rounds as that of all."""
    return None if on_step is None else lambda done, _, what, figures: on_step(before + done, max(steps, before + done), what, figures)


def _common(net: Generator, told: Tensor, target: Tensor, mask: np.ndarray) -> float:
    """Pixels of shift that what a first fit makes has in common with its target. Of one contrast, both can be laid on one another, and a
    fit to pairs that lie apart at random lies in their middle; what all pairs share, the contrast's own edges among it, it has learned."""
    rows = np.unique(np.linspace(0, len(told) - 1, LOOKED_AT).astype(int))
    with deterministic(), torch.no_grad():
        made = net.both(told[rows, :-1])[0]
    height, width = mask.shape[1:]
    one, other = (part.mean(1).numpy()[:, :height, :width] for part in (made, target[rows]))
    found = moved(one, other, mask[rows], low=-1, high=1, other_range=(-1, 1)).common
    return 0.0 if np.isnan(found) else found


def _must_fit(source: Images, target: Images, cases: np.ndarray | None, mask: np.ndarray | None, paired: bool | None) -> None:
    for name, images in (("source", source), ("target", target)):
        if not len(images):
            raise InputError(f"{name}: 0 images, expected at least one. Bring some.")
    if source.size != target.size:
        raise InputError(
            f"source: {source.size} pixels, target: {target.size}; expected one size. Bring both to it with resized(height, width)."
        )
    if min(source.size) < 16:
        raise InputError(f"source: {source.size} pixels, expected at least 16 a side. Bring larger images.")
    if paired and len(source) != len(target):
        raise InputError(
            f"source: {len(source)} images, target: {len(target)}, and paired = True: expected as many of each. Take out what has no "
            "partner, or leave `paired` out."
        )
    if cases is not None and len(cases) != len(source):
        raise InputError(f"cases: {len(cases)} for {len(source)} images of the source, expected one for each. Say whose each image is.")
    if mask is not None and np.shape(mask) != (len(source), *source.size):
        raise InputError(f"mask: shape {np.shape(mask)}, expected {(len(source), *source.size)}. Give true or false for each pixel.")
    if mask is not None and not np.any(mask):
        raise InputError("mask: no pixel is true, expected some that count. Mark the body, or leave `mask` out.")


def _even(cases: np.ndarray) -> Tensor:
    """(images,) how often each is drawn: every case alike."""
    _, code, counts = np.unique(cases, return_inverse=True, return_counts=True)
    return torch.from_numpy(1.0 / counts[code])


def _padded(images: Tensor) -> Tensor:
    """Sides brought to multiples of 8 by repeating the last row and column."""
    height, width = images.shape[2:]
    return pad(images, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")


def _pairs(told: Tensor, target: Tensor, weights: Tensor, own_contrast: bool, rng: torch.Generator) -> Iterator[Pairs]:
    """Endless batches of crops, both sides turned, stretched and moved as one; the source darker or brighter where it has no unit."""
    inputs = told.shape[1]
    height, width = (min(side, CROP) for side in told.shape[2:])
    while True:
        rows = torch.multinomial(weights, BATCH, replacement=True, generator=rng)
        both = turned(torch.cat([told[rows], target[rows]], dim=1), rng)
        top, left = (
            int(torch.randint(full - side + 1, (1,), generator=rng)) for full, side in zip(both.shape[2:], (height, width), strict=True)
        )
        both = both[:, :, top : top + height, left : left + width]
        source, mask, real = both[:, : inputs - 1], both[:, inputs - 1 : inputs], both[:, inputs:]
        if own_contrast:
            gamma = torch.exp(CONTRAST * torch.randn(BATCH, 1, 1, 1, generator=rng))
            source = ((source + 1) / 2).clamp(0, 1) ** gamma * 2 - 1
        yield Pairs(real, torch.cat([source, (mask > 0.5).float()], dim=1))


def _strangers(told: Tensor, target: Tensor, likely: np.ndarray, weights: Tensor, rng: torch.Generator) -> Iterator[Pairs]:
    """Endless batches of sources, each beside one of its `likely` targets (sources, few). They stay where they are: where pictures lie is
    what is learned."""
    partner = torch.from_numpy(likely)
    while True:
        rows = torch.multinomial(weights, BATCH, replacement=True, generator=rng)
        which = torch.randint(partner.shape[1], (BATCH,), generator=rng)
        yield Pairs(target[partner[rows, which]], told[rows])


def turned(images: Tensor, rng: torch.Generator, *, often: float = 0.5) -> Tensor:
    """Images (n, channels, height, width), some of them turned, stretched and moved a little; never mirrored, since sides matter."""
    count, _, height, width = images.shape
    chosen = (torch.rand(count, generator=rng) < often).float()
    draw = (2 * torch.rand(5, count, generator=rng) - 1) * chosen
    angle, tall, wide = draw[0] * TURN * torch.pi / 180, torch.exp(GROW * draw[1]), torch.exp(GROW * draw[2])
    y, x = torch.arange(height)[None, :, None] - height / 2, torch.arange(width)[None, None] - width / 2
    cosine, sine = (part[:, None, None] for part in (torch.cos(angle), torch.sin(angle)))
    tall, wide, down, right = (part[:, None, None] for part in (tall, wide, draw[3] * MOVE * height, draw[4] * MOVE * width))
    shift = torch.stack([tall * (cosine * y + sine * x) - y + down, wide * (cosine * x - sine * y) - x + right], dim=1)
    return warp(images, shift)


def _typed(values: np.ndarray, kind: _Kind) -> np.ndarray:
    """Values in half ranges in physical units, in the target's pixel type."""
    like = Images(np.zeros((0, len(kind.channels), 1, 1), np.dtype(kind.dtype)), kind.low, kind.high, kind.channels, kind.unit)
    return like.unscaled(values).values
