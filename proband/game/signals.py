"""The players of regular signals: a Gaussian draw that convolutions correct, and a discriminator of convolutions.

The generator starts as the Gaussian (its last layer at zero), so the first fake already looks like a record, and the game has only to find
what a Gaussian cannot say: noise that comes and goes, edges that are sharp or late together, shapes that do not mix.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, leaky_relu, softplus

from proband.game.layers import SLOPE, linear
from proband.game.play import Game, Pairs

DILATIONS = (1, 2, 4, 8, 16)  # with kernels of 5 samples a value is seen by 125 around it
KERNEL = 5
HISS = 4  # channels of fresh noise in time
SMOOTH = 8  # samples over which a course is averaged before it is held to the Gaussian's
ANCHOR = 10.0  # weight of that hold in the generator's loss: a draw of one class must not turn into a record of another
STYLE = 8  # numbers that a record as a whole brings, beside its Gaussian scores


def convolution(inputs: int, outputs: int, rng: torch.Generator, *, gain: float = 1.0, stride: int = 1, dilation: int = 1) -> nn.Conv1d:
    """A convolution along time drawn from `rng` (He et al., 2015, times `gain`); samples beyond the ends count as zero."""
    padding = dilation * (KERNEL - 1) // 2
    layer = nn.utils.skip_init(nn.Conv1d, inputs, outputs, KERNEL, stride=stride, dilation=dilation, padding=padding)
    with torch.no_grad():
        layer.weight.normal_(0, gain / (inputs * KERNEL) ** 0.5, generator=rng)
        assert layer.bias is not None
        layer.bias.zero_()
    return layer


class Gaussian(nn.Module):
    """Records around a mean that attributes move, spread as their kind spreads; nothing in it is trained by the game.

    basis      (scores, channels x samples) principal components; mean (channels x samples,)
    slopes     (attributes, scores) how attributes move the mean
    centres    (kinds, scores) where each kind of record lies beside that
    factors    (kinds, scores, scores) a factor of each kind's covariance
    tails      (2,) how much records differ in the loudness of shape and hiss: standard deviations of its logarithm
    level      (2, channels) the mean and the standard deviation that every record has, or NaN where records differ in them
    coarse     how many of the first components are the shape; the rest are its hiss
    """

    def __init__(
        self, mean: Tensor, basis: Tensor, slopes: Tensor, centres: Tensor, factors: Tensor, tails: Tensor, level: Tensor, coarse: int
    ) -> None:
        super().__init__()
        parts = {"mean": mean, "basis": basis, "slopes": slopes, "centres": centres, "factors": factors, "tails": tails, "level": level}
        for name, held in parts.items():
            self.register_buffer(name, held)
        self.mean: Tensor
        self.basis: Tensor
        self.slopes: Tensor
        self.centres: Tensor
        self.factors: Tensor
        self.tails: Tensor
        self.level: Tensor
        self.coarse, self.channels = coarse, level.shape[1]

    @property
    def numbers(self) -> int:
        """How many numbers make a record: its scores, and how loud shape and hiss are."""
        return self.basis.shape[0] + 2

    def forward(self, normal: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Standard normal (records, numbers) and what is given (records, 1 + attributes), the kind first -> shape and hiss, each
        (records, channels, samples)."""
        return self.records(self.spread(normal, given))

    def spread(self, normal: Tensor, given: Tensor) -> Tensor:
        """(records, scores) around what the attributes lead to expect."""
        spread = torch.bmm(self.factors[given[:, 0].long()], normal[:, :-2, None])[:, :, 0]
        shape, hiss = torch.exp(self.tails * normal[:, -2:]).split(1, dim=1)
        expected = given[:, 1:] @ self.slopes + self.centres[given[:, 0].long()]
        return expected + torch.cat([spread[:, : self.coarse] * shape, spread[:, self.coarse :] * hiss], dim=1)

    def records(self, found: Tensor) -> tuple[Tensor, Tensor]:
        """Scores as shape and hiss."""
        shape = self.mean + found[:, : self.coarse] @ self.basis[: self.coarse]
        hiss = found[:, self.coarse :] @ self.basis[self.coarse :]
        return shape.unflatten(1, (self.channels, -1)), hiss.unflatten(1, (self.channels, -1))

    def following(self, normal: Tensor, given: Tensor, end: Tensor, loose: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """As `forward`, given that the first samples are `end` (records, channels, shared) but for noise of variance `loose`.

        A free draw is moved by what it lacks (Matheron's rule: Journel and Huijbregts, *Mining Geostatistics*, 1978).
        """
        shared = end.shape[2]
        head = self.basis.unflatten(1, (self.channels, -1))[:, :, :shared].flatten(1)  # (scores, channels x shared)
        found = self.spread(normal, given)
        shape, hiss = self.records(found)
        noise = loose**0.5 * torch.randn(end.shape, generator=rng)
        lacks = (end - noise - (shape + hiss)[:, :, :shared]).flatten(1)
        for group in given[:, 0].unique().long():
            rows = given[:, 0].long() == group
            across = self.factors[group] @ (self.factors[group].T @ head)  # covariance of scores and first samples
            within = head.T @ across + loose * torch.eye(head.shape[1])
            found[rows] = found[rows] + lacks[rows] @ torch.linalg.solve(within, across.T)
        return self.records(found)

    def at_level(self, records: Tensor) -> Tensor:
        """Each record at the mean and the standard deviation that every record has, where there is one."""
        mean, spread = self.level.nan_to_num(1.0)[:, :, None]  # NaN even on the way not taken would reach the gradient
        centred = records - records.mean(2, keepdim=True)
        moved = centred / (centred.square().mean(2, keepdim=True) + 1e-12).sqrt() * spread + mean
        return torch.where(self.level[0, :, None].isnan(), records, moved)


class Generator(nn.Module):
    """generator(noise, given) -> (records, channels, samples): the Gaussian's shape, its hiss louder or softer, and a correction."""

    def __init__(self, gaussian: Gaussian, attributes: int, rng: torch.Generator, *, width: int) -> None:
        super().__init__()
        self.gaussian, channels = gaussian, gaussian.channels
        self.samples = gaussian.mean.shape[0] // channels
        self.into = convolution(2 * channels + HISS, width, rng)
        self.style = linear(STYLE + attributes, width * len(DILATIONS), rng)
        self.first = nn.ModuleList(convolution(width, width, rng, gain=2**0.5, dilation=d) for d in DILATIONS)
        self.second = nn.ModuleList(convolution(width, width, rng, gain=0.0) for _ in DILATIONS)
        self.out = convolution(width, 2 * channels, rng, gain=0.0)

    def noise(self, count: int, rng: torch.Generator) -> Tensor:
        """Standard normal (count, numbers + style + hiss x samples)."""
        return torch.randn(count, self.gaussian.numbers + STYLE + HISS * self.samples, generator=rng)

    def forward(self, noise: Tensor, given: Tensor) -> Tensor:
        normal, style, hiss = noise.split([self.gaussian.numbers, STYLE, HISS * self.samples], dim=1)
        shape, loud = self.gaussian(normal, given)
        return self.correct(shape, loud, style, hiss.unflatten(1, (HISS, -1)), given)

    def astray(self, noise: Tensor, given: Tensor, made: Tensor) -> Tensor:
        """(records,) how far what was made of this noise lies from its Gaussian draw, in their smooth course (mean squared difference)."""
        shape, loud = self.gaussian(noise[:, : self.gaussian.numbers], given)
        apart = avg_pool1d(made - self.gaussian.at_level(shape + loud), min(SMOOTH, self.samples), ceil_mode=True)
        return apart.square().mean((1, 2))

    def correct(self, shape: Tensor, loud: Tensor, style: Tensor, hiss: Tensor, given: Tensor) -> Tensor:
        """shape, loud (records, channels, samples); style (records, STYLE); hiss (records, HISS, samples): samples may be any number."""
        x = self.into(torch.cat([shape, loud, hiss], dim=1))
        steps = self.style(torch.cat([style, given[:, 1:]], dim=1)).chunk(len(DILATIONS), dim=1)
        for first, second, step in zip(self.first, self.second, steps, strict=True):
            x = x + second(leaky_relu(first(leaky_relu(x + step[:, :, None], SLOPE)), SLOPE))
        louder, moved = self.out(leaky_relu(x, SLOPE)).chunk(2, dim=1)
        return self.gaussian.at_level(shape + loud * torch.exp(louder.clamp(-4, 2)) + moved)


class Discriminator(nn.Module):
    """discriminator(records, given) -> (records,) scores. It sees the values and their steps, and what is given by projection."""

    def __init__(self, channels: int, samples: int, attributes: int, step: float, rng: torch.Generator, *, width: int) -> None:
        super().__init__()
        widths = [2 * channels, width, width, 2 * width, 2 * width]
        self.step = step  # the usual size of a difference between neighbours, so that steps weigh as much as values
        self.layers = nn.ModuleList(
            convolution(a, b, rng, gain=2**0.5, stride=1 if at == 0 else 2) for at, (a, b) in enumerate(pairwise(widths))
        )
        for _ in self.layers[1:]:
            samples = (samples + 1) // 2
        self.flat = linear(widths[-1] * samples, 2 * width, rng, gain=2**0.5)
        self.out = linear(2 * width, 1, rng)
        self.told = linear(attributes, 2 * width, rng)

    def forward(self, records: Tensor, given: Tensor) -> Tensor:
        steps = torch.diff(records, dim=2, append=records[:, :, -1:]) / self.step
        x = torch.cat([records, steps], dim=1)
        for layer in self.layers:
            x = leaky_relu(layer(x), SLOPE)
        x = leaky_relu(self.flat(x.flatten(1)), SLOPE)
        return self.out(x)[:, 0] + (x * self.told(given[:, 1:])).sum(1) / x.shape[1] ** 0.5


class Shaken(Game):
    """A game whose fakes are shaken as the real records are (`shaken`), so that the discriminator cannot know few records by heart.

    What is shaken away it cannot judge, but nothing is added to what the generator makes (Karras et al., NeurIPS 2020).
    """

    def forge(self, count: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        """`count` fakes, each shaken."""
        return shaken(super().forge(count, rng, given), rng)


def forge_turn(game: Game, pairs: Pairs, rng: torch.Generator, *, anchor: float = ANCHOR) -> Tensor:
    """The duel's move with shaken fakes, plus how far each record went from the Gaussian draw that it began as."""
    assert isinstance(game.generator, Generator) and pairs.given is not None
    noise = game.noise(len(pairs.real), rng)
    made = game.generator(noise, pairs.given)
    with torch.no_grad():
        real_scores = game.judge(pairs.real, pairs.given)
    fake_scores = game.judge(shaken(made, rng), pairs.given)
    return softplus(real_scores - fake_scores) + anchor * game.generator.astray(noise, pairs.given, made)


def shaken(records: Tensor, rng: torch.Generator, *, often: float = 0.5, shift: float = 0.03, loudness: float = 0.1) -> Tensor:
    """Half of the records moved in time by up to a thirtieth of their length (the ends held), half made up to a tenth louder or softer."""
    count, channels, samples = records.shape
    chosen = torch.rand(2, count, generator=rng) < often
    most = int(shift * samples)
    moved = torch.randint(-most, most + 1, (count,), generator=rng) * chosen[0]
    places = (torch.arange(samples) + moved[:, None]).clamp(0, samples - 1)
    scale = 1 + loudness * (2 * torch.rand(count, generator=rng) - 1) * chosen[1]
    return records.gather(2, places[:, None, :].expand(count, channels, samples)) * scale[:, None, None]
