"""Linked tables: a folder of CSV or Parquet files, or a mapping of frames, one for each table <-> Cohort."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from proband.cohort import Cohort, Mark
from proband.errors import InputError
from proband.records import mark as marks
from proband.records import tables as single
from proband.schema import Schema, Table
from proband.schema.frames import to_polars
from proband.schema.integrity import unowned


def read_folder(folder: Path, schema: Schema | None) -> Cohort:
    """A Cohort from a folder with a file (.csv, .csv.gz, .parquet) for each table, named as the table; see `proband.read`.

    A folder with one file, such as a release, is that table, whatever it is called.
    """
    found = files(folder)
    if len(found) == 1 and not (schema and schema.children):
        return single.read(next(iter(found.values())), schema)
    frames, mark = read_frames(folder, schema)
    return gathered(frames, schema, mark, {name: f"File '{path}'" for name, path in found.items()})


def read_frames(folder: Path, schema: Schema | None = None) -> tuple[dict[str, pl.DataFrame], Mark | None]:
    """Every table of a folder as its file spells it, by name, and the mark that all of them carry.

    With a schema the tables that it declares, codes left out: InputError where a file is missing or none of them. A table below the
    first may have no rows.
    """
    found = files(folder)
    if schema is not None:
        _as_declared(folder, found, schema)
        found = {table.name: found[table.name] for table in schema.tables}
    frames: dict[str, pl.DataFrame] = {}
    told: dict[str, Mark | None] = {}
    for name, path in found.items():
        text = single.spelled_as_text(schema[name]) if schema else ()
        frame = single.read_frame(path, as_text=text, empty=schema is not None and name != schema.table.name)
        told |= {name: marks.find_mark(path)} if frame.height else {}
        frames[name] = single.without_label(frame, f"File '{path}'")
    return frames, one_mark(folder, told)


def gathered(frames: Mapping[str, Any], schema: Schema | None, mark: Mark | None = None, where: Mapping[str, str] | None = None) -> Cohort:
    """A Cohort from frames (polars, pandas, arrow) by table name; without a schema one is guessed, all its proposals accepted.

    InputError for a table that is missing or unknown, a value that does not fit, a key of a parent that is missing or stands twice,
    and a row without a parent.
    """
    raw = {name: to_polars(frame) for name, frame in frames.items()}
    if schema is None:
        from proband.schema.guess import accepted

        schema = accepted(raw)
    parsed = {}
    for table in schema.tables:
        told = (where or {}).get(table.name, f"Table {table.name!r}")
        if table.name not in raw:
            raise InputError(f"{told} is missing, which the schema declares. Bring it, or delete it from the schema.")
        try:
            parsed[table.name] = _measured(single.parsed(raw.pop(table.name), table, told), table)
        except InputError as error:
            raise error if str(error).startswith(told) else InputError(f"{told}: {error}") from error
    if unknown := [name for name in raw if name not in schema.codes]:
        raise InputError(f"Table {unknown[0]!r} is not in the schema. Leave it out, or guess the schema anew.")
    if problems := unowned(schema, parsed):
        raise InputError(problems[0].message)
    return Cohort(schema, parsed.pop(schema.table.name), mark, parsed)


def write_folder(cohort: Cohort, folder: Path, format: str) -> None:
    """Write every table as `<table>.<format>` into a new folder, each labelled as a single file is; see `proband.write`."""
    with new_folder(folder) as scratch:
        write_tables(cohort, scratch, format)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A scratch folder beside `folder` that takes its name at the end, or vanishes.

    InputError when `folder` exists, or cannot be written (no folder to put it in, no permission, disk full).
    """
    if folder.exists():
        raise InputError(f"Folder '{folder}' exists. Choose another name or remove it; nothing is overwritten.")
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}.writing")
    try:
        scratch.mkdir()
        yield scratch
        scratch.rename(folder)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"Folder '{folder}' cannot be written: {single.reason(error)}. Choose another place.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # after an error or Ctrl-C; the renamed folder is out of reach


def write_tables(cohort: Cohort, folder: Path, format: str) -> dict[str, Path]:
    """Write every table as `<table>.<format>` into a folder that is there, each labelled; the file of each table, by its name."""
    if f".{format}" not in single.SUFFIXES:
        raise InputError(f"format = {format!r} is no format of ours. Use one of: {', '.join(s[1:] for s in single.SUFFIXES)}.")
    written: dict[str, Path] = {}
    for table, frame in cohort.tables:
        _check_name(table.name)
        written[table.name] = folder / f"{table.name}.{format}"
        single.write(Cohort(Schema(tables=(table.alone,)), frame, cohort.mark), written[table.name])
    return written


def files(folder: Path) -> dict[str, Path]:
    """The data files of a folder by the name of their table, in alphabetical order; other files in it are no tables."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((s for s in (".csv.gz", ".csv", ".parquet") if path.name.lower().endswith(s)), None)
        if suffix is None or path.name.startswith(".") or not path.is_file():
            continue
        name = path.name[: -len(suffix)]
        if name in found:
            raise InputError(f"Folder '{folder}' has two files for table {name!r}: {found[name].name}, {path.name}. Take one out.")
        found[name] = path
    if not found:
        raise InputError(f"Folder '{folder}' holds no data file ({', '.join(single.SUFFIXES)}). Give the folder with the tables' files.")
    return found


def _as_declared(folder: Path, found: Mapping[str, Path], schema: Schema) -> None:
    declared = [table.name for table in schema.tables]
    if missing := [name for name in declared if name not in found]:
        remedy = f"Bring {missing[0]}.csv (.csv.gz, .parquet), or delete the table from the schema"
        raise InputError(f"Folder '{folder}' has no file for table {missing[0]!r}, which the schema declares. {remedy}.")
    if unknown := [path for name, path in found.items() if name not in (*declared, *schema.codes)]:
        remedy = "Take it out of the folder, name it in the schema's `codes` if it holds no patients, or guess the schema anew"
        raise InputError(f"File '{unknown[0]}' is no table of the schema ({', '.join(declared)}). {remedy}.")


def one_mark(folder: Path, told: Mapping[str, Mark | None]) -> Mark | None:
    """The mark of all tables. A CSV file that lost its sidecar still says that it is synthetic; the others then say what made it."""
    real = [name for name, mark in told.items() if mark is None]
    synthetic = {name: mark for name, mark in told.items() if mark is not None}
    if real and synthetic:
        one = next(iter(synthetic))
        raise InputError(f"Folder '{folder}': {one!r} is labelled as synthetic and {real[0]!r} is not. Take real and synthetic apart.")
    known = [mark for mark in synthetic.values() if mark != marks.UNKNOWN]
    if any(mark != known[0] for mark in known):
        raise InputError(f"Folder '{folder}' holds tables of two synthetic cohorts: their marks differ. Take them apart.")
    return known[0] if known else next(iter(synthetic.values()), None)


def _measured(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Each measured value within the bounds of its own variable: beyond them refused, or missing where the variable says so."""
    if table.measures is None or all(v.low is None and v.high is None for v in table.variables):
        return frame
    code, value = table.measures
    low, high, drop = (
        {v.name: fact for v in table.variables if (fact := getattr(v, side)) is not None} for side in ("low", "high", "outside")
    )
    told = pl.col(code)
    below = pl.col(value) < told.replace_strict(low, default=None, return_dtype=pl.Float64)
    above = pl.col(value) > told.replace_strict(high, default=None, return_dtype=pl.Float64)
    outside = (below.fill_null(False) | above.fill_null(False)).alias("outside")
    missing = told.replace_strict(drop, default="refuse", return_dtype=pl.String) == "missing"
    bad = frame.select((outside & ~missing.fill_null(False)).alias("bad")).to_series()
    if bad.any():
        row, rows = int(bad.arg_max() or 0), int(bad.sum())
        also = f" ({rows:,} rows are affected)" if rows > 1 else ""
        remedy = 'Correct the cell or its unit, move the bound, or declare outside = "missing" for the variable in the schema'
        name = frame[code][row]
        raise InputError(f"Column {value!r}, row {row + 1:,}: it is beyond the bounds of variable {name!r}{also}. {remedy}.")
    return frame.with_columns(pl.when(~outside).then(pl.col(value)).alias(value))


def _check_name(name: str) -> None:
    if not name.isprintable() or not name or name.startswith(".") or set(name) & set('/\\:*?"<>|\0'):
        raise InputError(f"Table {name!r} cannot name a file. Rename it in the schema.")
