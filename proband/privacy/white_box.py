"""The attacker who holds the model: its own word on every patient is the score."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from proband.cohort import Cohort
from proband.errors import InputError
from proband.privacy.suspicion import Suspicion


def white_box(score: Callable[[Cohort], np.ndarray], train: Cohort, unseen: Sequence[Cohort]) -> Suspicion:
    """How well the model's own word tells its training patients from patients it never saw.

    score   how much the model takes each row for one of its own, (rows,), higher is more: log likelihood, the discriminator's score,
            or minus a loss or the norm of its gradient
    unseen  the controls, cohorts under the schema of `train`

    A patient counts by the row with the highest score. The score is not set against how hard a record is to tell: an ordinary patient
    is likely under any model. That costs power, never fairness.
    """
    cohorts = [train, *unseen]
    told = [_highest(score(cohort), cohort) for cohort in cohorts]
    if len(told[0]) < 2 or sum(map(len, told[1:])) < 2:
        raise InputError(f"{len(told[0])} training and {sum(map(len, told[1:]))} unseen patients: an attack needs two of each. Bring more.")
    scores = np.concatenate(told)
    return Suspicion(np.arange(len(scores)) < len(told[0]), scores)


def _highest(scores: np.ndarray, cohort: Cohort) -> np.ndarray:
    """(patients,) the highest of each patient's rows."""
    scores, key = np.asarray(scores, float), cohort.schema.table.key
    if scores.shape != (cohort.frame.height,) or np.isnan(scores).any():
        raise InputError(
            f"score gave an array of shape {scores.shape}, {int(np.isnan(scores).sum())} of it NaN, for {cohort.frame.height} rows. "
            "It has to give one number for each row."
        )
    if key is None:
        return scores
    owner = cohort.frame[key].rank("dense").to_numpy().astype(np.int64) - 1
    highest = np.full(owner.max(initial=-1) + 1, -np.inf)
    np.maximum.at(highest, owner, scores)
    return highest
