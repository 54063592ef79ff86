"""MEDS, the Medical Event Data Standard (v0.3 and v0.4) <-> Cohort: patients, and what happened to them when.

A MEDS folder holds `data/**/*.parquet` with a row an event: subject_id, time (missing for what never changes), code, numeric_value,
text_value, and whatever else its maker knew; `metadata/codes.parquet` says what codes mean, and is not needed.
"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from proband.cohort import Cohort
from proband.errors import InputError
from proband.records import mark as marks
from proband.records.folder import gathered, new_folder, one_mark
from proband.records.tables import spelled
from proband.schema import Schema
from proband.schema.links import measured

_KEY, _TIME, _CODE, _VALUE = "subject_id", "time", "code", "numeric_value"


def read_meds(folder: str | Path, schema: Schema | None = None) -> Cohort:
    """A Cohort of the tables `patients` and `events` from a MEDS folder.

    A code without time that a patient has at most once becomes a column of `patients`: "GENDER//F" the level F of GENDER, a code with a
    number a number, a bare code a yes. Everything else is an event, whose `code` says what was measured and `numeric_value` how much.
    Without a schema one is guessed, all its proposals accepted. InputError as from `proband.read`.
    """
    folder = Path(folder)
    files = sorted((folder / "data").rglob("*.parquet"))
    if not files:
        raise InputError(f"Folder '{folder}' holds no MEDS data (data/**/*.parquet). Give the folder that has `data` in it.")
    try:
        rows = pl.concat([pl.read_parquet(path) for path in files], how="diagonal_relaxed")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"Folder '{folder}': its shards cannot be read as one: {str(error).splitlines()[0]}. Export it again.") from error
    if lacking := [name for name in (_KEY, _TIME, _CODE) if name not in rows.columns]:
        raise InputError(f"Folder '{folder}': the events lack column {lacking[0]!r}, which every MEDS event has. Export it again.")
    if rows[_KEY].null_count() or rows[_CODE].null_count():
        lost = _KEY if rows[_KEY].null_count() else _CODE
        raise InputError(f"Folder '{folder}': column {lost!r} is missing in {rows[lost].null_count():,} events. Correct the export.")
    rows = rows if _VALUE in rows.columns else rows.with_columns(pl.lit(None, pl.Float32).alias(_VALUE))
    empty = [name for name in rows.columns if name not in (_KEY, _TIME, _CODE, _VALUE) and rows[name].null_count() == rows.height]
    frames = _parted(rows.drop(empty).with_columns(pl.col(_CODE).cast(pl.String)))
    if schema is None:
        found = Schema.guess(frames).accept()
        events = measured(found["events"], frames["events"], _CODE, _VALUE)
        schema = found.model_copy(update={"tables": (found.table, events.model_copy(update={"order": (_TIME,)}))})
    return gathered(frames, schema, one_mark(folder, {path.relative_to(folder).as_posix(): marks.find_mark(path) for path in files}))


def write_meds(cohort: Cohort, folder: str | Path) -> None:
    """Write a cohort of patients and one table of measured events as a new MEDS folder; the inverse of `read_meds`.

    MEDS numbers its subjects: where an identifier is no whole number, or two are the same one ("1", "01"), all are numbered from 1. A yes
    is a bare code, unless the column also holds a no. A synthetic cohort is labelled in every file. The same cohort gives the same
    bytes. InputError when the cohort has another shape, or `folder` exists.
    """
    from proband import __version__

    folder, rows = Path(folder), _events(cohort)
    label = marks.to_text(cohort.mark) if cohort.mark else {}
    codes = rows.select(pl.col(_CODE).unique().sort()).with_columns(
        pl.lit(None, pl.String).alias("description"), pl.lit(None, pl.List(pl.String)).alias("parent_codes")
    )
    about = {"dataset_name": folder.name, "etl_name": "proband", "etl_version": __version__, "meds_version": "0.4.0"} | label
    with new_folder(folder) as scratch:
        (scratch / "data" / "all").mkdir(parents=True)
        (scratch / "metadata").mkdir()
        rows.write_parquet(scratch / "data" / "all" / "0.parquet", metadata=label or None)
        codes.write_parquet(scratch / "metadata" / "codes.parquet", metadata=label or None)
        (scratch / "metadata" / "dataset.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _parted(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Patients with what never changes, and events."""
    name = pl.col(_CODE)
    about = pl.when(pl.col(_VALUE).is_null()).then(name.str.split("//").list.first()).otherwise(name)
    rows = rows.with_row_index("row").with_columns(about.alias("about"))
    fixed = rows.filter(pl.col(_TIME).is_null())
    more = [column for column in rows.columns if column not in (_KEY, _TIME, _CODE, _VALUE, "row", "about")]
    if more:
        fixed = fixed.filter(pl.all_horizontal(pl.col(more).is_null()))
    patients, taken = rows.select(pl.col(_KEY).unique(maintain_order=True)), []
    for (column,), part in fixed.partition_by("about", as_dict=True, maintain_order=True).items():
        numbered, detailed = part[_VALUE].is_not_null(), part[_CODE] != column
        alike = numbered.n_unique() == 1 and detailed.n_unique() == 1 and column not in patients.columns
        if not alike or not part[_KEY].is_unique().all():
            continue  # told twice of one patient, or in two ways: it stays among the events
        value = pl.col(_VALUE) if numbered[0] else name.str.strip_prefix(f"{column}//") if detailed[0] else pl.lit(True)
        patients = patients.join(part.select(_KEY, value.alias(str(column))), on=_KEY, how="left", maintain_order="left")
        taken.append(part["row"])
    events = rows.filter(~pl.col("row").is_in(pl.concat(taken).implode())) if taken else rows
    return {"patients": patients, "events": events.drop("row", "about")}


def _events(cohort: Cohort) -> pl.DataFrame:
    """All that is known of the patients as MEDS rows, by subject and time."""
    first, shape = cohort.schema.table, "MEDS holds patients, and one table of events with a date and time, a code and a number"
    if len(cohort.linked) != 1 or first.key is None:
        raise InputError(f"{shape}; this cohort has the tables {', '.join(t.name for t in cohort.schema.tables)}. Write it with write.")
    table = cohort.schema.children[0]
    if table.measures is None or not table.order or table[table.order[0]].kind not in ("date", "datetime") or table.on is None:
        raise InputError(f"{shape}; table {table.name!r} lacks `measures` or an order in time. Declare them, or write it with write.")
    names = {table.on: _KEY, table.order[0]: _TIME, table.measures[0]: _CODE, table.measures[1]: _VALUE}
    parts = [spelled(table, cohort.linked[table.name]).rename(names).with_columns(cohort.linked[table.name][table.order[0]].alias(_TIME))]
    for column, written in zip(first.columns, spelled(first, cohort.frame), strict=True):
        told = pl.DataFrame({_KEY: cohort.frame[first.key], _VALUE: written}).drop_nulls()
        if written.dtype.is_numeric() and column.name != first.key:
            parts.append(told.with_columns(pl.lit(column.name).alias(_CODE)))
        elif written.dtype == pl.Boolean and told[_VALUE].all():
            parts.append(told.select(_KEY, pl.lit(column.name).alias(_CODE)))
        elif column.name != first.key:
            parts.append(told.select(_KEY, (pl.lit(f"{column.name}//") + pl.col(_VALUE).cast(pl.String)).alias(_CODE)))
    parts = [part.with_columns(pl.col(_KEY).cast(pl.String), pl.col(_CODE).cast(pl.String)) for part in parts]
    rows = pl.concat(parts, how="diagonal_relaxed")
    numbers = cohort.patients.cast(pl.Int64, strict=False)
    if numbers.null_count() or numbers.n_unique() < len(numbers):
        numbers = pl.int_range(1, len(numbers) + 1, eager=True)
    rows = rows.with_columns(pl.col(_KEY).replace_strict(cohort.patients, numbers, return_dtype=pl.Int64))
    rows = rows.with_columns(pl.col(_TIME).cast(pl.Datetime("us")), pl.col(_VALUE).cast(pl.Float32))
    rows = rows.select(_KEY, _TIME, _CODE, _VALUE, pl.exclude(_KEY, _TIME, _CODE, _VALUE))
    return rows.sort(_KEY, _TIME, nulls_last=False, maintain_order=True)
