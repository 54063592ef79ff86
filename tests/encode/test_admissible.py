"""Conditions over encoded columns: exact where they can be met, refused where only one patient meets them."""

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.encode import TableEncoder
from proband.encode.admissible import constraints
from proband.errors import InputError
from proband.schema import Column, Rule, Schema, Table
from proband.synthesizers.drawing import draw


def ward(rows: int = 3000, rules: tuple[str, ...] = ()) -> Cohort:
    """Diagnoses with hundreds of codes, each patient older the later the chapter; one patient has Z99.9, is 131 and weighs 63.7."""
    rng = np.random.default_rng(0)
    codes = [f"{chapter}{family:02d}.{rest}" for chapter in "ABCDE" for family in range(10) for rest in range(6)]
    at = np.minimum(rng.integers(0, 300, rows), rng.integers(0, 300, rows))
    frame = pl.DataFrame(
        {
            "code": [*(codes[i] for i in at[:-1]), "Z99.9"],
            "age": np.append(np.round(20 + at[:-1] / 6 + rng.normal(0, 4, rows - 1)), 131.0),
            "weight": np.append(np.round(rng.choice([60.0, 70.0, 80.0], rows - 1) + rng.integers(0, 3, rows - 1)), 63.7),
        }
    )
    frame = frame.with_columns(code=pl.when(pl.Series(rng.random(rows) < 0.05)).then(None).otherwise("code"))
    columns = (
        Column(name="code", kind="category", categories=(*codes, "Z99.9")),
        Column(name="age", kind="number"),
        Column(name="weight", kind="number"),
    )
    return Cohort(Schema(tables=(Table(name="t", columns=columns),), rules=tuple(Rule(sql=text) for text in rules)), frame)


def sample(encoder: TableEncoder, n: int, where: str | None = None, order: list[int] | None = None) -> pl.DataFrame:
    def propose(field, tokens, latent):
        counts = encoder.fields[field].counts
        return np.tile(counts / counts.sum(), (len(tokens), 1))

    return draw(encoder, n, propose=propose, order=order or range(len(encoder.fields)), where=where, rng=np.random.default_rng(0))


@pytest.mark.parametrize("where", ["code = 'Z99.9'", "age = 131", "age > 100", "weight = 63.7"])
def test_what_one_patient_holds_cannot_be_asked_for(where):
    with pytest.raises(InputError, match="No synthetic patient can satisfy"):
        sample(TableEncoder.fit(ward()), 10, where)


@pytest.mark.parametrize(
    "where",
    [
        "code = 'D09.0'",
        "code LIKE 'B0%'",
        "code IS NULL",
        "code IN ('A00.0', 'E01.1') AND age > 30",
        "code = 'C05.5' OR age > 75",
        "code <> 'A00.0'",
    ],
)
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 2, 0]])
def test_conditions_on_a_column_of_many_levels(where, order):
    encoder = TableEncoder.fit(ward())
    assert [field.name for field in encoder.fields] == ["code", "code within its group", "age", "weight"]
    made = sample(encoder, 100, where, order)
    assert made.height == made.sql(f"SELECT * FROM self WHERE {where}").height == 100


def test_a_condition_keeps_the_proportions_of_the_codes():
    """Among codes that begin with B, each as often as among the training patients who have them."""
    encoder = TableEncoder.fit(ward())
    made = sample(encoder, 20_000, "code LIKE 'B%'")
    codes = encoder.decode(encoder.encode(ward().frame))["code"]
    real = codes.filter(codes.str.starts_with("B")).value_counts(normalize=True)
    both = real.join(made["code"].value_counts(normalize=True), on="code", how="full")
    assert both.height == real.height
    # Groups and places are drawn on their own here: what remains is that a group's share is right.
    group = lambda frame, share: frame.group_by(pl.col("code").str.slice(0, 1)).agg(pl.col(share).sum())[share][0]  # noqa: E731
    assert group(both, "proportion") == pytest.approx(group(both, "proportion_right"), abs=1e-6)


def test_rules_on_a_column_of_many_levels_hold():
    cohort = ward(rules=("code <> 'A00.3'", "code < 'D' OR age >= 20 OR code IS NULL"))
    kept = cohort.frame.filter((pl.col("code").is_null() | (pl.col("code") != "A00.3")) & (pl.col("age") >= 20))
    made = sample(TableEncoder.fit(Cohort(cohort.schema, kept)), 3000)
    assert not (made["code"] == "A00.3").any()
    assert made.filter((pl.col("code") >= "D") & (pl.col("age") < 20)).height == 0


def test_the_group_is_asked_first():
    encoder = TableEncoder.fit(ward())
    first = [c for c in constraints(encoder, "code = 'D09.0' AND age > 30") if c.groups is not None]
    assert len(first) == 1 and first[0].fields == {0} and first[0].groups.sum() == 1
