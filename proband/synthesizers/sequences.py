"""SequenceGAN: patients over time. Their own table first, then every linked table, step by step, then a critic who sees whole patients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import polars as pl
import torch

from proband import seeds
from proband.cohort import Cohort
from proband.encode import TableEncoder
from proband.encode.numbers import from_numbers, physical_bounds, to_numbers
from proband.encode.plain import plain
from proband.encode.sequences import StepEncoder, Steps, time_of
from proband.errors import InputError
from proband.game.fields import Layout
from proband.game.play import deterministic
from proband.game.selection import Critic, select
from proband.game.sequences import STEPS, Charts, Historian, draw, learn, started
from proband.schema import Column, Rule, Schema, Table
from proband.schema.model import validated
from proband.stats.sequences import Events, summaries
from proband.stats.trees import Trees
from proband.synthesizer import Model, OnStep, restore, under, write_model
from proband.synthesizers.drawing import counted, marked
from proband.synthesizers.forest import SequentialForest
from proband.synthesizers.refine import HELD_OUT, held_out, selected

CANDIDATES = 3  # drawn for each patient who is kept
PASSES = 12  # times through the training histories, at most
DROPOUT = 0.1
SURE = 20  # rows that must agree before an order of two dates is believed
MOST_HELD_OUT = 1000  # histories that are looked at
MOST_STEPS = 2.0  # times as many as the longest training history has
AT_ONCE = 4000  # histories drawn at once
_START = "(start)"


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


@dataclass(frozen=True)
class _Fitted:
    schema: Schema
    root: SequentialForest
    parts: dict[str, _Part]
    critics: tuple[Critic, ...]
    stages: list[dict[str, float]]
    on_synthetic: bool


class SequenceGAN:
    """Patients with histories: any number of rows in linked tables, at irregular times.

    minutes   time for all networks on an ordinary core, at most; each stops when the held-out patients say so
    select    whether a critic who sees whole patients chooses among candidates: the adversarial half of the game

    The patients' own table comes from a sequential forest. Then each linked table, given the row that owns it: when the next step
    comes, what is measured then, and how much (`game.sequences`). A row of a table never comes before the origin of its owner, after
    what ended its owner's rows in the training data, or out of order.

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
        _patients(cohort)
        aside = held_out(cohort, HELD_OUT, seed)
        root = _rooted(cohort)
        forest = SequentialForest().fit(root, seed=seeds.integer(seed, "sequences", "root"))
        frames = {cohort.schema.table.name: root.frame, **cohort.linked}
        rows = {table.name: max(cohort.linked[table.name].height, 1) for table in cohort.schema.children}
        parts: dict[str, _Part] = {}
        for table in cohort.schema.children:
            minutes = self.minutes * rows[table.name] / sum(rows.values())
            parts[table.name] = _told(root.schema, frames, cohort.schema, table, aside, minutes, seed, on_step)
        learned = _Fitted(cohort.schema, forest, parts, (), [], cohort.mark is not None)
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
        frames = _named(learned.schema, parts, learned.root.prefix)
        first = frames.pop(learned.schema.table.name)
        return marked(first, learned.schema, self.name, seed, where=where, on_synthetic=learned.on_synthetic, linked=frames)

    def futures(self, cohort: Cohort, n: int, *, seed: int) -> list[Cohort]:
        """`n` ways in which the histories of these patients go on: each a cohort of all of them, what is known of them and beyond.

        Only tables that hang on the patients' own go on; those below them are as they were.
        """
        learned = self._learned
        _patients(cohort)
        rng = seeds.generator(seed, "sequences", "futures")
        return [_future(learned, cohort, rng, self.name, seed) for _ in range(counted(n))]

    def save(self, path: str | Path) -> None:
        """Write a model folder. It holds counts, sorted values and weights: guard it as you guard the data."""
        learned = self._learned
        config: dict[str, Any] = {
            "schema": learned.schema.model_dump(mode="json"), "minutes": self.minutes, "select": self.select,
            "stages": learned.stages, "on_synthetic": learned.on_synthetic, "parts": {},
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
        model._fitted = _Fitted(schema, root, parts, tuple(critics), stages, bool(config["on_synthetic"]))
        return model


def _patients(cohort: Cohort) -> pl.Series:
    """The keys of the patients. InputError unless every one has one row of their own and linked tables."""
    table = cohort.schema.table
    if not cohort.schema.children:
        raise InputError("The cohort has one table, and nobody in it a history. Use TableGAN, or declare the linked tables.")
    keys = cohort.frame[table.key] if table.key else None
    if keys is None or keys.null_count() or keys.n_unique() < len(keys):
        raise InputError(f"Table {table.name!r}: its key must name every patient once; linked rows would be nobody's. Declare or mend key.")
    return keys


def _temporal(column: Column) -> bool:
    return column.kind in ("date", "datetime")


def _physical(series: pl.Series, column: Column, kind: str, *, end: bool = False) -> np.ndarray:
    """Dates and date-times in the units of `kind`; a date as an end is its last moment."""
    found, day = to_numbers(series), 86_400e6
    if column.kind == kind:
        return found
    return found * day + (day - 1 if end else 0) if kind == "datetime" else np.floor(found / day)


def _rooted(cohort: Cohort) -> Cohort:
    """The patients' own table alone; where histories run in dates, with the time at which each patient's begins."""
    table = cohort.schema.table
    running = [child for child in cohort.schema.children if child.parent == table.name and _temporal(time_of(child))]
    alone = cohort.schema.model_copy(update={"tables": (table,), "proposals": ()})
    if not running:
        return Cohort(alone, cohort.frame)
    kind: Literal["date", "datetime"] = "datetime" if any(time_of(child).kind == "datetime" for child in running) else "date"
    column = Column(name=_START, kind=kind)
    firsts = []
    for child in running:
        time, rows = time_of(child), cohort.linked[child.name]
        times = _physical(rows[time.name], time, kind)
        firsts.append(pl.DataFrame({"key": rows[child.on or ""], "time": times}).drop_nulls().group_by("key").agg(pl.col("time").min()))
    first = pl.concat(firsts).group_by("key").agg(pl.col("time").min())
    begun = cohort.frame.select(key=table.key).join(first, on="key", how="left", maintain_order="left")["time"]
    frame = cohort.frame.with_columns(from_numbers(begun.fill_null(np.nan).to_numpy(), column).alias(_START))
    ruled = list(alone.rules)
    wider = table.model_copy(update={"columns": (*table.columns, column)})
    for other in table.columns:
        if _temporal(other) and other.kind == kind:
            ruled += _ordered(frame, other.name)
    return Cohort(alone.model_copy(update={"tables": (wider,), "rules": tuple(ruled)}), frame)


def _ordered(frame: pl.DataFrame, name: str) -> list[Rule]:
    """Whether a date never comes after, or never before, the start of the histories."""
    known = frame.select(name, _START).drop_nulls()
    if known.height < SURE:
        return []
    if bool((known[name] <= known[_START]).all()):
        return [Rule(sql=f'"{name}" <= "{_START}"')]
    return [Rule(sql=f'"{_START}" <= "{name}"')] if bool((known[_START] <= known[name]).all()) else []


def _context(schema: Schema, frames: Mapping[str, pl.DataFrame], name: str) -> tuple[Schema, pl.DataFrame, np.ndarray]:
    """What is known of every row of table `name`: its own columns and those of the rows that own it; and whose it is, (rows,).

    schema   the first table's may have a column more, the start
    """
    table, frame = schema[name], frames[name]
    used = {table.key, table.on, *(link.column for link in table.links)}
    own = [column for column in table.columns if column.name not in used and column.kind not in ("identifier", "text")]
    columns = [column.model_copy(update={"name": f"{name}.{column.name}"}) for column in own]
    told = frame.select(pl.col(column.name).alias(f"{name}.{column.name}") for column in own)
    if table.parent is None and not own:  # nothing is known of anybody, which must be said too
        columns, told = [Column(name="(patient)", kind="boolean")], pl.DataFrame({"(patient)": [True] * frame.height})
    who = np.arange(frame.height)
    if table.parent is not None:
        above, rows, patients = _context(schema, frames, table.parent)
        keys = frames[table.parent][schema[table.parent].key or ""]
        places = pl.DataFrame({"key": keys, "at": np.arange(len(keys))})
        at = frame.select(key=table.on or "").join(places, on="key", how="left", maintain_order="left")["at"].to_numpy()
        columns += above.table.columns
        told = pl.concat([told, rows[at]], how="horizontal")
        who = patients[at]
    return Schema(tables=(Table(name=name, columns=tuple(columns)),)), told, who


def _origins(schema: Schema, frames: Mapping[str, pl.DataFrame], table: Table) -> np.ndarray:
    """(rows of the parent,) where the clock of each begins, in the units of the table's time; NaN: nothing ever happens."""
    parent, time = schema[table.parent or ""], time_of(table)
    if not _temporal(time):
        return np.zeros(frames[parent.name].height)
    begin = parent[_START] if parent.parent is None else time_of(parent)
    if not _temporal(begin):
        raise InputError(
            f"Table {table.name!r} runs in dates and its parent {parent.name!r} in numbers; nobody can say when its rows begin."
        )
    return _physical(frames[parent.name][begin.name], begin, time.kind)


def _until(context: pl.DataFrame, columns: Table, until: Iterable[str], time: Column) -> np.ndarray:
    """(rows of the parent,) the last time that a row of the table may have, in the units of its time."""
    found = np.full(context.height, np.inf)
    for name in until:
        found = np.fmin(found, _physical(context[name], columns[name], time.kind, end=True))
    return found


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
    about, context, patients = _context(wider, frames, table.parent or "")
    owners = frames[table.parent or ""][wider[table.parent or ""].key or ""]
    origins = _origins(wider, frames, table)
    encoder = TableEncoder.fit(Cohort(about, context))
    steps = StepEncoder.fit(table, frames[table.name], owners, patients, origins)
    found = steps.encode(frames[table.name], owners, origins)
    time, columns = time_of(table), {column.name: column for column in about.table.columns}
    times = found.clock * steps.unit + origins[found.owner]
    until = []
    for name, column in columns.items():
        if _temporal(column) and _temporal(time):
            end = _physical(context[name], column, time.kind, end=True)[found.owner]
            if (~np.isnan(end)).sum() >= SURE and not (times > end).any():
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
    batches = max(1, min(round(minutes * 60 / _seconds(steps)), math.ceil(PASSES * total / STEPS)))
    told = f"learn {table.name}"
    say: OnStep | None = None if on_step is None else lambda step, of, _, figures: on_step(step, of, told, figures)
    net, _ = learn(net, charts, own, unseen if len(unseen) else own, batches=batches, rng=rng, on_step=say)
    return _Part(encoder, steps, net, tuple(until), latest, int(charts.length.max()))


def _seconds(steps: StepEncoder) -> float:
    """What a batch takes on an ordinary core: a sum, not a measurement, so that the same seed gives the same network."""
    return STEPS * (3e-5 + 5e-6 * len(steps.variables))


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


def _candidates(learned: _Fitted, n: int, rng: np.random.Generator, where: str | None) -> dict[str, pl.DataFrame]:
    """Every table of `n` patients before any critic chooses; keys are the numbers of rows."""
    wider = _wider(learned)
    first = learned.root.sample(n, seed=int(rng.integers(2**31)), where=where).frame
    key = learned.schema.table.key or ""
    frames = {wider.table.name: first.with_columns(pl.Series(key, [str(row) for row in range(n)], dtype=pl.String))}
    for table in learned.schema.children:
        _, context, patients = _context(wider, frames, table.parent or "")
        found, _ = _drawn(learned, wider, frames, table, context, None, rng)
        frames[table.name] = _completed(learned.schema, frames, table, found, patients, rng)
    return frames


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
    origins, time = _origins(schema, frames, table), time_of(table)
    until = np.fmin(_until(context, part.context.schema.table, part.until, time), physical_bounds(time)[1])
    latest = np.where(np.isnan(origins), -np.inf, np.fmin((until - origins) / part.steps.unit, part.latest))
    origins = np.nan_to_num(origins)
    nothing = Steps(np.zeros(0, np.int64), np.zeros((0, 1 + len(part.steps.variables)), np.int32), np.zeros(0))
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


def _completed(
    schema: Schema, frames: Mapping[str, pl.DataFrame], table: Table, rows: pl.DataFrame, patients: np.ndarray, rng: np.random.Generator
) -> pl.DataFrame:
    """`rows` with all columns of the table: keys of their own, links to rows of the same patient, and nothing in what is not told."""
    owner = pl.DataFrame({"key": frames[table.parent or ""][schema[table.parent or ""].key or ""], "patient": patients})
    who = rows.select(key=table.on or "").join(owner, on="key", how="left", maintain_order="left")["patient"].to_numpy()
    found = rows
    if table.key is not None:
        found = found.with_columns(pl.Series(table.key, [f"{table.name}-{row}" for row in range(rows.height)], dtype=pl.String))
    for link in table.links:
        other = schema[link.table]
        _, _, whose = _context(schema, frames, link.table)
        order = rng.permutation(len(whose))
        order = order[np.argsort(whose[order], kind="stable")]
        first, after = (np.searchsorted(whose[order], who, side=side) for side in ("left", "right"))
        pick = first + (rng.random(len(who)) * (after - first)).astype(np.int64)
        keys = frames[link.table][other.key or ""].gather(order).gather(np.minimum(pick, max(len(order) - 1, 0))) if len(order) else None
        linked = pl.Series(link.column, [None] * len(who), dtype=pl.String) if keys is None else keys.alias(link.column)
        found = found.with_columns(linked.set(pl.Series(after == first), None))
    absent = [pl.lit(None, column.dtype).alias(column.name) for column in table.columns if column.name not in found.columns]
    return found.with_columns(absent).select(column.name for column in table.columns)


def _figures(learned: _Fitted, frames: Mapping[str, pl.DataFrame]) -> np.ndarray:
    """(patients, figures) what the critic sees of whole patients: their own columns, and of every variable of every table how often,
    how much and which way (`stats.sequences.summaries`), how many steps and when the first and the last."""
    wider = _wider(learned)
    found = [plain(frames[wider.table.name].select(c.name for c in learned.schema.table.columns), learned.schema)]
    for table in learned.schema.children:
        part = learned.parts[table.name].steps
        _, _, patients = _context(wider, frames, table.parent or "")
        origins = np.nan_to_num(_origins(wider, frames, table))
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
    frames = {cohort.schema.table.name: _rooted(cohort).frame, **cohort.linked}
    every = _figures(learned, frames)
    fakes = _figures(learned, _candidates(learned, CANDIDATES * int((~aside).sum()), rng, None))
    found = selected(fakes, every[~aside], every[aside], n=int((~aside).sum()), seed=seed, on_step=on_step)
    return replace(learned, critics=found.critics, stages=found.stages)


def _chosen(learned: _Fitted, n: int, rng: np.random.Generator, where: str | None) -> dict[str, pl.DataFrame]:
    """`n` of more candidates, as the critics weigh them."""
    if not learned.critics:
        return _candidates(learned, n, rng, where)
    frames = _candidates(learned, CANDIDATES * n, rng, where)
    figures = _figures(learned, frames)
    kept = select(np.sum([critic.log_odds(figures) for critic in learned.critics], axis=0), n, rng)
    return _kept(_wider(learned), frames, kept[rng.permutation(n)])


def _kept(schema: Schema, frames: dict[str, pl.DataFrame], patients: np.ndarray) -> dict[str, pl.DataFrame]:
    """Only these patients, who may be chosen once each, with all their rows."""
    found: dict[str, pl.DataFrame] = {}
    for table in schema.tables:
        if table.parent is None:
            found[table.name] = frames[table.name][patients.tolist()]
            continue
        owners = found[table.parent].select(pl.col(schema[table.parent].key or "").alias(table.on or "")).with_row_index("(turn)")
        rows = frames[table.name].join(owners, on=table.on, how="inner", maintain_order="left").sort("(turn)", maintain_order=True)
        found[table.name] = rows.drop("(turn)")
    return found


def _named(schema: Schema, parts: list[dict[str, pl.DataFrame]], prefix: str) -> dict[str, pl.DataFrame]:
    """The parts below each other, with fresh keys throughout, and every key that points at one renamed with it."""
    frames: dict[str, pl.DataFrame] = {}
    for table in schema.tables:
        renamed = [
            part[table.name].with_columns(
                (pl.lit(f"{at}:") + pl.col(name)).alias(name) for name in _keys(table) if name in part[table.name].columns
            )
            for at, part in enumerate(parts)
        ]
        frames[table.name] = pl.concat(renamed)
    fresh: dict[str, pl.DataFrame] = {}
    for table in schema.tables:
        if table.key is not None:
            old = frames[table.name][table.key]
            width = max(6, len(str(len(old))))
            what = "" if table.parent is None else f"{table.name}-"
            new = [f"{prefix}{what}{row:0{width}d}" for row in range(1, len(old) + 1)]
            fresh[table.name] = pl.DataFrame({"old": old, "new": pl.Series(new, dtype=pl.String)})
    for table in schema.tables:
        points = {name: other for name, other in _points(table)}
        for name, other in points.items():
            rows = frames[table.name].select(old=name).join(fresh[other], on="old", how="left", maintain_order="left")
            frames[table.name] = frames[table.name].with_columns(rows["new"].alias(name))
        frames[table.name] = frames[table.name].select(column.name for column in table.columns)
    return frames


def _points(table: Table) -> list[tuple[str, str]]:
    """Columns that hold keys, and the tables whose rows those name."""
    found = [] if table.key is None else [(table.key, table.name)]
    found += [] if table.on is None or table.parent is None else [(table.on, table.parent)]
    return found + [(link.column, link.table) for link in table.links]


def _keys(table: Table) -> list[str]:
    return [name for name, _ in _points(table)]


def _future(learned: _Fitted, cohort: Cohort, rng: np.random.Generator, name: str, seed: int) -> Cohort:
    """One way in which the histories of these patients go on."""
    wider = _wider(learned)
    frames = {wider.table.name: _rooted(cohort).frame, **cohort.linked}
    linked = dict(cohort.linked)
    for table in learned.schema.children:
        if table.parent != wider.table.name:
            continue
        part = learned.parts[table.name]
        _, context, patients = _context(wider, frames, table.parent)
        origins = np.nan_to_num(_origins(wider, frames, table))
        so_far = part.steps.encode(frames[table.name], cohort.frame[wider.table.key or ""], origins)
        more, _ = _drawn(learned, wider, frames, table, context, so_far, rng)
        linked[table.name] = pl.concat([linked[table.name], _completed(learned.schema, frames, table, more, patients, rng)])
    return marked(cohort.frame, learned.schema, name, seed, where=None, on_synthetic=learned.on_synthetic, linked=linked)
