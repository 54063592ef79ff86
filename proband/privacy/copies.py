"""Copies: training patients whose record stands in the synthetic table, equal or nearly so, beside the rate of patients it never saw."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from proband.privacy.membership import Neighbourhood
from proband.privacy.patients import Patients
from proband.stats.neighbours import mixed, owners_sharing, row_hashes

CHANCE = 0.01  # a row tells when chance would repeat it in fewer than one of a hundred synthetic tables
CLOSE_BY_CHANCE = 0.001  # near copies that a table without leak would still show, per patient
CROWD, UPPER = 5, 0.05  # real neighbours that a copy must undercut, and the share of patients whose tail is extrapolated


def exact_copies(real: Patients, synthetic: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Per patient, two booleans: a row equal to a synthetic row; and such a row that tells, because chance would hardly repeat it.

    A row tells when no other real patient has it and a synthetic table of this size would repeat it by chance less than once in
    a hundred: its chance is taken from the other patients as (share equal in all columns but one) x (share equal in that one), the
    column that makes it largest. In a table of a few categories, rows coincide without any leak and none of them tells.
    """
    names = [column.name for column in real.columns]
    rows = _Hashed(real.frame, names)
    equal = np.flatnonzero(np.isin(rows.total, _Hashed(synthetic, names).total))
    found = np.zeros(len(real.member), bool)
    found[real.owner[equal]] = True
    telling = np.zeros(len(real.member), bool)
    equal = equal[owners_sharing(rows.total[equal], rows.total, real.owner) == 1]
    telling[real.owner[equal[_tells(rows.total, equal, rows, real.owner, range(len(names)), synthetic.height)]]] = True
    return found, telling


def copies_but_one(real: Patients, synthetic: pl.DataFrame, attacked: np.ndarray) -> np.ndarray:
    """Per patient of `attacked` (numbers into `real`), whether a synthetic row equals one of theirs in all columns but one.

    One changed value, swapped or made up, does not hide a patient. Only lonely records count: those that no other attacked patient
    equals in all columns but that one and any second one. Above 64 columns nothing is searched: rows so wide that differ in one
    column are near by distance as well.
    """
    names = [column.name for column in real.columns]
    position = np.full(len(real.member), -1)
    position[attacked] = np.arange(len(attacked))
    owner = position[real.owner]
    rows, made = _Hashed(real.frame.filter(owner >= 0), names), _Hashed(synthetic, names)
    owner = owner[owner >= 0]
    found = np.zeros(len(attacked), bool)
    for j in range(len(names)) if 2 < len(names) <= 64 else ():
        rest = rows.total - rows.column(j)
        equal = np.flatnonzero(~found[owner] & np.isin(rest, made.total - made.column(j)))
        for k in range(len(names)):
            if not len(equal):
                break
            fewer = rest - rows.column(k) if k != j else rest
            equal = equal[owners_sharing(fewer[equal], fewer, owner) == 1]
        found[owner[equal]] = True
    return found


class _Hashed:
    """The rows of a table as 64-bit hashes, which are sums over columns, and each column's part of the sum."""

    def __init__(self, frame: pl.DataFrame, names: list[str]) -> None:
        self.frame, self.names = frame, names
        self.total = row_hashes(frame[name].hash(0).to_numpy() for name in names)

    def column(self, number: int) -> np.ndarray:
        return mixed(self.frame[self.names[number]].hash(0).to_numpy(), number)


def _tells(total: np.ndarray, candidates: np.ndarray, rows: _Hashed, owner: np.ndarray, columns: Iterable[int], made: int) -> np.ndarray:
    """(candidates,) whether chance would repeat the row less than CHANCE times among `made` synthetic rows."""
    pairs = np.zeros(len(candidates))
    for number in columns if len(candidates) else ():
        value = rows.column(number)
        rest = total - value
        same_rest = owners_sharing(rest[candidates], rest, owner) - 1
        same_value = owners_sharing(value[candidates], value, owner) - 1
        pairs = np.maximum(pairs, same_rest * same_value)
    return made * pairs / (int(owner.max(initial=0)) + 1) ** 2 < CHANCE


def near_copies(near: Neighbourhood) -> np.ndarray:
    """Per attacked patient, whether a synthetic row is a near copy: far closer than the five nearest other real patients.

    How far follows from the real rows alone: from the same comparison of each patient's nearest real row with the next five. The upper
    twentieth of those is taken to fall off exponentially, and the limit set where chance calls one patient in a thousand (fewer
    where there are fewer than a thousand members: two by chance would fail a table of 600). A patient who told little, or is one
    of a crowd, has strangers as near as a jittered copy: of thyroid patients copied with 5 % of noise about one in seven stays unseen.
    Equal rows are `exact_copies`, and are not counted here.
    """
    target = near.attacked
    real, gap = near.to_real[:, : CROWD + 1].astype(float), near.to_synthetic[:, 0].astype(float)
    lonely = (real[:, 0] > 0) & np.isfinite(real[:, -1])
    close = np.zeros(len(real), bool)
    if lonely.any():
        chance = min(CLOSE_BY_CHANCE, int(target.member.sum()) * CLOSE_BY_CHANCE**2)
        rate = min(0.5, chance * len(target.theirs) / max(len(target.made), 1))
        logs = np.log(real[lonely])
        alone = logs[:, 1:].mean(axis=1) - logs[:, 0]  # how far the nearest real row stands out
        start = float(np.quantile(alone, 1 - UPPER))
        limit = start + float((alone[alone >= start] - start).mean()) * max(0.0, np.log(UPPER / rate))
        with np.errstate(divide="ignore"):
            close[lonely] = (gap[lonely] > 0) & (logs[:, :CROWD].mean(axis=1) - np.log(gap[lonely]) > limit)
    return target.per_patient(close.astype(float)) > 0
