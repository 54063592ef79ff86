"""A network that tells a history step by step: when the next step comes, what is measured then, and how much it is.

A step is a set of variables measured at one time. What is measured is told before any value (Lin et al., *TimEHR*, 2024, order them so),
and both given all that the history so far says: a recurrent state, and for each variable its last level, how long ago that was, how
often it was measured and its mean. Plain recurrent models forget the last of these first, and it is what a patient is known by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, embedding, embedding_bag, layer_norm, silu

from proband.game.fields import Layout
from proband.game.layers import linear
from proband.game.masked import NOBODY, dropped, shapes

PULL = 30.0  # for the weights of the curve to be of the others' size
LENGTHS = 40  # classes of histories by their steps so far, each half as long again as the one before
CLOCKS = 8  # numbers that say how late it is
OWN = 13  # numbers that the past and the plan say of each variable
STAY = 2  # of these, for a value to stay what it was: whether there was one, and how long ago. With all of them few histories mislead
LAST, ALL, LEFT = 4, 5, 7  # the places of the last score, of what is planned, of whether some is left (1 or -1; 0 without a plan)
NEVER = 30.0  # minus the logit of never
PLAN, HIDDEN, VAGUE = 3, 0.1, 0.1  # numbers of a plan for each variable; share of training plans that are hidden; error of the others
DOUBTED, FEW = 0.5, 20_000  # share dropped of what tells a value, where training has so many steps or fewer; of more in proportion less
WIDTH, NARROW = 192, 96  # of the state and of what is told of a step; of what is told of one variable


class Histories(NamedTuple):
    """Histories, padded to the longest: the last step of each ends it, with gap 0 and nothing measured.

    given   (histories, fields) tokens of what is known of the patient
    plan    (histories, variables, PLAN) how often each will be measured in all, its mean score, and by how much the mean of the later half
            lies above that of the earlier; NaN: not known
    tokens  (histories, steps, 1 + variables): of the gap to the step before, then of each variable; 0: it ends, it is not measured
    clock   (histories, steps) time since the origin, after the gap; float64: single precision has no seconds of a year
    length  (histories,) steps, the ending one included
    """

    given: Tensor
    plan: Tensor
    tokens: Tensor
    clock: Tensor
    length: Tensor

    def take(self, rows: Tensor) -> Histories:
        longest = int(self.length[rows].max())
        return Histories(self.given[rows], self.plan[rows], self.tokens[rows, :longest], self.clock[rows, :longest], self.length[rows])


class Past(NamedTuple):
    """What is known of each variable, (..., variables): its last token (0: never measured), when, how often, the sum of its scores."""

    last: Tensor
    when: Tensor
    often: Tensor
    total: Tensor


class Historian(nn.Module):
    """Tells histories. `known` and `steps` are the fields of what is given and of a step (the gap first); `counts` their training tokens.

    scale     the longest time that matters, in the clock's units
    periods   times after which charts repeat themselves: the commonest gap and its multiples
    """

    log_shares: Tensor
    score: Tensor
    ending: Tensor
    without_level: Tensor

    def __init__(
        self,
        known: Layout,
        steps: Layout,
        counts: Tensor,
        rng: torch.Generator,
        *,
        scale: float,
        periods: tuple[float, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        self.known, self.steps, self.scale, self.periods, self.dropout = known, steps, scale, periods, dropout
        self.variables = len(steps.levels) - 1
        gaps = steps.levels[0]
        own, given = shapes(steps), shapes(known)
        self.waves, self.known_waves = own, given
        self.read_given = _table(known.width, WIDTH, rng, 0.1)
        self.read_given_waves = _table(given.shape[1], WIDTH, rng, 0.3)
        self.read_plan, self.read_progress = linear((1 + PLAN) * self.variables, WIDTH, rng), linear(3, WIDTH, rng)
        names = ("now", "last")
        self.read = nn.ParameterDict({name: _table(steps.width, WIDTH, rng, 0.05) for name in names})
        self.read_waves = nn.ParameterDict({name: _table(own.shape[1], WIDTH, rng, 0.2) for name in names})
        self.narrow = nn.ParameterDict({name: _table(steps.width, NARROW, rng, 0.05) for name in ("before", "own")})
        self.narrow_waves = nn.ParameterDict({name: _table(own.shape[1], NARROW, rng, 0.2) for name in ("before", "own")})
        self.clocks = linear(CLOCKS, WIDTH, rng)
        self.begin = linear(WIDTH, WIDTH, rng)
        self.cell = nn.GRU(WIDTH, WIDTH, batch_first=True)
        with torch.no_grad():
            for name, weight in self.cell.named_parameters():
                weight.zero_() if "bias" in name else weight.normal_(0, WIDTH**-0.5, generator=rng)
        self.wait = nn.ModuleList([linear(4 * WIDTH, WIDTH, rng, gain=2**0.5), linear(WIDTH, gaps, rng, gain=0.0)])
        self.dense = linear(OWN * self.variables, WIDTH, rng)
        self.first, self.second = linear(6 * WIDTH, 2 * WIDTH, rng, gain=2**0.5), linear(2 * WIDTH, WIDTH, rng, gain=1.0)
        self.asked, self.asked_before = linear(WIDTH, NARROW, rng), _table(self.variables, NARROW, rng, 0.1)
        self.asked_own = nn.Parameter(torch.zeros(self.variables, OWN))
        self.asked_out, self.asked_bias = _table(self.variables, NARROW, rng, 0.0), nn.Parameter(torch.zeros(self.variables))
        self.valued, self.together = linear(WIDTH, NARROW, rng), _table(self.variables, NARROW, rng, 0.1)
        self.valued_own = nn.Parameter(torch.randn(self.variables, OWN, NARROW, generator=rng) * 0.1)
        self.which = _table(self.variables, NARROW, rng, 0.1)
        self.deep = nn.ModuleList([linear(NARROW, 2 * NARROW, rng, gain=2**0.5), linear(2 * NARROW, NARROW, rng, gain=0.0)])
        self.tell, self.tell_waves = _table(steps.width, NARROW, rng, 0.0), _table(own.shape[1], NARROW, rng, 0.0)
        self.bias = nn.Parameter(torch.zeros(steps.width))
        self.lean, self.bend, self.peak = (nn.Parameter(torch.zeros(self.variables, OWN)) for _ in range(3))
        self.stay = nn.Parameter(torch.zeros(self.variables, STAY))
        shares = torch.cat([part / part[1:].sum().clamp(min=1) for part in counts.double().split(list(steps.levels))])
        shares[:gaps] = counts[:gaps].double() / counts[:gaps].sum()
        self.doubted = DOUBTED * min(1.0, FEW / max(1.0, float(counts[1:gaps].sum())))
        self.register_buffer("log_shares", torch.log(shares).clamp(min=NOBODY).float())
        with torch.no_grad():
            here = shares_measured(counts, steps)
            self.asked_bias.copy_(torch.log(here / (1 - here)).float())
        self.register_buffer("score", _scores(counts, steps))
        self.register_buffer("without_level", torch.tensor(steps.levels[1:]) == 1, persistent=False)
        self.register_buffer("ending", torch.zeros(LENGTHS))  # added to the logit of ending, where histories are drawn

    # What both training and drawing ask, for any leading shape.

    def given(self, tokens: Tensor, plan: Tensor) -> Tensor:
        """(histories, WIDTH) what is known of the patients, and planned of their histories."""
        known = embedding(tokens + self.known.starts, self.read_given + self.known_waves @ self.read_given_waves).sum(1)
        planned = torch.stack([~plan[..., 0].isnan(), torch.log1p(plan[..., 0]) / 5, plan[..., 1], plan[..., 2]], -1).nan_to_num()
        return known + self.read_plan(planned.flatten(1))

    def clock(self, clock: Tensor) -> Tensor:
        """(..., CLOCKS)."""
        late = [clock / self.scale, torch.log1p(clock.clamp(min=0) / self.scale * 1000) / 7]
        for period in self.periods:
            late += [torch.sin(2 * math.pi * clock / period), torch.cos(2 * math.pi * clock / period)]
        return torch.stack(late, -1).float()

    def of(self, past: Past, clock: Tensor, plan: Tensor) -> Tensor:
        """(..., variables, OWN) numbers that the past says of each variable at `clock` (...), and what of the plan is still to come."""
        ever = (past.last > 0).float()
        since = torch.log1p((clock[..., None] - past.when).clamp(min=0).float() / self.scale * 1000) / 7
        mean = past.total / past.often.clamp(min=1)
        last = self.score[past.last + self.steps.starts[1:]]
        often, level, rise = plan.unbind(-1)
        left = ((often - past.often) / (often + 1)).clamp(min=-1)
        ahead = (often * level - past.total) / (often - past.often).clamp(min=1)  # the mean of what is still to come
        pace = torch.log(((often - past.often).clamp(min=0) + 0.1) / (1.02 - (clock[..., None] / self.scale).clamp(0, 1).float())) / 5
        some_left = torch.where(past.often < often, 1.0, -1.0).where(~often.isnan(), 0.0)
        due = level + 2 * rise.nan_to_num() * ((past.often + 0.5) / often.clamp(min=1) - 0.5).clamp(-0.5, 0.5)  # were the rise even
        planned = [torch.log1p(often) / 5, left, some_left, pace, level, ahead.clamp(-1.5, 1.5), rise, due.clamp(-1.5, 1.5)]
        told = [ever, since * ever, torch.log1p(past.often) / 5, mean, last * ever, *(x.nan_to_num() for x in planned)]
        return torch.stack(told, -1)

    def progress(self, past: Past, clock: Tensor, plan: Tensor) -> Tensor:
        """(..., WIDTH) how much of the plan is done at `clock`."""
        total, done = plan[..., 0].nansum(-1), past.often.sum(-1)
        pace = torch.log(((total - done).clamp(min=0) + 1) / (1.02 - (clock / self.scale).clamp(0, 1).float())) / 8
        known = (~plan[..., 0].isnan()).any(-1).float()
        return self.read_progress(torch.stack([known, known * ((total - done) / (total + 1)).clamp(min=-1), known * pace], -1))

    def gap_logits(self, state: Tensor, given: Tensor, late: Tensor, gap: Tensor, now: Tensor) -> Tensor:
        """(..., gaps) when the next step comes; gap: the tokens of the last one."""
        first, second = self.wait
        seen = torch.cat([state, given, self.clocks(late), embedding(gap, now)], -1)
        return second(silu(first(layer_norm(seen, seen.shape[-1:])))) + self.log_shares[: self.steps.levels[0]]

    def context(
        self, state: Tensor, given: Tensor, late: Tensor, gap: Tensor, past: Past, own: Tensor, tables: Mapping[str, Tensor]
    ) -> Tensor:
        """(..., WIDTH) all that is known once the next step's time is."""
        last = summed(past.last + self.steps.starts[1:], tables["last"])
        seen = torch.cat([state, given, self.clocks(late), embedding(gap, tables["now"]), last, self.dense(own.flatten(-2))], -1)
        return self.second(silu(self.first(layer_norm(seen, seen.shape[-1:]))))

    def asked_logits(self, told: Tensor, own: Tensor, before: Tensor) -> Tensor:
        """(..., variables) whether each is measured. told: `asked(context)`; before: (..., variables, NARROW), those asked before it."""
        hidden = silu(told[..., None, :] + before)
        alone = self.asked_alone(own)
        return torch.where(alone > -torch.inf, (hidden * self.asked_out).sum(-1) + alone, -NEVER)

    def asked_alone(self, own: Tensor) -> Tensor:
        """(..., variables) the part of `asked_logits` that each variable's own past says; minus infinity where nothing is planned, or
        where a variable has no level."""
        alone = self.asked_bias + PULL / 3 * (own * self.asked_own).sum(-1)
        never = (own[..., ALL] == 0) & (own[..., LEFT] < 0) | self.without_level
        return alone.masked_fill(never, -torch.inf)

    def value_hidden(self, told: Tensor, own: Tensor, last: Tensor, tables: Mapping[str, Tensor]) -> Tensor:
        """(entries, NARROW). told: `valued(context)`, what is measured with it and what the values told before it say; own: `value_own`;
        last: the last token, its variable's start added."""
        x = told + own + embedding(last, tables["own"])
        first, second = self.deep
        return silu(x + second(silu(first(layer_norm(x, x.shape[-1:])))))

    def value_own(self, own: Tensor, variable: int) -> Tensor:
        """(entries, NARROW) what the variable is, and what its own past (entries, OWN) says."""
        return self.which[variable] + own @ self.valued_own[variable]

    def value_logits(self, hidden: Tensor, own: Tensor, last: Tensor, variable: int, tables: Mapping[str, Tensor]) -> Tensor:
        """(entries, levels of the variable but 0).

        Beside what the network makes of each level, something for the last one, and a curve along those in order: normal, with a peak
        at the last one, since most values hardly move and some move far. Its place, width and peak follow from the variable's own
        past: few histories are enough to learn that a value stays what it was, or near it.
        """
        part = self.steps.part(1 + variable)
        part = slice(part.start + 1, part.stop)
        tell, score = tables["tell"][part], self.score[part]
        ordered = self.steps.ordered[1 + variable]
        if ordered:
            lean, bend, peak = (PULL * (own @ weights[variable])[:, None] for weights in (self.lean, self.bend, self.peak))
            hidden, tell = torch.cat([hidden, lean, bend], 1), torch.cat([tell, score[:, None], score[:, None] ** 2], 1)
        logits = torch.addmm((self.bias + self.log_shares)[part], hidden, tell.T)
        if logits.shape[1]:  # what is always missing has no level
            stay = PULL / 3 * (own[:, :STAY] @ self.stay[variable]) * (last > 0)
            logits = logits.scatter_add(1, (last - 1).clamp(min=0)[:, None], stay[:, None])
        if not ordered:
            return logits
        return torch.addcmul(logits, peak * (last > 0)[:, None], (score - own[:, LAST, None]).abs())

    def tables(self) -> dict[str, Tensor]:
        """Level by level, what the parameters come to."""
        found = {name: self.read[name] + self.waves @ self.read_waves[name] for name in self.read}
        found |= {name: self.narrow[name] + self.waves @ self.narrow_waves[name] for name in self.narrow}
        return found | {"tell": self.tell + self.waves @ self.tell_waves}


def _table(rows: int, columns: int, rng: torch.Generator, spread: float) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns, generator=rng) * spread)


def summed(rows: Tensor, table: Tensor) -> Tensor:
    """(..., width): the sum of the table's rows (..., some)."""
    return embedding_bag(rows.flatten(0, -2), table, mode="sum").unflatten(0, rows.shape[:-1])


def shares_measured(counts: Tensor, steps: Layout) -> Tensor:
    """(variables,) of the steps but the endings, in how many each variable is measured."""
    parts = counts.double().split(list(steps.levels))
    going = parts[0][1:].sum().clamp(min=1)
    return torch.stack([part[1:].sum() / going for part in parts[1:]]).clamp(1e-4, 1 - 1e-4)


def _scores(counts: Tensor, steps: Layout) -> Tensor:
    """(width,) from -1 to 1 by the rank of a level among the measured; for levels without order by their place, which says little."""
    found = []
    for part in counts.double().split(list(steps.levels)):
        middle = torch.cumsum(part[1:], 0) - part[1:] / 2
        found.append(torch.cat([torch.zeros(1, dtype=torch.double), 2 * middle / part[1:].sum().clamp(min=1) - 1]))
    return torch.cat(found).float()


def class_of(steps: Tensor) -> Tensor:
    """The class of histories of so many steps: 0, 1 and 2 stand alone."""
    return (2 * torch.log2(steps.double() + 1)).floor().long().clamp(max=LENGTHS - 1)


def pasts(net: Historian, tokens: Tensor, clock: Tensor) -> Past:
    """The past of every step, (histories, steps, variables): what stood before it."""
    values = tokens[..., 1:]
    there = values > 0
    steps = torch.arange(values.shape[1])[None, :, None]
    at = torch.where(there, steps, -1).cummax(1).values
    at = torch.cat([torch.full_like(at[:, :1], -1), at[:, :-1]], 1)
    seen = at >= 0
    at = at.clamp(min=0)
    last = torch.where(seen, values.gather(1, at), 0)
    when = torch.where(seen, clock[..., None].expand(values.shape).gather(1, at), 0.0)
    score = net.score[values + net.steps.starts[1:]] * there
    count, total = (torch.cumsum(x, 1) - x for x in (there.float(), score))
    return Past(last, when, count, total)


class Losses(NamedTuple):
    """(histories,) minus log likelihoods of the gaps, of what is measured, and of the values."""

    gaps: Tensor
    asked: Tensor
    values: Tensor


def _vague(plan: Tensor, rng: torch.Generator) -> Tensor:
    """Plans that are about right, and now and then hidden. A network that is told the exact count waits for it, and comes short of it
    where its own histories run out of time first; zero alone is sure."""
    often = plan[..., 0]
    about = (often * (1 + VAGUE * torch.randn(often.shape, generator=rng))).round().clamp(min=1).where(often > 0, often)
    hidden = torch.rand(len(plan), 1, generator=rng) < HIDDEN
    return torch.cat([about[..., None], plan[..., 1:]], -1).masked_fill(hidden[..., None], torch.nan)


def losses(net: Historian, batch: Histories, rng: torch.Generator | None = None) -> Losses:
    """What the network makes of whole histories. With `rng` (training) part of what it knows is dropped."""
    tables = net.tables()
    rows, longest = batch.tokens.shape[:2]
    plan = batch.plan
    if rng is not None:
        plan = _vague(plan, rng)
    given = net.given(batch.given, plan)
    begin = torch.tanh(net.begin(given))
    late = net.clock(batch.clock)
    seen = summed(batch.tokens + net.steps.starts, tables["now"]) + net.clocks(late)
    states, _ = net.cell(dropped(seen, net.dropout, rng), begin[None].contiguous())
    states = torch.cat([begin[:, None], states[:, :-1]], 1)
    before = torch.cat([net.clock(torch.zeros_like(batch.clock[:, :1])), late[:, :-1]], 1)
    gaps = torch.cat([torch.zeros_like(batch.tokens[:, :1, 0]), batch.tokens[:, :-1, 0]], 1)
    real = torch.arange(longest)[None] < batch.length[:, None]
    owner = real.nonzero()[:, 0]
    states, given_each = dropped(states[real], net.dropout, rng), given[owner]
    past = Past(*(part[real] for part in pasts(net, batch.tokens, batch.clock)))
    earlier_clock = torch.cat([torch.zeros_like(batch.clock[:, :1]), batch.clock[:, :-1]], 1)[real]
    wait = cross_entropy(
        net.gap_logits(states, given_each + net.progress(past, earlier_clock, plan[owner]), before[real], gaps[real], tables["now"]),
        batch.tokens[..., 0][real],
        reduction="none",
    )
    going = batch.tokens[..., 0][real] > 0  # the endings measure nothing
    past = Past(*(part[going] for part in past))
    tokens, clock = batch.tokens[real][going], batch.clock[real][going]
    own = net.of(past, clock, plan[owner][going])
    context = net.context(states[going], given_each[going], late[real][going], tokens[:, 0], past, own, tables)
    context = dropped(context, net.dropout, rng)
    there = (tokens[:, 1:] > 0).float()
    earlier = torch.ones(net.variables, net.variables).triu(1)[..., None] * net.asked_before[:, None]  # (of, to, NARROW)
    step_before = (there @ earlier.flatten(1)).unflatten(1, (net.variables, NARROW))
    asked = binary_cross_entropy_with_logits(net.asked_logits(net.asked(context), own, step_before), there, reduction="none").sum(1)
    step, variable = there.nonzero().unbind(1)
    read = embedding_bag(
        tokens[step, 1 + variable][:, None] + net.steps.starts[1:][variable][:, None], tables["before"], mode="sum"
    ).double()
    until = torch.cumsum(read, 0) - read
    first = torch.cat([torch.ones(min(1, len(step)), dtype=torch.bool), step[1:] != step[:-1]])
    value_before = (until - until[first][torch.cumsum(first, 0) - 1]).float()
    told = net.valued(context) + there @ net.together
    turn = torch.argsort(variable, stable=True)  # variable by variable
    step, variable, value_before = step[turn], variable[turn], value_before[turn]
    mine = own[step, variable]
    last = past.last[step, variable]
    right = tokens[step, 1 + variable] - 1
    sizes = torch.bincount(variable, minlength=net.variables).tolist()
    said = torch.cat([net.value_own(o, v) for v, o in enumerate(mine.split(sizes))])
    hidden = net.value_hidden(told[step] + value_before, said, last + net.steps.starts[1:][variable], tables)
    hidden = dropped(hidden, net.doubted, rng)
    parts = [
        cross_entropy(net.value_logits(h, o, b, v, tables), r, reduction="none")
        for v, (h, o, b, r) in enumerate(zip(hidden.split(sizes), mine.split(sizes), last.split(sizes), right.split(sizes), strict=True))
        if len(r)
    ]
    value = torch.cat(parts) if parts else torch.zeros(0)
    owner_going = owner[going]
    zero = torch.zeros(rows)
    return Losses(zero.index_add(0, owner, wait), zero.index_add(0, owner_going, asked), zero.index_add(0, owner_going[step], value))
