"""parse and spell: each the inverse of the other, and every refusal in one sentence."""

from datetime import date, datetime, time

import polars as pl
import pytest

from proband.errors import InputError
from proband.schema import Column, Grid
from proband.schema.guess import describe
from proband.schema.values import parse, spell

ROUND_TRIPS = {
    "integer": (Column(name="x", kind="integer", stored="Int64"), [1, None, 3], [1, None, 3]),
    "integer kept as float": (Column(name="x", kind="integer", stored="Float64"), [1.0, None, 3.0], [1, None, 3]),
    "small integer": (Column(name="x", kind="integer", stored="UInt8"), [1, None, 200], [1, None, 200]),
    "number": (Column(name="x", kind="number", stored="Float64"), [1.25, None, -3.0], [1.25, None, -3.0]),
    "single precision": (Column(name="x", kind="number", stored="Float32"), [1.25, None], [1.25, None]),
    "number kept as text": (Column(name="x", kind="number"), ["1.25", None, "3"], [1.25, None, 3.0]),
    "unit in cell": (Column(name="x", kind="number", unit_in_cell=" mg"), ["5 mg", "2.5 mg", None], [5.0, 2.5, None]),
    "category": (Column(name="x", kind="category", categories=("a", "b")), ["a", None, "b"], ["a", None, "b"]),
    "numeric codes": (Column(name="x", kind="ordinal", categories=("1", "2"), stored="Int64"), [1, None, 2], ["1", None, "2"]),
    "codes kept as float": (Column(name="x", kind="ordinal", categories=("1", "2"), stored="Float64"), [1.0, None], ["1", None]),
    "leading zeros": (Column(name="x", kind="identifier"), ["007", "010"], ["007", "010"]),
    "numeric identifier": (Column(name="x", kind="identifier", stored="Int64"), [840801013, 7], ["840801013", "7"]),
    "t and f": (Column(name="x", kind="boolean", spelling=("f", "t")), ["t", "f", None], [True, False, None]),
    "0 and 1": (Column(name="x", kind="boolean", spelling=("0", "1"), stored="Int64"), [1, 0, None], [True, False, None]),
    "0.0 and 1.0": (Column(name="x", kind="boolean", spelling=("0", "1"), stored="Float64"), [1.0, 0.0, None], [True, False, None]),
    "true booleans": (Column(name="x", kind="boolean", stored="Boolean"), [True, False, None], [True, False, None]),
    "date": (Column(name="x", kind="date", layout="%d.%m.%Y"), ["31.01.2020", None], [date(2020, 1, 31), None]),
    "date as a number": (Column(name="x", kind="date", layout="%Y%m%d", stored="Int64"), [20200131, None], [date(2020, 1, 31), None]),
    "true dates": (Column(name="x", kind="date", stored="Date"), [date(2020, 1, 31), None], [date(2020, 1, 31), None]),
    "datetime": (Column(name="x", kind="datetime", layout="%Y-%m-%d %H:%M"), ["2020-01-31 23:59"], [datetime(2020, 1, 31, 23, 59)]),
    "time": (Column(name="x", kind="time", layout="%H:%M"), ["23:59", None], [time(23, 59), None]),
}


@pytest.mark.parametrize("case", ROUND_TRIPS)
def test_round_trip(case: str) -> None:
    column, spelled, meant = ROUND_TRIPS[case]
    dtype = {"Float32": pl.Float32, "UInt8": pl.UInt8}.get(column.stored)
    raw = pl.Series("x", spelled, dtype=dtype)
    parsed = parse(column, raw)
    assert parsed.dtype == column.dtype
    assert parsed.to_list() == meant
    again = spell(column, parsed)
    assert again.dtype == raw.dtype
    assert again.to_list() == spelled


def test_time_zones_are_put_back() -> None:
    column = Column(name="x", kind="datetime", stored="Datetime[ms, Europe/Paris]")
    raw = pl.Series("x", [datetime(2020, 7, 1, 12)]).dt.replace_time_zone("Europe/Paris").cast(pl.Datetime("ms", "Europe/Paris"))
    assert parse(column, raw).to_list() == [datetime(2020, 7, 1, 10)]
    assert spell(column, parse(column, raw)).equals(raw)


def test_missing_in_every_spelling() -> None:
    number = Column(name="x", kind="number", missing=("?", "-1"))
    assert parse(number, pl.Series(["5", "?", "", " ", "-1", "-1.0", None])).to_list() == [5.0] + [None] * 6
    assert parse(number, pl.Series([5.0, -1.0, float("nan")])).to_list() == [5.0, None, None]
    level = Column(name="x", kind="category", categories=("a",), missing=("missing",))
    assert parse(level, pl.Series(["a", "missing", ""])).to_list() == ["a", None, None]
    code = Column(name="x", kind="ordinal", categories=("0", "1", "2"), missing=("-9",), stored="Int64")
    assert parse(code, pl.Series([0, 2, -9])).to_list() == ["0", "2", None]
    flag = Column(name="x", kind="boolean", spelling=("no", "yes"), missing=("unknown",))
    assert parse(flag, pl.Series(["yes", "unknown", "no"])).to_list() == [True, None, False]


def test_values_outside_become_missing_where_the_schema_says_so() -> None:
    age = Column(name="age", kind="integer", low=0, high=120, outside="missing", stored="Int64")
    assert parse(age, pl.Series([70, 65526, None, -1])).to_list() == [70, None, None, None]


def test_a_column_without_any_value() -> None:
    for kind, levels in (("category", ()), ("number", None), ("date", None)):
        parsed = parse(Column(name="x", kind=kind, categories=levels), pl.Series([None, None]))  # type: ignore[arg-type]
        assert parsed.to_list() == [None, None]


def test_noise_of_arithmetic_goes_and_other_values_stay() -> None:
    column = Column(name="x", kind="number", grid=Grid(step=0.1, decimals=1), stored="Float64")
    assert parse(column, pl.Series([0.1 + 0.2, 0.7, 0.123])).to_list() == [0.3, 0.7, 0.123]


REFUSALS = {
    "no number": (Column(name="dose", kind="number"), ["5", "6", "high", "low"], "'dose', row 3: 'high' is not a number (2 rows"),
    "unit": (Column(name="dose", kind="number"), ["5 mg"], "unit_in_cell"),
    "other unit": (Column(name="dose", kind="number", unit_in_cell=" mg"), ["5 mg", "1 g"], "row 2: '1 g' does not end in the unit 'mg'"),
    "infinity": (Column(name="dose", kind="number"), ["1", "inf"], "row 2: 'inf' is not a finite number"),
    "infinite float": (Column(name="dose", kind="number", stored="Float64"), [1.0, float("inf")], "not a finite number"),
    "NaN in text": (Column(name="dose", kind="number"), ["1", "nan"], "is not a number"),
    "fraction": (Column(name="dose", kind="integer", stored="Float64"), [1.0, 1.5], "row 2: 1.5 is not a whole number"),
    "below": (Column(name="dose", kind="integer", low=0, stored="Int64"), [1, -1], "row 2: -1 is below low = 0"),
    "above": (Column(name="dose", kind="number", high=25, unit="mg/dL"), ["190"], "row 1: 190 mg/dL is above high = 25"),
    "unknown level": (Column(name="sex", kind="category", categories=("F", "M")), ["F", "X"], "row 2: 'X' is not one of its levels (F, M)"),
    "no level": (Column(name="sex", kind="category", categories=()), ["F"], "it has none"),
    "no boolean": (
        Column(name="sick", kind="boolean", spelling=("f", "t")),
        ["t", "x"],
        "row 2: 'x' is neither 't' (true) nor 'f' (false)",
    ),
    "no date": (Column(name="seen", kind="date", layout="%Y-%m-%d"), ["2020-02-30"], "is not a date written as %Y-%m-%d"),
    "late date": (Column(name="seen", kind="date", high=18262, layout="%Y-%m-%d"), ["2020-01-02"], "above high = 18262 (2020-01-01)"),
    "free text": (Column(name="note", kind="text"), ["fell from a ladder"], "free text"),
    "dates for numbers": (Column(name="dose", kind="number"), [date(2020, 1, 1)], "holds Date values, expected numbers"),
    "bounded level": (Column(name="sex", kind="category", categories=("F",), low=0), ["F"], "low and high bound numbers"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal(case: str) -> None:
    column, raw, words = REFUSALS[case]
    with pytest.raises(InputError) as caught:
        parse(column, pl.Series(raw, strict=False))
    message = str(caught.value)
    assert words in message
    assert message.startswith(f"Column {column.name!r}") and message.endswith(".") and "\n" not in message


def test_an_unknown_stored_type_is_named() -> None:
    with pytest.raises(InputError, match="stored = 'Complex'"):
        spell(Column(name="x", kind="number", stored="Complex"), pl.Series([1.0]))


def test_identifiers_that_are_no_numbers_keep_their_spelling() -> None:
    column = Column(name="id", kind="identifier", stored="Int64")
    assert spell(column, pl.Series(["S1", "S2"])).to_list() == ["S1", "S2"]


def test_times_with_offsets_are_kept_in_utc() -> None:
    """Summer and winter time of one clinic: the instants are kept, in UTC, and so they are written back."""
    raw = pl.Series("x", ["2020-01-01T10:00:00+01:00", "2020-07-01T10:00:00+02:00", None])
    column = describe("x", raw)
    assert (column.kind, column.layout) == ("datetime", "%Y-%m-%dT%H:%M:%S%:z")
    read = parse(column, raw)
    assert read.to_list() == [datetime(2020, 1, 1, 9), datetime(2020, 7, 1, 8), None] and read.dtype == pl.Datetime("us")
    assert spell(column, read).to_list() == ["2020-01-01T09:00:00+00:00", "2020-07-01T08:00:00+00:00", None]
    assert parse(column, spell(column, read)).equals(read)
    with pytest.raises(InputError, match=r"row 2: '2020-07-01T10:00:00' is not a datetime written as %Y-%m-%dT%H:%M:%S%:z"):
        parse(column, pl.Series("x", ["2020-01-01T10:00:00+01:00", "2020-07-01T10:00:00"]))


def test_two_columns_of_two_time_zones_become_comparable() -> None:
    berlin, tokyo = (
        pl.Series("x", [datetime(2020, 1, 1, hour)]).dt.replace_time_zone(zone) for hour, zone in ((1, "Europe/Berlin"), (9, "Asia/Tokyo"))
    )
    for raw in (berlin, tokyo):
        column = describe("x", raw)
        assert parse(column, raw).to_list() == [datetime(2020, 1, 1)]
        assert spell(column, parse(column, raw)).equals(raw)


@pytest.mark.parametrize("text", ["1844-07-18", "1899-12-31", "2202-02-28"])
def test_dates_far_from_today_are_dates(text: str) -> None:
    """Births before 1900, and years moved beyond 2150 to hide them."""
    raw = pl.Series("x", [text, "2001-01-01"])
    column = describe("x", raw)
    assert column.kind == "date" and spell(column, parse(column, raw)).equals(raw)
    assert describe("x", pl.Series(["0020-01-01", "2001-01-01"])).kind == "category"  # 20 AD is a misread year
