"""The duel over gaps: a network fills what is hidden of real rows, and a discriminator tells the filled rows from the real ones.

Fake and real rows share all that was visible, so a pair differs only in what the generator made. Gradients pass the choice of a
level straight through (Jang et al., ICLR 2017), and from every filled field to those that were filled before it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from proband.game import duel
from proband.game.fields import TEMPERATURE, Discriminator, Layout
from proband.game.masked import BATCH, Completer, Rows, loss
from proband.game.play import Game, Pairs, play, shuffled

MOST = 6  # fields filled in a round, at most
GAMMA = 0.1
RATES = 1e-3, 1e-4
SIZES = {"width": 192, "blocks": 2}  # of the discriminator
HIDDEN, FIRST = -1, -2  # in `given`: hidden for good; filled first, the next one below it, ...


class Filler(nn.Module):
    """(noise, given) -> (rows, levels of the fields) codes: visible ones as they are, filled ones drawn, all others zero.

    given   (rows, fields): the token where it is visible, HIDDEN, or FIRST, FIRST - 1, ... where it is filled: the same for all rows
    """

    def __init__(self, net: Completer) -> None:
        super().__init__()
        self.net = net
        layout, fields = net.variables.layout, net.variables.fields
        self.layout = Layout(layout.levels[:fields], layout.ordered[:fields])

    def noise(self, count: int, rng: torch.Generator) -> Tensor:
        """(count, levels) Gumbel numbers, by which each field chooses its level."""
        return -torch.log(-torch.log(torch.rand(count, self.layout.width, generator=rng).clamp(1e-7, 1 - 1e-7)))

    def forward(self, noise: Tensor, given: Tensor) -> Tensor:
        net, layout, tables = self.net, self.layout, self.net.tables()
        known = given.clamp(min=0)
        x = net.shown(known, given >= 0, tables)
        codes = list((layout.codes(known) * (given >= 0)[:, layout.field]).split(layout.levels, 1))
        for field in given[0].argsort(descending=True)[(given[0] > FIRST).sum() :].tolist():
            part = layout.part(field)
            scores = net.logits(net.deep(x), part, tables) + noise[:, part]
            soft = (scores / TEMPERATURE).softmax(1)
            codes[field] = one_hot(scores.argmax(1), layout.levels[field]) + soft - soft.detach()
            x = x + codes[field] @ tables.read[part] - tables.read[net.seen + field]
        return torch.cat(codes, 1)


def gaps(layout: Layout, tokens: Tensor, size: int, rng: torch.Generator) -> Iterator[Pairs]:
    """Endless batches of real rows: a random part of each is visible, a few fields are to be filled, the rest stays hidden."""
    fields = len(layout.levels)
    for rows in shuffled(tokens, size, rng):
        some = rows.real
        filled = torch.randperm(fields, generator=rng)[: int(torch.randint(1, min(MOST, fields) + 1, (), generator=rng))]
        visible = torch.rand(some.shape, generator=rng) < torch.rand(len(some), 1, generator=rng)
        visible[:, filled] = False
        given = torch.where(visible, some, HIDDEN)
        given[:, filled] = FIRST - torch.arange(len(filled))
        yield Pairs(layout.codes(some) * (given != HIDDEN)[:, layout.field], given)


def refined(
    net: Completer,
    rows: Rows,
    held_out: Rows | None,
    *,
    steps: int,
    rng: torch.Generator,
    weight: float = 1.0,
    on_step: Callable[[int, int, str, Mapping[str, float]], None] | None = None,
) -> tuple[Completer, list[tuple[int, float]]]:
    """The network after `steps` rounds of the duel, its weights averaged; and (round, success of the discriminator on held-out rows).

    The likelihood stays in the generator's loss, or else the network forgets what it does not fill. `weight` is that of the duel
    beside it: 0 shows what the rounds do without a discriminator.
    """
    player = copy.deepcopy(net).requires_grad_(True)
    player.known = None
    filler = Filler(player)

    def forge_turn(game: Game, pairs: Pairs, rng: torch.Generator) -> Tensor:
        some = rows.take(torch.randint(len(rows.tokens), (len(pairs.real),), generator=rng))
        likelihood = loss(player, some.levels(rng), some.real, rng, training=True)
        return weight * duel.forge_turn(game, pairs, rng) + likelihood

    game = Game(filler, Discriminator(filler.layout, rng, **SIZES), filler.noise)
    averaged = play(
        game,
        gaps(filler.layout, rows.tokens, BATCH, rng),
        steps=steps,
        judge_turn=partial(duel.judge_turn, gamma=GAMMA),
        forge_turn=forge_turn,
        rng=rng,
        rates=RATES,
        held_out=next(gaps(filler.layout, held_out.tokens, len(held_out.tokens), rng)) if held_out is not None else None,
        on_step=on_step,
    )
    assert isinstance(averaged, Filler)
    return averaged.net.finished(), game.history
