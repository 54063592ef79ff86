"""Figures as the privacy findings give them: rounded, so that a report says nothing about a single patient."""

from __future__ import annotations

import numpy as np


def rounded(value: float, digits: int = 3) -> float:
    return round(float(value), digits) + 0.0  # no -0.0


def rounded_all(values: np.ndarray) -> list[float]:
    return [rounded(value) for value in values]


def significant(p: float) -> float:
    return float(f"{p:.2g}")


def percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return rounded(low), rounded(high)


def share_of(share: float) -> str:
    return f"{100 * share:.3g} %" if share < 0.995 else f"{100 * share:.0f} %"
