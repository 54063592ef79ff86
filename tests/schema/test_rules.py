"""Rules: literals take the column's type, and the forms that can be honoured by construction are recognised."""

from datetime import date

import polars as pl
import pytest

from proband.errors import InputError
from proband.schema import Column, Table, rules

TABLE = Table(
    name="t",
    columns=(
        Column(name="a", kind="integer"),
        Column(name="b", kind="number"),
        Column(name="flag", kind="boolean", spelling=("f", "t")),
        Column(name="code", kind="category", categories=("1", "2")),
        Column(name="seen", kind="date"),
        Column(name="odd name", kind="integer"),
        Column(name="order", kind="integer"),
    ),
)
FRAME = pl.DataFrame(
    {
        "a": [1, 5, None],
        "b": [2.5, 2.5, 2.5],
        "flag": [True, False, None],
        "code": ["1", "2", None],
        "seen": [date(2020, 1, 1), date(2021, 1, 1), None],
        "odd name": [1, 2, 3],
        "order": [3, 2, 1],
    }
)


@pytest.mark.parametrize(
    "text, answer",
    [
        ("a <= b", [True, False, None]),
        ("flag = 't'", [True, False, None]),
        ("flag = 1", [True, False, None]),
        ("'t' = flag", [True, False, None]),
        ("flag", [True, False, None]),
        ("code = 1", [True, False, None]),
        ("code IN (1, '2')", [True, True, None]),
        ("seen >= '2020-06-01'", [False, True, None]),
        ("seen BETWEEN '2020-01-01' AND '2020-12-31'", [True, False, None]),
        ("flag = (a IS NOT NULL)", [True, False, None]),
        ("flag IS NOT DISTINCT FROM (a < 3)", [True, True, True]),
        ('"odd name" < "order"', [True, False, False]),
    ],
)
def test_three_valued_answers(text: str, answer: list[bool | None]) -> None:
    assert rules.holds(text, FRAME, TABLE).to_list() == answer
    rules.check(text, TABLE)


@pytest.mark.parametrize("text", ["", "a >=", "height > 1", "a + 1", "a > 'x' AND AND b"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        rules.check(text, TABLE)


def test_conjuncts_keep_between_case_and_brackets_whole() -> None:
    assert rules.conjuncts("a BETWEEN 1 AND 2 AND (b > 1 OR flag) AND CASE WHEN a > 1 AND b > 1 THEN flag END") == [
        "a BETWEEN 1 AND 2",
        "( b > 1 OR flag )",
        "CASE WHEN a > 1 AND b > 1 THEN flag END",
    ]
    assert rules.conjuncts("a > 1 OR b > 1 AND flag") == ["a > 1 OR b > 1 AND flag"]


def test_orderings() -> None:
    assert rules.ordering("a <= b", TABLE) == ("a", "b", False)
    assert rules.ordering("a > b", TABLE) == ("b", "a", True)
    assert rules.ordering("a <= 5", TABLE) is None


def test_derivations_come_in_an_order_that_works_and_never_in_a_circle() -> None:
    texts = ["b = a * 2", 'a = "order" + 1', '"order" = b - 1', "a <= b", "flag = (b IS NOT NULL)"]
    derived, rest = rules.derivations(texts, TABLE)
    assert list(derived) == ["a", "b", "flag"]
    assert rest == ['"order" = b - 1', "a <= b"]
    assert derived["b"].inputs == {"a"}
