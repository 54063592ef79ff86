"""Membership attacks: from the synthetic table and everybody else's records, who was in the training data?

The attacker knows the record of the patient in question, the synthetic table and the records of all *other* real patients. Under no
leak the synthetic table knows nothing of which real patient is a member, so members and controls then score alike, exactly,
whatever the attack and however duplicated or odd the records: every comparison of the two is a fair test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from proband import seeds
from proband.privacy.patients import Embedding, Patients
from proband.stats.neighbours import nearest

NEIGHBOURS = 20
QUERY_ROWS, REAL_ROWS, SYNTHETIC_ROWS = 20_000, 60_000, 400_000  # more are drawn down at random


@dataclass(frozen=True)
class Neighbourhood:
    """The neighbours of each attacked row, shared by all attacks.

    patients      (patients,) which patients are attacked, numbers into `Patients`; member: (patients,) bool
    owner         (rows,) the attacked patient of each row, a position in `patients`
    to_real       (rows, 20) distances to the nearest rows of other real patients, ascending; (inf where there are fewer)
    to_synthetic  (rows, 20) distances to the nearest synthetic rows
    real_rows, synthetic_rows  how many rows were searched
    """

    patients: np.ndarray
    member: np.ndarray
    owner: np.ndarray
    to_real: np.ndarray
    to_synthetic: np.ndarray
    real_rows: int
    synthetic_rows: int

    def per_patient(self, row_scores: np.ndarray) -> np.ndarray:
        """(patients,) the highest score among each patient's rows: one record that gives the patient away is enough."""
        highest = np.full(len(self.patients), -np.inf)
        np.maximum.at(highest, self.owner, row_scores)
        return highest


def neighbourhood(real: Patients, synthetic: pl.DataFrame, *, seed: int) -> Neighbourhood:
    """Search the neighbours of every real patient, or of a random draw of patients with about 20,000 rows in all.

    The neighbours among real people leave out the patient's own rows. Real rows to compare with are drawn regardless of membership.
    """
    draw = seeds.generator(seed, "privacy", "patients")
    patients = _drawn_patients(real, draw)
    position = np.full(len(real.member), -1)
    position[patients] = np.arange(len(patients))
    rows = np.flatnonzero(position[real.owner] >= 0)
    others = _drawn_rows(real.frame.height, REAL_ROWS, draw)
    embed = Embedding(real.columns, real.frame, seed=seed)
    queries = embed(real.frame, rows)
    to_real, _ = nearest(queries, embed(real.frame, others), NEIGHBOURS, query_owner=real.owner[rows], point_owner=real.owner[others])
    shown = _drawn_rows(synthetic.height, SYNTHETIC_ROWS, draw)
    to_synthetic, _ = nearest(queries, embed(synthetic, shown), NEIGHBOURS)
    owner = position[real.owner[rows]]
    return Neighbourhood(patients, real.member[patients], owner, to_real, to_synthetic, len(others), len(shown))


def _drawn_patients(real: Patients, draw: np.random.Generator) -> np.ndarray:
    """All patients, or as many members as controls (more of one where the other runs short) with about QUERY_ROWS rows in all."""
    count = int(QUERY_ROWS * len(real.member) / len(real.owner))
    if len(real.member) <= max(count, 2):
        return np.arange(len(real.member))
    members, controls = np.flatnonzero(real.member), np.flatnonzero(~real.member)
    take_controls = min(len(controls), max(count // 2, count - len(members)))
    take_members = min(len(members), count - take_controls)
    drawn = [draw.choice(members, take_members, replace=False), draw.choice(controls, take_controls, replace=False)]
    return np.sort(np.concatenate(drawn))


def _drawn_rows(count: int, most: int, draw: np.random.Generator) -> np.ndarray:
    return np.arange(count) if count <= most else np.sort(draw.choice(count, most, replace=False))


def logarithms(near: Neighbourhood) -> tuple[np.ndarray, np.ndarray]:
    """log distances (rows, 20) to real and to synthetic rows; equal rows count as a thousandth of the usual nearest distance."""
    positive = near.to_real[:, 0][near.to_real[:, 0] > 0]
    smallest = 1e-3 * float(np.median(positive)) if len(positive) else 1e-3
    farthest = 1e3 * float(np.median(positive)) if len(positive) else 1e3
    real, synthetic = (np.log(np.clip(side, smallest, farthest)) for side in (near.to_real, near.to_synthetic))
    return real, synthetic


def ratio(near: Neighbourhood, k: int = 1) -> np.ndarray:
    """Per row: log distance to the k-th nearest real row minus log distance to the k-th nearest synthetic row.

    k = 1 finds copies: an equal synthetic row scores highest, the more so the lonelier the patient, and not at all when another patient
    has the same row. k = 5 and 20 compare densities (van Breugel et al., DOMIAS, AISTATS 2023, with neighbours in place of flows).
    """
    real, synthetic = logarithms(near)
    return real[:, k - 1] - synthetic[:, k - 1]


def vote(near: Neighbourhood) -> np.ndarray:
    """Per row: the share of synthetic rows among the 20 nearest of both tables (Ward et al., DPI, 2024)."""
    k = near.to_real.shape[1]
    both = np.hstack([near.to_synthetic, near.to_real])
    nearest_of_both = np.argsort(both, axis=1, kind="stable")[:, :k]
    return (nearest_of_both < k).mean(axis=1)


#: Scores per attacked row; a higher one says "member". Declared before any score is seen: corrections count them.
ATTACKS: dict[str, Callable[[Neighbourhood], np.ndarray]] = {
    "nearest neighbour ratio": ratio,
    "density ratio, 5 neighbours": lambda near: ratio(near, 5),
    "density ratio, 20 neighbours": lambda near: ratio(near, 20),
    "vote of 20 neighbours": vote,
}


def attack(near: Neighbourhood) -> dict[str, np.ndarray]:
    """Every attack's score per patient, (patients,). Never to be written anywhere: a score says something about a patient."""
    return {name: near.per_patient(score(near)) for name, score in ATTACKS.items()}
