"""A patient's timeline as one picture: panels of numbers, ticks of codes, bars of stays, below one another on one axis of time."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from proband.validate.pictures import bare, short
from proband.validate.words import number, printable

#: The light colours of `report.css`: this picture stands alone, outside the report's page.
COLOURS = {"ink": "#1d242c", "muted": "#5a6571", "line": "#e2dfd8", "real": "#1c6e99", "fake": "#c8601a", "card": "#ffffff"}
_INK, _MUTED, _LINE, _REAL, _FAKE, _CARD = COLOURS.values()
_BAND = "#8b95a0"

_WIDTH, _LEFT, _RIGHT, _EDGE = 960.0, 186.0, 800.0, 16.0  # pixels: the picture; where the time runs; what is left free
_PANEL, _LANE, _BREAK = 40.0, 20.0, 16.0  # pixels: height of a panel of numbers and of a lane of ticks; width of a cut in the axis
_LETTER = 5.6  # pixels of a letter of 9 points, about
_MOST_DOTS = 120  # beyond them a line alone, which is one path
_PAUSE, _MOST_CUTS = 50, 14  # times the usual gap: there the axis is cut
_STYLE: dict[Any, Any] = {"text.parse_math": False, "path.simplify": False, "font.size": 10}


@dataclass(frozen=True)
class Lane:
    """One row of the timeline: a number over time (`value`), what happened when (`text`), or from when to when (`end`).

    time   (events,) in the units of its clock, in order; end: (events,) NaN where it is not known
    value  (events,) NaN where there is none; text: (events,) "" where there is none
    band   the 10th, 50th and 90th percentile of all patients' values; None where too few have one
    """

    name: str
    time: np.ndarray
    value: np.ndarray | None = None
    text: tuple[str, ...] = ()
    end: np.ndarray | None = None
    band: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Section:
    """One table of the patient: lanes on a clock, lines of words for what has no time, and a note on what is left out.

    clock  sections of one clock share one axis; days: whether its units are days from `since`, the first moment, in words
    """

    title: str
    clock: str = ""
    lanes: Sequence[Lane] = ()
    lines: Sequence[tuple[str, str]] = ()
    note: str = ""


@dataclass(frozen=True)
class Clock:
    """What the axis of a clock is called, and how a place on it is told in words (None: numbers say enough)."""

    name: str
    told: Callable[[float], str] | None = None


class Axis:
    """Time across the picture, in pieces: where nothing happens for long, the axis is cut.

    >>> axis = Axis(np.array([0.0, 1.0, 2.0, 900.0, 901.0]))
    >>> axis.pieces
    [(0.0, 2.0), (900.0, 901.0)]
    """

    def __init__(self, times: np.ndarray) -> None:
        times = np.unique(times[np.isfinite(times)])
        gaps = np.diff(times)
        # A night without a measurement is no pause, and regular visits are none: far longer than the usual gap, and much of the whole.
        cuts = np.flatnonzero((gaps > _PAUSE * np.median(gaps)) & (gaps > np.ptp(times) / 30)) if len(gaps) else np.empty(0, int)
        cuts = np.sort(cuts[np.argsort(-gaps[cuts], kind="stable")[:_MOST_CUTS]])
        left = float(np.ptp(times) - gaps[cuts].sum())
        parts = np.split(times, cuts + 1)
        self.pieces = [(float(part[0]), float(part[-1])) for part in parts]
        width = _RIGHT - _LEFT - _BREAK * (len(parts) - 1)
        fair = 0.35 / len(parts)  # of the width, for every piece alike; the rest by how long it lasts
        shares = [fair + 0.65 * (end - start) / left if left else 1 / len(parts) for start, end in self.pieces]
        widths = np.array(shares) / sum(shares) * width
        begins = _LEFT + np.concatenate([[0.0], np.cumsum(widths[:-1] + _BREAK)])
        # A piece of one moment has its mark in the middle.
        self.ends = [
            (x, x + w) if end > start else (x + w / 2, x + w / 2) for x, w, (start, end) in zip(begins, widths, self.pieces, strict=True)
        ]
        self.outer = [(x, x + w) for x, w in zip(begins, widths, strict=True)]

    def place(self, times: np.ndarray) -> np.ndarray:
        """Pixels from the left."""
        found = np.full(len(times), np.nan)
        for (start, end), (left, right) in zip(self.pieces, self.ends, strict=True):
            here = (times >= start) & (times <= end)
            found[here] = left + (times[here] - start) / ((end - start) or 1.0) * (right - left)
        return found

    def ticks(self) -> list[tuple[float, float]]:
        """(time, pixel) of round numbers, some 60 pixels apart."""
        found = []
        for (start, end), (left, right) in zip(self.pieces, self.ends, strict=True):
            if end == start:
                found.append((start, left))
                continue
            step = _round_step((end - start) / max((right - left) / 64, 1))
            marks = np.arange(math.ceil(start / step - 1e-9), math.floor(end / step + 1e-9) + 1) * step
            marks = marks if len(marks) else np.array([start])
            found += list(zip(marks.tolist(), self.place(np.clip(marks, start, end)).tolist(), strict=True))
        return found


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, ... times a power of ten that is at least so large."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * one for one in (1, 2, 5, 10) if power * one >= least * 0.999)


@dataclass(frozen=True)
class _Block:
    """A part of the picture: how high it is, and how it is painted from a height on."""

    height: float
    paint: Callable[[Axes, float], None]


def timeline(
    title: str, kind: str, said: str, own: Sequence[tuple[str, str]], sections: Sequence[Section], clocks: dict[str, Clock], *, real: bool
) -> Figure:
    """The whole picture. kind: the word that says whose record it is; said: the sentence beside it; own: the patient's own row."""
    colour = _REAL if real else _FAKE
    blocks = [_head(title, kind, said, colour), *_own(own)]
    for clock in dict.fromkeys(section.clock for section in sections):
        mine = [section for section in sections if section.clock == clock]
        lanes = [lane for section in mine for lane in section.lanes]
        axis = (
            Axis(np.concatenate([one for lane in lanes for one in (lane.time, *(() if lane.end is None else (lane.end,)))]))
            if lanes
            else None
        )
        if axis is not None:
            blocks.append(_scale(axis, clocks[clock], above=True))
        for section in mine:
            blocks.append(_heading(section))
            blocks += [_lane(lane, axis, colour) for lane in section.lanes if axis is not None]
            blocks += [_line(name, text) for name, text in section.lines]
        if axis is not None:
            blocks.append(_scale(axis, clocks[clock], above=False))
    blocks.append(_foot(kind, colour, any(lane.band for section in sections for lane in section.lanes)))
    height = sum(block.height for block in blocks)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH / 72, height / 72), dpi=144, facecolor=_CARD)
        FigureCanvasAgg(figure)
        axes = bare(figure, [0, 0, 1, 1])
        axes.set_xlim(0, _WIDTH)
        axes.set_ylim(height, 0)
        for y in np.arange(380.0, height, 620.0):  # so that a part that is cut out says it too
            _say(axes, _WIDTH / 2, y, kind, fontsize=74, color=colour, alpha=0.05, ha="center", rotation=24, weight="bold")
        y = 0.0
        for block in blocks:
            block.paint(axes, y)
            y += block.height
    return figure


def _head(title: str, kind: str, said: str, colour: str) -> _Block:
    lines = textwrap.wrap(said, 120)

    def paint(axes: Axes, y: float) -> None:
        wide = 11.0 * len(kind) + 24
        _say(axes, _EDGE, y + 30, short(title, 50), fontsize=19, weight="bold", color=_INK)
        axes.add_patch(Rectangle((_WIDTH - _EDGE - wide, y + 14), wide, 30, facecolor=colour, linewidth=0))
        _say(axes, _WIDTH - _EDGE - wide / 2, y + 29.5, kind, fontsize=14, weight="bold", color=_CARD, ha="center")
        for at, line in enumerate(lines):
            _say(axes, _EDGE, y + 60 + 15 * at, line, fontsize=10.5, color=_MUTED)

    return _Block(58 + 15 * len(lines) + 4, paint)


def _own(own: Sequence[tuple[str, str]]) -> list[_Block]:
    """The patient's own row: name above value, six beside each other."""
    across, wide = 6, (_WIDTH - 2 * _EDGE) / 6

    def row(cells: Sequence[tuple[str, str]]) -> _Block:
        def paint(axes: Axes, y: float) -> None:
            axes.plot([_EDGE, _WIDTH - _EDGE], [y, y], color=_LINE, linewidth=1)
            for at, (name, value) in enumerate(cells):
                _say(axes, _EDGE + wide * at, y + 12, short(name, 24), fontsize=9, color=_MUTED)
                _say(axes, _EDGE + wide * at, y + 27, short(value, 21), fontsize=11, color=_INK)

        return _Block(38, paint)

    return [row(own[at : at + across]) for at in range(0, len(own), across)]


def _heading(section: Section) -> _Block:
    def paint(axes: Axes, y: float) -> None:
        _say(axes, _EDGE, y + 18, short(section.title, 90), fontsize=11.5, weight="bold", color=_INK)
        _say(axes, _WIDTH - _EDGE, y + 18, short(section.note, 80), fontsize=9, color=_MUTED, ha="right")

    return _Block(32, paint)


def _scale(axis: Axis, clock: Clock, *, above: bool) -> _Block:
    def paint(axes: Axes, y: float) -> None:
        line, side = (y + 38, -1) if above else (y + 4, 1)
        for left, right in axis.outer:
            axes.plot([left, right], [line, line], color=_MUTED, linewidth=1)
        for _, right in axis.outer[:-1]:  # a cut: two strokes
            for x in (right + 5, right + 11):
                axes.plot([x - 3, x + 3], [line + 5, line - 5], color=_MUTED, linewidth=1)
        for time, x in axis.ticks():
            axes.plot([x, x], [line, line + 4 * side], color=_MUTED, linewidth=1)
            _say(axes, x, line + 11 * side, number(time), fontsize=9, color=_MUTED, ha="center")
        _say(axes, _LEFT - 10, line + 11 * side, short(clock.name, 26), fontsize=9, color=_MUTED, ha="right")
        if clock.told is not None and above:
            for (start, _), (left, right) in zip(axis.pieces, axis.outer, strict=True):
                room = int((right - left + _BREAK) / _LETTER)
                told = clock.told(start)
                _say(axes, left, line - 25, next((told[:n] for n in (16, 10, 7, 4) if n <= room), ""), fontsize=9, color=_INK)

    return _Block(46 if above else 26, paint)


def _lane(lane: Lane, axis: Axis | None, colour: str) -> _Block:
    assert axis is not None
    height = _PANEL if lane.value is not None else _LANE

    def paint(axes: Axes, y: float) -> None:
        _upright(axes, np.array([x for _, x in axis.ticks()]), y, y + height, color=_LINE, linewidth=0.6, alpha=0.7)
        _say(axes, _LEFT - 10, y + height / 2, short(lane.name, 28), fontsize=10, color=_INK, ha="right")
        if lane.end is not None:
            _spans(axes, lane, axis, y, colour)
        elif lane.value is not None:
            _numbers(axes, lane, axis, y, colour)
        else:
            _ticks(axes, lane, axis, y, colour)

    return _Block(height, paint)


def _numbers(axes: Axes, lane: Lane, axis: Axis, y: float, colour: str) -> None:
    assert lane.value is not None
    known = np.isfinite(lane.value)
    x, value = axis.place(lane.time[known]), lane.value[known]
    ends = [*(lane.band[::2] if lane.band else ()), *((value.min(), value.max()) if len(value) else ())]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    room = (high - low) or abs(high) or 1.0

    def across(values: Any) -> Any:
        return y + _PANEL - 6 - (_PANEL - 12) * (np.asarray(values, float) - low + 0.04 * room) / (1.08 * room)

    if lane.band:
        for left, right in axis.outer:
            axes.fill_between([left, right], across(lane.band[0]), across(lane.band[2]), color=_BAND, alpha=0.2, linewidth=0)
            axes.plot([left, right], [across(lane.band[1])] * 2, color=_BAND, linewidth=0.8, alpha=0.7)
    for start, end in axis.pieces:  # no line crosses a cut
        here = (lane.time[known] >= start) & (lane.time[known] <= end)
        axes.plot(x[here], across(value[here]), color=colour, linewidth=1.2)
    if len(value) <= _MOST_DOTS:
        axes.plot(x, across(value), "o", color=colour, markersize=2.6)
    told = (
        "" if not len(value) else number(float(value[0])) if value.min() == value.max() else _span(float(value.min()), float(value.max()))
    )
    _say(axes, _RIGHT + 12, y + _PANEL / 2 - (6.5 if lane.band else 0), told, fontsize=10, color=colour)
    if lane.band:
        _say(axes, _RIGHT + 12, y + _PANEL / 2 + 7.5, f"all: {_span(lane.band[0], lane.band[2])}", fontsize=9, color=_MUTED)


def _ticks(axes: Axes, lane: Lane, axis: Axis, y: float, colour: str) -> None:
    x = axis.place(lane.time)
    _upright(axes, x, y + 4, y + _LANE - 4, color=colour, linewidth=1.1, alpha=0.8)
    free, said = -math.inf, ""
    for at, (place, word) in enumerate(zip(x, lane.text, strict=True)):  # a word where it is new, and where it has room
        room = (float(x[at + 1]) if at + 1 < len(x) and lane.text[at + 1] != word else _RIGHT) - place - 8
        if word in ("", said) or place < free or room < _LETTER * 3:
            continue
        shown = short(word, max(int(room / _LETTER), 3))
        behind = {"facecolor": _CARD, "alpha": 0.75, "linewidth": 0, "pad": 0.5}
        _say(axes, place + 4, y + _LANE / 2, shown, fontsize=9, color=_INK, bbox=behind)
        free, said = place + 4 + _LETTER * len(shown), word
    kinds = len(set(lane.text) - {""})
    told = f"{len(x):,}" + (f", {kinds:,} kinds" if kinds > 1 else "")
    _say(axes, _RIGHT + 12, y + _LANE / 2, told, fontsize=9, color=_MUTED)


def _upright(axes: Axes, x: np.ndarray, top: float, bottom: float, **style: Any) -> None:
    """Strokes at every x, as one path however many they are."""
    y = np.tile([top, bottom, np.nan], len(x))
    axes.plot(np.repeat(x, 3), y, **style)


def _spans(axes: Axes, lane: Lane, axis: Axis, y: float, colour: str) -> None:
    assert lane.end is not None
    for start, end in zip(lane.time, lane.end, strict=True):
        known = np.isfinite(end)
        left, right = axis.place(np.array([start, end if known else start]))
        left, right = min(left, right), max(left, right, min(left, right) + 3)
        axes.add_patch(Rectangle((left, y + 4), right - left, _LANE - 8, facecolor=colour, alpha=0.75 if known else 0.35, linewidth=0))
    _say(axes, _RIGHT + 12, y + _LANE / 2, f"{len(lane.time):,}", fontsize=9, color=_MUTED)


def _line(name: str, text: str) -> _Block:
    lines = textwrap.wrap(text, 118, max_lines=3, placeholder=" …") or [""]

    def paint(axes: Axes, y: float) -> None:
        _say(axes, _LEFT - 10, y + 9, short(name, 28), fontsize=10, color=_INK, ha="right")
        for at, line in enumerate(lines):
            _say(axes, _LEFT, y + 9 + 14 * at, line, fontsize=9.5, color=_MUTED)

    return _Block(6 + 14 * len(lines), paint)


def _foot(kind: str, colour: str, banded: bool) -> _Block:
    legend = "Grey: the middle 80 % of all patients' values, and their median. Right: the patient's lowest and highest." if banded else ""

    def paint(axes: Axes, y: float) -> None:
        _say(axes, _EDGE, y + 22, legend, fontsize=9.5, color=_MUTED)
        _say(axes, _WIDTH - _EDGE, y + 22, kind, fontsize=10.5, weight="bold", color=colour, ha="right")

    return _Block(40, paint)


def _say(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    axes.text(x, y, printable(text), va="center", **style)


def _span(low: float, high: float) -> str:
    return number(low) if low == high else f"{number(low)} – {number(high)}"
