"""PNG and JPEG files <-> pixels, with the mark of synthetic patients in a text chunk or comment; read by Pillow."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from proband.cohort import Mark
from proband.errors import InputError
from proband.records import mark as marks

SUFFIXES = (".png", ".jpg", ".jpeg")
LARGEST_PIXELS = 64_000_000  # of one file: more is no picture, but an attack on memory
_WORD = "proband"


def read_photo(path: Path) -> tuple[np.ndarray, Mark | None]:
    """(channels, height, width) uint8 or uint16, one channel or red, green and blue; and its mark if it is synthetic.

    Three channels that are equal everywhere are one, and a transparency that hides nothing is none. InputError for a file that cannot be
    read to its end, pixels that are hidden, and more than 64 million of them.
    """
    from PIL import Image, UnidentifiedImageError

    where = f"Image '{path}'"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # asked below, with our own words
            with Image.open(path) as file:
                if file.width * file.height > LARGEST_PIXELS:
                    raise InputError(f"{where} has {file.width:,} x {file.height:,} pixels; 64 million are read. Cut or shrink it.")
                file.load()
                mark = _mark(file, where)
                values = _pixels(file, where)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{where} cannot be read: {error}. Copy or export it again, or take it out of the folder and the table."
        ) from error
    return values, mark


def _pixels(file: Any, where: str) -> np.ndarray:
    if file.mode in ("1", "P", "CMYK", "YCbCr", "LAB", "HSV"):
        hidden = file.mode == "P" and "transparency" in file.info
        file = file.convert("L" if file.mode == "1" else "RGBA" if hidden else "RGB")
    values = np.asarray(file)
    if file.mode in ("LA", "RGBA", "La", "RGBa"):
        if (values[..., -1] != 255).any():
            raise InputError(f"{where} has pixels that are hidden (transparent). Export it without transparency.")
        values = values[..., :-1]
    if values.ndim == 2:
        values = values[..., None]
    if values.shape[-1] == 3 and (values == values[..., :1]).all():
        values = values[..., :1]
    if values.dtype == np.int32 and values.min() >= 0 and values.max() <= np.iinfo(np.uint16).max:  # how Pillow reads some of 16 bits
        values = values.astype(np.uint16)
    if values.dtype.name not in ("uint8", "uint16") or values.shape[-1] not in (1, 3):
        raise InputError(f"{where} has pixels of kind {file.mode!r}; 8 and 16 bits, grey or colour, are read. Convert it.")
    return np.ascontiguousarray(np.moveaxis(values.astype(values.dtype.newbyteorder("="), copy=False), -1, 0))


def _mark(file: Any, where: str) -> Mark | None:
    told = file.info.get(_WORD)
    if told is None:
        comment = file.info.get("comment", b"")
        text = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)
        told = text.removeprefix(f"{_WORD}: ") if text.startswith(f"{_WORD}: ") else None
    if told is None:
        return None
    try:
        return marks.from_text(dict(json.loads(told)), where)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where} says that it is synthetic, but its mark cannot be read: {error!r}. Write it anew.") from error


def write_photo(path: Path, values: np.ndarray, *, mark: Mark | None) -> None:
    """Write (channels, height, width) uint8 or uint16 as PNG, or of 8 bits as JPEG (quality 95), by the file's suffix.

    The same pixels and mark give the same bytes. InputError for 16 bits in JPEG or in colour, which these files cannot hold.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    pixels = np.moveaxis(values, 0, -1)
    pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    lossy = path.suffix.lower() != ".png"
    if pixels.dtype != np.uint8 and (lossy or pixels.ndim == 3):
        raise InputError(
            f"Image '{path}': {pixels.dtype} pixels do not fit into it. Write grey PNG, DICOM or NIfTI, or `shown()` of 8 bits."
        )
    told = None if mark is None else json.dumps(marks.to_text(mark), sort_keys=True, ensure_ascii=False)
    image = Image.fromarray(pixels)
    if lossy:
        image.save(path, "JPEG", quality=95, subsampling=0, comment=b"" if told is None else f"{_WORD}: {told}".encode())
        return
    chunk = PngInfo()
    if told is not None:
        chunk.add_itxt(_WORD, told)
    image.save(path, "PNG", pnginfo=chunk)
