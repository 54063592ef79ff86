"""compare: one split, one gate, every report kept as soon as it is there; Auto takes the first in rank."""

import json
import sys
import types

import numpy as np
import pytest

import proband
from proband import synthesizer
from proband.compare import Auto, compare
from proband.errors import InputError
from proband.privacy.ledger import Ledger
from proband.synthesizers.baselines import IndependentColumns
from tests.clinic import clinic

FAST = ["independent", "bootstrap"]


class Broken(IndependentColumns):
    """Cannot be fitted."""

    name = "broken"

    def fit(self, cohort, *, seed, on_step=None):
        raise InputError("It does not like this table. Take another.")


@pytest.fixture(scope="module")
def patients():
    frame = clinic(300).drop("building", "lactate_measured")
    return proband.read(frame, proband.Schema.guess(frame).accept())


@pytest.fixture(scope="module")
def folder(patients, tmp_path_factory):
    """A comparison of the two yardsticks, stopped in the second and gone on with."""
    out = tmp_path_factory.mktemp("compared") / "out"
    kept = Ledger.begin(out.with_name("ward.ledger"), "ward")
    asked = {"out": out, "synthesizers": FAST, "target": "died", "policy": "internal", "ledger": kept.path, "seed": 1}

    def stop(done, total, what, figures):
        if what.startswith("bootstrap"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(patients, **asked, on_step=stop)
    left = json.loads((out / "comparison.json").read_text())
    assert [row["synthesizer"] for row in left["rows"]] == ["real v real", "independent"]
    before = (out / "independent" / "report.json").stat().st_mtime_ns
    compare(patients, **asked)
    assert (out / "independent" / "report.json").stat().st_mtime_ns == before  # what was done is not done again
    return out


def test_every_fit_and_report_is_entered_in_the_ledger(folder):
    looks = [entry.what for entry in Ledger(folder.with_name("ward.ledger")).entries]
    bootstrap = ["report of compare, bootstrap", "bootstrap"]
    assert looks == ["report of compare, independent", "independent", *bootstrap, *bootstrap]  # the one interrupted too


def test_everything_is_in_the_folder(folder):
    assert {path.name for path in folder.iterdir()} == {"comparison.csv", "comparison.html", "comparison.json", *FAST}
    assert {path.name for path in (folder / "bootstrap").iterdir()} == {"report.html", "report.json"}
    plain = json.loads((folder / "comparison.json").read_text())
    assert {row["synthesizer"] for row in plain["rows"]} == {"real v real", *FAST}
    costs = next(row for row in plain["rows"] if row["synthesizer"] == "bootstrap")
    assert costs["fit_s"] >= 0 and (costs["peak_mb"] is None or costs["peak_mb"] > 50)


def test_copies_are_stopped_for_what_they_leak(folder):
    plain = json.loads((folder / "comparison.json").read_text())
    assert "near_copies_excess" in plain["missed"]["bootstrap"]
    assert plain["best"] != "bootstrap"


def test_the_same_call_goes_on_where_it_was(folder, patients):
    before = (folder / "bootstrap" / "report.json").stat().st_mtime_ns
    steps = []
    again = compare(
        patients, out=folder, synthesizers=FAST, target="died", policy="internal", seed=1, on_step=lambda *step: steps.append(step)
    )
    assert (folder / "bootstrap" / "report.json").stat().st_mtime_ns == before
    assert {what for _, _, what, _ in steps} == {"read"}  # nothing was fitted
    assert {entry.name for entry in again.entries} == set(FAST)


def test_another_call_or_another_folder_is_refused(folder, patients, tmp_path):
    with pytest.raises(InputError, match=r"another comparison .*seed"):
        compare(patients, out=folder, synthesizers=FAST, target="died", policy="internal", seed=2)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("dear")
    with pytest.raises(InputError, match="something else"):
        compare(patients, out=tmp_path / "letters", synthesizers=FAST, seed=1)
    with pytest.raises(InputError, match="There is no synthesizer 'nobody'"):
        compare(patients, out=tmp_path / "new", synthesizers=["nobody"], seed=1)
    assert not (tmp_path / "new").exists()


def test_one_that_cannot_be_fitted_stops_nobody_else(patients, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "broken", types.SimpleNamespace(Broken=Broken))
    monkeypatch.setitem(synthesizer._OURS, "broken", "broken:Broken")
    made = compare(patients, out=tmp_path / "out", synthesizers=["broken", "independent"], seed=1)
    assert made.failed == {"broken": "It does not like this table. Take another."}
    assert [entry.name for entry in made.entries] == ["independent"]


def test_auto_takes_the_first_in_rank_and_fits_it_on_all(patients, monkeypatch):
    monkeypatch.setattr(sys.modules["proband.compare"], "CANDIDATES", tuple(FAST))
    model = Auto(policy="internal", target="died").fit(patients, seed=1)
    assert model.comparison is not None and model.chosen == model.comparison.entries[0].name
    assert np.isin([entry.name for entry in model.comparison.entries], FAST).all()
    mark = model.sample(5, seed=2).mark
    assert mark is not None and mark.synthesizer == model.chosen and mark.details["chosen_by"] == "auto"
    whole = synthesizer.make(model.chosen).fit(patients, seed=1).sample(5, seed=2)
    assert model.sample(5, seed=2).frame.equals(whole.frame)


def test_auto_is_asked_to_choose_first():
    with pytest.raises(InputError, match="has not chosen"):
        Auto().sample(1, seed=1)
