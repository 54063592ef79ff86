"""Rows <-> tokens: every kind, missing values, pairs, columns that follow from others, and no value that one patient alone holds."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.encode import Codes, TableEncoder
from proband.errors import InputError
from proband.schema import Column, Rule, Schema, Table
from proband.schema import rules as sql
from proband.synthesizer import read_model, write_model


def cohort(frame: pl.DataFrame, columns: list[Column], rules: tuple[str, ...] = (), key: str | None = None) -> Cohort:
    schema = Schema(tables=(Table(name="patients", columns=tuple(columns), key=key),), rules=tuple(Rule(sql=text) for text in rules))
    return Cohort(schema, frame.cast({c.name: c.dtype for c in columns}))  # type: ignore[arg-type]


def there_and_back(real: Cohort, held_by: int = 2) -> pl.DataFrame:
    encoder = TableEncoder.fit(real, held_by=held_by)
    return encoder.decode(encoder.encode(real.frame))


def at_random(encoder: TableEncoder, rows: int, seed: int = 0) -> pl.DataFrame:
    """Rows of tokens that the training patients have, each on its own, with fresh offsets; what does not go together is masked."""
    rng = np.random.default_rng(seed)
    tokens = np.full((rows, len(encoder.fields)), -1, np.int32)
    for i, field in enumerate(encoder.fields):
        allowed = encoder.compatible(i, tokens)
        weight = np.ones((rows, field.levels)) * field.counts if allowed is None else allowed * (field.counts + 1e-6)
        until = weight.cumsum(axis=1)
        tokens[:, i] = (until <= rng.random((rows, 1)) * until[:, -1:]).sum(axis=1)
    return encoder.decode(Codes(tokens, rng.random(tokens.shape)))


def held_once(column: pl.Series, patients: pl.Series | None = None) -> pl.Series:
    """The values that exactly one patient holds."""
    rows = pl.DataFrame({"value": column, "who": pl.int_range(len(column), eager=True) if patients is None else patients}).drop_nulls()
    return rows.group_by("value").agg(pl.col("who").n_unique()).filter(pl.col("who") == 1)["value"]


def told_once(made: pl.DataFrame, real: pl.DataFrame) -> dict[str, int]:
    """Column -> rows of `made` with a value that exactly one patient of `real` holds."""
    found = {name: int(made[name].is_in(held_once(real[name]).implode()).sum()) for name in made.columns}
    return {name: rows for name, rows in found.items() if rows}


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
    assert there_and_back(real, held_by=1).equals(real.frame)
    twice = cohort(pl.concat([real.frame] * 2), [column])
    assert there_and_back(twice).equals(twice.frame)


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
    sex, n = TableEncoder.fit(real, held_by=1).fields
    assert (sex.name, sex.levels, sex.numeric, sex.counts.tolist()) == ("sex", 3, False, [1, 1, 2])
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
    for held_by in (1, 2):  # each row as often, so that all values may be told
        real = Cohort(real.schema, pl.concat([real.frame] * held_by))
        encoder = TableEncoder.fit(real, held_by=held_by)
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


def test_a_pair_does_not_heap_up_where_its_range_ends():
    """Born on one of 2,000 days, dead at random before day 2,400: many a drawn life would end later, 1 in 500 ends on the last day."""
    rng = np.random.default_rng(4)
    born = rng.integers(0, 2000, 3000)
    dead = rng.integers(born, 2400)
    frame = pl.DataFrame({"born": born, "dead": dead}).cast(pl.Int32).cast(pl.Date)
    encoder = TableEncoder.fit(cohort(frame, [Column(name="born", kind="date"), Column(name="dead", kind="date")], ("born <= dead",)))
    assert [field.name for field in encoder.fields] == ["born", "dead gap born"]
    made = at_random(encoder, 20_000)
    assert made["dead"].max() <= frame["dead"].max()
    assert (made["dead"] == made["dead"].max()).mean() < 0.005
    assert (made["born"] <= made["dead"]).all()


def test_heaped_pairs_stay_as_they_are():
    """Blood pressures end in 0; a ratio of two would lose that, so the rule is left to the mask."""
    rng = np.random.default_rng(1)
    diastolic = rng.choice([60.0, 70.0, 80.0, 90.0], 2000)
    frame = pl.DataFrame({"dia": diastolic, "sys": diastolic + np.round(rng.uniform(10, 80, 2000))})
    encoder = TableEncoder.fit(cohort(frame, [Column(name="dia", kind="number"), Column(name="sys", kind="number")], ("dia <= sys",)))
    share = [book.pair for book in encoder.books if book.pair is not None and book.pair.form == "share"]
    assert not share


def clinic(patients: int = 600, seed: int = 0) -> tuple[pl.DataFrame, list[Column], tuple[str, ...]]:
    """Heaped, dense, whole and dated columns, two ordered pairs, a derived column, missing values; most values are one patient's."""
    rng = np.random.default_rng(seed)
    start = rng.integers(18000, 19500, patients)
    stay = rng.poisson(6, patients) + (rng.random(patients) < 0.02) * rng.integers(30, 200, patients)
    low = np.round(rng.lognormal(1, 0.5, patients), 2)
    frame = pl.DataFrame(
        {
            "age": np.clip(rng.normal(60, 18, patients).round(), 0, 104).astype(int),
            "cost": np.round(rng.lognormal(6, 1, patients), 0),
            "dense": rng.normal(size=patients),
            "low": low,
            "high": np.round(low + rng.exponential(1, patients) * (rng.random(patients) < 0.8), 2),
            "site": rng.choice([f"S{i:03d}" for i in range(90)], patients),
            "admitted": pl.Series(start).cast(pl.Int32).cast(pl.Date),
            "discharged": pl.Series(start + stay).cast(pl.Int32).cast(pl.Date),
            "days": stay,
        }
    )
    gone = [
        pl.when(pl.Series(rng.random(patients) < 0.1)).then(None).otherwise(pl.col(name)).alias(name) for name in ("low", "high", "cost")
    ]
    kinds = {"age": "integer", "cost": "number", "dense": "number", "low": "number", "high": "number", "site": "category"}
    kinds |= {"admitted": "date", "discharged": "date", "days": "integer"}
    sites = tuple(sorted(set(frame["site"])))
    columns = [Column(name=name, kind=kind, categories=sites if kind == "category" else None) for name, kind in kinds.items()]  # type: ignore[arg-type]
    return (
        frame.with_columns(gone),
        columns,
        ("low <= high", "admitted <= discharged", "days = CAST(discharged AS INTEGER) - CAST(admitted AS INTEGER)"),
    )


def test_no_value_of_one_patient_is_told():
    """Whatever is drawn: every column but `days`, which follows from two dates."""
    frame, columns, rules = clinic()
    real = cohort(frame, columns, rules)
    encoder = TableEncoder.fit(real)
    assert [field.name for field in encoder.fields if field.name not in frame.columns] == ["low share high", "discharged gap admitted"]
    for made in (at_random(encoder, 20_000), encoder.decode(encoder.encode(real.frame))):
        assert not told_once(made.drop("days"), real.frame)
        for text in rules:
            assert sql.holds(text, made, real.schema.table).fill_null(True).all(), text


def test_what_two_patients_hold_comes_back():
    """A value of one patient moves to the nearest that may be told; a pair is exact where the other column and the gap are, too."""
    frame, columns, rules = clinic()
    real = cohort(frame, columns, rules)
    made = there_and_back(real)
    for name in ("age", "cost", "site", "high", "admitted"):
        shared = ~real.frame[name].is_in(held_once(real.frame[name]).implode())
        assert shared.sum() > 50 and made[name].filter(shared).equals(real.frame[name].filter(shared), null_equal=True), name
        assert made[name].is_null().equals(real.frame[name].is_null())
    assert (made["age"] - real.frame["age"]).abs().max() <= 10  # in the tails, where the oldest joins the second oldest
    assert (made["high"] - real.frame["high"]).abs().quantile(0.95) <= 0.03  # the tail is sparser than the grid
    once = [real.frame[name].is_in(held_once(real.frame[name]).implode()) for name in ("admitted", "discharged", "days")]
    shared = ~(once[0] | once[1] | once[2])
    assert shared.sum() > 50 and made["discharged"].filter(shared).equals(real.frame["discharged"].filter(shared))


def test_a_patient_with_several_rows_counts_once():
    """Ten rows with 55.5 and "rare" are one patient's: both move."""
    frame = pl.DataFrame(
        {"id": ["p"] * 10 + [f"q{i}" for i in range(40)], "x": [55.5] * 10 + [1.0, 2.0] * 20, "k": ["rare"] * 10 + ["a", "b"] * 20}
    )
    columns = [
        Column(name="id", kind="identifier"),
        Column(name="x", kind="number"),
        Column(name="k", kind="category", categories=("a", "b", "rare")),
    ]
    made = there_and_back(cohort(frame, columns, key="id"))
    assert set(made["x"]) == {1.0, 2.0} and set(made["k"]) == {"a", "b"}


def test_dates_and_a_duration_come_back():
    """Born, admitted, discharged: the first is told as it is, the others by gaps, and the days between two are recomputed."""
    rng = np.random.default_rng(3)
    admitted = rng.integers(15000, 15400, 800)
    dates = {"born": admitted - 365 * rng.integers(20, 60, 800), "admitted": admitted, "discharged": admitted + rng.poisson(4, 800)}
    frame = pl.DataFrame(dates).cast(pl.Int32).cast(pl.Date).with_columns(days=(pl.col("discharged") - pl.col("admitted")).dt.total_days())
    columns = [Column(name=name, kind="date") for name in dates] + [Column(name="days", kind="integer")]
    rules = ("born <= admitted", "admitted <= discharged", "days = CAST(discharged AS INTEGER) - CAST(admitted AS INTEGER)")
    real = cohort(pl.concat([frame, frame]), columns, rules)  # each patient twice, so that every value may be told
    encoder = TableEncoder.fit(real)
    assert [field.name for field in encoder.fields] == ["born", "admitted gap born", "discharged gap admitted"]
    assert encoder.decode(encoder.encode(real.frame)).equals(real.frame)
    made = at_random(encoder, 2000)
    assert all(sql.holds(text, made, real.schema.table).all() for text in rules)
    assert encoder.reads(["days"]) == {0, 1, 2}


def test_derived_columns_are_recomputed_in_order():
    frame = pl.DataFrame(
        {"a": [1.0, 2.0, None], "b": [0.5, 0.0, 1.0], "total": [1.5, 2.0, None], "twice": [3.0, 4.0, None], "told": [True, True, False]}
    )
    columns = [Column(name=name, kind="number") for name in ("a", "b", "total", "twice")] + [Column(name="told", kind="boolean")]
    real = cohort(pl.concat([frame, frame]), columns, ("twice = total * 2", "total = a + b", "told = (a IS NOT NULL)"))
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


def test_restored_with_many_levels_and_with_none(tmp_path):
    """Through a model folder: a column in two steps, one whose levels are one patient's each, and an empty one."""
    codes = [f"{letter}{i:02d}" for letter in "ABCD" for i in range(50)]
    frame = pl.DataFrame({"code": codes * 2, "name": [f"n{i}" for i in range(400)], "empty": pl.Series([None] * 400, dtype=pl.Float64)})
    columns = [
        Column(name="code", kind="category", categories=tuple(codes)),
        Column(name="name", kind="category", categories=tuple(frame["name"])),
        Column(name="empty", kind="number"),
    ]
    real = cohort(frame, columns)
    encoder = TableEncoder.fit(real)
    assert [field.levels for field in encoder.fields][2:] == [1, 1]
    write_model(tmp_path / "model", "encoder", *encoder.state())
    stored = read_model(tmp_path / "model")
    again = TableEncoder.restored(real.schema, stored.config, stored.arrays)
    assert again.decode(again.encode(real.frame)).equals(encoder.decode(encoder.encode(real.frame)))
    assert again.decode(again.encode(real.frame))["code"].equals(real.frame["code"])
    del stored.config["books"][1]
    with pytest.raises(ValueError, match="do not fit"):
        TableEncoder.restored(real.schema, stored.config, stored.arrays)


def test_a_part_of_the_columns():
    real = cohort(
        pl.DataFrame({"a": [1.0, 2.0] * 2, "b": ["x", "y"] * 2}),
        [Column(name="a", kind="number"), Column(name="b", kind="category", categories=("x", "y"))],
    )
    encoder = TableEncoder.fit(real)
    codes = encoder.encode(real.frame)
    assert encoder.frame(["b"], lambda i: (codes.tokens[:, i], codes.offsets[:, i]), 4).equals(real.frame.select("b"))


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
