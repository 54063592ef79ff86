import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Column, Rule, Schema, Table
from proband.synthesizers.refine import held_out, refine


def patients(rows=1500, seed=0):
    """Doses in steps of .5, a copy of the dose in mg, and smoking, which a third do."""
    rng = np.random.default_rng(seed)
    smoker = rng.random(rows) < 1 / 3
    dose = np.round(rng.normal(10 + 4 * smoker, 2, rows) * 2) / 2
    frame = pl.DataFrame({"dose": dose, "dose_mg": dose, "smoker": np.where(smoker, "yes", "no")})
    columns = (
        Column(name="dose", kind="number"),
        Column(name="dose_mg", kind="number"),
        Column(name="smoker", kind="category", categories=("no", "yes")),
    )
    return Cohort(Schema(tables=(Table(name="t", columns=columns),), rules=(Rule(sql="dose_mg = dose"),)), frame)


def bad_fakes(rows=6000, seed=1):
    """Somebody's table: the doses off their steps, the copy not a copy, half of the patients smokers, and the dose knows nothing of it."""
    rng = np.random.default_rng(seed)
    smoker = rng.random(rows) < 0.5
    dose = rng.normal(11.3, 2.8, rows)
    return pl.DataFrame({"dose": dose, "dose_mg": dose + rng.normal(0, 0.1, rows), "smoker": np.where(smoker, "yes", "no")})


def test_it_mends_and_chooses():
    real = patients()
    found = refine(bad_fakes(), real, n=1000, seed=0)
    made = found.cohort.frame
    assert made.height == 1000
    assert (made["dose"] == made["dose_mg"]).all() and ((made["dose"] * 2) % 1 == 0).all()
    assert (made["smoker"] == "yes").mean() == pytest.approx(1 / 3, abs=0.05)  # three standard errors of 1,000
    gap = made.filter(pl.col("smoker") == "yes")["dose"].mean() - made.filter(pl.col("smoker") == "no")["dose"].mean()
    assert gap == pytest.approx(4, abs=1)  # the fakes had none
    given, mended, *rounds = found.stages
    assert given["round"] == -1 and given["success"] > 0.95 > mended["success"]
    assert min(stage["success"] for stage in rounds if stage["kept"]) < mended["success"] - 0.05
    assert found.cohort.mark is not None and "refined" in found.cohort.mark.details


def test_real_patients_are_left_alone():
    """Fresh patients of the same clinic: there is nothing to choose by, and the judge stays near a guess."""
    found = refine(patients(3000, seed=5).frame, patients(), n=1000, seed=0)
    assert found.stages[-1]["success"] == pytest.approx(0.5, abs=0.1)  # the judge has 225 patients: a standard error is .03


def test_same_seed_same_choice():
    one, other = (refine(bad_fakes(1200), patients(400), seed=3).cohort.frame for _ in range(2))
    assert one.equals(other) and one.height == 400


def test_what_is_wrong_is_said():
    with pytest.raises(InputError, match="no column 'dose_mg'"):
        refine(bad_fakes(100).drop("dose_mg"), patients(300), seed=0)
    with pytest.raises(InputError, match="n = 200 patients cannot be chosen among 100"):
        refine(bad_fakes(100), patients(300), n=200, seed=0)


def test_patients_are_set_aside_whole():
    rows = pl.DataFrame({"id": [f"P{row % 50}" for row in range(200)], "x": np.arange(200.0)})
    cohort = Cohort(
        Schema(tables=(Table(name="t", columns=(Column(name="id", kind="identifier"), Column(name="x", kind="number")), key="id"),)), rows
    )
    aside = held_out(cohort, 0.2, 0)
    assert aside.sum() == 40 and set(rows.filter(pl.Series(aside))["id"]).isdisjoint(rows.filter(~pl.Series(aside))["id"])
