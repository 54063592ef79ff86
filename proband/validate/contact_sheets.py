"""Contact sheets: real and synthetic images side by side for eyes, as PNG inside the page.

Real patients' images stand in a finding's detail under `inside`, and nowhere else: `Report.outside` takes them out, and a release leaves
with what is left.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from proband.validate.findings import INSIDE
from proband.validate.gallery import Gallery

_ACROSS, _DOWN = 6, 3  # images of a sheet
_CLASSES = 6  # that are shown
_GAP = 2  # pixels between images
_LABEL = b"tEXtproband\x00synthetic images, not for diagnosis"


def of_groups(held: Gallery, groups: Sequence[str], generator: np.random.Generator) -> list[dict[str, Any]]:
    """For each group a sheet of synthetic images, and `inside` one of unseen real ones; all drawn at random."""
    made = []
    for name in groups[:_CLASSES]:
        chosen = {
            side: generator.permutation(np.flatnonzero(held.groups[name][side]))[: _ACROSS * _DOWN] for side in ("unseen", "synthetic")
        }
        sheets = {side: _sheet(held.values[side][rows]) for side, rows in chosen.items()}
        made.append(
            {"name": name, "synthetic": png(sheets["synthetic"], synthetic=True), INSIDE: {"real": png(sheets["unseen"], synthetic=False)}}
        )
    return made


def of_neighbours(
    held: Gallery, rows: np.ndarray, to_train: np.ndarray, to_unseen: np.ndarray, banks: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The synthetic images `rows`, and `inside` the training image and the unseen one nearest to each, with their distances."""
    inside: dict[str, Any] = {}
    for side, apart in (("train", to_train), ("unseen", to_unseen)):
        near = apart[np.ix_(rows, banks[side])] if side == "unseen" else apart[rows]
        at = near.argmin(axis=1)
        shown = held.values[side][banks[side][at] if side == "unseen" else at]
        inside[side] = {"png": png(_sheet(shown, across=len(rows)), synthetic=False), "distance": np.round(near.min(axis=1), 4).tolist()}
    return {"synthetic": png(_sheet(held.values["synthetic"][rows], across=len(rows)), synthetic=True), INSIDE: inside}


def _sheet(images: np.ndarray, across: int = _ACROSS) -> np.ndarray:
    """(height, width, 1 or 3) uint8: images (n, channels, height, width) in [-1, 1] in rows; of channels that are no colours the first."""
    n, channels, height, width = images.shape
    images = images if channels in (1, 3) else images[:, :1]
    down = max(1, -(-n // across))
    sheet = np.full((down * (height + _GAP) - _GAP, across * (width + _GAP) - _GAP, images.shape[1]), 255, np.uint8)
    for at, image in enumerate(np.rint((images + 1) * 127.5).astype(np.uint8)):
        top, left = at // across * (height + _GAP), at % across * (width + _GAP)
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return sheet


def png(sheet: np.ndarray, *, synthetic: bool) -> str:
    """Base64 of a PNG of (height, width, 1 or 3) uint8; synthetic images carry their label in it. The same sheet gives the same text."""
    height, width, channels = sheet.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), sheet.reshape(height, -1)], axis=1)  # 0: a row as it is
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = [b"IHDR" + head, *([_LABEL] if synthetic else []), b"IDAT" + zlib.compress(rows.tobytes(), 9), b"IEND"]
    told = b"".join(struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in chunks)
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + told).decode()
