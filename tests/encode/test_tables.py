"""Rows <-> tokens: every kind, missing values, pairs, and columns that follow from others."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.encode import Codes, TableEncoder
from proband.errors import InputError
from proband.schema import Column, Rule, Schema, Table
from proband.schema import rules as sql


def cohort(frame: pl.DataFrame, columns: list[Column], rules: tuple[str, ...] = (), key: str | None = None) -> Cohort:
    schema = Schema(tables=(Table(name="patients", columns=tuple(columns), key=key),), rules=tuple(Rule(sql=text) for text in rules))
    return Cohort(schema, frame.cast({c.name: c.dtype for c in columns}))  # type: ignore[arg-type]


def there_and_back(real: Cohort) -> pl.DataFrame:
    encoder = TableEncoder.fit(real)
    return encoder.decode(encoder.encode(real.frame))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("number", [1.5, None, 2.25, 2.25]),
        ("integer", [3, None, -4, 3]),
        ("category", ["b", None, "a", "b"]),
        ("ordinal", ["a", "b", None, "b"]),
        ("boolean", [True, None, False, True]),
        ("date", [dt.date(1931, 2, 3), None, dt.date(2020, 2, 29), dt.date(1931, 2, 3)]),
        ("datetime", [dt.datetime(2020, 1, 1, 12, 30, 0, 5), None, dt.datetime(1969, 1, 1), dt.datetime(2020, 1, 1, 12, 30)]),
        ("time", [dt.time(0, 0), None, dt.time(23, 59, 59), dt.time(12, 0)]),
        ("number", [None, None, None, None]),
        ("category", [None, None, None, None]),
        ("integer", [7, 7, 7, 7]),
    ],
)
def test_every_kind_comes_back_exactly(kind, values):
    categories = ("a", "b", "never seen") if kind in ("category", "ordinal") else None
    column = Column(name="x", kind=kind, categories=categories)
    real = cohort(pl.DataFrame({"x": pl.Series(values, dtype=column.dtype)}), [column])
    assert there_and_back(real).equals(real.frame)


def test_fields_say_what_they_are():
    frame = pl.DataFrame({"id": list("abcd"), "sex": ["F", "M", "M", None], "n": [1, 2, 2, 2]})
    real = cohort(
        frame,
        [
            Column(name="id", kind="identifier"),
            Column(name="sex", kind="category", categories=("F", "M", "X")),
            Column(name="n", kind="integer"),
        ],
    )
    sex, n = TableEncoder.fit(real).fields
    assert (sex.name, sex.levels, sex.numeric, sex.counts.tolist()) == ("sex", 4, False, [1, 1, 2, 0])
    assert (n.name, n.levels, n.numeric) == ("n", n.counts.size, True)


def test_identifiers_are_fresh():
    real = cohort(pl.DataFrame({"id": ["synthetic-000001", "b"]}), [Column(name="id", kind="identifier")], key="id")
    fresh = there_and_back(real)["id"]
    assert fresh.n_unique() == 2
    assert not fresh.is_in(real.frame["id"].implode()).any()


NUMBER, INTEGER = "number", "integer"


@pytest.mark.parametrize(
    ("kind", "low", "high", "form"),
    [
        (NUMBER, [1.0, 2.0, None, 4.0, None], [1.5, 2.0, 3.0, None, None], "share"),
        (NUMBER, [-1.0, 2.0, None, 4.0, None], [1.5, 2.0, 3.0, None, None], "gap"),
        (INTEGER, [-1, 2, None, 4, None], [1, 2, 3, None, None], "gap"),
    ],
)
def test_an_ordered_pair_is_told_by_one_of_its_columns(kind, low, high, form):
    real = cohort(
        pl.DataFrame({"low": low, "high": high}), [Column(name="low", kind=kind), Column(name="high", kind=kind)], ("low <= high",)
    )
    encoder = TableEncoder.fit(real)
    assert [book.pair and book.pair.form for book in encoder.books].count(form) == 1
    assert encoder.rules == ()
    assert encoder.decode(encoder.encode(real.frame)).equals(real.frame)


def test_a_pair_keeps_its_order_whatever_is_drawn():
    rng = np.random.default_rng(0)
    start = rng.integers(0, 1000, 500)
    frame = pl.DataFrame({"start": start, "end": start + rng.poisson(3, 500) + 1}).cast(pl.Int32).cast(pl.Date)
    real = cohort(frame, [Column(name="start", kind="date"), Column(name="end", kind="date")], ("start < end",))
    encoder = TableEncoder.fit(real)
    tokens = np.stack([rng.integers(1, field.levels, 2000) for field in encoder.fields], axis=1)
    made = encoder.decode(Codes(tokens.astype(np.int32), rng.random(tokens.shape)))
    assert (made["start"] < made["end"]).all()


def test_heaped_pairs_stay_as_they_are():
    """Blood pressures end in 0; a ratio of two would lose that, so the rule is left to the mask."""
    rng = np.random.default_rng(1)
    diastolic = rng.choice([60.0, 70.0, 80.0, 90.0], 2000)
    frame = pl.DataFrame({"dia": diastolic, "sys": diastolic + np.round(rng.uniform(10, 80, 2000))})
    encoder = TableEncoder.fit(cohort(frame, [Column(name="dia", kind="number"), Column(name="sys", kind="number")], ("dia <= sys",)))
    share = [book.pair for book in encoder.books if book.pair is not None and book.pair.form == "share"]
    assert not share


def test_derived_columns_are_recomputed_in_order():
    frame = pl.DataFrame(
        {"a": [1.0, 2.0, None], "b": [0.5, 0.0, 1.0], "total": [1.5, 2.0, None], "twice": [3.0, 4.0, None], "told": [True, True, False]}
    )
    columns = [Column(name=name, kind="number") for name in ("a", "b", "total", "twice")] + [Column(name="told", kind="boolean")]
    real = cohort(frame, columns, ("twice = total * 2", "total = a + b", "told = (a IS NOT NULL)"))
    encoder = TableEncoder.fit(real)
    assert [field.name for field in encoder.fields] == ["a", "b"]
    assert encoder.decode(encoder.encode(real.frame)).equals(real.frame)
    assert encoder.reads(["twice"]) == {0, 1}


def test_a_definition_that_does_not_recompute_stays_a_rule():
    """half is a whole number, so total / 2 cannot be recomputed: the rule is kept by masking instead."""
    frame = pl.DataFrame({"total": [2, 3, 4], "half": [1, 1, 2]})
    real = cohort(frame, [Column(name="total", kind="integer"), Column(name="half", kind="integer")], ("half = total / 2.0",))
    encoder = TableEncoder.fit(real)
    assert len(encoder.fields) == 2
    assert encoder.rules == ("half = total / 2.0",)


def test_declared_bounds_of_derived_columns_are_rules():
    frame = pl.DataFrame({"a": [3.0, 4.0], "b": [1.0, 2.0], "c": [2.0, 2.0]})
    columns = [Column(name="a", kind="number"), Column(name="b", kind="number"), Column(name="c", kind="number", low=0)]
    assert TableEncoder.fit(cohort(frame, columns, ("c = a - b",))).rules == ("c >= 0.0",)


def test_rules_left_for_the_mask():
    frame = pl.DataFrame({"a": [1.0, 2.0], "b": [True, False]})
    encoder = TableEncoder.fit(cohort(frame, [Column(name="a", kind="number"), Column(name="b", kind="boolean")], ("NOT (b AND a > 1)",)))
    assert encoder.rules == ("NOT (b AND a > 1)",)


def test_restored_from_its_state():
    rng = np.random.default_rng(2)
    low = np.round(rng.gamma(2, 2, 300), 1)
    frame = pl.DataFrame({"low": low, "high": low + np.round(rng.gamma(1, 1, 300), 1), "k": rng.choice(["x", "y"], 300)})
    columns = [
        Column(name="low", kind="number"),
        Column(name="high", kind="number"),
        Column(name="k", kind="category", categories=("x", "y")),
    ]
    real = cohort(frame, columns, ("low <= high",))
    encoder = TableEncoder.fit(real)
    again = TableEncoder.restored(real.schema, *encoder.state())
    codes = Codes(encoder.encode(real.frame).tokens, rng.random((300, 3)))
    assert again.decode(codes).equals(encoder.decode(codes))
    assert sql.holds("low <= high", again.decode(codes), real.schema.table).all()


def test_a_part_of_the_columns():
    real = cohort(
        pl.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}),
        [Column(name="a", kind="number"), Column(name="b", kind="category", categories=("x", "y"))],
    )
    encoder = TableEncoder.fit(real)
    codes = encoder.encode(real.frame)
    assert encoder.frame(["b"], lambda i: (codes.tokens[:, i], codes.offsets[:, i]), 2).equals(real.frame.select("b"))


def test_refused():
    with pytest.raises(InputError, match="no rows"):
        TableEncoder.fit(cohort(pl.DataFrame({"a": []}), [Column(name="a", kind="number")]))
    with pytest.raises(InputError, match="'note' is free text"):
        TableEncoder.fit(cohort(pl.DataFrame({"note": ["hello"]}), [Column(name="note", kind="text")]))
    with pytest.raises(InputError, match="'a' holds an infinite value"):
        TableEncoder.fit(cohort(pl.DataFrame({"a": [1.0, float("inf")]}), [Column(name="a", kind="number")]))
    with pytest.raises(InputError, match="'k' holds a level"):
        TableEncoder.fit(cohort(pl.DataFrame({"k": ["x", "z"]}), [Column(name="k", kind="category", categories=("x",))]))
    columns = [Column(name="id", kind="identifier"), Column(name="site", kind="category", categories=("a",))]
    with pytest.raises(InputError, match="from the identifier 'id'"):
        TableEncoder.fit(cohort(pl.DataFrame({"id": ["a"], "site": ["a"]}), columns, ("site = SUBSTR(id, 1, 1)",)))
