"""A share of training patients beyond that of patients never seen: value, interval and what no leak gives."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from proband.stats import intervals
from proband.validate.rounding import rounded

LEVEL = 0.95


def excess(hit: np.ndarray, member: np.ndarray) -> intervals.Estimate:
    """The share of members who were `hit` minus that of controls, both (patients,) bool."""
    hits = int(hit[member].sum()), int(hit[~member].sum())
    return intervals.share_difference(hits, (int(member.sum()), int((~member).sum())), level=LEVEL)


def numbers(found: intervals.Estimate, hit: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    """Value, interval and reference of a finding: the same hits with members and controls drawn anew, which is what no leak means."""
    members, controls, hits = int(member.sum()), int((~member).sum()), int(hit.sum())
    drawn = np.asarray(stats.hypergeom.ppf([0.025, 0.975], members + controls, hits, members))
    low, high = (drawn / members - (hits - drawn) / controls).tolist()
    return {
        "value": rounded(found.value),
        "interval": (rounded(found.low), rounded(found.high)),
        "reference": 0.0,
        "reference_interval": (rounded(low), rounded(high)),
    }


def shares(hit: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    """Shares of patients (not of synthetic rows) who were hit, and how many there are; `holdout` stands for all patients never seen."""
    return {
        "synthetic_share_train": rounded(hit[member].mean()),
        "synthetic_share_holdout": rounded(hit[~member].mean()),
        **sizes(member),
    }


def sizes(member: np.ndarray) -> dict[str, int]:
    return {"patients_train": int(member.sum()), "patients_holdout": int((~member).sum())}
