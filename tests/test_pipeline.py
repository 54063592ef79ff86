"""Sampling straight into a file, lot by lot."""

from pathlib import Path

import polars as pl
import pytest

import proband
from proband.pipeline import sample_into
from proband.records import find_mark, read, write
from proband.synthesizer import Synthesizer


@pytest.fixture(scope="module")
def model() -> Synthesizer:
    """Independent columns of 300 patients with an identifier and a rule: the discharge is never before the admission."""
    rows = range(300)
    frame = pl.DataFrame(
        {
            "patient": [f"P{row:04d}" for row in rows],
            "sex": ["F" if row % 3 else "M" for row in rows],
            "age": [20 + row % 60 for row in rows],
        }
    )
    schema = proband.Schema.guess(frame).accept()
    assert schema.table["patient"].kind == "identifier"
    return proband.find("independent")().fit(proband.read(frame, schema), seed=1)


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_lots_make_one_labelled_file_and_no_identifier_twice(model: Synthesizer, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"made.{suffix}"
    assert sample_into(model, 2_500, out, seed=3, rows=1_000) == 2_500
    made = read(out, model.sample(0, seed=0).schema)
    assert made.frame.height == 2_500
    assert made.frame["patient"].n_unique() == 2_500
    mark = find_mark(out)
    assert mark is not None and (mark.synthesizer, mark.seed) == ("independent", 3)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {out.name} | (set() if suffix == "parquet" else {f"{out.name}.synthetic.json"})


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(model: Synthesizer, tmp_path: Path, suffix: str) -> None:
    one, two, other = (tmp_path / f"{name}.{suffix}" for name in ("one", "two", "other"))
    for path, seed in ((one, 3), (two, 3), (other, 4)):
        sample_into(model, 2_500, path, seed=seed, rows=1_000)
    assert one.read_bytes() == two.read_bytes() != other.read_bytes()


def test_lots_differ_from_each_other(model: Synthesizer, tmp_path: Path) -> None:
    sample_into(model, 2_000, tmp_path / "made.parquet", seed=3, rows=1_000)
    made = pl.read_parquet(tmp_path / "made.parquet").drop("patient")
    assert not made[:1_000].equals(made[1_000:])


def test_one_lot_is_what_sample_gives(model: Synthesizer, tmp_path: Path) -> None:
    sample_into(model, 50, tmp_path / "straight.parquet", seed=3)
    write(model.sample(50, seed=3), tmp_path / "sampled.parquet")
    assert (tmp_path / "straight.parquet").read_bytes() == (tmp_path / "sampled.parquet").read_bytes()


def test_a_condition_holds_in_every_lot(model: Synthesizer, tmp_path: Path) -> None:
    sample_into(model, 2_500, tmp_path / "made.parquet", seed=3, where="age > 70 AND sex = 'M'", rows=1_000)
    made = pl.read_parquet(tmp_path / "made.parquet")
    assert made.height == 2_500
    assert made["age"].min() > 70 and made["sex"].unique().to_list() == ["M"]


def test_a_condition_that_cannot_be_met_leaves_no_file(model: Synthesizer, tmp_path: Path) -> None:
    with pytest.raises(proband.InputError, match="No synthetic patient can satisfy"):
        sample_into(model, 2_500, tmp_path / "made.parquet", seed=3, where="age > 200", rows=1_000)
    assert list(tmp_path.iterdir()) == []


def test_a_fault_in_a_later_lot_leaves_no_file_and_an_older_one_untouched(model: Synthesizer, tmp_path: Path) -> None:
    out = tmp_path / "made.parquet"
    out.write_bytes(b"older")

    def stop(done: int, total: int, what: str, figures: object) -> None:
        if done == 2_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_into(model, 2_500, out, seed=3, rows=1_000, on_step=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["made.parquet"] and out.read_bytes() == b"older"
