"""One patient as a picture: their own row, then everything that happened to them, on an axis of time."""

from __future__ import annotations

import html
import io
import warnings
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Column, Table
from proband.schema.integrity import interval
from proband.schema.links import apart, time_order
from proband.validate.histories import history_variables, owners
from proband.validate.timeline import Clock, Lane, Section, timeline

SUFFIXES = (".svg", ".png", ".html")
_MOST_LANES = 40  # of one table: those with most events
_FEWEST_PATIENTS = 10  # patients behind a band: fewer would show single ones
_MICROSECONDS = {"date": 86_400e6, "datetime": 1.0}
_CALENDAR = "(calendar)"
_SHORT = 3  # days: what is over sooner is told in hours


def show(cohort: Cohort, patient: object) -> Figure:
    """A picture of one patient: their own row, then, table by table, numbers as panels over time (grey: the middle 80 % of all
    patients' values), levels and codes as ticks, stays as bars. It says whether the record is synthetic or real.

    cohort   real or synthetic patients, of one table or of linked ones
    patient  the value of the key; without a key the number of the row, from 0 on

    A matplotlib figure, for `figure.savefig` or a notebook; `save` writes one that says what it is in its metadata too. All dates and
    times share one axis, cut where nothing happens for long; a clock that counts (minutes of a stay) has its own. Of more than 40
    variables of a table the most frequent are drawn. Raises InputError when there is no such patient.

    >>> figure = show(cohort, "synthetic-000001")  # doctest: +SKIP
    """
    found = cohort.patients.filter(cohort.patients.cast(pl.String) == str(patient))
    first = cohort.schema.table
    if not len(found):
        where = (
            f"a value of column {first.key!r} of table {first.name!r}" if first.key else "the number of a row, from 0 on, as it has no key"
        )
        raise InputError(f"Patient {str(patient)!r} is not among the {len(cohort):,} patients. Give {where}.")
    cohort = _by_visit(cohort)
    one = cohort.take(found)
    sections = [section for table in cohort.schema.children if one.linked[table.name].height for section in _sections(cohort, one, table)]
    sections.sort(key=lambda section: (section.clock == "", section.clock != _CALENDAR))  # the calendar first, what has no time last
    if empty := [table.name for table in cohort.schema.children if not one.linked[table.name].height]:
        sections.append(Section(f"No row in {', '.join(empty)}"))
    own = [(column.name, _cell(one.frame[column.name][0], column)) for column in cohort.schema.table.columns]
    mark = cohort.mark
    if mark is None:
        kind, said = (
            "REAL RECORD",
            "These data carry no label of synthetic patients: take them for a person's, and guard this picture as you guard them.",
        )
    else:
        kind, said = "SYNTHETIC", f"Made by {mark.synthesizer} {mark.version}, seed {mark.seed}. {mark.details.get('warning', '')}"
    sections, clocks = _timed(sections)
    figure = timeline(f"Patient {patient}", kind, said.strip(), own, sections, clocks, real=mark is None)
    figure.set_label(f"{kind}: a timeline of one patient, {sum(len(section.lanes) for section in sections)} rows over time. {said}".strip())
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write the picture; the suffix decides the format: .svg, .png or .html (the SVG in a page). The same picture gives the same bytes."""
    path, label = Path(path), str(figure.get_label())
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"'{path}' has the suffix {path.suffix!r}, expected one of: {', '.join(SUFFIXES)}. Rename it.")
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "patient"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)  # who looks at it has more fonts
        if path.suffix.lower() == ".png":
            figure.savefig(buffer, format="png", metadata={"Title": label})
        else:
            figure.savefig(buffer, format="svg", metadata={"Title": label, "Date": None})
    content = buffer.getvalue()
    if path.suffix.lower() == ".html":
        drawn = content[content.index(b"<svg") :].decode()
        head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(label)}</title>'
        page = f"{head}<style>svg {{ display: block; max-width: 100%; height: auto; margin: auto }}</style><body>{drawn}</body></html>"
        content = page.encode()
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InputError(f"'{path}' cannot be written: {error.strerror or error}. Choose another folder.") from error


def _by_visit(cohort: Cohort) -> Cohort:
    """A table with several rows a patient as two: what never changes within a patient, and the rows of what does."""
    table = cohort.schema.table
    if cohort.linked or table.key is None or not cohort.frame[table.key].is_duplicated().any():
        return cohort
    parts = apart(cohort.frame, table.key)
    own, rows = (tuple(table[name] for name in part.columns) for part in parts.values())
    order = table.order or tuple(time_order(parts["visits"], rows, (table.key,)))
    visits = Table(name=f"{table.name} over time", columns=rows, parent=table.name, on=table.key, order=order)
    schema = cohort.schema.model_copy(update={"tables": (table.model_copy(update={"columns": own, "order": ()}), visits), "rules": ()})
    return replace(cohort, schema=schema, frame=parts["patients"], linked={visits.name: parts["visits"]})


def _sections(cohort: Cohort, one: Cohort, table: Table) -> list[Section]:
    """One table of the patient, its times still in microseconds since 1970, or as they count.

    Where a clock that counts begins anew with every row of the parent (minutes of a stay), each has a section.
    """
    frame, parent = one.linked[table.name], cohort.schema[table.parent or ""]
    span = interval(table)
    time = table[table.order[0]] if table.order else table[span[0]] if span else None
    rows = f"{table.name}: {frame.height:,} row{'' if frame.height == 1 else 's'}"
    if time is None or not time.numeric:
        return [Section(rows, lines=_lines(frame, table))]
    known = frame.filter(pl.col(time.name).is_not_null()).sort(time.name, maintain_order=True)
    untimed = frame.height - known.height
    notes = [f"{untimed:,} without a time" if untimed else ""]
    if known.is_empty():
        return [Section(rows, lines=_lines(frame, table), note=notes[0])]
    bands = _bands(cohort, table)
    if time.kind in _MICROSECONDS:
        lanes, left = _lanes(known, table, time, span, bands)
        notes.append(f"{left:,} rarer variables left out" if left else "")
        return [Section(rows, _CALENDAR, lanes, note=", ".join(filter(None, notes)))]
    parts = [known] if parent.parent is None else known.partition_by(table.on or "", maintain_order=True)
    found = []
    for at, part in enumerate(parts):
        lanes, left = _lanes(part, table, time, None, bands)
        told = [*notes, f"{left:,} rarer variables left out" if left else ""]
        which = f" ({parent.name} {at + 1} of {len(parts)})" if len(parts) > 1 else ""
        found.append(Section(rows + which, f"{time.name}{which}", lanes, note=", ".join(filter(None, told))))
    return found


def _lanes(
    frame: pl.DataFrame, table: Table, time: Column, span: tuple[str, str] | None, bands: dict[str, tuple[float, float, float]]
) -> tuple[list[Lane], int]:
    """What a table of one patient shows over time, and how many variables are too many."""
    when = _physical(frame[time.name], time)
    lanes = []
    if table.measures:
        code, value = table.measures
        parts = frame.with_columns(pl.Series("(time)", when)).partition_by(code, as_dict=True, maintain_order=True)
        named = {str(key): part for (key,), part in parts.items() if key is not None}
        for variable in history_variables(table):
            if variable.name in named:
                part = named[variable.name]
                lanes.append(_lane(variable, part[value], part["(time)"].to_numpy(), bands))
        if None in (key for (key,) in parts):
            lanes.append(Lane("(no code)", parts[(None,)]["(time)"].to_numpy(), text=("",) * parts[(None,)].height))
    else:
        if span:
            lanes.append(Lane(f"{span[0]} to {span[1]}", when, end=_physical(frame[span[1]], table[span[1]])))
        for column in history_variables(table):
            filled = frame[column.name].is_not_null().to_numpy()
            if column.name not in (span or ()) and column.kind not in _MICROSECONDS and filled.any():
                lanes.append(_lane(column, frame[column.name].filter(pl.Series(filled)), when[filled], bands))
        if not lanes:
            lanes.append(Lane("(row)", when, text=("",) * len(when)))
    most = sorted(range(len(lanes)), key=lambda at: -len(lanes[at].time))[:_MOST_LANES]
    return [lanes[at] for at in sorted(most)], len(lanes) - len(most)


def _lane(variable: Column, values: pl.Series, when: np.ndarray, bands: dict[str, tuple[float, float, float]]) -> Lane:
    name = f"{variable.name} ({variable.unit})" if variable.unit else variable.name
    if variable.kind in ("number", "integer") and values.dtype.is_numeric() and values.null_count() < len(values):
        return Lane(name, when, value=values.cast(pl.Float64).fill_null(np.nan).to_numpy(), band=bands.get(variable.name))
    return Lane(name, when, text=tuple("" if value is None else _cell(value, variable) for value in values))


def _lines(frame: pl.DataFrame, table: Table) -> list[tuple[str, str]]:
    """The columns of rows without a time, in words: every value in order of appearance, and how often."""
    keys = {table.key, table.on, *(link.column for link in table.links)}
    found = []
    for column in table.columns:
        counts = Counter(_cell(value, column) for value in frame[column.name].drop_nulls())
        if counts and column.name not in keys and column.kind != "identifier":
            found.append((column.name, ", ".join(f"{told} ({n} times)" if n > 1 else told for told, n in counts.items())))
    return found


def _bands(cohort: Cohort, table: Table) -> dict[str, tuple[float, float, float]]:
    """The 10th, 50th and 90th percentile of every variable that ten patients have a value of."""
    whose = cohort.linked[table.name].with_columns(owners(cohort, table).alias("(patient)")).drop_nulls("(patient)")
    levels = (0.1, 0.5, 0.9)
    if table.measures:
        code, value = table.measures
        known = whose.filter(pl.col(value).is_not_null()).with_columns(pl.col(code).cast(pl.String))
        asked = [pl.col(value).cast(pl.Float64).quantile(level, "linear").alias(f"{level}") for level in levels]
        told = known.group_by(code).agg(pl.col("(patient)").n_unique(), *asked).filter(pl.col("(patient)") >= _FEWEST_PATIENTS)
        return {row[0]: row[2:] for row in told.drop_nulls().iter_rows()}
    found = {}
    for column in history_variables(table):
        known = whose.filter(pl.col(column.name).is_not_null())
        if column.kind in ("number", "integer") and known["(patient)"].n_unique() >= _FEWEST_PATIENTS:
            low, middle, high = (float(known[column.name].quantile(level, "linear")) for level in levels)  # type: ignore[arg-type]
            found[column.name] = low, middle, high
    return found


def _physical(series: pl.Series, column: Column) -> np.ndarray:
    """Numbers as they are, dates and times in microseconds; NaN where missing."""
    return series.to_physical().cast(pl.Float64).fill_null(np.nan).to_numpy() * _MICROSECONDS.get(column.kind, 1.0)


def _timed(sections: list[Section]) -> tuple[list[Section], dict[str, Clock]]:
    """The sections, those of the calendar in days or hours since the patient's first moment; and what every axis is called."""
    ends = [
        np.concatenate([lane.time, *(() if lane.end is None else (lane.end,))])
        for s in sections
        if s.clock == _CALENDAR
        for lane in s.lanes
    ]
    clocks = {section.clock: Clock(section.clock) for section in sections}
    if not ends:
        return sections, clocks
    first, last = float(np.nanmin(np.concatenate(ends))), float(np.nanmax(np.concatenate(ends)))
    hours = last - first <= _SHORT * 86_400e6
    unit = 3600e6 if hours else 86_400e6

    def told(place: float) -> str:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=first + place * unit)
        return f"{moment:%Y-%m-%d %H:%M}".removesuffix(" 00:00")

    clocks[_CALENDAR] = Clock("hours" if hours else "days", told)
    return [_since(section, first, unit) if section.clock == _CALENDAR else section for section in sections], clocks


def _since(section: Section, first: float, unit: float) -> Section:
    lanes = [
        replace(lane, time=(lane.time - first) / unit, end=None if lane.end is None else (lane.end - first) / unit)
        for lane in section.lanes
    ]
    return replace(section, lanes=lanes)


def _cell(value: Any, column: Column) -> str:
    if value is None:
        return "–"
    if column.kind == "boolean":
        return ("no", "yes")[value]
    return f"{value:.10g}" if isinstance(value, float) else str(value).removesuffix(" 00:00:00")
