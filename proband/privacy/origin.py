"""What a synthetic table is made of: rows that are training patients, or lie between two of them, are partially synthetic at best."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from proband import seeds
from proband.privacy.patients import Attacked, drawn
from proband.stats.neighbours import nearest

ROWS = 500  # synthetic rows looked at
NEAR = 12  # real rows around each of which two may be the ends of a line
PATIENTS = 20_000


class Origin(NamedTuple):
    """Shares of `rows` synthetic rows: `copied` are equal to a training row, `between` lie between two; and of as many unseen patients'."""

    rows: int
    copied: float
    copied_unseen: float
    between: float
    between_unseen: float


def origin(attacked: Attacked, member: np.ndarray) -> Origin:
    """Look up to 500 synthetic rows up among members and among as many controls.

    A row lies between two of its 12 nearest when each of its numbers does, ends included, and whole numbers after rounding; levels, which
    such generators take by vote, count for nearness only. Zhang, Yan and Malin (J Biomed Inform 2022) found such tables to leak most.

    member   (all real patients,) bool
    """
    draw = seeds.generator(attacked.seed, "privacy", "origin")
    rows = attacked.made[drawn(len(attacked.made), ROWS, draw)]
    side = member[attacked.another]
    most = min(int(side.sum()), int((~side).sum()), PATIENTS)
    found = [_made_of(attacked, rows, np.flatnonzero(own)[drawn(int(own.sum()), most, draw)]) for own in (side, ~side)]
    return Origin(len(rows), found[0][0], found[1][0], found[0][1], found[1][1])


def _made_of(attacked: Attacked, rows: np.ndarray, people: np.ndarray) -> tuple[float, float]:
    real = attacked.theirs[people]
    distances, near = nearest(attacked.embed.placed(rows), attacked.embed.placed(real), NEAR)
    columns = attacked.embed.columns
    numbers = [at for at, column in enumerate(columns) if column.numeric]
    room = np.array([0.5 if columns[at].kind == "integer" else 1e-6 for at in numbers], np.float32)
    ends, own = real[near][:, :, numbers], rows[:, numbers]  # (rows, 12, numbers)
    between = np.zeros(len(rows), bool)
    for a, b in itertools.combinations(range(near.shape[1]), 2):
        low, high = np.fmin(ends[:, a], ends[:, b]), np.fmax(ends[:, a], ends[:, b])
        inside = ((own >= low - room) & (own <= high + room)) | np.isnan(own) | np.isnan(low)
        between |= inside.all(axis=1)
    return float((distances[:, 0] == 0).mean()), float(between.mean()) if len(numbers) > 2 else 0.0
