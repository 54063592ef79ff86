"""How long after another time: in the coarsest unit that loses nothing, and back to the second."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest

from proband.encode import lapses
from proband.encode.numbers import to_numbers
from proband.schema import Column

BEGUN = datetime(2020, 1, 1, 7, 30, 12)


@pytest.mark.parametrize(
    ("unit", "long"), [("min", timedelta(minutes=3)), ("s", timedelta(minutes=3, seconds=5)), ("us", timedelta(microseconds=7))]
)
def test_a_time_is_told_in_whole_units_and_comes_back(unit: str, long: timedelta) -> None:
    own = Column(name="outtime", kind="datetime", layout="%Y-%m-%d %H:%M:%S")
    ends, begun = pl.Series("outtime", [BEGUN + long, None, BEGUN]), to_numbers(pl.Series([BEGUN] * 3))
    lapse = lapses.lapse(own, ends, begun)
    assert (lapse.kind, lapse.unit) == ("integer", unit)
    told = lapses.told(ends, begun, lapse)
    assert told.to_list() == [long / timedelta(microseconds=lapses._UNITS[unit]), None, 0]
    assert lapses.after(told, begun, lapse, own).equals(ends)


def test_dates_are_told_in_days() -> None:
    own, ends = Column(name="end", kind="date"), pl.Series("end", [date(2020, 3, 1)])
    begun = to_numbers(pl.Series([date(2020, 2, 28)]))
    lapse = lapses.lapse(own, ends, begun)
    assert lapse.unit == "d" and lapses.told(ends, begun, lapse).to_list() == [2]
    assert lapses.after(pl.Series([2]), begun, lapse, own).equals(ends)
