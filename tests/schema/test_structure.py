"""Planted structure is found; independent columns show none."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from proband.records import read
from proband.schema import Schema, rules
from proband.schema.derived import roundest

ROWS = 1000


def found(frame: dict[str, Any]) -> list[str]:
    """The rules guessed for a frame; each must hold, and each definition must give back its column, missing values included."""
    table = pl.DataFrame(frame, strict=False)
    schema = Schema.guess(table).accept()
    cohort = read(table, schema)
    texts = [rule.sql for rule in schema.rules]
    derived, _ = rules.derivations(texts, schema.table)
    for text in texts:
        assert rules.holds(text, cohort.frame, schema.table).fill_null(True).all()
    for name, how in derived.items():
        computed = cohort.frame.select(rules.expression(how.expression, schema.table).alias("x")).to_series()
        assert computed.equals(cohort.frame[name].cast(computed.dtype), check_names=False), name
    return texts


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def with_gaps(values: Any, gaps: np.ndarray) -> list[Any]:
    return [None if gap else value for value, gap in zip(np.asarray(values).tolist(), gaps, strict=True)]


def test_copies_across_types(rng: np.random.Generator) -> None:
    x = with_gaps(rng.integers(0, 50, ROWS), rng.random(ROWS) < 0.1)
    assert found({"a": x, "b": [None if v is None else float(v) for v in x]}) == ["b IS NOT DISTINCT FROM a"]
    word = rng.choice(["red", "green", "blue"], ROWS)
    assert found({"a": word, "other": rng.integers(0, 50, ROWS), "c": word}) == ["c IS NOT DISTINCT FROM a"]


def test_a_copy_with_one_difference_is_none(rng: np.random.Generator) -> None:
    x = rng.integers(0, 50, ROWS)
    y = x.copy()
    y[500] += 1
    assert not any("DISTINCT" in text for text in found({"a": x, "b": y}))


@pytest.mark.parametrize("say, rule", [(("f", "t"), "lab_measured = (lab IS NOT NULL)"), (("t", "f"), "lab_measured = (lab IS NULL)")])
def test_measured(rng: np.random.Generator, say: tuple[str, str], rule: str) -> None:
    gaps = rng.random(ROWS) < 0.3
    assert found({"lab": with_gaps(rng.lognormal(0, 1, ROWS).round(2), gaps), "lab_measured": np.where(gaps, *say)}) == [rule]


def test_a_function_of_levels(rng: np.random.Generator) -> None:
    place = rng.choice(["lung", "colon", "heart", "brain"], ROWS)
    group = np.array([{"lung": "cancer", "colon": "cancer", "heart": "organ", "brain": "head"}[p] for p in place])
    texts = found({"diagnosis": place, "group": group})
    assert texts == [
        "\"group\" = CASE WHEN diagnosis IN ('colon', 'lung') THEN 'cancer' WHEN diagnosis = 'brain' THEN 'head' "
        "WHEN diagnosis = 'heart' THEN 'organ' END"
    ]


def test_a_function_keeps_missing_values(rng: np.random.Generator) -> None:
    gaps = rng.random(ROWS) < 0.2
    place = rng.choice(["a", "b", "c"], ROWS)
    lost = with_gaps(np.where(place == "a", "x", "y"), gaps)
    to_unknown = ["unknown_ward" if gap else "x" if p == "a" else "y" for p, gap in zip(place, gaps, strict=True)]
    assert len(found({"place": with_gaps(place, gaps), "half": lost})) == 1
    (text,) = found({"place": with_gaps(place, gaps), "half": to_unknown})
    assert "place IS NULL THEN 'unknown_ward'" in text


def test_the_opposite_flag(rng: np.random.Generator) -> None:
    alive = rng.random(ROWS) < 0.6
    assert found({"alive": alive, "died": ~alive}) == ["died = (alive = FALSE)"]


def test_nearly_unique_levels_determine_nothing(rng: np.random.Generator) -> None:
    ward = rng.permutation([f"w{i}" for i in range(ROWS // 4)] * 4)
    effect = {w: rng.random() < 0.5 for w in sorted(set(ward))}
    assert found({"ward": ward, "flag": [effect[w] for w in ward]}) == []


def test_sums_differences_and_ratios(rng: np.random.Generator) -> None:
    a, b = rng.integers(10, 90, ROWS), rng.integers(100, 300, ROWS)
    assert found({"direct": a, "rest": b, "total": a + b}) == ["total = direct + rest"]
    height = rng.normal(1.7, 0.1, ROWS).round(2)
    weight = rng.normal(75, 12, ROWS).round(1)
    bmi = (pl.Series(weight) / (pl.Series(height) * pl.Series(height))).round(1)
    assert found({"height": height, "weight": weight, "bmi": bmi}) == ["bmi = ROUND(weight / (height * height), 1)"]
    bmi = (10000 * pl.Series(weight) / ((pl.Series(height) * 100).round() ** 2)).round(1)
    centimetres = (height * 100).round()
    assert found({"height": centimetres, "weight": weight, "bmi": bmi}) == ["bmi = ROUND(10000 * weight / (height * height), 1)"]


def test_a_difference_printed_with_noise_and_missing_values(rng: np.random.Generator) -> None:
    before = rng.normal(70, 12, ROWS).round(2)
    after = (rng.integers(90, 260, ROWS) * 0.45359237).round(8)
    gaps = rng.random(ROWS) < 0.05
    frame = {"w71": before, "w82": with_gaps(after, gaps), "change": with_gaps(after - before, gaps)}
    assert "change = ROUND(w82 - w71, 8)" in found(frame)


def test_a_difference_that_fails_in_one_row_is_none(rng: np.random.Generator) -> None:
    a, b = rng.integers(10, 90, ROWS), rng.integers(100, 300, ROWS)
    total = a + b
    total[7] += 1
    assert not any("total =" in text for text in found({"a": a, "b": b, "total": total}))


def test_change_of_unit(rng: np.random.Generator) -> None:
    celsius = rng.normal(37, 1, ROWS).round(1)
    fahrenheit = (pl.Series(celsius) * 1.8 + 32).round(1)
    (text,) = found({"temp_c": celsius, "temp_f": fahrenheit})
    assert text.startswith("temp_f = ROUND(temp_c * 1.8 + 32, 1)")


def test_flags_and_grades_cut_from_a_number(rng: np.random.Generator) -> None:
    age = rng.integers(20, 90, ROWS)
    assert found({"age": age, "older": (age > 50).astype(int)}) == ["older = (age >= 51)"]
    grade = np.select([age < 40, age < 65], ["young", "middle"], "old")
    (text,) = found({"age": age, "grade": grade})
    assert text == "grade IS NOT DISTINCT FROM CASE WHEN age < 40 THEN 'young' WHEN age < 65 THEN 'middle' WHEN age >= 65 THEN 'old' END"


def test_a_flag_known_where_its_number_is_missing(rng: np.random.Generator) -> None:
    cigarettes = np.where(rng.random(ROWS) < 0.5, 0, rng.integers(1, 60, ROWS))
    gaps = (cigarettes > 0) & (rng.random(ROWS) < 0.05)
    assert found({"cigarettes": with_gaps(cigarettes, gaps), "smoker": cigarettes > 0}) == ["smoker = COALESCE(cigarettes >= 1, TRUE)"]


def test_order_and_only_what_does_not_follow(rng: np.random.Generator) -> None:
    low = rng.normal(60, 10, ROWS).round()
    middle = low + rng.integers(0, 20, ROWS)
    high = middle + rng.integers(0, 20, ROWS)
    assert sorted(found({"map_low": low, "map_mid": middle, "map_high": high})) == ["map_low <= map_mid", "map_mid <= map_high"]


def test_order_beyond_a_middle_that_is_often_missing(rng: np.random.Generator) -> None:
    """Most patients have no operation: for them nothing else says that discharge follows admission."""
    start = np.datetime64("2020-01-01") + rng.integers(0, 1000, ROWS)
    operated = start + rng.integers(0, 15, ROWS)
    frame = {
        "admitted": start.astype(str),
        "operated": with_gaps(operated.astype(str), rng.random(ROWS) < 0.6),
        "discharged": (operated + rng.integers(0, 15, ROWS)).astype(str),
    }
    assert sorted(found(frame)) == ["admitted <= discharged", "admitted <= operated", "operated <= discharged"]


def test_order_of_dates(rng: np.random.Generator) -> None:
    start = np.datetime64("2020-01-01") + rng.integers(0, 1000, ROWS)
    frame = {"admitted": start.astype(str), "discharged": (start + rng.integers(0, 30, ROWS)).astype(str)}
    assert found(frame) == ["admitted <= discharged"]


@pytest.mark.parametrize("first", [0, 1])
def test_days_between_dates(rng: np.random.Generator, first: int) -> None:
    """The third date is where the stay would have to end: without it the days are missing, too."""
    born = np.datetime64("1950-01-01") + rng.integers(0, 9000, ROWS)
    start = np.datetime64("2020-01-01") + rng.integers(0, 1000, ROWS)
    stay, gaps = rng.integers(0, 30, ROWS), rng.random(ROWS) < 0.1
    frame = {
        "born": born.astype(str),
        "admitted": start.astype(str),
        "discharged": with_gaps((start + stay).astype(str), gaps),
        "days": with_gaps(stay + first, gaps),
    }
    more = " + 1" if first else ""
    assert found(frame)[0] == f"days = CAST(discharged AS INTEGER) - CAST(admitted AS INTEGER){more}"
    frame["days"] = with_gaps(stay + first, rng.random(ROWS) < 0.1)  # missing elsewhere: no definition
    assert not any("days" in rule for rule in found(frame))


def test_ranges_that_lie_apart_are_no_rule(rng: np.random.Generator) -> None:
    age = rng.integers(30, 70, ROWS)
    assert found({"age": age, "cholesterol": 150 + age + rng.integers(0, 100, ROWS)}) == []


def test_exclusive_flags(rng: np.random.Generator) -> None:
    arm = rng.integers(0, 4, ROWS)
    assert found({"drug": arm == 0, "placebo": arm == 1, "age": rng.integers(20, 90, ROWS)}) == ["NOT (placebo AND drug)"]
    sex = rng.choice(["F", "M"], ROWS)
    assert found({"sex": sex, "pregnant": (sex == "F") & (rng.random(ROWS) < 0.2)}) == ["NOT (sex = 'M' AND pregnant)"]


def test_rare_flags_that_never_met_are_no_rule(rng: np.random.Generator) -> None:
    """Expected to meet in ROWS * .05 * .05 = 2.5 rows: never meeting happens by chance (8 %)."""
    first = np.arange(ROWS) < 50
    assert found({"a": rng.permutation(first), "b": first, "age": rng.integers(20, 90, ROWS)}) == []


@pytest.mark.parametrize("seed", range(10))
def test_independent_columns_have_no_structure(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame: dict[str, Any] = {}
    for i in range(6):
        frame[f"flag{i}"] = rng.random(ROWS) < rng.uniform(0.02, 0.5)
        frame[f"level{i}"] = rng.choice(["a", "b", "c", "d"], ROWS, p=[0.7, 0.2, 0.08, 0.02])
        frame[f"whole{i}"] = rng.integers(0, 3 + 40 * i, ROWS)
        frame[f"lab{i}"] = with_gaps(rng.lognormal(1, 0.5, ROWS).round(1), rng.random(ROWS) < 0.1)
    assert found(frame) == []


@pytest.mark.parametrize("above, upto, text", [(24.96, 25.02, "25"), (50, 51, "51"), (0, 1, "1"), (-0.3, 0.2, "0"), (0.551, 0.594, "0.59")])
def test_the_roundest_number_between(above: float, upto: float, text: str) -> None:
    assert roundest(above, upto) == text
    assert above < float(text) <= upto


def test_rules_that_only_hold_once_a_proposal_is_accepted_wait_for_it(rng: np.random.Generator) -> None:
    gaps = rng.random(ROWS) < 0.3
    frame = pl.DataFrame({"lab": np.where(gaps, "?", rng.integers(10, 99, ROWS).astype(str)), "measured": ~gaps})
    assert Schema.guess(frame).rules == ()
    assert [rule.sql for rule in read(frame).schema.rules] == ["measured = (lab IS NOT NULL)"]
