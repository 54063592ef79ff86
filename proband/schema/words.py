"""Words that cells are made of: yes and no, numbers, dates, ranks, and what people write for "missing"."""

from __future__ import annotations

import re
from typing import Any, Literal

import polars as pl

_BOOLEANS = [
    ("f", "t"), ("F", "T"), ("false", "true"), ("False", "True"), ("FALSE", "TRUE"), ("no", "yes"), ("No", "Yes"), ("NO", "YES"),
    ("n", "y"), ("N", "Y"), ("0", "1"), ("absent", "present"), ("Absent", "Present"), ("negative", "positive"), ("Negative", "Positive"),
    ("NEG", "POS"), ("neg", "pos"),
    ("-", "+"), ("alive", "dead"), ("Alive", "Dead"), ("0.0", "1.0"),
]  # fmt: skip
#: Spellings of "missing" beside the empty cell, lower case.
MISSING = {
    "?", "na", "n/a", "#n/a", "<na>", "nan", "null", "nil", "missing", "unknown", "unk", "not available", "not recorded", "not known",
    "not done", "none", "-", "--", ".", "..", "not measured",
}  # fmt: skip
#: Those of them that may just as well be a level: no drug, no finding.
AMBIGUOUS = {"none", "-", "nil", "not done"}
_DATES = [
    "%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%-d/%-m/%Y", "%-m/%-d/%Y",
    "%-d.%-m.%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y%m%d", "%d-%b-%Y", "%d%b%Y",
]  # fmt: skip
_TIMES = ["%H:%M:%S", "%H:%M"]
_STAMPS = [
    *(f"{date}{gap}{time}" for date in ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%-m/%-d/%Y") for gap in " T" for time in _TIMES),
    "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S%.3f", "%Y-%m-%dT%H:%M:%S%.3f", "%Y-%m-%d %H:%M:%S%.6f",
    "%Y-%m-%dT%H:%M:%S%.6f",
    *(f"%Y-%m-%d{gap}%H:%M:%S{part}{offset}" for gap in "T " for part in ("", "%.f") for offset in ("%:z", "%z")),
]  # fmt: skip
_LAYOUTS: tuple[tuple[Literal["date", "datetime", "time"], Any, list[str]], ...] = (
    ("date", pl.Date, _DATES),
    ("datetime", pl.Datetime("us"), _STAMPS),
    ("time", pl.Time, _TIMES),
)
_SCALES = [
    ["none", "absent", "no", "trace", "minimal", "mild", "moderate", "severe", "very severe", "critical"],
    ["very low", "low", "medium", "normal", "moderate", "intermediate", "average", "high", "very high"],
    ["i", "ia", "ib", "ii", "iia", "iib", "iii", "iiia", "iiib", "iiic", "iv", "v"],
    ["never", "rarely", "sometimes", "often", "always"],
    ["poor", "fair", "good", "very good", "excellent"],
]
_AMOUNT = r"[$€£]?\s*(\d+(?:\.\d+)?)\s*k?"
_RANGE = re.compile(
    rf"^(under|below|less than|over|above|more than|<=|>=|<|>|≤|≥)?\s*{_AMOUNT}\s*(?:(?:-|–|to)\s*{_AMOUNT}|\+)?\s*(?:years|yrs|days)?$"
)
_INFINITE = r"^(?i)[-+]?inf(?:inity)?$"
_OFFSET = r"(:\d\d(?:\.\d+)?)(?:Z|[+-]\d\d:?\d\d)$"
_NUMBER = r"^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$"


def boolean(levels: pl.Series) -> tuple[str, str] | None:
    """The words for (false, true), when these are the only two levels."""
    found = set(levels.to_list()) if len(levels) == 2 else set()
    return next((pair for pair in _BOOLEANS if set(pair) == found), None)


def numbers(levels: pl.Series, *, codes: bool = False) -> pl.Series | None:
    """The levels as Int64 or Float64 when all are numbers whose spelling does not matter, else None.

    Leading zeros always matter; one number in two spellings ("250.0", "250.00") matters when the levels are `codes`.
    """
    stripped = levels.str.strip_chars()
    stripped = stripped.filter(~stripped.str.contains(_INFINITE))  # refused when read, but no words either
    if stripped.is_empty() or not stripped.str.contains(_NUMBER).all() or stripped.str.contains(r"^[-+]?0\d").any():
        return None
    if not stripped.str.contains(r"[.eE]").any() and (stripped.str.len_chars() <= 18).all():
        return stripped.cast(pl.Int64)
    found = stripped.cast(pl.Float64)
    return None if codes and found.n_unique() != len(stripped) else found


def is_number(levels: pl.Series) -> pl.Series:
    """Which levels are numbers."""
    return levels.str.strip_chars().str.contains(_NUMBER) | levels.str.strip_chars().str.contains(_INFINITE)


def layout(levels: pl.Series) -> tuple[Literal["date", "datetime", "time"], str] | None:
    """("date" | "datetime" | "time", strptime layout) when all levels are such; of two that fit, the one that writes them back alike."""
    few = levels.head(50)
    if not few.str.contains(r"^\d[-+\d/.:TZ a-zA-Z]{3,34}$").all():
        return None
    fitting: list[tuple[Literal["date", "datetime", "time"], str]] = []
    for kind, dtype, layouts in _LAYOUTS:
        for candidate in layouts:
            if few.str.strptime(dtype, candidate, strict=False).null_count():
                continue
            times = levels.str.strptime(dtype, candidate, strict=False)
            if times.null_count():
                continue
            if kind != "time" and not times.dt.year().is_between(1800, 2250).all():
                continue
            if (times.dt.to_string(candidate) == levels).all():
                return kind, candidate
            fitting.append((kind, candidate))
    return fitting[0] if fitting else None


def half_offset(levels: pl.Series) -> bool:
    """Whether times of which some tell their offset from UTC and others do not: nobody knows which moments those are.

    >>> half_offset(pl.Series(["2020-01-01T10:00:00+01:00", "2020-01-02T10:00:00"]))
    True
    """
    told = levels.str.contains(_OFFSET)
    return bool(told.any()) and not told.all() and layout(levels.str.replace(_OFFSET, "${1}").unique()) is not None


def ranked(levels: pl.Series) -> list[str] | None:
    """The levels in rank order when they are grades (mild, severe), stages (II, IIIa) or ranges ("under $11k", "50-60", ">75")."""
    found = sorted(levels.to_list())
    if len(found) < 3 or is_number(levels).all():  # "001", "014": numbers that are no measurements are names
        return None
    plain = {level: level.strip().lower().removeprefix("stage ").removeprefix("grade ") for level in found}
    for scale in _SCALES:
        if all(word in scale for word in plain.values()):
            return sorted(found, key=lambda level: scale.index(plain[level]))
    matches = {level: _RANGE.match(word) for level, word in plain.items()}
    if not all(matches.values()):
        return None
    return sorted(found, key=lambda level: _rank(matches[level]))


def _rank(match: re.Match[str] | None) -> tuple[float, int]:
    assert match is not None
    before = match[1] in ("under", "below", "less than", "<", "<=", "≤")
    after = match[1] in ("over", "above", "more than", ">", ">=", "≥")
    return float(match[2]), after - before
