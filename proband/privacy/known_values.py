"""The attacker who knows a few of a patient's measurements: how much commoner are they among synthetic histories than among real ones?"""

from __future__ import annotations

import numpy as np

from proband import seeds
from proband.stats.sequences import Events

#: Measurements the attacker knows of a patient, and how often others are drawn: the mean score of the draws is the patient's.
KNOWN, DRAWS = 3, 5

#: Patients attacked at most: of more, so many at random. Each is compared with everybody.
_ATTACKED = 4_000


def known_values(real: Events, synthetic: Events, *, seed: int) -> np.ndarray:
    """(patients,) a score for each real patient, a higher one says "member"; NaN where fewer than three measurements are known, and beyond
    the 4,000 patients who are attacked.

    Three measurements (what, how much; not when) are drawn at random from the patient's own. The score is the log share of synthetic
    patients whose history holds all three, minus that of the other real patients.
    """
    from scipy.sparse import csr_array

    sides = [_tokens(one) for one in (real, synthetic)]
    _, token = np.unique(np.concatenate([one for one, _ in sides]), axis=0, return_inverse=True)
    token = token.ravel()
    size, cut = int(token.max(initial=-1)) + 1, len(sides[0][0])
    holds = [
        csr_array((np.ones(len(own), np.float32), (own, owner)), shape=(size, one.patients))
        for own, (_, owner), one in zip((token[:cut], token[cut:]), sides, (real, synthetic), strict=True)
    ]
    mine, owner = token[:cut], sides[0][1]
    each = np.bincount(owner, minlength=real.patients)
    draw = seeds.generator(seed, "privacy", "known values")
    attacked = np.flatnonzero(each >= KNOWN)
    if len(attacked) > _ATTACKED:
        attacked = np.sort(draw.choice(attacked, _ATTACKED, replace=False))
    scores = np.full(real.patients, np.nan)
    if not len(attacked):
        return scores
    total = np.zeros(len(attacked))
    for _ in range(DRAWS):
        order = np.lexsort((draw.random(len(owner)), owner))
        starts = np.searchsorted(owner[order], attacked)
        three = mine[order[starts[:, None] + np.arange(KNOWN)]]  # (attacked, KNOWN)
        made, others = (_all_of(side, three) for side in holds[::-1])
        total += np.log((made + 0.5) / (synthetic.patients + 1)) - np.log((others - 1 + 0.5) / real.patients)
    scores[attacked] = total / DRAWS
    return scores


def _tokens(events: Events) -> tuple[np.ndarray, np.ndarray]:
    """The different (variable, value) of each patient, (tokens, 2), and whose they are, by patient."""
    known = ~np.isnan(events.value)
    rows = np.unique(np.column_stack([events.patient[known], events.variable[known], events.value[known]]), axis=0)
    return rows[:, 1:], rows[:, 0].astype(np.int64)


def _all_of(holds: object, three: np.ndarray) -> np.ndarray:
    """(attacked,) how many patients hold all of each row's tokens; a thousand rows at a time."""
    found = np.zeros(len(three))
    for start in range(0, len(three), 1_000):
        part = three[start : start + 1_000]
        both = holds[part[:, 0]]  # type: ignore[index]
        for at in range(1, part.shape[1]):
            both = both * holds[part[:, at]]  # type: ignore[index]
        found[start : start + 1_000] = both.sum(axis=1)
    return found
