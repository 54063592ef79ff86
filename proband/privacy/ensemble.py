"""The ensemble: one score out of all attacks, weighed by what other patients' memberships teach, never the patient's own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import stats
from scipy.special import ndtri

from proband import seeds

PRIOR = 0.05  # the weight of all attacks together before a membership is seen: about what an AUC of .55 teaches


class Ensemble:
    """A sum of the attacks' ranks (as normal scores), weighed by ridge regression on membership.

    Patients fall at random into two halves, and each half is scored with the weights that the other one taught. The weights start equal
    and positive, so that a small cohort gets the mean rank. The score is the rank within the half; `half` (patients,) tells which. Evidence
    on single patients is to be read in each half by itself: what one half taught by chance, the other repeats.
    """

    def __init__(self, scores: Mapping[str, np.ndarray], *, seed: int) -> None:
        every = np.column_stack(list(scores.values()))
        order = seeds.generator(seed, "privacy", "ensemble").permutation(len(every))  # and equal scores are ordered by this chance
        self.sides = [order[: len(order) // 2], order[len(order) // 2 :]]
        self.half = np.isin(np.arange(len(every)), self.sides[1])
        self.ranks = [ndtri((stats.rankdata(every[own], axis=0) - 0.5) / max(len(own), 1)) for own in self.sides]
        # What a half teaches is linear in its memberships, so that members can be drawn anew hundreds of times.
        ridge = [own.T @ own + len(own) * np.eye(own.shape[1]) for own in self.ranks]
        prior = np.full(every.shape[1], PRIOR / every.shape[1])
        self.start = [len(own) * np.linalg.solve(square, prior) for square, own in zip(ridge, self.ranks, strict=True)]
        self.learn = [np.linalg.solve(square, own.T) for square, own in zip(ridge, self.ranks, strict=True)]

    def __call__(self, member: np.ndarray) -> np.ndarray:
        """(patients,) the score when these are the members (bool): 0 to patients - 1, each once."""
        found = np.empty(len(member), np.int64)
        for side, own in enumerate(self.sides):
            taught = member[self.sides[1 - side]].astype(float)
            weights = self.start[1 - side] + self.learn[1 - side] @ (taught - taught.mean())
            found[own[np.argsort(self.ranks[side] @ weights, kind="stable")]] = 2 * np.arange(len(own)) + 1 - side
        return np.argsort(np.argsort(found)) if len(member) % 2 else found
