"""The ledger: charges add up, the budget ends, two processes and a kill leave it whole, and tampering is found."""

import json
import os
import subprocess
import sys
import time

import pytest

from proband.errors import InputError, NotReleasable
from proband.privacy.budget import epsilon_of, rho_of
from proband.privacy.ledger import Ledger

HALF = rho_of(5, 1e-5)


@pytest.fixture
def ledger(tmp_path):
    return Ledger.begin(tmp_path / "cohort.ledger", "f00d", epsilon=10, delta=1e-5, audits=2)


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


def test_other_patients_have_another_ledger(ledger):
    with pytest.raises(InputError, match="other patients"):
        ledger.charge("fit", "x", rho=HALF, cohort="beef")
    ledger.charge("fit", "x", rho=HALF, cohort="f00d")


def test_a_ledger_is_begun_once(ledger):
    with pytest.raises(InputError, match="exists already"):
        Ledger.begin(ledger.path, "f00d")


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
