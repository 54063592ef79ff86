"""Pictures of signals: strips on the paper that doctors know, and power spectra. Plain data in, plates out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import AutoMinorLocator, MaxNLocator, MultipleLocator, NullLocator

from proband.validate.pictures import BAD, FAKE, INK, MUTED, REAL, WIDTH, draw, number, numbers, short
from proband.validate.plates import Plate

#: A strip on ECG paper is at most so long, in seconds; beyond, or with another unit than mV, the squares are whatever suits.
_PAPER_S = 12.0

_MOST_CHANNELS = 3


def spectra(channels: Sequence[Mapping[str, Any]]) -> list[Plate]:
    """The mean log power of real and synthetic records by frequency, a plate for each channel."""
    made = []
    for place, one in enumerate(channels[:_MOST_CHANNELS]):
        hertz, real, synthetic = (numbers(one[key]) for key in ("hz", "real", "synthetic"))
        if not len(hertz) or not len(hertz) == len(real) == len(synthetic):
            raise ValueError("spectra of unequal length")
        farthest = int(np.argmax(np.abs(synthetic - real)))
        label = f"Power spectrum of {one['channel']}, real and synthetic. They differ most at {number(float(hertz[farthest]))} Hz."
        title = f"Power by frequency: {short(str(one['channel']), 20)}"
        made.append(Plate(title, "The lines should lie on each other.", Markup(_lines(f"spectrum-{place}", hertz, real, synthetic, label))))
    return made


def _lines(key: str, hertz: np.ndarray, real: np.ndarray, synthetic: np.ndarray, label: str) -> str:
    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.15, 0.19, 0.82, 0.77))
        axes.semilogx(hertz, real, color=REAL, marker="o", markersize=3)
        axes.semilogx(hertz, synthetic, color=FAKE, marker="D", markersize=3, linestyle=(0, (4, 2)))
        ends = [float(hertz[0]), float(hertz[-1])]
        axes.set_xticks(ends, [number(end) for end in ends])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("Hz", labelpad=-4)
        axes.set_ylabel("log power", labelpad=2)

    return draw(key, WIDTH, 200, label, paint)


def strips(groups: Sequence[Mapping[str, Any]]) -> list[Plate]:
    """For each group of records the mean of real ones above, and single synthetic ones below, on a grid of small and large squares."""
    return [_strip(place, one) for place, one in enumerate(groups)]


def _strip(place: int, group: Mapping[str, Any]) -> Plate:
    middle, spread = (np.array([numbers(row) for row in group["real"][key]]) for key in ("middle", "spread"))
    made = [np.array([numbers(row) for row in one]) for one in group["synthetic"]]
    channels, units = [str(name) for name in group["channels"]], [str(unit) for unit in group["units"]]
    if middle.ndim != 2 or not middle.size or any(one.shape != middle.shape for one in (spread, *made)):
        raise ValueError("strips of unequal shape")
    seconds = np.arange(middle.shape[1]) / float(group["rate_hz"])
    shown = slice(0, _MOST_CHANNELS)
    paper = set(units[shown]) == {"mV"} and seconds[-1] <= _PAPER_S
    height = 74 * (1 + len(made)) + 26
    everything = np.concatenate([middle[shown] - spread[shown], middle[shown] + spread[shown], *(one[shown] for one in made)])
    low, high = float(everything.min()), float(everything.max())
    large = _large(float(np.ptp(seconds)), 0.2) if paper else None, _large(high - low, 0.5) if paper else None

    def paint(figure: Figure) -> None:
        room = 0.06 * (high - low) or 1.0
        for row in range(1 + len(made)):
            axes = figure.add_axes((0.1, 1 - (row + 1) * 74 / height + 3 / height, 0.88, 68 / height))
            _grid(axes, large)
            for at in range(*shown.indices(len(middle))):
                colour = (REAL if row == 0 else FAKE, INK, MUTED)[at]
                if row == 0:
                    axes.fill_between(seconds, (middle - spread)[at], (middle + spread)[at], color=REAL, alpha=0.16, linewidth=0)
                axes.plot(seconds, middle[at] if row == 0 else made[row - 1][at], color=colour, linewidth=1)
            axes.set(xlim=(seconds[0], seconds[-1] or 1.0), ylim=(low - room, high + room))
            axes.tick_params(labelsize=7.5, length=0, labelbottom=row == len(made))
            axes.tick_params(which="minor", length=0)
        figure.text(0.54, 3 / height, "s", fontsize=8, color=MUTED)

    sides = " and ".join(f"{side:g} {unit}" for side, unit in zip(large, ("s", "mV"), strict=True) if side)
    squares = f"A large square is {sides}. " if sides else ""
    listed = ", ".join(f"{name} ({unit})" for name, unit in zip(channels[shown], units[shown], strict=True))
    caption = f"Above the mean real record and one standard deviation around it; below single synthetic ones. {squares}{listed}."
    label = f"Strips of {group['name']}: the mean of real records above, {len(made)} synthetic ones below; {listed}."
    title = "Strips" if group["name"] == "all" else f"Strips: {short(str(group['name']), 24)}"
    return Plate(title, caption, Markup(draw(f"strip-{place}", WIDTH, height, label, paint)))


def _large(span: float, side: float) -> float | None:
    """How long a large square is: `side` as on ECG paper, five times that where there would be too many, None where still."""
    return side if span / side <= 8 else 5 * side if span / side <= 60 else None


def _grid(axes: Axes, large: tuple[float | None, float | None]) -> None:
    """1 mm and 5 mm of ECG paper at 25 mm a second and 10 mm a millivolt; else about as many squares."""
    for axis, side in zip((axes.xaxis, axes.yaxis), large, strict=True):
        axis.set_major_locator(MultipleLocator(side) if side else MaxNLocator(4))
        axis.set_minor_locator(MultipleLocator(side / 5) if side else AutoMinorLocator(5))
        axis.grid(which="major", color=BAD, alpha=0.4, linewidth=0.6)
        axis.grid(which="minor", color=BAD, alpha=0.18, linewidth=0.4)
    axes.set_axisbelow(True)
