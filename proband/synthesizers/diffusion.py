"""TableDiffusion: noise is taken away from numbers, and masks from categories, until a patient stands there.

Gaussian diffusion of numbers beside a discrete one of categories is TabDDPM's idea (Kotelnikov et al., 2023). Here numbers are
normal scores of their ranks, so that pure noise already has their marginal; the discrete half masks (Austin et al., 2021;
Shi et al., 2024) rather than mixes, and whether a number is missing is one of its tokens.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor, nn

from proband import seeds
from proband.cohort import Cohort
from proband.encode import Codes, Field, TableEncoder
from proband.errors import InputError
from proband.game.play import average, deterministic
from proband.schema.model import validated
from proband.synthesizer import Model, OnStep, restore, under, write_model
from proband.synthesizers.drawing import marked
from proband.synthesizers.rejection import rows_of
from proband.synthesizers.scores import Scale

BATCH = 256
WIDTH = 256
BLOCKS = 3
CODE = 8  # numbers that stand for a token
WAVES = 8  # sines and cosines of the time
RATE = 2e-3
STEPS = 25  # of taking noise away; 40 took longer and changed nothing (SUPPORT2, detection .652 and .651)
SMOOTH = 12  # present tokens from which a number diffuses; with fewer it is masked, like a category
PASSES = 200  # through the training rows, at most: on Framingham (2,544 rows) 400 raised the membership AUC to .56
FEWEST_ROUNDS = 600
LEAST_TIME = 0.05  # a masked token counts 1 / time, up to 20
ROWS_AT_ONCE = 8192
CELLS = 20_000_000  # logits in memory at once
TIMES = 64  # at which the loss of a row is taken
CALIBRATED = 4096  # patients made to see how far the network's marginals are off
QUANTILES = np.linspace(0.005, 0.995, 100)


class Parts(NamedTuple):
    """Which half of the diffusion tells what.

    smooth   fields whose present values diffuse as normal scores
    words    fields whose tokens are masked; a smooth field is among them when it has missing values, with tokens 0 and 1 (present)
    levels   per word, its tokens
    """

    smooth: tuple[int, ...]
    words: tuple[int, ...]
    levels: tuple[int, ...]

    @staticmethod
    def of(fields: tuple[Field, ...]) -> Parts:
        smooth = tuple(i for i, f in enumerate(fields) if f.numeric and (f.counts[1:] > 0).sum() > SMOOTH)
        words = tuple(i for i, f in enumerate(fields) if i not in smooth or f.counts[0])
        return Parts(smooth, words, tuple(2 if i in smooth else fields[i].levels for i in words))

    def counts(self, fields: tuple[Field, ...]) -> list[np.ndarray]:
        """Per word, training patients per token."""
        return [np.array([fields[i].counts[0], fields[i].counts[1:].sum()]) if i in self.smooth else fields[i].counts for i in self.words]


class Denoiser(nn.Module):
    """(scores (rows, smooth), tokens (rows, words), time (rows,)) -> velocity (rows, smooth), logits (rows, all levels).

    Masked is the token after a word's last. Untrained, it gives every column its own marginal.
    """

    def __init__(self, smooth: int, levels: tuple[int, ...], marginals: list[Tensor], *, width: int = WIDTH, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.levels = levels
        start = np.cumsum([0, *(size + 1 for size in levels)])
        self.register_buffer("start", torch.from_numpy(start[:-1].astype(np.int64)), persistent=False)
        self.start: Tensor
        self.codes = nn.Embedding(int(start[-1]), CODE)
        self.into = nn.Linear(smooth + CODE * len(levels) + 2 * WAVES, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)) for _ in range(blocks)
        )
        self.last = nn.LayerNorm(width)
        self.velocity, self.logits = _zeros(width, smooth), _zeros(width, sum(levels))
        with torch.no_grad():
            self.logits.bias.copy_(torch.cat([torch.zeros(0), *marginals]))

    def forward(self, scores: Tensor, tokens: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity and logits."""
        waves = time[:, None] * math.pi * 2.0 ** torch.arange(WAVES) / 2
        told = self.codes(tokens + self.start).flatten(1)
        hidden = self.into(torch.cat([scores, told, waves.sin(), waves.cos()], dim=1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        hidden = self.last(hidden)
        return self.velocity(hidden), self.logits(hidden)


def _zeros(width: int, outputs: int) -> nn.Linear:
    """A linear layer that starts at zero. torch warns of one drawn for no outputs, which a table without numbers has."""
    layer = nn.Linear(width, 1)
    layer.weight, layer.bias, layer.out_features = nn.Parameter(torch.zeros(outputs, width)), nn.Parameter(torch.zeros(outputs)), outputs
    return layer


class _Fitted(NamedTuple):
    encoder: TableEncoder
    net: Denoiser
    knots: np.ndarray  # (smooth, len(QUANTILES)): the quantiles of the scores that the network makes, where they are present
    on_synthetic: bool


class TableDiffusion:
    """A diffusion model of a table: the class of TabDDPM.

    minutes   training time on an ordinary core, at most; the number of rounds follows from it and the table's size alone

    Sampling takes 25 steps of the network for all columns at once; numbers are then moved, in order, to their training quantiles.
    Rows that break a rule, or `where`, are left out and others made, so a condition below half a percent is refused. A cohort with
    several rows a patient is learned row by row.

    >>> made = TableDiffusion(minutes=1).fit(cohort, seed=1).sample(1000, seed=2)  # doctest: +SKIP
    """

    name: ClassVar[str] = "diffusion"

    def __init__(self, *, minutes: float = 1.5) -> None:
        if not 0 < minutes <= 100_000:
            raise InputError(f"minutes = {minutes!r} is not a training time. Give a number above 0, such as 1.5.")
        self.minutes = minutes
        self._fitted: _Fitted | None = None

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Learn to take noise away from the train part of a cohort. Interrupted, the model stays as it was."""
        encoder = TableEncoder.learnable(cohort)
        parts = Parts.of(encoder.fields)
        codes = encoder.encode(cohort.frame)
        rng = torch.Generator().manual_seed(seeds.integer(seed, self.name, "fit"))
        with deterministic():
            net = _net(encoder, parts, rng)
            averaged = copy.deepcopy(net).requires_grad_(False)
            steps = rounds_in(self.minutes, net, len(codes))
            optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
            for step in range(1, steps + 1):
                rows = torch.randint(len(codes), (BATCH,), generator=rng).numpy()
                points = _points(encoder, parts, Codes(codes.tokens[rows], codes.offsets[rows]), rng)
                # One time a row, spread evenly over the batch.
                time = (torch.randperm(BATCH, generator=rng) + torch.rand(BATCH, generator=rng)) / BATCH
                loss = denoising_losses(net, *points, time, rng).mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                for group in optimizer.param_groups:
                    group["lr"] = RATE * min(1.0, step / 100) * (0.51 + 0.49 * math.cos(math.pi * step / steps))
                optimizer.step()
                average(averaged, net, min(0.999, step / (step + 10)))
                if on_step is not None:
                    on_step(step, steps, "diffusion", {"loss": float(loss.detach())})
            knots = _quantiles(averaged, parts, rng)
        self._fitted = _Fitted(encoder, averaged, knots, cohort.mark is not None)
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` synthetic patients; every one keeps the rules and satisfies `where`. InputError when fewer than one in 200 would."""
        encoder, net, knots, on_synthetic = self._learned
        rng = torch.Generator().manual_seed(seeds.integer(seed, self.name, "sample"))
        with deterministic():
            codes = rows_of(encoder, n, lambda rows: _made(encoder, net, knots, rows, rng), where)
        return marked(encoder.decode(codes), encoder.schema, self.name, seed, where=where, on_synthetic=on_synthetic)

    @torch.no_grad()
    def denoising_loss(self, cohort: Cohort) -> np.ndarray:
        """(rows,) what `fit` makes small, on each row: the mean over 64 times from little noise to all, with the same noise at every call.

        For audits (`privacy.white_box`), as minus a score: the loss attack (Matsumoto, Miura and Yanai, 2023).
        """
        encoder, net = self._learned.encoder, self._learned.net
        parts, codes = Parts.of(encoder.fields), encoder.encode(cohort.frame)
        rng = torch.Generator().manual_seed(seeds.integer(0, self.name, "denoising loss"))
        total = np.zeros(len(codes))
        with deterministic():
            for some in _some(len(codes), parts):
                points = _points(encoder, parts, Codes(codes.tokens[some], codes.offsets[some]), rng)
                for time in (np.arange(TIMES) + 0.5) / TIMES:
                    losses = denoising_losses(net, *points, torch.full((len(points[2]),), time, dtype=torch.float32), rng)
                    total[some] += losses.double().numpy() / TIMES
        return total

    def save(self, path: str | Path) -> None:
        """Write a model folder: the encoder and the averaged network."""
        encoder, net, knots, on_synthetic = self._learned
        plain, arrays = encoder.state()
        config = {"schema": encoder.schema.model_dump(mode="json"), "encoder": plain, "minutes": self.minutes, "on_synthetic": on_synthetic}
        weights = {f"net.{key}": weight.numpy() for key, weight in net.state_dict().items()}
        write_model(path, self.name, config, {f"encoder.{key}": array for key, array in arrays.items()} | weights | {"knots": knots})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder; a missing, oversized, altered or hostile file raises InputError."""
        return restore(path, cls.name, cls._rebuilt)

    @classmethod
    def _rebuilt(cls, stored: Model) -> Self:
        made = cls(minutes=stored.config["minutes"])
        arrays = under("encoder.", stored.arrays)
        encoder = TableEncoder.restored(validated(stored.config["schema"], "The model's schema"), stored.config["encoder"], arrays)
        weights = under("net.", stored.arrays)
        if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in weights.values()):
            raise ValueError("a weight is not a finite number")
        net = _net(encoder, Parts.of(encoder.fields), torch.Generator())
        try:
            net.load_state_dict({key: torch.from_numpy(array) for key, array in weights.items()})
        except RuntimeError as error:
            raise ValueError("the weights do not fit the table") from error
        knots = stored.arrays["knots"]
        if knots.shape != (net.velocity.out_features, len(QUANTILES)) or not np.isfinite(knots).all() or (np.diff(knots) < 0).any():
            raise ValueError("the quantiles do not fit the columns")
        made._fitted = _Fitted(encoder, net.requires_grad_(False), knots, bool(stored.config["on_synthetic"]))
        return made

    @property
    def _learned(self) -> _Fitted:
        if self._fitted is None:
            raise InputError("This TableDiffusion has not learned anything yet. Call fit(cohort, seed=...) first, or load a saved model.")
        return self._fitted


def rounds_in(minutes: float, net: Denoiser, rows: int) -> int:
    """Rounds that fit in `minutes` on an ordinary core: a fixed sum, not a measurement, so that the same seed learns the same."""
    size = sum(weight.numel() for name, weight in net.named_parameters() if not name.startswith("codes"))
    seconds = 0.003 + 1.5e-8 * size + 1e-6 * BATCH * len(net.levels)
    return max(1, min(round(minutes * 60 / seconds), max(FEWEST_ROUNDS, PASSES * rows // BATCH)))


def denoising_losses(net: Denoiser, scores: Tensor, known: Tensor, tokens: Tensor, time: Tensor, rng: torch.Generator) -> Tensor:
    """(rows,) the mean over fields: squared error of the velocity where a score is known, cross entropy of masked tokens.

    At `time` t (rows,) the noise has the share sin^2(pi t / 2) of the variance (a cosine schedule), and a token is masked with probability
    t; weighted 1 / t, every token counts alike at every time.
    """
    signal, noise = (torch.cos(math.pi / 2 * time)[:, None], torch.sin(math.pi / 2 * time)[:, None])
    drawn = torch.randn(scores.shape, generator=rng)
    masked = torch.rand(tokens.shape, generator=rng) < time[:, None]
    hidden = torch.where(masked, torch.tensor(net.levels, dtype=torch.int64), tokens)
    velocity, logits = net(signal * scores + noise * drawn, hidden, time)
    errors = ((velocity - (signal * drawn - noise * scores)) ** 2 * known).sum(1)
    weight = masked / time.clamp(min=LEAST_TIME)[:, None]
    for k, part in enumerate(logits.split(net.levels, dim=1)):
        errors = errors + nn.functional.cross_entropy(part, tokens[:, k], reduction="none") * weight[:, k]
    return errors / (scores.shape[1] + tokens.shape[1])


def _net(encoder: TableEncoder, parts: Parts, rng: torch.Generator) -> Denoiser:
    """An untrained network for the table; its first weights come from `rng` alone."""
    marginals = [torch.from_numpy(np.log((counts + 1e-6) / (counts.sum() + 1e-6))).float() for counts in parts.counts(encoder.fields)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))
        return Denoiser(len(parts.smooth), parts.levels, marginals)


def _points(encoder: TableEncoder, parts: Parts, codes: Codes, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (rows, smooth), where they are known, and tokens (rows, words). A value's place within its token is drawn anew each time.

    Where a score is missing, noise stands in.
    """
    scores = torch.randn((len(codes), len(parts.smooth)), generator=rng)
    known = torch.from_numpy(codes.tokens[:, list(parts.smooth)] > 0)
    places = torch.rand(scores.shape, generator=rng, dtype=torch.float64).numpy()
    for k, i in enumerate(parts.smooth):
        offsets = np.where(encoder.bins(i)[codes.tokens[:, i]], codes.offsets[:, i], places[:, k])
        found = Scale.of(encoder.fields[i].counts).scores(codes.tokens[:, i], offsets)
        scores[:, k] = torch.where(known[:, k], torch.from_numpy(found).float(), scores[:, k])
    tokens = np.stack([np.minimum(codes.tokens[:, i], 1) if i in parts.smooth else codes.tokens[:, i] for i in parts.words], axis=1) \
        if parts.words else np.zeros((len(codes), 0))  # fmt: skip
    return scores, known, torch.from_numpy(tokens.astype(np.int64))


def _some(rows: int, parts: Parts) -> list[slice]:
    """The rows, a few thousand at a time."""
    at_once = max(1, min(ROWS_AT_ONCE, CELLS // max(1, sum(parts.levels))))
    return [slice(start, min(rows, start + at_once)) for start in range(0, rows, at_once)]


@torch.no_grad()
def _made(encoder: TableEncoder, net: Denoiser, knots: np.ndarray, rows: int, rng: torch.Generator) -> Codes:
    """`rows` patients, a few thousand at a time."""
    parts = Parts.of(encoder.fields)
    tokens = np.zeros((rows, len(encoder.fields)), np.int32)
    offsets = np.full((rows, len(encoder.fields)), 0.5)
    for some in _some(rows, parts):
        scores, words = denoised(net, len(parts.smooth), some.stop - some.start, rng)
        places = torch.rand((some.stop - some.start, len(encoder.fields)), generator=rng, dtype=torch.float64).numpy()
        told = dict(zip(parts.words, words.T, strict=True))
        for i, word in told.items():
            tokens[some, i] = word
            offsets[some, i] = np.where(encoder.bins(i)[word] if i not in parts.smooth else False, places[:, i], 0.5)
        for k, i in enumerate(parts.smooth):
            token, offset = Scale.of(encoder.fields[i].counts).codes(_calibrated(scores[:, k], knots[k]))
            present = told[i] > 0 if i in told else np.ones(len(token), bool)
            tokens[some, i], offsets[some, i] = np.where(present, token, 0), np.where(present, offset, 0.5)
    return Codes(tokens, offsets)


def _quantiles(net: Denoiser, parts: Parts, rng: torch.Generator) -> np.ndarray:
    """(smooth, quantiles) of what the network makes: a short training leaves them a little off those of a standard normal."""
    scores, words = denoised(net, len(parts.smooth), min(CALIBRATED, max(1000, CELLS // max(1, sum(parts.levels)))), rng)
    told = dict(zip(parts.words, words.T, strict=True))
    knots = np.empty((len(parts.smooth), len(QUANTILES)))
    for k, i in enumerate(parts.smooth):
        present = scores[told[i] > 0, k] if i in told else scores[:, k]
        knots[k] = np.quantile(present, QUANTILES) if len(present) >= len(QUANTILES) else ndtri(QUANTILES)
    return knots


def _calibrated(scores: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Scores moved, in order, to where their quantiles should be; beyond the outer ones all alike."""
    scores, target = scores.astype(float), ndtri(QUANTILES)
    beyond = np.where(scores < knots[0], scores - knots[0], np.maximum(scores - knots[-1], 0))
    return np.interp(scores, knots, target) + beyond


@torch.no_grad()
def denoised(net: Denoiser, smooth: int, rows: int, rng: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scores (rows, smooth) and tokens (rows, words) out of pure noise and masks.

    Scores follow the deterministic path (Song et al., 2021), which in the angle pi t / 2 is dx = velocity; a step goes by the velocities
    of this and of the last (Adams and Bashforth), since one alone draws scores to the middle. Of the tokens that are masked at time t,
    the share (t - s) / t is drawn on the way to time s.
    """
    scores = torch.randn((rows, smooth), generator=rng)
    masks = torch.tensor(net.levels, dtype=torch.int64)
    tokens = masks.repeat(rows, 1)
    before: Tensor | None = None
    for step in range(STEPS, 0, -1):
        now, then = step / STEPS, (step - 1) / STEPS
        velocity, logits = net(scores, tokens, torch.full((rows,), now))
        scores = scores - math.pi / 2 * (now - then) * (velocity if before is None else 1.5 * velocity - 0.5 * before)
        before = velocity
        chance = torch.rand(tokens.shape, generator=rng) * now < now - then
        for k, part in enumerate(logits.split(net.levels, dim=1)):
            told = torch.nonzero((tokens[:, k] == masks[k]) & chance[:, k])[:, 0]
            # The largest of logits plus Gumbel noise is a draw from their softmax.
            uniform = torch.rand((len(told), net.levels[k]), generator=rng).clamp(1e-20, 1 - 1e-7)
            tokens[told, k] = (part[told] - torch.log(-torch.log(uniform))).argmax(1)
    return scores.numpy(), tokens.numpy()
