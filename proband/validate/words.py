"""A report's findings in words: the verdict, the answer to each question, numbers as people read them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from proband.validate.findings import Finding, Question

Outcome = Literal["releasable", "not releasable", "could not tell"]

QUESTIONS: dict[Question, str] = {"faithful": "Is it faithful?", "useful": "Is it useful?", "private": "Is it private?"}

_ADVICE: dict[Question, str] = {
    "private": "fit on more patients, less long or with noise, and sample anew",
    "faithful": "review the schema of the columns that differ most, then fit longer or with another synthesizer",
    "useful": "name the outcome when fitting, fit longer or with another synthesizer, and base no model on these",
}


def number(value: float | None) -> str:
    """Three significant digits, never an exponent; a dash where there is no number.

    >>> number(0.51349), number(12345.6), number(0.0), number(None)
    ('0.513', '12,346', '0', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "no upper end" if value > 0 else "no lower end"
    digits = _digits(value)
    text = f"{value:,.{digits}f}"
    return _minus(text.rstrip("0").rstrip(".") if digits else text)


def _digits(value: float) -> int:
    """Decimals that show three significant digits, at most six."""
    return 0 if value == 0 or not math.isfinite(value) else min(6, max(0, 2 - math.floor(math.log10(abs(value)))))


def _minus(text: str) -> str:
    return text.replace("-", "−") if float(text.replace(",", "") or 0) else text.lstrip("-") or "0"


def count(value: Any) -> str:
    """An integer with thousands separated; a dash where there is none."""
    return f"{value:,}" if isinstance(value, int) else "–"


def alike(values: Sequence[float | None]) -> list[str]:
    """Numbers that stand beside each other, with the decimals that suit the largest of them.

    >>> alike([0.00363, 0.01871]), alike([0.99, 0.984])
    (['0.0036', '0.0187'], ['0.990', '0.984'])
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    digits = _digits(max(map(abs, finite), default=0.0))
    while digits and all(f"{value:.{digits}f}".endswith("0") for value in finite):
        digits -= 1
    return [number(value) if value is None or not math.isfinite(value) else _minus(f"{value:,.{digits}f}") for value in values]


def span(ends: tuple[float, float] | None) -> str:
    """An interval: `0.514 to 0.650`."""
    return "–" if ends is None else " to ".join(alike(ends))


def status(finding: Finding) -> str:
    """passed, failed, could not tell, or `not judged` where no limit was set."""
    if finding.limit is None:
        return "not judged"
    return {True: "passed", False: "failed", None: "could not tell"}[finding.passed]


def outcome(findings: Sequence[Finding]) -> Outcome:
    """Every limit met, any limit broken, or neither: evidence that is missing or too weak carries no release."""
    states = [status(finding) for finding in findings]
    if "failed" in states:
        return "not releasable"
    return "releasable" if "passed" in states and "could not tell" not in states else "could not tell"


def closeness(finding: Finding) -> float:
    """Room between the judged end of the interval and the limit, as a share of the room that real patients leave; below 0 beyond it."""
    if finding.limit is None or finding.interval is None:
        return math.inf
    low, high = finding.interval
    if finding.limit.at_most is not None:
        limit, room = finding.limit.at_most, finding.limit.at_most - high
    else:
        limit = finding.limit.at_least or 0.0
        room = low - limit
    if room == 0 == limit:
        return math.inf  # none allowed and none found: nothing was close
    return room / (abs(limit - (finding.reference or 0.0)) or 1.0)


def measured(finding: Finding) -> str:
    """One finding as a clause: its title, value, interval, limit, and the same for real patients."""
    if finding.value is None:
        return f"“{finding.title}” gave no number"
    within = f" ({span(finding.interval)})" if finding.interval and finding.interval[0] < finding.interval[1] else ""
    beside = f"; real against real gives {number(finding.reference)}" if finding.reference is not None else ""
    return f"“{finding.title}” is {number(finding.value)}{within} where {bound(finding)} is allowed{beside}"


def bound(finding: Finding) -> str:
    """The limit in words: `at most 0.6`."""
    if finding.limit is None:
        return "not set"
    most, least = finding.limit.at_most, finding.limit.at_least
    text = f"at most {number(most)}" if most is not None else f"at least {number(least)}"
    return f"{text} from real against real" if finding.limit.over_reference else text


def answer(question: Question, findings: Sequence[Finding]) -> str:
    """One line that answers one of the three questions from the findings that belong to it."""
    word = question
    of = [finding for finding in findings if finding.question == question]
    judged = [finding for finding in of if finding.limit is not None]
    failed = sorted((f for f in judged if f.passed is False), key=closeness)
    unknown = [f for f in judged if f.passed is None]
    if not of:
        return f"Whether they are {word} was not asked."
    if not judged:
        return f"Whether they are {word} was measured, but no limit was set to judge it by."
    if failed:
        others = f" ({len(failed)} of {len(judged)} limits are broken)" if len(failed) > 1 else ""
        return f"They are not {word} enough: {measured(failed[0])}{others}."
    if unknown:
        names = ", ".join(f"“{f.title}”" for f in unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
        return f"Whether they are {word} cannot be told: the evidence does not settle {names}."
    nearest = min(judged, key=closeness)
    closest = "Closest to its limit:" if len(judged) > 1 else "Measured:"
    return f"They are {word} enough: {_all(len(judged))} met. {closest} {measured(nearest)}."


def _all(limits: int) -> str:
    return {1: "the one limit is", 2: "both limits are"}.get(limits, f"all {limits} limits are")


def verdict(findings: Sequence[Finding], context: Mapping[str, Any]) -> str:
    """One paragraph for the person who signs: released or not, what was tried, by how much, what could not be told, what next."""
    return " ".join(sentences(findings, context))


def sentences(findings: Sequence[Finding], context: Mapping[str, Any]) -> list[str]:
    """The verdict in its parts: the result first, what to do next last."""
    judged = [finding for finding in findings if finding.limit is not None]
    failed = sorted((f for f in judged if f.passed is False), key=lambda f: (-_weight(f), closeness(f)))
    unknown = [f for f in judged if f.passed is None]
    policy = f" under the policy “{context['policy']}”" if context.get("policy") else ""
    limits = "limit" if len(judged) == 1 else "limits"
    result = outcome(findings)
    if not judged:
        lead = "Could not tell: no limit was set, so nothing was judged, and nothing may be released on this report."
    elif result == "releasable":
        lead = f"Releasable{policy}: {_all(len(judged))} met."
    elif result == "not releasable":
        open_ones = f", and for {len(unknown)} more the evidence does not suffice" if unknown else ""
        lead = f"Not releasable{policy}: {len(failed)} of {len(judged)} {limits} {'is' if len(failed) == 1 else 'are'} broken{open_ones}."
    else:
        lead = (
            f"Could not tell{policy}: for {len(unknown)} of {len(judged)} {limits} the evidence is missing or too weak, "
            f"and what cannot be shown is not released."
        )
    parts = [lead, _sizes(context), *(answer(question, findings) for question in QUESTIONS)]
    if failed or unknown:
        first = (failed or unknown)[0]
        advice = _ADVICE[first.question] if failed else "bring more patients, or ask whoever set the policy what it needs"
        parts.append(f"What to do next: keep these rows inside; {advice}. {_sentence(first.why)}".strip())
    elif judged:
        parts.append("What to do next: read what this report cannot show, agree on the purpose, and sign.")
    return [part for part in parts if part]


def printable(value: Any) -> Any:
    """The same plain data with control, surrogate and direction-changing characters made visible (U+FFFD), for a page or a picture."""
    if isinstance(value, str):
        return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") or c in _DIRECTION else c for c in value)
    if isinstance(value, Mapping):
        return {printable(key): printable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(printable(entry) for entry in value)
    return value


# Bidirectional embeddings, overrides and isolates: a column's name could otherwise reorder the text around it.
_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _sizes(context: Mapping[str, Any]) -> str:
    sizes = context.get("sizes") or {}
    synthetic, train = sizes.get("synthetic"), sizes.get("train")
    if not isinstance(synthetic, int):
        return ""
    maker = f" by {context['synthesizer']}" if context.get("synthesizer") else ""
    source = f" from {count(train)} real ones" if isinstance(train, int) else ""
    unseen = sum(size for size in (sizes.get("holdout"), sizes.get("reference")) if isinstance(size, int))
    judged = f" They were judged against {count(unseen)} other real patients whom the synthesizer never saw." if unseen else ""
    return f"{count(synthetic)} synthetic patients were made{maker}{source}.{judged}"


def _weight(finding: Finding) -> int:
    """A broken privacy limit is the first thing to say."""
    return {"private": 2, "faithful": 1}.get(finding.question, 0)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."
