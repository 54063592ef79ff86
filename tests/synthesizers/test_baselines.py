"""The yardsticks do what they are for: one knows no relation, the other copies."""

import json

import polars as pl
import pytest

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Column, Rule, Schema, Table
from proband.synthesizers.baselines import Bootstrap, IndependentColumns


def twins(rows: int = 500, rules: tuple[str, ...] = ()) -> Cohort:
    """Two columns that always agree."""
    frame = pl.DataFrame({"a": [at % 7 for at in range(rows)], "b": [at % 7 for at in range(rows)]})
    schema = Schema(
        tables=(Table(name="t", columns=(Column(name="a", kind="integer"), Column(name="b", kind="integer"))),),
        rules=tuple(Rule(sql=r) for r in rules),
    )
    return Cohort(schema, frame)


def test_independent_columns_keep_each_column_and_no_relation():
    made = IndependentColumns().fit(twins(), seed=1).sample(7000, seed=2).frame
    assert (made["a"] == made["b"]).mean() == pytest.approx(1 / 7, abs=0.02)
    assert all(made["a"].value_counts()["count"].is_between(850, 1150))


def test_bootstrap_copies_whole_patients(cohort):
    made = Bootstrap().fit(cohort, seed=1).sample(500, seed=2)
    real = cohort.frame.drop("id")
    assert made.frame.drop("id").join(real, on=real.columns, how="anti", nulls_equal=True).height == 0
    assert len(made) == 500


def test_bootstrap_chooses_among_patients(cohort):
    model = Bootstrap().fit(cohort, seed=1)
    assert (model.sample(50, seed=2, where="age > 80 AND sex = 'F'").frame["age"] > 80).all()
    with pytest.raises(InputError, match="No training patient satisfies"):
        model.sample(1, seed=2, where="age > 200")
    assert model.sample(0, seed=2, where="age > 200").frame.height == 0


def test_bootstrap_leaves_out_rows_that_break_a_rule():
    made = Bootstrap().fit(twins(rules=("a + b < 10",)), seed=1).sample(300, seed=2).frame
    assert (made["a"] + made["b"]).max() == 8
    with pytest.raises(InputError, match="Every row breaks a rule"):
        Bootstrap().fit(twins(rules=("a > 100",)), seed=1)


def test_bootstrap_says_what_it_is(cohort, tmp_path):
    model = Bootstrap().fit(cohort, seed=1)
    mark = model.sample(1, seed=2).mark
    assert mark is not None and "real patients" in mark.details["warning"]
    model.save(tmp_path / "model")
    assert "real patients" in json.loads((tmp_path / "model" / "model.json").read_text())["config"]["warning"]
