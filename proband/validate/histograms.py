"""The small picture of one column, from the labels and shares in its finding: a histogram on its scale, or its levels as rows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from proband.validate.pictures import FAKE, LINE, MUTED, REAL, bare, draw, numbers, percent, short
from proband.validate.words import number

LEVELS = ("category", "ordinal", "boolean", "identifier")
"""Kinds whose labels are levels, shown as rows."""

ASIDE = ("missing", "not allowed", "other")
"""Labels that have no place on a scale of numbers; their shares are told in words."""


def marginal(key: str, column: Mapping[str, Any]) -> str:
    """One column: real as filled bars, synthetic as an outline; numbers along their scale, levels as rows."""
    labels, real, synthetic = cells(column)
    order = np.argsort(-np.abs(real - synthetic), kind="stable")[:3]
    gaps = "; ".join(f"{labels[i]}: {percent(real[i])} real, {percent(synthetic[i])} synthetic" for i in order)
    alt = f"{column.get('name', '')}: distance {number(column.get('distance'))}. Largest differences: {gaps}."
    if not on_a_scale(column):
        return draw(key, 150, 96, alt, lambda figure: _levels(figure, labels, real, synthetic))
    known = [i for i, label in enumerate(labels) if label not in ASIDE]
    labels, real, synthetic = [labels[i] for i in known], real[known], synthetic[known]
    return draw(key, 150, 96, alt, lambda figure: _histogram(figure, labels, real, synthetic))


def on_a_scale(column: Mapping[str, Any]) -> bool:
    """Whether the column's labels have places on a scale, so that its picture is a histogram."""
    return column.get("kind") not in LEVELS and _ranges([label for label in cells(column)[0] if label not in ASIDE]) is not None


def cells(column: Mapping[str, Any]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Labels, real shares and synthetic shares of a column, of equal length."""
    labels = [str(label) for label in column.get("labels") or ()]
    real, synthetic = (np.nan_to_num(numbers(column.get(name))) for name in ("real", "synthetic"))
    size = min(len(labels), len(real), len(synthetic))
    return labels[:size], real[:size], synthetic[:size]


def _levels(figure: Figure, labels: Sequence[str], real: np.ndarray, synthetic: np.ndarray) -> None:
    shown = list(range(len(labels)))
    if len(labels) > 6:  # the five levels that matter most, the others together
        top = sorted(np.argsort(-np.maximum(real, synthetic), kind="stable")[:5])
        rest = [i for i in shown if i not in top]
        labels = [*(labels[i] for i in top), f"{len(rest)} others"]
        real, synthetic = (np.append(shares[top], shares[rest].sum()) for shares in (real, synthetic))
    axes = bare(figure, [0.42, 0.02, 0.57, 0.96])
    rows = np.arange(len(labels))[::-1]
    thick = 0.36
    axes.barh(rows + thick / 2, real, thick, color=REAL, alpha=0.75, linewidth=0)
    axes.barh(rows - thick / 2, synthetic, thick, color=FAKE, linewidth=0)
    for row, label in zip(rows, labels, strict=True):
        axes.text(-0.03, row, short(label, 11), ha="right", va="center", fontsize=9.5, color=MUTED, transform=axes.get_yaxis_transform())
    axes.axvline(0, color=LINE, linewidth=1)
    axes.set_xlim(0, max(1e-9, float(max(real.max(initial=0), synthetic.max(initial=0)))))
    axes.set_ylim(-0.6 - max(0, 3 - len(labels)) / 2, len(labels) - 0.4 + max(0, 3 - len(labels)) / 2)


def _histogram(figure: Figure, labels: Sequence[str], real: np.ndarray, synthetic: np.ndarray) -> None:
    axes = bare(figure, [0.01, 0.19, 0.98, 0.79])
    edges, owner = _edges(_ranges(labels) or [])
    wide = edges[0] > 0 and edges[-1] > 100 * edges[0] and np.median(edges) < 0.05 * edges[-1]
    if wide:
        edges = np.log10(edges)
    widths = np.diff(edges)
    if len(widths) > 4 and not wide:  # long tails are drawn shortened
        widths[[0, -1]] = np.minimum(widths[[0, -1]], widths[1:-1].sum() / 4)
        edges = edges[0] + np.concatenate([[0.0], np.cumsum(widths)])
    heights = [np.where(owner < 0, 0.0, shares[owner]) / widths for shares in (real, synthetic)]
    axes.stairs(heights[0], edges, fill=True, color=REAL, alpha=0.45, linewidth=0)
    axes.stairs(heights[1], edges, color=FAKE, linewidth=1.6)
    axes.axhline(0, color=LINE, linewidth=1)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, max(1e-12, float(np.max(heights))) * 1.06)
    ends = (
        (0.0, labels[0].split(" to ")[0], "left"),
        (0.5, "log scale" if wide else "", "center"),
        (1.0, labels[-1].split(" to ")[-1], "right"),
    )
    for place, text, side in ends:
        axes.text(place, -0.06, short(text, 12), ha=side, va="top", fontsize=9.5, color=MUTED, transform=axes.transAxes)


def _edges(ranges: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Edges of cells that touch, and the bin that each cell shows: -1 for a gap. A bin ends where the next begins; a single
    value is as wide as a narrow bin."""
    widths = np.array([high - low for low, high in ranges if high > low] or [1.0])
    narrow = float(np.quantile(widths, 0.2))
    edges, owner = [ranges[0][0]], []
    for at, (low, high) in enumerate(ranges):
        following = ranges[at + 1][0] if at + 1 < len(ranges) else math.inf
        edges.append(min(high if high > low else low + narrow, following))
        owner.append(at)
        if edges[-1] < following < math.inf:
            edges.append(following)
            owner.append(-1)
    return np.array(edges), np.array(owner)


def _ranges(labels: Sequence[str]) -> list[tuple[float, float]] | None:
    """(low, high) of labels such as `3`, `1.5 to 2`, `2019-04 to 2020-01`, `06 h to 09 h`, in order; None for any other."""
    found = []
    for label in labels:
        ends = [_place(end) for end in label.split(" to ")]
        if len(ends) > 2 or ends[0] is None or ends[-1] is None:
            return None
        found.append((ends[0], ends[-1]))
    ordered = all(low <= high for low, high in found) and all(one[0] < after[0] for one, after in pairwise(found))
    return found if len(found) > 1 and ordered else None


def _place(end: str) -> float | None:
    """Where the end of a bin stands on its scale: a number, a month or an hour."""
    month = re.fullmatch(r"(\d{4})-(\d{2})", end)
    if month:
        return int(month[1]) * 12.0 + int(month[2])
    try:
        place = float(end.removesuffix(" h").replace("−", "-"))
    except ValueError:
        return None
    return place if math.isfinite(place) else None
