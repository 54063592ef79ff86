"""Histories read step by step: a fixed random recurrent network, whose states tell what no row of figures can, the order of things."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from proband.stats.resampling import dealt
from proband.stats.sequences import Events, gaps, moments, taken

#: Units of the network, the inputs that each reads, the units that each hears, and the spectral radius of what they hear of each other:
#: below 1, so that the past fades.
_UNITS, _INPUTS, _LINKS, _RADIUS = 256, 4, 10, 0.9

#: How far a unit moves in a step: some forget at once, others remember twenty moments.
_LEAKS = (1.0, 0.5, 0.2, 0.05)

#: Patients who walk together: what is in memory at once.
_TOGETHER = 256

#: The ridge, as a share of the mean square of a patient's standardised states.
_RIDGE = 0.1


def echoes(events: Events, like: Events, *, seed: int) -> np.ndarray:
    """(patients, 768) what an echo-state network makes of each patient's sequence; 0 for one without events.

    A step is a moment: the log gap, which variables were measured, and the last known value of each, on scales of the events `like`
    (real ones). A unit moves by leak * (tanh(what it reads + what it hears + bias) - itself); all weights are drawn by `seed`, none is
    learned. Each of 256 units tells its mean, its mean absolute step, and where it ends.

    Jaeger, GMD report 148, 2001; Lukosevicius and Jaeger, Computer Science Review 2009; masks beside last values: Che et al., Scientific
    Reports 2018. The mean step stands where others take the highest state: of values in the wrong order it sees far more
    (docs/histories.md).
    """
    draw, scales = np.random.default_rng(seed), _Scales.of(like)
    width = 1 + 2 * len(events.names)
    reads = np.zeros((width, _UNITS), np.float32)
    for unit in reads.T:
        unit[draw.permutation(width)[:_INPUTS]] = draw.normal(size=min(_INPUTS, width))
    hears = draw.normal(size=(_UNITS, _UNITS)) * (draw.random((_UNITS, _UNITS)) < _LINKS / _UNITS)
    hears = (hears * (_RADIUS / np.abs(np.linalg.eigvals(hears)).max())).astype(np.float32)
    bias, leak = draw.normal(0, 0.3, _UNITS).astype(np.float32), np.resize(np.array(_LEAKS, np.float32), _UNITS)
    found = np.zeros((events.patients, 3 * _UNITS), np.float32)
    with threadpool_limits(1):  # its products are small: more threads gain nothing
        for start in range(0, events.patients, _TOGETHER):
            patient, steps = scales.steps(taken(events, np.arange(start, min(start + _TOGETHER, events.patients))))
            who, first, many = np.unique(patient, return_index=True, return_counts=True)
            longest = np.argsort(-many, kind="stable")  # so that those who still walk stand first
            who, first, many = who[longest], first[longest], many[longest]
            state, total, moved = (np.zeros((len(who), _UNITS), np.float32) for _ in range(3))
            for at in range(int(many.max(initial=0))):
                walk = int((many > at).sum())
                before = state[:walk]
                after = before + leak * (np.tanh(steps[first[:walk] + at] @ reads + before @ hears + bias) - before)
                moved[:walk] += np.abs(after - before) if at else 0
                total[:walk] += after
                state[:walk] = after
            count = many[:, None].astype(np.float32)
            found[start + who] = np.hstack([total / count, moved / np.maximum(count - 1, 1), state])
    return found


class _Scales(NamedTuple):
    """What a step is measured by. Of each variable the 0.5 % at either end are drawn in: slips of the pen."""

    low: np.ndarray  # (variables,)
    high: np.ndarray
    centre: np.ndarray
    spread: np.ndarray  # 1 where all values are equal, or there are none
    gap: tuple[float, float]  # mean and standard deviation of log(1 + gap)

    @staticmethod
    def of(like: Events) -> _Scales:
        found = np.tile([[0.0], [0.0], [0.0], [1.0]], len(like.names))
        for at in range(len(like.names)):
            own = like.value[(like.variable == at) & ~np.isnan(like.value)]
            if len(own):
                low, high = np.quantile(own, [0.005, 0.995])
                own = own.clip(low, high)
                found[:, at] = low, high, own.mean(), own.std() or 1.0
        waits = np.log1p(gaps(like))
        gap = (float(waits.mean()), float(waits.std()) or 1.0) if len(waits) else (0.0, 1.0)
        return _Scales(found[0], found[1], found[2], found[3], gap)

    def steps(self, events: Events) -> tuple[np.ndarray, np.ndarray]:
        """Whose each moment is, and what is read at it: (moments,), (moments, 1 + 2 x variables)."""
        patient, now, before = moments(events)
        gap = np.zeros(len(patient))
        gap[1:][np.diff(patient) == 0] = (np.log1p(gaps(events)) - self.gap[0]) / self.gap[1]
        measured = np.zeros(now.shape)
        measured[events.moment, events.variable] = 1
        value = (np.where(np.isnan(now), before, now).clip(self.low, self.high) - self.centre) / self.spread
        return patient, np.column_stack([gap, measured, np.nan_to_num(value)]).astype(np.float32)


def told_apart(states: np.ndarray, labels: np.ndarray, *, seed: int, folds: int = 5) -> np.ndarray:
    """(patients,) scores of a ridge regression of the labels (1 or 0) on the states, each patient judged by one that saw the others only.

    Scores are ranks within a fold, as those of `discriminate`; every fold has its share of either label, so that they mean the same.
    """
    known = (states - states.mean(axis=0)) / np.maximum(states.std(axis=0), 1e-6)
    wanted = labels - labels.mean()
    fold = dealt(labels, folds, np.random.default_rng(seed))
    ridge = _RIDGE * known.shape[1] * np.eye(known.shape[1])
    scores = np.full(len(labels), 0.5)
    with threadpool_limits(1):
        square, told = known.T @ known, known.T @ wanted
        for held in (np.flatnonzero(fold == k) for k in range(min(folds, len(labels)))):
            own = known[held]
            weights = solve(square - own.T @ own + ridge, told - own.T @ wanted[held], assume_a="pos")
            scores[held] = (rankdata(own @ weights) - 0.5) / len(held)
    return scores
