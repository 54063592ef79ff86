"""Drawing from a Historian: where histories stand, and how they go on, all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import silu

from proband.game.learning import Charts
from proband.game.sequences import LENGTHS, Historian, Histories, Past, class_of, pasts, summed

AT_ONCE = 250  # histories so far that are read at once


class State(NamedTuple):
    """Where histories stand: steps so far, the recurrent state, the last gap's token, the time, and the past of each variable."""

    steps: Tensor
    hidden: Tensor
    gap: Tensor
    clock: Tensor
    past: Past

    def take(self, rows: Tensor) -> State:
        return State(self.steps[rows], self.hidden[rows], self.gap[rows], self.clock[rows], Past(*(part[rows] for part in self.past)))


@torch.no_grad()
def started(net: Historian, so_far: Histories) -> State:
    """The state after the steps of `so_far`, endings left out: (histories, 1, ...) of nothing but an ending is the beginning."""
    tables = net.tables()
    begin = torch.tanh(net.begin(net.given(so_far.given, so_far.plan)))
    seen = summed(so_far.tokens + net.steps.starts, tables["now"]) + net.clocks(net.clock(so_far.clock))
    states, _ = net.cell(seen, begin[None].contiguous())
    rows, before = torch.arange(len(begin)), so_far.length - 2
    past = pasts(net, so_far.tokens, so_far.clock)
    some = before >= 0
    at = before.clamp(min=0)
    return State(
        so_far.length - 1,
        torch.where(some[:, None], states[rows, at], begin),
        torch.where(some, so_far.tokens[rows, at, 0], 0),
        torch.where(some, so_far.clock[rows, at], 0.0),
        Past(*(part[rows, before + 1] for part in past)),
    )


def begun(net: Historian, charts: Charts) -> State:
    """`started` for all of `charts`, some at a time: one long history must not pad all others."""
    parts = [started(net, charts.take(rows)) for rows in torch.arange(len(charts.given)).split(AT_ONCE)]
    steps, hidden, gap, clock = (torch.cat(of) for of in zip(*(part[:4] for part in parts), strict=True))
    return State(steps, hidden, gap, clock, Past(*(torch.cat(of) for of in zip(*(part.past for part in parts), strict=True))))


@torch.no_grad()
def draw(
    net: Historian,
    given: Tensor,
    plan: Tensor,
    state: State,
    wait: Callable[[Tensor], Tensor],
    *,
    latest: Tensor,
    most: int,
    blank: bool,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """How histories go on: whose each step is (steps,), its tokens (steps, 1 + variables), and its time (steps,); history by history.

    wait    gaps in the clock's units, from their tokens
    latest  (histories,) the time after which nothing happens to each; most: steps, at most
    blank   whether a step may be one at which nothing is measured
    """
    tables = net.tables()
    told = net.given(given, plan)
    who = torch.arange(len(given))
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(most):
        known = told[who] + net.progress(state.past, state.clock, plan[who])
        logits = net.gap_logits(state.hidden, known, net.clock(state.clock), state.gap, tables["now"])
        logits[:, 0] += net.ending[class_of(state.steps)]
        gap = _chosen(logits, rng)
        clock = state.clock + _waited(wait(gap), state)
        for _ in range(TRIES):  # a first step beyond the end is drawn anew: what has a first step has it in time
            late = ((gap > 0) & (clock > latest[who]) & (state.steps == 0)).nonzero()[:, 0]
            if not len(late):
                break
            gap[late] = _chosen(logits[late], rng)
            clock[late] = state.clock[late] + _waited(wait(gap[late]), state.take(late))
        going = (gap > 0) & (clock <= latest[who])
        if not going.any():
            break
        who, gap, clock, state = who[going], gap[going], clock[going], state.take(going)
        tokens = _step(net, tables, told[who], plan[who], gap, clock, state, blank, rng)
        state = _after(net, tables, tokens, clock, state)
        found.append((who, tokens, clock))
    if not found:
        return who[:0], torch.zeros(0, net.variables + 1, dtype=torch.long), torch.zeros(0, dtype=torch.double)
    whose, tokens, clock = (torch.cat(parts) for parts in zip(*found, strict=True))
    turn = torch.argsort(whose, stable=True)
    return whose[turn], tokens[turn], clock[turn]


def _step(
    net: Historian,
    tables: Mapping[str, Tensor],
    told: Tensor,
    plan: Tensor,
    gap: Tensor,
    clock: Tensor,
    state: State,
    blank: bool,
    rng: torch.Generator,
) -> Tensor:
    """(histories, 1 + variables) the tokens of the step at `clock`."""
    own = net.of(state.past, clock, plan)
    context = net.context(state.hidden, told, net.clock(clock), gap, state.past, own, tables)
    there = _asked(net, net.asked(context), own, blank, rng)
    tokens = torch.zeros(len(gap), 1 + net.variables, dtype=torch.long)
    tokens[:, 0] = gap
    told = net.valued(context) + there.float() @ net.together
    for v, rows in enumerate(there.T.nonzero()[:, 1].split(there.sum(0).tolist())):
        if len(rows) and net.steps.levels[1 + v] > 1:  # where nothing at all can be asked, what has no level was
            mine, last, start = own[rows, v], state.past.last[rows, v], int(net.steps.starts[1 + v])
            hidden = net.value_hidden(told[rows], net.value_own(mine, v), last + start, tables)
            value = 1 + _chosen(net.value_logits(hidden, mine, last, v, tables), rng)
            tokens[rows, 1 + v] = value
            told[rows] += tables["before"][value + start]
    return tokens


TRIES = 8  # for a first step in time, for a step at which something is measured


def _asked(net: Historian, told: Tensor, own: Tensor, blank: bool, rng: torch.Generator) -> Tensor:
    """(histories, variables) True for what is measured: never nothing, unless it may be `blank`."""
    there = torch.zeros(net.variables, len(told), dtype=torch.bool)  # a variable's answers side by side: one is asked at a time
    alone, rows = net.asked_alone(own).T.contiguous(), torch.arange(len(told))
    for attempt in range(TRIES):
        said, odds = told[rows], alone[:, rows]
        chance = torch.logit(torch.rand(odds.shape, generator=rng))
        yes = torch.zeros(odds.shape, dtype=torch.bool)
        for v in (odds > -torch.inf).any(1).nonzero()[:, 0].tolist():
            odds[v] += silu(said) @ net.asked_out[v]
            yes[v] = odds[v] > chance[v]
            said.addr_(yes[v].float(), net.asked_before[v])
        empty = ~yes.any(0) & (not blank)
        if attempt == TRIES - 1:
            yes[odds[:, empty].argmax(0), empty.nonzero()[:, 0]] = True
        there[:, rows] = yes
        rows = rows[empty]
        if not len(rows):
            break
    return there.T


def _after(net: Historian, tables: Mapping[str, Tensor], tokens: Tensor, clock: Tensor, state: State) -> State:
    seen = summed(tokens + net.steps.starts, tables["now"]) + net.clocks(net.clock(clock))
    hidden, _ = net.cell(seen[:, None], state.hidden[None].contiguous())
    values, past = tokens[:, 1:], state.past
    there = values > 0
    after = Past(
        torch.where(there, values, past.last),
        torch.where(there, clock[:, None], past.when),
        past.often + there,
        past.total + net.score[values + net.steps.starts[1:]] * there,
    )
    return State(state.steps + 1, hidden[:, 0], tokens[:, 0], clock, after)


def _waited(after: Tensor, state: State) -> Tensor:
    """Gaps as they count: the first alone may lie before the origin."""
    return torch.where(state.gap > 0, after.clamp(min=0), after)


def _chosen(logits: Tensor, rng: torch.Generator) -> Tensor:
    """(rows,) a level for each row of logits."""
    until = torch.cumsum(torch.softmax(logits, 1), 1, dtype=torch.double)
    at = torch.rand(len(logits), 1, generator=rng, dtype=torch.double) * until[:, -1:]
    return torch.searchsorted(until, at, right=True)[:, 0].clamp(max=logits.shape[1] - 1)


ROUNDS, PRIOR = 4, 5.0  # of drawing and mending; steps at risk that what is drawn itself counts for, where real histories are few


def mend_endings(net: Historian, lengths: Tensor, again: Callable[[], Tensor]) -> None:
    """Let drawn histories end as often as real ones at every length, which a network that learned from few tells poorly.

    lengths   (histories,) steps of the real ones
    again     draws histories with the network as it is, and gives their steps
    """
    real_ended, real_stood = _hazards(lengths)
    for _ in range(ROUNDS):
        ended, stood = _hazards(again())
        drawn = (ended + 0.5) / (stood + 1)
        real = (real_ended + PRIOR * drawn) / (real_stood + PRIOR)
        net.ending += torch.where(stood > 0, torch.logit(real, 1e-4) - torch.logit(drawn, 1e-4), 0.0).clamp(-2, 2).float()


def _hazards(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """(LENGTHS,) each: how many histories ended in a class of lengths, and at how many steps in it they might have."""
    ended = torch.bincount(class_of(lengths), minlength=LENGTHS).double()
    longer = len(lengths) - torch.bincount(lengths, minlength=int(lengths.max()) + 1).cumsum(0)
    stood = torch.cat([torch.tensor([len(lengths)]), longer])[: int(lengths.max()) + 1]
    return ended, torch.zeros(LENGTHS, dtype=torch.double).index_add(0, class_of(torch.arange(len(stood))), stood.double())
