"""The adversarial half, for anybody's synthetic patients: a critic weighs them, and those that look real enough stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from proband import seeds
from proband.cohort import Cohort, Mark
from proband.encode import TableEncoder
from proband.encode.plain import plain
from proband.errors import InputError
from proband.game.selection import Critic, effective, learn_critic, select
from proband.records.mark import find_mark
from proband.records.tables import read_frame
from proband.schema import Schema
from proband.schema.frames import to_polars
from proband.schema.values import lenient
from proband.stats.discrimination import auc, discriminate
from proband.stats.neighbours import nearest
from proband.synthesizer import OnStep

HELD_OUT = 0.15  # share of the training patients that only judge
ROUNDS = 3  # at most
STRENGTHS = (1.0, 0.5, 0.25)  # of a critic: where all of its word costs too much privacy, a half or a quarter may not
RISK = 0.01  # a round may raise the success of the membership attack by this much, no more
MOST_JUDGED = 20_000  # rows a side that a critic learns from
ATTACKED = 5_000  # rows a side in the membership attack
DRAWS = 12  # selections over which its success is averaged: one alone is off by as much as a round may cost


class Selection(NamedTuple):
    """What the rounds came to.

    critics      those that were kept, one a round
    log_weights  (candidates,) the sum of their log odds
    stages       per round: mean success of the judges (`stage`), success with unseen patients, membership AUC, the share of
                 candidates that equally weighted ones would be worth (effective), the critic's strength, and whether it was kept
                 (1 or 0); round 0 is before any
    """

    critics: tuple[Critic, ...]
    log_weights: np.ndarray
    stages: list[dict[str, float]]


class Refined(NamedTuple):
    """The patients who stayed, and the figures of every round (see `Selection`); round -1 is the table as it was given."""

    cohort: Cohort
    stages: list[dict[str, float]]


def refine(synthetic: Any, train: Cohort, *, n: int | None = None, seed: int, on_step: OnStep | None = None) -> Refined:
    """Make anybody's synthetic patients harder to tell from real ones: put right what gives them away, then choose among them.

    synthetic  a Cohort, a frame (pandas, polars, arrow) or a path (.csv, .csv.gz, .parquet), with the columns of `train`
    train      the real patients that it was learned from
    n          patients to keep; a third unless told: the more there are to choose from, the better the choice

    First every row is told again in the words of the real table: numbers on their format, copies, derived columns and laws
    recomputed, ordered pairs in order, no value that a single patient holds. Then up to three rounds of selection; a round stays
    only if its judges, one of whom has the 15 % of the training patients that no critic saw, find the fakes harder to tell, and
    membership risk does not rise by more than .01.

    InputError when a column is missing, a level is unknown, or there are fewer rows than `n`.
    """
    schema = train.one_table("refine").schema
    frame, source = _given(synthetic, schema)
    drawn = [c for c in schema.table.columns if c.kind not in ("identifier", "text")]
    if missing := [c.name for c in drawn if c.name not in frame.columns]:
        raise InputError(f"The synthetic table has no column {missing[0]!r}, which the training patients have. Add it.")
    n = frame.height // 3 if n is None else n
    if not 1 <= n <= frame.height:
        raise InputError(f"n = {n} patients cannot be chosen among {frame.height}. Give a number from 1 to {frame.height}.")
    aside = held_out(train, HELD_OUT, seed)
    real, unseen = train.frame.filter(~pl.Series(aside)), train.frame.filter(pl.Series(aside))
    encoder = TableEncoder.fit(train)
    told = _as_typed(frame, schema)
    mended = encoder.decode(encoder.encode(told))
    tables = [plain(part, schema) for part in (told, mended, real[:MOST_JUDGED], unseen)]
    attack = attacker(tables[2], tables[3], seed)
    before = stage(-1, tables[0], tables[2], tables[3], np.zeros(len(told)), n, seed, attack)
    found = selected(tables[1], tables[2], tables[3], n=n, seed=seed, on_step=on_step)
    chosen = select(found.log_weights, n, seeds.generator(seed, "refine"))
    from proband import __version__

    details = {"refined": f"{len(found.critics)} rounds, {n} of {frame.height} patients"}
    mark = Mark(
        source.synthesizer if source else "unknown", __version__, int(seed), schema.hash, {**(source.details if source else {}), **details}
    )
    return Refined(Cohort(schema, mended[chosen.tolist()], mark), [before, *found.stages])


def selected(
    fakes: np.ndarray,
    real: np.ndarray,
    unseen: np.ndarray,
    *,
    n: int,
    seed: int,
    balanced: Callable[[np.ndarray], np.ndarray] = lambda log_weights: log_weights,
    on_step: OnStep | None = None,
) -> Selection:
    """Rounds of selection of `n` among `fakes`, each kept only if the judges are fooled more often and membership risk stays.

    fakes, real, unseen   (rows, columns) float64 as `encode.plain` gives them; critics learn from `real`, the judge has `unseen`
    balanced              what the critics' log weights come to before rows are drawn by them
    """
    rng = seeds.generator(seed, "select")
    log_weights, kept = np.zeros(len(fakes)), select(np.zeros(len(fakes)), n, rng)
    critics: tuple[Critic, ...] = ()
    attack = attacker(real, unseen, seed)
    stages = [stage(0, fakes, real, unseen, log_weights, n, seed, attack)]
    for number in range(1, ROUNDS + 1):
        if on_step is not None:
            on_step(number - 1, ROUNDS, "select", {"success": stages[-1]["success"]})
        learned = learn_critic(fakes[kept] if critics else fakes, real, seed=seeds.integer(seed, "critic", number) % 2**31)
        best, least = min(each["success"] for each in stages if each["kept"]), stages[0]["membership"]
        for strength in STRENGTHS:
            critic = learned._replace(strength=strength)
            weights = balanced(log_weights + critic.log_odds(fakes))
            found = stage(number, fakes, real, unseen, weights, n, seed, attack) | {"strength": strength}
            found["kept"] = float(found["success"] < best and found["membership"] <= least + RISK)
            stages.append(found)
            if found["kept"] or found["success"] >= best:
                break
        if not found["kept"]:
            break
        log_weights, critics, kept = weights, (*critics, critic), select(weights, n, rng)
    if on_step is not None:
        on_step(ROUNDS, ROUNDS, "select", {"success": stages[-1]["success"]})
    return Selection(critics, log_weights, stages)


def stage(
    number: int,
    fakes: np.ndarray,
    real: np.ndarray,
    unseen: np.ndarray,
    log_weights: np.ndarray,
    n: int,
    seed: int,
    attack: Callable[[np.ndarray], float],
) -> dict[str, float]:
    """What the judges make of `n` of the fakes, chosen by weight, and the success of `attack` on them.

    One judge tells the fakes from unseen patients, who are few, so that its word alone is a toss of a coin; the other from the
    patients learned from, who are many. Each judges rows that it did not learn from. `success` is the mean of their AUCs.
    """
    rng = seeds.generator(seed, "judge")
    draws = [fakes[select(log_weights, n, rng)] for _ in range(DRAWS if n < len(fakes) else 1)]
    seen = real[rng.permutation(len(real))[:n]]
    both = [_success(draws[0], side, seed) for side in (unseen, seen)]
    return {
        "round": float(number),
        "success": float(np.mean(both)),
        "unseen": both[0],
        "membership": float(np.mean([attack(draw) for draw in draws])),
        "effective": effective(log_weights),
        "strength": 0.0,
        "kept": 1.0,
    }


def _success(fakes: np.ndarray, real: np.ndarray, seed: int) -> float:
    """AUC of cross-fitted boosted trees; 0.5 where there are too few rows to learn from."""
    if min(len(fakes), len(real)) < 20:
        return 0.5
    label = np.repeat([1, 0], [len(fakes), len(real)])
    judged = discriminate(np.concatenate([fakes, real]), label, np.arange(len(label)), seed=seed % 2**31)
    return auc(judged.scores, label)


def attacker(real: np.ndarray, unseen: np.ndarray, seed: int) -> Callable[[np.ndarray], float]:
    """attack(fakes) is the AUC of the nearest-neighbour ratio, `real` against `unseen`; all but the patient count as other real ones."""
    if min(len(real), len(unseen)) < 20:
        return lambda fakes: 0.5
    members = real[seeds.generator(seed, "attacked").permutation(len(real))[:ATTACKED]]
    everyone = np.concatenate([members, unseen[:ATTACKED]])
    by = [np.sort(column[~np.isnan(column)]) for column in everyone.T]
    targets, who = _ranks(everyone, by), np.arange(len(everyone))
    to_real = np.log(nearest(targets, targets, 1, query_owner=who, point_owner=who)[0][:, 0] + 1e-6)
    member = (who < len(members)).astype(int)

    def attack(fakes: np.ndarray) -> float:
        return auc(to_real - np.log(nearest(targets, _ranks(fakes, by), 1)[0][:, 0] + 1e-6), member)

    return attack


def _ranks(values: np.ndarray, by: list[np.ndarray]) -> np.ndarray:
    """(rows, 2 columns) float32: each value as its rank in `by`, and a flag for missing."""
    missing, ranks = np.isnan(values), np.full(values.shape, 0.5)
    for at, known in enumerate(by):
        if len(known):
            middle = (np.searchsorted(known, values[:, at]) + np.searchsorted(known, values[:, at], side="right")) / 2
            ranks[:, at] = np.where(missing[:, at], 0.5, middle / len(known))
    return np.concatenate([ranks, missing], axis=1).astype(np.float32)


def held_out(cohort: Cohort, share: float, seed: int) -> np.ndarray:
    """(rows,) True for the rows of the share of patients that are set aside."""
    patients = cohort.patients.sort()
    aside = patients.gather(seeds.generator(seed, "held out").permutation(len(patients))[: round(share * len(patients))])
    key = cohort.schema.table.key
    patient = cohort.frame[key] if key else pl.int_range(cohort.frame.height, eager=True)
    return patient.is_in(aside.implode()).to_numpy()


def _given(synthetic: Any, schema: Schema) -> tuple[pl.DataFrame, Mark | None]:
    """Somebody's table as it is spelled, and its mark if it has one."""
    if isinstance(synthetic, Cohort):
        return synthetic.frame, synthetic.mark
    if isinstance(synthetic, str | Path):
        text = [c.name for c in schema.table.columns if c.stored == "String" and not c.numeric]
        return read_frame(synthetic, as_text=text), find_mark(synthetic)
    return to_polars(synthetic), None


def _as_typed(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """The columns of the schema in its types; a cell that cannot be read, or a level that no patient has, is missing."""
    found = []
    for column in schema.table.columns:
        if column.kind in ("identifier", "text"):  # made anew later
            found.append(pl.Series(column.name, [f"{row}" for row in range(frame.height)], dtype=pl.String))
            continue
        values = lenient(column, frame[column.name])[0]
        if column.categories is not None:
            values = pl.select(pl.when(values.is_in(list(column.categories))).then(values)).to_series()
        found.append(values.cast(column.dtype).alias(column.name))
    return pl.DataFrame(found)
