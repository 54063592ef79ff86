"""Shortcuts: what gives an image's class away beside what the class is about. Its size, its borders, what is burned in, its source.

A network takes what is easiest (Geirhos et al., *Nature Machine Intelligence*, 2020): detectors of COVID-19 in chest X-rays read borders
and letters of the hospital (DeGrave et al., same journal, 2021). A synthesizer learns them too. So they are looked for before training.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.ndimage import white_tophat

from proband import seeds
from proband.cohort import Cohort
from proband.records.images import Images
from proband.stats.discrimination import told_by

SIDE = 128  # pixels that a folder is looked at with: letters are still there, and a thousand images take seconds
LEAST = 0.65  # the share of pairs that a shortcut tells apart; chance is .5
_SURE = 4.0  # standard deviations that it must be above chance, too: of many looks, one in thousands
_FEWEST = 20  # patients of a class, and of all others: of fewer nothing is said
_LEVELS, _BINS = 20, 12  # of a column that is looked at as classes; of a number
_FLAT = 0.02  # of the range: a row of pixels whose values differ less is border
_DETAIL, _CONTRAST = 5, 0.35  # a detail is narrower than so many pixels, and so much of the range brighter than what is around it
_SOURCES = re.compile(
    r"site|source|hospital|cent(er|re)|scanner|manufacturer|device|vendor|institution|data_?set|view|modality|station", re.I
)
_EDGES = {"top": "at the top", "bottom": "at the bottom", "left": "at the left", "right": "at the right"}


@dataclass(frozen=True)
class Shortcut:
    """One thing that tells a level of a column from all others: by what, in which share of pairs (.5 is chance), and in words."""

    kind: str  # size, border, text, source
    column: str
    level: str
    auc: float
    text: str


def shortcuts(cohort: Cohort, *, seed: int = 0) -> list[Shortcut]:
    """What gives the classes of a cohort's images away, strongest first: every level of its category columns against all others.

    One image of each patient is looked at, and half of them say which values are the class's before the other half is judged. Levels of
    fewer than 20 patients are left out. A finding is a doubt, not an error: age may well show in the size of a chest.
    """
    images = next((held for held in cohort.media.values() if isinstance(held, Images)), None)
    if images is None:
        return []
    rng = seeds.generator(seed, "shortcuts")
    rows = rng.permutation(len(images))
    key = cohort.schema.table.key
    if key is not None:
        rows = rows[
            pl.DataFrame({"key": cohort.frame[key][rows.tolist()]}).with_row_index().unique("key", keep="first")["index"].sort().to_numpy()
        ]
    told = list(_told(cohort, images, rows))
    found: list[Shortcut] = []
    for column in cohort.schema.table.columns:
        if column.kind not in ("category", "boolean", "ordinal") or column.name == key:
            continue
        values = cohort.frame[column.name][rows.tolist()].cast(pl.String)
        levels = values.drop_nulls().unique().sort().to_list()
        if not 2 <= len(levels) <= _LEVELS:
            continue
        for level in levels:
            inside = (values == level).fill_null(False).to_numpy()
            best: dict[str, Shortcut] = {}
            for kind, name, codes, text in told:
                auc = _auc(codes, inside, (values.is_not_null()).to_numpy()) if name != column.name else 0.5
                if auc >= LEAST and (kind not in best or auc > best[kind].auc):
                    best[kind] = Shortcut(kind, column.name, level, round(auc, 3), text)
            found += best.values()
    return sorted(found, key=lambda one: (-one.auc, one.column, one.level, one.kind))


def words(found: list[Shortcut]) -> list[str]:
    """A sentence for each."""
    return [f"{one.column} {one.level!r}: {one.text} tells it from the others in {one.auc:.0%} of pairs (chance: 50 %)" for one in found]


def _told(cohort: Cohort, images: Images, rows: np.ndarray) -> Iterator[tuple[str, str, np.ndarray, str]]:
    """What may give a class away: kind, column if it is one, (rows,) codes, words."""
    if images.native is not None and len(np.unique(images.native, axis=0)) > 1:
        height, width = images.native[rows].T.astype(float)
        yield "size", "", _codes(height * width), "the size of its files in pixels"
        yield "size", "", _codes(height / width), "the shape of its files (height to width)"
    values = (images.values[rows].mean(axis=1) - images.low) / (images.high - images.low)  # (rows, height, width): black 0, white 1
    for edge, widths in _borders(values).items():
        yield "border", "", _codes(widths), f"the width of an empty border {_EDGES[edge]}"
    bright = np.stack([white_tophat(image, _DETAIL) > _CONTRAST for image in values])
    yield "text", "", _codes(bright.mean(axis=(1, 2))), "small bright details, such as letters or marks that were burned in,"
    height, width = values.shape[1:]
    for at, corner in enumerate(("upper left", "upper right", "lower left", "lower right")):
        half = bright[:, (height // 2) * (at // 2) :, (width // 2) * (at % 2) :][:, : height // 2, : width // 2]
        yield (
            "text",
            "",
            _codes(half.mean(axis=(1, 2))),
            f"small bright details, such as letters or marks that were burned in, in the {corner}",
        )
    for column in cohort.schema.table.columns:
        if column.kind in ("category", "boolean") and _SOURCES.search(column.name) and column.name != cohort.schema.table.key:
            codes = cohort.frame[column.name][rows.tolist()].cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64)
            if 2 <= len(np.unique(codes)) <= _LEVELS:
                yield "source", column.name, codes, f"column {column.name!r}"


def _borders(values: np.ndarray) -> dict[str, np.ndarray]:
    """(images,) how much of each side is rows, or columns, of nearly one value, counted from the edge; of a flat image all of it."""
    found = {}
    for axis, (first, last) in ((2, ("top", "bottom")), (1, ("left", "right"))):
        flat = np.ptp(values, axis=axis) < _FLAT  # (images, side)
        for edge, seen in ((first, flat), (last, flat[:, ::-1])):
            found[edge] = np.where(seen.all(axis=1), seen.shape[1], np.argmin(seen, axis=1)) / seen.shape[1]
    return found


def _codes(values: np.ndarray) -> np.ndarray:
    """Numbers as a few codes: bins of about equal content, a value that many share in one of its own."""
    distinct, codes = np.unique(np.round(values, 6), return_inverse=True)
    if len(distinct) <= _BINS:
        return codes
    edges = np.unique(np.quantile(values, np.arange(1, _BINS) / _BINS))
    return np.searchsorted(edges, values, side="right") + len(edges) * 2 * np.isin(values, edges)


def _auc(codes: np.ndarray, inside: np.ndarray, known: np.ndarray) -> float:
    """The AUC of a judge that sees the codes alone, where it is sure enough; else .5."""
    ones, others = codes[inside], codes[~inside & known]
    if min(len(ones), len(others)) < _FEWEST:
        return 0.5
    deviation = np.sqrt((len(ones) + len(others) + 1) / (12 * len(ones) * len(others)))
    auc = told_by(np.concatenate([ones, others]), len(ones))
    return auc if auc > 0.5 + _SURE * deviation else 0.5
