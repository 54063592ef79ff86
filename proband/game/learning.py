"""How a Historian learns: batches of histories of about one length, looks at the patients held out, and where it can go on from."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor, nn

from proband.game.play import average, deterministic
from proband.game.sequences import Historian, Histories, losses

FEWEST_BETWEEN = 10  # batches between two looks at the patients held out, who may cost as much as all of them
EDITION = 2  # to be raised whenever learning changes: what an older one kept is not gone on from
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


class Progress(NamedTuple):
    """Where learning stands after `step` batches: all that it takes to go on as if nothing had come between.

    looks    (batch, loss of the histories held out) at every look
    tensors  of the network, its average, the best average and the optimizer, under net, averaged, best, first and second; the noise, rng
    """

    step: int
    looks: list[tuple[int, float]]
    tensors: dict[str, Tensor]


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
    rng = torch.Generator().manual_seed(seed)
    averaged = copy.deepcopy(net).requires_grad_(False)
    best = copy.deepcopy(averaged)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=decay)
    step, history = 0, []
    if before is not None:
        step, history = before.step, list(before.looks)
        _set_back(before.tensors, net, averaged, best, optimizer, step)
        rng.set_state(before.tensors["rng"])
    turn = _batches(charts, own, seed, step)
    with deterministic():
        while step < batches and not _worse(history, patience):
            batch = next(turn)
            step += 1
            pace = min(1.0, step / 50) * (0.525 + 0.475 * math.cos(math.pi * step / batches))
            optimizer.param_groups[0]["lr"] = rate * pace
            value = sum(part.sum() for part in losses(net, batch, rng)) / batch.length.sum()
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            average(averaged, net, min(0.995, step / (step + 10)))
            if step == batches or step % max(FEWEST_BETWEEN, batches // looks) == 0:
                history.append((step, told(averaged, charts, held_out)))
                if history[-1][1] <= min(loss for _, loss in history):
                    best.load_state_dict(averaged.state_dict())
                if keep is not None:
                    keep(Progress(step, history, _tensors(net, averaged, best, optimizer) | {"rng": rng.get_state()}))
            if on_step is not None:
                on_step(step, batches, "learn", {"loss": float(value.detach())} | ({"held out": history[-1][1]} if history else {}))
    return best


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


@torch.no_grad()
def told(net: Historian, charts: Charts, rows: Tensor) -> float:
    """Minus the log likelihood per step of the histories in `rows`."""
    total, steps = 0.0, 0
    for some in _parts(charts, rows[torch.argsort(charts.length[rows])], 4 * STEPS):
        batch = charts.take(some)
        total += float(sum(part.double().sum() for part in losses(net, batch)))
        steps += int(batch.length.sum())
    return total / max(steps, 1)


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
