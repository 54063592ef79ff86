"""Pictures of images: contact sheets, nearest neighbours, spectra. Plain data in, plates and tables out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from proband.validate.findings import INSIDE
from proband.validate.pictures import FAKE, MUTED, REAL, WIDTH, draw, numbers, short
from proband.validate.plates import Grid, Plate
from proband.validate.words import number


def sheets(groups: Sequence[Mapping[str, Any]]) -> list[Plate]:
    """For each class real images above, where the report has them, and synthetic ones below."""
    made = []
    for one in groups:
        name = "all images" if one["name"] == "all" else short(str(one["name"]), 30)
        real = one.get(INSIDE, {}).get("real")
        pictures = [_image(real, f"Real images of unseen patients, {name}.", "real")] if real else []
        pictures.append(_image(one["synthetic"], f"Synthetic images, {name}.", "fake"))
        caption = "Unseen real patients above, synthetic ones below, drawn at random." if real else "Synthetic images, drawn at random."
        made.append(Plate(f"Images: {name}", caption, Markup("").join(pictures)))
    return made


def neighbours(detail: Mapping[str, Any]) -> list[Plate]:
    """The synthetic images nearest to training images, and below each its nearest training and unseen image."""
    pictures = [_image(detail["synthetic"], "The synthetic images nearest to training images.", "fake")]
    inside = detail.get(INSIDE, {})
    for side, words in (("train", "The training image nearest to each."), ("unseen", "The unseen image nearest to each.")):
        if side in inside:
            pictures.append(_image(inside[side]["png"], words, "real"))
    caption = "The synthetic images nearest to training images"
    caption += "; below them the nearest training image of each, then the nearest unseen one." if inside else "."
    return [
        Plate("Is somebody copied?", f"{caption} A copy would look like the row below it, and like no row else.", Markup("").join(pictures))
    ]


def _image(text: Any, label: str, side: str) -> Markup:
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", text):
        raise ValueError("no picture")
    return Markup(f'<img class="sheet {side}" src="data:image/png;base64,{text}" alt="{escape(label)}">')


def rings(detail: Mapping[str, Any]) -> list[Plate]:
    """The mean log power of real and synthetic images from coarse to fine, beside the real ones blurred by four."""
    cycles, real, made, blurred = (numbers(detail[key]) for key in ("cycles", "unseen", "synthetic", "blurred"))
    if not len(cycles) or not len(cycles) == len(real) == len(made) == len(blurred):
        raise ValueError("spectra of unequal length")
    farthest = int(np.argmax(np.abs(made - real)))

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.15, 0.19, 0.82, 0.77))
        axes.plot(cycles, blurred, color=MUTED, linewidth=1, linestyle=":")
        axes.plot(cycles, real, color=REAL)
        axes.plot(cycles, made, color=FAKE, linestyle=(0, (4, 2)))
        room = 0.1 * float(np.ptp(real)) or 1.0
        low, high = min(real.min(), made.min()), max(real.max(), made.max())
        axes.set_ylim(low - 2 * room, high + room)  # the blurred ones end somewhere below
        axes.set_xticks([float(cycles[0]), float(cycles[-1])], [number(float(cycles[0])), number(float(cycles[-1]))])
        axes.set_xlabel("cycles a side", labelpad=-4)
        axes.set_ylabel("log10 power", labelpad=2)

    label = f"Power spectrum of the images, real and synthetic. They differ most at {number(float(cycles[farthest]))} cycles a side."
    caption = "From coarse to fine. The lines should lie on each other; dotted: real images blurred by four."
    return [Plate("Power of the images by frequency", caption, Markup(draw("rings", WIDTH, 200, label, paint)))]


def groups(rows: Sequence[Mapping[str, Any]]) -> Grid:
    """Every class and subgroup by itself."""
    if not rows:
        raise ValueError("nothing to show")
    keys = ("synthetic", "unseen", "kid", "low", "high", "precision", "recall", "diversity")
    headings = ("Group", "Synthetic", "Unseen", "KID", "At least", "At most", "Precision", "Recall", "Variety")
    cells = [(str(row["name"]), *(number(row.get(key)) for key in keys)) for row in rows]
    return Grid("Images by class and subgroup (KID: 0 real, 1 blurred by four; ends corrected for the number of groups)", headings, cells)


def readers(rows: Sequence[Mapping[str, Any]]) -> Grid:
    """What a small network tells of unseen patients' images, by what it learned from."""
    if not rows:
        raise ValueError("nothing to show")
    cells = []
    for row in rows:
        low, high = row["interval"]
        told = (number(row.get(key)) for key in ("trtr", "tstr", "both", "floor"))
        cells.append((str(row["pair"]), *told, f"{number(low)} to {number(high)}"))
    headings = ("Told apart (AUC)", "Learned from real", "From synthetic", "From both", "Shuffled labels", "Interval of synthetic")
    return Grid("What a small network learns from the images", headings, cells)


def attacks(told: Mapping[str, Any]) -> Grid:
    """Every attack on the images by itself."""
    if not told:
        raise ValueError("nothing to show")
    return Grid("Every attack on the images by itself", ("Attack", "AUC"), [(str(name), number(value)) for name, value in told.items()])
