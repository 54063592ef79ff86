"""Singling out: a description read off the synthetic table alone that fits exactly one real person.

The attacker looks at the synthetic table and writes down descriptions ("91 years old, ward c, potassium below 2.9") which should fit
hardly anybody. A patient is singled out when a description fits them and nobody else among the people attacked, members and controls
together. Some descriptions find one person by chance; under no leak that person is as likely a control as a member, exactly.

The standard is that of Cohen and Nissim (PNAS 2020): only descriptions of small weight count, since a description that fits one
person in n finds exactly one of n people 37 % of the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from proband import seeds
from proband.privacy.patients import Patients
from proband.privacy.targets import Codes, Targets, drawn_rows, targets

CELLS = 20  # of a number: a description says which twentieth
CHANCE = 0.001  # people whom a description may fit by chance, were the columns independent (they are not, so more do)
TREES = 5
TARGET_ROWS, SYNTHETIC_ROWS = 20_000, 20_000  # more are drawn down at random


@dataclass(frozen=True)
class Singled:
    """Who was singled out, and by which kind of description; all (patients,) bool.

    extremes      at or beyond the smallest or largest number, or a level, that one synthetic row alone has
    conjunctions  a few values of one synthetic row together
    leaves        a leaf of a random tree that one synthetic row alone is in
    blind         conjunctions of values that no synthetic row has together: each column drawn alone
    """

    member: np.ndarray
    extremes: np.ndarray
    conjunctions: np.ndarray
    leaves: np.ndarray
    blind: np.ndarray

    @property
    def any(self) -> np.ndarray:
        """(patients,) singled out by a description of any kind."""
        return self.extremes | self.conjunctions | self.leaves


def single_out(real: Patients, synthetic: pl.DataFrame, *, seed: int) -> Singled:
    """Write descriptions from the synthetic table, and see whom each of them finds. All of a patient's rows are one person."""
    attacked = targets(real, TARGET_ROWS, seed=seed)
    shown = synthetic[drawn_rows(synthetic.height, SYNTHETIC_ROWS, seed=seed, what="singling out shown")]
    people = real.frame[attacked.rows]
    coders = [Codes(column, shown[column.name], CELLS) for column in real.columns]
    made = np.stack([code(shown[column.name]) for code, column in zip(coders, real.columns, strict=True)], axis=1)
    seen = np.stack([code(people[column.name]) for code, column in zip(coders, real.columns, strict=True)], axis=1)
    draw = seeds.generator(seed, "privacy", "singling out")
    apart = np.stack([draw.permutation(column) for column in made.T], axis=1)
    return Singled(
        attacked.member,
        extremes=_found(attacked, _extremes(real, shown, people)),
        conjunctions=_found(attacked, _conjunctions(made, seen, len(attacked.member), draw)),
        leaves=_leaves(attacked, made, seen, seed),
        blind=_found(attacked, _conjunctions(apart, seen, len(attacked.member), draw)),
    )


def _found(attacked: Targets, fitting: Iterator[np.ndarray]) -> np.ndarray:
    """(patients,) whom a description fits that fits nobody else; `fitting` gives the rows that each description fits."""
    singled = np.zeros(len(attacked.member), bool)
    for rows in fitting:
        if len(rows):
            owner = attacked.owner[rows]
            if (owner == owner[0]).all():
                singled[owner[0]] = True
    return singled


def _extremes(real: Patients, shown: pl.DataFrame, people: pl.DataFrame) -> Iterator[np.ndarray]:
    for column in real.columns:
        made, values = shown[column.name], people[column.name]
        if made.null_count() == len(made):
            continue
        if column.numeric:
            yield (values <= made.min()).fill_null(False).arg_true().to_numpy()
            yield (values >= made.max()).fill_null(False).arg_true().to_numpy()
        else:
            for level in made.drop_nulls().alias("level").value_counts(name="rows").filter(pl.col("rows") == 1)["level"].sort():
                yield (values == level).fill_null(False).arg_true().to_numpy()


def _conjunctions(made: np.ndarray, seen: np.ndarray, people: int, draw: np.random.Generator) -> Iterator[np.ndarray]:
    """For each synthetic row, as few of its values, in random order, as make the weight small; the rows of `seen` with all of them."""
    width = made.shape[1]
    shares = [np.bincount(made[:, number], minlength=seen[:, number].max(initial=0) + 1) / len(made) for number in range(width)]
    weights = np.log(np.stack([shares[number][made[:, number]] for number in range(width)], axis=1))
    order = np.argsort(draw.random(made.shape), axis=1)
    total = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    small = total <= np.log(CHANCE / people)
    used = np.where(small.any(axis=1), small.argmax(axis=1) + 1, 0)  # a row whose values are all common describes nobody
    sorted_rows = [np.argsort(seen[:, number], kind="stable") for number in range(width)]
    ends = [np.searchsorted(seen[rows, number], np.arange(len(shares[number]) + 1)) for number, rows in enumerate(sorted_rows)]
    for row in np.flatnonzero(used):
        columns = order[row, : used[row]]
        first = columns[np.argmin(weights[row, columns])]
        value = made[row, first]
        fitting = sorted_rows[first][ends[first][value] : ends[first][value + 1]]
        for number in columns:
            if number != first:
                fitting = fitting[seen[fitting, number] == made[row, number]]
        yield fitting


def _leaves(attacked: Targets, made: np.ndarray, seen: np.ndarray, seed: int) -> np.ndarray:
    """(patients,) who is alone in a leaf of small weight that holds one synthetic row. The trees split at random (Geurts et al., 2006)."""
    from sklearn.tree import ExtraTreeRegressor

    singled = np.zeros(len(attacked.member), bool)
    shares = [np.append(0, np.cumsum(np.bincount(column))) / len(made) for column in made.T]  # shares[c][k]: below code k
    for number in range(TREES):
        draw = seeds.generator(seed, "privacy", "leaves", number)
        grown = ExtraTreeRegressor(max_features=1, random_state=int(draw.integers(2**31)))
        tree = grown.fit(made.astype(np.float32), draw.random(len(made))).tree_
        low = np.zeros((tree.node_count, made.shape[1]), np.int64)
        high = np.tile([len(each) - 2 for each in shares], (tree.node_count, 1))  # both ends included
        for node in np.flatnonzero(tree.children_left >= 0):  # a parent stands before its children
            left, right, feature = tree.children_left[node], tree.children_right[node], tree.feature[node]
            low[[left, right]], high[[left, right]] = low[node], high[node]
            high[left, feature] = np.floor(tree.threshold[node])
            low[right, feature] = np.floor(tree.threshold[node]) + 1
        ends = enumerate(shares)
        weight = np.sum([np.log(share[high[:, c] + 1] - share[low[:, c]] + 1e-300) for c, share in ends], axis=0)
        telling = (tree.children_left < 0) & (tree.n_node_samples == 1) & (weight <= np.log(CHANCE / len(attacked.member)))
        leaf = tree.apply(seen.astype(np.float32))
        pairs = np.unique(np.stack([leaf, attacked.owner], axis=1)[telling[leaf]], axis=0)
        leaves, alone = np.unique(pairs[:, 0], return_counts=True)
        singled[pairs[np.isin(pairs[:, 0], leaves[alone == 1]), 1]] = True
    return singled
