"""The statement on privacy: what a data officer signs. What was attacked, with what power, what was promised, and where it is entered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proband.validate.findings import Finding
from proband.validate.words import number

PROMISE = "epsilon"  # the finding that repeats a promise: no attack


def statement(findings: Sequence[Finding], context: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows.

    attacked   every finding of the third question but the promise
    power      what the attacks could have seen, in their own words, each once
    promise    the finding that repeats what the mark of the synthetic patients promises; None: nothing was promised
    ledger     how the cohort's ledger stood (see `privacy.ledger.standing`), and its head; None: none was kept, or it was not told
    """
    private = [finding for finding in findings if finding.question == "private"]
    attacked = [finding for finding in private if finding.name != PROMISE]
    power = dict.fromkeys(str(finding.detail["power"]) for finding in attacked if finding.detail.get("power"))
    kept = context.get("ledger")
    return {
        "attacked": attacked,
        "power": list(power),
        "promise": next((finding for finding in private if finding.name == PROMISE), None),
        "ledger": _ledger(kept),
        "head": str(kept["head"]) if isinstance(kept, Mapping) and "head" in kept else None,
    }


def _ledger(kept: Any) -> str | None:
    """The ledger in a sentence; None where the report has none, or one of another form."""
    try:
        limits, spent = kept["limits"], number(kept["epsilon"])
        return (
            f"The ledger {kept['name']}: epsilon {spent} of {number(limits['epsilon'])} spent (delta {limits['delta']:g}), "
            f"{kept['audits']:d} of {limits['audits']:d} audits, fits without any guarantee: {kept['fits_without_guarantee']:d}."
        )
    except (KeyError, TypeError, ValueError):
        return None
