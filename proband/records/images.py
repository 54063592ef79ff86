"""Images: pictures of one size, one for each row of the table; any size from any other by one area filter."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import numpy as np

from proband.errors import InputError

DTYPES = ("uint8", "uint16", "int16", "float32")
PERCENTILES = (0.1, 99.9)  # of all pixels: from black to white, where neither header nor unit tells
LARGEST_PIXELS = 64_000_000  # of one file: more is no picture, but an attack on memory
GREY, COLOUR = ("grey",), ("red", "green", "blue")


@dataclass(frozen=True)
class Images:
    """Pictures of equal size: `values` (images, channels, height, width) in physical units; no pixel is missing.

    values       uint8, uint16, int16 or float32, as the files had them
    low, high    what counts as black and as white: 0 and 255 of a file of 8 bits, -1000 and 2000 HU of a CT. Beyond them nothing is learned
    channels     their names, such as ("grey",), ("red", "green", "blue") or ("T1", "T2")
    unit         of the values, such as "HU"; "" for grey levels
    spacing_mm   height and width of a pixel, where they are known and the same in all
    native       (images, 2) height and width of each file before it was brought to one size, where that was done
    burned_in    what in the pixels says that they are synthetic: "stamp", "watermark:<key id>"; see `proband.records.burned`

    InputError when shapes do not fit together, a value is missing or infinite, or the range is none.
    """

    values: np.ndarray
    low: float = 0.0
    high: float = 255.0
    channels: tuple[str, ...] = GREY
    unit: str = ""
    spacing_mm: tuple[float, float] | None = None
    native: np.ndarray | None = None
    burned_in: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        object.__setattr__(self, "values", np.ascontiguousarray(values, np.float32 if values.dtype == np.float64 else values.dtype))
        object.__setattr__(self, "low", float(self.low))  # plain numbers: fingerprints spell them out
        object.__setattr__(self, "high", float(self.high))
        if self.values.dtype.name not in DTYPES:
            raise InputError(f"values: dtype {self.values.dtype}, expected one of {', '.join(DTYPES)}. Convert them.")
        if self.values.ndim != 4 or not all(self.values.shape[1:]):
            raise InputError(f"values: shape {self.values.shape}, expected (images, channels, height, width), none of the last three 0.")
        if len(set(self.channels)) != self.values.shape[1] or len(self.channels) != self.values.shape[1]:
            raise InputError(f"channels: {list(self.channels)} for {self.values.shape[1]} channels. Give each a name of its own.")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InputError(f"low = {self.low:g} and high = {self.high:g} are no range. Give what counts as black, and above it white.")
        if self.native is not None and np.shape(self.native) != (len(self.values), 2):
            raise InputError(f"native: shape {np.shape(self.native)} for {len(self.values)} images. Give a height and a width for each.")
        wrong = np.zeros(0, np.int64) if self.values.dtype.kind in "iu" else np.argwhere(~np.isfinite(self.values))
        if len(wrong):
            image, channel, row, column = wrong[0]
            raise InputError(
                f"Image {image}, channel {self.channels[channel]!r}, row {row}, column {column}: the pixel is missing or infinite "
                f"({len(wrong):,} in all). Fill it with what lies outside the body (such as -1000 HU), or take the image out."
            )

    def __len__(self) -> int:
        """The number of images."""
        return len(self.values)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.values.shape[2], self.values.shape[3]

    def take(self, rows: np.ndarray) -> Images:
        """Only these images, in this order."""
        return replace(self, values=self.values[rows], native=None if self.native is None else self.native[rows])

    def resized(self, height: int, width: int) -> Images:
        """All images at another size by the area filter: each new pixel is the mean of what it covers, in the old pixels' type."""
        values = resized(self.values, height, width)
        if self.values.dtype.kind in "iu":
            values = np.rint(values).astype(self.values.dtype)
        spacing = self.spacing_mm
        if spacing is not None:
            spacing = spacing[0] * self.size[0] / height, spacing[1] * self.size[1] / width
        native = np.tile(self.size, (len(self), 1)) if self.native is None else self.native
        return replace(self, values=values, spacing_mm=spacing, native=native)

    def scaled(self) -> np.ndarray:
        """(images, channels, height, width) float32: -1 at `low`, 1 at `high`; what lies beyond is held there."""
        middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        return np.clip((self.values.astype(np.float32) - np.float32(middle)) / np.float32(half), -1, 1)

    def unscaled(self, values: np.ndarray) -> Images:
        """The inverse of `scaled`, for any images of these channels: in the same units and pixel type."""
        middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        physical = np.clip(values, -1, 1).astype(np.float32) * np.float32(half) + np.float32(middle)
        if self.values.dtype.kind in "iu":
            physical = np.rint(physical).astype(self.values.dtype)
        return replace(self, values=physical, native=None, burned_in=())

    def shown(self) -> np.ndarray:
        """(images, channels, height, width) uint8 for eyes: 0 at `low`, 255 at `high`."""
        return np.rint((self.scaled() + 1) * 127.5).astype(np.uint8)

    def content(self) -> bytes:
        """Channels, unit, range and values as bytes."""
        values = self.values + np.float32(0) if self.values.dtype.kind == "f" else self.values
        head = json.dumps([self.channels, self.unit, self.low, self.high, self.spacing_mm, values.dtype.name, values.shape])
        return head.encode() + b"\n" + values.astype(values.dtype.newbyteorder("<")).tobytes()


def resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """(..., height, width) float32: each new pixel is the mean of what it covers of (..., rows, columns).

    >>> resized(np.array([[0.0, 2.0], [4.0, 6.0]]), 1, 1)
    array([[3.]], dtype=float32)
    """
    if min(height, width) < 1:
        raise InputError(f"size = {height} x {width} pixels is no size. Give whole numbers, 1 or more.")
    rows, columns = _covered(values.shape[-2], height), _covered(values.shape[-1], width)
    return np.asarray(rows @ values.astype(np.float32) @ columns.T, np.float32)


def squared(values: np.ndarray) -> np.ndarray:
    """(..., side, side): the shorter side of (..., height, width) padded evenly with black, the lowest value: nobody is stretched."""
    height, width = values.shape[-2:]
    side = max(height, width)
    above, left = (side - height) // 2, (side - width) // 2
    padding = [(0, 0)] * (values.ndim - 2) + [(above, side - height - above), (left, side - width - left)]
    return np.pad(values, padding, constant_values=values.min())


def smallest(values: np.ndarray) -> np.ndarray:
    """The same numbers in the smallest type of `Images` that holds them all."""
    if (values == np.rint(values)).all():
        for dtype in (np.uint8, np.uint16, np.int16):
            if values.min() >= np.iinfo(dtype).min and values.max() <= np.iinfo(dtype).max:
                return values.astype(dtype)
    return values.astype(np.float32)


def seen_range(values: np.ndarray) -> tuple[float, float]:
    """What counts as black and as white where nothing tells: nearly the lowest and the highest pixel."""
    low, high = (float(f"{end:.6g}") for end in np.percentile(values, PERCENTILES))
    return low, high if high > low else low + 1


def _covered(old: int, new: int) -> np.ndarray:
    """(new, old) float32: the share of each old pixel in each new one."""
    edges = np.arange(new + 1) * (old / new)
    start, end = edges[:-1, None], edges[1:, None]
    pixels = np.arange(old)
    overlap = np.clip(np.minimum(end, pixels + 1) - np.maximum(start, pixels), 0, None)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)
