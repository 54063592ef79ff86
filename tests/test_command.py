"""The command line where no journey passes: what is entered in a ledger, and what is said when a verb cannot be done."""

import sys

import numpy as np
import polars as pl
import pytest

import proband
from proband.cli import run
from proband.privacy.ledger import Ledger
from proband.records import find_mark
from proband.records.photos import write_photo
from proband.synthesizers import waveforms
from proband.synthesizers.baselines import IndependentColumns
from tests import hearts, linked
from tests.clinic import clinic


@pytest.fixture
def command(monkeypatch):
    """The exit code of `proband WORDS`."""

    def command(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["proband", *map(str, words)])
        return run()

    return command


@pytest.fixture
def ward(tmp_path):
    """Real patients in a CSV, a model of independent columns, and a file of somebody's synthetic patients without any label."""
    frame = clinic(300).select("age", "smoker", "systolic_mmhg", "died")
    frame.write_csv(tmp_path / "ward.csv")
    IndependentColumns().fit(proband.read(frame), seed=0).save(tmp_path / "model")
    clinic(600, seed=1).select(frame.columns).write_csv(tmp_path / "theirs.csv")
    return tmp_path


def test_a_ledger_begun_by_a_person_has_that_persons_limits(command, tmp_path, capsys):
    path = tmp_path / "ward.ledger"
    assert command("ledger", path, "--begin", "ward 7", "--epsilon", 4, "--audits", 2) == 0
    assert Ledger(path).limits == {"cohort": "ward 7", "epsilon": 4.0, "delta": 1e-5, "audits": 2}
    assert command("ledger", path, "--begin", "ward 7") == 2 and "one ledger for life" in capsys.readouterr().err


def test_what_refine_learns_is_entered_and_what_it_writes_is_labelled(command, ward, capsys):
    kept = Ledger.begin(ward / "life.ledger", "ward 7")
    words = "refine", ward / "theirs.csv", "--train", ward / "ward.csv", "-n", 100, "--out", ward / "refined.csv", "--ledger", kept.path
    assert command(*words) == 0, capsys.readouterr().err
    assert "100 rows stay" in capsys.readouterr().out and find_mark(ward / "refined.csv").synthesizer == "unknown"
    assert [(entry.kind, entry.what, entry.rho) for entry in kept.entries] == [("fit", "refine", None)]


def test_the_labels_that_are_learned_are_entered(command, ward, capsys):
    kept = Ledger.begin(ward / "ward.csv.ledger", "ward 7")
    assert command("sample", ward / "model", "-n", 50, "--out", ward / "made.csv") == 0
    words = "label", ward / "made.csv", "--train", ward / "ward.csv", "--target", "died", "--out", ward / "labelled.csv"
    assert command(*words) == 0, capsys.readouterr().err
    assert [entry.what for entry in kept.entries] == ["labels of died"]


def test_a_model_that_cannot_fill_gaps_says_so(command, ward, capsys):
    assert command("impute", ward / "model", ward / "ward.csv", "--out", ward / "whole.csv") == 2
    assert "cannot fill what is missing" in capsys.readouterr().err and not (ward / "whole.csv").exists()


def test_a_folder_of_linked_tables_is_told_table_by_table(command, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    early = pl.Series("time", ["2019-01-01 09:00", "2020-01-01 09:00", "2020-03-01 09:00", "2021-05-06 00:00", "2019-12-31 23:59"])
    for name, frame in (linked.frames() | {"labs": linked.frames()["labs"].with_columns(early)}).items():
        frame.write_csv(tmp_path / "in" / f"{name}.csv")
    linked.frames()["labs"].select(code="test", meaning="test").unique().write_csv(tmp_path / "in" / "d_tests.csv")
    assert command("schema", tmp_path / "in", "--out", tmp_path / "schema.toml") == 0
    said = capsys.readouterr().out
    assert "Table patients: 3 rows, 2 columns, patient key: pid" in said
    assert "Table stays: 3 rows, 4 columns, rows of patients by pid, key stay, in order of intime" in said
    assert "Left beside, since no patient leads to them: d_tests" in said
    assert "To look at:" in said and "Table 'labs': column 'time', row 1: it lies outside its row of table 'stays'" in said
    cohort = proband.read(tmp_path / "in", proband.Schema.load(tmp_path / "schema.toml").accept())
    assert cohort.schema.codes == ("d_tests",) and len(cohort) == 3


def test_linked_patients_are_fitted_sampled_and_labelled(command, tmp_path, capsys):
    proband.write(linked.cohort(), tmp_path / "in", format="csv")
    linked.SCHEMA.save(tmp_path / "schema.toml")
    words = tmp_path / "in", "--schema", tmp_path / "schema.toml", "--out"
    assert command("fit", *words, tmp_path / "model", "--synthesizer", "bootstrap") == 0, capsys.readouterr().err
    assert command("sample", tmp_path / "model", "-n", 5, "--out", tmp_path / "made") == 0, capsys.readouterr().err
    made = proband.read(tmp_path / "made", linked.SCHEMA)
    assert len(made) == 5 and made.mark.synthesizer == "bootstrap"
    assert command("fit", *words, tmp_path / "forest", "--synthesizer", "forest") == 2
    assert "This synthesizer knows one table, and the cohort has 3" in capsys.readouterr().err
    assert command("synthesize", tmp_path / "in", "--out", tmp_path / "release") == 2


def test_a_folder_of_recordings_is_fitted_sampled_and_verified(command, tmp_path, capsys, monkeypatch):
    for name, fewer in (("TREES", 10), ("FOLDS", 2), ("DRAWN", 1)):
        monkeypatch.setattr(waveforms, name, fewer)
    proband.write(hearts.hearts(60, 1), tmp_path / "in", format="csv")
    assert command("schema", tmp_path / "in", "--out", tmp_path / "schema.toml", "--accept") == 0
    assert "id" in capsys.readouterr().out
    words = tmp_path / "in", "--schema", tmp_path / "schema.toml", "--out"
    assert command("fit", *words, tmp_path / "model", "--minutes", 0.01) == 0, capsys.readouterr().err
    assert command("sample", tmp_path / "model", "-n", 5, "--out", tmp_path / "made", "--where", "beat = 'broad'") == 0
    made = proband.read(tmp_path / "made", proband.Schema.load(tmp_path / "schema.toml"))
    assert made.mark.synthesizer == "waves" and made.frame["beat"].to_list() == ["broad"] * 5
    assert made.media["signals"].units == ("mV", "mV") and made.media["signals"].gains == (200.0, 200.0)
    assert command("verify", tmp_path / "made") == 0, capsys.readouterr().out
    assert command("sample", tmp_path / "model", "-n", 5, "--out", tmp_path / "made.csv") == 2
    assert "would hold the table alone" in capsys.readouterr().err
    header = next((tmp_path / "made").glob("*.hea"))
    header.write_text("".join(line for line in header.read_text().splitlines(True) if not line.startswith("#")))
    assert command("verify", tmp_path / "made") == 1 and "Not labelled" in capsys.readouterr().out


def test_a_folder_of_images_goes_from_schema_to_made_images(command, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for at in range(260):
        path = tmp_path / "lungs" / ("normal" if at % 2 else "pneumonia") / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_photo(path, rng.integers(0, 256, (1, 6, 5 + at % 3), np.uint8), mark=None)
    lungs, schema, parts = tmp_path / "lungs", tmp_path / "schema.toml", tmp_path / "parts"
    assert command("schema", lungs, "--out", schema, "--accept") == 0
    assert "260 rows, 2 columns, patient key: image" in capsys.readouterr().out
    assert command("split", lungs, "--schema", schema, "--out", parts) == 2 and "--size" in capsys.readouterr().err
    assert command("split", lungs, "--schema", schema, "--out", parts, "--size", 4) == 0
    train = proband.read(parts / "train", proband.Schema.load(parts / "schema.toml"))
    assert len(train) == 156 and train.media["images"].size == (4, 4) and train.frame.columns == ["image", "class"]
    capsys.readouterr()
    for words, message in (
        (("fit", lungs), "--size"),
        (("fit", lungs, "--size", 4, "--epsilon", 1), "needs a public schema"),
        (("synthesize", lungs, "--size", 4, "--synthesizer", "forest"), "one table, and the cohort has images beside it"),
        (("fit", parts / "train", "--synthesizer", "bootstrap"), "one table, and the cohort has images beside it"),
        (("split", schema, "--size", 4), "holds no image"),
    ):
        out = tmp_path / "out"
        assert command(*words, "--out", out) == 2 and message in capsys.readouterr().err and not out.exists(), words
    fit = "fit", parts / "train", "--schema", parts / "schema.toml", "--minutes", 0.01
    assert command(*fit, "--out", tmp_path / "model") == 0
    assert (tmp_path / "model.png").exists() and not (tmp_path / "model.unfinished").exists()
    assert command("sample", tmp_path / "model", "-n", 5, "--where", "class = 'normal'", "--out", tmp_path / "made") == 0
    made = proband.read(tmp_path / "made", train.schema)
    assert made.mark.synthesizer == "images" and made.media["images"].size == (4, 4) and set(made.frame["class"]) == {"normal"}
    assert command("verify", tmp_path / "made") == 0, capsys.readouterr().out
