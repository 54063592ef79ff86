"""The picture of a comparison: a panel a figure, a line a method, a dot and an interval a model. An SVG that stands alone."""

from __future__ import annotations

import html
import re
from typing import Any

import polars as pl

from proband.validate.pictures import FAKE, INK, LINE, MUTED, REAL, draw

#: Figures in panels, and the value that is right whatever the others reach.
_SHOWN: dict[str, float | None] = {
    "AUROC": None, "average precision": None, "Brier score": None, "calibration slope": 1.0, "calibration intercept": 0.0,
    "worst group's AUROC": None,
}  # fmt: skip
_COLOURS = {"ink": "#1d242c", "muted": "#5a6571", "line": "#e2dfd8", "real": "#1c6e99", "fake": "#c8601a", "card": "#ffffff"}
_LEFT, _PANEL, _STEP, _TOP, _BOTTOM = 190, 170, 30, 64, 30


def panels(frame: pl.DataFrame, title: str) -> str:
    """The SVG for rows of (model, method, figure, value, low, high); undefined figures are left out."""
    shown = [f for f in _SHOWN if frame.filter(pl.col("figure") == f)["value"].is_not_null().any()]
    methods, models = frame["method"].unique(maintain_order=True).to_list(), frame["model"].unique(maintain_order=True).to_list()
    width, height = _LEFT + _PANEL * len(shown) + 10, _TOP + _STEP * len(methods) + _BOTTOM
    marks = dict(zip(models, (("o", REAL), ("D", FAKE)), strict=False))

    def paint(figure: Any) -> None:
        figure.text(8 / width, 1 - 18 / height, title, fontsize=13, color=INK, va="center")
        for at, (model, (shape, colour)) in enumerate(marks.items()):
            place = _LEFT + 150 * at
            head = figure.add_axes(((place - 12) / width, 1 - 46 / height, 12 / width, 12 / height))
            head.axis("off")
            head.plot([0], [0], shape, color=colour, markersize=7)
            figure.text((place + 4) / width, 1 - 40 / height, model, fontsize=11, color=MUTED, va="center")
        for row, method in enumerate(methods):
            y = 1 - (_TOP + _STEP * (row + 0.5)) / height
            figure.text(8 / width, y, method, fontsize=11, color=INK, va="center")
        for at, name in enumerate(shown):
            box = ((_LEFT + _PANEL * at + 12) / width, _BOTTOM / height, (_PANEL - 24) / width, 1 - (_TOP + _BOTTOM) / height)
            axes = figure.add_axes(box)
            axes.set_ylim(len(methods) - 0.5, -0.5)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.set_title(name, fontsize=11, color=INK, pad=3)
            axes.hlines(range(len(methods)), 0, 1, transform=axes.get_yaxis_transform(), color=LINE, linewidth=1)
            if _SHOWN[name] is not None:
                axes.axvline(_SHOWN[name], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
            rows = frame.filter((pl.col("figure") == name) & pl.col("value").is_not_null())
            for model, method, value, low, high in rows.select("model", "method", "value", "low", "high").iter_rows():
                shape, colour = marks[model]
                y = methods.index(method) + 0.3 * (list(marks).index(model) - 0.5)
                if low is not None:
                    axes.plot([low, high], [y, y], color=colour, linewidth=2.2, alpha=0.45, solid_capstyle="butt")
                axes.plot([value], [y], shape, color=colour, markersize=5.5)
            axes.locator_params(axis="x", nbins=4)

    return _alone(draw("rebalancing", width, height, title, paint), width, height)


def _alone(svg: str, width: int, height: int) -> str:
    """A picture that was drawn for a page, with its own colours, font and ground."""
    svg = re.sub(r"var\(--(\w+)\)", lambda found: _COLOURS[found[1]], svg)
    ground = f'<rect width="{width}" height="{height}" fill="{html.escape(_COLOURS["card"])}"/>'
    start, rest = svg.split(">", 1)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" font-family="sans-serif"'
    return f"{start.replace('<svg', f'<svg {names}', 1)}>{ground}{rest}"
