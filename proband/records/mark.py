"""The mark of synthetic patients, as each file format carries it.

Parquet: key-value metadata under `proband.`. CSV: a first column `_synthetic` that says "true" in every row, which
survives when the file is taken out of its folder, and a sidecar `<file>.synthetic.json` that says what made it. A folder of
linked tables is marked when every file in it is.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO, cast

import polars as pl

from proband.cohort import Mark
from proband.errors import InputError

#: The column that labels every row of a synthetic CSV file.
COLUMN = "_synthetic"
_PREFIX = "proband."
_BURNED = _PREFIX + "burned_in"
_LARGEST_SIDECAR_BYTES = 1_000_000
#: What is known of a file that is labelled row by row but lost its sidecar.
UNKNOWN = Mark(synthesizer="unknown", version="unknown", seed=0, schema_hash="unknown", details={"label": "the _synthetic column alone"})


def sidecar(path: str | Path) -> Path:
    """Where the mark of the CSV file `path` lies: `<file>.synthetic.json` beside it."""
    path = Path(path)
    return path.with_name(path.name + ".synthetic.json")


def to_text(mark: Mark, burned_in: Sequence[str] = ()) -> dict[str, str]:
    """A mark as plain strings: `proband.synthetic = "true"` and one entry for each of its fields; of images what is burned in."""
    plain = {
        "synthetic": "true",
        "synthesizer": mark.synthesizer,
        "version": mark.version,
        "seed": str(mark.seed),
        "schema_hash": mark.schema_hash,
        "details": json.dumps(dict(mark.details), sort_keys=True, ensure_ascii=False),
    }
    return {_PREFIX + name: value for name, value in plain.items()} | ({_BURNED: " ".join(burned_in)} if burned_in else {})


def burned_in(content: Mapping[str, str]) -> tuple[str, ...]:
    """What an image's mark says of its pixels: see `Images.burned_in`."""
    return tuple(str(content.get(_BURNED, "")).split())


def from_text(content: Mapping[str, str], where: str) -> Mark | None:
    """The inverse of `to_text`; None when `content` does not say synthetic, InputError when it says so but cannot be read."""
    if content.get(_PREFIX + "synthetic") != "true":
        return None
    try:
        details = json.loads(content.get(_PREFIX + "details", "{}"))
        return Mark(
            synthesizer=str(content[_PREFIX + "synthesizer"]),
            version=str(content[_PREFIX + "version"]),
            seed=int(content[_PREFIX + "seed"]),
            schema_hash=str(content[_PREFIX + "schema_hash"]),
            details={str(name): str(value) for name, value in details.items()},
        )
    except (KeyError, ValueError, AttributeError) as error:
        raise InputError(f"{where} says that the data are synthetic, but its mark cannot be read: {error!r}. Write it anew.") from error


def find_mark(path: str | Path) -> Mark | None:
    """The mark of a data file (.csv, .csv.gz, .parquet), even one taken out of its folder; None when it carries none.

    A CSV file without its sidecar is still recognised by its `_synthetic` column; then the synthesizer is "unknown". Of a folder it is
    the mark of all data files in it. Raises InputError when a file cannot be read, and when only some of a folder carry a mark, or
    different ones.
    """
    path = Path(path)
    if path.is_dir():
        from proband.records.folder import files, one_mark

        return one_mark(path, {name: find_mark(file) for name, file in files(path).items()})
    if path.name.lower().endswith(".parquet"):
        return _parquet_mark(path)
    labelled = _has_label(path)
    beside = _read_sidecar(sidecar(path))
    return beside or (UNKNOWN if labelled else None)


def is_synthetic(path: str | Path) -> bool:
    """Whether the data file at `path` is labelled as synthetic, or every data file in the folder `path`.

    For CSV the label inside the file counts, not the sidecar: a sidecar beside an unlabelled file labels nothing
    once the two are parted.
    """
    path = Path(path)
    if path.is_dir():
        from proband.records.folder import files

        return all(is_synthetic(file) for file in files(path).values())
    return _parquet_mark(path) is not None if path.name.lower().endswith(".parquet") else _has_label(path)


def _parquet_mark(path: Path) -> Mark | None:
    try:
        return from_text(pl.read_parquet_metadata(path), f"File '{path}'")
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InputError(f"File '{path}' cannot be read as Parquet: {str(error).splitlines()[0]}. Copy or export it again.") from error


def _has_label(path: Path) -> bool:
    try:
        with open_text(path) as lines:
            rows = csv.reader(lines)
            header, first = next(rows, []), next(rows, None)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"File '{path}' cannot be read: {error}. Copy or export it again, as CSV in UTF-8.") from error
    if first is None:  # a table without rows, as linked tables may be, says so in its header
        return COLUMN in header
    return COLUMN in header and len(first) == len(header) and first[header.index(COLUMN)] == "true"


def open_text(path: Path, *, errors: str = "strict") -> TextIO:
    """A CSV file, compressed or not, as UTF-8 text; a byte order mark is skipped."""
    if path.name.lower().endswith(".gz"):
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig", newline="", errors=errors))
    return open(path, encoding="utf-8-sig", newline="", errors=errors)


def _read_sidecar(path: Path) -> Mark | None:
    if not path.is_file():
        return None
    if path.stat().st_size > _LARGEST_SIDECAR_BYTES:
        raise InputError(f"Sidecar '{path}' has {path.stat().st_size:,} bytes; a mark needs a few hundred. It is not ours: delete it.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"Sidecar '{path}' is not JSON: {error}. Delete it, or copy it again from the release.") from error
    if not isinstance(content, dict):
        raise InputError(f"Sidecar '{path}' is not a JSON object. Delete it, or copy it again from the release.")
    return from_text(content, f"Sidecar '{path}'")
