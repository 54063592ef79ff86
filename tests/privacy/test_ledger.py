"""The ledger: charges add up, the budget ends, two processes and a kill leave it whole, and tampering is found."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

from proband import Schema, cli
from proband.errors import InputError, NotReleasable
from proband.privacy import ledger as ledgers
from proband.privacy.budget import epsilon_of, rho_of
from proband.privacy.ledger import Ledger

HALF = rho_of(5, 1e-5)


@pytest.fixture
def ledger(tmp_path):
    return Ledger.begin(tmp_path / "cohort.ledger", "ward 7", epsilon=10, delta=1e-5, audits=2)


def test_charges_add_up_over_the_life_of_the_cohort(ledger):
    ledger.charge("fit", "first", rho=HALF)
    ledger.charge("fit", "second", rho=HALF)
    epsilon, open_fits, audits = ledger.spent()
    assert epsilon == pytest.approx(epsilon_of(2 * HALF, 1e-5)) and 5 < epsilon < 10  # less than the sum: they compose
    assert (open_fits, audits) == (0, 0)
    assert [entry.what for entry in ledger.entries] == ["first", "second"]


def test_a_spent_ledger_refuses_and_says_what_was_spent_when_and_on_what(ledger):
    first = ledger.charge("fit", "marginals, epsilon 9.9", rho=rho_of(9.9, 1e-5))
    with pytest.raises(NotReleasable) as refused:
        ledger.charge("fit", "one too many", rho=HALF)
    said = str(refused.value)
    assert "9.9" in said and first.at in said and "one too many" in said
    assert len(ledger.entries) == 1


def test_audits_are_counted_and_end(ledger):
    ledger.charge("audit", "report 1")
    ledger.charge("audit", "report 2")
    with pytest.raises(NotReleasable, match="2 audits"):
        ledger.charge("audit", "report 3")


def test_a_fit_without_a_guarantee_is_entered_and_costs_no_epsilon(ledger):
    ledger.charge("fit", "gan")
    assert ledger.spent() == (0.0, 1, 0)


def test_a_ledger_is_begun_once(ledger):
    with pytest.raises(InputError, match="exists already"):
        Ledger.begin(ledger.path, "ward 7")


@pytest.mark.parametrize("how", ["changed", "last changed", "moved", "deleted", "forged"])
def test_tampering_is_found(ledger, how):
    for name in ("a", "b", "c"):
        ledger.charge("fit", name, rho=HALF / 10)
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    if how == "changed":
        lines[1] = lines[1].replace(b'"a"', b'"z"')
    if how == "last changed":
        lines[-1] = lines[-1].replace(b'"c"', b'"z"')
    if how == "moved":
        lines[2], lines[3] = lines[3], lines[2]
    if how == "deleted":
        del lines[2]
    if how == "forged":
        lines.append(json.dumps({"at": "now", "kind": "fit", "what": "d", "rho": 0.0, "before": "0" * 64}).encode() + b"\n")
    ledger.path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match="tampered"):
        ledger.entries  # noqa: B018
    with pytest.raises(InputError, match="tampered"):
        ledger.charge("fit", "on top", rho=HALF / 10)


def test_a_cut_end_is_found_by_the_head_kept_elsewhere(ledger):
    ledger.charge("fit", "a", rho=HALF / 10)
    ledger.charge("fit", "b", rho=HALF / 10)
    head = ledger.head
    assert ledger.holds(head) and ledger.holds(head[:16]) and not ledger.holds("")
    ledger.path.write_bytes(b"".join(ledger.path.read_bytes().splitlines(keepends=True)[:-1]))
    assert len(ledger.entries) == 1 and not ledger.holds(head)


def test_a_half_written_line_was_never_charged(ledger):
    ledger.charge("fit", "a", rho=HALF / 10)
    with ledger.path.open("ab") as file:
        file.write(b'{"at":"2026-01-01","kind":"fit","wh')
    assert [entry.what for entry in ledger.entries] == ["a"]
    ledger.charge("fit", "b", rho=HALF / 10)
    assert [entry.what for entry in ledger.entries] == ["a", "b"]


WRITER = """
import sys
from proband.privacy.ledger import Ledger
ledger = Ledger(sys.argv[1])
for number in range(int(sys.argv[3])):
    ledger.charge("fit", f"{sys.argv[2]} {number}", rho=1e-6)
    print(number, flush=True)
"""


def test_two_first_fits_at_once_begin_one_ledger(tmp_path):
    script = (
        "import sys; from pathlib import Path; from types import SimpleNamespace as Model; from proband.privacy import ledger\n"
        "ledger.ready = lambda schema: None\n"
        "ledger.enter_fit(Path(sys.argv[1]), Model(name='m', rho=1e-3, epsilon=0.1, delta=1e-5), None)"
    )
    path = tmp_path / "t.ledger"
    writers = [subprocess.Popen([sys.executable, "-c", script, path]) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(Ledger(path).entries) == 3


@pytest.mark.parametrize("rho", ["-1.2", "NaN", '"much"', "[1]"])
def test_a_sealed_line_that_gives_budget_back_is_found(ledger, rho):
    ledger.charge("fit", "a", rho=HALF)
    forged = ledgers._line({"at": "now", "kind": "fit", "what": "refund", "rho": json.loads(rho)}, ledger.head)
    with ledger.path.open("ab") as file:
        file.write(forged)
    assert not ledgers.verify_ledger(ledger.path)[0]


def test_two_processes_at_once_lose_nothing(ledger):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, ledger.path, name, "20"], stdout=subprocess.DEVNULL) for name in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert sorted(entry.what for entry in ledger.entries) == sorted(f"{name} {number}" for name in "ab" for number in range(20))


def test_a_killed_process_leaves_the_chain_whole(ledger):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, ledger.path, "a", "100000"], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    for _ in range(5):
        writer.stdout.readline()
    time.sleep(0.01)
    os.kill(writer.pid, 9)
    writer.wait()
    writer.stdout.close()
    found = len(ledger.entries)
    assert found >= 5
    ledger.charge("fit", "after", rho=1e-6)
    assert len(ledger.entries) == found + 1


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """A table, its public schema, and `proband` run in their folder: (exit code, all that it said)."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"age": rng.integers(20, 90, 300), "sex": rng.choice(["F", "M"], 300)})
    frame.write_csv("t.csv")
    schema = Schema.guess(frame).accept()
    schema.save("s.toml")
    schema.model_copy(update={"public": True}).save("public.toml")

    def run(line):
        monkeypatch.setattr(sys, "argv", ["proband", *line.split()])
        code, said = cli.run(), capsys.readouterr()
        return code, said.out + said.err

    return run


def test_epsilon_on_a_cohort_whose_ledger_is_spent_exits_1_and_says_on_what(command, tmp_path):
    assert command("fit t.csv --schema public.toml --epsilon 8 --out m1")[0] == 0
    code, said = command("fit t.csv --schema public.toml --epsilon 8 --out m2")
    assert code == 1 and "marginals, epsilon 8" in said and not (tmp_path / "m2").exists()
    assert command("fit t.csv --synthesizer independent --out m3")[0] == 0
    code, said = command("ledger t.csv.ledger")
    assert code == 0 and "independent (no guarantee)" in said and "epsilon 8 of 10" in said
    assert command("verify t.csv.ledger")[0] == 0
    (tmp_path / "renamed.txt").write_bytes((tmp_path / "t.csv.ledger").read_bytes())
    assert "Intact: 2 entries" in command("verify renamed.txt")[1]
    ledger = tmp_path / "t.csv.ledger"
    ledger.write_bytes(ledger.read_bytes().replace(b"epsilon 8", b"epsilon 1"))
    code, said = command("verify t.csv.ledger")
    assert code == 1 and "tampered" in said


def test_a_fit_that_is_refused_costs_nothing_and_none_is_begun_without_epsilon(command, tmp_path):
    assert command("fit t.csv --schema s.toml --epsilon 1 --out m")[0] == 2
    assert command("fit t.csv --schema s.toml --synthesizer independent --out m")[0] == 0
    assert not (tmp_path / "t.csv.ledger").exists()


def test_a_private_release_enters_its_fit_and_its_report(command, tmp_path):
    code, _ = command("synthesize t.csv --schema public.toml --epsilon 5 --policy internal --out r")
    assert code in (0, 1)  # whatever the gate says of 180 patients
    assert [entry.kind for entry in Ledger(tmp_path / "t.csv.ledger").entries] == ["audit", "fit"]
