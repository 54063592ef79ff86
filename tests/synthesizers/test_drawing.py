"""The sampler: every rule and condition holds in every row, nothing is dropped, and the distribution is the right one."""

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.encode import TableEncoder
from proband.errors import InputError, ProbandError
from proband.schema import Column, Rule, Schema, Table
from proband.schema import rules as sql
from proband.synthesizers.drawing import draw


def sampler(cohort, order=None):
    """A function of (n, where, seed) that draws every field on its own; tables of a few rows keep the values of single patients."""
    encoder = TableEncoder.fit(cohort, held_by=1)

    def propose(field, tokens, latent):
        counts = encoder.fields[field].counts
        return np.broadcast_to(counts / counts.sum(), (len(tokens), len(counts)))

    def sample(n, where=None, seed=0, **more):
        fields = list(range(len(encoder.fields))) if order is None else order
        return draw(encoder, n, **({"propose": propose, "order": fields, "where": where, "rng": np.random.default_rng(seed)} | more))

    return sample


def small(rules=(), **columns):
    kinds = {bool: "boolean", str: "category", int: "integer", float: "number"}
    made = []
    for name, values in columns.items():
        kind = kinds[type(next(v for v in values if v is not None))]
        made.append(Column(name=name, kind=kind, categories=tuple(sorted(set(values))) if kind == "category" else None))
    schema = Schema(tables=(Table(name="t", columns=tuple(made)),), rules=tuple(Rule(sql=text) for text in rules))
    return Cohort(schema, pl.DataFrame(columns))


@pytest.mark.parametrize(
    "where",
    [
        "sex = 'F'",
        "age = 40",
        "age BETWEEN 40 AND 42",
        "age > 40.5 AND age < 42",
        "creatinine = 1.03",
        "creatinine > 1.02 AND creatinine < 1.04",
        "creatinine IS NULL",
        "creatinine_measured = FALSE",
        "pulse_pressure = 50",
        "pulse_pressure > 60 AND sex = 'M' AND age >= 70",
        "diastolic = 80",
        "systolic = 150 AND diastolic >= 90",
        "discharged >= '2021-06-01' AND admitted < '2021-06-01'",
        "seen BETWEEN '2020-03-01 08:00' AND '2020-03-31 12:00'",
        "age > 90 OR pregnant",
        "systolic > age * 2",
        "age * 2 = 80",
        "empty IS NULL",
        "pregnant AND age < 30",
    ],
)
@pytest.mark.parametrize("shuffled", [False, True])
def test_conditions_and_rules_hold_in_every_row(cohort, where, shuffled):
    fields = len(TableEncoder.fit(cohort, held_by=1).fields)
    order = list(np.random.default_rng(1).permutation(fields)) if shuffled else None
    frame = sampler(cohort, order)(200, where)
    assert frame.height == 200
    for text in (where, *(rule.sql for rule in cohort.schema.rules)):
        assert sql.holds(text, frame, cohort.schema.table).fill_null(text != where).all(), text


def test_a_mask_gives_the_conditional_distribution():
    """a and b are fair coins that are not both heads: (F, F), (F, T) and (T, F) would be told apart by a sampler that repairs rows."""
    cohort = small(("NOT (a AND b)",), a=[True, True, False, False], b=[False, False, True, False])
    frame = sampler(cohort)(40_000)
    assert not (frame["a"] & frame["b"]).any()
    assert frame["a"].mean() == pytest.approx(0.5, abs=0.01)  # drawn first, and rules do not reach back
    assert frame.filter(~pl.col("a"))["b"].mean() == pytest.approx(0.25, abs=0.01)


def test_a_condition_reaches_back_to_the_fields_drawn_before():
    """P(sick) = 1/2, and a patient who is sick coughs with probability .9, others .1: of those who cough 90 % are sick."""
    cohort = small((), sick=[True, False], cough=[True, False])
    encoder = TableEncoder.fit(cohort, held_by=1)

    def propose(field, tokens, latent):
        if field == 0:
            return np.tile([0.0, 0.5, 0.5], (len(tokens), 1))
        cough = np.where(tokens[:, 0] == 2, 0.9, 0.1)
        return np.stack([np.zeros(len(tokens)), 1 - cough, cough], axis=1)

    frame = draw(encoder, 20_000, propose=propose, order=[0, 1], where="cough", rng=np.random.default_rng(0))
    assert frame["cough"].all()
    assert frame["sick"].mean() == pytest.approx(0.9, abs=0.01)  # se .002


def test_a_rare_condition_brings_more_rows_along():
    """One in 500 answers: without oversampling all would descend from a single first draw."""
    cohort = small((), x=np.arange(1000.0).tolist(), rare=[True] * 2 + [False] * 998)
    frame = sampler(cohort)(100, "rare")
    assert frame["rare"].all()
    assert frame["x"].n_unique() > 90


def test_latent_stays_with_its_patient():
    cohort = small((), a=[True, False], b=[True, False])
    encoder = TableEncoder.fit(cohort, held_by=1)

    def propose(field, tokens, latent):
        return np.stack([np.zeros(len(tokens)), 1 - latent[:, 0], latent[:, 0]], axis=1)

    def latent(rows, rng):
        return rng.integers(0, 2, (rows, 1)).astype(float)

    frame = draw(encoder, 500, propose=propose, order=[1, 0], where="b", rng=np.random.default_rng(0), latent=latent)
    assert frame["a"].all() and frame["b"].all()


def test_what_the_synthesizer_thinks_impossible_is_still_found():
    cohort = small((), a=[True, False, False])
    never = lambda field, tokens, latent: np.tile([0.0, 1.0, 0.0], (len(tokens), 1))  # noqa: E731
    assert sampler(cohort)(20, "a", propose=never)["a"].all()


def test_dead_ends_give_way():
    """After a = True nothing can be drawn for b: those rows are replaced, not dropped."""
    cohort = small(("NOT a OR b = 'z'",), a=[True, False, False], b=["x", "y", "x"])
    frame = sampler(cohort)(50)
    assert frame.height == 50
    assert not frame["a"].any()


def test_no_rows(cohort):
    frame = sampler(cohort)(0, "age > 50")
    assert frame.height == 0
    assert frame.columns == cohort.frame.columns


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("age = 500", "No synthetic patient can satisfy 'age = 500'"),
        ("sex = 'F' AND sex = 'M'", "No synthetic patient can satisfy"),
        ("weight > 3", "names column 'weight'"),
        ("id = 'P1'", "an identifier"),
        ("age >", "cannot be read"),
        ("age", "not true or false"),
        ("", "not a condition"),
        ("1 = 2", "No synthetic patient can satisfy"),
    ],
)
def test_conditions_that_cannot_be(cohort, where, message):
    with pytest.raises(InputError, match=message):
        sampler(cohort)(10, where)


@pytest.mark.parametrize("n", [-1, 1.5, True, "3"])
def test_a_count_must_be_a_count(cohort, n):
    with pytest.raises(InputError, match="cannot be drawn"):
        sampler(cohort)(n)


def test_faults_of_the_caller(cohort):
    with pytest.raises(InputError, match="every field"):
        sampler(cohort, [0])(1)
    with pytest.raises(ProbandError, match="shape"):
        sampler(cohort)(1, propose=lambda field, tokens, latent: np.ones((len(tokens), 99)))


def _world(rng):
    a = np.round(rng.normal(50, 15, 200), 1)
    frame = pl.DataFrame(
        {
            "a": a,
            "b": np.round(a + rng.exponential(5, 200) * (rng.random(200) < 0.7), 1),
            "i": rng.poisson(4, 200),
            "k": rng.choice(list("pqrs"), 200),
            "t": rng.random(200) < 0.3,
            "x": rng.normal(size=200),
        }
    )
    for name in frame.columns:
        if rng.random() < 0.3:
            frame = frame.with_columns(pl.when(pl.Series(rng.random(200) < 0.2)).then(None).otherwise(pl.col(name)).alias(name))
    return frame.with_columns(c=pl.col("a") + pl.col("b"), told=pl.col("a").is_not_null())


def _condition(rng, frame):
    name = rng.choice(frame.columns)
    values = frame[name].drop_nulls()
    one, other = (values[int(at)] for at in rng.integers(0, len(values), 2))
    if values.dtype == pl.Boolean:
        return f"{name} = {one}"
    if values.dtype == pl.String:
        return str(rng.choice([f"{name} = '{one}'", f"{name} IN ('{one}', '{other}')", f"{name} IS NOT NULL"]))
    low, high = sorted((one, other))
    between = f"{name} BETWEEN {low!r} AND {high!r}"
    return str(
        rng.choice([f"{name} = {one!r}", f"{name} >= {low!r}", between, f"{name} <= {rng.choice(['a', 'i', 'x'])} + 40.0", f"{name} > i"])
    )


@pytest.mark.parametrize("seed", range(40))
def test_random_rules_and_conditions(seed):
    """Whatever a training patient satisfies can be drawn; what comes out keeps every rule (draw itself checks, and so do we)."""
    rng = np.random.default_rng(seed)
    frame = _world(rng)
    columns = {
        "a": "number",
        "b": "number",
        "i": "integer",
        "k": "category",
        "t": "boolean",
        "x": "number",
        "c": "number",
        "told": "boolean",
    }
    table = Table(
        name="t", columns=tuple(Column(name=n, kind=k, categories=tuple("pqrs") if k == "category" else None) for n, k in columns.items())
    )
    rules = [text for text in ("a <= b", "c = a + b", "told = (a IS NOT NULL)", "i < c", "NOT (t AND k = 'p')") if rng.random() < 0.6]
    for text in rules:
        frame = frame.filter(sql.holds(text, frame, table).fill_null(True))
    where = " AND ".join(_condition(rng, frame) for _ in range(rng.integers(1, 4)))
    possible = sql.holds(where, frame, table).fill_null(False).any()
    cohort = Cohort(Schema(tables=(table,), rules=tuple(Rule(sql=text) for text in rules)), frame.select(list(columns)))
    order = list(rng.permutation(len(TableEncoder.fit(cohort, held_by=1).fields)))
    try:
        made = sampler(cohort, order)(40, where)
    except InputError:
        assert not possible, where
        return
    assert made.height == 40
    assert sql.holds(where, made, table).fill_null(False).all()
    for text in rules:
        assert sql.holds(text, made, table).fill_null(True).all()
