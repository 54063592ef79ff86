"""The one loop: two networks play until the discriminator can only guess. Everything that varies is in the two turns."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from proband.errors import ProbandError
from proband.stats.cores import on_cores

#: How often a non-finite loss may send the players back before `play` gives up.
ROLLBACKS = 6
#: How sums are split over threads changes their last bits, so their number is fixed. Small networks gain little from more than one.
THREADS = 1


class Pairs(NamedTuple):
    """Real examples, and what both players are told about each of them; the fake paired with it is told the same."""

    real: Tensor  # (examples, ...)
    given: Tensor | None = None  # (examples, ...), None: nothing is told
    side: int = 0  # which part of a batch this is, where its parts are played side by side


@dataclass
class Game:
    """The two players. `history` holds (step, success rate of the discriminator on held-out pairs); it should fall to 0.5."""

    generator: nn.Module  # generator(noise, given) -> fakes, of the shape of the real examples
    discriminator: nn.Module  # discriminator(examples, given) -> (examples,) scores, higher is more real
    noise: Callable[[int, torch.Generator], Any]  # noise(count, rng) -> the generator's input
    history: list[tuple[int, float]] = field(default_factory=list)

    def forge(self, count: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        """`count` fakes."""
        return self.generator(self.noise(count, rng), given)

    def judge(self, examples: Tensor, given: Tensor | None = None) -> Tensor:
        """How real each example looks, (examples,)."""
        return self.discriminator(examples, given)


class Progress(NamedTuple):
    """Where learning stands after `step` steps: all that it takes to go on as if nothing had come between.

    looks    (step, figure of the examples held out) at every look
    tensors  of the networks, their averages and the optimizers, by name
    """

    step: int
    looks: list[tuple[int, float]]
    tensors: dict[str, Tensor]


#: A player's move: (game, what it may see, rng) -> losses, one per example.
JudgeTurn = Callable[[Game, Pairs, torch.Generator], Tensor]
ForgeTurn = Callable[[Game, Any, torch.Generator], Tensor]


def play(
    game: Game,
    batches: Iterable[Pairs],
    *,
    steps: int,
    judge_turn: JudgeTurn,
    forge_turn: ForgeTurn,
    rng: torch.Generator,
    rates: tuple[float, float] = (1e-3, 1e-3),
    warm: int = 1,
    ema: float = 0.995,
    held_out: Pairs | None = None,
    look_every: int = 50,
    private: int | None = None,
    on_step: Callable[[int, int, str, Mapping[str, float]], None] | None = None,
    before: Progress | None = None,
    keep: Callable[[Progress, nn.Module], None] | None = None,
    sides: int = 1,
) -> nn.Module:
    """Play `steps` rounds and return the generator whose weights are averaged over the rounds.

    rates       Adam step sizes of the (discriminator, generator); each falls to a tenth along a cosine
    warm        rounds over which both rise to that
    ema         share of the averaged weights that survives a round (fewer in the first rounds)
    held_out    pairs that no turn sees: every `look_every` rounds the discriminator's success on them, against the averaged
                generator, is added to `game.history`
    private     how many fakes to make, and all that the generator's move is told: one that reads real examples, or how many were in
                a chance sample, would leak them
    on_step     called after every round with (round, rounds, "game", figures); what it raises ends the game
    keep        called at every look with the progress and the averaged generator; the progress, given as `before` to a game that began
                alike, goes on from there to the same generator, where `batches` draw from `rng` alone
    sides       parts of a batch that are played side by side on as many cores, each with numbers of its own: how many is part of the
                result, the cores are not

    A non-finite loss or gradient sends both players back to the last look with half the step size; ProbandError after the
    sixth time. Adam(0, .99) and the falling step size follow Huang et al., NeurIPS 2024.
    """
    averaged = copy.deepcopy(game.generator).requires_grad_(False)
    judge_steps = torch.optim.Adam(game.discriminator.parameters(), lr=rates[0], betas=(0.0, 0.99))
    forge_steps = torch.optim.Adam(game.generator.parameters(), lr=rates[1], betas=(0.0, 0.99))
    stateful = (game.generator, game.discriminator, averaged, judge_steps, forge_steps)
    begun, rollbacks = 0, 0
    if before is not None:
        begun, rollbacks = before.step, int(before.tensors["rollbacks"])
        game.history[:] = before.looks
        _gone_on(stateful, before.tensors, rng)
    last_good = _snapshot(stateful)
    with deterministic():
        for step, pairs in zip(range(begun + 1, steps + 1), batches, strict=False):
            pace = min(1.0, step / warm) * 0.5**rollbacks * (0.55 + 0.45 * math.cos(math.pi * step / steps))
            if sides > 1:
                judge_loss = _descend_together(judge_turn, game, pairs, sides, rng, judge_steps, rates[0] * pace)
                forge_loss = _descend_together(forge_turn, game, pairs, sides, rng, forge_steps, rates[1] * pace)
            else:
                judge_loss = _descend(judge_turn(game, pairs, rng), judge_steps, rates[0] * pace)
                forge_loss = _descend(forge_turn(game, pairs if private is None else private, rng), forge_steps, rates[1] * pace)
            if not math.isfinite(judge_loss + forge_loss):
                rollbacks += 1
                if rollbacks > ROLLBACKS:
                    raise ProbandError(
                        f"The game broke down at step {step} of {steps}: the loss was not finite, {rollbacks} times in all, although the "
                        f"step size was halved each time. Look for extreme values in the input, or use another synthesizer."
                    )
                _restore(stateful, last_good)
                continue
            average(averaged, game.generator, min(ema, step / (step + 10)))
            if step % look_every == 0 or step == steps:
                last_good = _snapshot(stateful)
                if held_out is not None:
                    game.history.append((step, success(game, held_out, rng, generator=averaged)))
                if keep is not None:
                    keep(Progress(step, list(game.history), _kept(stateful, rng) | {"rollbacks": torch.tensor(rollbacks)}), averaged)
            if on_step is not None:
                figures = {"discriminator loss": judge_loss, "generator loss": forge_loss}
                on_step(step, steps, "game", figures | ({"success": game.history[-1][1]} if game.history else {}))
    return averaged


@torch.no_grad()
def success(game: Game, pairs: Pairs, rng: torch.Generator, *, generator: nn.Module | None = None) -> float:
    """Share of pairs in which the discriminator scores the real example above the fake one; ties count half."""
    fake = (generator or game.generator)(game.noise(len(pairs.real), rng), pairs.given)
    gap = game.judge(pairs.real, pairs.given) - game.judge(fake, pairs.given)
    return float((gap > 0).double().mean() + (gap == 0).double().mean() / 2)


@torch.no_grad()
def average(averaged: nn.Module, current: nn.Module, keep: float) -> None:
    """averaged = keep * averaged + (1 - keep) * current, in place."""
    for old, new in zip(averaged.parameters(), current.parameters(), strict=True):
        old.lerp_(new, 1 - keep)


def shuffled(real: Tensor, size: int, rng: torch.Generator) -> Iterator[Pairs]:
    """Endless batches of `size` examples (all of them when there are fewer), in a new random order each time through."""
    size = min(size, len(real))
    while True:
        for rows in torch.randperm(len(real), generator=rng).split(size):
            if len(rows) == size:
                yield Pairs(real[rows])


@contextmanager
def deterministic() -> Iterator[None]:
    """Only algorithms that give the same bits every time, on a fixed number of threads; the caller's settings come back afterwards."""
    before, warn_only = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        torch.set_num_threads(threads)


def _descend(losses: Tensor, optimizer: torch.optim.Optimizer, rate: float) -> float:
    """One step down the mean of `losses`; gives back the mean, or NaN (and no step) when it or a gradient is not finite."""
    optimizer.zero_grad(set_to_none=True)
    loss = losses.mean()
    loss.backward()
    return _stepped(loss.detach(), optimizer, rate)


def _descend_together(
    turn: JudgeTurn, game: Game, pairs: Pairs, sides: int, rng: torch.Generator, optimizer: torch.optim.Optimizer, rate: float
) -> float:
    """As `_descend`, the batch in parts side by side; what they find is added in their order."""
    parts = [
        Pairs(real, given, side)
        for side, (real, given) in enumerate(
            zip(pairs.real.chunk(sides), [None] * sides if pairs.given is None else pairs.given.chunk(sides), strict=True)
        )
    ]
    numbers = torch.randint(2**62, (sides,), generator=rng).tolist()
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]

    def slope(part: Pairs) -> tuple[Tensor, tuple[Tensor, ...]]:
        torch.set_num_threads(THREADS)  # a new thread may not have heard
        loss = turn(game, part, torch.Generator().manual_seed(numbers[part.side])).sum() / len(pairs.real)
        return loss.detach(), torch.autograd.grad(loss, parameters, materialize_grads=True)

    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros(())
    for loss, slopes in on_cores(slope, parts):
        total = total + loss
        for parameter, found in zip(parameters, slopes, strict=True):
            parameter.grad = found if parameter.grad is None else parameter.grad.add_(found)
    return _stepped(total, optimizer, rate)


def _stepped(loss: Tensor, optimizer: torch.optim.Optimizer, rate: float) -> float:
    """One step along the gradients at hand; NaN, and no step, when the loss or one of them is not finite."""
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not torch.isfinite(torch.stack([loss, *(g.abs().sum() for g in gradients)])).all():
        return math.nan
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return float(loss)


def _snapshot(stateful: Iterable[Any]) -> list[Any]:
    return [copy.deepcopy(part.state_dict()) for part in stateful]


def _restore(stateful: Iterable[Any], states: Iterable[Any]) -> None:
    for part, state in zip(stateful, states, strict=True):
        part.load_state_dict(copy.deepcopy(state))


def _kept(stateful: tuple[Any, ...], rng: torch.Generator) -> dict[str, Tensor]:
    """Networks, moments of the optimizers and the generator of chance, as tensors by name."""
    found = {"rng": rng.get_state()}
    for at, part in enumerate(stateful):
        state = part.state_dict()
        if isinstance(part, torch.optim.Optimizer):
            found |= {f"{at}.{number}.{key}": x for number, moments in state["state"].items() for key, x in moments.items()}
        else:
            found |= {f"{at}.{key}": x for key, x in state.items()}
    return found


def _gone_on(stateful: tuple[Any, ...], tensors: Mapping[str, Tensor], rng: torch.Generator) -> None:
    """Everything as it was kept. RuntimeError or KeyError when it does not fit."""
    for at, part in enumerate(stateful):
        own = {key.split(".", 1)[1]: x.clone() for key, x in tensors.items() if key.startswith(f"{at}.")}
        if isinstance(part, torch.optim.Optimizer):
            moments: dict[int, dict[str, Tensor]] = {}
            for key, x in own.items():
                number, name = key.split(".")
                moments.setdefault(int(number), {})[name] = x
            part.load_state_dict(part.state_dict() | {"state": moments})
        else:
            part.load_state_dict(own)
    rng.set_state(tensors["rng"].clone())
