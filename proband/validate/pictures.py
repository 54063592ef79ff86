"""The report's pictures: numbers in, one small SVG out, in the page's own colours.

matplotlib draws with stand-in colours that are then replaced by the page's CSS variables, so that one picture serves light,
dark and print. Text stays text in the page's font. The same numbers give the same bytes.
"""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from proband.validate.findings import Finding
from proband.validate.words import alike, number

# Stand-ins: colours nobody would choose, one for each CSS variable of the page.
_VARIABLES = ("ink", "muted", "line", "real", "fake", "bad", "good", "unsure", "card")
INK, MUTED, LINE, REAL, FAKE, BAD, GOOD, UNSURE, CARD = (f"#00000{digit}" for digit in range(1, 10))

WIDTH = 300
"""CSS pixels: what a phone 360 pixels wide leaves to a picture inside its card."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a column called "a$b$" is not a formula
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.linewidth": 1,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "path.simplify": False,
    "axes.unicode_minus": True,
}


def draw(key: str, width: float, height: float, label: str, paint: Callable[[Figure], None]) -> str:
    """An inline SVG of `width` x `height` CSS pixels with `label` as its text alternative. `key` is unique on the page."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": key}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)  # the browser has more fonts
        figure = Figure(figsize=(width / 72, height / 72), frameon=False)
        FigureCanvasSVG(figure)
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _inline(buffer.getvalue(), key, width, height, label)


def _inline(svg: str, key: str, width: float, height: float, label: str) -> str:
    """Only what an SVG inside a page needs: no prolog, no namespaces, no fonts, no group names; words are left as they are."""
    body = svg[svg.index("<svg") :].partition(">")[2].rpartition("</svg>")[0]
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.S)
    body = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0]), body)
    body = re.sub(r"\s*\n\s*", "", body).replace("<defs></defs>", "").replace("<g></g>", "")
    safe = html.escape(label)
    return f'<svg role="img" aria-label="{safe}" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}">{body}</svg>'


def _tag(tag: str) -> str:
    """One tag: colours to variables, ids only where something refers to them, a hundredth of a pixel is enough."""
    tag = re.sub(r' id="[A-Za-z.0-9]+_\d+"', "", tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    tag = re.sub(r"#00000([1-9])", lambda found: f"var(--{_VARIABLES[int(found[1]) - 1]})", tag)
    tag = tag.replace("xlink:href", "href").replace("base64,\n", "base64,").replace("\n", " ")
    return re.sub(r"(\.\d\d)\d+(?=[ \",)])", r"\1", tag)


def short(name: str, letters: int) -> str:
    """The name, its middle left out where it is longer than `letters`: both ends tell similar columns apart."""
    if len(name) <= letters:
        return name
    tail = letters // 3
    return f"{name[: letters - tail - 1].rstrip()}…{name[-tail:].lstrip()}"


def matrix(key: str, names: Sequence[str], values: np.ndarray, label: str, *, difference: bool = False) -> str:
    """A heat map of an association matrix: strength is how much colour lies on the page, so that 0 is the page itself."""
    size = len(names)
    left = 88 if size <= 24 else 0  # more names than that cannot be read
    side = WIDTH - left

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((left / WIDTH, 0, side / WIDTH, 1))
        strength = np.clip(np.nan_to_num(values) / (0.3 if difference else 1), -1, 1)
        hues = ((176, 52, 60), (52, 92, 160)) if difference else ((176, 98, 20), (22, 112, 150))
        picture = np.zeros((size, size, 4), dtype=np.uint8)
        for sign, hue in zip((-1, 1), hues, strict=True):
            picture[np.sign(strength) == sign, :3] = hue
        picture[..., 3] = np.round(255 * np.abs(strength) ** 0.8)
        picture[np.isnan(values)] = (128, 128, 128, 60)
        axes.imshow(picture, interpolation="none", aspect="auto", extent=(0, size, size, 0))
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(True)
        for row, name in enumerate(names if left else ()):
            y = 1 - (row + 0.5) / size
            size_points = min(10, 210 / size)
            axes.text(-6 / side, y, short(name, 14), transform=axes.transAxes, ha="right", va="center", fontsize=size_points, color=MUTED)

    return draw(key, WIDTH, side, label, paint)


def beside(key: str, rows: Sequence[tuple[str, float, float]], label: str, *, share: bool = True) -> str:
    """Real and synthetic for a list of names: a circle, a diamond, and the gap between them; the name stands above its line."""
    width, step, top = WIDTH, 36, 2
    height = top + step * len(rows) + 24
    values = [value for row in rows for value in row[1:]]
    low, high = (0.0, max(values) or 1.0) if share else _widened(values)

    def paint(figure: Figure) -> None:
        axes = _rows(figure, width, height)
        for i, (name, real, synthetic) in enumerate(rows):
            y = top + step * i + 22
            axes.text(8, y - 10, short(name, 34), fontsize=11, va="center", color=INK)
            text = f"{' → '.join(alike([100 * real, 100 * synthetic]))} %" if share else " → ".join(alike([real, synthetic]))
            axes.text(width - 8, y - 10, text, fontsize=10.5, va="center", ha="right", color=MUTED)
            axes.plot([8, width - 8], [y + 3, y + 3], color=LINE, linewidth=1)
            places = [8 + (width - 16) * (value - low) / (high - low) for value in (real, synthetic)]
            axes.plot(places, [y + 3, y + 3], color=MUTED, linewidth=2)
            _marks(axes, places, y + 3)
        left, right = ("0", percent(high)) if share else alike([low, high])
        axes.text(8, height - 8, left, fontsize=10, color=MUTED, va="center")
        axes.text(width - 8, height - 8, right, fontsize=10, color=MUTED, va="center", ha="right")

    return draw(key, width, height, label, paint)


def bars(key: str, rows: Sequence[tuple[str, float]], label: str, *, zero: float = 0.0) -> str:
    """Named bars, longest first, the name above its bar; a value of `zero` has no length."""
    width, step = WIDTH, 30
    height = step * len(rows) + 6
    highest = max((value - zero for _, value in rows), default=1.0) or 1.0

    def paint(figure: Figure) -> None:
        axes = _rows(figure, width, height)
        for i, (name, value) in enumerate(rows):
            y = step * i + 12
            axes.text(4, y, short(name, 38), fontsize=11, va="center", color=INK)
            axes.text(width - 4, y, number(value), fontsize=10.5, va="center", ha="right", color=MUTED)
            axes.plot([4, width - 4], [y + 12, y + 12], color=LINE, linewidth=4, solid_capstyle="butt")
            axes.plot(
                [4, 4 + (width - 8) * max(0.0, value - zero) / highest], [y + 12, y + 12], color=FAKE, linewidth=4, solid_capstyle="butt"
            )

    return draw(key, width, height, label, paint)


def curve(key: str, points: np.ndarray, label: str) -> str:
    """The discriminator's success on pairs it never trained on, falling to a coin's 50 %. points: (steps, 2)."""

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.12, 0.17, 0.83, 0.78))
        steps, success = points[:, 0], points[:, 1]
        axes.axhline(0.5, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.text(float(steps[-1]), 0.487, "50 %: it can only guess", fontsize=10, color=MUTED, ha="right", va="top")
        axes.fill_between(steps, 0.5, success, color=FAKE, alpha=0.14, linewidth=0)
        axes.plot(steps, success, color=FAKE, linewidth=2)
        axes.plot(steps[-1:], success[-1:], "D", color=FAKE, markersize=6)
        axes.set_ylim(min(0.43, float(success.min()) - 0.02), 1.0)
        axes.set_xlim(float(steps[0]), float(steps[-1]) * 1.02 or 1)
        _ticks(axes.yaxis, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], percent)
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("training step", labelpad=2)

    return draw(key, WIDTH, 220, label, paint)


def roc(key: str, false_positive: np.ndarray, true_positive: np.ndarray, label: str) -> str:
    """ROC of the real-or-synthetic classifier; the diagonal is guessing."""

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.13, 0.16, 0.83, 0.8))
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.text(0.62, 0.53, "guessing", fontsize=10, color=MUTED)
        axes.fill_between(false_positive, false_positive, true_positive, color=FAKE, alpha=0.14, linewidth=0)
        axes.plot(false_positive, true_positive, color=FAKE, linewidth=2)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.01)
        for axis in (axes.xaxis, axes.yaxis):
            _ticks(axis, [0, 0.25, 0.5, 0.75, 1], percent)
        axes.set_xlabel("real patients called synthetic", labelpad=2)
        axes.set_ylabel("synthetic patients recognised", labelpad=2)

    return draw(key, WIDTH, 260, label, paint)


def tail(key: str, curves: Mapping[str, np.ndarray], label: str) -> str:
    """ROC of the membership attack, both axes logarithmic, with the band that an attack on strangers would give."""

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.14, 0.16, 0.82, 0.8))
        false_positive, true_positive = curves["fpr"], curves["tpr"]
        smallest = max(1e-4, float(false_positive[false_positive > 0].min(initial=1e-2)))
        grid = np.geomspace(smallest, 1, 60)
        if "band_low" in curves and "band_high" in curves:
            low, high = (np.clip(curves[name], smallest / 10, 1) for name in ("band_low", "band_high"))
            axes.fill_between(np.maximum(false_positive, smallest), low, high, color=REAL, alpha=0.2, linewidth=0)
        axes.plot(grid, grid, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        keep = (false_positive > 0) & (true_positive > 0)
        axes.plot(false_positive[keep], true_positive[keep], color=FAKE, linewidth=2)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(smallest, 1)
        axes.set_ylim(smallest, 1.15)
        decades = [10.0**power for power in range(-4, 1) if 10.0**power >= smallest * 0.999]
        for axis in (axes.xaxis, axes.yaxis):
            _ticks(axis, decades, percent)
            axis.set_minor_locator(NullLocator())
        axes.axvline(0.01, color=LINE, linewidth=1)
        axes.set_xlabel("strangers called members", labelpad=2)
        axes.set_ylabel("members recognised", labelpad=2)

    return draw(key, WIDTH, 280, label, paint)


def enrichment(key: str, rows: Sequence[tuple[int, float, float]], label: str) -> str:
    """Members among the attack's r most suspected patients, beside the number that chance would give."""
    width, step = WIDTH, 36
    height = step * len(rows) + 6
    highest = max((value for row in rows for value in row[1:]), default=1.0) or 1.0

    def paint(figure: Figure) -> None:
        axes = _rows(figure, width, height)
        for i, (r, members, expected) in enumerate(rows):
            y = step * i + 12
            axes.text(4, y, f"top {r:,}", fontsize=11, va="center", color=INK)
            told = f"{number(members)} members, {number(expected)} by chance"
            axes.text(width - 4, y, told, fontsize=10.5, va="center", ha="right", color=MUTED)
            axes.plot([4, width - 4], [y + 14, y + 14], color=LINE, linewidth=5, solid_capstyle="butt")
            axes.plot([4, 4 + (width - 8) * members / highest], [y + 14, y + 14], color=FAKE, linewidth=5, solid_capstyle="butt")
            place = 4 + (width - 8) * expected / highest
            axes.plot([place, place], [y + 7, y + 21], color=REAL, linewidth=2.4)

    return draw(key, width, height, label, paint)


def usefulness(key: str, rows: Sequence[Mapping[str, Any]], label: str) -> str:
    """Trained on real (circle) and on synthetic (diamond, with its interval), both tested on real patients; the floor is a tick."""
    width, step = WIDTH, 44
    height = step * len(rows) + 26
    values = [row.get(name) for row in rows for name in ("trtr", "tstr", "both", "floor")]
    values += [end for row in rows for end in row.get("interval") or ()]
    low, high = _widened([float(value) for value in values if value is not None and _number(value)] or [0.0, 1.0])

    def place(value: Any) -> float | None:
        return 8 + (width - 16) * (float(value) - low) / (high - low) if _number(value) else None

    def paint(figure: Figure) -> None:
        axes = _rows(figure, width, height)
        for i, row in enumerate(rows):
            y = step * i + 14
            axes.text(8, y, short(str(row.get("model", "")), 30), fontsize=11, va="center", color=INK)
            told = " → ".join(alike([row.get("trtr"), row.get("tstr")]))
            axes.text(width - 8, y, told, fontsize=10.5, va="center", ha="right", color=MUTED)
            axes.plot([8, width - 8], [y + 18, y + 18], color=LINE, linewidth=1)
            floor = place(row.get("floor"))
            if floor is not None:
                axes.plot([floor, floor], [y + 11, y + 25], color=MUTED, linewidth=1.6)
            ends = [end for end in map(place, row.get("interval") or ()) if end is not None]
            if len(ends) == 2:
                axes.plot(ends, [y + 18, y + 18], color=FAKE, linewidth=5, alpha=0.35, solid_capstyle="butt")
            _marks(axes, [place(row.get("trtr")), place(row.get("tstr"))], y + 18)
            both = place(row.get("both"))
            if both is not None:
                axes.plot([both], [y + 18], "s", markersize=9.5, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.3)
        for edge, text, side in zip((8, width - 8), alike([low, high]), ("left", "right"), strict=True):
            axes.text(edge, height - 8, text, fontsize=10, color=MUTED, va="center", ha=side)

    return draw(key, width, height, label, paint)


def gauge(key: str, finding: Finding, label: str) -> str:
    """One finding on its scale: the interval, real against real (circle), the floor (tick), and the side that the limit forbids."""
    width, height = 220, 30
    limit = None
    if finding.limit is not None and not finding.limit.over_reference:
        limit = finding.limit.at_most if finding.limit.at_most is not None else finding.limit.at_least
    known = [finding.value, finding.reference, limit, *(finding.interval or ()), *(finding.reference_interval or ())]
    finite = [float(value) for value in known if _number(value)] or [finding.floor or 0.0]
    low, high = min(finite), max(finite)
    room = (high - low) or abs(high) or 1.0
    if finding.floor is not None:  # on the scale where it does not squeeze the rest, otherwise an arrow at the edge
        low, high = min(low, max(finding.floor, low - room)), max(high, min(finding.floor, high + room))
    low, high = low - 0.15 * room, high + 0.15 * room

    def place(value: float) -> float:
        return 4 + (width - 8) * min(1.0, max(0.0, (value - low) / (high - low)))

    def paint(figure: Figure) -> None:
        axes = _rows(figure, width, height)
        axes.plot([4, width - 4], [15, 15], color=LINE, linewidth=1.2)
        if limit is not None and finding.limit is not None:
            edge = place(limit)
            start, end = (edge, width - 4) if finding.limit.at_most is not None else (4, edge)
            axes.fill_between([start, end], 4, 26, color=BAD, alpha=0.13, linewidth=0)
            axes.plot([edge, edge], [4, 26], color=BAD, linewidth=1.4)
        if finding.reference_interval:
            ends = [place(end) for end in finding.reference_interval]
            axes.plot(ends, [15, 15], color=REAL, linewidth=9, alpha=0.28, solid_capstyle="butt")
        if finding.floor is not None and low < finding.floor < high:
            axes.plot([place(finding.floor)] * 2, [8, 22], color=MUTED, linewidth=1.8)
        elif finding.floor is not None:
            tip = -4 if finding.floor < low else 4
            edge = place(finding.floor)
            axes.plot([edge - tip, edge, edge - tip], [10, 15, 20], color=MUTED, linewidth=1.8)
        if finding.interval:
            axes.plot([place(end) for end in finding.interval], [15, 15], color=FAKE, linewidth=4, alpha=0.55, solid_capstyle="butt")
        _marks(axes, [None if value is None else place(value) for value in (finding.reference, finding.value)], 15)

    return draw(key, width, height, label, paint)


def percent(value: Any) -> str:
    """A share as a percentage: `0.0123` is `1.2 %`."""
    return f"{number(round(100 * float(value), 1 if abs(value) >= 0.001 else 3))} %" if _number(value) else "–"


def numbers(values: Any) -> np.ndarray:
    """Plain JSON numbers as floats, None as NaN; empty for anything else."""
    try:
        return np.array([math.nan if value is None else float(value) for value in values or ()])
    except (TypeError, ValueError):
        return np.empty(0)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def bare(figure: Figure, place: Sequence[float]) -> Axes:
    """Axes without ticks or frame at (left, bottom, width, height), as shares of the figure."""
    axes = figure.add_axes(tuple(place))  # type: ignore[arg-type]
    axes.axis("off")
    return axes


def _rows(figure: Figure, width: float, height: float) -> Axes:
    """Axes in pixels from the top left, for pictures that are lists."""
    axes = bare(figure, [0, 0, 1, 1])
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return axes


def _widened(values: Sequence[float]) -> tuple[float, float]:
    """The ends of a scale on which all values stand clear of the edge."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def _marks(axes: Axes, places: Sequence[float | None], y: float) -> None:
    """The circle of the real patients, the diamond of the synthetic ones on top."""
    for place, shape, colour, size in zip(places, "oD", (REAL, FAKE), (8, 6.4), strict=True):
        if place is not None:
            axes.plot([place], [y], shape, color=colour, markersize=size, markeredgecolor=CARD, markeredgewidth=1)


def _ticks(axis: Any, places: Sequence[float], words: Callable[[float], str]) -> None:
    axis.set_major_locator(FixedLocator(list(places)))
    axis.set_major_formatter(FixedFormatter([words(place) for place in places]))
