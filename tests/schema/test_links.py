"""How tables hang together, guessed from frames whose answer a reader can see."""

from pathlib import Path

import polars as pl
import pytest

import proband
from proband.errors import InputError
from proband.schema import Schema
from proband.schema.links import apart
from tests.linked import SCHEMA, frames

#: Twenty patients; every other has a stay; vitals belong to stays, drugs to patients and sometimes to a stay; tests have meanings.
PEOPLE = pl.DataFrame({"row_id": range(20), "subject_id": range(100, 120), "sex": ["F", "M"] * 10})
STAYS = pl.DataFrame(
    {"row_id": range(10), "subject_id": range(100, 120, 2), "stay_id": range(900, 910), "intime": ["2020-01-01 08:00"] * 10}
)
VITALS = pl.DataFrame(
    {
        "row_id": range(200),
        "subject_id": [100 + 2 * (i // 20) for i in range(200)],
        "stay_id": [900 + i // 20 for i in range(200)],
        "minute": [i % 20 // 2 for i in range(200)],
        "itemid": [1 + i % 2 for i in range(200)],
        "valuenum": [60.0 + i % 7 if i % 2 == 0 else 36.5 + i % 3 / 10 for i in range(200)],
    }
)
DRUGS = pl.DataFrame(
    {
        "subject_id": [100 + i % 20 for i in range(40)],
        "stay_id": [900 if i % 20 == 0 else None for i in range(40)],
        "drug": ["a", "b"] * 20,
        "dose": [1.5, 2.5] * 20,
    }
)
ITEMS = pl.DataFrame({"row_id": [0, 1, 2], "itemid": [1, 2, 3], "label": ["heart rate", "temperature", "weight"]})
CLINIC = {"d_items": ITEMS, "drugs": DRUGS, "people": PEOPLE, "stays": STAYS, "vitals": VITALS}


def test_the_tree_is_found() -> None:
    found = Schema.guess(CLINIC)
    assert [(t.name, t.key, t.parent, t.on) for t in found.tables] == [
        ("people", "subject_id", None, None),
        ("stays", "stay_id", "people", "subject_id"),
        ("drugs", None, "people", "subject_id"),  # its stay is mostly missing: a link
        ("vitals", None, "stays", "stay_id"),  # its stay never is: the deeper owner
    ]
    assert [(link.column, link.table) for link in found["drugs"].links] == [("stay_id", "stays")]
    assert [(link.column, link.table) for link in found["vitals"].links] == [("subject_id", "people")]
    assert found.codes == ("d_items",)


def test_keys_are_identifiers_and_a_number_of_the_row_is_no_key() -> None:
    found = Schema.guess(CLINIC)
    assert {found[name]["subject_id"].kind for name in ("people", "stays", "drugs", "vitals")} == {"identifier"}
    assert not any("row_id" in (table.key, table.on, *(link.column for link in table.links)) for table in found.tables)


def test_order_and_measures_are_found() -> None:
    found = Schema.guess(CLINIC)
    assert found["stays"].order == ("intime",) and found["vitals"].order == ("minute",)
    vitals = found["vitals"]
    assert vitals.measures == ("itemid", "valuenum")
    assert vitals["itemid"].categories == ("1", "2")
    heart, temperature = vitals.variables
    assert (heart.name, heart.kind, heart.low) == ("1", "integer", 0.0)
    assert (temperature.name, temperature.kind, temperature.grid.step if temperature.grid else None) == ("2", "number", 0.1)
    assert found["drugs"].measures is None  # a drug's dose is always the same: it follows from the drug, and measures nothing


def test_a_wide_table_of_visits_has_no_measures() -> None:
    rows = range(300)
    visits = pl.DataFrame(
        {
            "id": [i // 5 for i in rows],
            "day": [i % 5 * 90 for i in rows],
            "stage": [1 + i % 4 for i in rows],
            "bili": [0.1 * (i * 7 % 50) + i % 4 for i in rows],
            "albumin": [3 + 0.01 * (i * 11 % 90) for i in rows],
        }
    )
    found = Schema.guess({"patients": pl.DataFrame({"id": range(60), "sex": ["f", "m"] * 30}), "visits": visits})
    assert (found["visits"].order, found["visits"].measures) == (("day",), None)


def test_the_guess_is_read_checked_and_saved(tmp_path: Path) -> None:
    found = Schema.guess(CLINIC)
    cohort = proband.read(CLINIC, found.accept())
    assert len(cohort) == 20 and cohort.linked["vitals"].height == 200
    found.save(tmp_path / "schema.toml")
    assert Schema.load(tmp_path / "schema.toml") == found
    SCHEMA.save(tmp_path / "whole.toml")
    again = Schema.load(tmp_path / "whole.toml")
    assert again == SCHEMA and again.hash == SCHEMA.hash
    assert again["labs"].links == SCHEMA["labs"].links and again["labs"].variables == SCHEMA["labs"].variables


def test_proposals_reach_every_table() -> None:
    odd = VITALS.with_columns(rhythm=pl.Series(["regular", "irregular", "paced", "?"] * 50))
    found = Schema.guess(CLINIC | {"vitals": odd})
    assert [(p.table, p.column) for p in found.proposals] == [("vitals", "rhythm")]
    assert found.accept()["vitals"]["rhythm"].missing == ("?",) and found["vitals"]["rhythm"].missing == ()


def test_values_of_all_codes_together_bring_no_proposal() -> None:
    far = VITALS.with_columns(valuenum=pl.when(pl.col("row_id") < 6).then(999.0).otherwise(pl.col("valuenum")))
    alone = Schema.guess(far.select("valuenum"))
    assert [p.column for p in alone.proposals] == ["valuenum"]  # of a heart rate and a temperature
    assert Schema.guess(CLINIC | {"vitals": far}).proposals == ()


def test_orphans_do_not_hide_a_table() -> None:
    """A table with the patients' key is theirs, however many rows have no patient: reading then says so."""
    some = CLINIC | {"people": PEOPLE.head(19), "drugs": DRUGS.with_columns(pl.col("subject_id") + 7)}
    found = Schema.guess(some)
    assert found["drugs"].parent == "people" and found["stays"].parent == "people"
    with pytest.raises(InputError, match="no row of table 'people' has this key"):
        proband.read(some, found)


def test_tables_without_a_common_key_are_refused() -> None:
    with pytest.raises(InputError, match="No table has a column that names its rows and stands in another"):
        Schema.guess({"one": PEOPLE.select("sex"), "two": DRUGS.select("drug")})


def test_a_date_is_no_key() -> None:
    """Every admission has a time of its own, and transfers repeat it: a coincidence, no link."""
    days = [f"2020-01-{day:02d} 08:00:00" for day in range(1, 11)]
    stays = STAYS.with_columns(intime=pl.Series(days))
    moves = pl.DataFrame({"subject_id": [100 + 2 * (i // 3) for i in range(30)], "intime": [days[i // 3] for i in range(30)]})
    found = Schema.guess({"people": PEOPLE, "stays": stays, "moves": moves})
    assert (found["moves"].on, found["moves"].order) == ("subject_id", ("intime",))


def test_one_long_table_is_taken_apart() -> None:
    long = pl.DataFrame(
        {
            "id": [1, 1, 2, 2, 3],
            "sex": ["f", "f", "m", "m", "f"],
            "died": [0, 0, None, None, 1],
            "day": [0, 90, 0, 100, 0],
            "bili": [1.0, 1.0, 2.0, 2.5, 3.0],
            "note": [None, "a", None, None, None],
        }
    )
    parts = apart(long)
    assert parts["patients"].rows() == [(1, "f", 0), (2, "m", None), (3, "f", 1)]
    assert parts["visits"].columns == ["id", "day", "bili", "note"] and parts["visits"].height == 5
    assert list(apart(long.rename({"id": "who"}), "who", first="people", rest="rows")) == ["people", "rows"]
    for wrong, key in ((long.rename({"id": "who"}), None), (long.unique("id"), "id"), (long, "note")):
        with pytest.raises(InputError, match="key"):
            apart(wrong, key)


def test_frames_of_the_small_example_are_understood() -> None:
    found = Schema.guess(frames())
    assert {t.name: t.parent for t in found.tables} == {"patients": None, "stays": "patients", "labs": "patients"}
    assert [(link.column, link.table) for link in found["labs"].links] == [("stay", "stays")]


def test_a_table_has_one_key() -> None:
    """The bed of a stay is as unique as its number, but hardly anybody points at beds."""
    beds = CLINIC | {
        "stays": STAYS.with_columns(bed_id=pl.Series([f"B{i}" for i in range(10)])),
        "moves": pl.DataFrame({"subject_id": [100, 102, 104] * 2, "bed_id": ["B0", "B1", "B2"] * 2}),
    }
    found = Schema.guess(beds)
    assert found["stays"].key == "stay_id"
    assert (found["moves"].parent, found["moves"].links) == ("people", ())
