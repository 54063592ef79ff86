"""One linked table: what a SequenceGAN learns of it, and the steps that it draws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl
import torch

from proband import seeds
from proband.cohort import Cohort
from proband.encode import TableEncoder
from proband.encode.numbers import physical_bounds, to_numbers
from proband.encode.sequences import StepEncoder, Steps, owners_of, time_of
from proband.game.fields import Layout
from proband.game.histories import begun, draw, mend_endings
from proband.game.learning import STEPS, Charts, learn
from proband.game.play import THREADS, deterministic
from proband.game.sequences import Historian
from proband.schema import Schema, Table
from proband.stats.cores import on_cores
from proband.synthesizer import OnStep
from proband.synthesizers import linked, plans
from proband.synthesizers.unfinished import Unfinished

PASSES, FEWEST_BATCHES = 12, 400  # times through the training histories, at most; of few there are many
DROPOUT = 0.2
MOST_HELD_OUT = 1000  # histories that are looked at
MOST_STEPS = 2.0  # times as many as the longest training history has
LANES, IN_LANE = 4, 150  # histories are drawn in so many lanes, side by side, of so many histories or more
MOST_MENDED = 600  # histories that are drawn to see where they end


class Part(NamedTuple):
    """What was learned of one linked table: its parent's rows as they are told to it, its steps, and the network.

    until   what of its owner ends a row's time, and how much later it may come (`linked.ends`)
    ends    the same for every column that is told by how long after that time it comes: a stay's end
    latest  the last training time, on the clock
    most    steps of the longest training history
    """

    context: TableEncoder
    steps: StepEncoder
    net: Historian
    until: dict[str, float]
    ends: dict[str, dict[str, float]]
    latest: float
    most: int


def learn_part(
    wider: Schema,
    frames: Mapping[str, pl.DataFrame],
    table: Table,
    aside: np.ndarray,
    minutes: float,
    seed: int,
    on_step: OnStep | None,
    kept: Unfinished | None,
) -> tuple[Part, torch.Tensor | None]:
    """What is learned of one linked table from the patients who are not `aside`, by those who are; and the plans of its histories."""
    about, context, patients = linked.context(wider, frames, table.parent or "")
    owners = frames[table.parent or ""][wider[table.parent or ""].key or ""]
    origins = linked.origins(wider, frames, table)
    encoder = TableEncoder.fit(Cohort(about, context))
    steps = StepEncoder.fit(table, frames[table.name], owners, patients, origins)
    found = steps.encode(frames[table.name], owners, origins)
    until: dict[str, float] = {}
    ends: dict[str, dict[str, float]] = {}
    if table.order:
        at = owners_of(table, frames[table.name], owners)
        for column in (time_of(table), *(table[name] for name in steps.lasting)):
            ends[column.name] = linked.ends(context, about.table, at, to_numbers(frames[table.name][column.name]), column)
        until = ends.pop(time_of(table).name)
    latest = float(found.clock.max(initial=0.0))
    gaps = np.diff(found.clock)[np.diff(found.owner) == 0]
    values, held = np.unique(gaps[gaps > 0], return_counts=True)
    common = float(values[np.argmax(held)]) if held.max(initial=0) > 1 else float(np.median(values)) if len(values) else 1.0
    rng = torch.Generator().manual_seed(seeds.integer(seed, "sequences", table.name))
    net = fresh_network(encoder, steps, rng, scale=max(latest, common), periods=(common, 4 * common, 24 * common))
    planned = plans.made(wider, table, steps)
    plan = plans.of(net, found, len(owners)) if planned else plans.none(len(owners), net)
    charts = _charts(_given(encoder, context), plan, found)
    unseen = torch.from_numpy(aside[patients])
    rows = torch.arange(len(owners))
    own, unseen = rows[~unseen] if not unseen.all() else rows, rows[unseen][:MOST_HELD_OUT]
    total = int(charts.length[own].sum())
    batches = max(1, min(round(minutes * 60 / _seconds(steps, charts.batch(own))), max(FEWEST_BATCHES, math.ceil(PASSES * total / STEPS))))
    told, place = f"learn {table.name}", str(wider.tables.index(table))
    say: OnStep | None = None if on_step is None else lambda step, of, _, figures: on_step(step, of, told, figures)
    own_seed = seeds.integer(seed, "sequences", "learn", table.name)
    before, keep = (None, None) if kept is None else (kept.read(place), partial(kept.write, place))
    judged = unseen if len(unseen) else own
    net = learn(net, charts, own, judged, batches=batches, seed=own_seed, before=before, keep=keep, on_step=say)
    part = Part(encoder, steps, net, until, ends, latest, int(charts.length.max()))
    some = np.sort(seeds.generator(seed, "sequences", "endings", table.name).permutation(len(owners))[:MOST_MENDED])
    draws = seeds.generator(seed, "sequences", "mended", table.name)

    def again() -> torch.Tensor:
        found = draw_steps(part, table, context[some.tolist()], plan[some], origins[some], None, draws)
        return torch.from_numpy(np.bincount(found.owner, minlength=len(some)))

    mend_endings(net, charts.length - 1, again)
    return part, plan if planned else None


def _seconds(steps: StepEncoder, batch: int) -> float:
    """What a batch of so many steps takes on an ordinary core: a sum, not a measurement, so that the same seed gives the same network."""
    return 0.01 + batch * (3e-5 + 5e-6 * len(steps.variables))


def fresh_network(
    context: TableEncoder, steps: StepEncoder, rng: torch.Generator, *, scale: float, periods: tuple[float, ...]
) -> Historian:
    """The network before it has learned: it knows the shares of every token."""
    counts = torch.cat([torch.from_numpy(field.counts) for field in steps.encoder.fields])
    return Historian(Layout.of(context.fields), Layout.of(steps.encoder.fields), counts, rng, scale=scale, periods=periods, dropout=DROPOUT)


def _given(context: TableEncoder, frame: pl.DataFrame) -> torch.Tensor:
    return torch.from_numpy(context.encode(frame).tokens.astype(np.int64))


def _charts(given: torch.Tensor, plan: torch.Tensor, steps: Steps) -> Charts:
    """All histories with their endings; an ending stands at the time of the last step."""
    owners = len(given)
    counts = np.bincount(steps.owner, minlength=owners)
    starts = np.concatenate([[0], np.cumsum(counts + 1)])
    tokens = np.zeros((starts[-1], steps.tokens.shape[1]), np.int16)
    clock = np.zeros(starts[-1])
    rows = np.arange(len(steps.owner)) + steps.owner
    tokens[rows], clock[rows] = steps.tokens, steps.clock
    endings = starts[1:] - 1
    clock[endings] = np.where(counts > 0, clock[np.maximum(endings - 1, 0)], 0)
    return Charts(given, plan, torch.from_numpy(tokens), torch.from_numpy(clock), torch.from_numpy(starts))


def draw_steps(
    part: Part,
    table: Table,
    context: pl.DataFrame,
    plan: torch.Tensor,
    origins: np.ndarray,
    so_far: Steps | None,
    rng: np.random.Generator,
) -> Steps:
    """Steps for the rows that own them, after those `so_far`."""
    time = time_of(table)
    until = np.fmin(linked.until(context, part.context.schema.table, part.until, time), physical_bounds(time)[1])
    if part.steps.whole:  # times will be
        until = np.floor(until / part.steps.unit) * part.steps.unit
    latest = torch.from_numpy(np.where(np.isnan(origins), -np.inf, np.fmin((until - origins) / part.steps.unit, part.latest)))
    given = _given(part.context, context)
    nothing = Steps(np.zeros(0, np.int64), np.zeros((0, len(part.steps.encoder.fields)), np.int32), np.zeros(0))
    if not len(given):
        return nothing
    known = _charts(given, plan, nothing if so_far is None else so_far)

    def gone_on(own: torch.Tensor, lane: int) -> Steps:
        torch.set_num_threads(THREADS)  # a new thread may not have heard
        noise, gaps = torch.Generator().manual_seed(lane), np.random.default_rng(lane)
        owner, tokens, clock = draw(
            part.net,
            given[own],
            plan[own],
            stand.take(own),
            lambda gap: torch.from_numpy(part.steps.waits(gap.numpy().astype(np.int32), gaps)),
            latest=latest[own],
            most=math.ceil(MOST_STEPS * part.most),
            blank=table.measures is None,
            rng=noise,
        )
        return Steps(own[owner].numpy(), tokens.numpy(), clock.numpy())

    lanes = torch.arange(len(given)).tensor_split(min(LANES, math.ceil(len(given) / IN_LANE)))
    numbers = rng.integers(2**62, size=len(lanes)).tolist()
    with deterministic():
        stand = begun(part.net, known)
        found = list(on_cores(lambda at: gone_on(lanes[at], numbers[at]), range(len(lanes))))
    return Steps(*map(np.concatenate, zip(*found, strict=True)))
