"""One column's values: from a file's own spelling into a Cohort (`parse`), and back when written (`spell`)."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from proband.errors import InputError
from proband.schema.grids import without_noise
from proband.schema.model import Column

_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
_STORED: dict[str, Any] = {
    str(dtype): dtype for dtype in (*_INTEGERS, pl.Float32, pl.Float64, pl.String, pl.Boolean, pl.Date, pl.Time, pl.Categorical)
}
_WHOLE = 2**53  # beyond this a float cannot tell neighbouring integers apart


def stored_name(dtype: Any) -> str | None:
    """How `Column.stored` names a polars type: "Int64", "Datetime[ms, Europe/Paris]"; None for types that no column of ours has."""
    if isinstance(dtype, pl.Datetime):
        return f"Datetime[{dtype.time_unit}{', ' + dtype.time_zone if dtype.time_zone else ''}]"
    if isinstance(dtype, pl.Enum):
        return "Categorical"
    if isinstance(dtype, pl.Decimal):
        return "Float64"
    if dtype == pl.Null:
        return "String"
    return str(dtype) if str(dtype) in _STORED else None


def stored_dtype(column: Column) -> Any:
    """The polars type that `column.stored` names; InputError when it names none."""
    if column.stored in _STORED:
        return _STORED[column.stored]
    match = re.fullmatch(r"Datetime\[(ms|us|ns)(?:, ([\w/+-]+))?\]", column.stored)
    if match is None:
        raise InputError(f"Column {column.name!r}: stored = {column.stored!r} is no type. Use one of: {', '.join(_STORED)}, Datetime[us].")
    return pl.Datetime(match[1], match[2])  # type: ignore[arg-type]


def parse(column: Column, raw: pl.Series) -> pl.Series:
    """The values of `raw`, spelled as in its file, in the type that `column` has inside a Cohort; missing is null.

    Raises InputError naming the column, the first row at fault (1 is the first row of data), its value, what was
    expected, the remedy, and how many rows are affected.

    >>> parse(Column(name="age", kind="integer", missing=("?",)), pl.Series(["71", "?", ""])).to_list()
    [71, None, None]
    """
    if column.kind == "text":
        raise InputError(
            f"Column {column.name!r} holds free text, which proband does not synthesize yet: sentences carry names and stories. "
            f"Remove the column, or code it into a category, then guess the schema anew."
        )
    if isinstance(raw.dtype, pl.Categorical | pl.Enum):
        raw = raw.cast(pl.String)
    if raw.dtype.is_float() and raw.is_nan().any():
        raw = raw.fill_nan(None)
    if raw.dtype == pl.Null:
        return pl.Series(column.name, [None] * len(raw), dtype=column.dtype)
    if raw.dtype == pl.String:
        raw = _without_missing_words(column, raw)
    parsed = _PARSERS[column.kind](column, raw).alias(column.name)
    return _bounded(column, parsed) if column.low is not None or column.high is not None else parsed


def lenient(column: Column, raw: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """A column's values as far as its type can hold them, and a mask of the cells it cannot; bounds and levels are judged later."""
    nothing = np.zeros(len(raw), bool)
    if raw.dtype == column.dtype and not (raw.dtype == pl.String and column.missing):
        return raw.fill_nan(None) if raw.dtype.is_float() else raw, nothing
    try:
        return parse(column, raw), nothing
    except InputError:
        pass
    open_ended = column.model_copy(update={"low": None, "high": None})
    if column.kind in ("category", "ordinal"):
        levels = canonical(raw.cast(pl.String) if raw.dtype in (pl.Categorical, pl.Enum) else raw).unique().drop_nulls().sort().to_list()
        open_ended = open_ended.model_copy(update={"categories": tuple(dict.fromkeys([*(column.categories or ()), *levels]))})
    try:
        return parse(open_ended, raw), nothing
    except InputError:
        pass
    # Some cells cannot be read at all. Numbers are sifted at once, other kinds by their distinct values.
    missing = (raw.is_null() | raw.cast(pl.String).str.strip_chars().is_in(["", *column.missing])).to_numpy()
    if column.kind in ("number", "integer"):
        text = raw.cast(pl.String).str.strip_chars()
        text = text.str.strip_suffix(column.unit_in_cell.strip()).str.strip_chars() if column.unit_in_cell else text
        found = text.cast(pl.Float64, strict=False)
        fits = found.is_finite() & ((found == found.round(0)) | (column.kind == "number")) & (found.abs() < 2.0**62)
        values = found.to_frame("x").select(pl.when(fits & ~pl.Series(missing)).then("x")).to_series().cast(column.dtype).alias(column.name)
        return values, values.is_null().to_numpy() & ~missing
    known: dict[object, object] = {}
    for value in raw.unique().drop_nulls().to_list():
        try:
            known[value] = parse(open_ended, pl.Series(column.name, [value], dtype=raw.dtype)).item()
        except InputError:
            known[value] = None
    table = pl.DataFrame({"raw": pl.Series(list(known), dtype=raw.dtype), "read": pl.Series(list(known.values()), dtype=column.dtype)})
    values = raw.alias("raw").to_frame().join(table, on="raw", how="left", maintain_order="left")["read"].alias(column.name)
    return values, values.is_null().to_numpy() & ~missing


def spell(column: Column, series: pl.Series) -> pl.Series:
    """The inverse of `parse` for writing: the stored type, the words of booleans, the layout of dates, the unit.

    Missing stays null, which a file shows as an empty cell.

    >>> spell(Column(name="dose", kind="integer", unit_in_cell=" mg"), pl.Series([5, None])).to_list()
    ['5 mg', None]
    """
    target = stored_dtype(column)
    if column.kind in ("number", "integer"):
        text = target == pl.String or column.unit_in_cell
        spelled = _number_text(series) + (column.unit_in_cell or "") if text else series
    elif column.kind == "boolean" and (column.spelling or target == pl.String):
        words = column.spelling or ("false", "true")
        spelled = series.replace_strict({False: words[0], True: words[1]}, return_dtype=pl.String)
    elif column.kind in ("date", "datetime", "time") and not target.is_temporal():
        offset = (column.layout or "").endswith("z")  # "%z": what was read with an offset is kept, and written, in UTC
        spelled = (series.dt.replace_time_zone("UTC") if offset else series).dt.to_string(column.layout or "iso")
    else:
        spelled = series
    if spelled.dtype == pl.String and target.is_numeric() and column.unit_in_cell is None:
        numbers = spelled if target.is_integer() else spelled.cast(pl.Float64, strict=False)
        cast = numbers.cast(target, strict=False)
        # An identifier or level that is no number (a synthetic patient's "S17") keeps its own spelling.
        return (cast if cast.null_count() == spelled.null_count() else spelled).alias(column.name)
    if isinstance(target, pl.Datetime) and target.time_zone:
        return spelled.dt.replace_time_zone("UTC").dt.convert_time_zone(target.time_zone).cast(target).alias(column.name)
    if column.unit_in_cell is None and spelled.dtype != target:
        cast = spelled.cast(target, strict=False)
        spelled = cast if cast.null_count() == spelled.null_count() else spelled
    return spelled.alias(column.name)


def canonical(raw: pl.Series) -> pl.Series:
    """Any values as text, whole numbers without a decimal point: 2.0 is "2"."""
    if raw.dtype == pl.String:
        return raw
    if raw.dtype == pl.Boolean:
        return raw.replace_strict({False: "false", True: "true"}, return_dtype=pl.String)
    return _number_text(raw) if raw.dtype.is_float() else raw.cast(pl.String)


def _number_text(numbers: pl.Series) -> pl.Series:
    if numbers.dtype.is_integer():
        return numbers.cast(pl.String)
    whole = (numbers == numbers.round(0)) & (numbers.abs() < _WHOLE)
    frame = pl.DataFrame({"number": numbers, "whole": whole})
    number = pl.col("number")
    as_whole = number.cast(pl.Int64, strict=False).cast(pl.String)
    return frame.select(pl.when("whole").then(as_whole).otherwise(number.cast(pl.String))).to_series()


def _without_missing_words(column: Column, raw: pl.Series) -> pl.Series:
    words = ["", *column.missing]
    lengths = raw.str.len_bytes().min()
    if len(words) == 1 and isinstance(lengths, int) and lengths > 0 and column.kind in ("category", "ordinal", "identifier"):
        return raw
    stripped = raw.str.strip_chars()
    return raw.to_frame("raw").select(pl.when(~stripped.is_in(words)).then(pl.col("raw"))).to_series()


def _parse_number(column: Column, raw: pl.Series) -> pl.Series:
    numbers = _numbers(column, raw)
    declared = [float(word) for word in column.missing if _is_number(word)]
    if declared:
        numbers = numbers.to_frame("x").select(pl.when(~pl.col("x").cast(pl.Float64).is_in(declared)).then("x")).to_series()
    if numbers.dtype.is_float():
        _refuse(
            column,
            raw,
            numbers.is_infinite(),
            "is not a finite number",
            lambda value: f"Correct the cell, or declare missing = [{_quoted(value)}] in the schema",
        )
    if column.kind == "number":
        numbers = numbers.cast(pl.Float64)
        if column.grid is None or column.grid.bits is not None:
            return numbers
        return pl.Series(without_noise(numbers.to_numpy(), column.grid), nan_to_null=True)
    if numbers.dtype.is_float():
        _refuse(column, raw, numbers != numbers.round(0), "is not a whole number", lambda _: 'Declare kind = "number" in the schema')
        return numbers.cast(pl.Int64, strict=False)
    return numbers.cast(pl.Int64)


def _numbers(column: Column, raw: pl.Series) -> pl.Series:
    """Float64 or integers from text or numbers, the unit in the cell taken off."""
    if isinstance(raw.dtype, pl.Decimal) or raw.dtype == pl.Boolean:
        return raw.cast(pl.Float64)
    if raw.dtype.is_numeric():
        return raw
    if raw.dtype != pl.String:
        raise InputError(f"Column {column.name!r} holds {raw.dtype} values, expected numbers. Correct `kind` in the schema.")
    text = raw.str.strip_chars()
    if column.unit_in_cell:
        unit = column.unit_in_cell.strip()
        bare = text.str.strip_suffix(unit)
        other = (bare == text) & ~text.str.contains(r"^[-+.\d]+$")
        _refuse(column, raw, other, f"does not end in the unit {unit!r}", lambda _: "Convert it to that unit")
        text = bare.str.strip_chars()
    if column.kind == "integer":
        integers = text.cast(pl.Int64, strict=False)
        if integers.null_count() == text.null_count():
            return integers
    numbers = text.cast(pl.Float64, strict=False)
    bad = (numbers.is_null() & text.is_not_null()) | numbers.is_nan().fill_null(False)
    _refuse(
        column,
        raw,
        bad,
        "is not a number",
        lambda value: (
            f"Correct the cell, or declare in the schema missing = [{_quoted(value)}], or unit_in_cell if a unit follows the number"
        ),
    )
    return numbers


def _parse_level(column: Column, raw: pl.Series) -> pl.Series:
    text = canonical(raw)
    levels = list(column.categories or ())
    known = text.is_in(levels)
    if not known.all() and column.stored not in ("String", "Categorical") and raw.dtype == pl.String:
        # The file's own column was numeric; "2.0" there is the level "2".
        text = _canonical_text(text)
        known = text.is_in(levels)
    text, known = _without_declared(column, text, known)
    shown = ", ".join(levels[:10]) + (", ..." if len(levels) > 10 else "")
    _refuse(
        column,
        raw,
        text.is_not_null() & ~known.fill_null(True),
        f"is not one of its levels ({shown or 'it has none: every value was missing when the schema was guessed'})",
        lambda value: f"Correct the cell, or add {_quoted(value)} to `categories` in the schema",
    )
    return text


def _canonical_text(text: pl.Series) -> pl.Series:
    """Text in which "2.0" is written "2"; what is no number stays."""
    numbers = text.cast(pl.Float64, strict=False)
    return text.to_frame("x").select(pl.when(numbers.is_not_null()).then(canonical(numbers)).otherwise("x")).to_series()


def _without_declared(column: Column, text: pl.Series, known: pl.Series) -> tuple[pl.Series, pl.Series]:
    if not column.missing:
        return text, known
    text = text.to_frame("text").select(pl.when(~text.is_in(list(column.missing))).then("text")).to_series()
    return text, text.is_in(list(column.categories or ()))


def _parse_identifier(column: Column, raw: pl.Series) -> pl.Series:
    text = canonical(raw)
    return _without_declared(column, text, text.is_null())[0]


def _parse_boolean(column: Column, raw: pl.Series) -> pl.Series:
    if raw.dtype == pl.Boolean and column.spelling is None:
        return raw
    text = canonical(raw)
    words = column.spelling or ("false", "true")
    if column.spelling is None:
        text = text.str.to_lowercase()
    elif raw.dtype == pl.Boolean:
        words = (words[0].lower(), words[1].lower())
    elif not text.is_in(words).all() and all(_is_number(word) for word in words):
        text = _canonical_text(text)
    text, _ = _without_declared(column, text, text.is_null())
    _refuse(
        column,
        raw,
        text.is_not_null() & ~text.is_in(words).fill_null(True),
        f"is neither {words[1]!r} (true) nor {words[0]!r} (false)",
        lambda value: f'Correct the cell, declare missing = [{_quoted(value)}], or declare kind = "category" in the schema',
    )
    return text == words[1]


def _parse_time(column: Column, raw: pl.Series) -> pl.Series:
    if raw.dtype == column.dtype:
        return raw
    if isinstance(raw.dtype, pl.Datetime) and raw.dtype.time_zone:
        raw = raw.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    if raw.dtype.is_temporal():
        return raw.cast(column.dtype)
    text = _without_declared(column, canonical(raw), pl.Series([], dtype=pl.Boolean))[0].str.strip_chars()
    layout = column.layout or {"date": "%Y-%m-%d", "datetime": "%Y-%m-%dT%H:%M:%S%.f", "time": "%H:%M:%S"}[column.kind]
    times = text.str.strptime(column.dtype, layout, strict=False)
    if isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone:  # each with an offset of its own: the instants are kept
        times = times.dt.replace_time_zone(None)
    _refuse(
        column,
        raw,
        times.is_null() & text.is_not_null(),
        f"is not a {column.kind} written as {layout}",
        lambda value: f"Correct the cell, correct `layout`, or declare missing = [{_quoted(value)}] in the schema",
    )
    return times


_PARSERS: dict[str, Callable[[Column, pl.Series], pl.Series]] = {
    "number": _parse_number,
    "integer": _parse_number,
    "category": _parse_level,
    "ordinal": _parse_level,
    "identifier": _parse_identifier,
    "boolean": _parse_boolean,
    "date": _parse_time,
    "datetime": _parse_time,
    "time": _parse_time,
}


def _bounded(column: Column, parsed: pl.Series) -> pl.Series:
    if not column.numeric:
        raise InputError(f"Column {column.name!r}: low and high bound numbers and times, not a {column.kind}. Delete them from the schema.")
    position = positions(parsed)
    if column.outside == "missing":
        low = float("-inf") if column.low is None else column.low
        high = float("inf") if column.high is None else column.high
        return parsed.to_frame("x").select(pl.when(position.is_between(low, high)).then("x").alias(column.name)).to_series()
    unit = f" {column.unit}" if column.unit else ""
    remedy = f"Correct the cell or its unit, move the bound, or declare outside = {_quoted('missing')} in the schema"
    if column.low is not None:
        _refuse(column, parsed, position < column.low, f"is below low = {_shown(column, column.low)}", lambda _: remedy, unit)
    if column.high is not None:
        _refuse(column, parsed, position > column.high, f"is above high = {_shown(column, column.high)}", lambda _: remedy, unit)
    return parsed


def positions(series: pl.Series) -> pl.Series:
    """Numbers as they are; dates as days, datetimes as seconds since 1970, times as seconds since midnight."""
    if series.dtype == pl.Date:
        return series.cast(pl.Int32)
    if isinstance(series.dtype, pl.Datetime):
        return series.dt.timestamp("us") / 1e6
    if series.dtype == pl.Time:
        return series.cast(pl.Int64) / 1e9
    return series


def _shown(column: Column, bound: float) -> str:
    if column.kind in ("date", "datetime"):
        since = datetime.timedelta(days=bound) if column.kind == "date" else datetime.timedelta(seconds=bound)
        return f"{bound:g} ({datetime.datetime(1970, 1, 1) + since:%Y-%m-%d})"
    return f"{bound:g}"


def _refuse(column: Column, raw: pl.Series, bad: pl.Series, complaint: str, remedy: Callable[[object], str], unit: str = "") -> None:
    """InputError for the first row where `bad`, with the count of all of them."""
    bad = bad.fill_null(False)
    if not bad.any():
        return
    row, rows = int(bad.arg_max() or 0), int(bad.sum())
    value = raw[row]
    shown = repr(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
    also = f" ({rows:,} rows are affected)" if rows > 1 else ""
    raise InputError(f"Column {column.name!r}, row {row + 1:,}: {shown}{unit} {complaint}{also}. {remedy(value)}.")


def _is_number(word: str) -> bool:
    try:
        return float(word) == float(word)
    except ValueError:
        return False


def _quoted(value: object) -> str:
    return '"' + str(value).replace('"', '\\"') + '"'
