"""Patients with recordings: a folder of WFDB records and the table of whom they belong to <-> Cohort.

The folder holds the headers (.hea) and files of the records, in subfolders or not, and one table (.csv, .csv.gz, .parquet) with a row for
each. The table's column `record`, else its key, says the record's path inside the folder, without .hea. Without a table nothing but the
records is known.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from proband.cohort import Cohort, Mark
from proband.errors import InputError
from proband.records import mark as marks
from proband.records import tables as single
from proband.records.folder import files, new_folder, one_mark
from proband.records.waveforms import Signals, read_wfdb, write_records
from proband.schema import Column, Schema, Table

#: What a cohort's media call the signals that a folder holds.
MEDIA = "signals"
_RECORD = "record"


def has_records(folder: str | Path) -> bool:
    """Whether a folder holds WFDB records.

    >>> has_records(".")
    False
    """
    folder = Path(folder)
    return folder.is_dir() and next(folder.rglob("*.hea"), None) is not None


def table_of(folder: str | Path) -> Path:
    """The file of the one table that says whose the records or images in a folder are. InputError when there is none, or several."""
    tables = files(Path(folder))
    if len(tables) > 1:
        raise InputError(
            f"Folder '{folder}' holds recordings or images and {len(tables)} tables: {', '.join(tables)}. Leave the one that names them, "
            "or take them out if none does."
        )
    return next(iter(tables.values()))


def read_recordings(folder: Path, schema: Schema | None = None) -> Cohort:
    """A Cohort whose media hold the records of a folder as `Signals`, one for each row of its table; see `proband.read`.

    Without a schema one is guessed, all its proposals accepted. InputError for a record without a row and a row without a record,
    for records that differ in channels, units, rate or length, and as from `read_wfdb`.
    """
    frame, schema, label = read_table(folder, schema)
    found = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.hea"))}
    if frame is None:
        frame = pl.DataFrame({_RECORD: list(found)})
        column = Column(name=_RECORD, kind="identifier")
        schema = schema or Schema(tables=(Table(name=folder.resolve().name, columns=(column,), key=_RECORD),))
    assert schema is not None
    parsed = single.parsed(frame, schema.table, f"Folder '{folder}'")
    named = parsed[_named(schema.table, f"Folder '{folder}'")].cast(pl.String)
    stems = [str(name).removesuffix(".hea") for name in named]
    if lost := [name for name in stems if name not in found]:
        raise InputError(f"Folder '{folder}' has no record {lost[0]}.hea, which its table names{_more(lost)}. Bring it, or delete the row.")
    if len(set(stems)) < len(stems):
        raise InputError(f"Folder '{folder}': column {named.name!r} names a record twice. Give each row a record of its own.")
    if alone := sorted(set(found) - set(stems)):
        raise InputError(f"Folder '{folder}': no row of the table names record {alone[0]!r}{_more(alone)}. Add it, or take it out.")
    told = {name: read_wfdb(found[name]) for name in stems}
    mark = one_mark(folder, label | {f"{name}.hea": mark for name, (_, mark) in told.items()})
    return Cohort(schema, parsed, mark, media={MEDIA: _together(folder, {name: signals for name, (signals, _) in told.items()})})


def write_recordings(cohort: Cohort, folder: Path, format: str) -> None:
    """Write the table as `<table>.<format>` and each record beside it, named as its row says, into a new folder; see `proband.write`.

    InputError when there is more or other than one `Signals` beside one table, or nothing in the table names a record.
    """
    replace(cohort, media={}).one_table("A folder of recordings")
    held = list(cohort.media.values())
    if len(held) != 1 or not isinstance(held[0], Signals):
        raise InputError(f"The cohort's media are {list(cohort.media)}; a folder holds one Signals. Write the others on their own.")
    if f".{format}" not in single.SUFFIXES:
        raise InputError(f"format = {format!r} is no format of ours. Use one of: {', '.join(s[1:] for s in single.SUFFIXES)}.")
    table = cohort.schema.table
    named = cohort.frame[_named(table, "The cohort")]
    if named.n_unique() < len(named) or named.null_count():
        raise InputError(f"Column {named.name!r} names the records, and does not tell every row. Add a column {_RECORD!r} that does.")
    with new_folder(folder) as scratch:
        single.write(replace(cohort, media={}), scratch / f"{table.name}.{format}")
        write_records(held[0], scratch, named.cast(pl.String).to_list(), mark=cohort.mark)


def read_table(folder: Path, schema: Schema | None) -> tuple[pl.DataFrame | None, Schema | None, dict[str, Mark | None]]:
    """The folder's one table as its file spells it, its schema, and its mark by file name; nothing where there is none."""
    if not any(path.name.lower().endswith(single.SUFFIXES) for path in folder.iterdir()):
        return None, schema, {}
    path = table_of(folder)
    name = next(iter(files(folder)))
    text = single.spelled_as_text(schema.table) if schema else ()
    frame = single.without_label(single.read_frame(path, as_text=text), f"File '{path}'")
    if schema is None:
        from proband.schema.guess import accepted

        schema = accepted(frame)
        schema = schema.model_copy(update={"tables": (schema.table.model_copy(update={"name": name}),)})
    return frame, schema, {path.name: marks.find_mark(path)}


def _named(table: Table, where: str) -> str:
    """The column that names the records."""
    name = _RECORD if _RECORD in table else table.key
    if name is None:
        raise InputError(f"{where}: nothing in the table names the records. Add a column {_RECORD!r}, or declare the table's key.")
    return name


def _together(folder: Path, records: dict[str, Signals]) -> Signals:
    """All records as one Signals; a gain that differs between records is no property of them all."""
    (name, first), gains = next(iter(records.items())), {one.gains for one in records.values()}
    for other, one in records.items():
        for what in ("names", "units", "rate_hz"):
            if getattr(one, what) != getattr(first, what):
                raise InputError(
                    f"Folder '{folder}': record {other!r} has {what} {getattr(one, what)}, and {name!r} has {getattr(first, what)}. "
                    "Records of one folder have the same channels, units and rate: take them apart, or convert them with xform."
                )
        if one.values.shape != first.values.shape:
            raise InputError(
                f"Folder '{folder}': record {other!r} has {one.values.shape[2]:,} samples, and {name!r} has {first.values.shape[2]:,}. "
                "Cut them to one length (Signals.cut, Signals.around)."
            )
    values = np.concatenate([one.values for one in records.values()])
    return replace(first, values=values, gains=first.gains if len(gains) == 1 else None)


def _more(names: list[str]) -> str:
    return f" ({len(names)} such records)" if len(names) > 1 else ""
