"""The command line where no journey passes: what is entered in a ledger, and what is said when a verb cannot be done."""

import sys

import pytest

import proband
from proband.cli import run
from proband.privacy.ledger import Ledger
from proband.records import find_mark
from proband.synthesizers.baselines import IndependentColumns
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
