"""SequenceGAN: patients over time. Their own table first, then every linked table, step by step, then a critic who sees whole patients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import polars as pl
import torch

from proband import seeds
from proband.cohort import Cohort
from proband.encode import TableEncoder
from proband.encode.numbers import physical_bounds
from proband.encode.plain import plain
from proband.encode.sequences import StepEncoder, Steps, time_of
from proband.errors import InputError
from proband.game.fields import Layout
from proband.game.histories import draw, started
from proband.game.play import deterministic
from proband.game.selection import Critic, select
from proband.game.sequences import STEPS, Charts, Historian, learn
from proband.schema import Column, Schema, Table, rules
from proband.schema.model import validated
from proband.stats.discrimination import auc
from proband.stats.sequences import Events, summaries
from proband.stats.trees import Trees, boosted
from proband.synthesizer import Model, OnStep, restore, under, write_model
from proband.synthesizers import linked
from proband.synthesizers.drawing import counted, marked
from proband.synthesizers.forest import SequentialForest
from proband.synthesizers.refine import HELD_OUT, held_out, selected

CANDIDATES = 5  # drawn for each patient who is kept
FEWEST, TOLD = 10, 0.6  # patients of either level on either side, and the AUC there, for a column to be told by histories
PASSES, FEWEST_BATCHES = 12, 400  # times through the training histories, at most; of few there are many
DROPOUT = 0.2

MOST_HELD_OUT = 1000  # histories that are looked at
MOST_STEPS = 2.0  # times as many as the longest training history has
AT_ONCE = 1000  # patients kept at once


class _Part(NamedTuple):
    """What was learned of one linked table: its parent's rows as they are told to it, its steps, and the network.

    until   columns of the parent's row after which no training row came: none will
    latest  the last training time, on the clock
    most    steps of the longest training history
    """

    context: TableEncoder
    steps: StepEncoder
    net: Historian
    until: tuple[str, ...]
    latest: float
    most: int


class _Last(NamedTuple):
    """A column of the patients' own table that their histories tell: trees for its second level, given whole patients.

    figure  its place among the critic's figures, which the trees do not see
    """

    column: str
    figure: int
    trees: Trees


@dataclass(frozen=True)
class _Fitted:
    schema: Schema
    root: SequentialForest
    parts: dict[str, _Part]
    last: tuple[_Last, ...]
    critics: tuple[Critic, ...]
    stages: list[dict[str, float]]
    on_synthetic: bool


class SequenceGAN:
    """Patients with histories: any number of rows in linked tables, at irregular times.

    minutes   time for all networks on an ordinary core, at most; each stops when the held-out patients say so
    select    whether a critic who sees whole patients chooses among candidates: the adversarial half of the game

    The patients' own table comes from a sequential forest. Then each linked table, given the row that owns it: when the next step
    comes, what is measured then, and how much (`game.sequences`). Columns of two levels that whole histories tell, as they tell an
    outcome, are then drawn anew given all the rest: a likelihood of thousands of cells hears that one too little. (Not those that
    `where` asks for.) A row of a table never comes before the origin of its owner, after what ended its owner's rows in the
    training data, or out of order.

    >>> model = SequenceGAN().fit(cohort, seed=0)                              # doctest: +SKIP
    >>> model.sample(100, seed=1, where="died").linked["events"]               # doctest: +SKIP
    >>> model.futures(cohort_so_far, 20, seed=2)                               # doctest: +SKIP
    """

    name: ClassVar[str] = "sequences"

    def __init__(self, *, minutes: float = 6.0, select: bool = True) -> None:
        if not 0 < minutes <= 100_000:
            raise InputError(f"minutes = {minutes!r} is not a training time. Give a number above 0, such as 6.")
        self.minutes, self.select = minutes, select
        self._fitted: _Fitted | None = None

    @property
    def _learned(self) -> _Fitted:
        if self._fitted is None:
            raise InputError("This SequenceGAN has not learned anything yet. Call fit(cohort, seed=...) first, or load a saved model.")
        return self._fitted

    @property
    def stages(self) -> list[dict[str, float]]:
        """Per round of selection: success of the judges, membership AUC, effective share, strength, whether kept."""
        return [dict(stage) for stage in self._learned.stages]

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Learn from the train part of a cohort with linked tables. Interrupted, the model stays as it was."""
        linked.patients(cohort)
        aside = held_out(cohort, HELD_OUT, seed)
        root = linked.rooted(cohort)
        forest = SequentialForest().fit(root, seed=seeds.integer(seed, "sequences", "root"))
        frames = {cohort.schema.table.name: root.frame, **cohort.linked}
        rows = {table.name: max(cohort.linked[table.name].height, 1) for table in cohort.schema.children}
        parts: dict[str, _Part] = {}
        for table in cohort.schema.children:
            minutes = self.minutes * rows[table.name] / sum(rows.values())
            parts[table.name] = _told(root.schema, frames, cohort.schema, table, aside, minutes, seed, on_step)
        learned = _Fitted(cohort.schema, forest, parts, (), (), [], cohort.mark is not None)
        if aside.any() and not aside.all():
            learned = replace(learned, last=_outcomes(learned, _figures(learned, frames), aside, seed))
        if self.select and aside.any():
            learned = _played(learned, cohort, aside, seed, on_step)
        self._fitted = learned
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` synthetic patients with all their rows; every one satisfies `where`, a condition on the patients' own table."""
        learned, n = self._learned, counted(n)
        parts = [
            _chosen(learned, min(AT_ONCE, n - first), seeds.generator(seed, "sequences", "sample", first), where)
            for first in range(0, max(n, 1), AT_ONCE)
        ]
        frames = linked.named(learned.schema, parts, learned.root.prefix)
        first = frames.pop(learned.schema.table.name)
        return marked(first, learned.schema, self.name, seed, where=where, on_synthetic=learned.on_synthetic, linked=frames)

    def futures(self, cohort: Cohort, n: int, *, seed: int) -> list[Cohort]:
        """`n` ways in which the histories of these patients go on: each a cohort of all of them, what is known of them and beyond.

        Only tables that hang on the patients' own go on; those below them are as they were.
        """
        learned = self._learned
        linked.patients(cohort)
        rng = seeds.generator(seed, "sequences", "futures")
        return [_future(learned, cohort, rng, self.name, seed) for _ in range(counted(n))]

    def save(self, path: str | Path) -> None:
        """Write a model folder. It holds counts, sorted values and weights: guard it as you guard the data."""
        learned = self._learned
        config: dict[str, Any] = {
            "schema": learned.schema.model_dump(mode="json"), "minutes": self.minutes, "select": self.select,
            "stages": learned.stages, "on_synthetic": learned.on_synthetic, "parts": {},
            "last": [[one.column, one.figure] for one in learned.last],
            "critics": [
                {"slopes": list(each.slopes), "success": each.success, "strength": each.strength, "folds": len(each.boosted)}
                for each in learned.critics
            ],
        }  # fmt: skip
        config["root"], found = learned.root.state()
        arrays = {f"root.{key}": array for key, array in found.items()}
        for at, (name, part) in enumerate(learned.parts.items()):
            steps, of_steps = part.steps.state()
            context, of_context = part.context.state()
            config["parts"][name] = {
                "steps": steps, "context": context, "contexts": part.context.schema.model_dump(mode="json"),
                "until": list(part.until), "latest": part.latest, "most": part.most,
                "scale": part.net.scale, "periods": list(part.net.periods),
            }  # fmt: skip
            arrays |= {f"{at}.steps.{key}": array for key, array in of_steps.items()}
            arrays |= {f"{at}.context.{key}": array for key, array in of_context.items()}
            arrays |= {f"{at}.net.{key}": weight.numpy() for key, weight in part.net.state_dict().items()}
        for one in learned.last:
            arrays |= {f"last.{one.column}.{name}": getattr(one.trees, name) for name in Trees._fields}
        for at, critic in enumerate(learned.critics):
            for kind in ("boosted", "randomised"):
                for k, trees in enumerate(getattr(critic, kind)):
                    arrays |= {f"critic.{at}.{kind}.{k}.{name}": getattr(trees, name) for name in Trees._fields}
        write_model(path, self.name, config, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder; a missing, oversized, altered or hostile file raises InputError."""
        return restore(path, cls.name, cls._rebuilt)

    @classmethod
    def _rebuilt(cls, stored: Model) -> Self:
        config, arrays = stored.config, stored.arrays
        schema = validated(config["schema"], "The model's schema")
        root = SequentialForest.rebuilt(stored._replace(config=config["root"], arrays=under("root.", arrays)))
        parts = {}
        for at, table in enumerate(schema.children):
            plain_part = config["parts"][table.name]
            steps = StepEncoder.restored(table, plain_part["steps"], under(f"{at}.steps.", arrays))
            contexts = validated(plain_part["contexts"], "The model's schema of what owns a row")
            context = TableEncoder.restored(contexts, plain_part["context"], under(f"{at}.context.", arrays))
            weights = under(f"{at}.net.", arrays)
            if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in weights.values()):
                raise ValueError("a weight is not a finite number")
            periods = tuple(float(period) for period in plain_part["periods"])
            net = _fresh(context, steps, torch.Generator(), scale=float(plain_part["scale"]), periods=periods)
            try:
                net.load_state_dict({key: torch.from_numpy(array) for key, array in weights.items()})
            except RuntimeError as error:
                raise ValueError("the weights do not fit the table") from error
            until = tuple(str(name) for name in plain_part["until"])
            parts[table.name] = _Part(
                context, steps, net.requires_grad_(False), until, float(plain_part["latest"]), int(plain_part["most"])
            )
        critics = []
        for at, found in enumerate(config["critics"]):
            families = [
                tuple(Trees(*(arrays[f"critic.{at}.{kind}.{k}.{name}"] for name in Trees._fields)) for k in range(int(found["folds"])))
                for kind in ("boosted", "randomised")
            ]
            slopes = tuple(float(slope) for slope in found["slopes"])
            critics.append(Critic(families[0], families[1], (slopes[0], slopes[1]), float(found["success"]), float(found["strength"])))
        model = cls(minutes=config["minutes"], select=bool(config["select"]))
        stages = [{str(key): float(value) for key, value in stage.items()} for stage in config["stages"]]
        last = tuple(
            _Last(str(name), int(figure), Trees(*(arrays[f"last.{name}.{field}"] for field in Trees._fields)))
            for name, figure in config["last"]
        )
        model._fitted = _Fitted(schema, root, parts, last, tuple(critics), stages, bool(config["on_synthetic"]))
        return model


def _told(
    schema: Schema,
    frames: Mapping[str, pl.DataFrame],
    declared: Schema,
    table: Table,
    aside: np.ndarray,
    minutes: float,
    seed: int,
    on_step: OnStep | None,
) -> _Part:
    """What is learned of one linked table from the patients who are not `aside`, by those who are."""
    wider = declared.model_copy(update={"tables": (schema.table, *declared.children)})
    about, context, patients = linked.context(wider, frames, table.parent or "")
    owners = frames[table.parent or ""][wider[table.parent or ""].key or ""]
    origins = linked.origins(wider, frames, table)
    encoder = TableEncoder.fit(Cohort(about, context))
    steps = StepEncoder.fit(table, frames[table.name], owners, patients, origins)
    found = steps.encode(frames[table.name], owners, origins)
    time, columns = time_of(table), {column.name: column for column in about.table.columns}
    times = found.clock * steps.unit + origins[found.owner]
    until = []
    for name, column in columns.items():
        if linked.temporal(column) and linked.temporal(time):
            end = linked.physical(context[name], column, time.kind, end=True)[found.owner]
            if (~np.isnan(end)).sum() >= linked.SURE and not (times > end).any():
                until.append(name)
    latest = float(found.clock.max(initial=0.0))
    gaps = np.diff(found.clock)[np.diff(found.owner) == 0]
    common = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 1.0
    values, times_held = np.unique(gaps[gaps > 0], return_counts=True)
    common = float(values[np.argmax(times_held)]) if len(values) and times_held.max() > 1 else common
    rng = torch.Generator().manual_seed(seeds.integer(seed, "sequences", table.name))
    net = _fresh(encoder, steps, rng, scale=max(latest, common), periods=(common, 4 * common, 24 * common))
    charts = _charts(_given(encoder, context), found)
    held = torch.from_numpy(aside[patients])
    rows = torch.arange(len(owners))
    own, unseen = rows[~held], rows[held][:MOST_HELD_OUT]
    total = int(charts.length[own].sum())
    batches = max(1, min(round(minutes * 60 / _seconds(steps, charts.batch(own))), max(FEWEST_BATCHES, math.ceil(PASSES * total / STEPS))))
    told = f"learn {table.name}"
    say: OnStep | None = None if on_step is None else lambda step, of, _, figures: on_step(step, of, told, figures)
    net, _ = learn(net, charts, own, unseen if len(unseen) else own, batches=batches, rng=rng, on_step=say)
    return _Part(encoder, steps, net, tuple(until), latest, int(charts.length.max()))


def _seconds(steps: StepEncoder, batch: int) -> float:
    """What a batch of so many steps takes on an ordinary core: a sum, not a measurement, so that the same seed gives the same network."""
    return 0.01 + batch * (3e-5 + 5e-6 * len(steps.variables))


def _layout(encoder: TableEncoder) -> Layout:
    return Layout(
        tuple(field.levels for field in encoder.fields), tuple(field.levels - 1 if field.numeric else 0 for field in encoder.fields)
    )


def _fresh(context: TableEncoder, steps: StepEncoder, rng: torch.Generator, *, scale: float, periods: tuple[float, ...]) -> Historian:
    """The network before it has learned: it knows the shares of every token."""
    counts = torch.cat([torch.from_numpy(field.counts) for field in steps.encoder.fields])
    return Historian(_layout(context), _layout(steps.encoder), counts, rng, scale=scale, periods=periods, dropout=DROPOUT)


def _given(context: TableEncoder, frame: pl.DataFrame) -> torch.Tensor:
    return torch.from_numpy(context.encode(frame).tokens.astype(np.int64))


def _charts(given: torch.Tensor, steps: Steps) -> Charts:
    """All histories with their endings; an ending stands at the time of the last step."""
    owners = len(given)
    counts = np.bincount(steps.owner, minlength=owners)
    starts = np.concatenate([[0], np.cumsum(counts + 1)])
    tokens = np.zeros((starts[-1], steps.tokens.shape[1]), np.int16)
    clock = np.zeros(starts[-1], np.float32)
    rows = np.arange(len(steps.owner)) + steps.owner
    tokens[rows], clock[rows] = steps.tokens, steps.clock
    endings = starts[1:] - 1
    clock[endings] = np.where(counts > 0, clock[np.maximum(endings - 1, 0)], 0)
    return Charts(given, torch.from_numpy(tokens), torch.from_numpy(clock), torch.from_numpy(starts))


def _wider(learned: _Fitted) -> Schema:
    """The schema with what the first table was learned with: the start beside its own columns."""
    return learned.schema.model_copy(update={"tables": (learned.root.schema.table, *learned.schema.children)})


def _outcomes(learned: _Fitted, figures: np.ndarray, aside: np.ndarray, seed: int) -> tuple[_Last, ...]:
    """The columns of two levels that trees tell the patients `aside` from their histories."""
    found = []
    told = [column for column in learned.schema.table.columns if column.kind not in ("identifier", "text")]
    for at, column in enumerate(told):
        levels, known = figures[:, at], ~np.isnan(figures[:, at])
        two = column.kind == "boolean" or (column.kind == "category" and len(column.categories or ()) == 2)
        if not two or min(((levels == level) & known & side).sum() for level in (0, 1) for side in (aside, ~aside)) < FEWEST:
            continue
        others = np.delete(figures, at, axis=1)
        grow = partial(boosted, kind="classifier", seed=seeds.integer(seed, "sequences", column.name), trees=150, leaves=8, rate=0.05)
        trees = grow(others[known & ~aside], levels[known & ~aside])
        if auc(trees(others[known & aside]), levels[known & aside]) >= TOLD:
            found.append(_Last(column.name, at, grow(others[known], levels[known])))
    return tuple(found)


def _retold(learned: _Fitted, frames: dict[str, pl.DataFrame], where: str | None, rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    """`frames` with the columns that histories tell drawn anew; those that `where` reads, and missing values, stay."""
    root = learned.schema.table
    asked = rules.columns(where, root) if where else frozenset()
    if not learned.last:
        return frames
    figures = _figures(learned, frames)
    for one in learned.last:
        if one.column in asked:
            continue
        odds = one.trees(np.delete(figures, one.figure, axis=1))
        second = rng.random(len(odds)) < 1 / (1 + np.exp(-odds))
        column, known = root[one.column], ~np.isnan(figures[:, one.figure])
        words = [False, True] if column.kind == "boolean" else list(column.categories or ())
        drawn = pl.Series(one.column, [words[int(level)] for level in second], dtype=column.dtype)
        before = frames[root.name]
        frames = frames | {root.name: before.with_columns(before[one.column].zip_with(pl.Series(~known), drawn))}
        figures[:, one.figure] = np.where(known, second, np.nan)
    return frames


def _candidates(learned: _Fitted, n: int, rng: np.random.Generator, where: str | None) -> dict[str, pl.DataFrame]:
    """Every table of `n` patients before any critic chooses; keys are the numbers of rows."""
    wider = _wider(learned)
    first = learned.root.sample(n, seed=int(rng.integers(2**31)), where=where).frame
    key = learned.schema.table.key or ""
    frames = {wider.table.name: first.with_columns(pl.Series(key, [str(row) for row in range(n)], dtype=pl.String))}
    for table in learned.schema.children:
        _, context, patients = linked.context(wider, frames, table.parent or "")
        found, _ = _drawn(learned, wider, frames, table, context, None, rng)
        frames[table.name] = linked.completed(learned.schema, frames, table, found, patients, rng)
    return _retold(learned, frames, where, rng)


def _drawn(
    learned: _Fitted,
    schema: Schema,
    frames: Mapping[str, pl.DataFrame],
    table: Table,
    context: pl.DataFrame,
    so_far: Steps | None,
    rng: np.random.Generator,
) -> tuple[pl.DataFrame, np.ndarray]:
    """Rows of `table` for the rows that own them, after those `so_far`; and their clock's origins."""
    part, noise = learned.parts[table.name], torch.Generator().manual_seed(int(rng.integers(2**62)))
    parent = schema[table.parent or ""]
    origins, time = linked.origins(schema, frames, table), time_of(table)
    until = np.fmin(linked.until(context, part.context.schema.table, part.until, time), physical_bounds(time)[1])
    latest = np.where(np.isnan(origins), -np.inf, np.fmin((until - origins) / part.steps.unit, part.latest))
    origins = np.nan_to_num(origins)
    nothing = Steps(np.zeros(0, np.int64), np.zeros((0, len(part.steps.encoder.fields)), np.int32), np.zeros(0))
    given = _given(part.context, context)
    charts = _charts(given, nothing if so_far is None else so_far)
    with deterministic():
        whose, tokens, clock = draw(
            part.net,
            given,
            started(part.net, charts.take(torch.arange(len(given)))),
            lambda gap: torch.from_numpy(part.steps.waits(gap.numpy().astype(np.int32), rng).astype(np.float32)),
            latest=torch.from_numpy(latest.astype(np.float32)),
            most=math.ceil(MOST_STEPS * part.most),
            blank=table.measures is None,
            rng=noise,
        )
    steps = Steps(whose.numpy(), tokens.numpy(), clock.numpy().astype(float))
    return part.steps.decode(steps, frames[parent.name][parent.key or ""], origins, rng), origins


def _figures(learned: _Fitted, frames: Mapping[str, pl.DataFrame]) -> np.ndarray:
    """(patients, figures) what the critic sees of whole patients: their own columns, and of every variable of every table how often,
    how much and which way (`stats.sequences.summaries`), how many steps and when the first and the last."""
    wider = _wider(learned)
    found = [plain(frames[wider.table.name].select(c.name for c in learned.schema.table.columns), learned.schema)]
    for table in learned.schema.children:
        part = learned.parts[table.name].steps
        _, _, patients = linked.context(wider, frames, table.parent or "")
        origins = np.nan_to_num(linked.origins(wider, frames, table))
        parent = wider[table.parent or ""]
        wide, owner, clock = part.wide(frames[table.name], frames[parent.name][parent.key or ""], origins)
        who = patients[owner]
        values = np.stack([_value(wide[column.name], column) for column in part.variables], axis=1) if part.variables else np.zeros((0, 0))
        step, variable = np.nonzero(~np.isnan(values))
        order = np.lexsort((clock[step], who[step]))
        step, variable = step[order], variable[order]
        people = frames[wider.table.name].height
        names = tuple(column.name for column in part.variables)
        found.append(summaries(Events(who[step], clock[step], variable, values[step, variable], people, names)))
        count = np.bincount(who, minlength=people).astype(float)
        ends = np.full((people, 2), np.nan)
        for row, turn in ((0, np.lexsort((-clock, who))), (1, np.lexsort((clock, who)))):
            ends[who[turn], row] = clock[turn]
        found += [count[:, None], ends]
    return np.concatenate(found, axis=1)


def _value(series: pl.Series, column: Column) -> np.ndarray:
    """Numbers as they are, levels by their place in `categories`; NaN is missing."""
    schema = Schema(tables=(Table(name="step", columns=(column,)),))
    return plain(pl.DataFrame([series]), schema)[:, 0]


def _played(learned: _Fitted, cohort: Cohort, aside: np.ndarray, seed: int, on_step: OnStep | None) -> _Fitted:
    """The critics of the rounds of selection that the judge let stand."""
    rng = seeds.generator(seed, "sequences", "select")
    frames = {cohort.schema.table.name: linked.rooted(cohort).frame, **cohort.linked}
    every = _figures(learned, frames)
    n = int((~aside).sum())
    sizes = [CANDIDATES * min(AT_ONCE, n - first) for first in range(0, n, AT_ONCE)]
    fakes = np.concatenate([_figures(learned, _candidates(learned, size, rng, None)) for size in sizes])
    found = selected(fakes, every[~aside], every[aside], n=n, seed=seed, on_step=on_step)
    return replace(learned, critics=found.critics, stages=found.stages)


def _chosen(learned: _Fitted, n: int, rng: np.random.Generator, where: str | None) -> dict[str, pl.DataFrame]:
    """`n` of more candidates, as the critics weigh them."""
    if not learned.critics:
        return _candidates(learned, n, rng, where)
    frames = _candidates(learned, CANDIDATES * n, rng, where)
    figures = _figures(learned, frames)
    kept = select(np.sum([critic.log_odds(figures) for critic in learned.critics], axis=0), n, rng)
    return linked.kept(_wider(learned), frames, kept[rng.permutation(n)])


def _future(learned: _Fitted, cohort: Cohort, rng: np.random.Generator, name: str, seed: int) -> Cohort:
    """One way in which the histories of these patients go on."""
    wider = _wider(learned)
    frames = {wider.table.name: linked.rooted(cohort).frame, **cohort.linked}
    tables = dict(cohort.linked)
    for table in learned.schema.children:
        if table.parent != wider.table.name:
            continue
        part = learned.parts[table.name]
        _, context, patients = linked.context(wider, frames, table.parent)
        origins = np.nan_to_num(linked.origins(wider, frames, table))
        so_far = part.steps.encode(frames[table.name], cohort.frame[wider.table.key or ""], origins)
        more, _ = _drawn(learned, wider, frames, table, context, so_far, rng)
        tables[table.name] = pl.concat([tables[table.name], linked.completed(learned.schema, frames, table, more, patients, rng)])
    return marked(cohort.frame, learned.schema, name, seed, where=None, on_synthetic=learned.on_synthetic, linked=tables)
