"""SequenceGAN: patients over time. Their own table first, then every linked table, step by step, then a critic who sees whole patients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import polars as pl
import torch

from proband import seeds
from proband.cohort import Cohort
from proband.encode import TableEncoder
from proband.encode.plain import plain
from proband.encode.sequences import StepEncoder, Steps, time_of
from proband.errors import InputError
from proband.game.learning import EDITION
from proband.game.selection import Critic, balancing, packed, select, unpacked
from proband.schema import Schema, Table, rules
from proband.schema.model import validated
from proband.stats.sequences import SUMMARIES, Events, summaries
from proband.synthesizer import Model, OnStep, restore, under, write_model
from proband.synthesizers import linked, nearer, outcomes, plans
from proband.synthesizers.drawing import counted, marked
from proband.synthesizers.forest import SequentialForest
from proband.synthesizers.outcomes import Outcome
from proband.synthesizers.parts import MOST_HELD_OUT, Part, draw_steps, fresh_network, learn_part
from proband.synthesizers.refine import HELD_OUT, RISK, attacker, held_out, selected, stage
from proband.synthesizers.unfinished import Unfinished

CANDIDATES = 5  # drawn for each patient who is kept

MOST_JUDGED = 2000  # patients from whom the critics learn
AT_ONCE = 1000  # patients kept at once
STRATA, FEWEST_IN_STRATUM = 10, 20  # of lengths, in each of which as many are kept as there are real ones


class _Lengths(NamedTuple):
    """What is added to the critics' log odds of a patient with so many events. In a long history there is more to find fault with, so that
    critics by themselves choose short ones.

    edges   (strata - 1,) events from which the next stratum begins; added (strata,)
    """

    edges: np.ndarray
    added: np.ndarray

    def __call__(self, events: np.ndarray) -> np.ndarray:
        return self.added[np.searchsorted(self.edges, events, side="right")]


@dataclass(frozen=True)
class _Fitted:
    """outer: the cohort's schema; schema: that in which it is told (`nearer.told`)."""

    outer: Schema
    schema: Schema
    root: SequentialForest
    parts: dict[str, Part]
    outcomes: tuple[Outcome, ...]
    critics: tuple[Critic, ...]
    lengths: _Lengths
    stages: list[dict[str, float]]
    on_synthetic: bool
    first: int | None  # the number from which identifiers go on


AS_LONG = _Lengths(np.zeros(0), np.zeros(1))  # nothing is added for any length


class SequenceGAN:
    """Patients with histories: any number of rows in linked tables, at irregular times.

    minutes   time for all networks on an ordinary core, at most; each stops when the held-out patients say so
    select    whether a critic who sees whole patients chooses among candidates: the adversarial half of the game. Without it outcomes
              keep the odds of trees that learned from as many patients as there are, which are duller than the real ones

    The patients' own table comes from a sequential forest. Then each linked table, given the row that owns it: when the next step
    comes, what is measured then, and how much (`game.sequences`). Columns of two levels that whole histories tell, as they tell an
    outcome, are then drawn anew given all the rest: a likelihood of thousands of cells hears that one too little. (Not those that
    `where` asks for.) A row of a table never comes after what ended its owner's rows in the training data, or out of order; before
    the origin of its owner only where a first row of the training data did.

    >>> model = SequenceGAN().fit(cohort, seed=0)                              # doctest: +SKIP
    >>> model.sample(100, seed=1, where="died").linked["events"]               # doctest: +SKIP
    >>> model.futures(cohort_so_far, 20, seed=2)                               # doctest: +SKIP
    """

    name: ClassVar[str] = "sequences"

    def __init__(self, *, minutes: float = 5.0, select: bool = True) -> None:
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
        """Per round of selection: success of the judges, membership AUC, effective share, strength, whether kept; then the same once more
        with the steepest odds of an outcome, where there are steeper ones."""
        return [dict(stage) for stage in self._learned.stages]

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None, unfinished: str | Path | None = None) -> Self:
        """Learn from the train part of a cohort with linked tables. Interrupted, the model stays as it was.

        unfinished   a folder that keeps how far the networks are; killed and called again, the same fit goes on from there to the
                     same model. It holds what a model holds: delete it once the model is saved.
        """
        from proband import __version__

        linked.checked(cohort)
        facts = (cohort.fingerprint, cohort.schema.hash, seed, self.minutes, __version__, EDITION)
        kept = None if unfinished is None else Unfinished.of(unfinished, *facts)
        outer, first = cohort.schema, linked.beyond(cohort)
        cohort = nearer.divided(cohort, nearer.told(cohort))
        aside = held_out(cohort, HELD_OUT, seed)
        root = linked.rooted(cohort)
        frames = {root.schema.table.name: root.frame, **cohort.linked}
        shares = {table.name: math.sqrt(cohort.linked[table.name].height + 1) for table in cohort.schema.children}
        wider = cohort.schema.model_copy(update={"tables": (root.schema.table, *cohort.schema.children)})
        parts: dict[str, Part] = {}
        for table in cohort.schema.children:
            if not frames[table.parent or ""].height:  # nobody to own a row
                continue
            minutes = self.minutes * shares[table.name] / sum(shares.values())
            parts[table.name], plan = learn_part(wider, frames, table, aside, minutes, seed, on_step, kept)
            root = root if plan is None else plans.added(root, table, plan)
        forest = SequentialForest().fit(root, seed=seeds.integer(seed, "sequences", "root"), on_step=on_step)
        learned = _Fitted(outer, cohort.schema, forest, parts, (), (), AS_LONG, [], cohort.mark is not None, first)
        if aside.any() and not aside.all():
            figures = _figures(learned, frames)
            told = [column for column in cohort.schema.table.columns if column.kind not in ("identifier", "text")]
            learned = replace(learned, outcomes=outcomes.learned(told, figures, seed))
            if self.select:
                learned = _played(learned, figures, aside, seed, on_step)
        self._fitted = learned
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` synthetic patients with all their rows; every one satisfies `where`, a condition on the patients' own table."""
        learned, n = self._learned, counted(n)
        parts = [
            _chosen(learned, min(AT_ONCE, n - first), seeds.generator(seed, "sequences", "sample", first), where)
            for first in range(0, max(n, 1), AT_ONCE)
        ]
        parts = [nearer.joined(learned.outer, learned.schema, part) for part in parts]
        frames = linked.named(learned.outer, parts, learned.root.prefix, learned.first)
        first = frames.pop(learned.outer.table.name)
        return marked(first, learned.outer, self.name, seed, where=where, on_synthetic=learned.on_synthetic, linked=frames)

    def futures(self, cohort: Cohort, n: int, *, seed: int) -> list[Cohort]:
        """`n` ways in which the histories of these patients go on: each a cohort of all of them, what is known of them and beyond.

        What has dates goes on after the last one that is known of a patient in any table, in stays that are not over by then, and in new
        ones; what has no order is known already. New rows stand behind those that are known. A future of real patients holds what is
        known of them, so that it bears no mark of synthetic data: guard it as you guard theirs.
        """
        learned = self._learned
        linked.checked(cohort)
        rng = seeds.generator(seed, "sequences", "futures")
        known = nearer.divided(cohort, learned.schema)
        frames = {learned.root.schema.table.name: linked.rooted(known).frame, **known.linked}
        so_far = _so_far(learned, frames)
        wider = _wider(learned)
        now = linked.last_known(wider, frames)
        over = {name: linked.over(wider, frames, wider[name], now) for name in so_far}
        found = []
        for _ in range(counted(n)):
            more = nearer.joined(learned.outer, learned.schema, _future(learned, frames, so_far, now, over, rng))
            tables = {name: pl.concat([rows, more[name]]) for name, rows in cohort.linked.items()}
            found.append(Cohort(learned.outer, cohort.frame, cohort.mark, linked=tables))
        return found

    def save(self, path: str | Path) -> None:
        """Write a model folder. It holds counts, sorted values and weights: guard it as you guard the data."""
        learned = self._learned
        told, of_outcomes = outcomes.packed(learned.outcomes)
        critics, of_critics = packed(learned.critics)
        config: dict[str, Any] = {
            "schema": learned.outer.model_dump(mode="json"), "told": learned.schema.model_dump(mode="json"),
            "minutes": self.minutes, "select": self.select,
            "stages": learned.stages, "on_synthetic": learned.on_synthetic, "first": learned.first, "parts": {},
            "outcomes": told, "critics": critics,
        }  # fmt: skip
        config["root"], found = learned.root.state()
        arrays = {f"root.{key}": array for key, array in found.items()}
        for at, (name, part) in enumerate(learned.parts.items()):
            steps, of_steps = part.steps.state()
            context, of_context = part.context.state()
            config["parts"][name] = {
                "steps": steps, "context": context, "contexts": part.context.schema.model_dump(mode="json"),
                "until": part.until, "ends": part.ends, "latest": part.latest, "most": part.most,
                "scale": part.net.scale, "periods": list(part.net.periods),
            }  # fmt: skip
            arrays |= {f"{at}.steps.{key}": array for key, array in of_steps.items()}
            arrays |= {f"{at}.context.{key}": array for key, array in of_context.items()}
            arrays |= {f"{at}.net.{key}": weight.numpy() for key, weight in part.net.state_dict().items()}
        arrays |= {f"outcome.{key}": array for key, array in of_outcomes.items()}
        arrays |= {f"critic.{key}": array for key, array in of_critics.items()}
        arrays |= {f"lengths.{key}": array for key, array in learned.lengths._asdict().items()}
        write_model(path, self.name, config, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder; a missing, oversized, altered or hostile file raises InputError."""
        return restore(path, cls.name, cls._rebuilt)

    @classmethod
    def _rebuilt(cls, stored: Model) -> Self:
        config, arrays = stored.config, stored.arrays
        outer, schema = (validated(config[name], "The model's schema") for name in ("schema", "told"))
        if not {table.name for table in outer.tables} <= {table.name for table in schema.tables}:
            raise ValueError("a table is not told")
        root = SequentialForest.rebuilt(stored._replace(config=config["root"], arrays=under("root.", arrays)))
        parts = {}
        for at, table in enumerate(table for table in schema.children if table.name in config["parts"]):
            plain_part = config["parts"][table.name]
            steps = StepEncoder.restored(table, plain_part["steps"], under(f"{at}.steps.", arrays))
            contexts = validated(plain_part["contexts"], "The model's schema of what owns a row")
            context = TableEncoder.restored(contexts, plain_part["context"], under(f"{at}.context.", arrays))
            weights = under(f"{at}.net.", arrays)
            if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in weights.values()):
                raise ValueError("a weight is not a finite number")
            periods = tuple(float(period) for period in plain_part["periods"])
            net = fresh_network(context, steps, torch.Generator(), scale=float(plain_part["scale"]), periods=periods)
            try:
                net.load_state_dict({key: torch.from_numpy(array) for key, array in weights.items()})
            except RuntimeError as error:
                raise ValueError("the weights do not fit the table") from error
            until, ends = _late(plain_part["until"]), {str(name): _late(found) for name, found in plain_part["ends"].items()}
            latest, most = float(plain_part["latest"]), int(plain_part["most"])
            parts[table.name] = Part(context, steps, net.requires_grad_(False), until, ends, latest, most)
        model = cls(minutes=config["minutes"], select=bool(config["select"]))
        stages = [{str(key): float(value) for key, value in stage.items()} for stage in config["stages"]]
        first = None if config["first"] is None else int(config["first"])
        bare = _Fitted(outer, schema, root, parts, (), (), AS_LONG, stages, bool(config["on_synthetic"]), first)
        _, figures = _layout(bare)
        told = outcomes.unpacked(config["outcomes"], under("outcome.", arrays), figures)
        critics = unpacked(config["critics"], under("critic.", arrays), figures)
        lengths = _Lengths(**under("lengths.", arrays))
        if len(lengths.added) != len(lengths.edges) + 1 or not np.isfinite(np.concatenate(lengths)).all():
            raise ValueError("what is added for lengths does not fit them")
        model._fitted = replace(bare, outcomes=told, critics=critics, lengths=lengths)
        return model


def _late(found: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(late) for name, late in found.items()}


def _wider(learned: _Fitted) -> Schema:
    """The schema with what the first table was learned with: the start beside its own columns."""
    return learned.schema.model_copy(update={"tables": (learned.root.schema.table, *learned.schema.children)})


def _candidates(learned: _Fitted, n: int, rng: np.random.Generator, where: str | None) -> tuple[dict[str, pl.DataFrame], np.ndarray]:
    """Every table of `n` patients before any critic chooses, keyed by the numbers of rows; and their figures."""
    wider, table = _wider(learned), learned.root.schema.table
    first = learned.root.sample(n, seed=int(rng.integers(2**31)), where=where).frame
    frames = {table.name: first.with_columns(pl.Series(table.key or "", [str(row) for row in range(n)], dtype=pl.String))}
    for child in learned.schema.children:
        if child.name not in learned.parts:
            frames[child.name] = pl.DataFrame(schema={column.name: column.dtype for column in child.columns})
            continue
        _, context, patients = linked.context(wider, frames, child.parent or "")
        rows = _drawn(learned, wider, frames, child, context, None, rng)
        frames[child.name] = linked.completed(learned.schema, frames, child, rows, patients, rng)
    asked = rules.columns(where, table) if where else frozenset()
    own = {column.name: column for column in table.columns}
    told = [outcome for outcome in learned.outcomes if outcome.column not in asked]
    before, figures = frames[table.name], _figures(learned, frames)
    retold, after = outcomes.drawn(told, own, before, figures, rng)
    sound = pl.Series(np.ones(n, bool))
    for rule in learned.root.schema.rules:
        sound &= rules.holds(rule.sql, retold, table).fill_null(True)
    kept = pl.DataFrame([retold[name].zip_with(sound, before[name]) for name in retold.columns])
    return frames | {table.name: kept}, np.where(sound.to_numpy()[:, None], after, figures)


def _drawn(
    learned: _Fitted,
    schema: Schema,
    frames: Mapping[str, pl.DataFrame],
    table: Table,
    context: pl.DataFrame,
    so_far: Steps | None,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Rows of `table` for the rows that own them, after those `so_far`."""
    part, parent = learned.parts[table.name], schema[table.parent or ""]
    origins = linked.origins(schema, frames, table)
    plan = plans.read(frames[parent.name], table, part.steps, part.net)
    steps = draw_steps(part, table, context, plan, origins, so_far, rng)
    rows = part.steps.decode(steps, frames[parent.name][parent.key or ""], np.nan_to_num(origins), rng)
    return linked.within(rows, steps.owner, context, part.context.schema.table, table, part.ends, rng)


def _figures(learned: _Fitted, frames: Mapping[str, pl.DataFrame]) -> np.ndarray:
    """(patients, figures) what the critic sees of whole patients: their own columns, and of every variable of every table how often,
    how much and which way (`stats.sequences.summaries`), how many steps and when the first and the last."""
    wider = _wider(learned)
    found = [plain(frames[wider.table.name].select(c.name for c in learned.schema.table.columns), learned.schema)]
    for table in learned.schema.children:
        if table.name not in learned.parts:
            continue
        part = learned.parts[table.name].steps
        _, _, patients = linked.context(wider, frames, table.parent or "")
        origins = np.nan_to_num(linked.origins(wider, frames, table))
        parent = wider[table.parent or ""]
        wide, owner, clock = part.wide(frames[table.name], frames[parent.name][parent.key or ""], origins)
        who = patients[owner]
        values = plain(wide, part.encoder.schema)[:, 1:]  # without the gap
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


def _layout(learned: _Fitted) -> tuple[list[int], int]:
    """Where among a patient's figures it stands how often each variable was measured, and how many figures there are."""
    counts: list[int] = []
    at = sum(column.kind not in ("identifier", "text") for column in learned.schema.table.columns)
    for part in learned.parts.values():
        steps = at + len(SUMMARIES) * len(part.steps.variables)
        counts += range(at, steps, len(SUMMARIES))
        at = steps + 3  # how many steps, when the first and when the last
    return counts, at


def _played(learned: _Fitted, figures: np.ndarray, aside: np.ndarray, seed: int, on_step: OnStep | None) -> _Fitted:
    """With the critics of the rounds of selection that the judge let stand, and then with steeper outcomes, if it lets them stand as well.

    figures   those of the real patients
    """
    rng = seeds.generator(seed, "sequences", "select")
    real, unseen = figures[~aside][np.sort(rng.permutation(int((~aside).sum()))[:MOST_JUDGED])], figures[aside][:MOST_HELD_OUT]
    sizes = [CANDIDATES * min(AT_ONCE, len(real) - first) for first in range(0, len(real), AT_ONCE)]
    made = np.concatenate([_candidates(learned, size, rng, None)[1] for size in sizes])
    events = _events(learned, figures)
    edges = np.unique(np.quantile(events, np.arange(1, STRATA) / STRATA)) if len(events) >= STRATA * FEWEST_IN_STRATUM else np.zeros(0)
    stratum = np.searchsorted(edges, _events(learned, made), side="right")
    shares = np.bincount(np.searchsorted(edges, events, side="right"), minlength=len(edges) + 1) / len(events)

    def lengths(log_weights: np.ndarray) -> _Lengths:
        return _Lengths(edges, balancing(log_weights, stratum, shares, len(real)))

    def balanced(log_weights: np.ndarray) -> np.ndarray:
        return log_weights + lengths(log_weights).added[stratum]

    found = selected(made, real, unseen, n=len(real), seed=seed, balanced=balanced, on_step=on_step)
    if found.critics:
        learned = replace(learned, critics=found.critics)
        learned = replace(learned, lengths=lengths(_log_odds(learned, made)))
    learned = replace(learned, stages=found.stages)

    def chosen(made: np.ndarray) -> np.ndarray:
        return select(_log_odds(learned, made), len(made) // CANDIDATES, seeds.generator(seed, "sequences", "steepened"))

    steep = outcomes.steepened(learned.outcomes, figures, made[: CANDIDATES * AT_ONCE], chosen, seed)
    if all(outcome.steepness == 1 for outcome in steep):
        return learned
    made, before = outcomes.retold(steep, made, rng), [each for each in found.stages if each["kept"]][-1]
    after = stage(len(found.stages), made, real, unseen, _log_odds(learned, made), len(real), seed, attacker(real, unseen, seed))
    least = max(0.5, found.stages[0]["membership"])  # below a half is chance, and no less risk than a half
    kept = after["success"] <= before["success"] + RISK and after["membership"] <= least + RISK
    after |= {"steepness": max(outcome.steepness for outcome in steep), "kept": float(kept)}
    return replace(learned, stages=[*found.stages, after], outcomes=steep if kept else learned.outcomes)


def _events(learned: _Fitted, figures: np.ndarray) -> np.ndarray:
    """(patients,) how many values each has in all tables."""
    counts, _ = _layout(learned)
    return figures[:, counts].sum(axis=1)


def _log_odds(learned: _Fitted, figures: np.ndarray) -> np.ndarray:
    """(patients,) that they are real, as the critics have it, among patients with as many events; 0 when there are no critics."""
    said = (critic.log_odds(figures) for critic in learned.critics)
    return np.sum([learned.lengths(_events(learned, figures)), *said], axis=0)


def _chosen(learned: _Fitted, n: int, rng: np.random.Generator, where: str | None) -> dict[str, pl.DataFrame]:
    """`n` of more candidates, as the critics weigh them."""
    if not learned.critics:
        return _candidates(learned, n, rng, where)[0]
    frames, figures = _candidates(learned, CANDIDATES * n, rng, where)
    kept = select(_log_odds(learned, figures), n, rng)
    return linked.kept(_wider(learned), frames, kept[rng.permutation(n)])


def _so_far(learned: _Fitted, frames: Mapping[str, pl.DataFrame]) -> dict[str, Steps]:
    """The steps of every table that was learned."""
    wider, found = _wider(learned), {}
    for name, part in learned.parts.items():
        table, parent = wider[name], wider[wider[name].parent or ""]
        origins = np.nan_to_num(linked.origins(wider, frames, table))
        found[name] = part.steps.encode(frames[name], frames[parent.name][parent.key or ""], origins)
    return found


def _future(
    learned: _Fitted,
    frames: Mapping[str, pl.DataFrame],
    so_far: Mapping[str, Steps],
    now: np.ndarray,
    over: Mapping[str, pl.Series],
    rng: np.random.Generator,
) -> dict[str, pl.DataFrame]:
    """What every table has more, in one way in which the histories of these patients go on after `now`, but for what is `over`: the keys
    of the rows to which nothing is added."""
    wider, tables = _wider(learned), dict(frames)
    new = {name: frame.clear() for name, frame in frames.items()}
    for name, steps in so_far.items():
        table, parent = wider[name], wider[wider[name].parent or ""]
        _, context, patients = linked.context(wider, tables, parent.name)  # new rows stand behind those that are known
        more = _drawn(learned, wider, tables, table, context, steps, rng)
        more = more.filter(~more[table.on or ""].is_in(over[name].implode()))
        if table.order and linked.temporal(time_of(table)):
            times = linked.physical(more[table.order[0]], time_of(table), "datetime", end=True)
            more = more.filter(pl.Series(times >= now[linked.whose(wider, tables, table, more, patients)]))
        new[name] = linked.completed(learned.schema, tables, table, more, patients, rng)
        tables[name] = pl.concat([tables[name], new[name]])
    return new
