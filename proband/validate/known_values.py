"""Is it private over time? The whole history is the target: an attacker who knows three measurements of a patient."""

from __future__ import annotations

from typing import Any

import numpy as np

from proband.privacy.known_values import KNOWN, known_values
from proband.stats import intervals
from proband.stats.sequences import joined
from proband.validate.excess import LEVEL, sizes
from proband.validate.findings import Evidence, Finding
from proband.validate.histories import events, history_table
from proband.validate.rounding import rounded

NAMES = "known_values_auc", "known_values_tpr_at_1pct"

#: False accusations at which the share of members recognised is read.
RATE = 0.01


def known_values_attack(evidence: Evidence, *, seed: int, table: str | None = None) -> list[Finding]:
    """`known_values_auc` and `known_values_tpr_at_1pct`: members (training patients) against controls (holdout and reference), by three
    measurements of each. Who holds all three among the synthetic patients, against who does among the other real ones.

    The first is over all pairs (0.5 is a guess); the second the share of members recognised while one control in a hundred is accused
    (0.01 is a guess): a mean hides those who are recognised for sure.
    """
    name = history_table(evidence.train.schema, table).name
    train, holdout, reference, made = (
        events(one, name) for one in (evidence.train, evidence.holdout, evidence.reference, evidence.synthetic)
    )
    real = joined(train, joined(holdout, reference))
    member = np.arange(real.patients) < train.patients
    scores = known_values(real, made, member, seed=seed)
    titles = (
        f"Success of an attacker who knows {KNOWN} measurements of a patient",
        f"Training patients recognised by {KNOWN} measurements while one stranger in a hundred is accused",
    )
    told = ~np.isnan(scores)
    sides = scores[told & member], scores[told & ~member]
    detail = sizes(member[told])
    if min(map(len, sides)) < 10:
        why = f"Fewer than ten patients have {KNOWN} different measurements."
        return [Finding("private", one, title, None, why) for one, title in zip(NAMES, titles, strict=True)]
    pairs = intervals.auc(*sides, level=LEVEL)
    why = (
        f"Told by {KNOWN} measurements, without their times, a training patient scores above one never seen in {pairs.value:.0%} of pairs."
    )
    found = [_finding(NAMES[0], titles[0], pairs, 0.5, why, detail)]
    sure = intervals.true_positive_rate(*sides, RATE, level=LEVEL)
    if sure is None:
        few = f"{len(sides[1]):,} patients whom the synthesizer never saw are too few: bring {intervals.controls_needed(RATE)}."
        return [*found, Finding("private", NAMES[1], titles[1], None, few, detail=detail)]
    why = f"By {KNOWN} measurements {sure.value:.1%} of the training patients are recognised at 1 % false accusations; a guess gives 1 %."
    return [*found, _finding(NAMES[1], titles[1], sure, RATE, why, detail)]


def _finding(name: str, title: str, found: intervals.Estimate, reference: float, why: str, detail: dict[str, Any]) -> Finding:
    interval = rounded(found.low), rounded(found.high)
    return Finding("private", name, title, rounded(found.value), why, interval=interval, reference=reference, detail=detail)
