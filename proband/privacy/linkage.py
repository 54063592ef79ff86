"""Linkage: two files without names, each with half of the columns. Does the synthetic table show which records belong together?

The attacker takes a record of either file and the synthetic row nearest to it. When both halves of a patient lead to the same
synthetic row, the files are linked there. Halves of strangers meet as well, by chance and because the columns hang together; under no
leak exactly as often as those of training patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from proband import seeds
from proband.privacy.patients import Patients
from proband.privacy.targets import Codes, Parts, drawn_rows, targets
from proband.stats.neighbours import nearest

TARGET_ROWS, SYNTHETIC_ROWS = 5_000, 50_000  # more are drawn down at random
CELLS = 20


@dataclass(frozen=True)
class Links:
    """Which attacked patients were linked.

    member, linked  (patients,) bool; linked: for one row of theirs both halves lead to the same synthetic row
    blind           the chance that two synthetic rows chosen at random are the same
    blocks          the names of the columns in either file
    """

    member: np.ndarray
    linked: np.ndarray
    blind: float
    blocks: tuple[tuple[str, ...], tuple[str, ...]]


def link(real: Patients, synthetic: pl.DataFrame, *, seed: int) -> Links | None:
    """Try to link two files, between which the columns are dealt so that both tell about as much; None with fewer than two columns."""
    if len(real.columns) < 2:
        return None
    attacked = targets(real, TARGET_ROWS, seed=seed)
    shown = drawn_rows(synthetic.height, SYNTHETIC_ROWS, seed=seed, what="linkage shown")
    parts = Parts(real.columns, real.frame, seed=seed)
    blocks = _dealt(real)
    # Equal rows have no nearest: which of them a half finds is left to chance, drawn anew for the other half.
    leads = []
    for block, names in enumerate(blocks):
        order = seeds.generator(seed, "privacy", "linkage order", block).permutation(len(shown))
        leads.append(order[nearest(parts(names, real.frame, attacked.rows), parts(names, synthetic, shown[order]), 1)[1][:, 0]])
    return Links(attacked.member, attacked.any_row(leads[0] == leads[1]), 1 / len(shown), blocks)


def _dealt(real: Patients) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns in two hands, dealt by falling entropy as 1, 2, 2, 1, 1, ...: neither half is the poorer."""
    entropies = []
    for column in real.columns:
        shares = np.bincount(Codes(column, real.frame[column.name], CELLS)(real.frame[column.name])) / real.frame.height
        entropies.append(-float(np.sum(shares[shares > 0] * np.log(shares[shares > 0]))))
    order = np.argsort(-np.array(entropies), kind="stable")
    first = [real.columns[number].name for place, number in enumerate(order) if place % 4 in (0, 3)]
    second = [real.columns[number].name for place, number in enumerate(order) if place % 4 in (1, 2)]
    return tuple(first), tuple(second)
