"""Planted faults between linked tables: each is found, with its table, column and row, and none where there is none."""

from dataclasses import replace

import polars as pl
import pytest

from proband.cohort import Cohort
from proband.schema.integrity import interval, strays, unowned
from tests.linked import SCHEMA, cohort


def with_rows(name: str, **values: list[object]) -> Cohort:
    """The patients of `tests.linked` with other values in a linked table."""
    made = cohort()
    frame = made.linked[name]
    changed = [pl.Series(column, found).cast(frame[column].dtype, strict=False) for column, found in values.items()]
    return replace(made, linked={**made.linked, name: frame.with_columns(changed)})


def found(made: Cohort) -> list[tuple[str, str | None, int]]:
    frames = {table.name: frame for table, frame in made.tables}
    return [(problem.table, problem.column, problem.rows) for problem in [*unowned(SCHEMA, frames), *strays(SCHEMA, frames)]]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert found(cohort()) == []


@pytest.mark.parametrize(
    ("made", "expected", "row"),
    [
        (with_rows("labs", pid=["1", "1", "9", None, "3"]), [("labs", "pid", 1), ("labs", "pid", 1)], "row 4: it is missing"),
        (with_rows("labs", stay=["10", "10", "99", "20", None]), [("labs", "stay", 1)], "row 3: no row of table 'stays'"),
        (with_rows("labs", stay=["10", "10", "20", "20", None]), [("labs", "stay", 1), ("labs", "time", 1)], "row 3: it points"),
        (with_rows("stays", stay=["10", "11", "11"]), [("stays", "stay", 1), ("labs", "stay", 1)], "row 3: the key stood"),
        (with_rows("labs", test=["K", "K", "K", "Na", "K"]), [("labs", "time", 1)], "row 2: the same pid, time, test stood"),
    ],
)
def test_planted_faults_are_found(made: Cohort, expected: list[tuple[str, str, int]], row: str) -> None:
    assert found(made) == expected
    messages = [problem.message for problem in SCHEMA.check(made)]
    assert any(row in message and message.startswith("Table '") for message in messages), messages


def moved(row: int, time: str) -> Cohort:
    made = cohort()
    times = made.linked["labs"]["time"].to_list()
    times[row] = pl.Series([time]).str.to_datetime("%Y-%m-%d %H:%M").item()
    return replace(
        made, linked={**made.linked, "labs": made.linked["labs"].with_columns(pl.Series("time", times, dtype=pl.Datetime("us")))}
    )


def test_events_outside_their_stay_are_found() -> None:
    assert found(moved(2, "2020-03-02 08:00")) == []  # the last minute is inside
    assert found(moved(2, "2020-03-02 08:01")) == [("labs", "time", 1)]
    assert found(moved(3, "2035-01-01 00:00")) == []  # this stay has no end
    assert found(moved(4, "2035-01-01 00:00")) == []  # this event has no stay


def test_time_running_backwards_is_found() -> None:
    assert found(moved(1, "2020-01-01 08:30")) == [("labs", "time", 1)]
    message = SCHEMA.check(moved(1, "2020-01-01 08:30"))[-1].message
    assert "Table 'labs': column 'time', row 2: it is earlier than the row before it" in message


def test_no_message_holds_a_value() -> None:
    made = with_rows("labs", stay=["10", "10", "98765", "20", None])
    assert not any("98765" in problem.message for problem in SCHEMA.check(made))


def test_the_ends_of_a_stay_are_told_by_their_names() -> None:
    stays = SCHEMA["stays"]

    def named(*names: str) -> tuple[str, str] | None:
        renamed = [c.model_copy(update={"name": name}) for c, name in zip(stays.columns[2:], names, strict=True)]
        table = stays.model_copy(update={"columns": (*stays.columns[:2], *renamed), "order": ()})
        return interval(table)

    assert interval(stays) == ("intime", "outtime")
    assert named("admittime", "dischtime") == ("admittime", "dischtime")
    assert named("VISIT_START_DATE", "VISIT_END_DATE") == ("VISIT_START_DATE", "VISIT_END_DATE")
    assert named("ordered", "given") is None and named("intime", "deathtime") is None
