"""A network that fills any hidden part of a row given any visible part: the generator that plays by likelihood first.

Order-agnostic training by random masks is Uria et al. (*A deep and tractable density estimator*, ICML 2014); one shared trunk
for mixed tables follows TabMT (Gulati and Roysdon, NeurIPS 2023). A row is told in two levels: every field's token, then the
place within the token for those that are ranges.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, layer_norm, silu

from proband.game.fields import Layout
from proband.game.layers import linear
from proband.game.play import average, deterministic

#: Parts into which a token's range is cut: 32 bins of 8 places tell a number to one part in 256 of the patients.
PLACES = 8
BATCH = 256
#: Log share of a level that nobody has.
NOBODY = -27.0
#: Share of the training rows that show all tokens and ask for the places.
WHOLE = 0.15


class Variables(NamedTuple):
    """What the network reads and tells: one variable a field, then one a field that has ranges.

    layout   the levels of all variables, fields first
    ranged   the field of each place variable
    """

    layout: Layout
    ranged: tuple[int, ...]

    @property
    def fields(self) -> int:
        return len(self.layout.levels) - len(self.ranged)

    @staticmethod
    def of(fields: Layout, ranged: tuple[int, ...]) -> Variables:
        """The variables of rows whose fields lie as in `fields`."""
        places = (PLACES,) * len(ranged)
        return Variables(Layout(fields.levels + places, fields.ordered + places), ranged)


class Tables(NamedTuple):
    """What the network reads, (levels + fields, width), and tells, (levels, width) and (levels,)."""

    read: Tensor
    tell: Tensor
    bias: Tensor


class Completer(nn.Module):
    """(rows, fields) tokens and which are visible -> (rows, width) logits of all variables.

    Before training the logits are the log shares of `counts`, exactly: the head starts at zero.
    """

    log_shares: Tensor

    def __init__(self, variables: Variables, counts: Tensor, rng: torch.Generator, *, width: int, blocks: int, dropout: float) -> None:
        super().__init__()
        layout = variables.layout
        self.variables, self.dropout = variables, dropout
        own = shapes(layout)
        waves = own.shape[1]
        categories = torch.cat([torch.arange(n) < n - o for n, o in zip(layout.levels, layout.ordered, strict=True)])[:, None]
        self.seen = layout.width - PLACES * len(variables.ranged)  # levels of the fields; places are told, never read
        self.read = nn.Parameter(torch.randn(self.seen, width, generator=rng) * torch.where(categories[: self.seen], 0.5, 0.02))
        self.read_waves = nn.Parameter(torch.randn(waves, width, generator=rng) * 0.5)
        self.hidden_too = nn.Parameter(torch.zeros(variables.fields, width))
        self.firsts = nn.ModuleList(linear(width, 2 * width, rng, gain=2**0.5) for _ in range(blocks))
        self.seconds = nn.ModuleList(linear(2 * width, width, rng, gain=0.0) for _ in range(blocks))
        self.tell = linear(width, layout.width + waves, rng, gain=0.0)
        self.register_buffer("log_shares", torch.log(counts.double()).clamp(min=NOBODY).float())
        # Sparse, because a field has no part in the shapes of the others: in wide tables all the time went there.
        self.shapes, self.seen_shapes = own.to_sparse(), own[: self.seen].to_sparse()
        self.known: Tables | None = None

    def tables(self) -> Tables:
        """Level by level, what the parameters come to."""
        if self.known is not None:
            return self.known
        free, smooth = self.tell.weight.split([self.variables.layout.width, self.shapes.shape[1]])
        bias, smooth_bias = self.tell.bias.split([len(free), len(smooth)])
        read = torch.cat([self.read + torch.sparse.mm(self.seen_shapes, self.read_waves), self.hidden_too])
        extra = torch.sparse.mm(self.shapes, torch.cat([smooth, smooth_bias[:, None]], 1))
        return Tables(read, free + extra[:, :-1], self.log_shares + bias + extra[:, -1])

    @torch.no_grad()
    def finished(self) -> Completer:
        """Itself, once nothing more is learned: what every call would work out again is kept."""
        self.known = None
        self.known = self.tables()
        return self.requires_grad_(False)

    def trunk(self, tokens: Tensor, visible: Tensor, rng: torch.Generator | None = None, tables: Tables | None = None) -> Tensor:
        """(rows, width) what the visible part says. With `rng` (training) some of it is dropped at random."""
        return self.deep(self.shown(tokens, visible, tables or self.tables()), rng)

    def shown(self, tokens: Tensor, visible: Tensor, tables: Tables) -> Tensor:
        """(rows, width) the visible part, added up."""
        fields, starts = self.variables.fields, self.variables.layout.starts
        return embedding_bag(torch.where(visible, tokens + starts[:fields], self.seen + torch.arange(fields)), tables.read, mode="sum")

    def deep(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """(rows, width) what the blocks make of what is `shown`."""
        for first, second in zip(self.firsts, self.seconds, strict=True):
            h = silu(first(layer_norm(x, x.shape[1:])))
            x = x + second(dropped(h, self.dropout, rng))
        return dropped(layer_norm(x, x.shape[1:]), self.dropout, rng)

    def logits(self, told: Tensor, part: slice = slice(None), tables: Tables | None = None) -> Tensor:
        """(rows, width of `part`) from what the trunk says."""
        tables = tables or self.tables()
        return told @ tables.tell[part].T + tables.bias[part]


def shapes(layout: Layout) -> Tensor:
    """(width, shapes) what levels of a field have in common: being there at all, and the cosines of their rank."""
    present = []
    for f, ordered in enumerate(layout.ordered):
        column = torch.zeros(layout.width)
        column[layout.part(f).stop - ordered : layout.part(f).stop] = 1.0
        if 0 < ordered < layout.levels[f]:
            present.append(column)
    return torch.cat([torch.stack(present, 1) if present else torch.zeros(layout.width, 0), layout.waves], 1)


def dropped(x: Tensor, share: float, rng: torch.Generator | None) -> Tensor:
    if rng is None or not share:
        return x
    return x * (torch.rand(x.shape, generator=rng) >= share) / (1 - share)


def masks(rows: int, fields: int, real_place: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which tokens a batch may see, (rows, fields), and which variables it must tell, (rows, variables).

    Either a random share of the tokens is hidden and told, or all are seen and the places are told. `real_place`: (rows, ranged).
    """
    whole = torch.rand(rows, 1, generator=rng) < WHOLE
    seen = (torch.rand(rows, fields, generator=rng) < torch.rand(rows, 1, generator=rng)) | whole
    return seen, torch.cat([~seen, real_place & whole], 1)


def loss(net: Completer, levels: Tensor, real_place: Tensor, rng: torch.Generator, *, training: bool) -> Tensor:
    """(rows,) mean cross-entropy of what is hidden, so that every size of mask counts the same."""
    layout = net.variables.layout
    visible, told = masks(len(levels), net.variables.fields, real_place, rng)
    tables = net.tables()
    logits = net.logits(net.trunk(levels[:, : net.variables.fields], visible, rng if training else None, tables), tables=tables)
    log = logits - _logsumexp(logits, layout)
    picked = log.gather(1, levels + layout.starts)
    return -(picked * told).sum(1) / told.sum(1).clamp(min=1)


def _logsumexp(logits: Tensor, layout: Layout) -> Tensor:
    """(rows, width): the log of the sum of exponentials within each variable, repeated over its levels."""
    with torch.no_grad():
        top = logits.amax(1, keepdim=True)
    sums = torch.exp(logits - top) @ layout.membership
    return (torch.log(sums.clamp(min=1e-30)) + top)[:, layout.field]


class Rows(NamedTuple):
    """Training rows: tokens (rows, fields), and where in the token's range each value lies: from `low` on, `span` wide, (rows, ranged).

    A value that several patients share covers a stretch of its token's range; the place is drawn anew in each pass.
    `real` is False where the token is no range.
    """

    tokens: Tensor
    low: Tensor
    span: Tensor
    real: Tensor

    def take(self, rows: Tensor) -> Rows:
        return Rows(*(part[rows] for part in self))

    def levels(self, rng: torch.Generator) -> Tensor:
        """(rows, variables) with the places drawn within their stretches."""
        at = self.low + self.span * torch.rand(self.low.shape, generator=rng)
        return torch.cat([self.tokens, (at * PLACES).long().clamp(0, PLACES - 1)], 1)


def learn(
    net: Completer,
    rows: Rows,
    held_out: Rows | None,
    *,
    steps: int,
    rng: torch.Generator,
    rate: float = 2e-3,
    decay: float = 0.05,
    look_every: int = 50,
    patience: int = 6,
    on_step: Callable[[int, int, str, Mapping[str, float]], None] | None = None,
) -> tuple[Completer, list[tuple[int, float]]]:
    """Minimise the loss by AdamW along a cosine; the averaged network that told the held-out rows best, and (step, its loss there).

    Later networks draw better rows, and know the training rows better: see docs/tablegan.md.
    """
    averaged = copy.deepcopy(net).requires_grad_(False)
    best, best_state, history, waited = math.inf, None, [], 0
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=decay)
    n, size = len(rows.tokens), min(BATCH, len(rows.tokens))
    step = 0
    with deterministic():
        while step < steps:
            for some in torch.randperm(n, generator=rng).split(size):
                if len(some) < size and n > size:
                    continue
                step += 1
                pace = min(1.0, step / 50) * (0.525 + 0.475 * math.cos(math.pi * step / steps))
                batch = rows.take(some)
                optimizer.param_groups[0]["lr"] = rate * pace
                value = loss(net, batch.levels(rng), batch.real, rng, training=True).mean()
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                average(averaged, net, min(0.998, step / (step + 10)))
                if held_out is not None and (step % look_every == 0 or step == steps):
                    look = torch.Generator().manual_seed(1)  # the same masks at every look, so that looks compare
                    with torch.no_grad():
                        repeats = [loss(averaged, held_out.levels(look), held_out.real, look, training=False).mean() for _ in range(4)]
                    history.append((step, float(torch.stack(repeats).mean())))
                    if history[-1][1] < best:
                        best, best_state, waited = history[-1][1], copy.deepcopy(averaged.state_dict()), 0
                    else:
                        waited += 1
                if on_step is not None:
                    on_step(step, steps, "learn", {"loss": float(value.detach())})
                if step >= steps or waited >= patience:
                    break
            if waited >= patience:
                break
    if best_state is not None:
        averaged.load_state_dict(best_state)
    return averaged.finished(), history
