"""PrivateMarginals: tables under differential privacy, from noisy counts of a few pairs of columns.

A game in rounds. The judge, who holds the patients, points through noise at the pairs of columns in which the generator errs most; those
are counted, with noise; the generator fits all counts so far. Choosing and measuring in turn is AIM's way (McKenna et al., VLDB
2022); here the generator is a mixture that is fitted by gradient (`game.marginals`), and every column has as many cells as the noise
can bear.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from proband import seeds
from proband.cohort import Cohort
from proband.encode import Field, TableEncoder
from proband.errors import InputError
from proband.game import marginals as game
from proband.game.fields import Layout
from proband.privacy.budget import Budget, Spend, deviation, rho_of
from proband.privacy.domain import one_row_each, private_encoder, ready
from proband.schema import rules
from proband.schema.model import validated
from proband.synthesizer import Model, OnStep, restore, under, write_model
from proband.synthesizers.drawing import draw, marked

#: What the budget goes to: how many patients there are, the columns' ranges, the columns' cells, which are missing together, which
#: pairs, and the pairs.
SHARES = {"patients": 0.01, "ranges": 0.14, "columns": 0.15, "missing": 0.07, "choice": 0.07, "pairs": 0.56}
GAPS = 0.005  # of the patients without a value, and with one: a column with fewer of either has no pattern to learn
PARTS = 1000  # of the mixture
ROUNDS = 8
STEPS, LAST_STEPS = 120, 600  # of the generator, in a round and after the last
RATE = 0.1
FEWEST_CELLS, MOST_CELLS = 4, 8
PER_PAIR = 17.0  # the more, the fewer pairs are measured, each with less noise
_ROWS_AT_ONCE = 20_000


@dataclass(frozen=True)
class _Fitted:
    """encoder; cell (levels of all fields,): the cell of each token, numbered over all fields; chances (parts, cells) of the mixture;
    total: the noisy number of patients."""

    encoder: TableEncoder
    cell: np.ndarray
    chances: np.ndarray
    total: float
    spends: list[Spend]
    on_synthetic: bool


class PrivateMarginals:
    """Synthetic patients with a guarantee: whoever is in the training data, what comes out is nearly as probable without them.

    epsilon   the bound on the loss of privacy of every patient, all rows of one together; 1 is strong, 3 usual, 10 hardly a promise
    delta     the chance that the bound fails, well below one in the number of patients

    The schema must be public (`Schema.public`): levels, formats and rules leave with the table. All else, the number of patients
    and the ranges of numbers included, is asked with noise. A patient with several rows has a say with the first. The noise comes
    from the operating system and is kept nowhere, so `fit` gives another model each time; `seed` governs only what is done with the
    noisy answers. Sampling is free: one model gives any number of tables at no further loss.

    >>> model = PrivateMarginals(epsilon=1).fit(cohort, seed=0)                # doctest: +SKIP
    >>> model.sample(1000, seed=1, where="age > 80")                           # doctest: +SKIP
    """

    name: ClassVar[str] = "marginals"

    def __init__(self, *, epsilon: float = 1.0, delta: float = 1e-5) -> None:
        self.epsilon, self.delta = float(epsilon), float(delta)
        self.rho = rho_of(self.epsilon, self.delta)  # what a fit costs, as ledgers count it
        self._fitted: _Fitted | None = None

    @property
    def spends(self) -> list[Spend]:
        """Every look at the patients: what for, its rho, and how much one patient can change the answer."""
        return list(self._learned.spends)

    @property
    def patients(self) -> int:
        """About how many patients it learned from: the exact number is nobody's to know."""
        return round(self._learned.total)

    @property
    def _learned(self) -> _Fitted:
        if self._fitted is None:
            raise InputError("This PrivateMarginals has not learned anything yet. Call fit(cohort, seed=...) first, or load a saved model.")
        return self._fitted

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Measure the train part of a cohort, once. InputError when its schema is not public."""
        self._fitted = learned(cohort, Budget(self.rho), seed=seed, on_step=on_step)
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` synthetic patients; every one keeps the schema's rules and satisfies `where`."""
        learned = self._learned
        encoder, fields = learned.encoder, learned.encoder.fields
        inside = within(fields, learned.cell)
        ends = np.concatenate([[0], np.cumsum([field.levels for field in fields])])
        conditional = isinstance(where, str) and where.strip()
        first = encoder.reads(rules.columns(where, encoder.schema.table)) if where and conditional else frozenset()

        def propose(field: int, tokens: np.ndarray, latent: np.ndarray | None) -> np.ndarray:
            assert latent is not None
            part = slice(ends[field], ends[field + 1])
            return learned.chances[np.ix_(latent[:, 0], learned.cell[part])] * inside[part]

        frame = draw(
            encoder,
            n,
            propose=propose,
            order=sorted(range(len(fields)), key=lambda field: field not in first),
            where=where,
            rng=seeds.generator(seed, "marginals", "sample"),
            latent=lambda rows, rng: rng.integers(0, len(learned.chances), (rows, 1)),
        )
        more = {"epsilon": f"{self.epsilon:g}", "delta": f"{self.delta:g}", "unit": "patient"}
        return marked(frame, encoder.schema, self.name, seed, where=where, on_synthetic=learned.on_synthetic, more=more)

    def save(self, path: str | Path) -> None:
        """Write a model folder. It holds noisy answers only: the guarantee covers it as it covers the patients drawn from it."""
        write_model(path, self.name, *self.state())

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain data and arrays: what a model folder holds, for those who keep one inside their own."""
        learned = self._learned
        plain, arrays = learned.encoder.state()
        config = {
            "schema": learned.encoder.schema.model_dump(mode="json"), "encoder": plain, "epsilon": self.epsilon, "delta": self.delta,
            "total": learned.total, "spends": [list(spend) for spend in learned.spends], "on_synthetic": learned.on_synthetic,
        }  # fmt: skip
        found = {f"encoder.{key}": array for key, array in arrays.items()}
        return config, found | {"cell": learned.cell, "chances": learned.chances}

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder; a missing, oversized, altered or hostile file raises InputError."""
        return restore(path, cls.name, cls.rebuilt)

    @classmethod
    def rebuilt(cls, stored: Model) -> Self:
        """The same from `state`. ValueError or KeyError when its parts do not fit together."""
        config, arrays = stored.config, stored.arrays
        encoder = TableEncoder.restored(validated(config["schema"], "The model's schema"), config["encoder"], under("encoder.", arrays))
        cell, chances = arrays["cell"], arrays["chances"]
        levels = [field.levels for field in encoder.fields]
        if cell.shape != (sum(levels),) or cell.dtype.kind != "i" or chances.ndim != 2 or not len(chances):
            raise ValueError("the cells do not fit the table")
        parts = np.split(cell, np.cumsum(levels)[:-1])
        apart = all(one.max() < other.min() for one, other in pairwise(parts))
        if not apart or cell.min() < 0 or cell.max() >= chances.shape[1] or not np.isfinite(chances).all() or (chances < 0).any():
            raise ValueError("the chances do not fit the cells")
        model = cls(epsilon=config["epsilon"], delta=config["delta"])
        spends = [Spend(str(what), float(rho), float(sensitivity)) for what, rho, sensitivity in config["spends"]]
        model._fitted = _Fitted(encoder, cell, chances, float(config["total"]), spends, bool(config["on_synthetic"]))
        return model


def learned(cohort: Cohort, budget: Budget, *, seed: int, on_step: OnStep | None = None, share_of_budget: float = 1.0) -> _Fitted:
    """All that is learned of the patients, by `budget` alone: with the same answers and seed, the same comes out whoever they are."""
    ready(cohort.schema)
    rho = {what: share * share_of_budget * budget.rho for what, share in SHARES.items()}
    patients = one_row_each(cohort)
    total = float(max(1, budget.counts(np.array([patients.frame.height]), rho=rho["patients"], what="patients")[0]))
    encoder = private_encoder(patients, budget, rho=rho["ranges"], rng=seeds.generator(seed, "marginals", "stand-ins"))
    fields = encoder.fields
    gaps = [f for f, field in enumerate(fields) if GAPS < field.counts[0] / field.counts.sum() < 1 - GAPS]
    if len(gaps) < 2:
        rho["pairs"] += rho["missing"]
    every = len(fields) * (len(fields) - 1) // 2
    measured = int(np.clip(round(np.sqrt(rho["pairs"]) * total / PER_PAIR), min(every, len(fields)), every))
    noise = deviation(rho["pairs"], np.sqrt(max(measured, 1)))
    finest = np.sqrt(total / (2 * noise))  # in the mean, as many patients in a cell of a pair as twice the noise in it
    groups = [cells(field, int(np.clip(round(finest), FEWEST_CELLS, MOST_CELLS))) for field in fields]
    judge = _Judge.of(encoder.encode(patients.frame).tokens, groups)
    layout = judge.layout

    sizes = np.array(layout.levels)
    single = budget.counts(judge.single, rho=rho["columns"], what="columns", sensitivity=float(np.sqrt(len(fields))))
    total = float(np.add.reduceat(single, judge.starts).mean().clip(min=1))
    trust = 1 / deviation(rho["columns"], np.sqrt(len(fields))) ** 2
    known = game.Measured(
        torch.from_numpy(single).float(), torch.full((layout.width,), trust), *(torch.zeros(layout.width, layout.width) for _ in "ab")
    )
    if len(gaps) >= 2:  # few patients lack two values at once, so that no pair is chosen for it; yet it is what charts are known by
        one, other = (judge.starts[gaps][side] for side in np.triu_indices(len(gaps), 1))
        width = float(np.sqrt(len(one)))
        found = budget.counts(judge.pairs[one, other], rho=rho["missing"], what="which are missing together", sensitivity=width)
        for first, second in ((one, other), (other, one)):
            known.pairs[first, second] = torch.from_numpy(found).float()
            known.pairs_trust[first, second] = 1 / deviation(rho["missing"], width) ** 2
    start = torch.cat([torch.from_numpy(_shares(part)) for part in np.split(single, judge.starts[1:])])
    logits = game.fresh(layout, start, parts=PARTS, rng=torch.Generator().manual_seed(seeds.integer(seed, "marginals", "parts")))
    open_pairs = [(i, j) for i in range(len(fields)) for j in range(i + 1, len(fields))]
    portions = [int(n) for n in np.diff(np.linspace(0, measured, min(ROUNDS, max(measured, 1)) + 1).round())] if every else []
    for number, portion in enumerate(portions):
        guess = game.expected(layout, logits, total)[1].numpy()
        scores = judge.errors(guess, open_pairs) - np.sqrt(2 / np.pi) * noise * np.array([sizes[i] * sizes[j] for i, j in open_pairs])
        chosen = budget.choose(scores, portion, rho=rho["choice"] * portion / measured, what=f"which pairs, round {number + 1}")
        for place in chosen:
            i, j = open_pairs[place]
            block = layout.part(i), layout.part(j)
            what = f"{fields[i].name} and {fields[j].name}"
            found = budget.counts(judge.pairs[block], rho=rho["pairs"] / measured, what=what)
            for rows, columns, counts in ((*block, found), (*block[::-1], found.T)):
                known.pairs[rows, columns] = torch.from_numpy(counts.copy()).float()
                known.pairs_trust[rows, columns] = 1 / noise**2
        open_pairs = [pair for at, pair in enumerate(open_pairs) if at not in set(chosen)]
        steps = LAST_STEPS if number == len(portions) - 1 else STEPS
        logits = game.learn(layout, logits, known, total=total, steps=steps, rate=RATE)
        if on_step is not None:
            on_step(number + 1, len(portions), "fit to noisy counts", {})
    if not portions and on_step is not None:
        on_step(1, 1, "fit to noisy counts", {})
    chances = layout.softmax(logits).numpy().astype(np.float64)
    cell = np.concatenate([group + start for group, start in zip(groups, judge.starts, strict=True)])
    return _Fitted(encoder, cell, chances, total, list(budget.spends), cohort.mark is not None)


@dataclass(frozen=True)
class _Judge:
    """Who holds the patients: exact counts of cells, single (width,), and of pairs of cells, (width, width). They stay in here."""

    layout: Layout
    starts: np.ndarray
    single: np.ndarray
    pairs: np.ndarray

    @staticmethod
    def of(tokens: np.ndarray, groups: list[np.ndarray]) -> _Judge:
        """tokens (patients, fields); groups: per field the cell of each token."""
        levels = tuple(int(group.max()) + 1 for group in groups)
        layout = Layout(levels, (0,) * len(levels))
        starts = layout.starts.numpy()
        pairs = np.zeros((layout.width, layout.width))
        for first in range(0, len(tokens), _ROWS_AT_ONCE):
            some = tokens[first : first + _ROWS_AT_ONCE]
            cells = np.stack([group[some[:, f]] for f, group in enumerate(groups)], axis=1)
            codes = layout.codes(torch.from_numpy(cells))
            pairs += (codes.T @ codes).numpy()
        pairs = np.rint(pairs).astype(np.int64)
        return _Judge(layout, starts, np.diagonal(pairs).copy(), pairs)

    def errors(self, guess: np.ndarray, among: list[tuple[int, int]]) -> np.ndarray:
        """(pairs,) by how many patients in all the cells of each pair are wrong. One patient changes each by 1 at most."""
        wrong = np.add.reduceat(np.add.reduceat(np.abs(self.pairs - guess), self.starts, axis=0), self.starts, axis=1)
        return np.array([wrong[pair] for pair in among])


def cells(field: Field, most: int) -> np.ndarray:
    """(levels,) the cell of each token: missing alone, then runs of a number or the most frequent levels, with about equal shares."""
    known = field.levels - 1
    if known < most:
        return np.arange(field.levels)
    counts = field.counts[1:].astype(float)
    if field.numeric:
        middle = (np.cumsum(counts) - counts / 2) / max(counts.sum(), 1.0)
        return np.concatenate([[0], 1 + np.unique(np.floor(middle * (most - 1)), return_inverse=True)[1]])
    place = np.empty(known, int)
    place[np.argsort(-counts, kind="stable")] = np.minimum(np.arange(known), most - 2)
    return np.concatenate([[0], 1 + place])


def within(fields: tuple[Field, ...], cell: np.ndarray) -> np.ndarray:
    """(levels of all fields,) the share of each token in its cell."""
    counts = np.concatenate([field.counts for field in fields]).astype(float)
    whole, tokens = np.bincount(cell, counts), np.bincount(cell)
    return np.where(whole[cell] > 0, counts / np.where(whole[cell] > 0, whole[cell], 1), 1 / tokens[cell])


def _shares(noisy: np.ndarray) -> np.ndarray:
    found = np.maximum(noisy, 0.5)
    return found / found.sum()
