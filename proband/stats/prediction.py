"""How good predicted probabilities are: ranking, calibration, error."""

from __future__ import annotations

import numpy as np


def brier(probabilities: np.ndarray, outcomes: np.ndarray) -> float:
    """Mean squared error of probabilities (Brier, Mon. Weather Rev. 1950): 0 is perfect, 0.25 is saying 50 % always.

    >>> brier(np.array([1.0, 0.5]), np.array([1, 0]))
    0.125
    """
    return float(np.mean((probabilities - outcomes) ** 2))


def average_precision(probabilities: np.ndarray, outcomes: np.ndarray) -> float:
    """Mean precision over the cases, in order of falling probability; ties share one threshold. NaN without a case."""
    order = np.argsort(-probabilities, kind="stable")
    last = np.flatnonzero(np.append(np.diff(probabilities[order]) != 0, True))
    cases = np.cumsum(outcomes[order])[last]
    if not cases[-1]:
        return float("nan")
    return float(np.sum(np.diff(np.append(0, cases)) * cases / (last + 1)) / cases[-1])


def calibration_slope(probabilities: np.ndarray, outcomes: np.ndarray, *, steps: int = 50) -> float:
    """The slope of a logistic regression of the outcome on the predicted log odds (Cox, Biometrika 1958).

    1 is right; below 1 the predictions are too extreme; 0 says nothing; below 0 they are upside down. NaN when the
    predictions or the outcomes do not vary. Newton's method; the slope is held within -5 to 5.
    """
    clipped = np.clip(probabilities, 1e-6, 1 - 1e-6)
    odds = np.log(clipped / (1 - clipped))
    if np.ptp(odds) < 1e-9 or np.ptp(outcomes) == 0:
        return float("nan")
    centre = odds.mean()
    design = np.column_stack([np.ones_like(odds), odds - centre])
    mean = float(np.clip(np.mean(outcomes), 1e-6, 1 - 1e-6))
    beta = np.array([np.log(mean / (1 - mean)), 0.0])
    for _ in range(steps):
        fitted = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (outcomes - fitted)
        curvature = (design * (fitted * (1 - fitted))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        beta = np.clip(beta + np.clip(step, -2, 2), [-30, -5], [30, 5])
        if np.abs(step).max() < 1e-8:
            break
    return float(beta[1])
