"""PNG and JPEG files -> pixels, and pixels -> PNG, with the mark of synthetic patients in a text chunk; by Pillow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from proband.cohort import Mark
from proband.errors import InputError
from proband.records import mark as marks
from proband.records.images import LARGEST_PIXELS

SUFFIXES = (".png", ".jpg", ".jpeg")
_WORD = "proband"


def read_photo(path: Path) -> tuple[np.ndarray, Mark | None, tuple[str, ...]]:
    """(channels, height, width) uint8 or uint16, one channel or red, green and blue; its mark if it is synthetic; what is burned in.

    It stands as its camera said. Three channels that are equal everywhere are one, and a transparency that hides nothing is none.
    InputError for a file that cannot be read to its end, pixels that are hidden, and more than 64 million of them.
    """
    from PIL import ImageOps

    where = f"Image '{path}'"
    with _opened(path, where) as file:
        if file.width * file.height > LARGEST_PIXELS:
            raise InputError(f"{where} has {file.width:,} x {file.height:,} pixels; 64 million are read. Cut or shrink it.")
        if file.format == "PNG":
            file.verify()  # every chunk's check sum, which decoding alone does not ask; the file is spent then
    with _opened(path, where) as file:
        file.load()
        return _pixels(ImageOps.exif_transpose(file), where), *_mark(file, where)


def photo_mark(path: Path) -> Mark | None:
    """The mark alone, pixels unread. InputError as from `read_photo`."""
    where = f"Image '{path}'"
    with _opened(path, where) as file:
        return _mark(file, where)[0]


@contextmanager
def _opened(path: Path, where: str) -> Iterator[Any]:
    from PIL import Image

    bombs = Image.DecompressionBombError, Image.DecompressionBombWarning
    try:
        with Image.open(path) as file:
            yield file
    except (OSError, SyntaxError, ValueError, *bombs) as error:
        raise InputError(
            f"{where} cannot be read: {error}. Copy or export it again, or take it out of the folder and the table."
        ) from error


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


def _mark(file: Any, where: str) -> tuple[Mark | None, tuple[str, ...]]:
    told = file.info.get(_WORD)
    if told is None:
        return None, ()
    try:
        content = dict(json.loads(told))
        return marks.from_text(content, where), marks.burned_in(content)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where} says that it is synthetic, but its mark cannot be read: {error!r}. Write it anew.") from error


def write_photo(path: Path, values: np.ndarray, *, mark: Mark | None, burned_in: tuple[str, ...] = ()) -> None:
    """Write (1, height, width) uint8 or uint16, or (3, height, width) uint8, as PNG. The same pixels and mark give the same bytes."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    chunk = PngInfo()
    if mark is not None:
        chunk.add_itxt(_WORD, json.dumps(marks.to_text(mark, burned_in), sort_keys=True, ensure_ascii=False))
    Image.fromarray(values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)).save(path, "PNG", pnginfo=chunk)
