"""Is it private? Attacks on the synthetic table, members of the training data against patients it never saw."""

from __future__ import annotations

import math

import numpy as np

from proband.cohort import Mark
from proband.privacy.copies import copies_but_one, exact_copies, near_copies
from proband.privacy.exposed import groups, isolated
from proband.privacy.membership import attack, neighbourhood
from proband.privacy.origin import Origin, origin
from proband.privacy.patients import Patients, attacked, gathered
from proband.stats import intervals
from proband.validate.excess import LEVEL, excess, numbers, shares
from proband.validate.findings import Evidence, Finding
from proband.validate.inference import inference
from proband.validate.membership import Trial, membership
from proband.validate.rounding import rounded, share_of

PARTIAL = 0.05  # more synthetic rows than this, surely, are copies or mixtures of training patients: partially synthetic


def privacy(evidence: Evidence, *, seed: int) -> list[Finding]:
    """Ten findings: copies (exact, near, beyond doubt); membership by AUC, tail, epsilon proven, and in the worst group; inference.

    Another, `epsilon`, where the mark of the synthetic patients promises differential privacy.

    Members are the train patients. Controls are the patients of holdout and reference, whom the synthesizer never saw; each real
    patient's distance to the other real patients calibrates its score, so no separate calibration set is spent.
    The findings carry no limit (see `limits.LIMITS`) and nothing about a single patient: counts and shares only, rounded.
    """
    made = evidence.synthetic.frame
    real = gathered(made, evidence.train, evidence.holdout, evidence.reference)
    found, telling = exact_copies(real, made)
    target = attacked(real, made, seed=seed)
    near = neighbourhood(target)
    close = telling[target.patients] | copies_but_one(real, made, target.patients) | near_copies(near)
    trial = Trial.of(attack(near), close, target.member, seed)
    partial = _partially_synthetic(origin(target, real.member))
    return [
        _exact_finding(real, found, telling, partial),
        _near_finding(target.member, close, partial),
        _proven_finding(target.member, close),
        *membership(trial, groups(target), isolated(near)),
        *inference(real, made, seed=seed),
        *_promises(evidence.synthetic.mark),
    ]


def _partially_synthetic(made: Origin) -> str:
    """What the table is made of, in words, when that is surely training patients; else nothing."""
    for what, of_train, of_unseen in (
        ("are copies of training patients", made.copied, made.copied_unseen),
        ("lie between two training patients", made.between, made.between_unseen),
    ):
        hits = round(of_train * made.rows), round(of_unseen * made.rows)
        if intervals.share_difference(hits, (made.rows, made.rows), level=LEVEL).low > PARTIAL:
            return f" The table is partially synthetic: {share_of(of_train)} of its rows {what} ({share_of(of_unseen)} of as many others)."
    return ""


# --- copies ---------------------------------------------------------------------------------------------------------------------


def _exact_finding(real: Patients, found: np.ndarray, telling: np.ndarray, partial: str) -> Finding:
    member = real.member
    beyond = excess(telling, member)
    counted = f"{_share(telling[member])} of the training patients have a record in the synthetic table that chance would not repeat"
    return Finding(
        question="private",
        name="exact_copies_excess",
        title="Training patients copied exactly, beyond the rate of patients never seen",
        why=f"{counted}, against {_share(telling[~member])} of the patients it never saw. {_copies_advice(beyond, member)}{partial}",
        detail=shares(telling, member)
        | {"any_equal_row_train": rounded(found[member].mean()), "any_equal_row_holdout": rounded(found[~member].mean())},
        **numbers(beyond, telling, member),
    )


def _near_finding(member: np.ndarray, close: np.ndarray, partial: str) -> Finding:
    beyond = excess(close, member)
    counted = (
        f"{_share(close[member])} of the training patients have a synthetic record equal in all columns but one, "
        "or far nearer than any other real patient,"
    )
    return Finding(
        question="private",
        name="near_copies_excess",
        title="Training patients copied nearly, beyond the rate of patients never seen",
        why=f"{counted} against {_share(close[~member])} of the patients it never saw. {_copies_advice(beyond, member)}{partial}",
        detail=shares(close, member),
        **numbers(beyond, close, member),
    )


def _proven_finding(member: np.ndarray, close: np.ndarray) -> Finding:
    """The lower end of the same excess: a large cohort that keeps the limit by its upper end may still surely hold copies."""
    beyond = excess(close, member)
    value = rounded(max(0.0, beyond.low), 4)
    proven = f"{share_of(value)} of the training patients are" if value else "No training patient is"
    return Finding(
        question="private",
        name="copies_beyond_doubt",
        title="Training patients copied, exactly or nearly, beyond doubt",
        value=value,
        interval=(value, value),
        reference=0.0,
        reference_interval=(0.0, 0.0),
        why=f"{proven} copied beyond what chance does to patients never seen (97.5 % sure). What is more than one in a thousand, the "
        "synthesizer has memorised.",
    )


def _copies_advice(beyond: intervals.Estimate, member: np.ndarray) -> str:
    if beyond.low > 0:
        return "The synthesizer memorised patients: train it less long, on more patients, or with noise."
    return f"With {int(member.sum()):,} training patients, an excess above {share_of(beyond.high)} is excluded."


def _promises(mark: Mark | None) -> list[Finding]:
    """The bound that whoever made the patients promises, as their mark says; none where it says nothing."""
    if mark is None or any(key == "trained_on" or key.startswith(("label", "chosen")) for key in mark.details):
        return []  # real patients had a say in them by another way
    try:
        epsilon, delta = float(mark.details["epsilon"]), float(mark.details["delta"])
    except (KeyError, ValueError):
        return []
    if not (math.isfinite(epsilon) and epsilon > 0 and 0 <= delta < 1):
        return []
    said = (
        f"The mark of the synthetic patients says: differential privacy of every {mark.details.get('unit', 'patient')}, "
        f"epsilon {epsilon:g}, delta {delta:g}, kept by {mark.synthesizer} {mark.version}. No measurement can prove that: "
        "the cohort's ledger has the fit, and an audit of the synthesizer shows whether it keeps its word. It covers the "
        "synthetic patients, not this report's figures."
    )
    title = "Privacy loss (epsilon) of any patient, at most, as differential privacy promises"
    return [Finding(question="private", name="epsilon", title=title, value=epsilon, interval=(epsilon, epsilon), why=said)]


def _share(hit: np.ndarray) -> str:
    return share_of(float(hit.mean()))
