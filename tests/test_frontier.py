"""frontier: every promise on one split, each fit paid for before it is made, and nothing done twice."""

import json
import math
import sys

import pytest

import proband
from proband.cli import run
from proband.errors import InputError, NotReleasable
from proband.frontier import frontier
from proband.privacy.ledger import Ledger
from tests.clinic import clinic

EPSILONS = (2, math.inf)


@pytest.fixture(autouse=True, scope="module")
def _a_quick_fit_without_a_promise():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["proband.frontier"], "OPEN", "independent")
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A CSV of 260 patients, and a schema that a person declared public."""
    folder = tmp_path_factory.mktemp("ward")
    frame = clinic(260).select("age", "smoker", "died")
    frame.write_csv(folder / "ward.csv")
    schema = proband.Schema.guess(frame).accept().model_copy(update={"public": True})
    schema.save(folder / "public.toml")
    return folder / "ward.csv", schema


@pytest.fixture(scope="module")
def folder(table, tmp_path_factory):
    """A frontier, stopped in its last fit and gone on with."""
    data, schema = table
    out = tmp_path_factory.mktemp("frontiers") / "out"

    def stop(done, total, what, figures):
        if what == "no-promise-fit-1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        frontier(data, out=out, target="died", epsilons=EPSILONS, schema=schema, on_step=stop)
    left = json.loads((out / "frontier.json").read_text())
    assert [row["epsilon"] for row in left["rows"]] == [2.0] and not list(out.glob(".*"))
    before = (out / "epsilon-2-fit-1" / "report.json").read_bytes()
    frontier(data, out=out, target="died", epsilons=EPSILONS, schema=schema)
    assert (out / "epsilon-2-fit-1" / "report.json").read_bytes() == before  # the noise never comes again: it was not fitted anew
    return out


def test_everything_is_in_the_folder(folder, table):
    found = {"frontier.html", "frontier.json", "frontier.svg", "epsilon-2-fit-1", "no-promise-fit-1"}
    assert {path.name for path in folder.iterdir()} == found
    plain = json.loads((folder / "frontier.json").read_text())
    assert [(row["epsilon"], row["synthesizer"]) for row in plain["rows"]] == [(2.0, "marginals"), (None, "independent")]
    cost = plain["context"]["cost"]
    assert cost["epsilon"] == pytest.approx(2, abs=1e-3) and (cost["private_fits"], cost["open_fits"]) == (1, 1)
    assert cost["ledger"]["name"] == "ward.csv.ledger" and Ledger(f"{table[0]}.ledger").holds(cost["ledger"]["head"])


def test_each_fit_was_paid_for_before_it_was_made_and_called_tuning(folder, table):
    entries = Ledger(f"{table[0]}.ledger").entries
    tuned = [entry.what for entry in entries if entry.kind == "fit"]
    assert tuned == ["tuning: marginals, epsilon 2, delta 1e-05", "tuning: independent", "tuning: independent"]  # the one interrupted too
    assert next(entry.what for entry in entries if entry.kind == "audit") == "report of frontier, epsilon-2-fit-1"


def test_without_a_promise_the_same_seed_gives_the_same_bytes(folder, table, tmp_path):
    data, schema = table
    again = frontier(proband.read(data, schema), out=tmp_path / "out", target="died", epsilons=[math.inf])
    for name in ("report.json", "report.html"):
        one, two = (place / "no-promise-fit-1" / name for place in (folder, tmp_path / "out"))
        assert one.read_bytes() == two.read_bytes()
    assert again.price.endswith("No ledger was kept: enter them in the cohort's.")


def test_what_the_ledger_does_not_bear_is_refused_before_anything_is_fitted(table, tmp_path):
    data, schema = table
    kept = Ledger.begin(tmp_path / "life.ledger", "ward", epsilon=3)
    with pytest.raises(NotReleasable, match=r"the private fits of this frontier it would be 3\.\d+(.|\n)*Nothing was fitted"):
        frontier(data, out=tmp_path / "out", target="died", epsilons=[2], seeds=3, schema=schema, ledger=kept.path)
    few = Ledger.begin(tmp_path / "few.ledger", "ward", audits=1)
    with pytest.raises(NotReleasable, match="1 are left, and this takes 2"):
        frontier(data, out=tmp_path / "out", target="died", epsilons=EPSILONS, schema=schema, ledger=few.path)
    assert kept.entries == few.entries == []


def test_what_is_wrong_is_said_before_anything_is_fitted(table, folder, tmp_path):
    data, schema = table
    wrong = [
        ({"epsilons": []}, "ask for no fit"),
        ({"epsilons": [0]}, "epsilon = 0.0 is no promise"),
        ({"epsilons": [math.nan]}, "epsilon = nan is no promise"),
        ({"epsilons": [1], "synthesizer": "forest"}, "'forest' cannot keep epsilon"),
        ({"epsilons": [1], "schema": schema.model_copy(update={"public": False})}, "needs a public schema"),
        ({"target": "weight"}, "weight"),
    ]
    for more, said in wrong:
        with pytest.raises(InputError, match=said):
            frontier(data, **({"out": tmp_path / "out", "target": "died", "schema": schema} | more))
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"another frontier .*seed"):
        frontier(data, out=folder, target="died", epsilons=EPSILONS, schema=schema, seed=5)


def test_the_command_shows_the_table_and_refuses_what_is_no_number(table, folder, monkeypatch, capsys):
    data, _ = table
    words = ["proband", "frontier", str(data), "--target", "died", "--schema", str(data.with_name("public.toml")), "--out", str(folder)]
    monkeypatch.setattr(sys, "argv", [*words, "--epsilons", "2,inf"])
    assert run() == 0
    said = capsys.readouterr().out
    assert "| epsilon 2 | 1 |" in said and "frontier.html" in said
    monkeypatch.setattr(sys, "argv", [*words, "--epsilons", "strong"])
    assert run() == 2 and "are no numbers" in capsys.readouterr().err
