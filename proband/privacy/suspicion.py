"""What an attack said of each patient, and how right it was."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from proband import seeds
from proband.stats import intervals
from proband.stats.intervals import Estimate, TailRow


@dataclass(frozen=True)
class Suspicion:
    """One attack's word on real patients. Scores stay in memory: each says something about a patient.

    member  (patients,) bool
    score   (patients,) higher says "member"
    """

    member: np.ndarray = field(repr=False)
    score: np.ndarray = field(repr=False)

    @property
    def auc(self) -> Estimate:
        """The chance that a member scores above a control, with its 95 % interval; .5 is a guess."""
        return intervals.auc(self.score[self.member], self.score[~self.member])

    def true_positive_rate(self, false_positive_rate: float) -> Estimate | None:
        """The share of members recognised while this share of controls is accused; None where the controls are fewer than 3 / rate."""
        return intervals.true_positive_rate(self.score[self.member], self.score[~self.member], false_positive_rate)

    def tail(self, *, seed: int) -> list[TailRow]:
        """Members among the 10, 30, 100, ... most suspected, with the chance of as many under no leak; ties by chance."""
        return intervals.top_r(self.score, self.member, seeds.generator(seed, "privacy", "tail"))
