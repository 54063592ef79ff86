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


def rankings(probabilities: np.ndarray, outcomes: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision of many bootstrap samples at once; (samples,) each, NaN where undefined.

    weights   (samples, rows): how often each row was drawn; ones give the plain figures
    """
    order = np.argsort(-probabilities, kind="stable")
    first = np.flatnonzero(np.append(True, np.diff(probabilities[order]) != 0))  # ties share one threshold
    cases = np.add.reduceat(weights[:, order] * outcomes[order], first, axis=1)  # (samples, thresholds)
    others = np.add.reduceat(weights[:, order] * (1 - outcomes[order]), first, axis=1)
    found, false = np.cumsum(cases, axis=1), np.cumsum(others, axis=1)
    with np.errstate(invalid="ignore"):
        auroc = (others * (found - cases / 2)).sum(axis=1) / (found[:, -1] * false[:, -1])
        precision = np.divide(found, found + false, out=np.zeros_like(found, float), where=found > 0)
        return auroc, (cases * precision).sum(axis=1) / found[:, -1]


def calibration_slope(probabilities: np.ndarray, outcomes: np.ndarray) -> float:
    """The slope of a logistic regression of the outcome on the predicted log odds (Cox, Biometrika 1958).

    1 is right; below 1 the predictions are too extreme; 0 says nothing; below 0 they are upside down. NaN when the
    predictions or the outcomes do not vary. The slope is held within -5 to 5.
    """
    return calibration_line(probabilities, outcomes)[1]


def calibration_intercept(probabilities: np.ndarray, outcomes: np.ndarray) -> float:
    """Calibration in the large: what must be added to the predicted log odds for the mean risk to be the share of cases.

    0 is right; below 0 the risks are too high. The intercept of the calibration line with its slope held at 1 (Van Calster
    et al., BMC Medicine 2019). NaN when the outcomes do not vary.
    """
    from scipy.optimize import brentq

    if np.ptp(outcomes) == 0:
        return float("nan")
    odds, share = _held(probabilities), float(np.mean(outcomes))
    return float(brentq(lambda added: risks(odds + added).mean() - share, -44, 44, xtol=1e-8))


def calibration_line(probabilities: np.ndarray, outcomes: np.ndarray, *, steps: int = 50) -> tuple[float, float]:
    """(intercept, slope) of a logistic regression of the outcome on the predicted log odds; both NaN where nothing varies.

    `risks(intercept + slope * log_odds(probabilities))` are the recalibrated risks. The slope is held within -5 to 5. Newton's
    method, with a step halved until it gains: near-perfect predictions would make full steps jump to and fro.
    """
    odds = _held(probabilities)
    if np.ptp(odds) < 1e-9 or np.ptp(outcomes) == 0:
        return float("nan"), float("nan")
    centre, spread = odds.mean(), odds.std()
    design = np.column_stack([np.ones_like(odds), (odds - centre) / spread])

    def loss(beta: np.ndarray) -> float:
        line = design @ beta
        return float(np.sum(np.logaddexp(0, line) - outcomes * line))

    beta = np.array([float(log_odds(np.mean(outcomes))), 0.0])
    now = loss(beta)
    for _ in range(steps):
        fitted = risks(design @ beta)
        gradient = design.T @ (outcomes - fitted)
        curvature = (design * (fitted * (1 - fitted))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while (after := loss(beta + step)) > now and np.abs(step).max() > 1e-8:
            step = step / 2
        if np.abs(step).max() < 1e-8:
            break
        beta, now = beta + step, after
    slope = float(beta[1] / spread)
    if abs(slope) > 5:
        slope = float(np.copysign(5, slope))
        return calibration_intercept(risks(slope * odds), outcomes), slope
    return float(beta[0] - slope * centre), slope


def prior_shift(probabilities: np.ndarray, learned: float, true: float) -> np.ndarray:
    """Risks learned where a share `learned` were cases, for a population where a share `true` are: the odds times the ratio of odds.

    Exact when the two differ in the share of cases alone (Saerens, Latinne and Decaestecker, Neural Computation 2002).

    >>> prior_shift(np.array([0.5]), learned=0.5, true=0.1).round(3).tolist()
    [0.1]
    """
    return risks(log_odds(probabilities) + log_odds(true) - log_odds(learned))


def youden_threshold(probabilities: np.ndarray, outcomes: np.ndarray) -> float:
    """The threshold at or above which calling a case makes sensitivity + specificity largest (Youden, Cancer 1950)."""
    order = np.argsort(-probabilities, kind="stable")
    last = np.flatnonzero(np.append(np.diff(probabilities[order]) != 0, True))
    cases = np.cumsum(outcomes[order])[last]
    others = last + 1 - cases
    return float(probabilities[order][last[np.argmax(cases / max(cases[-1], 1) - others / max(others[-1], 1))]])


def log_odds(probabilities: np.ndarray | float) -> np.ndarray:
    """log(p / (1 - p)), with p held within 1e-12 to 1 - 1e-12."""
    clipped = np.clip(probabilities, 1e-12, 1 - 1e-12)
    return np.log(clipped / (1 - clipped))


def risks(odds: np.ndarray) -> np.ndarray:
    """The inverse of `log_odds`, with the log odds held within -30 to 30."""
    return 1 / (1 + np.exp(-np.clip(odds, -30, 30)))


def _held(probabilities: np.ndarray) -> np.ndarray:
    """The log odds by which calibration is measured: p held within 1e-6 to 1 - 1e-6, so that no single patient makes the line."""
    return log_odds(np.clip(probabilities, 1e-6, 1 - 1e-6))
