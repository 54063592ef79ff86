"""Membership attacks: from the synthetic table and everybody else's records, who was in the training data?

The attacker knows the record of the patient in question, the synthetic table and the records of all *other* real patients. Under no
leak the synthetic table knows nothing of which real patient is a member, so members and controls then score alike, exactly,
whatever the attack and however duplicated or odd the records: every comparison of the two is a fair test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from proband.privacy.densities import block_ratio, classified, marginal_ratio
from proband.privacy.patients import Attacked
from proband.stats.neighbours import nearest

NEIGHBOURS = 20
INFLUENCED = 10  # nearest synthetic rows whose likelihood the patient's record may raise


@dataclass(frozen=True)
class Neighbourhood:
    """The neighbours of each attacked row, shared by all attacks.

    to_real       (rows, 20) distances to the nearest rows of other real patients, ascending; (inf where there are fewer)
    to_synthetic  (rows, 20) distances to the nearest synthetic rows
    between       (rows, 10, 20) distances from the nearest synthetic rows to the nearest rows of other real patients
    """

    attacked: Attacked
    to_real: np.ndarray
    to_synthetic: np.ndarray
    between: np.ndarray


def neighbourhood(attacked: Attacked) -> Neighbourhood:
    """Search the neighbours of every attacked row. The neighbours among real people leave out the patient's own rows."""
    queries, others, shown = (attacked.embed.placed(values) for values in (attacked.mine, attacked.theirs, attacked.made))
    to_real, near_real = nearest(queries, others, NEIGHBOURS, query_owner=attacked.person, point_owner=attacked.another)
    to_synthetic, near_synthetic = nearest(queries, shown, NEIGHBOURS)
    return Neighbourhood(attacked, to_real, to_synthetic, _between(others, near_real, shown, near_synthetic[:, :INFLUENCED]))


def _between(others: np.ndarray, near_real: np.ndarray, shown: np.ndarray, near_synthetic: np.ndarray) -> np.ndarray:
    """(rows, 10, 20) float32 distances between the two lists of neighbours of each row; inf where a list is short."""
    found = np.empty((len(near_real), near_synthetic.shape[1], near_real.shape[1]), np.float32)
    for start in range(0, len(found), 512):
        part = slice(start, start + 512)
        real, made = others[near_real[part]], shown[near_synthetic[part]]
        real = real - made[:, :1]  # small norms lose fewer digits
        made = made - made[:, :1]
        square = np.einsum("nrw,nrw->nr", real, real)[:, None] + np.einsum("nsw,nsw->ns", made, made)[:, :, None]
        square -= 2 * (made @ real.transpose(0, 2, 1))
        found[part] = np.sqrt(np.maximum(square, 0))
    found[np.broadcast_to((near_real < 0)[:, None], found.shape) | np.broadcast_to((near_synthetic < 0)[:, :, None], found.shape)] = np.inf
    return found


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


def influence(near: Neighbourhood) -> np.ndarray:
    """Per row: how much likelier its nearest synthetic rows become when the patient joins the other real people.

    After Ward et al. (Gen-LRA, 2025): log likelihood of the 10 nearest synthetic rows under a kernel density of the real people nearby,
    with the patient minus without. Their density estimate runs over the whole reference for each patient; ours over the 20 neighbours
    that the shared list holds, with their median distance as bandwidth.
    """
    width = np.maximum(np.median(near.to_real, axis=1), 1e-6)[:, None]
    width = np.where(np.isfinite(width), width, 1.0)
    own = np.exp(-0.5 * (near.to_synthetic[:, : near.between.shape[1]] / width * 3) ** 2)
    others = np.exp(-0.5 * (near.between / width[:, :, None] * 3) ** 2).sum(axis=2)
    return np.log1p(own / (others + 1e-3)).sum(axis=1)


#: Scores per attacked row; a higher one says "member". Declared before any score is seen: corrections count them.
ATTACKS: dict[str, Callable[[Neighbourhood], np.ndarray]] = {
    "nearest neighbour ratio": ratio,
    "density ratio, 5 neighbours": lambda near: ratio(near, 5),
    "density ratio, 20 neighbours": lambda near: ratio(near, 20),
    "vote of 20 neighbours": vote,
    "local influence": influence,
    "density ratio in column blocks": lambda near: block_ratio(near.attacked),
    "marginal ratio": lambda near: marginal_ratio(near.attacked),
    "classifier": lambda near: classified(near.attacked),
}


def attack(near: Neighbourhood) -> dict[str, np.ndarray]:
    """Every attack's score per patient, (patients,). Never to be written anywhere: a score says something about a patient."""
    return {name: near.attacked.per_patient(score(near)) for name, score in ATTACKS.items()}
