from __future__ import annotations

from dataclasses import replace

import pytest

from proband.release.gate import judge
from proband.release.policy import Policy
from proband.validate.findings import Finding, Limit
from proband.validate.report import Report


def with_finding(report: Report, name: str, **changes: object) -> Report:
    return Report(tuple(replace(f, **changes) if f.name == name else f for f in report.findings), report.context)


def test_all_limits_met(report: Report, policy: Policy) -> None:
    decision = judge(report, policy)
    assert decision.passed and decision.reasons == ()
    assert decision.report.passed
    assert decision.report.context["policy"] == "ward"
    assert [f.limit for f in decision.report.findings] == [Limit(at_most=0.75), Limit(at_most=0.01), Limit(at_most=0.05)]


def test_the_unfavourable_end_decides(report: Report, policy: Policy) -> None:
    decision = judge(with_finding(report, "detection_auc", value=0.7, interval=(0.65, 0.76)), policy)
    assert not decision.passed
    (reason,) = decision.reasons
    assert (
        reason.startswith("Broken (detection_auc): “A judge's success”")
        and "0.76" in reason
        and "at most 0.75" in reason
        and "three times in four" in reason
    )


@pytest.mark.parametrize("changes", [{"interval": None}, {"value": None}, {"interval": (float("nan"), 0.1)}])
def test_could_not_tell_counts_as_no(report: Report, policy: Policy, changes: dict[str, object]) -> None:
    (reason,) = judge(with_finding(report, "copies", **changes), policy).reasons
    assert reason.startswith("Could not tell")


def test_a_missing_required_finding_counts_as_no(report: Report, policy: Policy) -> None:
    without = Report(tuple(f for f in report.findings if f.name != "copies"), report.context)
    (reason,) = judge(without, policy).reasons
    assert reason == "Missing evidence: the report has no finding 'copies' (the limit is at most 0.01). Copies are real patients."


def test_a_missing_finding_that_is_not_required_is_no_reason(report: Report, policy: Policy) -> None:
    without = Report(tuple(f for f in report.findings if f.name != "utility_gap"), report.context)
    assert judge(without, policy).passed


def test_a_question_that_was_not_asked_is_shown_not_judged(report: Report, policy: Policy) -> None:
    decision = judge(with_finding(report, "utility_gap", value=None, interval=None), policy)
    assert decision.passed and decision.report.passed
    assert decision.report.findings[2].limit is None


def test_a_value_without_an_interval_counts_as_no_required_or_not(report: Report, policy: Policy) -> None:
    (reason,) = judge(with_finding(report, "utility_gap", interval=None), policy).reasons
    assert reason.startswith("Could not tell (utility_gap)")


def test_a_report_cannot_bring_its_own_limits(report: Report, policy: Policy) -> None:
    generous = with_finding(report, "copies", interval=(0.0, 0.5), limit=Limit(at_most=0.9), passed=True)
    assert not judge(generous, policy).passed


def test_a_finding_without_a_limit_is_shown_not_judged(report: Report, policy: Policy) -> None:
    more = Report((*report.findings, Finding("faithful", "beauty", "Beauty", 0.1, "", passed=False)), report.context)
    assert judge(more, policy).passed


def test_a_report_that_answers_nothing_does_not_pass(report: Report, policy: Policy) -> None:
    lenient = policy.model_copy(update={"required": ()})
    decision = judge(Report((), report.context), lenient)
    assert not decision.passed and "none of the findings" in decision.reasons[0]


def test_every_broken_limit_is_named(report: Report, policy: Policy) -> None:
    bad = with_finding(with_finding(report, "copies", interval=(0.1, 0.2)), "detection_auc", interval=(0.9, 0.99))
    assert len(judge(bad, policy).reasons) == 2
