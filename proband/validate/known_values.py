"""Is it private over time? The whole history is the target: an attacker who knows three measurements of a patient."""

from __future__ import annotations

import numpy as np

from proband.privacy.known_values import KNOWN, known_values
from proband.stats import intervals
from proband.stats.sequences import joined
from proband.validate.excess import LEVEL, sizes
from proband.validate.findings import Evidence, Finding
from proband.validate.histories import events, history_table
from proband.validate.rounding import rounded


def known_values_auc(evidence: Evidence, *, seed: int, table: str | None = None) -> Finding:
    """`known_values_auc`: members (training patients) against controls (holdout and reference), by three measurements of each.

    Who holds all three among the synthetic patients, against who does among the other real ones. 0.5 is a guess.
    """
    name = history_table(evidence.train.schema, table).name
    train, holdout, reference, made = (
        events(one, name) for one in (evidence.train, evidence.holdout, evidence.reference, evidence.synthetic)
    )
    real = joined(train, joined(holdout, reference))
    scores, member = known_values(real, made, seed=seed), np.arange(real.patients) < train.patients
    title = f"Success of an attacker who knows {KNOWN} measurements of a patient"
    told = ~np.isnan(scores)
    if min(told[member].sum(), told[~member].sum()) < 10:
        return Finding("private", "known_values_auc", title, None, f"Fewer than ten patients have {KNOWN} different measurements.")
    found = intervals.auc(scores[told & member], scores[told & ~member], level=LEVEL)
    return Finding(
        "private",
        "known_values_auc",
        title,
        rounded(found.value),
        f"Told by {KNOWN} measurements, without their times, a training patient scores above one never seen in {found.value:.0%} of pairs.",
        interval=(rounded(found.low), rounded(found.high)),
        reference=0.5,
        detail=sizes(told & member) | sizes(member),
    )
