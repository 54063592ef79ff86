import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import proband
from proband.cohort import Cohort, Mark
from proband.errors import InputError
from proband.records.mark import find_mark, is_synthetic
from proband.synthesizers import Bootstrap, IndependentColumns
from proband.uses.augmentation import augment, rows_needed
from tests.test_journey import command
from tests.uses.patients import SCHEMA, ward


@pytest.fixture(scope="module")
def train() -> Cohort:
    return ward(400)


@pytest.fixture(scope="module")
def model(train: Cohort) -> IndependentColumns:
    return IndependentColumns().fit(train, seed=1)


def test_how_many_rows_a_prevalence_needs() -> None:
    ten_of_a_hundred = np.arange(100) < 10
    assert rows_needed(ten_of_a_hundred, 0.5, "x") == 80  # 90 of 180
    assert rows_needed(ten_of_a_hundred, 0.25, "x") == 20  # 30 of 120
    assert rows_needed(np.where(ten_of_a_hundred, 1.0, np.nan), 0.5, "x") == 80  # unknown is not met
    with pytest.raises(InputError, match=r"10\.0% of the rows satisfy 'x' already"):
        rows_needed(ten_of_a_hundred, 0.1, "x")
    with pytest.raises(InputError, match="no share"):
        rows_needed(ten_of_a_hundred, 50, "x")


def test_real_rows_stay_and_synthetic_ones_are_told_apart(train: Cohort, model: IndependentColumns) -> None:
    made = augment(train, model, where="died = 'yes' AND age < 40", prevalence=0.4, seed=2)
    assert made.prevalence[0] < 0.1 and made.prevalence[1] == pytest.approx(0.4, abs=0.005)
    assert made.real is train
    assert made.synthetic.mark is not None and made.synthetic.mark.details["where"] == made.where
    assert made.synthetic.frame["died"].all() and (made.synthetic.frame["age"] < 40).all()
    together = made.together
    assert together.mark is None  # it holds real patients
    assert together.frame.filter(~pl.col("_synthetic")).drop("_synthetic").equals(train.frame)
    assert together.frame.filter("_synthetic").drop("_synthetic").equals(made.synthetic.frame)
    again = augment(train, model, where=made.where, n=made.synthetic.frame.height, seed=2)
    assert again.together.fingerprint == together.fingerprint


@pytest.mark.parametrize("name", ["both.csv", "both.csv.gz", "both.parquet"])
def test_a_saved_mixture_passes_neither_as_real_nor_as_synthetic(
    tmp_path: Path, train: Cohort, model: IndependentColumns, name: str
) -> None:
    made = augment(train, model, where="died = 'yes'", n=50, seed=2)
    made.save(tmp_path / name)
    with pytest.raises(InputError, match="real and synthetic patients are mixed"):
        proband.read(tmp_path / name, SCHEMA)
    assert not is_synthetic(tmp_path / name) and find_mark(tmp_path / name) is None
    facts = json.loads((tmp_path / f"{name}.augmented.json").read_text())
    assert (facts["real_rows"], facts["synthetic_rows"], facts["mark"]["proband.synthesizer"]) == (400, 50, "independent")


def test_what_cannot_be_is_refused(train: Cohort, model: IndependentColumns) -> None:
    marked = replace(train, mark=Mark("x", "1", 0, train.schema.hash))
    with pytest.raises(InputError, match="mark of synthetic"):
        augment(marked, model, where="died = 'yes'", n=5, seed=0)
    with pytest.raises(InputError, match="one of the two"):
        augment(train, model, where="died = 'yes'", seed=0)
    with pytest.raises(InputError, match="one of the two"):
        augment(train, model, where="died = 'yes'", n=5, prevalence=0.5, seed=0)
    other = SCHEMA.model_copy(update={"rules": ()})
    with pytest.raises(InputError, match="another schema"):
        augment(ward(400, schema=other), model, where="died = 'yes'", n=5, seed=0)


def test_a_synthesizer_that_gives_out_real_identifiers_is_stopped(train: Cohort) -> None:
    class Copies(Bootstrap):
        def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
            return replace(super().sample(n, seed=seed), frame=train.frame.head(n))

    with pytest.raises(InputError, match="real patients' identifiers"):
        augment(train, Copies().fit(train, seed=0), where="died = 'yes'", n=5, seed=0)


def test_the_command(
    tmp_path: Path, train: Cohort, model: IndependentColumns, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    proband.write(train, tmp_path / "train.csv")
    model.save(tmp_path / "model")
    words = "augment", tmp_path / "train.csv", "--model", tmp_path / "model", "--where", "died = 'yes'"
    assert command(monkeypatch, *words, "--prevalence", 0.5, "--out", tmp_path / "both.csv", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["prevalence_after"] == pytest.approx(0.5, abs=0.002)  # half a row of 650
    assert pl.read_csv(tmp_path / "both.csv")["_synthetic"].sum() == made["synthetic_rows"] > 200
    assert command(monkeypatch, *words, "--prevalence", 0.01, "--out", tmp_path / "less.csv") == 2
    assert not (tmp_path / "less.csv").exists()
