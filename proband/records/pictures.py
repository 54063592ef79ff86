"""A sheet of made images for eyes: one PNG, labelled as synthetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from proband.errors import InputError
from proband.records.images import COLOUR, Images

LEAST = 64  # pixels of a side at which an image is shown: smaller ones are enlarged, pixel by pixel


def save_grid(images: Images, path: str | Path, *, across: int = 12) -> None:
    """Write images side by side, `across` to a row, as one PNG whose text says that they are synthetic. Written under another name first,
    so whoever watches never sees half a picture. InputError where the file cannot be written."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    shown = images.shown()
    shown = shown if images.channels == COLOUR else shown[:, :1]
    count, channels, height, width = shown.shape
    rows = -(-count // across)
    sheet = np.zeros((rows * across, channels, height, width), np.uint8)
    sheet[:count] = shown
    sheet = sheet.reshape(rows, across, channels, height, width).transpose(2, 0, 3, 1, 4).reshape(channels, rows * height, across * width)
    larger = -(-LEAST // max(height, width))
    sheet = sheet.repeat(larger, axis=1).repeat(larger, axis=2)
    text, path = PngInfo(), Path(path)
    text.add_itxt("Description", "SYNTHETIC - NOT FOR DIAGNOSIS")
    scratch = path.with_name(f"{path.name}.part")
    try:
        Image.fromarray(sheet[0] if channels == 1 else np.moveaxis(sheet, 0, -1)).save(scratch, "PNG", pnginfo=text)
        scratch.replace(path)
    except OSError as error:
        raise InputError(
            f"The picture '{path}' cannot be written: {error.strerror}. Name a file in a folder that you may write to."
        ) from error
