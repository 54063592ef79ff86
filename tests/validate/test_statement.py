"""The statement on privacy: every attack with its power, the promise or that there is none, and the ledger's head."""

import html

import pytest

from proband import Finding, Limit, Report
from proband.privacy.ledger import Ledger, standing

POWER = "600 members against 400 controls could not have seen a leak smaller than 5 %."


def attack(name: str, value: float | None, **more) -> Finding:
    return Finding("private", name, f"Title of {name}", value, f"Why {name}.", None if value is None else (value, value + 0.01), **more)


ATTACKS = (
    attack("membership_auc", 0.51, reference=0.5, reference_interval=(0.48, 0.52), detail={"power": POWER}).judged(Limit(at_most=0.6)),
    attack("membership_tpr", None, detail={"power": POWER}).judged(Limit(at_most=0.1)),
    attack("of_a_third_party", 0.3),
)
PROMISE = attack("epsilon", 3.0)


def page(*findings: Finding, **context) -> str:
    """The section, as text."""
    whole = html.unescape(Report(findings, context).html())
    return whole.partition('<section id="statement"')[2].partition("</section>")[0]


def test_every_attack_stands_there_and_the_power_once():
    said = page(*ATTACKS, PROMISE, Finding("faithful", "detection_auc", "Title of another question", 0.9, "Why."))
    assert all(f"Title of {name}" in said for name in ("membership_auc", "membership_tpr", "of_a_third_party"))
    assert "another question" not in said and said.count(POWER) == 1
    assert "could not tell" in said and "not judged" in said and "0.48 to 0.52" in said


def test_a_promise_is_repeated_and_its_lack_said():
    assert "<strong>Epsilon 3.</strong> Why epsilon." in page(*ATTACKS, PROMISE)
    assert "Title of epsilon" not in page(*ATTACKS, PROMISE)  # it is no attack
    assert "No differential privacy stands behind" in page(*ATTACKS)
    assert "was not asked" in page()


def test_the_ledger_stands_there_with_its_head(tmp_path):
    kept = Ledger.begin(tmp_path / "ward.ledger", "ward 7", epsilon=5)
    kept.charge("audit", "a report")
    kept.charge("fit", "forest")
    said = page(*ATTACKS, **standing(kept.path))
    assert "The ledger ward.ledger: epsilon 0 of 5 spent (delta 1e-05), 1 of 100 audits, fits without any guarantee: 1." in said
    assert kept.head in said
    assert standing(tmp_path / "none.ledger") == standing(None) == {}
    assert "In no ledger" in page(*ATTACKS)


@pytest.mark.parametrize("ledger", ["lost", {"name": "x"}, {"limits": 3}, {"head": ["<b>"], "limits": None}])
def test_a_ledger_of_another_form_is_passed_over(ledger):
    assert "In no ledger" in page(*ATTACKS, ledger=ledger)
