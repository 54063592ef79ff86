"""The players of image translation: a small U-Net that makes one image of another, a discriminator of Haar bands, and the moves.

`given` holds the source image and, as its last channel, a mask: 1 where pixels count. The networks work at half the resolution and tell
four Haar bands, which a fixed transform makes an image.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pixel_shuffle, softplus

from proband.game.flows import DomainShift, Registration, convolution, descriptors, roughness, spread, warp
from proband.game.layers import SLOPE, linear
from proband.game.play import Game, Pairs

WARM = 0.7  # gain of a block's last layer: at 0, as without normalisation, 120 steps left a tenth more error
WIDTHS = (24, 48, 96)  # channels at a half, a quarter and an eighth of the resolution
MULTIPLE = 2 ** len(WIDTHS)  # sides must be multiples of it
LOOSEST, TIGHTEST = 1.0, -7.0  # of the logarithm of the scale, in half ranges
BEYOND = 0.05  # slope of the values outside -1 ... 1: enough to bring them back, too little to learn to lie there
DOUBT = 0.1  # weight of what teaches the scales
DETAIL = 0.1  # weight of the gradient difference (Mathieu et al., ICLR 2016) beside L1
OUTSIDE = 0.1  # weight of a pixel where the mask is 0: enough for air to become air
GAME = 0.02  # weight of the game beside L1
SMOOTH, CENTRED = 0.02, 0.1  # weights of the roughness of a pair's shift, and of the mean shift of all, per square pixel
TEMPERATURE = 0.07
PATCHES = 96  # places whose features are told apart in one image
#: Unpaired: weights of InfoNCE, identity, the alignment to the source, the game, grain, a pair's own shift and the domain's roughness.
CONTRAST, SAME, HOLD, LOOKS, FINE, OWN, BENT = 0.1, 0.5, 1.5, 0.05, 1.0, 0.05, 0.002


def haar(images: Tensor) -> Tensor:
    """(n, channels, height, width) -> (n, 4 x channels, height / 2, width / 2): mean, and differences across, down and both."""
    a, b = images[:, :, ::2, ::2], images[:, :, ::2, 1::2]
    c, d = images[:, :, 1::2, ::2], images[:, :, 1::2, 1::2]
    return torch.cat([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], dim=1) / 2


def unhaar(bands: Tensor) -> Tensor:
    """The inverse of `haar`."""
    low, across, down, both = bands.chunk(4, dim=1)
    corners = (low + across + down + both, low - across + down - both, low + across - down - both, low - across - down + both)
    return pixel_shuffle(torch.stack(corners, dim=2).flatten(1, 2) / 2, 2)


class Block(nn.Module):
    """x + second(act(even(first(act(x))))). Groups of channels are evened out within an example, so that no example sees another."""

    def __init__(self, width: int, rng: torch.Generator) -> None:
        super().__init__()
        self.first = convolution(width, width, rng, gain=2**0.5)
        self.second = convolution(width, width, rng, gain=WARM)
        self.even = nn.GroupNorm(width // 8, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(leaky_relu(self.even(self.first(leaky_relu(x, SLOPE))), SLOPE))


class Generator(nn.Module):
    """generator(noise, given) -> (n, outputs, height, width), about -1 ... 1. No noise is read: one source, one target.

    A U-Net (Ronneberger et al., MICCAI 2015) of residual blocks; what it skips is added. `both` gives the logarithm
    of a scale for each pixel too, that of a Laplace distribution around the value.
    """

    def __init__(self, inputs: int, outputs: int, rng: torch.Generator) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.into = convolution(4 * inputs, WIDTHS[0], rng, gain=2**0.5)
        self.down = nn.ModuleList(convolution(a, b, rng, stride=2) for a, b in pairwise(WIDTHS))
        self.left = nn.ModuleList(Block(width, rng) for width in WIDTHS)
        self.bottom = Block(WIDTHS[-1], rng)
        self.up = nn.ModuleList(convolution(b, a, rng, kernel=1) for a, b in pairwise(WIDTHS))
        self.right = nn.ModuleList(Block(width, rng) for width in WIDTHS[:-1])
        self.value = convolution(WIDTHS[0], 4 * outputs, rng, gain=0.3, bias=False)  # a constant in a band is a checkerboard
        self.scale = convolution(WIDTHS[0], 4 * outputs, rng, gain=0.1)
        with torch.no_grad():
            assert self.scale.bias is not None
            self.scale.bias.fill_(-2.0)

    def features(self, source: Tensor) -> list[Tensor]:
        """What the left side finds: one map at each of the resolutions."""
        x, found = self.into(haar(source)), []
        for at, block in enumerate(self.left):
            x = block(x if at == 0 else self.down[at - 1](leaky_relu(x, SLOPE)))
            found.append(x)
        return found

    def both(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """(values, log scales), each (n, outputs, height, width), of a source (n, inputs, height, width)."""
        *skips, x = self.features(source)
        x = self.bottom(x)
        for skip, up, block in zip(reversed(skips), reversed(self.up), reversed(self.right), strict=True):
            x = block(skip + interpolate(up(leaky_relu(x, SLOPE)), scale_factor=2, mode="nearest"))
        x = leaky_relu(x, SLOPE)
        value = unhaar(self.value(x))
        held = value.clamp(-1, 1)
        return held + BEYOND * (value - held), pixel_shuffle(self.scale(x), 2).clamp(TIGHTEST, LOOSEST)

    def forward(self, noise: Tensor, given: Tensor) -> Tensor:
        return self.both(given[:, : self.inputs])[0]


class Paired(nn.Module):
    """The generator and, where pairs do not lie on one another, the registration that bends what it makes."""

    def __init__(self, net: Generator, registration: Registration | None) -> None:
        super().__init__()
        self.net, self.registration = net, registration

    def forward(self, noise: Tensor, given: Tensor) -> Tensor:
        return self.net(noise, given)


class Unpaired(nn.Module):
    """The generator as the discriminator sees it: bent as all images of the target's domain are. `heads` project features for InfoNCE.

    After Wang et al. (DiCyc, *Information Fusion* 2021): what is common to all pictures of a domain, a scanner's distortion or how people
    lie in it, is asked for; the shift answers, so the generator need not move what it translates. They learn a path of deformable
    convolutions in a cycle; here it is one grid for the domain in the place of the second generator.
    """

    def __init__(self, net: Generator, rng: torch.Generator) -> None:
        super().__init__()
        self.net, self.shift = net, DomainShift()
        self.registration = Registration(net.outputs, rng)
        self.heads = nn.ModuleList(linear(width, 64, rng) for width in WIDTHS[1:])

    def forward(self, noise: Tensor, given: Tensor) -> Tensor:
        return self.shift(self.net(noise, given))


class Discriminator(nn.Module):
    """discriminator(examples, given) -> (n,): the mean score of patches of about 50 pixels, from Haar bands.

    told     the source is shown beside the example (paired), each where the mask is 1
    placed   where a patch lies is shown too (unpaired): then a picture that lies elsewhere than those of the domain is found out
    """

    def __init__(self, outputs: int, inputs: int, rng: torch.Generator, *, told: bool, placed: bool, width: int = 32) -> None:
        super().__init__()
        self.told, self.placed = told, placed
        widths = [4 * (outputs + inputs * told) + 2 * placed, width, 2 * width, 2 * width]
        self.layers = nn.ModuleList(convolution(a, b, rng, gain=2**0.5, stride=2) for a, b in pairwise(widths))
        self.middle = convolution(widths[-1], widths[-1], rng, gain=2**0.5)
        self.out = convolution(widths[-1], 1, rng)

    def forward(self, examples: Tensor, given: Tensor) -> Tensor:
        source, mask = given[:, :-1], given[:, -1:]
        x = haar(torch.cat([examples * mask, source * mask], dim=1)) if self.told else haar(examples)
        if self.placed:
            rows, columns = (torch.linspace(-1, 1, side, device=x.device) for side in x.shape[2:])
            places = torch.stack(torch.broadcast_tensors(rows[:, None], columns))
            x = torch.cat([x, places.expand(len(x), -1, -1, -1)], dim=1)
        for layer in self.layers:
            x = leaky_relu(layer(x), SLOPE)
        return self.out(leaky_relu(self.middle(x), SLOPE)).mean((1, 2, 3))


def nothing(count: int, rng: torch.Generator) -> Tensor:
    """The noise of a player that needs none."""
    return torch.zeros(count, 0)


def off(made: Tensor, scale: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """(n,) L1 and gradient difference where the mask is 1 (a tenth elsewhere), and minus the log likelihood of the scales."""
    apart, size = (made - target).abs(), mask.sum((1, 2, 3)).clamp(min=1) * made.shape[1]
    mask = OUTSIDE + (1 - OUTSIDE) * mask
    steps = [torch.diff(made, dim=d) - torch.diff(target, dim=d) for d in (2, 3)]
    edges = [(mask.narrow(d, 1, mask.shape[d] - 1) * step.abs()).sum((1, 2, 3)) for d, step in zip((2, 3), steps, strict=True)]
    return ((mask * (apart + DOUBT * doubted(apart, scale))).sum((1, 2, 3)) + DETAIL * (edges[0] + edges[1])) / size


def doubted(apart: Tensor, scale: Tensor) -> Tensor:
    """Minus the log likelihood of errors under the logarithm of a Laplace scale, |r| / b + log b, weighed by b held fixed.

    It teaches the scale alone (Seitzer et al., ICLR 2022, beta = 1): values learn by plain L1, where the likelihood itself would look only
    at what is easy.
    """
    return torch.exp(scale.detach()) * (apart.detach() * torch.exp(-scale) + scale)


def forge_paired(game: Game, pairs: Pairs, rng: torch.Generator, *, weight: float = GAME) -> Tensor:
    """The duel's move and the distance to the target itself; where a registration plays, to the target as what is made is bent."""
    player, given = game.generator, pairs.given
    assert isinstance(player, Paired) and given is not None
    made, scale = player.net.both(given[:, :-1])
    mask, bent = given[:, -1:], torch.zeros(len(made))
    if player.registration is not None:
        control = player.registration(made, pairs.real)
        shift = spread(control, *made.shape[2:])
        made, scale, bent = warp(made, shift), warp(scale, shift), SMOOTH * roughness(control)
        # Were all shifted alike, the generator would have moved, and nobody would move it back.
        bent = bent + CENTRED * control.mean(0).square().mean()
    losses = off(made, scale, pairs.real, mask) + bent
    if weight:
        with torch.no_grad():
            real_scores = game.judge(pairs.real, given)
        losses = losses + weight * softplus(real_scores - game.judge(made, given))
    return losses


def forge_unpaired(game: Game, pairs: Pairs, rng: torch.Generator) -> Tensor:
    """The duel's move of the bent image, and its distance to a partner; the unbent one keeps what lies where in the source.

    The partner is of another patient and looks most like the source: bent by the domain's shift, then by a small one of their own, what
    is made should come near it. That teaches tissues and the domain's shift in a tenth of the steps that the game alone took. Patches of
    source and made image must know one another by their features (CUT: Park et al., ECCV 2020, eq. 3), the unbent image is held to the
    source's descriptors, which know no contrast, and an image of the target stays one.
    """
    player, given = game.generator, pairs.given
    assert isinstance(player, Unpaired) and given is not None
    net, source, everywhere = player.net, given[:, :-1], torch.ones_like(given[:, -1:])
    made, scale = net.both(source)
    seen = player.shift(made)
    control = player.registration(seen, pairs.real)
    shift = spread(control, *made.shape[2:])
    losses = off(warp(seen, shift), warp(player.shift(scale), shift), pairs.real, everywhere) + OWN * control.square().mean((1, 2, 3))
    with torch.no_grad():
        real_scores = game.judge(pairs.real, given)
    losses = losses + LOOKS * softplus(real_scores - game.judge(seen, given)) + CONTRAST * contrasted(player, source, made, rng)
    # A shift by half a pixel hides a checkerboard, and descriptors do not see it.
    losses = losses + FINE * (graininess(made) - graininess(pairs.real)).clamp(min=0)
    losses = losses + HOLD * (descriptors(made) - descriptors(source)).abs().mean((1, 2, 3))
    return losses + SAME * (net.both(pairs.real)[0] - pairs.real).abs().mean((1, 2, 3)) + BENT * roughness(player.shift.control)


def graininess(images: Tensor) -> Tensor:
    """(n,) the mean absolute second difference across and down."""
    return sum((torch.diff(images, n=2, dim=d).abs().mean((1, 2, 3)) for d in (2, 3)), torch.zeros(len(images)))


def contrasted(player: Unpaired, source: Tensor, made: Tensor, rng: torch.Generator) -> Tensor:
    """(n,) InfoNCE of patches: the feature at a place of what is made, against those of the source at that and at other places."""
    losses = torch.zeros(len(source))
    levels = zip(player.heads, player.net.features(source)[1:], player.net.features(made)[1:], strict=True)
    for head, before, after in levels:
        places = torch.randperm(before.shape[2] * before.shape[3], generator=rng)[:PATCHES]
        one, other = (nn.functional.normalize(head(f.flatten(2)[:, :, places].transpose(1, 2)), dim=2) for f in (after, before.detach()))
        told = torch.bmm(one, other.transpose(1, 2)) / TEMPERATURE
        losses = losses - torch.diagonal(torch.log_softmax(told, dim=2), dim1=1, dim2=2).mean(1)
    return losses / len(player.heads)
