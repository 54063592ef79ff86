"""Membership attacks that compare how common a record is among synthetic and among real rows: by blocks of columns, marginals, trees.

Each gives a score per attacked row, from the synthetic table and the rows of *other* real patients; a higher one says "member".
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from proband import seeds
from proband.privacy.patients import Attacked
from proband.stats.marginals import bins
from proband.stats.neighbours import nearest
from proband.stats.trees import boosted

BLOCK = 7  # columns in a block: few enough for 20,000 rows to fill them
BLOCK_ROWS = 20_000
BLOCK_NEIGHBOURS = 2
PAIRS = 100  # two-way marginals
MARGINAL_ROWS = 60_000
BINS, LEVELS = 8, 20  # codes of a number and of a category, besides those for missing and rare
LEARNED_ROWS = 10_000
TREES = 40


def block_ratio(attacked: Attacked) -> np.ndarray:
    """Sum over blocks of about seven columns of log distance to the second nearest real row minus that to the second nearest synthetic one.

    In few columns densities are estimated well, and a generator that remembers some columns of a patient together is seen though the
    rest is its own invention. Columns are put into blocks at random.
    """
    order = seeds.generator(attacked.seed, "privacy", "blocks").permutation(attacked.mine.shape[1])
    others, shown = attacked.fewer(BLOCK_ROWS, "blocks")
    total = np.zeros(len(attacked.mine))
    for block in np.array_split(order, max(1, round(len(order) / BLOCK))):
        queries, theirs, made = (
            attacked.embed.placed(v, block.tolist()) for v in (attacked.mine, attacked.theirs[others], attacked.made[shown])
        )
        owners = {"query_owner": attacked.person, "point_owner": attacked.another[others]}
        to_real, to_synthetic = nearest(queries, theirs, BLOCK_NEIGHBOURS, **owners)[0], nearest(queries, made, BLOCK_NEIGHBOURS)[0]
        to_real, to_synthetic = to_real[:, -1], to_synthetic[:, -1]
        usual = float(np.median(to_real[to_real > 0])) if (to_real > 0).any() else 1.0
        low, high = 0.05 * usual, 20 * usual  # heaped values: equal and nearly equal tell the same
        total += np.log(np.clip(to_real, low, high)) - np.log(np.clip(to_synthetic, low, high))
    return total


def marginal_ratio(attacked: Attacked) -> np.ndarray:
    """Sum over one- and two-way marginals of log share of the row's cell among synthetic rows minus that among other patients' rows.

    The 100 pairs of columns that depend on each other most in the synthetic table: what a marginal generator will have measured.
    A patient's own rows are taken out of the real counts. After the attack that won the SNAKE challenge (Allard et al., 2023).
    """
    others, shown = attacked.fewer(MARGINAL_ROWS, "marginals")
    mine, theirs, made = attacked.mine, attacked.theirs[others], attacked.made[shown]
    codes = [_codes(column.numeric, theirs[:, at]) for at, column in enumerate(attacked.embed.columns)]
    mine, theirs, made = (np.column_stack([code(side[:, at]) for at, code in enumerate(codes)]) for side in (mine, theirs, made))
    sizes = np.maximum.reduce([side.max(axis=0, initial=0) for side in (mine, theirs, made)]) + 1
    total = np.zeros(len(mine))
    for group in [(at,) for at in range(len(sizes))] + _dependent(made, sizes, PAIRS):
        cells = int(np.prod(sizes[list(group)]))
        cell, real_cell, made_cell = (_joint(side, group, sizes) for side in (mine, theirs, made))
        own = _own(cell, real_cell, attacked.person, attacked.another[others], cells)
        real_count, made_count = np.bincount(real_cell, minlength=cells)[cell] - own, np.bincount(made_cell, minlength=cells)[cell]
        total += np.log((made_count + 0.5) / (len(made) + 0.5 * cells)) - np.log((real_count + 0.5) / (len(theirs) + 0.5 * cells))
    return total


def _codes(numeric: bool, theirs: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A column's values as small whole numbers: 0 missing, then eight bins, or the 20 commonest levels and one for the rest."""
    if not numeric:
        return lambda values: np.where(np.isnan(values), 0, 1 + np.minimum(values, LEVELS)).astype(np.int64)
    cut = bins(theirs, BINS)
    return lambda values: np.where(np.isnan(values), 0, 1 + cut.codes(np.nan_to_num(values)))


def _joint(codes: np.ndarray, group: tuple[int, ...], sizes: np.ndarray) -> np.ndarray:
    joint = codes[:, group[0]]
    for at in group[1:]:
        joint = joint * sizes[at] + codes[:, at]
    return joint


def _own(cell: np.ndarray, real_cell: np.ndarray, owner: np.ndarray, owner_all: np.ndarray, cells: int) -> np.ndarray:
    """(rows,) how many of the patient's own rows stand in the row's cell."""
    keys, counts = np.unique(owner_all * cells + real_cell, return_counts=True)
    wanted = owner * cells + cell
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, counts[place], 0)


def _dependent(codes: np.ndarray, sizes: np.ndarray, most: int) -> list[tuple[int, ...]]:
    """The pairs of columns with the highest mutual information, over at most 5,000 rows."""
    few, found = codes[:5_000], []
    for pair in itertools.combinations(range(len(sizes)), 2):
        joint = np.bincount(_joint(few, pair, sizes), minlength=int(np.prod(sizes[list(pair)]))).reshape(sizes[list(pair)]) / len(few)
        apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        seen = joint > 0
        found.append((-float((joint[seen] * np.log(joint[seen] / apart[seen])).sum()), pair))
    return [pair for _, pair in sorted(found)[:most]]


def classified(attacked: Attacked) -> np.ndarray:
    """Log odds that a row is synthetic, by boosted trees that never saw the patient (Hayes et al., LOGAN, PETS 2019, without a model).

    Patients fall at random into two halves; the trees that score one half learned synthetic rows from the real rows of the other.
    """
    others, shown = attacked.fewer(LEARNED_ROWS, "classifier")
    draw = seeds.generator(attacked.seed, "privacy", "halves")
    half = draw.permutation(1 + max(attacked.person.max(initial=0), attacked.another.max(initial=0))) % 2
    theirs, made, scores = attacked.theirs[others], attacked.made[shown], np.zeros(len(attacked.mine))
    for side in (0, 1):
        learned, scored = half[attacked.another[others]] != side, half[attacked.person] == side
        if scored.any() and learned.any():
            label = np.repeat([1, 0], [len(made), learned.sum()])
            trees = boosted(np.concatenate([made, theirs[learned]]), label, kind="classifier", seed=attacked.seed, trees=TREES)
            scores[scored] = trees(attacked.mine[scored]) - np.log(len(made) / learned.sum())
    return scores
