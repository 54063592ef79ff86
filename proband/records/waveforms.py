"""Signals: regular samples of several channels in physical units, one record for each patient; and WFDB records, in and out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from proband.cohort import Mark
from proband.errors import InputError
from proband.records import mark as marks
from proband.records.folder import new_folder

_INVALID = {"16": -(2**15), "212": -(2**11)}  # the level by which each format says that a sample is missing
_LARGEST = {"16": 2**15 - 1, "212": 2**11 - 1}
_GAIN = 200.0  # levels per unit where a header gives none (WFDB, header(5))
_LARGEST_HEADER_BYTES = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_COMMENT = "# "


@dataclass(frozen=True)
class Signals:
    """Records of equal length and rate: `values` (records, channels, samples), float32, in physical units; no sample is missing.

    names, units   of the channels, such as ("MLII", "V5") and ("mV", "mV")
    rate_hz        samples a second; 1 / 3600 for a grid of hours
    gains          (channels,) levels per unit, where values were recorded as whole numbers of levels; files keep them exactly

    InputError when shapes do not fit together, or a value is missing or infinite.
    """

    values: np.ndarray
    names: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float
    gains: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", np.ascontiguousarray(self.values, np.float32))
        object.__setattr__(self, "rate_hz", float(self.rate_hz))  # plain numbers: headers and fingerprints spell them out
        object.__setattr__(self, "gains", None if self.gains is None else tuple(map(float, self.gains)))
        if self.values.ndim != 3 or not all(self.values.shape[1:]):
            raise InputError(f"values: shape {self.values.shape}, expected (records, channels, samples), with a channel and a sample.")
        channels = self.values.shape[1]
        for what, told in (("names", self.names), ("units", self.units), ("gains", self.gains)):
            if told is not None and len(told) != channels:
                raise InputError(f"{what}: {len(told)} for {channels} channels. Give one for each channel.")
        if len(set(self.names)) < channels:
            raise InputError(f"names: {list(self.names)}, and two channels share one. Give each its own.")
        if not (math.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise InputError(f"rate_hz = {self.rate_hz!r} is no sampling rate. Give samples a second, above 0.")
        if not all(math.isfinite(gain) and gain > 0 for gain in self.gains or ()):
            raise InputError(f"gains = {self.gains!r}: levels per unit must be above 0.")
        wrong = ~np.isfinite(self.values)
        if wrong.any():
            record, channel, _ = np.argwhere(wrong)[0]
            raise InputError(
                f"Channel {self.names[channel]!r}, record {record}: a sample is missing or infinite ({int(wrong.sum())} in all). Cut a "
                "stretch without it, or fill it: a regular signal has a value at every sample."
            )

    @staticmethod
    def of(records: Sequence[np.ndarray], names: Sequence[str], units: Sequence[str], rate_hz: float) -> Signals:
        """Records (channels, samples) as they come, all of one shape. InputError when they are none, or of unequal lengths."""
        shapes = {np.shape(record) for record in records}
        if len(shapes) != 1:
            found = ", ".join(str(shape) for shape in sorted(shapes, key=str)[:3]) or "no record at all"
            raise InputError(f"Records must have one shape (channels, samples), and there are {found}. Cut them to one length (`cut`).")
        return Signals(np.stack(records), tuple(names), tuple(units), rate_hz)

    def __len__(self) -> int:
        """The number of records."""
        return len(self.values)

    @property
    def seconds(self) -> float:
        """How long each record is."""
        return self.values.shape[2] / self.rate_hz

    def take(self, rows: np.ndarray) -> Signals:
        """Only these records, in this order."""
        return replace(self, values=self.values[rows])

    def cut(self, seconds: float) -> Signals:
        """Each record as consecutive pieces of this length, one after another; what is left at the end is dropped."""
        width = round(seconds * self.rate_hz)
        records, channels, samples = self.values.shape
        if not 1 <= width <= samples:
            raise InputError(
                f"seconds = {seconds!r} is {width} samples, of records of {samples}. Give from {1 / self.rate_hz:g} to {self.seconds:g}."
            )
        pieces = self.values[:, :, : samples // width * width].reshape(records, channels, -1, width)
        return replace(self, values=pieces.transpose(0, 2, 1, 3).reshape(-1, channels, width))

    def around(self, places: Sequence[int], before_s: float, after_s: float) -> Signals:
        """The stretches of a single record around `places` (sample numbers, such as R peaks), one record each; what would reach beyond the
        ends is left out. Records that are aligned can be learned from a few hundred; in others no beat has a place."""
        if len(self) != 1:
            raise InputError(f"places belong to one record, and there are {len(self)}. Take one of them first (`take`).")
        left, right = round(before_s * self.rate_hz), round(after_s * self.rate_hz)
        samples = self.values.shape[2]
        if left + right < 1:
            raise InputError(
                f"before_s = {before_s!r} and after_s = {after_s!r} leave no sample at {self.rate_hz:g} Hz. Give longer stretches."
            )
        inside = [place for place in places if left <= place <= samples - right]
        pieces = [self.values[0][:, place - left : place + right] for place in inside]
        return replace(self, values=np.stack(pieces) if pieces else np.zeros((0, self.values.shape[1], left + right)))

    def on_grid(self) -> Signals:
        """Every value as the nearest whole number of levels; as it is without gains."""
        if self.gains is None:
            return self
        gains = np.array(self.gains)[:, None]
        return replace(self, values=np.rint(self.values.astype(float) * gains) / gains)

    def content(self) -> bytes:
        """Names, units, rate and values as bytes."""
        head = json.dumps([self.names, self.units, self.rate_hz, self.gains, self.values.shape])
        return head.encode() + b"\n" + (self.values + np.float32(0)).astype("<f4").tobytes()


class _Channel(NamedTuple):
    """A signal's line in a header: where its levels lie, and what a level means."""

    file: str
    format: str
    offset: int  # bytes before the first sample
    gain: float
    baseline: float
    unit: str
    name: str


def read_wfdb(path: str | Path) -> tuple[Signals, Mark | None]:
    """One record of a WFDB header (.hea) and its files, formats 16 and 212, and its mark if it is synthetic.

    path   of the header, with or without .hea

    The shape of the values is (1, channels, samples). Equals wfdb-python's `rdrecord` to the last bit of float32. InputError for other
    formats, records of several segments or rates, missing samples, files that are missing or too short.
    """
    path = Path(path)
    path = path if path.suffix == ".hea" else path.with_name(path.name + ".hea")
    if not path.is_file():
        raise InputError(f"WFDB header '{path}' does not exist. Give the record's path, with or without .hea.")
    if path.stat().st_size > _LARGEST_HEADER_BYTES:
        raise InputError(f"WFDB header '{path}' has {path.stat().st_size:,} bytes; a header has a few hundred. Check the path.")
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    told = [line for line in lines if line and not line.startswith("#")]
    rate, samples, channels = _header(told, path)
    columns: list[np.ndarray] = []
    for file in dict.fromkeys(channel.file for channel in channels):
        inside = [channel for channel in channels if channel.file == file]
        levels = _levels(path.parent / file, inside, samples, path)
        for at, channel in enumerate(inside):
            column = (levels[at] - channel.baseline) / channel.gain
            column[levels[at] == _INVALID[channel.format]] = np.nan
            columns.append(column)
    by_file = [channel for file in dict.fromkeys(c.file for c in channels) for channel in channels if channel.file == file]
    signals = Signals(
        np.stack(columns)[None],
        tuple(_distinct([channel.name for channel in by_file])),
        tuple(channel.unit for channel in by_file),
        rate,
        tuple(channel.gain for channel in by_file),
    )
    return signals, header_mark(path)


def header_mark(path: Path) -> Mark | None:
    """The mark in the comments of a WFDB header; None where it carries none."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    comments = dict(line.strip()[1:].strip().partition(": ")[::2] for line in lines if line.strip().startswith("#"))
    return marks.from_text(comments, f"WFDB header '{path}'")


def write_wfdb(signals: Signals, folder: str | Path, *, mark: Mark | None = None, name: str = "record") -> list[Path]:
    """Write each record as NAME_1.hea and NAME_1.dat (format 16), NAME_2 ..., into a new folder; gives back the headers.

    mark   of synthetic patients: it stands in the comments of every header

    With `gains`, reading gives back the same values. Without, each channel's range is laid over 16 bits, and a value moves by at most
    half of 1/65,000 of it. InputError when the folder exists, or a value lies beyond what 16 bits at its gain can tell.
    """
    folder, names = Path(folder), [f"{name}_{at}" for at in range(1, len(signals) + 1)]
    with new_folder(folder) as scratch:
        write_records(signals, scratch, names, mark=mark)
    return [folder / f"{one}.hea" for one in names]


def write_records(signals: Signals, folder: Path, names: Sequence[str], *, mark: Mark | None) -> None:
    """Write each record under its name (which may lead into subfolders) into a folder that exists; see `write_wfdb`."""
    if wrong := [name for name in names if not all(_NAME.fullmatch(part) for part in name.split("/"))]:
        raise InputError(f"name = {wrong[0]!r}: a WFDB record is named with letters, digits, '-' and '_'. Choose such a name.")
    gains, baselines = _scale(signals)
    levels = np.rint(signals.values.astype(float) * gains[:, None] + baselines[:, None])
    comments = [f"{_COMMENT}{key}: {value}" for key, value in (marks.to_text(mark) if mark else {}).items()]
    for name, record in zip(names, levels.astype("<i2"), strict=True):
        path, stem = folder / f"{name}.hea", name.rpartition("/")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".dat").write_bytes(np.ascontiguousarray(record.T).tobytes())
        lines = [f"{stem} {len(record)} {signals.rate_hz!r} {record.shape[1]}"]
        for row, channel, unit, gain, baseline in zip(record, signals.names, signals.units, gains.tolist(), baselines, strict=True):
            told = re.sub(r"\s+", "_", unit) or "NU"
            check = (int(row.sum(dtype=np.int64)) + 2**15) % 2**16 - 2**15
            lines.append(f"{stem}.dat 16 {gain!r}({int(baseline)})/{told} 16 0 {row[0]} {check} 0 {channel}")
        path.write_text("\n".join([*lines, *comments]) + "\n", encoding="utf-8")


def _scale(signals: Signals) -> tuple[np.ndarray, np.ndarray]:
    """(channels,) gains and baselines with which every value is a level of 16 bits."""
    seen = signals.values if len(signals) else np.zeros((1, *signals.values.shape[1:]))
    low, high = seen.min(axis=(0, 2)).astype(float), seen.max(axis=(0, 2)).astype(float)
    most = _LARGEST["16"]
    if signals.gains is None:
        spread = np.maximum(high - low, 1e-9)
        gains = 2 * (most - 1) / spread
    else:
        gains = np.array(signals.gains)
    fits = np.maximum(-low, high) * gains <= most
    baselines = np.where(fits, 0.0, -np.rint((low + high) / 2 * gains))
    reach = np.maximum(np.abs(low * gains + baselines), np.abs(high * gains + baselines))
    if (reach > most + 0.5).any():
        channel = int(np.argmax(reach))
        raise InputError(
            f"Channel {signals.names[channel]!r}: its values span {reach[channel] * 2:,.0f} levels at {gains[channel]:g} levels per "
            f"{signals.units[channel]}, and 16 bits hold 65,535. Lower its gain, or write without gains."
        )
    return gains, baselines


def _header(told: list[str], path: Path) -> tuple[float, int | None, list[_Channel]]:
    """Rate, samples and channels of a header's lines."""
    try:
        words = told[0].split()
        if "/" in words[0]:
            raise InputError(f"WFDB record '{path}' has several segments, which are not read. Give the header of one segment.")
        rate = float(words[2].split("/")[0].split("(")[0]) if len(words) > 2 else 250.0  # 250: the format's own default
        samples = int(words[3]) if len(words) > 3 and int(words[3]) > 0 else None
        return rate, samples, [_channel(line, at, path) for at, line in enumerate(told[1 : int(words[1]) + 1])]
    except (IndexError, ValueError) as error:
        raise InputError(f"WFDB header '{path}' cannot be read: a line is not as the format says. Copy it again.") from error


def _channel(line: str, at: int, path: Path) -> _Channel:
    words = line.split(maxsplit=8)
    found = re.fullmatch(r"(\d+)(?:\+(\d+))?", words[1])
    if found is None or found[1] not in _INVALID:
        raise InputError(f"WFDB header '{path}', signal {at}: format {words[1]!r}; 16 and 212 at one rate are read. Convert it with xform.")
    if Path(words[0]).name != words[0]:
        raise InputError(f"WFDB header '{path}', signal {at}: file {words[0]!r} lies elsewhere. A record's files lie beside its header.")
    scale = re.fullmatch(r"([-+.\deE]+)(?:\(([-+\d]+)\))?(?:/(\S+))?", words[2]) if len(words) > 2 else None
    gain = float(scale[1]) if scale else 0.0
    zero = float(words[4]) if len(words) > 4 else 0.0
    baseline = float(scale[2]) if scale and scale[2] else zero
    name = words[8] if len(words) > 8 else f"signal {at}"
    return _Channel(words[0], found[1], int(found[2] or 0), gain or _GAIN, baseline, (scale and scale[3]) or "mV", name)


def _levels(file: Path, inside: list[_Channel], samples: int | None, header: Path) -> np.ndarray:
    """(channels of the file, samples) levels, float64."""
    if not file.is_file():
        raise InputError(f"WFDB header '{header}' names the file {file.name!r}, which is not beside it. Copy it there.")
    raw = np.fromfile(file, np.uint8, offset=inside[0].offset)
    if inside[0].format == "16":
        levels = raw[: len(raw) // 2 * 2].view("<i2").astype(float)
    else:  # 212: two samples of 12 bits in three bytes; the middle byte holds the upper four bits of each
        triples = raw[: len(raw) // 3 * 3].reshape(-1, 3).astype(np.int32)
        pairs = np.stack([triples[:, 0] | (triples[:, 1] & 15) << 8, triples[:, 2] | (triples[:, 1] >> 4) << 8], axis=1).ravel()
        if len(raw) % 3 == 2:  # an odd number of samples ends on two bytes
            pairs = np.append(pairs, int(raw[-2]) | (int(raw[-1]) & 15) << 8)
        levels = np.where(pairs > 2047, pairs - 4096, pairs).astype(float)
    width = len(inside)
    samples = len(levels) // width if samples is None else samples
    if len(levels) < width * samples or not samples:
        raise InputError(
            f"WFDB file '{file}' holds {len(levels) // width:,} samples of {width} signals, {samples:,} are declared. Copy it again."
        )
    return levels[: width * samples].reshape(samples, width).T


def _distinct(names: list[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name} {at}" for at, name in enumerate(names)]
