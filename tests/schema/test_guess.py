"""Guess on small frames whose answer is known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from proband.errors import InputError
from proband.records import read
from proband.schema import Column, Proposal, Schema
from proband.schema.guess import describe

RNG = np.random.default_rng(0)


def guessed(name: str, values: Any) -> tuple[Column, Proposal | None]:
    schema = Schema.guess(pl.DataFrame({name: pl.Series(values, strict=False)}))
    return schema.table[name], next(iter(schema.proposals), None)


def accepted(name: str, values: Any) -> Column:
    return Schema.guess(pl.DataFrame({name: pl.Series(values, strict=False)})).accept().table[name]


@pytest.mark.parametrize("words", [("f", "t"), ("no", "yes"), ("N", "Y"), ("False", "True"), ("absent", "present"), ("0", "1"), ("-", "+")])
def test_booleans_in_words(words: tuple[str, str]) -> None:
    column, proposal = guessed("sick", [words[0], words[1], None] * 20)
    assert (column.kind, column.spelling, proposal) == ("boolean", words, None)


@pytest.mark.parametrize("values, stored", [([0, 1, None], "Int64"), ([0.0, 1.0, None], "Float64")])
def test_booleans_in_numbers(values: Sequence[float | None], stored: str) -> None:
    column, _ = guessed("sick", list(values) * 20)
    assert (column.kind, column.spelling, column.stored) == ("boolean", ("0", "1"), stored)


def test_sex_is_a_category() -> None:
    assert guessed("sex", ["F", "M"] * 20)[0].categories == ("F", "M")
    assert guessed("sex", [1, 2] * 20)[0].categories == ("1", "2")


def test_few_whole_numbers() -> None:
    assert guessed("grade", [0, 1, 2, 3] * 20)[0].kind == "ordinal"
    assert guessed("marital", [2, 3, 4, 5, 8] * 20)[0].kind == "category"
    assert guessed("birthplace", list(range(1, 51)) * 20)[0].kind == "category"
    assert guessed("dose_mg", [5, 10, 20] * 20)[0].kind == "integer"
    assert guessed("children", list(range(12)) * 20)[0].kind == "integer"
    assert guessed("count", [0, 3, 1])[0].kind == "integer", "three rows show no codes"


def test_ranks_in_words() -> None:
    assert guessed("pain", ["severe", "mild", "moderate"] * 20)[0].categories == ("mild", "moderate", "severe")
    assert guessed("income", ["under $11k", ">$50k", "$25-$50k", "$11-$25k"] * 20)[0].categories == (
        "under $11k",
        "$11-$25k",
        "$25-$50k",
        ">$50k",
    )
    assert guessed("stage", ["II", "I", "IV", "III"] * 20)[0].categories == ("I", "II", "III", "IV")
    assert guessed("ward", ["south", "north", "east"] * 20)[0].kind == "category"


def test_bounds_come_from_meaning_not_from_the_extremes() -> None:
    ages = RNG.integers(30, 80, 200)
    column, _ = guessed("age", ages)
    assert (column.low, column.high) == (0, 120)
    assert (guessed("creatinine", RNG.lognormal(0, 0.5, 200))[0].low, guessed("creatinine", RNG.lognormal(0, 0.5, 200))[0].high) == (
        0,
        None,
    )
    assert guessed("surv2m", RNG.random(200))[0].high == 1
    assert guessed("weight_change", RNG.random(200))[0].low is None
    assert guessed("age_months", ages)[0].high is None


@pytest.mark.parametrize(
    "name, unit",
    [
        ("bmi_kg_m2", "kg/m2"),
        ("length_of_stay_days", "days"),
        ("creatinine [mg/dL]", "mg/dL"),
        ("weight (kg)", "kg"),
        ("systolic_mmhg", "mmHg"),
        ("age", None),
        ("result (y/n)", None),
    ],
)
def test_units_from_names(name: str, unit: str | None) -> None:
    assert guessed(name, RNG.integers(20, 90, 100))[0].unit == unit


@pytest.mark.parametrize(
    "text, kind, layout",
    [
        ("2020-01-31", "date", "%Y-%m-%d"),
        ("31/01/2020", "date", "%d/%m/%Y"),
        ("1/31/2020", "date", "%-m/%-d/%Y"),
        ("31.01.2020", "date", "%d.%m.%Y"),
        ("31-Jan-2020", "date", "%d-%b-%Y"),
        ("2020-01-31 23:59:01", "datetime", "%Y-%m-%d %H:%M:%S"),
        ("2020-01-31T23:59", "datetime", "%Y-%m-%dT%H:%M"),
        ("23:59", "time", "%H:%M"),
    ],
)
def test_dates_and_times(text: str, kind: str, layout: str) -> None:
    column, proposal = guessed("seen", [text, None] * 20)
    assert (column.kind, column.layout, proposal) == (kind, layout, None)


def test_dates_in_digits_need_the_name() -> None:
    assert guessed("birth_date", [20200131, 19990228] * 20)[0].layout == "%Y%m%d"
    assert guessed("platelets", [20200131, 19990228] * 20)[0].kind != "date"


def identifiers(frame: dict[str, Any]) -> tuple[str | None, list[str]]:
    table = Schema.guess(pl.DataFrame(frame)).table
    return table.key, [column.name for column in table.columns if column.kind == "identifier"]


def test_identifiers_and_the_key() -> None:
    rows = 200
    age = RNG.integers(30, 80, rows)
    assert identifiers({"pid": RNG.permutation(rows) * 7, "age": age}) == ("pid", ["pid"])
    assert identifiers({"subject_id": np.arange(rows) // 4, "visit_id": np.arange(rows), "age": age}) == (
        "subject_id",
        ["subject_id", "visit_id"],
    )
    assert identifiers({"row": np.arange(rows), "age": age}) == ("row", ["row"])
    assert identifiers({"code": [f"A{i}" for i in range(rows)], "age": age}) == ("code", ["code"])
    assert identifiers({"test_id": ["pcr", "antigen"] * (rows // 2), "age": age}) == (None, [])


def test_measurements_that_are_all_different_identify_nobody() -> None:
    assert identifiers({"crp": RNG.lognormal(1, 1, 500), "urine_ml": RNG.permutation(9000)[:500]}) == (None, [])


def test_leading_zeros_survive() -> None:
    column, _ = guessed("centre", ["01", "02", "10"] * 20)
    assert column.categories == ("01", "02", "10")


@pytest.mark.parametrize("word", ["?", "NA", "n/a", "missing", "unknown", "None", "-"])
def test_words_for_missing_are_proposed_in_numbers(word: str) -> None:
    values = [*map(str, [*range(90, 30, -1), *range(40, 80)]), word, word]
    column, proposal = guessed("cholesterol", values)
    assert column.kind == "category" and proposal is not None and not proposal.accept
    assert proposal.change["missing"] == [word]
    better = accepted("cholesterol", values)
    assert (better.kind, better.low, better.categories, better.stored) == ("integer", 0, None, "String")


def test_words_for_missing_are_proposed_among_levels() -> None:
    column, proposal = guessed("race", ["white"] * 50 + ["black"] * 30 + ["missing"] * 9)
    assert column.categories == ("black", "missing", "white")
    assert proposal is not None and "9 cells say 'missing'" in proposal.why
    assert accepted("race", ["white"] * 50 + ["black"] * 30 + ["missing"] * 9).categories == ("black", "white")
    assert accepted("smoker", ["yes"] * 50 + ["no"] * 30 + ["unknown"] * 9).kind == "boolean"
    assert accepted("income", ["<10k", "10k-20k", ">20k", "missing"] * 20).categories == ("<10k", "10k-20k", ">20k")


def test_the_commonest_level_is_not_missing() -> None:
    assert guessed("diagnosis", ["-"] * 60 + ["A"] * 20 + ["B"] * 20)[1] is None


def test_sentinels_are_proposed() -> None:
    body = RNG.integers(100, 300, 300).tolist()
    assert accepted("cholesterol", [*body, 0, 0, 0]).missing == ("0",)
    assert accepted("visits", [*body, -1, -1]).missing == ("-1",)
    assert accepted("visits", [*body, -1, -1]).low == 0
    assert accepted("visits", [*body, 9999, 9999]).missing == ("9999",)
    assert accepted("grade", [0, 1, 2, 3] * 50 + [-9, -9]) == Column(
        name="grade", kind="ordinal", categories=("0", "1", "2", "3"), missing=("-9",), stored="Int64"
    )


def test_zeros_and_negatives_that_belong_are_left_alone() -> None:
    assert guessed("cigarettes", [*RNG.integers(100, 300, 300).tolist(), 0, 0, 0])[1] is None
    assert guessed("base_excess", RNG.integers(-9, 10, 300).tolist())[1] is None
    assert guessed("mean_bp", [0, 0, 5, 9, 10, *RNG.integers(20, 180, 300).tolist()])[1] is None, "0 is not apart from 5"


def test_impossible_ages_are_proposed_to_be_missing() -> None:
    ages = [*RNG.integers(18, 95, 500).tolist(), 65526, 455]
    column, proposal = guessed("age", ages)
    assert column.high is None and proposal is not None
    assert proposal.change == {"high": 120.0, "low": 0.0, "outside": "missing"}
    assert "65526" not in proposal.why, "no patient's value in a reason"


def test_a_value_far_above_all_others_is_proposed_to_be_missing() -> None:
    values = [*np.round(RNG.normal(140, 5, 500), 1).tolist(), 14000.0]
    proposal = guessed("sodium", values)[1]
    assert proposal is not None and proposal.change["outside"] == "missing"
    assert 165 < proposal.change["high"] < 14000


@pytest.mark.parametrize("seed", range(20))
def test_ordinary_skewed_laboratory_values_are_not_outliers(seed: int) -> None:
    """Log-normal with sigma up to 1.5 (C-reactive protein, ferritin, troponin) and exponential values: 20 draws, no flag."""
    rng = np.random.default_rng(seed)
    for values in (rng.lognormal(1, 0.5, 3000), rng.lognormal(1, 1.5, 3000), rng.exponential(10, 3000), rng.normal(140, 4, 3000)):
        assert guessed("lab", np.round(values, 2))[1] is None


def test_units_in_cells() -> None:
    values = [f"{dose} mg" for dose in range(5, 65)] * 2
    column, proposal = guessed("dose", values)
    assert column.kind == "category" and proposal is not None
    better = accepted("dose", values)
    assert (better.kind, better.unit, better.unit_in_cell, better.low) == ("integer", "mg", " mg", 0)


def test_mixed_types() -> None:
    values = [*map(str, [*range(100), *range(50)]), "high", "see note"]
    _, proposal = guessed("titre", values)
    assert proposal is not None and proposal.change["missing"] == ["high", "see note"]
    assert accepted("titre", values).kind == "integer"


def test_an_all_missing_column_loads() -> None:
    frame = pl.DataFrame({"empty": pl.Series([None] * 30, dtype=pl.String), "age": range(30)})
    cohort = read(frame)
    assert cohort.schema.table["empty"].categories == ()
    assert "Every cell is missing" in Schema.guess(frame).proposals[0].why
    assert "Every cell is missing" in Schema.guess(frame.cast({"empty": pl.Float64})).proposals[0].why
    assert any("missing in every row" in problem.message for problem in cohort.schema.check(cohort))


def test_a_level_per_row_is_an_identifier_and_sentences_are_text() -> None:
    column, proposal = guessed("slip", [f"slip-{i}" for i in range(100)])
    assert column.kind == "identifier" and proposal is not None and "Nearly every cell differs" in proposal.why
    sentences = [f"Patient number {i} fell from a ladder and was sent home" for i in range(100)]
    assert guessed("note", sentences)[0].kind == "text"
    with pytest.raises(InputError, match="'note' holds free text"):
        read(pl.DataFrame({"note": sentences, "age": range(100)}))


@pytest.mark.parametrize("values", [[0.5, 1.25, float("inf")], ["1", "2", "inf"], ["1", "2", "1e400"], ["1", "2", "-Inf"]])
def test_infinity_is_named_when_read(values: list[Any]) -> None:
    with pytest.raises(InputError, match=r"'x', row 3: .* is not a finite number"):
        read(pl.DataFrame({"x": values * 20}))


def test_a_doubt_upon_a_doubt_makes_one_proposal() -> None:
    ages = [*map(str, [*range(20, 90)] * 3), "?", "?", "65526"]
    better = accepted("age", ages)
    assert (better.kind, better.missing, better.high, better.outside) == ("integer", ("?",), 120, "missing")
    assert accepted("visits", [*map(str, [*range(20, 90)] * 3), "NA", "-1", "-1"]).missing == ("NA", "-1")


def test_a_unit_beside_few_numbers_makes_them_numbers() -> None:
    frame = pl.DataFrame({"dose": [f"{i % 3} mg" for i in range(90)]})
    assert read(frame).frame["dose"].to_list()[:4] == [0, 1, 2, 0]


def test_integers_too_long_for_a_measurement_keep_every_digit() -> None:
    cohort = read(pl.DataFrame({"token": [2**60 + i * 7 for i in range(30)]}))
    assert cohort.frame["token"][1] == str(2**60 + 7)


def test_the_base_reading_loads_without_accepting() -> None:
    frame = pl.DataFrame(
        {
            "dose": [f"{i % 40} mg" for i in range(80)],
            "chol": [*map(str, [*range(100, 139)] * 2), "?", "?"],
            "age": [*range(98, 19, -1), 65526],
            "grade": ["1", "2", "x", "NA"] * 20,
        }
    )
    schema = Schema.guess(frame)
    assert len(schema.proposals) == 4
    assert read(frame, schema).frame.height == 80
    assert read(frame, schema.accept()).frame["chol"].null_count() == 2


def test_a_proposal_marked_accepted_in_the_file_is_applied(tmp_path: Path) -> None:
    schema = Schema.guess(pl.DataFrame({"chol": [*map(str, [*range(100, 139)] * 2), "?", "?"]}))
    schema.save(tmp_path / "schema.toml")
    text = (tmp_path / "schema.toml").read_text()
    assert Schema.load(tmp_path / "schema.toml") == schema
    assert Schema.load(tmp_path / "schema.toml").hash == schema.hash
    (tmp_path / "schema.toml").write_text(text.replace("[[proposals]]", "[[proposals]]\naccept = true"))
    reviewed = Schema.load(tmp_path / "schema.toml").reviewed()
    assert reviewed.table["chol"].kind == "integer" and reviewed.proposals == ()
    assert reviewed.hash == schema.accept().hash != schema.hash


def test_frames_of_every_kind_give_the_same_kinds() -> None:
    frame = pl.DataFrame({"x": np.round(RNG.random(60), 1), "sex": ["F", "M", None] * 20, "sick": [True, False, None] * 20})
    kinds = [[column.kind for column in Schema.guess(f).table.columns] for f in (frame, frame.to_arrow(), frame.to_pandas())]
    assert kinds == [["number", "category", "boolean"]] * 3


def test_pandas_categories_and_missing_numbers() -> None:
    frame = pd.DataFrame({"ward": pd.Categorical(["a", "b", None] * 20), "x": [0.5, float("nan"), 1.25] * 20})
    cohort = read(frame)
    assert cohort.frame["x"].null_count() == 20
    assert cohort.schema.table["ward"].categories == ("a", "b")


@pytest.mark.parametrize("frame", [pl.DataFrame({"x": [1]}), pl.DataFrame()])
def test_too_little_to_guess_from(frame: pl.DataFrame) -> None:
    with pytest.raises(InputError, match="fewer than 2 rows"):
        Schema.guess(frame)


def test_nested_values_are_refused() -> None:
    with pytest.raises(InputError, match="'visits' holds List"):
        Schema.guess(pl.DataFrame({"visits": [[1], [2, 3]]}))


def test_problems_name_constant_duplicate_and_unruly_rows() -> None:
    frame = pl.DataFrame({"pid": range(60), "age": [*range(20, 78), 30, 30], "site": ["A"] * 60})
    cohort = read(frame)
    messages = " ".join(f"{problem.rows} {problem.message}" for problem in cohort.schema.check(cohort))
    assert "60 Column 'site' has the same value" in messages
    assert "3 Rows are alike" in messages
    ruled = cohort.schema.model_validate(cohort.schema.model_dump() | {"rules": [{"sql": "age >= 25"}]})
    broken = [problem for problem in ruled.check(cohort) if "age >= 25" in problem.message]
    assert [problem.rows for problem in broken] == [5]


def test_codes_with_leading_zeros_are_no_grades() -> None:
    codes = pl.Series("drg_code", ["014", "0014", "552", "001"] * 30)
    found = describe("drg_code", codes)
    assert (found.kind, found.categories) == ("category", ("001", "0014", "014", "552"))
