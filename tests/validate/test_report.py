"""The report: equal after a round trip, the same bytes twice, words that follow the findings, and a page that is safe to open."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proband.errors import InputError
from proband.validate.findings import Finding, Limit
from proband.validate.report import Report

HOSTILE = "<script>alert('x')</script>$a_b$ & \"q\" \u202e"
VOID = {"meta", "link", "br", "img", "input", "hr"}


def finding(name: str = "detection_auc", value: float | None = 0.55, ends: tuple[float, float] | None = (0.5, 0.6), **more: Any) -> Finding:
    words = {"question": "faithful", "title": f"Title of {name}", "why": f"Why {name}."}
    return Finding(name=name, value=value, interval=ends, **{**words, **more})


def met(name: str, value: float, ends: tuple[float, float], at_most: float, **more: Any) -> Finding:
    return finding(name, value, ends, limit=Limit(at_most=at_most), passed=True, **more)


def full(columns: int = 5, *, first: str = "age_at_admission_in_completed_years_according_to_the_register") -> Report:
    """A report with every kind of detail that the standard checks deliver."""
    generator = np.random.default_rng(1)
    names = [first, "sex", "visit", "hour", *(f"lab_{i}" for i in range(columns))][:columns]
    cells = {
        "sex": ("category", ["F", "M", "missing"]),
        "visit": ("date", ["2019-04 to 2019-09", "2019-10 to 2020-03", "other"]),
        "hour": ("time", ["00 h to 06 h", "07 h to 12 h"]),
    }
    rows = []
    for name in names:
        kind, labels = cells.get(name, ("number", ["-1.5 to 0", "0", "0 to 2.5", "2.5 to 40", "missing"]))
        shares = generator.dirichlet(np.ones(len(labels)), 2)
        one = {"name": name, "kind": kind, "labels": labels, "real": shares[0], "synthetic": shares[1]}
        rows.append(one | {"distance": float(np.abs(shares[0] - shares[1]).sum() / 2), "reference": 0.02, "floor": 0.03})
    matrix = generator.uniform(0, 1, (columns, columns))
    rate = np.linspace(0, 1, 600)
    models = [
        {"model": model, "measure": measure, "trtr": 0.81, "tstr": 0.78, "both": 0.82, "floor": 0.5, "interval": [0.75, 0.8]}
        for model in ("logistic regression", "boosted trees")
        for measure in ("AUROC", "Brier score")
    ]
    two = [{"name": name, "real": 0.2, "synthetic": 0.3} for name in names]
    groups = [{"name": name, "trtr": 0.8, "tstr": 0.7} for name in names]
    tail = [{"r": r, "members": r // 2, "expected": r / 2, "p": 0.5} for r in (10, 30, 100)]
    attack = {"roc": {"fpr": rate, "tpr": rate, "band_low": rate * 0.7, "band_high": np.minimum(1, rate * 1.3)}, "tail": tail}
    copied = {"synthetic_share_train": 0.01, "synthetic_share_holdout": 0.009}
    worst = [{"columns": names[:2], "distance": 0.1, "reference": 0.05, "floor": 0.2}]
    rule = {"sql": "a <= b", "synthetic": 0.0, "real": 0.0}
    clues = [{"kind": "column", "name": name, "auc": 0.9, "text": f"3% of '{name}' lie on its format"} for name in names]
    judge = {"roc": {"fpr": rate, "tpr": rate**0.5}, "clues": clues}
    findings = (
        met("columns_distance", 0.02, (0.01, 0.03), 0.05, reference=0.02, detail={"columns": rows}),
        finding("pairs_distance", 0.02, detail={"worst": worst}),
        finding("missingness_distance", 0.01, detail={"columns": two}),
        finding("association_error", 0.01, detail={"names": names, "real": matrix, "synthetic": matrix * 0.9}),
        finding("subgroups_error", 0.01, detail={"groups": two}),
        met("rules_broken", 0.0, (0.0, 0.0), 0.0, detail={"rules": [rule]}),
        met("detection_auc", 0.55, (0.5, 0.6), 0.7, reference=0.5, floor=0.98, detail=judge),
        met("tstr_auroc_gap", 0.03, (0.0, 0.05), 0.1, question="useful", detail={"models": models, "subgroups": groups}),
        met("exact_copies_excess", 0.0, (0.0, 0.001), 0.01, question="private", detail=copied),
        met("membership_auc", 0.51, (0.49, 0.53), 0.6, question="private", detail=attack | {"power": "Power in words."}),
        finding("third_party", 1.0, (-np.inf, np.inf), detail={"columns": "of another form", "roc": [1], "models": [{"strange": True}]}),
    )
    context = {
        "title": "Synthetic patients from a test",
        "data": "test.csv",
        "synthesizer": "forest",
        "version": "0.1.0",
        "seed": 7,
        "target": "death",
        "schema_hash": "0123456789abcdef" * 4,
        "sizes": {"train": 600, "holdout": 200, "reference": 200, "synthetic": 1000},
        "columns": columns,
        "policy": "controlled",
        "proposals": ["sex: '?' means missing", f"{first}: reviewed"],
        "history": [[step, 0.5 + 0.4 / (1 + step / 100)] for step in range(0, 1000, 50)],
        "subject": {"file": "synthetic.parquet", "sha256": "f" * 64},
    }
    return Report(findings, context)


class Page(HTMLParser):
    """Reads a page strictly: every tag is closed in order, ids are unique, and it notes what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


# What is saved and loaded.


def test_a_report_saved_and_loaded_is_equal_and_has_the_same_bytes(tmp_path: Path) -> None:
    report = full()
    report.save(tmp_path / "report.json")
    again = Report.load(tmp_path / "report.json")
    assert again == report
    assert again.json() == report.json()
    assert again.html() == report.html()
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_equal_reports_give_equal_bytes() -> None:
    assert full().html() == full().html()
    assert full().json() == full().json()


def test_json_is_versioned_strict_and_says_null_for_what_is_not_finite() -> None:
    awkward = finding(
        value=float("nan"), ends=(0.1, float("inf")), reference=float("inf"), detail={"values": np.array([1.0, np.nan, -np.inf])}
    )
    report = Report((awkward,), {"columns": np.int64(3), "seconds": float("nan")})
    plain = json.loads(report.json(), parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    assert plain["proband_report"] == 1
    one = plain["findings"][0]
    assert (one["value"], one["interval"], one["reference"], one["detail"]["values"]) == (None, [0.1, None], None, [1.0, None, None])
    assert plain["context"] == {"columns": 3, "seconds": None}


def test_an_open_end_survives_and_an_unknown_end_leaves_no_interval(tmp_path: Path) -> None:
    report = Report((finding("open", ends=(0.1, float("inf"))), finding("unknown", ends=(float("nan"), 0.2))))
    report.save(tmp_path / "report.json")
    opened, unknown = Report.load(tmp_path / "report.json").findings
    assert opened.interval == (0.1, float("inf"))
    assert opened.judged(Limit(at_most=1.0)).passed is False
    assert unknown.interval is None
    assert unknown.judged(Limit(at_most=1.0)).passed is None


ENTRY = b'{"proband_report": 1, "context": {}, "findings": [{"question": "private", "name": "a", "title": "b", "why": "c", %s}]}'


@pytest.mark.parametrize(
    "content",
    [
        b"<html></html>",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"proband_report": 2}',
        b'{"proband_report": 1}',
        b'{"proband_report": 1, "findings": 3, "context": {}}',
        b'{"proband_report": 1, "findings": [{"question": "lucky"}], "context": {}}',
        ENTRY % b'"value": "many"',
        ENTRY % b'"value": 1, "interval": [1]',
        ENTRY % b'"value": 1, "interval": [1, "x"]',
        b"[" * 100_000,
    ],
)
def test_what_is_not_a_report_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(InputError, match=r"report\.json"):
        Report.load(tmp_path / "report.json")


def test_places_and_suffixes_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.html"):
        full().save(tmp_path / "report.pdf")
    with pytest.raises(InputError, match="cannot be written"):
        full().save(tmp_path / "absent" / "report.json")
    with pytest.raises(InputError, match="cannot be read"):
        Report.load(tmp_path / "absent.json")
    (tmp_path / "report.json").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        full().save(tmp_path / "report.json")
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


# What the words say.


LIMIT = Limit(at_most=0.7)


@pytest.mark.parametrize(
    ("states", "passed", "lead"),
    [
        ((True, True), True, "Releasable"),
        ((True, False), False, "Not releasable"),
        ((True, None), False, "Could not tell"),
        ((False, None), False, "Not releasable"),
        ((), False, "Could not tell"),
    ],
)
def test_the_verdict_follows_the_findings(states: tuple[bool | None, ...], passed: bool, lead: str) -> None:
    report = Report(tuple(finding(f"finding_{i}", limit=LIMIT, passed=state) for i, state in enumerate(states)))
    assert report.passed is passed
    assert report.verdict.startswith(lead)
    badge = re.search(r'class="badge">.*?<span>(.*?)</span>', report.html(), re.S)
    assert badge and badge[1] == lead


def test_a_report_without_limits_is_not_passed() -> None:
    report = Report((finding(),))
    assert not report.passed
    assert "no limit was set" in report.verdict


def test_the_verdict_says_by_how_much_and_what_to_do() -> None:
    broken = finding(value=0.81, ends=(0.79, 0.83), reference=0.5, limit=LIMIT, passed=False, why="Fit 'age' with more trees.")
    report = Report((broken, finding("copies", question="private", limit=LIMIT, passed=None, why="Bring more patients")), full().context)
    for words in (
        "0.81 (0.79 to 0.83)",
        "at most 0.7",
        "real against real gives 0.5",
        "Title of detection_auc",
        "Fit 'age' with more trees.",
    ):
        assert words in report.verdict
    assert "cannot be told" in report.verdict and "keep these rows inside" in report.verdict
    assert Report(report.findings[1:]).verdict.endswith("Bring more patients.")
    assert "1,000 synthetic patients" in report.verdict and "“controlled”" in report.verdict
    assert "useful was not asked" in report.verdict


def test_other_limits_judge_the_same_findings_anew() -> None:
    report = Report((finding(limit=LIMIT, passed=True),))
    assert report.passed
    strict = report.judged({"detection_auc": Limit(at_most=0.51)}, policy="public")
    assert not strict.passed
    assert "“public”" in strict.verdict
    assert report.judged({}).findings[0].limit is None


# The page.


def test_the_page_is_well_formed_complete_and_asks_nobody_for_anything() -> None:
    report = full()
    text = report.html()
    page = Page(text)
    shown = " ".join(" ".join(page.text).split())
    for one in report.findings:
        for words in (one.title, one.name, one.why):
            assert words in shown
    assert report.verdict in shown
    assert "test.csv" in shown and "f" * 64 in shown and "sex: '?' means missing" in shown
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes[name] for _, attributes in page.tags for name in ("href", "src") if attributes.get(name)}
    assert {str(link).split("#")[0].split(";")[0] for link in links} <= {"", "data:image/png"}
    assert {str(link)[1:] for link in links if str(link).startswith("#")} <= set(ids)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "object", "embed", "link", "form", "base"})
    assert "http:" not in text and "https:" not in text and "@import" not in text and not re.search(r"url\((?!#)", text)


def test_every_picture_has_a_text_alternative_with_numbers() -> None:
    pictures = [attributes for tag, attributes in Page(full().html()).tags if tag == "svg" and attributes.get("aria-hidden") != "true"]
    columns, plates, gauges = 5, 3 + 1 + 1 + 1 + 1 + 2 + 1 + 3, len(full().findings)
    assert len(pictures) == columns + plates + gauges
    for attributes in pictures:
        assert attributes["role"] == "img"
        assert re.search(r"\d", attributes["aria-label"] or "")


def test_hostile_names_are_shown_not_obeyed() -> None:
    report = full(first=HOSTILE)
    context = {**report.context, "title": HOSTILE, "data": HOSTILE, "policy": HOSTILE}
    findings = (*report.findings, finding(HOSTILE, title=HOSTILE, why=HOSTILE, detail={"power": HOSTILE}))
    text = Report(findings, context).html()
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script"})
    assert "<script" not in text and "\u202e" not in text
    assert "<script>alert('x')</script>$a_b$ & \"q\" \ufffd" in html.unescape(text)


def test_words_in_pictures_are_left_as_they_are() -> None:
    name = "pH 7.12345 of #000004"
    text = full(first=name).html()
    assert text.count(f">{name}</text>") == 4  # missing values, groups, give-aways and subgroups
    assert "0.810 → 0.780" not in text and "0.81 → 0.78" in text


def test_unknown_details_and_empty_reports_still_render() -> None:
    names = [one.name for one in full().findings]
    for detail in (
        {},
        {"columns": None, "models": 3, "roc": {"fpr": [0, "x"]}, "tail": [{}], "groups": [None]},
        {"columns": [1], "roc": {}},
    ):
        Page(Report(tuple(finding(name, detail=detail) for name in names)).html())
    Page(Report((), {}).html())


@pytest.mark.parametrize("columns", [1, 3, 60])
def test_few_and_many_columns(columns: int) -> None:
    page = Page(full(columns).html())
    cards = [attributes for tag, attributes in page.tags if tag == "figure" and attributes.get("class") == "column"]
    assert len(cards) == columns
    assert ("more columns, which differ less" in " ".join(page.text)) is (columns > 40)


CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to lay out the page (Debian: apt-get install chromium)")
def test_on_a_phone_nothing_is_wider_than_the_screen(tmp_path: Path) -> None:
    report = full(30)
    long = finding("a_name_" * 12, title="Unbroken" * 20, why="Andlongwords" * 20)
    framed = html.escape(Report((*report.findings, long), report.context).html())
    # The report runs no script: a page around it opens what is folded and measures.
    measure = """<script>addEventListener("load", () => {
      const page = document.querySelector("iframe").contentDocument;
      page.querySelectorAll("details").forEach(one => one.open = true);
      const wide = [...page.querySelectorAll("main *")]
        .filter(one => !one.closest("svg *, .scroll *") && one.getBoundingClientRect().right > 360.5)
        .map(one => one.outerHTML.slice(0, 80));
      const {scrollWidth, scrollHeight} = page.documentElement;
      document.title = JSON.stringify({scrollWidth, scrollHeight, wide});
    })</script>"""
    frame = f'<iframe width="360" height="800" srcdoc="{framed}"></iframe>'
    (tmp_path / "phone.html").write_text(f"<!DOCTYPE html><title></title>{measure}{frame}")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars", "--disable-sync"]
    offline = ["--disable-background-networking", "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command = [str(CHROMIUM), *flags, *offline, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000", "--dump-dom"]
    found = subprocess.run([*command, (tmp_path / "phone.html").as_uri()], capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", found.stdout, re.S)
    assert title, found.stderr
    measured = json.loads(html.unescape(title[1]))
    assert measured["wide"] == []
    assert measured["scrollWidth"] == 360 and measured["scrollHeight"] > 5000
