"""Pictures of histories: bands of values over time, event rates, what follows what, one patient's timeline. Plain data in, plates out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from proband.validate import pictures
from proband.validate.pictures import FAKE, INK, LINE, MUTED, REAL, WIDTH, draw, number, numbers, short
from proband.validate.plates import Plate


def trajectories(courses: list[Mapping[str, Any]]) -> list[Plate]:
    """For each variable the 10th, 50th and 90th percentile over time, real and synthetic, and a handful of synthetic patients."""
    made = []
    for place, course in enumerate(courses):
        name, time = str(course["name"]), numbers(course["time"])
        sides = {side: np.array([numbers(course[side][level]) for level in ("low", "middle", "high")]) for side in ("real", "synthetic")}
        patients = [(numbers(one["time"]), numbers(one["value"])) for one in course["patients"]]
        if sides["real"].shape != (3, len(time)) or sides["synthetic"].shape != (3, len(time)):
            raise ValueError("bands of another length than their times")
        label = f"{name} over time. Median {number(float(np.nanmedian(sides['real'][1])))} in real patients, "
        label += f"{number(float(np.nanmedian(sides['synthetic'][1])))} in synthetic ones, over {len(time)} spans of time."
        made.append(Plate(short(name, 30), _BANDS, Markup(_band(f"course-{place}", time, sides, patients, label))))
    return made


_BANDS = "Bands hold 80 % of the values of a time, lines their median; thin lines are single synthetic patients, never real ones."


def _band(key: str, time: np.ndarray, sides: Mapping[str, np.ndarray], patients: list[tuple[np.ndarray, np.ndarray]], label: str) -> str:
    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.15, 0.17, 0.82, 0.79))
        for (low, middle, high), colour, line in zip(sides.values(), (REAL, FAKE), ("-", (0, (4, 2))), strict=True):
            axes.fill_between(time, low, high, color=colour, alpha=0.16, linewidth=0)
            axes.plot(time, middle, color=colour, linewidth=2, linestyle=line)
        for when, value in patients:
            axes.plot(when, value, color=FAKE, linewidth=0.6, alpha=0.55, marker=".", markersize=2)
        shown = np.concatenate([side[np.isfinite(side)] for side in sides.values()])
        room = 0.35 * (float(np.ptp(shown)) or 1.0)  # a wild value of one patient must not flatten the bands
        axes.set_ylim(float(shown.min()) - room, float(shown.max()) + room)
        axes.set_xlim(float(time[0]), float(time[-1]))
        axes.locator_params(nbins=4)
        axes.set_xlabel("time", labelpad=2)

    return draw(key, WIDTH, 220, label, paint)


def rates(codes: list[Mapping[str, Any]]) -> Plate:
    """Events per patient, real against synthetic, each code a dot; on the line they are equal."""
    real, made = (np.array([float(row[side]) for row in codes]) for side in ("real", "synthetic"))
    shown = (real > 0) & (made > 0)
    if not shown.any():
        raise ValueError("no code is on both sides")
    off = np.abs(np.log(made[shown] / real[shown]))
    farthest = [row["name"] for row, keep in zip(codes, shown, strict=True) if keep][int(np.argmax(off))]
    label = f"Events per patient of {int(shown.sum())} codes, real against synthetic. Farthest from equal: {farthest}."

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.16, 0.16, 0.8, 0.8))
        both = np.concatenate([real[shown], made[shown]])
        ends = [float(both.min()) / 1.6, float(both.max()) * 1.6]
        axes.plot(ends, ends, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.plot(real[shown], made[shown], "D", color=FAKE, markersize=4.5, alpha=0.75)
        axes.set(xscale="log", yscale="log")
        decades = [10.0**power for power in range(-6, 7) if ends[0] <= 10.0**power <= ends[1]]
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(decades, [number(one) for one in decades])
            axis.set_minor_locator(NullLocator())
        axes.set(xlim=ends, ylim=ends)
        axes.set_xlabel("events per real patient", labelpad=2)
        axes.set_ylabel("events per synthetic patient", labelpad=2)

    caption = f"Each code is a dot; on the dashed line it is as common as in real patients. Farthest: {farthest}."
    return Plate("How often things happen", caption, Markup(draw("event-rates", WIDTH, 280, label, paint)))


def transitions(detail: Mapping[str, Any]) -> list[Plate]:
    """Two maps: the share of moments with the row's code whose next moment has the column's."""
    names = [str(name) for name in detail["names"]]
    sides = [np.array([numbers(row) for row in detail[side]]) for side in ("real", "synthetic")]
    if len(names) < 2 or any(side.shape != (len(names), len(names)) for side in sides):
        raise ValueError("no square matrices")
    made: list[Plate] = []
    for title, values in zip(("What follows what: real", "What follows what: synthetic"), sides, strict=True):
        label = f"{title}. Of the moments with one of {len(names)} codes, the share whose next moment has another."
        picture = pictures.matrix(f"transitions-{len(made)}", names, values, label)
        made.append(Plate(title, "Full colour: always. It should be the same picture twice.", Markup(picture), wide=True))
    return made


def timeline(patient: Mapping[str, Any]) -> Plate:
    """One patient: a row for each variable, a mark for each event, its height the value among that variable's own."""
    names = [str(name) for name in patient["names"]]
    time, value = numbers(patient["time"]), numbers(patient["value"])
    row = np.array([int(at) for at in patient["variable"]])
    if not len(time) or not len(time) == len(value) == len(row):
        raise ValueError("no events, or columns of unequal length")
    used = sorted(set(row.tolist()), key=lambda at: -int((row == at).sum()))[:24]
    height = 17 * len(used) + 34
    label = (
        f"Timeline of one patient: {len(time)} events of {len(set(row.tolist()))} kinds from {number(time.min())} to {number(time.max())}."
    )

    def paint(figure: Figure) -> None:
        axes = pictures.bare(figure, [0, 0, 1, 1])
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(height, 0)
        span = float(np.ptp(time)) or 1.0
        for place, at in enumerate(used):
            y, mine = 17 * place + 10, row == at
            axes.text(96, y, short(names[at], 15), fontsize=9.5, ha="right", va="center", color=INK)
            axes.plot([104, WIDTH - 8], [y, y], color=LINE, linewidth=0.8)
            own = value[mine]
            spread = float(np.nanmax(own) - np.nanmin(own)) if np.isfinite(own).any() else 0.0
            lift = np.nan_to_num((own - np.nanmin(own)) / spread - 0.5) if spread else np.zeros(len(own))
            across = 104 + (WIDTH - 112) * (time[mine] - time.min()) / span
            axes.plot(across, y - 9 * lift, ".", color=FAKE, markersize=3)
            if spread:
                axes.plot(across, y - 9 * lift, color=FAKE, linewidth=0.7, alpha=0.6)
        for place, side in ((time.min(), "left"), (time.max(), "right")):
            x = 104 if side == "left" else WIDTH - 8
            axes.text(x, height - 10, number(float(place)), fontsize=9.5, ha=side, va="center", color=MUTED)

    title = str(patient.get("title") or "One synthetic patient")
    caption = "Every event of one patient; a mark's height is its value among those of its row."
    return Plate(title, caption, Markup(draw("timeline", WIDTH, height, label, paint)))
