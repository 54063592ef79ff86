"""SequentialForest learns how columns go together, remembers nobody, and gives the same patients on one worker or more."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from proband.cohort import Cohort
from proband.encode.tables import Field
from proband.errors import InputError
from proband.schema import Column, Schema, Table
from proband.synthesizer import load
from proband.synthesizers.forest import SequentialForest, smoothed


def table(frame: pl.DataFrame, **kinds: str) -> Cohort:
    columns = []
    for name in frame.columns:
        kind = (
            kinds.get(name)
            or {pl.Float64: "number", pl.Int64: "integer", pl.String: "category", pl.Boolean: "boolean"}[frame[name].dtype.base_type()]
        )
        levels = tuple(frame[name].drop_nulls().unique().sort()) if kind == "category" else None
        columns.append(Column(name=name, kind=kind, categories=levels))
    return Cohort(Schema(tables=(Table(name="t", columns=tuple(columns)),)), frame)


def test_dependence_is_learned():
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000)
    group = np.where(x + rng.normal(0, 0.3, 2000) > 0, "high", "low")
    y = pl.Series(2 * x + rng.normal(0, 0.5, 2000)).set(pl.Series(group == "low") & pl.Series(rng.random(2000) < 0.8), None)
    made = SequentialForest().fit(table(pl.DataFrame({"x": x, "group": group, "y": y})), seed=1).sample(4000, seed=2).frame
    assert made.drop_nulls().select(pl.corr("x", "y")).item() > 0.85  # real: .96 over the whole range, .9 where y is known
    assert made.filter(pl.col("group") == "high")["x"].mean() - made.filter(pl.col("group") == "low")["x"].mean() == pytest.approx(
        1.5, abs=0.25
    )
    assert made.filter(pl.col("group") == "low")["y"].is_null().mean() == pytest.approx(0.8, abs=0.06)
    assert made.filter(pl.col("group") == "high")["y"].is_null().mean() < 0.05


def test_no_leaf_speaks_for_a_few(cohort):
    model = SequentialForest(leaf_patients=15).fit(cohort, seed=1)
    for forest in model._forests.values():
        assert np.allclose(np.add.reduceat(forest.data, forest.indptr[:-1]), 1)
        assert len(forest.indptr) - 1 <= model.trees * len(cohort) / 15


def test_a_leaf_does_not_draw_a_number_to_one_patient():
    # Token 0 is missing, then thirty numbers of a hundred patients each and a heap of three thousand.
    field = Field("x", 32, True, np.array([500, *[100] * 30, 3000]))
    leaves = sparse.csr_matrix(np.eye(32)[[10, 31, 0]])  # three leaves that know one token only
    one, heap, missing = smoothed(leaves, field, 0.08).toarray()
    assert one.sum() == pytest.approx(1) and one[10] < 0.3 and one[9] == pytest.approx(one[11]) and one[9] > 0.1 and one[0] == 0
    assert heap[31] > 0.9, "a heap is many patients, and stays"
    assert missing[0] == 1


def test_cores_change_nothing(cohort, monkeypatch):
    found = []
    for number in (1, 3):
        monkeypatch.setattr("proband.stats.cores.cores", lambda number=number: number)
        found.append(SequentialForest().fit(cohort, seed=1).sample(100, seed=2).frame)
    assert found[0].equals(found[1])


def test_strange_columns():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "of_many": [f"level {at}" for at in rng.integers(0, 1000, 400)],
            "own_level": [f"row {at}" for at in range(400)],
            "constant": [3.5] * 400,
            "one_level": ["only"] * 400,
            "missing": pl.Series([None] * 400, dtype=pl.Float64),
            "hardly": pl.Series([1.0] + [None] * 399),
            "flat": rng.normal(size=400) * 1e-12,
            "steep": rng.lognormal(0, 20, 400),
        }
    )
    made = SequentialForest().fit(table(frame), seed=1).sample(300, seed=2).frame
    assert made["missing"].null_count() == 300
    assert set(made["constant"]) == {3.5}
    assert made["of_many"].is_in(frame["of_many"].implode()).all()
    assert made["steep"].is_between(frame["steep"].min(), frame["steep"].max()).all()


def test_many_columns():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({f"c{at}": rng.integers(0, 5, 120) for at in range(300)})
    assert SequentialForest(trees=1).fit(table(frame), seed=1).sample(20, seed=2).frame.shape == (20, 300)


@pytest.mark.parametrize("rows", [1, 2, 15])
def test_few_patients(rows):
    frame = pl.DataFrame(
        {"a": [float(at) for at in range(rows)], "b": ["x", "y"][:rows] * (rows // 2 or 1) + ["x"] * (rows % 2 if rows > 2 else 0)}
    )
    assert SequentialForest().fit(table(frame), seed=1).sample(5, seed=2).frame.height == 5


def test_several_rows_a_patient():
    frame = pl.DataFrame({"id": ["a", "a", "b"] * 20, "x": [1.0, 2.0, 3.0] * 20})
    cohort = Cohort(
        Schema(tables=(Table(name="t", columns=(Column(name="id", kind="identifier"), Column(name="x", kind="number")), key="id"),)), frame
    )
    assert len(SequentialForest().fit(cohort, seed=1).sample(10, seed=2)) == 10


def test_interrupted_fit_leaves_nothing(cohort):
    def stop(done, total, what, figures):
        raise KeyboardInterrupt

    model = SequentialForest()
    with pytest.raises(KeyboardInterrupt):
        model.fit(cohort, seed=1, on_step=stop)
    with pytest.raises(InputError, match="not been fitted"):
        model.sample(1, seed=1)


def test_the_mark_tells_the_condition_and_what_it_learned_from(cohort):
    model = SequentialForest(trees=1).fit(cohort, seed=1)
    made = model.sample(300, seed=2, where="age > 50")
    assert made.mark is not None and made.mark.details == {"where": "age > 50"}
    again = SequentialForest(trees=1).fit(replace(cohort, mark=made.mark), seed=1).sample(1, seed=1)
    assert again.mark is not None and again.mark.details == {"trained_on": "synthetic patients"}


@pytest.mark.parametrize("wrong", [{"trees": 0}, {"leaf_patients": -1}, {"trees": 1.5}])
def test_sizes_are_checked(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        SequentialForest(**wrong)


def test_a_hostile_tree_is_refused(cohort, tmp_path, monkeypatch):
    """A walk that goes in circles must not hang the reader: children lie further on, or the model is refused."""
    model = SequentialForest(trees=1).fit(cohort, seed=1)
    field, forest = next(iter(model._forests.items()))
    model._forests[field] = forest._replace(left=np.zeros_like(forest.left))
    model.save(tmp_path / "model")
    with pytest.raises(InputError, match="do not fit together"):
        load(tmp_path / "model")


def test_no_torch():
    code = (
        "import sys, proband.synthesizers.forest, proband.synthesizers.baselines; sys.exit(bool({'torch', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
