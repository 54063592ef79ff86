"""The players of images: a Gaussian sketch that convolutions finish, and a discriminator that looks through a frozen network.

The sketch says where ribs, heart and diaphragm are; the generator adds through Haar bands what a Gaussian cannot say. It learns that from
two sides: from real images' own sketches, whose finish is known, and from the game, where no sketch is anybody's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    adaptive_avg_pool2d,
    affine_grid,
    avg_pool2d,
    conv2d,
    grid_sample,
    interpolate,
    leaky_relu,
    relu,
    softplus,
)

from proband.game.layers import SLOPE, linear
from proband.game.play import Game, Pairs
from proband.stats.lite import lite

STYLE = 32  # numbers that an image as a whole brings, beside its sketch
HISS = 2  # channels of fresh noise in the plane
WIDTH, WIDEST = 32, 96  # channels at half of 64 pixels; halved for each doubling beyond, doubled on the way down
SEEN = 64  # pixels of a side that the frozen network sees at least: smaller images leave its last maps without a place
MIXED = (24, 32, 48, 64, 64)  # channels that each map is mixed to, the finest first: it has few, and costs most
SIGMA = 0.05  # of the noise by which steepness is told, in standard deviations of the features
GAMMA = (0.1, 0.02)  # weight of steepness at the beginning and the end of the game
ANCHOR = 5.0  # weight of the hold to the sketch: without it one sketch of a class ends as any image of it, at last as the same
COURSE = 16  # pixels of a side to which both are averaged before they are compared
FINISH = 2.5  # weight of the error in finishing real sketches
BEYOND, ALLOWED = 20.0, 1.02  # weight of pixels outside black and white: there the frozen network is flat, and nothing leads back
OFTEN = (0.2, 0.8)  # how often an image is shaken, at least and at most
KNOWN = 0.8  # success on training pairs above which the discriminator begins to know patients by heart


class Sketch(nn.Module):
    """Images around a mean that attributes move, spread as their kind spreads; nothing in it is trained by the game.

    mean     (channels x height x width,) of the sketch's canvas, which may be smaller than the images; basis (scores, the same)
    slopes   (attributes, coarse) how attributes move the first scores; centres (kinds, coarse) where each kind lies beside that
    factors  (kinds, coarse, coarse) a factor of each kind's covariance
    rest     (scores - coarse,) standard deviations of the other scores, which the game replaces by better
    canvas   channels, height and width of the sketch; size: height and width of the images
    """

    def __init__(
        self,
        mean: Tensor,
        basis: Tensor,
        slopes: Tensor,
        centres: Tensor,
        factors: Tensor,
        rest: Tensor,
        canvas: tuple[int, int, int],
        size: tuple[int, int],
    ) -> None:
        super().__init__()
        parts = {"mean": mean, "basis": basis, "slopes": slopes, "centres": centres, "factors": factors, "rest": rest}
        for name, held in parts.items():
            self.register_buffer(name, held)
        self.mean: Tensor
        self.basis: Tensor
        self.slopes: Tensor
        self.centres: Tensor
        self.factors: Tensor
        self.rest: Tensor
        self.canvas, self.size = canvas, size

    @property
    def coarse(self) -> int:
        """How many scores make a sketch."""
        return self.slopes.shape[1]

    def forward(self, normal: Tensor, given: Tensor) -> Tensor:
        """Standard normal (images, coarse) and what is given (images, 1 + attributes), the kind first -> images."""
        kind = given[:, 0].long()
        scores = given[:, 1:] @ self.slopes + self.centres[kind] + torch.bmm(self.factors[kind], normal[:, :, None])[:, :, 0]
        return self._drawn(self.mean + scores @ self.basis[: self.coarse])

    def whole(self, normal: Tensor, given: Tensor, rng: torch.Generator) -> Tensor:
        """As `forward`, with the other scores too: the best that a Gaussian can do."""
        more = self.rest * torch.randn(len(normal), len(self.rest), generator=rng)
        return self(normal, given) + self._drawn(more @ self.basis[self.coarse :])

    def of(self, images: Tensor) -> Tensor:
        """The sketches of real images."""
        _, height, width = self.canvas
        small = images if self.size == (height, width) else adaptive_avg_pool2d(images, (height, width))
        scores = (small.flatten(1) - self.mean) @ self.basis[: self.coarse].T
        return self._drawn(self.mean + scores @ self.basis[: self.coarse])

    def _drawn(self, flat: Tensor) -> Tensor:
        found = flat.unflatten(1, self.canvas)
        return found if self.size == self.canvas[1:] else interpolate(found, size=self.size, mode="bilinear", align_corners=False)


def haar(images: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, 4 c, h / 2, w / 2): means of four pixels, and how they differ across, down and crosswise."""
    a, b, c, d = images[..., ::2, ::2], images[..., ::2, 1::2], images[..., 1::2, ::2], images[..., 1::2, 1::2]
    return torch.cat([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], dim=1) / 2


def unhaar(bands: Tensor) -> Tensor:
    """The way back from `haar`."""
    mean, across, down, crosswise = bands.chunk(4, dim=1)
    top = torch.stack([mean + across + down + crosswise, mean - across + down - crosswise], dim=-1).flatten(-2)
    bottom = torch.stack([mean + across - down - crosswise, mean - across - down + crosswise], dim=-1).flatten(-2)
    return torch.stack([top, bottom], dim=-2).flatten(-3, -2) / 2


def convolution(inputs: int, outputs: int, rng: torch.Generator, *, gain: float = 1.0, size: int = 3, bias: bool = True) -> nn.Conv2d:
    """A convolution drawn from `rng` (He et al., 2015, times `gain`); pixels beyond the edge count as zero."""
    layer = nn.utils.skip_init(nn.Conv2d, inputs, outputs, size, padding=size // 2, bias=bias)
    with torch.no_grad():
        layer.weight.normal_(0, gain / (inputs * size * size) ** 0.5, generator=rng)
        if layer.bias is not None:
            layer.bias.zero_()
    return layer.to(memory_format=torch.channels_last)


class Stage(nn.Module):
    """Two convolutions, moved and scaled by the style, roughened by noise, beside what came in; it starts as that."""

    def __init__(self, inputs: int, outputs: int, style: int, rng: torch.Generator) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, rng, gain=2**0.5)
        self.second = convolution(outputs, outputs, rng, gain=0.0)
        self.style = linear(style, 2 * outputs, rng, gain=0.0)
        self.hiss = convolution(HISS, outputs, rng, gain=0.0, size=1, bias=False)
        self.skip = convolution(inputs, outputs, rng, size=1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, style: Tensor, hiss: Tensor) -> Tensor:
        scale, shift = self.style(style)[:, :, None, None].chunk(2, dim=1)
        found = self.first(leaky_relu(x, SLOPE)) * (1 + scale) + shift + self.hiss(hiss)
        return self.skip(x) + self.second(leaky_relu(found, SLOPE))


class Noise(NamedTuple):
    """What makes an image: its sketch's scores, its style, and fresh noise at half its size."""

    normal: Tensor
    style: Tensor
    hiss: Tensor


class Generator(nn.Module):
    """generator(noise, given) -> (images, channels, height, width): a sketch, finished by convolutions at half its size and below."""

    def __init__(self, sketch: Sketch, attributes: int, rng: torch.Generator) -> None:
        super().__init__()
        self.sketch, channels = sketch, sketch.canvas[0]
        widths = _widths(min(sketch.size))
        told = STYLE + attributes
        self.into = convolution(4 * channels + HISS, widths[0], rng)
        self.down = nn.ModuleList(Stage(a, b, told, rng) for a, b in pairwise([widths[0], *widths]))
        self.middle = Stage(widths[-1], widths[-1], told, rng)
        self.up = nn.ModuleList(Stage(a + b, b, told, rng) for a, b in pairwise(widths[::-1]))
        self.last = Stage(widths[0], widths[0], told, rng)
        self.out = convolution(widths[0], 4 * channels, rng, gain=0.0, bias=False)

    def noise(self, count: int, rng: torch.Generator) -> Noise:
        """Standard normal numbers for `count` images."""
        height, width = self.sketch.size
        return Noise(
            torch.randn(count, self.sketch.coarse, generator=rng),
            torch.randn(count, STYLE, generator=rng),
            torch.randn(count, HISS, height // 2, width // 2, generator=rng),
        )

    def forward(self, noise: Noise, given: Tensor) -> Tensor:
        return self.finish(self.sketch(noise.normal, given), noise, given)

    def finish(self, sketches: Tensor, noise: Noise, given: Tensor) -> Tensor:
        """Sketches (images, channels, height, width) as images."""
        style, bands = torch.cat([noise.style, given[:, 1:]], dim=1), haar(sketches)
        x = self.into(torch.cat([bands, noise.hiss], dim=1).contiguous(memory_format=torch.channels_last))
        kept, hiss = [], [noise.hiss]
        for at, stage in enumerate(self.down):
            if at:
                x, hiss = avg_pool2d(x, 2), [*hiss, 2 * avg_pool2d(hiss[-1], 2)]  # the mean of four, as loud as each
            x = stage(x, style, hiss[at])
            kept.append(x)
        x = self.middle(kept.pop(), style, hiss.pop())
        for stage in self.up:
            x = stage(torch.cat([interpolate(x, scale_factor=2), kept.pop()], dim=1), style, hiss.pop())
        found = self.out(leaky_relu(self.last(x, style, noise.hiss), SLOPE))
        channels = self.sketch.canvas[0]
        fine = found[:, channels:]
        # A constant in a band of differences is a checkerboard.
        return unhaar(bands + torch.cat([found[:, :channels], fine - fine.mean((2, 3), keepdim=True)], dim=1))


def _widths(side: int) -> list[int]:
    """Channels from half the size of an image down to an eighth of 64 pixels."""
    levels = 3 + max(0, (side - 1) // 64).bit_length()
    return [min(WIDEST, max(16, WIDTH * 2**at // 2 ** (levels - 3))) for at in range(levels)]


def multiple(side: int) -> int:
    """What height and width must be a multiple of, so that every level has whole pixels."""
    return int(2 ** len(_widths(side)))


#: What the discriminator looks through: images -> maps, from the finest to the coarsest. Nothing in it learns.
Eyes = Callable[[Tensor], list[Tensor]]


def through_lite(images: Tensor) -> list[Tensor]:
    """Haar bands, and four maps of EfficientNet-lite0 (Sauer et al., NeurIPS 2021), which does not see a comb of one pixel.

    Each channel is looked at by itself, unless there are three."""
    apart = 1 if images.shape[1] in (1, 3) else images.shape[1]
    seen = images.unflatten(1, (apart, -1)).flatten(0, 1)
    if min(seen.shape[2:]) < SEEN:
        larger = SEEN / min(seen.shape[2:])
        seen = interpolate(seen, scale_factor=larger, mode="bilinear", align_corners=False)
    maps, _ = lite(0)(seen, whole=False)
    return [haar(images), *(held.unflatten(0, (-1, apart)).flatten(1, 2) for held in maps)]


def through_haar(images: Tensor) -> list[Tensor]:
    """Haar bands of an image and of its averages: what there is to see without the network's wheel."""
    maps = []
    for _ in MIXED:
        maps.append(haar(images))
        images = avg_pool2d(images, 2) if not any(side % 4 for side in images.shape[2:]) else images
    return maps


class Discriminator(nn.Module):
    """discriminator(maps, given) -> (images,) scores: a small head on each map, which by chance also sees the coarser ones.

    What is given is told by projection (Miyato and Koyama, ICLR 2018). `often` is how often images are shaken: more as they are known.
    """

    def __init__(self, eyes: Eyes, like: Tensor, attributes: int, rng: torch.Generator) -> None:
        super().__init__()
        with torch.no_grad():
            maps = eyes(like)
        self.register_buffer("scale", torch.stack([1 / (held.std() + 1e-6) for held in maps]))
        self.register_buffer("often", torch.tensor(OFTEN[0]))
        self.scale: Tensor
        self.often: Tensor
        for at, (held, width) in enumerate(zip(maps, MIXED, strict=True)):
            self.register_buffer(f"mix{at}", torch.randn(width, held.shape[1], 1, 1, generator=rng) / held.shape[1] ** 0.5)
        self.first = nn.ModuleList(convolution(width, width, rng, gain=2**0.5) for width in MIXED)
        self.second = nn.ModuleList(convolution(width, width, rng, gain=2**0.5) for width in MIXED)
        self.out = nn.ModuleList(convolution(width, 1, rng, size=1) for width in MIXED)
        self.told = nn.ModuleList(linear(attributes, width, rng) for width in MIXED)

    def scaled(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps with a standard deviation of about one, so that no weight of the loss hangs on the data."""
        return [held * scale for held, scale in zip(maps, self.scale, strict=True)]

    def forward(self, maps: list[Tensor], given: Tensor) -> Tensor:
        total, coarser = torch.zeros(len(given)), None
        for at in reversed(range(len(maps))):
            x = conv2d(maps[at], self.get_buffer(f"mix{at}"))
            if coarser is not None:
                x = (x + interpolate(coarser[:, : x.shape[1]], size=x.shape[2:])) / 2**0.5
            coarser = x
            x = leaky_relu(self.second[at](leaky_relu(self.first[at](x), SLOPE)), SLOPE)
            told = self.told[at](given[:, 1:])[:, :, None, None]
            total = total + (self.out[at](x) + (x * told).sum(1, keepdim=True) / MIXED[at] ** 0.5).mean((1, 2, 3))
        return total


class Turn(NamedTuple):
    """What the generator's move takes over from the discriminator's, so that nothing is made or looked at twice."""

    real: Tensor
    sketches: Tensor  # that the fakes began as
    made: Tensor
    real_seen: list[Tensor]
    made_seen: list[Tensor]
    shake: Tensor


@dataclass
class Viewing(Game):
    """The game of images: both moves of a round look at the same images, through the same eyes, shaken alike."""

    eyes: Eyes = through_lite
    rounds: int = 1
    turns: dict[int, Turn] = field(default_factory=dict, repr=False)
    rights: dict[int, float] = field(default_factory=dict)  # of each side of the last round: success on pairs that it learns from

    @property
    def players(self) -> tuple[Generator, Discriminator]:
        assert isinstance(self.generator, Generator) and isinstance(self.discriminator, Discriminator)
        return self.generator, self.discriminator

    def seen(self, images: Tensor) -> list[Tensor]:
        """Scaled maps."""
        return self.players[1].scaled(self.eyes(images))

    def judge(self, examples: Tensor, given: Tensor | None = None) -> Tensor:
        """How real each image looks, (images,)."""
        assert given is not None
        return self.discriminator(self.seen(examples), given)


def judge_turn(game: Game, pairs: Pairs, rng: torch.Generator) -> Tensor:
    """The discriminator's losses, one per pair, as in the duel; steepness is told in what it sees (finite differences)."""
    assert isinstance(game, Viewing) and pairs.given is not None
    generator, discriminator = game.players
    shake = drawn_shake(len(pairs.real), float(discriminator.often), rng)
    noise = generator.noise(len(pairs.real), rng)
    with torch.no_grad():
        sketches = generator.sketch(noise.normal, pairs.given)
        real_seen = game.seen(shaken(pairs.real, shake))
    made = generator.finish(sketches, noise, pairs.given)
    made_seen = game.seen(shaken(made, shake))
    game.turns[pairs.side] = Turn(pairs.real, sketches, made, real_seen, made_seen, shake)
    both = [torch.cat([real, made.detach()]) for real, made in zip(real_seen, made_seen, strict=True)]
    given = torch.cat([pairs.given, pairs.given])
    scores = discriminator(both, given)
    real_scores, made_scores = scores.chunk(2)
    game.rights[pairs.side] = float((real_scores > made_scores).float().mean())
    moved = [held + SIGMA * torch.randn(held.shape, generator=rng) for held in both]
    steepness = sum(((discriminator(moved, given) - scores) / SIGMA).square().chunk(2))
    gamma = GAMMA[0] * (GAMMA[1] / GAMMA[0]) ** min(1.0, len(game.history) / max(1, game.rounds))
    return softplus(made_scores - real_scores) + gamma / 2 * steepness


def forge_turn(game: Game, pairs: Pairs, rng: torch.Generator, *, anchor: float = ANCHOR, finish: float = FINISH) -> Tensor:
    """The generator's losses, one per fake: how it compares with a real image, how far it went from its sketch, and how well real sketches
    are finished: in pixels, and in the finer maps of what the discriminator sees."""
    assert isinstance(game, Viewing) and pairs.given is not None
    generator, discriminator = game.players
    turn = game.turns.pop(pairs.side)
    with torch.no_grad():
        real_scores = discriminator(turn.real_seen, pairs.given)
        if pairs.side == 0:  # all sides have judged, and none reads this now
            right = sum(game.rights.values()) / len(game.rights)
            discriminator.often.add_(0.01 if right > KNOWN else -0.01).clamp_(*OFTEN)
    losses = softplus(real_scores - discriminator(turn.made_seen, pairs.given))
    astray = (course(turn.made) - course(turn.sketches)).square().mean((1, 2, 3))
    losses = losses + anchor * astray + BEYOND * relu(turn.made.abs() - ALLOWED).square().mean((1, 2, 3))
    half = max(1, len(turn.real) // 2)
    real, given = turn.real[:half], pairs.given[:half]
    with torch.no_grad():
        sketches = generator.sketch.of(real)
    finished = generator.finish(sketches, generator.noise(half, rng), given)
    maps = game.seen(shaken(finished, turn.shake[:half]))
    missed = (finished - real).abs().mean() + sum(
        (a - b[:half]).abs().mean() for a, b in zip(maps[:3], turn.real_seen[:3], strict=True)
    ) / 5
    return losses + finish * missed


def course(images: Tensor) -> Tensor:
    """Images averaged to where things are."""
    return adaptive_avg_pool2d(images, (min(COURSE, images.shape[2]), min(COURSE, images.shape[3])))


def drawn_shake(count: int, often: float, rng: torch.Generator) -> Tensor:
    """(images, 5): turn in radians, size, shift right and down in half sides, brightness. Each image is left as it is but `often`; none is
    ever mirrored: on which side the heart lies is content."""
    spread = torch.tensor([0.05, 0.05, 0.05, 0.05, 0.05])
    return spread * torch.randn(count, 5, generator=rng).clamp(-2, 2) * (torch.rand(count, 1, generator=rng) < often)


def shaken(images: Tensor, shake: Tensor) -> Tensor:
    """Images turned, sized, shifted and lit as `shake` says, edges mirrored inward."""
    turn, size, right, down, light = shake.T
    cosine, sine = torch.cos(turn) * (1 + size), torch.sin(turn) * (1 + size)
    height, width = images.shape[2:]
    rows = [torch.stack([cosine, -sine * height / width, right], 1), torch.stack([sine * width / height, cosine, down], 1)]
    grid = affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    moved = grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    still = (shake == 0).all(1)[:, None, None, None]
    return torch.where(still, images, moved * (1 + light)[:, None, None, None])
