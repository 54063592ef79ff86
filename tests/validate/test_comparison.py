"""Comparison: who ranks where, and that the page, the table and the file say the same."""

import csv
import io
import json

import pytest

from proband import Finding, Limit, Report
from proband.validate.comparison import RULE, Comparison, Entry


def report(detection: float, *, membership: float = 0.5) -> Report:
    """Detection may reach .75, membership .60; real against real is .50 in both."""
    found = (
        Finding("faithful", "detection_auc", "Success of a discriminator", detection, "Why.", (detection - 0.01, detection + 0.01), 0.5),
        Finding("private", "membership_auc", "Membership", membership, "Why.", (membership - 0.02, membership + 0.02), 0.5),
        Finding("useful", "tstr_auroc_gap", "AUROC lost", None, "Not asked."),
    )
    return Report(found).judged({"detection_auc": Limit(at_most=0.75), "membership_auc": Limit(at_most=0.60)})


def entry(name: str, detection: float, *, membership: float = 0.5) -> Entry:
    made = report(detection, membership=membership)
    reasons = tuple(f"Broken ({f.name})" for f in made.findings if f.passed is False)
    return Entry(name, made, reasons, {"fit_s": 12.0, "sample_s": 0.25, "peak_mb": 512.0})


@pytest.fixture
def compared() -> Comparison:
    entries = (entry("copies", 0.49, membership=0.9), entry("close", 0.55), entry("rough", 0.99, membership=0.7), entry("fair", 0.7))
    return Comparison(entries, {"absent": "It needs a package."}, {"title": "On <b>wards</b>", "policy": "internal", "seed": 1})


def test_the_gate_comes_first_then_what_is_missed_then_detection(compared):
    assert [one.name for one in compared.entries] == ["close", "fair", "copies", "rough"]
    assert compared.best == "close"
    assert "close ranks first" in compared.verdict and "fair too" in compared.verdict


def test_doing_worse_than_a_coin_is_no_merit():
    assert [one.name for one in Comparison((entry("b", 0.45), entry("a", 0.5))).entries] == ["a", "b"]


def test_nobody_is_best_when_the_gate_stops_all():
    compared = Comparison((entry("rough", 0.99),))
    assert compared.best is None and "lets nobody pass" in compared.verdict
    assert Comparison(()).best is None


def test_the_table_has_real_patients_first_and_those_without_a_report_last(compared):
    rows = list(csv.DictReader(io.StringIO(compared.csv())))
    assert [row["synthesizer"] for row in rows] == ["real v real", "close", "fair", "copies", "rough", "absent"]
    assert [row["gate"] for row in rows] == ["", "passes", "passes", "stops", "stops", "failed"]
    assert rows[0]["detection_auc"] == "0.5" and rows[1]["detection_auc"] == "0.55" and rows[1]["tstr_auroc_gap"] == ""
    assert "| close | passes | 0 | 0.55 |" in str(compared)


def test_the_file_for_machines_is_plain_and_says_the_rule(compared):
    plain = json.loads(compared.json())
    assert plain["best"] == "close" and plain["rule"] == RULE and plain["missed"]["rough"] == ["detection_auc", "membership_auc"]
    assert plain["failed"] == {"absent": "It needs a package."}
    assert compared.json() == compared.json()


def test_the_page_escapes_links_and_asks_the_network_for_nothing(compared):
    page = compared.html()
    assert "<b>wards</b>" not in page and "&lt;b&gt;wards" in page
    assert 'href="close/report.html"' in page and "http" not in page.replace("http-equiv", "")
    assert page.count('<svg role="img"') == 1  # one picture
    assert page == compared.html()


def test_a_comparison_that_has_only_begun_can_be_shown():
    assert "No synthesizer has a report yet" in Comparison((), {}, {"title": "Begun"}).html()
