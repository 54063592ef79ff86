"""How a Historian learns: batches of histories of about one length, looks at the patients held out, and where it can go on from."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor, nn

from proband import seeds
from proband.game.play import THREADS, Progress, average, deterministic
from proband.game.sequences import Historian, Histories, losses
from proband.stats.cores import on_cores

FEWEST_BETWEEN = 10  # batches between two looks at the patients held out, who may cost as much as all of them
EDITION = 4  # to be raised whenever learning changes: what an older one kept is not gone on from
SIDES = 2  # of a batch, learned from side by side: as many whatever the cores, so that they change nothing
STEPS, FEWEST_STEPS = 1800, 100  # of a batch, about: a tenth of all where there are few


class Charts(NamedTuple):
    """All histories, one below the other: what is known and planned of each, its tokens and clock, ending included, where each begins."""

    given: Tensor
    plan: Tensor
    tokens: Tensor
    clock: Tensor
    starts: Tensor  # (histories + 1,)

    @property
    def length(self) -> Tensor:
        return self.starts.diff()

    def batch(self, rows: Tensor) -> int:
        """Steps of a batch of `rows`, about."""
        return min(STEPS, max(FEWEST_STEPS, int(self.length[rows].sum()) // 10))

    def take(self, rows: Tensor) -> Histories:
        """Those in `rows`, padded."""
        length = self.length[rows]
        at = self.starts[rows][:, None] + torch.minimum(torch.arange(int(length.max()))[None], length[:, None] - 1)
        return Histories(self.given[rows].long(), self.plan[rows], self.tokens[at].long(), self.clock[at], length)


def learn(
    net: Historian,
    charts: Charts,
    own: Tensor,
    held_out: Tensor,
    *,
    batches: int,
    seed: int,
    rate: float = 2e-3,
    decay: float = 0.02,
    looks: int = 12,
    patience: int = 3,
    before: Progress | None = None,
    keep: Callable[[Progress], None] | None = None,
    on_step: Callable[[int, int, str, Mapping[str, float]], None] | None = None,
) -> Historian:
    """Minimise minus the log likelihood per step on the histories `own`, by AdamW along a cosine.

    Gives back the averaged network that told the histories `held_out` best. `keep` is called at every look; what it got, given as
    `before`, goes on from there to the same network.
    """
    averaged = copy.deepcopy(net).requires_grad_(False)
    best = copy.deepcopy(averaged)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=decay)
    step, history = 0, []
    if before is not None:
        step, history = before.step, list(before.looks)
        _set_back(before.tensors, net, averaged, best, optimizer, step)
    turn = _batches(charts, own, seed, step)
    with deterministic():
        while step < batches and not _worse(history, patience):
            batch = next(turn)
            step += 1
            pace = min(1.0, step / 50) * (0.525 + 0.475 * math.cos(math.pi * step / batches))
            optimizer.param_groups[0]["lr"] = rate * pace
            loss = _sloped(net, batch, seeds.integer(seed, step))
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            average(averaged, net, min(0.995, step / (step + 10)))
            if step == batches or step % max(FEWEST_BETWEEN, batches // looks) == 0:
                history.append((step, told(averaged, charts, held_out)))
                if history[-1][1] <= min(loss for _, loss in history):
                    best.load_state_dict(averaged.state_dict())
                if keep is not None:
                    keep(Progress(step, history, _tensors(net, averaged, best, optimizer)))
            if on_step is not None:
                on_step(step, batches, "learn", {"loss": loss} | ({"held out": history[-1][1]} if history else {}))
    return best


def _sloped(net: Historian, batch: Histories, seed: int) -> float:
    """Minus the log likelihood per step, its gradient left in the parameters: of parts of the batch, side by side, added in their order."""
    parts = torch.arange(len(batch.length)).split(math.ceil(len(batch.length) / SIDES))
    parameters, steps = list(net.parameters()), batch.length.sum()

    def slope(side: int) -> tuple[float, tuple[Tensor, ...]]:
        torch.set_num_threads(THREADS)  # a new thread may not have heard
        rng = torch.Generator().manual_seed(seed + side)
        value = sum(part.sum() for part in losses(net, batch.take(parts[side]), rng)) / steps
        return float(value.detach()), torch.autograd.grad(value, parameters, materialize_grads=True)

    loss = 0.0
    net.zero_grad(set_to_none=True)
    for value, slopes in on_cores(slope, range(len(parts))):
        loss += value
        for parameter, found in zip(parameters, slopes, strict=True):
            parameter.grad = found if parameter.grad is None else parameter.grad.add_(found)
    return loss


def _worse(history: list[tuple[int, float]], patience: int) -> bool:
    """Whether the last looks were none of them the best."""
    losses = [loss for _, loss in history]
    return len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])


def _tensors(net: Historian, averaged: Historian, best: Historian, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    found = {
        f"{name}.{key}": x for name, each in (("net", net), ("averaged", averaged), ("best", best)) for key, x in each.state_dict().items()
    }
    moments = [optimizer.state[parameter] for parameter in net.parameters()]
    found |= {f"first.{at}": moment["exp_avg"] for at, moment in enumerate(moments)}
    return found | {f"second.{at}": moment["exp_avg_sq"] for at, moment in enumerate(moments)}


def _set_back(
    tensors: Mapping[str, Tensor], net: Historian, averaged: Historian, best: Historian, optimizer: torch.optim.Optimizer, step: int
) -> None:
    for name, each in (("net.", net), ("averaged.", averaged), ("best.", best)):
        each.load_state_dict({key.removeprefix(name): x for key, x in tensors.items() if key.startswith(name)})
    for at, parameter in enumerate(net.parameters()):
        moments = {"exp_avg": tensors[f"first.{at}"].clone(), "exp_avg_sq": tensors[f"second.{at}"].clone()}
        optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}


def told(net: Historian, charts: Charts, rows: Tensor) -> float:
    """Minus the log likelihood per step of the histories in `rows`."""

    @torch.no_grad()
    def total(some: Tensor) -> float:
        torch.set_num_threads(THREADS)
        return float(sum(part.double().sum() for part in losses(net, charts.take(some))))

    parts = _parts(charts, rows[torch.argsort(charts.length[rows])], 2 * STEPS)
    return sum(on_cores(total, parts, most=SIDES)) / max(int(charts.length[rows].sum()), 1)


def _batches(charts: Charts, rows: Tensor, seed: int, skip: int) -> Iterator[Histories]:
    """Endless batches, after the first `skip`, of histories of about one length, so that little is padded."""
    size = charts.batch(rows)
    for turn in count():
        rng = torch.Generator().manual_seed((seed + 1 + turn) % 2**63)
        length = charts.length[rows] * (1 + 0.1 * torch.rand(len(rows), generator=rng))
        order = rows[torch.argsort(length)]
        parts = _parts(charts, order, size)
        for place in torch.randperm(len(parts), generator=rng).tolist():
            if skip:
                skip -= 1
            else:
                yield charts.take(parts[place])


def _parts(charts: Charts, order: Tensor, size: int) -> list[Tensor]:
    """`order` in runs of about so many steps."""
    ends = torch.cumsum(charts.length[order], 0)
    return [part for part in order.split(torch.bincount((ends - 1) // size).tolist()) if len(part)]
