"""Report: the findings and what they rest on, as one page for people and one file for machines."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from proband.errors import InputError
from proband.validate import words
from proband.validate.findings import INSIDE, Finding, Limit

FORMAT = 1
"""The number under "proband_report" in report.json; it changes when an older reader would misread the file."""


@dataclass(frozen=True)
class Report:
    """The answers to the three questions, and what a reader must know about where they come from.

    findings   in the order in which they are shown
    context    plain JSON: title, data, synthesizer, version, seed, target, schema_hash, sizes {train, holdout, reference,
               synthetic}, columns, policy, proposals (what the schema review accepted), history ([step, success rate]
               pairs of the discriminator), subject {file, sha256}, ledger (how it stood, see
               `privacy.ledger.standing`); every entry may be missing

    Numbers become plain floats, and one that is not finite becomes None: what was saved and what is loaded are equal.

    >>> report = Report((Finding("private", "exact_copies_excess", "Exact copies", 0.0, "None.", interval=(0.0, 0.001)),))
    >>> report.passed
    False
    """

    findings: tuple[Finding, ...]
    context: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", tuple(_plain_finding(finding) for finding in self.findings))
        object.__setattr__(self, "context", _plain(self.context))

    @property
    def passed(self) -> bool:
        """Whether there are limits and every one of them is met. Could not tell is not passed."""
        return words.outcome(self.findings) == "releasable"

    @property
    def verdict(self) -> str:
        """One paragraph for the person who signs: released or not, what was tried, by how much, what could not be told, what next."""
        return words.verdict(self.findings, self.context)

    def judged(self, limits: Mapping[str, Limit], *, policy: str | None = None) -> Report:
        """The same findings under other limits, by finding name; a finding without one is shown, not judged."""
        context = self.context if policy is None else {**self.context, "policy": policy}
        return Report(tuple(finding.judged(limits.get(finding.name)) for finding in self.findings), context)

    @property
    def shows_patients(self) -> bool:
        """Whether pictures of real patients are in it: such a report stays inside."""
        return any(_shows_patients(finding.detail) for finding in self.findings)

    def outside(self) -> Report:
        """The same report without pictures of real patients: what may leave, and what a release carries."""
        return Report(tuple(replace(finding, detail=_without_patients(finding.detail)) for finding in self.findings), self.context)

    def html(self) -> str:
        """The page: one file that needs nothing else, runs no script and asks the network for nothing."""
        from proband.validate.page import page

        return page(self)

    def json(self) -> str:
        """The same for machines: sorted, and the same bytes for the same report."""
        plain = {"proband_report": FORMAT, "passed": self.passed, "verdict": self.verdict, "context": self.context}
        plain["findings"] = [_entry(finding) for finding in self.findings]
        return json.dumps(plain, sort_keys=True, ensure_ascii=True, allow_nan=False, indent=1) + "\n"

    def save(self, path: str | Path) -> None:
        """Write `.html` for people or `.json` for machines. InputError for another suffix or a place that cannot be written."""
        path = Path(path)
        makers = {".html": self.html, ".json": self.json}
        if path.suffix not in makers:
            raise InputError(f"Report file '{path}' ends in {path.suffix!r}. Use .html (for people) or .json (for machines).")
        _write(path, makers[path.suffix]().encode())

    @staticmethod
    def load(path: str | Path) -> Report:
        """The report in a report.json. InputError when the file is not one."""
        try:
            plain = json.loads(Path(path).read_bytes())
        except OSError as error:
            raise InputError(f"Report '{path}' cannot be read ({error.strerror}). Give the path of a report.json.") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"'{path}' is not JSON. Give the report.json that proband wrote, not the HTML page.") from error
        if not isinstance(plain, dict) or plain.get("proband_report") != FORMAT:
            found = plain.get("proband_report", "none") if isinstance(plain, dict) else "none"
            raise InputError(f"'{path}' is not a report of format {FORMAT} (found: {found}). Give a report.json that this proband wrote.")
        try:
            entries = [{**entry, **_intervals(entry)} for entry in plain["findings"]]
            findings = TypeAdapter(tuple[Finding, ...]).validate_python(entries)
            context = TypeAdapter(dict[str, Any]).validate_python(plain["context"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"'{path}' is a damaged report: its findings or context do not have their form. Validate again.") from error
        return Report(findings, context)


def _plain_finding(finding: Finding) -> Finding:
    """The finding in plain floats and JSON data, so that equal reports have equal bytes."""
    return replace(
        finding,
        value=_finite(finding.value),
        interval=_ends(finding.interval),
        reference=_finite(finding.reference),
        reference_interval=_ends(finding.reference_interval),
        floor=_finite(finding.floor),
        passed=None if finding.passed is None else bool(finding.passed),
        limit=finding.limit and replace(finding.limit, at_most=_finite(finding.limit.at_most), at_least=_finite(finding.limit.at_least)),
        detail=_plain(finding.detail),
    )


def _without_patients(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_patients(one) for key, one in value.items() if key != INSIDE}
    return [_without_patients(one) for one in value] if isinstance(value, list) else value


def _shows_patients(value: Any) -> bool:
    if isinstance(value, Mapping):
        return INSIDE in value or any(map(_shows_patients, value.values()))
    return isinstance(value, list) and any(map(_shows_patients, value))


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _ends(interval: Any) -> tuple[float, float] | None:
    """Both ends as floats; an infinite end stays (it is a statement: no bound was found), an unknown end leaves no interval."""
    if interval is None:
        return None
    low, high = (math.nan if end is None else float(end) for end in interval)
    return None if math.isnan(low) or math.isnan(high) or low == math.inf or high == -math.inf else (low, high)


def _entry(finding: Finding) -> dict[str, Any]:
    """JSON has no infinity: an open end is null, and an interval that is missing altogether is null itself."""
    entry = {one.name: getattr(finding, one.name) for one in fields(finding)}
    entry["limit"] = finding.limit and {
        name: value for name, value in asdict(finding.limit).items() if value is not None and value is not False
    }
    for name in ("interval", "reference_interval"):
        entry[name] = entry[name] and [_finite(end) for end in entry[name]]
    return entry


def _intervals(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The open ends of the intervals of one JSON entry, read back as infinities."""
    found = {name: entry[name] for name in ("interval", "reference_interval") if entry.get(name) is not None}
    return {name: (-math.inf if low is None else low, math.inf if high is None else high) for name, (low, high) in found.items()}


def _plain(value: Any) -> Any:
    """Plain JSON data: arrays to lists, numpy numbers to Python's, what is not finite to None, anything else to its text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(entry) for entry in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        return _plain(value.tolist())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def _write(path: Path, content: bytes) -> None:
    """Under a temporary name first: whatever happens, no half report is left under the real one."""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InputError(f"Report '{path}' cannot be written ({error.strerror}). Choose a folder that exists and is yours.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"Report '{path}' cannot be written ({error.strerror}). Free some space or choose another folder.") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
