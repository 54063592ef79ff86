"""Tables: CSV (also .gz), Parquet and frames <-> Cohort. What is wrong is refused here, in one sentence."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import narwhals as nw
import polars as pl

from proband.cohort import Cohort
from proband.errors import InputError, Unavailable
from proband.records import mark as marks
from proband.records.csv import read_csv
from proband.schema import Schema, Table
from proband.schema.frames import to_polars
from proband.schema.values import parse, spell, stored_name

SUFFIXES = (".csv", ".csv.gz", ".parquet")
_ROWS_PER_WRITE = 20_000
_ROWS_PER_GROUP = 100_000  # of a Parquet file that is written in parts


def read_frame(path: str | Path, *, as_text: Collection[str] = (), empty: bool = False) -> pl.DataFrame:
    """The table in a .csv, .csv.gz or .parquet file, as its file spells it.

    In CSV a column becomes numbers only when every cell is plainly one: codes with leading zeros ("007") and columns
    with any other text stay text, as do the columns named in `as_text`. An empty cell is null. Raises InputError when
    the file is missing, empty, has no rows, is no table, is cut off, is not UTF-8, has duplicate or empty column
    names or rows of unequal length. `empty` allows column names without rows.
    """
    path = Path(path)
    suffix = _suffix(path)
    if path.is_dir():
        raise InputError(f"'{path}' is a folder, expected a data file ({', '.join(SUFFIXES)}). Give the path of one file in it.")
    if not path.exists():
        raise InputError(f"File '{path}' does not exist. Check the path.")
    try:
        frame = _read_parquet(path) if suffix == ".parquet" else read_csv(path, as_text=as_text)
    except OSError as error:
        raise InputError(f"File '{path}' cannot be read: {error.strerror or error}. Check its permissions.") from error
    if frame.height == 0 and not empty:
        raise InputError(f"File '{path}' has column names but no rows. Check the export.")
    return frame


def read(source: Any, schema: Schema | None = None) -> Cohort:
    """A Cohort from a path (.csv, .csv.gz, .parquet) or a pandas, polars or arrow frame.

    Linked tables are a folder with a file for each, named as the table, or a mapping of frames by name. Recordings are a folder of WFDB
    records (see `proband.records.recordings`), images a folder of image files (see `proband.records.image_folder`).

    Without a schema one is guessed and all that it proposes is accepted; better, guess once, let a person review the
    file, and pass it. A file that proband wrote gives back its mark. Raises InputError naming the column, row, value
    and remedy: for a bad file, a declared column that is missing, an undeclared one, or a value that does not fit; among linked
    tables also for a row without a parent, and a parent's key that is missing or stands twice.
    """
    if isinstance(source, Mapping) or (isinstance(source, str | Path) and Path(source).is_dir()):
        from proband.records.folder import gathered, read_folder
        from proband.records.image_folder import has_images, read_images
        from proband.records.recordings import has_records, read_recordings

        if not isinstance(source, Mapping) and has_records(source):
            return read_recordings(Path(source), schema)
        if not isinstance(source, Mapping) and has_images(source):
            return read_images(Path(source), schema)
        return gathered(source, schema) if isinstance(source, Mapping) else read_folder(Path(source), schema)
    if schema is not None and schema.children:
        told = ", ".join(table.name for table in schema.tables)
        raise InputError(f"The schema has the tables {told}, and one is given. Give a folder with a file for each, or a mapping of frames.")
    mark, where = None, "The frame"
    if isinstance(source, str | Path):
        where = f"File '{source}'"
        frame = read_frame(source, as_text=spelled_as_text(schema.table) if schema else ())
        mark = marks.find_mark(source)
        frame = without_label(frame, where)
    else:
        frame = to_polars(source)
    if schema is None:
        from proband.schema.guess import accepted

        schema = accepted(frame)
    return Cohort(schema, parsed(frame, schema.table, where), mark)


def write(cohort: Cohort, path: str | Path, *, format: str = "parquet", stamp: bool = True, watermark: bool | str = True) -> None:
    """Write a cohort as its file spelled it; the suffix decides the format. The same cohort gives the same bytes.

    Linked tables go into a new folder, one file each, named as the table, in `format` (parquet, csv or csv.gz); signals and images too,
    as WFDB records and PNG beside the table.

    stamp      synthetic images get the word SYNTHETIC in a corner, unless they have it
    watermark  and faint noise that `verify` finds: with the key that everybody knows (True), with one of your own (a text), or none (False)

    A synthetic cohort is labelled: see `proband.records.mark`. Written beside `path` and renamed, so that on failure
    (InputError: no such folder, no permission, disk full) nothing stays and an older file is untouched.
    """
    if cohort.media and not Path(path).name.lower().endswith(SUFFIXES):
        from proband.records.image_folder import write_images
        from proband.records.images import Images
        from proband.records.recordings import write_recordings

        pictures = any(isinstance(held, Images) for held in cohort.media.values())
        if pictures:
            return write_images(cohort, Path(path), format, stamp=stamp, watermark=watermark)
        return write_recordings(cohort, Path(path), format)
    if cohort.linked and not Path(path).name.lower().endswith(SUFFIXES):
        from proband.records.folder import write_folder

        return write_folder(cohort, Path(path), format)
    write_parts((cohort,), path)


def write_parts(parts: Iterable[Cohort], path: str | Path) -> None:
    """Write cohorts of one schema and one mark below each other into one file, one in memory at a time; see `write`.

    Parquet is gathered in a scratch folder beside `path` first: the disk needs room for the table twice.
    """
    path = Path(path)
    suffix = _suffix(path)
    sidecar = marks.sidecar(path)
    parts = iter(parts)
    first = next(parts)
    if first.linked:
        told = ", ".join(table.name for table in first.schema.tables)
        raise InputError(f"'{path}' is one file, and the cohort has the tables {told}. Give the name of a new folder.")
    if first.media:
        told = ", ".join(first.media)
        raise InputError(f"'{path}' would hold the table alone, and the cohort has {told} beside it. Give the name of a new folder.")
    label = first.mark if suffix != ".parquet" else None
    with replacing(path) as data:
        if suffix == ".parquet":
            _write_parquet(first, parts, data, path)
        else:
            packed = gzip.GzipFile(filename="", mode="wb", fileobj=data, mtime=0, compresslevel=6) if suffix == ".csv.gz" else None
            header = True
            for rows in (rows for part in itertools.chain((first,), parts) for rows in _slices(part)):
                shown = spelled(rows.schema.table, rows.frame)
                if label:
                    shown = shown.insert_column(0, pl.Series(marks.COLUMN, ["true"] * shown.height, dtype=pl.String))
                (packed or data).write(shown.write_csv(include_header=header).encode())
                header = False
            if packed:
                packed.close()
        if label:
            with replacing(sidecar) as beside:
                beside.write((json.dumps(marks.to_text(label), indent=2, ensure_ascii=False) + "\n").encode())
    if not label:
        sidecar.unlink(missing_ok=True)  # an older synthetic file's label would lie about this one


def _slices(cohort: Cohort) -> Iterator[Cohort]:
    for start in range(0, max(cohort.frame.height, 1), _ROWS_PER_WRITE):
        yield replace(cohort, frame=cohort.frame.slice(start, _ROWS_PER_WRITE))


def _write_parquet(first: Cohort, parts: Iterator[Cohort], data: IO[bytes], path: Path) -> None:
    metadata = marks.to_text(first.mark) if first.mark else None
    second = next(parts, None)
    if second is None:
        spelled(first.schema.table, first.frame).write_parquet(data, metadata=metadata)
        return
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".writing", dir=path.parent) as folder:
        files = []
        for number, part in enumerate(itertools.chain((first, second), parts)):
            files.append(Path(folder) / f"{number:06d}.parquet")
            spelled(part.schema.table, part.frame).write_parquet(files[-1], compression="lz4")
            first = second = part  # let the parts before go
        pl.scan_parquet(files).sink_parquet(data, metadata=metadata, row_group_size=_ROWS_PER_GROUP, maintain_order=True)


def like(data: Cohort | pl.DataFrame, original: Any) -> Any:
    """`data` as the kind of frame that `original` is (pandas, polars, arrow), spelled as its file spelled it.

    >>> like(pl.DataFrame({"age": [71]}), pl.DataFrame()).shape
    (1, 1)
    """
    frame = spelled(data.schema.table, data.frame) if isinstance(data, Cohort) else data
    try:
        kind = nw.from_native(original, allow_series=False).implementation
    except TypeError as error:
        raise InputError(f"Frames of type {type(original).__name__} are not supported. Give a pandas, polars or arrow frame.") from error
    if kind.is_polars():
        return frame
    try:
        return frame.to_pandas() if kind.is_pandas() else frame.to_arrow()
    except ModuleNotFoundError as error:
        raise Unavailable("Giving back a pandas frame needs pyarrow. Install it with: pip install pyarrow") from error


def spelled(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """A Cohort's frame as the file of `table` spells it."""
    return pl.DataFrame([spell(column, frame[column.name]) for column in table.columns])


def _suffix(path: Path) -> str:
    for suffix in (".csv.gz", ".csv", ".parquet"):
        if path.name.lower().endswith(suffix):
            return suffix
    raise InputError(f"'{path}' has the suffix {path.suffix!r}, expected one of: {', '.join(SUFFIXES)}. Convert or rename it.")


def _read_parquet(path: Path) -> pl.DataFrame:
    if path.stat().st_size == 0:
        raise InputError(f"File '{path}' is empty (0 bytes). Check the export.")
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InputError(f"File '{path}' cannot be read as Parquet: {str(error).splitlines()[0]}. Copy or export it again.") from error
    if "" in frame.columns:
        raise InputError(f"File '{path}': column {frame.columns.index('') + 1} has no name. Name it.")
    for name, dtype in frame.schema.items():
        if stored_name(dtype) is None:
            raise InputError(f"File '{path}': column {name!r} holds {dtype}, no single values. Unpack it into plain columns, or drop it.")
    return frame


def without_label(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    if marks.COLUMN not in frame.columns:
        return frame
    labels = frame[marks.COLUMN].cast(pl.String)
    if not (labels == "true").fill_null(False).all():
        raise InputError(
            f"{where}: column {marks.COLUMN!r} is not true in every row: real and synthetic patients are mixed. Take them apart first."
        )
    return frame.drop(marks.COLUMN)


def spelled_as_text(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.stored == "String" and not column.numeric]


def parsed(frame: pl.DataFrame, table: Table, where: str) -> pl.DataFrame:
    declared = [column.name for column in table.columns]
    missing = [name for name in declared if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in table]
    if missing:
        remedy = "Add it, or delete it from the schema"
        raise InputError(f"{where} lacks column {missing[0]!r}, which the schema declares{_more(missing)}. {remedy}.")
    if unknown:
        remedy = "Drop it from the data, or guess the schema anew"
        raise InputError(f"{where} has column {unknown[0]!r}, which the schema does not declare{_more(unknown)}. {remedy}.")
    values = []
    for column in table.columns:
        values.append(parse(column, frame[column.name]))
        frame = frame.drop(column.name)  # one raw column at a time is given back: large tables fit into memory once
    if table.key and table.parent is None:
        key = next(series for series in values if series.name == table.key)
        if key.null_count():
            row = int(key.is_null().arg_max() or 0) + 1
            raise InputError(
                f"{where}: column {table.key!r}, row {row:,}: the patient is missing ({key.null_count():,} such rows). "
                f"Every row needs one: fill it in, or delete `key` from the schema if every row is a patient of its own."
            )
    return pl.DataFrame(values)


def _more(names: list[str]) -> str:
    return f" ({len(names)} such columns: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''})" if len(names) > 1 else ""


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """An open scratch file beside `path` that takes its name at the end, or vanishes."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        with open(scratch, "wb") as file:
            yield file
        scratch.replace(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"'{path}' cannot be written: {reason(error)}. Free some space, or choose another folder.") from error
    finally:
        scratch.unlink(missing_ok=True)


def reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error).splitlines()[0]
