"""CSV text -> polars: checked byte by byte first, since parsers mend in silence what a person should know about."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
import polars as pl

from proband.errors import InputError
from proband.records.mark import open_text

_CHUNK_BYTES = 16_000_000
#: Text cells held at once while columns are narrowed to numbers: 16 bytes each in polars, so about 400 MB.
_CELLS_AT_ONCE = 25_000_000
_INTEGER = r"^-?(?:0|[1-9]\d{0,17})$"
_NUMBER = r"^-?(?:0|[1-9]\d*)?\.?\d+(?:[eE][-+]?\d+)?$"
#: A leading zero, or more digits than a float is sure to keep.
_CODE = r"^-?(?:0\d|\d{16,}$)"


def read_csv(path: Path, *, as_text: Collection[str] = ()) -> pl.DataFrame:
    """The table in a CSV file; columns that are plainly numbers as Int64 or Float64, all others as text."""
    text = _decompressed(path) if path.name.lower().endswith(".gz") else None
    if path.stat().st_size == 0 or text == b"":
        raise InputError(f"File '{path}' is empty (0 bytes). Check the export.")
    names = _header(path)
    rows = _checked(path, text, len(names))
    at_once = max(1, _CELLS_AT_ONCE // max(rows, 1))
    columns: list[pl.Series] = []
    for start in range(0, len(names), at_once):
        group = list(range(start, min(start + at_once, len(names))))
        part = _strings(path, text, group, names).head(rows)  # polars makes a row of every blank line at the end
        for name in part.columns:
            raw = part[name]
            columns.append(raw if name in as_text else narrowed(raw))
            part = part.drop(name)
    return pl.DataFrame(columns)


def narrowed(raw: pl.Series) -> pl.Series:
    """Text as Int64 or Float64 when every cell is plainly such a number and nothing of its spelling matters.

    Leading zeros, plus signs, "inf", thousands separators, whole numbers too long for either type, and one number spelled in
    two ways ("250.0" and "250.00", as in codes of diseases) keep a column text.
    """
    present = raw.drop_nulls()
    if present.is_empty() or not _all(present.head(200), _NUMBER):
        return raw
    if _all(present, _INTEGER):
        return raw.cast(pl.Int64)
    if not _all(present, _NUMBER) or present.str.contains(_CODE).any():
        return raw
    numbers = raw.cast(pl.Float64)
    if numbers.is_infinite().any() or numbers.drop_nulls().n_unique() != present.n_unique():
        return raw
    return numbers


def _all(texts: pl.Series, pattern: str) -> bool:
    return bool(texts.str.contains(pattern).all())


def _strings(path: Path, text: bytes | None, group: list[int], names: list[str]) -> pl.DataFrame:
    try:
        frame = pl.read_csv(io.BytesIO(text) if text is not None else path, columns=group, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"File '{path}' is not a table: {str(error).splitlines()[0]}. Export it again as CSV.") from error
    frame.columns = [names[place] for place in group]
    return frame


def _decompressed(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"File '{path}' is not a whole gzip file: {error}. It was cut off or altered; copy it again.") from error


def _header(path: Path) -> list[str]:
    try:
        with open_text(path, errors="surrogateescape") as lines:  # what is not UTF-8 further down is found with its line
            if "\x00" in lines.read(4):
                raise InputError(f"File '{path}' is not a table: it holds binary data. Export it as CSV.")
            lines.seek(0)
            names = next(csv.reader(lines, strict=True), [])
    except csv.Error as error:
        raise InputError(f"File '{path}' is not a table: its first line cannot be read as CSV: {error}. Export it again.") from error
    if any("\udc80" <= letter <= "\udcff" for name in names for letter in name):
        raise _not_utf8(path, 1)
    for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(names) == 1 and separator in names[0]:
            raise InputError(f"File '{path}' is separated by {word}, expected commas. Export it with commas (and decimal points).")
    for place, name in enumerate(names, 1):
        if not name.strip():
            raise InputError(f"File '{path}': column {place} of {len(names)} has no name. Name it in the first line.")
        if names.index(name) + 1 != place:
            raise InputError(f"File '{path}': column name {name!r} stands twice, at {names.index(name) + 1} and {place}. Rename one.")
    if not names:
        raise InputError(f"File '{path}' is not a table: its first line is blank, expected column names.")
    return names


def _checked(path: Path, text: bytes | None, width: int) -> int:
    """The number of rows, once every line has `width` cells, every quote is closed and every byte is UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines, blank_at, quoted = 0, 0, False
    open_commas, open_bytes = 0, 0  # of the line that goes on in the next chunk
    with io.BytesIO(text) if text is not None else open(path, "rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            if b"\x00" in chunk:
                raise InputError(f"File '{path}' is not a table: it holds binary data (line {lines + 1:,}). Export it as CSV.")
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                raise _not_utf8(path, lines + 1 + chunk[: error.start].count(b"\n")) from error
            data = np.frombuffer(chunk.replace(b"\r", b""), np.uint8)
            quotes = data == ord('"')
            outside = ~(np.logical_xor.accumulate(quotes) ^ quoted) if quotes.any() or quoted else np.True_
            ends = np.flatnonzero((data == ord("\n")) & outside)
            commas = np.flatnonzero((data == ord(",")) & outside)
            quoted ^= bool(int(quotes.sum()) & 1)
            if len(ends):
                until = np.searchsorted(commas, ends)
                cells = np.diff(until, prepend=0) + 1
                cells[0] += open_commas
                blank = np.diff(ends, prepend=-1 - open_bytes) == 1
                if width > 1:
                    blank_at = _blank_line(path, blank, lines, blank_at)
                    cells[blank] = width
                _equal(path, cells, width, lines)
                lines += len(ends)
                open_commas, open_bytes = len(commas) - int(until[-1]), len(data) - 1 - int(ends[-1])
            else:
                open_commas, open_bytes = open_commas + len(commas), open_bytes + len(data)
    if quoted:
        raise InputError(f"File '{path}' is not a table: a quotation mark is opened and never closed. Look for a lone \" in it.")
    if open_bytes:
        _blank_line(path, np.array([False]), lines, blank_at)
        _equal(path, np.array([open_commas + 1]), width, lines)
    return (blank_at - 1 if blank_at else lines + (open_bytes > 0)) - 1


def _blank_line(path: Path, blank: np.ndarray, lines: int, blank_at: int) -> int:
    """The first of the blank lines that reach the end so far, else 0. One with a line of data after it is refused."""
    empty, full = np.flatnonzero(blank), np.flatnonzero(~blank)
    first = blank_at or (lines + int(empty[0]) + 1 if len(empty) else 0)
    if first and len(full) and lines + int(full[-1]) + 1 > first:
        raise _ragged(path, first, 0, 0)
    return first


def _equal(path: Path, found: np.ndarray, width: int, rows: int) -> None:
    wrong = np.flatnonzero(found != width)
    if len(wrong):
        raise _ragged(path, rows + int(wrong[0]) + 1, int(found[wrong[0]]), width)


def _ragged(path: Path, line: int, cells: int, width: int) -> InputError:
    has = f"has {cells} cell{'s' * (cells != 1)}, expected {width}" if cells else "is blank"
    remedy = "Look for a stray comma, quotation mark or line break there."
    return InputError(f"File '{path}', line {line:,} {has}: rows are of unequal length. {remedy}")


def _not_utf8(path: Path, line: int) -> InputError:
    remedy = "Save it as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8 IN > OUT"
    return InputError(f"File '{path}', line {line:,} is not UTF-8 text. {remedy}")
