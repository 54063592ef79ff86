"""Whose record is it? Copies of training patients' signals, and an attacker who guesses by them who was in the training data."""

from __future__ import annotations

import numpy as np

from proband import seeds
from proband.stats import intervals
from proband.stats import waveforms as stats
from proband.stats.discrimination import auc
from proband.stats.neighbours import nearest
from proband.validate.excess import LEVEL, excess, numbers, shares, sizes
from proband.validate.findings import Finding
from proband.validate.recordings import Recordings
from proband.validate.rounding import percentiles, rounded, share_of

#: A record is copied where a synthetic one is this many times nearer than any other real patient's.
NEARER = 3.0

#: Numbers of a record that distances are taken of, and neighbours that the attacks look at.
_POINTS, _NEIGHBOURS = 1_024, (1, 5)
_PERMUTATIONS = 200


def whose_record(held: Recordings, *, seed: int) -> list[Finding]:
    """`signal_copies_excess` and `signal_membership_auc`: training patients against those of holdout and reference.

    Distances are of the values, and of the size of each frequency, which does not change when a copy is moved in time. A record is
    compared with the synthetic ones and with those of all other real patients; of a patient's records the one that says most counts.
    """
    patients = held.patients["real"]
    member = np.arange(patients.count) < held.patients["train"].count
    scores: dict[str, np.ndarray] = {}
    copied = np.zeros(patients.count, bool)
    for view, (real, made) in _views(held).items():
        others, _ = nearest(real, real, max(_NEIGHBOURS), query_owner=patients.code, point_owner=patients.code)
        near, _ = nearest(real, made, max(_NEIGHBOURS))
        known = others[np.isfinite(others) & (others > 0)]
        least = 1e-4 * float(np.median(known)) if len(known) else 1e-4
        for k in _NEIGHBOURS:
            ratio = np.log(np.clip(others[:, k - 1], least, 1e30)) - np.log(np.clip(near[:, k - 1], least, 1e30))
            told = np.full(patients.count, -np.inf)
            np.maximum.at(told, patients.code, ratio)
            scores[f"{view}, {k} nearest"] = told
            if k == 1:
                copied |= told > np.log(NEARER)
    return [_copies(copied, member), _membership(scores, member, seed)]


def _views(held: Recordings) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(records, width) of real and synthetic records: their values, and how large each frequency is in them."""
    sides = [held.values[side] for side in ("real", "synthetic")]
    channels, samples = sides[0].shape[1:]
    points = max(16, _POINTS // channels)
    plain = [side if samples <= points else stats.course(side, points).astype(np.float32) for side in sides]
    sizes = [np.abs(np.fft.rfft(side, axis=2)) for side in plain]
    views = {"values": plain, "frequencies": sizes}
    return {view: (real.reshape(len(real), -1), made.reshape(len(made), -1)) for view, (real, made) in views.items()}


def _copies(copied: np.ndarray, member: np.ndarray) -> Finding:
    beyond = excess(copied, member)
    advice = "The synthesizer memorised records." if beyond.low > 0 else f"An excess above {share_of(beyond.high)} is excluded."
    return Finding(
        question="private",
        name="signal_copies_excess",
        title="Training patients whose signal is copied, beyond the rate of patients never seen",
        why=f"{share_of(float(copied[member].mean()))} of the training patients have a synthetic record {NEARER:g} times nearer than any "
        f"other real patient's, against {share_of(float(copied[~member].mean()))} of the patients never seen. {advice}",
        detail=shares(copied, member),
        **numbers(beyond, copied, member),
    )


def _membership(scores: dict[str, np.ndarray], member: np.ndarray, seed: int) -> Finding:
    """The strongest of the attacks; the lower end is corrected for their number, the reference is what chance gives the luckiest."""
    found = {name: intervals.auc(one[member], one[~member], level=LEVEL) for name, one in scores.items()}
    strongest = max(found, key=lambda name: found[name].value)
    low = max(intervals.auc(one[member], one[~member], level=1 - (1 - LEVEL) / len(scores)).low for one in scores.values())
    generator = seeds.generator(seed, "signal_membership")
    drawn = [generator.permutation(member) for _ in range(_PERMUTATIONS)]
    by_chance = np.array([max(auc(one, some) for one in scores.values()) for some in drawn])
    value = found[strongest].value
    return Finding(
        question="private",
        name="signal_membership_auc",
        title="Guessing by the signals who was in the training data",
        value=rounded(value),
        interval=(rounded(min(low, value)), rounded(max(one.high for one in found.values()))),
        reference=rounded(float(np.median(by_chance))),
        reference_interval=percentiles(by_chance),
        why=f"The strongest of {len(scores)} attacks ({strongest}) tells a training patient from a stranger in {value:.1%} of pairs; the "
        f"luckiest of as many guesses {np.median(by_chance):.1%}.",
        detail={"attacks": {name: rounded(one.value) for name, one in found.items()}} | sizes(member),
    )
