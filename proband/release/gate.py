"""The gate: a report under a policy. What could not be told counts as no."""

from __future__ import annotations

from dataclasses import dataclass

from proband.release.policy import Policy
from proband.validate.report import Report
from proband.validate.words import measured


@dataclass(frozen=True)
class Decision:
    """The gate's answer: `passed`, the reasons against (in words, one sentence or two each), and the report under the policy's limits."""

    passed: bool
    reasons: tuple[str, ...]
    report: Report


def judge(report: Report, policy: Policy) -> Decision:
    """Judge every finding anew under the policy, by the unfavourable end of its interval, whatever limits the report came with.

    Reasons against: a limit broken; a value without an interval; a required finding that is absent or gave no number. Any
    other finding that gave no number (no target was named, no group is large enough) is shown, not judged.
    """
    open_questions = {finding.name for finding in report.findings if finding.value is None and finding.name not in policy.required}
    limits = {name: limit for name, limit in policy.limits.items() if name not in open_questions}
    judged = report.judged(limits, policy=policy.name)
    reasons = [
        f"{'Broken' if finding.passed is False else 'Could not tell'} ({finding.name}): {measured(finding)}. {_why(policy, finding.name)}"
        for finding in judged.findings
        if finding.limit is not None and finding.passed is not True
    ]
    present = {finding.name for finding in judged.findings}
    reasons += [
        f"Missing evidence: the report has no finding {name!r} (the limit is {policy.limits[name]}). {_why(policy, name)}"
        for name in policy.required
        if name not in present
    ]
    if not reasons and not judged.passed:
        reasons.append(f"Missing evidence: the report has none of the findings that policy {policy.name!r} sets limits for.")
    return Decision(not reasons, tuple(reasons), judged)


def _why(policy: Policy, name: str) -> str:
    why = policy.bounds[name].why
    return why if why.endswith((".", "!", "?")) else f"{why}."
