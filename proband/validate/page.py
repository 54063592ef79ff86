"""The page: a report as one HTML file, worst things first, nothing fetched, nothing run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import jinja2
from markupsafe import Markup

from proband.validate import courses, image_plates, pictures, plates, strips, words
from proband.validate.findings import Finding, Question
from proband.validate.plates import Grid, Plate
from proband.validate.statement import statement

if TYPE_CHECKING:
    from proband.validate.report import Report

T = TypeVar("T")

SHOWN_COLUMNS = 40
"""Columns whose pictures stand open; the rest, which differ less, are folded."""

_LEGENDS: dict[Question, tuple[tuple[str, str], ...]] = {
    "faithful": (("real", "real patients"), ("fake", "synthetic patients")),
    "useful": (
        ("real", "trained on real patients"),
        ("fake", "trained on synthetic ones, with its interval"),
        ("both", "trained on both"),
        ("tick", "trained on independent columns, which know nothing"),
    ),
    "private": (("fake", "the attack on these synthetic patients"), ("real", "what chance gives")),
}


def page(report: Report) -> str:
    """The whole page as text. The same report gives the same text."""
    findings = [
        replace(finding, **{name: words.printable(getattr(finding, name)) for name in ("name", "title", "why", "detail")})
        for finding in report.findings
    ]
    context = words.printable(report.context)
    return (
        environment()
        .get_template("report.html.jinja")
        .render(
            context=context,
            shows_patients=report.shows_patients,
            outcome=words.outcome(findings),
            sentences=words.sentences(findings, context),
            sections=[_section(question, findings, context) for question in words.QUESTIONS],
            statement=statement(findings, context),
            findings=[(finding, _gauge(i, finding)) for i, finding in enumerate(findings)],
        )
    )


def environment() -> jinja2.Environment:
    """Templates beside this file, with everything escaped and numbers in the report's words."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("proband.validate", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(number=words.number, span=words.span, bound=words.bound, status=words.status, count=words.count)
    return made


def _section(question: Question, findings: Sequence[Finding], context: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows of one question: its answer, its pictures, its tables."""
    mine = [finding for finding in findings if finding.question == question]
    judged = [finding for finding in mine if finding.limit is not None]
    details = {finding.name: finding.detail for finding in mine}
    shown, grids = {"faithful": _faithful, "useful": _useful, "private": _private}[question](details, context)
    columns = _columns(details) if question == "faithful" else []
    return {
        "question": question,
        "title": words.QUESTIONS[question],
        "legend": _LEGENDS[question],
        "answer": words.answer(question, findings),
        "state": words.outcome(mine) if judged else "not judged",
        "met": sum(finding.passed is True for finding in judged),
        "judged": len(judged),
        "columns": columns[:SHOWN_COLUMNS],
        "folded": columns[SHOWN_COLUMNS:],
        "maps": [plate for plate in shown if plate.wide],
        "plates": [plate for plate in shown if not plate.wide],
        "grids": grids,
    }


def _faithful(details: Mapping[str, Any], context: Mapping[str, Any]) -> tuple[list[Plate], list[Grid]]:
    judge: Mapping[str, Any] = next((details[name] for name in ("detection_auc", "detection_auc_binned") if details.get(name)), {})
    shown = _kept(
        lambda: plates.associations(details["association_error"]),
        lambda: [plates.success(context["history"]) if context.get("history") else plates.detection(judge["roc"])],
        lambda: [plates.groups(details["subgroups_error"]["groups"])],
        lambda: [plates.giveaways(judge["clues"])],
        lambda: [plates.missing(details["missingness_distance"]["columns"])],
        lambda: courses.transitions(details["transitions_error"]),
        lambda: courses.trajectories(details["values_distance"]["courses"]),
        lambda: [courses.rates(details["rates_error"]["codes"])],
        lambda: [courses.timeline(details["lengths_distance"]["patient"])],
        lambda: strips.strips(details["spectrum_distance"]["strips"]),
        lambda: strips.spectra(details["spectrum_distance"]["spectra"]),
        lambda: image_plates.sheets(details["image_kid"]["sheets"]),
        lambda: image_plates.rings(details["image_spectrum_distance"]["rings"]),
    )
    grids = _kept(
        lambda: [plates.clues(judge["clues"])],
        lambda: [plates.rules(details["rules_broken"]["rules"])],
        lambda: [plates.rules(details["charts_broken"]["rules"], "What charts keep to, and how often it is broken where it could be")],
        lambda: [plates.pairs(details["pairs_distance"]["worst"])],
        lambda: [plates.columns(_ranked(details))],
        lambda: [plates.signal_groups(details["spectrum_distance"]["groups"])],
        lambda: [image_plates.groups(details["image_kid"]["groups"])],
    )
    return shown, grids


def _useful(details: Mapping[str, Any], context: Mapping[str, Any]) -> tuple[list[Plate], list[Grid]]:
    models: plates.Rows = next((detail["models"] for detail in details.values() if detail.get("models")), [])
    subgroups: plates.Rows = next((detail["subgroups"] for detail in details.values() if detail.get("subgroups")), [])
    shown = _kept(lambda: plates.usefulness(models), lambda: [plates.subgroups(subgroups)])
    tables = (lambda: [plates.models(models)], lambda: [image_plates.readers(details["tstr_images_gap"]["readers"])])
    return shown, _kept(*tables)


def _private(details: Mapping[str, Any], context: Mapping[str, Any]) -> tuple[list[Plate], list[Grid]]:
    attacks = [detail for name, detail in details.items() if name.startswith("membership")]
    roc: Mapping[str, Any] = next((detail for detail in attacks if detail.get("roc")), {})
    tail: plates.Rows = next((detail["tail"] for detail in attacks if detail.get("tail")), [])
    shown = _kept(
        lambda: [plates.membership(roc["roc"], str(roc.get("power") or ""))],
        lambda: [plates.enrichment(tail)],
        lambda: [plates.copies(details)],
        lambda: image_plates.neighbours(details["image_near_copies_excess"]["neighbours"]),
    )
    groups: plates.Rows = details.get("membership_worst_group", {}).get("groups", [])
    tables = (
        lambda: [plates.tail(tail)],
        lambda: [plates.attacks(details)],
        lambda: [plates.exposed(groups)],
        lambda: [plates.hidden(details["attribute_gain"]["columns"])],
        lambda: [image_plates.attacks(details["image_membership_auc"]["images"])],
    )
    return shown, _kept(*tables)


def _kept(*makers: Callable[[], Iterable[T]]) -> list[T]:
    """What the makers give; one whose data is absent or of another form (a third party's finding) gives nothing."""
    made: list[T] = []
    for maker in makers:
        try:
            made.extend(maker())
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            continue
    return made


def _ranked(details: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Columns, worst first: how far each is beyond what real patients differ from real patients."""
    return sorted(details["columns_distance"]["columns"], key=lambda column: (column.get("reference") or 0) - (column.get("distance") or 0))


def _columns(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    ranked = enumerate(_kept(lambda: _ranked(details)))
    return _kept(*(lambda i=i, column=column: [plates.column(i, column)] for i, column in ranked))


def _gauge(i: int, finding: Finding) -> Markup | None:
    if finding.value is None and finding.interval is None:
        return None
    label = (
        f"{finding.title}: value {words.number(finding.value)}, interval {words.span(finding.interval)}, real against real "
        f"{words.number(finding.reference)}, floor {words.number(finding.floor)}, limit {words.bound(finding)}, {words.status(finding)}."
    )
    return Markup(pictures.gauge(f"gauge-{i}", finding, label))
