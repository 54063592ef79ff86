"""What in a column needs a person's judgement: words for "missing", sentinels, impossible values, units in cells, mixed types."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import polars as pl

from proband.schema import names, words
from proband.schema.model import Column

_NEGATIVE_SENTINELS = {-1.0, -7.0, -8.0, -9.0, -77.0, -88.0, -99.0, -999.0, -9999.0, -99999.0}
_HIGH_SENTINELS = {99.0, 999.0, 9999.0, 99999.0, 999999.0, 888.0, 8888.0, 999.9, 99.9, 9999.9, 32767.0, 65535.0}
_MOST_OTHER_WORDS = 20
_UNIT = r"^[-+]?\d+(?:[.]\d+)?(\s*(?:[A-Za-zµμ°%][A-Za-z0-9µμ°%/^.*]{0,11}|/[A-Za-z]+))$"


class Doubt(NamedTuple):
    """A change to a column, why, and how `rest` leaves what the change explains (nulls where it sets values aside)."""

    change: dict[str, Any]
    why: str
    rest: Callable[[pl.Series], pl.Series]


def empty_doubt() -> Doubt:
    """The doubt about a column without a single value."""
    return Doubt({"kind": "category", "categories": []}, "Every cell is missing. Drop the column, or bring its values.", _as_it_is)


def text_doubts(column: Column, raw: pl.Series) -> list[Doubt]:
    """Doubts about a column of text: markers for missing, a unit behind every number, numbers mixed with words."""
    counts = raw.drop_nulls().value_counts(sort=True, name="rows")
    levels = counts[raw.name] if raw.name in counts.columns else counts.to_series(0)
    lowered = levels.str.strip_chars().str.to_lowercase()
    levels, counts, lowered = levels.filter(lowered != ""), counts.filter(lowered != ""), lowered.filter(lowered != "")
    markers = levels.filter(lowered.is_in(list(words.MISSING))).to_list()
    others = levels.filter(~levels.is_in(markers))
    if column.kind == "identifier" and not names.names_identifier(column.name) and not _unit(others, len(raw)):
        why = "Nearly every cell differs, so it is read as an identifier and made anew; code it if it tells of the patient."
        return [Doubt({"kind": "identifier"}, why, _as_it_is)]
    if others.is_empty():
        return []
    doubts: list[Doubt] = []
    numeric = words.is_number(others).all() or words.layout(others) is not None
    if not numeric:  # in a column of levels "none" and "-" may mean "no drug"; the commonest level hardly means missing
        markers = [word for word in markers if not (word.strip().lower() in words.AMBIGUOUS and word == levels[0])]
        markers = [word for word in markers if not (word.strip() == "Na" and {"K", "Cl"} & set(levels))]  # sodium, beside its like
    unit = None if numeric else _unit(others, int(counts["rows"].sum()))
    if markers:
        rows = int(counts.filter(levels.is_in(markers))["rows"].sum())
        why = f"{_cells(rows)} {', '.join(repr(word) for word in sorted(markers))}, which usually means missing."
        doubts.append(Doubt({"missing": sorted(markers)}, why, _without(markers)))
    if unit:
        bare = unit.strip()
        why = f"Every number is followed by the unit {bare!r}."
        doubts.append(Doubt({"unit": bare, "unit_in_cell": unit}, why, lambda series: _bare(series, bare)))
    elif not numeric:
        doubts += _mixed(column, raw, levels, counts["rows"], markers)
    return doubts


def number_doubts(column: Column, raw: pl.Series) -> list[Doubt]:
    """Doubts about numbers: sentinels (-1, 999, a cholesterol of 0) and impossible values (an age of 65526)."""
    numbers = _floats(raw)
    present = numbers.drop_nulls()
    present = present.filter(present.is_finite())
    if len(present) < 20:
        return []
    counts = present.value_counts(name="rows").sort(present.name)
    values, rows = counts.to_series(0), counts["rows"]
    sentinels = _sentinels(column.name, values.to_list(), rows.to_list())
    doubts = []
    if sentinels:
        affected = int(rows.filter(values.is_in(sentinels)).sum())
        shown = [f"{value:g}" for value in sentinels]
        why = f"{_cells(affected)} {' or '.join(shown)}, apart from all other values, which usually means missing."
        doubts.append(Doubt({"missing": shown}, why, lambda series: _keep(series, lambda x: ~x.is_in(sentinels))))
        left = ~values.is_in(sentinels)
        values, rows = values.filter(left), rows.filter(left)
    impossible = _impossible(column.name, values.to_list(), rows.to_list())
    if impossible:
        change, why = impossible
        low, high = change.get("low", -math.inf), change.get("high", math.inf)
        doubts.append(Doubt(change | {"outside": "missing"}, why, lambda series: _keep(series, lambda x: x.is_between(low, high))))
    return doubts


def _cells(rows: int) -> str:
    return "1 cell says" if rows == 1 else f"{rows:,} cells say"


def _sentinels(name: str, values: list[float], rows: list[int]) -> list[float]:
    found = []
    total = sum(rows)
    if len(values) >= 4 and values[0] in _NEGATIVE_SENTINELS:
        negative = [value for value in values if value < 0]
        if all(value in _NEGATIVE_SENTINELS for value in negative) and sum(rows[: len(negative)]) >= 2 and values[len(negative)] >= 0:
            found += negative
    body = [value for value in values if value not in found]
    often = dict(zip(values, rows, strict=True))
    if len(body) >= 10 and body[-1] in _HIGH_SENTINELS and body[-1] >= 2 * body[-2] > 0 and often[body[-1]] >= 2:
        found.append(body[-1])
        body = body[:-1]
    median = _median(body, often)
    if names.never_zero(name) and len(body) >= 10 and body[0] == 0 and body[1] >= 0.25 * median and often[0.0] < 0.9 * total:
        found.append(0.0)
    return found


def _impossible(name: str, values: list[float], rows: list[int]) -> tuple[dict[str, float], str] | None:
    total = sum(rows)
    if names.is_age_in_years(name) and (values[-1] > 120 or values[0] < 0):
        wrong = sum(count for value, count in zip(values, rows, strict=True) if not 0 <= value <= 120)
        if wrong <= 0.02 * total:
            return {"low": 0.0, "high": 120.0}, f"{wrong:,} age{'s lie' if wrong > 1 else ' lies'} outside 0 to 120 years."
    if len(values) < 20:
        return None
    # Ordinary lab values are skewed, so distances are judged as ratios: the next value is ten times as large, and so is
    # the gap compared with the whole width of the body.
    for place in range(len(values) - 1, max(0, len(values) - 6), -1):
        below, above = values[place - 1], values[place]
        wrong = sum(rows[place:])
        if wrong > max(3, 0.002 * total):
            break
        width = max(below - values[0], abs(below))
        if below > 0 and above >= 10 * below and above - below >= 10 * width and _steady(values[:place], rows[:place]):
            high = float(f"{math.sqrt(below * above):.0e}")
            more = "s lie" if wrong > 1 else " lies"
            return {"high": high}, f"{wrong:,} value{more} more than ten times above all others, beyond {high:g}."
    return None


def _steady(values: list[float], rows: list[int]) -> bool:
    """Whether the body's own upper tail is short of such jumps: its largest is within ten times its 99th percentile."""
    often = dict(zip(values, rows, strict=True))
    return values[-1] <= 10 * max(_quantile(values, often, 0.99), 1e-300)


def _median(values: list[float], often: dict[float, int]) -> float:
    return _quantile(values, often, 0.5)


def _quantile(values: list[float], often: dict[float, int], share: float) -> float:
    total = sum(often[value] for value in values)
    seen = 0
    for value in values:
        seen += often[value]
        if seen >= share * total:
            return value
    return values[-1]


def _unit(levels: pl.Series, rows: int) -> str | None:
    """The unit with its space, when all cells are numbers followed by the same one ("5 mg")."""
    if len(levels) < 2 or rows < 5:
        return None
    found = levels.str.extract(_UNIT, 1)
    if found.null_count():
        return None
    units = found.str.strip_chars().unique()
    spaced = found.value_counts(sort=True).to_series(0)
    return str(spaced[0]) if len(units) == 1 else None


def _mixed(column: Column, raw: pl.Series, levels: pl.Series, rows: pl.Series, markers: list[str]) -> list[Doubt]:
    number = words.is_number(levels)
    other = levels.filter(~number & ~levels.is_in(markers))
    numeric_rows, other_rows = int(rows.filter(number).sum()), int(rows.filter(levels.is_in(other.to_list())).sum())
    if int(number.sum()) < 10 or numeric_rows < 4 * other_rows or len(other) > _MOST_OTHER_WORDS or names.names_code(column.name):
        return []
    if column.kind == "identifier" or levels.str.contains(r"^[-+]?0\d").any():
        return []
    aside = sorted([*markers, *other.to_list()])
    why = f"{numeric_rows:,} cells are numbers and {other_rows:,} are words, which would become missing."
    return [Doubt({"missing": aside}, why, _without(aside))]


def _as_it_is(series: pl.Series) -> pl.Series:
    return series


def _bare(series: pl.Series, unit: str) -> pl.Series:
    return series.str.strip_chars().str.strip_suffix(unit).str.strip_chars()


def _without(aside: list[str]) -> Callable[[pl.Series], pl.Series]:
    stripped = [word.strip() for word in aside]
    return lambda series: series.to_frame("x").select(pl.when(~pl.col("x").str.strip_chars().is_in(stripped)).then("x")).to_series()


def _keep(series: pl.Series, which: Callable[[pl.Series], pl.Series]) -> pl.Series:
    numbers = _floats(series)
    return series.to_frame("x").select(pl.when(which(numbers)).then("x")).to_series()


def _floats(series: pl.Series) -> pl.Series:
    return (series.str.strip_chars() if series.dtype == pl.String else series).cast(pl.Float64, strict=False)
