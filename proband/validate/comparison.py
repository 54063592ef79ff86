"""Comparison: the reports of several synthesizers on the same patients, ranked, as one table and one picture."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from proband.validate import words
from proband.validate.findings import Finding, Question
from proband.validate.report import Report, _plain, _write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = 1
RULE = (
    "Ranked first by whether the gate passes, then by how many limits are missed (broken, or could not be told), then by how well "
    "a discriminator tells the patients from real ones (raw values; less is better)."
)


class Measure(NamedTuple):
    """One column of the table: a finding, and its heading. `shown`: it has a panel in the picture."""

    name: str
    heading: str
    question: Question
    shown: bool = False


MEASURES = (
    Measure("detection_auc", "Detection, raw", "faithful", True),
    Measure("detection_auc_binned", "Detection, binned", "faithful"),
    Measure("pairs_distance", "Pairs", "faithful"),
    Measure("association_error", "Association error", "faithful"),
    Measure("tstr_auroc_gap", "AUROC lost", "useful", True),
    Measure("membership_auc", "Membership AUC", "private", True),
    Measure("membership_tpr_at_1pct", "TPR at 1 %", "private"),
    Measure("near_copies_excess", "Near copies", "private"),
)
_COSTS = {"fit_s": "Fit, s", "sample_s": "Sample, s", "peak_mb": "Peak memory, MB", "fit_wh": "Energy, Wh"}

_HEADINGS = ["", "Gate", "Limits missed", *(one.heading for one in MEASURES), *_COSTS.values()]


@dataclass(frozen=True)
class Entry:
    """One synthesizer: its report under the policy, and the gate's reasons against a release (none: it passes).

    costs   fit_s and sample_s (seconds), peak_mb (the most memory that the process held while it fitted and sampled), fit_wh (an
            estimate of the energy of fitting, in watt-hours); None: not known
    """

    name: str
    report: Report
    reasons: tuple[str, ...]
    costs: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the gate would let these patients out."""
        return not self.reasons

    @property
    def missed(self) -> list[str]:
        """Names of the findings whose limits are not met."""
        return [f.name for f in self.report.findings if f.limit is not None and f.passed is not True]

    def finding(self, name: str) -> Finding | None:
        """The finding called `name`, if the report has it."""
        return next((f for f in self.report.findings if f.name == name), None)

    def value(self, name: str) -> float | None:
        """The value of a finding, or None."""
        found = self.finding(name)
        return None if found is None else found.value

    @property
    def rank(self) -> tuple[bool, int, float, str]:
        """What entries are sorted by. A discriminator that does worse than a coin has found nothing: it counts as a coin."""
        detection = self.value("detection_auc")
        return not self.passed, len(self.reasons), 2.0 if detection is None else max(0.5, detection), self.name


@dataclass(frozen=True)
class Comparison:
    """Synthesizers on one split, best first.

    entries   ranked by RULE, whatever order they come in
    failed    synthesizer -> why it has no report
    context   title, data, policy, target, seed, sizes: as a report's
    """

    entries: tuple[Entry, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", tuple(sorted(self.entries, key=lambda entry: entry.rank)))

    @property
    def best(self) -> str | None:
        """The first in rank if the gate lets it pass, else None."""
        return self.entries[0].name if self.entries and self.entries[0].passed else None

    @property
    def verdict(self) -> str:
        """Two sentences: who is first, and whether the gate lets anybody pass."""
        if not self.entries:
            return "No synthesizer has a report yet."
        first, passed = self.entries[0], [entry.name for entry in self.entries if entry.passed]
        policy = f" of the policy “{self.context['policy']}”" if self.context.get("policy") else ""
        if not passed:
            return (
                f"The gate{policy} lets nobody pass. {first.name} comes nearest: {len(first.reasons)} limits are missed, the first "
                f"reason being: {first.reasons[0]}"
            )
        others = f", and {', '.join(passed[1:])} too" if len(passed) > 1 else ", and nobody else"
        return f"{first.name} ranks first. The gate{policy} lets it pass{others}."

    def rows(self) -> list[dict[str, Any]]:
        """The table as plain data: real against real first, then the synthesizers by rank, then those without a report."""
        reference: dict[str, Any] = {"rank": None, "synthesizer": "real v real", "gate": None, "missed": None}
        for one in MEASURES:
            known = (found.reference for entry in self.entries if (found := entry.finding(one.name)) and found.reference is not None)
            reference[one.name] = next(known, None)
        rows = [reference | dict.fromkeys(_COSTS)] if self.entries else []
        for rank, entry in enumerate(self.entries, 1):
            row = {"rank": rank, "synthesizer": entry.name, "gate": "passes" if entry.passed else "stops", "missed": len(entry.reasons)}
            rows.append(row | {one.name: entry.value(one.name) for one in MEASURES} | {name: entry.costs.get(name) for name in _COSTS})
        nothing = dict.fromkeys([one.name for one in MEASURES] + list(_COSTS))
        rows += [{"rank": None, "synthesizer": name, "gate": "failed", "missed": None} | nothing for name in self.failed]
        return rows

    def __str__(self) -> str:
        """The table for a terminal or a page of text."""
        lines = [_HEADINGS, ["---"] * len(_HEADINGS), *_table(self)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def csv(self) -> str:
        """The table as CSV; nothing where there is no number."""
        buffer = io.StringIO()
        rows = self.rows()
        writer = csv.DictWriter(buffer, ["rank", "synthesizer", "gate", "missed", *(one.name for one in MEASURES), *_COSTS])
        writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue()

    def json(self) -> str:
        """The table, the limits that each synthesizer missed, and the rule of ranking, for machines."""
        plain = {"proband_comparison": FORMAT, "rule": RULE, "best": self.best, "verdict": self.verdict, "context": self.context}
        plain["rows"] = self.rows()
        plain["missed"] = {entry.name: entry.missed for entry in self.entries}
        plain["reasons"] = {entry.name: entry.reasons for entry in self.entries}
        plain["failed"] = self.failed
        return json.dumps(_plain(plain), sort_keys=True, ensure_ascii=True, allow_nan=False, indent=1) + "\n"

    def html(self) -> str:
        """The page: one file that needs nothing else; it links to `NAME/report.html` beside it."""
        from markupsafe import Markup

        from proband.validate.page import environment

        shown = words.printable({"context": self.context, "failed": self.failed})
        return environment().get_template("comparison.html.jinja").render(
            context=shown["context"],
            failed=shown["failed"],
            verdict=words.printable(self.verdict),
            outcome="releasable" if self.best else "not releasable",
            rule=RULE,
            headings=_HEADINGS,
            table=_table(self),
            entries=self.entries,
            picture=Markup(picture(self)) if self.entries else "",
        )  # fmt: skip

    def save(self, folder: str | Path) -> None:
        """Write comparison.html, comparison.csv and comparison.json into `folder`, in place of those of before."""
        for name, made in (("comparison.csv", self.csv()), ("comparison.html", self.html()), ("comparison.json", self.json())):
            _write(Path(folder) / name, made.encode())


def _table(comparison: Comparison) -> list[list[str]]:
    """The rows in words, the numbers of a measure alike."""
    rows = comparison.rows()
    lines = [[row["synthesizer"], row["gate"] or "", "" if row["missed"] is None else str(row["missed"])] for row in rows]
    for name in (*(one.name for one in MEASURES), *_COSTS):
        values = [row[name] for row in rows]
        told = [words.number(value) for value in values] if name in _COSTS else words.alike(values)
        for line, text in zip(lines, told, strict=True):
            line.append(text)
    return lines


def picture(comparison: Comparison) -> str:
    """A panel a question, a line a synthesizer: the diamond with its interval, real against real, and the side that the limit forbids."""
    from proband.validate import pictures
    from proband.validate.pictures import BAD, CARD, FAKE, INK, LINE, MUTED, REAL

    shown = [one for one in MEASURES if one.shown and any(entry.value(one.name) is not None for entry in comparison.entries)]
    left, gap, top, step = 118, 28, 44, 30
    width = 960
    panel = (width - left - gap * len(shown)) / max(1, len(shown))
    height = top + step * len(comparison.entries) + 26

    def paint(figure: Figure) -> None:
        axes = pictures.bare(figure, [0, 0, 1, 1])
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        for row, entry in enumerate(comparison.entries):
            y = top + step * (row + 0.5)
            axes.text(8, y, pictures.short(f"{row + 1}  {entry.name}", 18), fontsize=12, va="center", color=INK)
        for at, one in enumerate(shown):
            start = left + at * (panel + gap)
            found = [entry.finding(one.name) for entry in comparison.entries]
            limits = [f.limit.at_most for f in found if f is not None and f.limit is not None and f.limit.at_most is not None]
            values = [v for f in found if f is not None for v in (f.value, f.reference, *(f.interval or ()))]
            finite = [v for v in values if v is not None and abs(v) < 1e9] + limits
            low, high = min(finite), max(finite)
            room = 0.06 * (high - low) or 0.5
            low, high = low - room, high + room

            def place(value: float, low: float = low, high: float = high, start: float = start) -> float:
                return start + panel * min(1.0, max(0.0, (value - low) / (high - low)))

            bottom = height - 26
            axes.text(start, 14, one.heading, fontsize=12.5, va="center", color=INK)
            if limits:
                axes.fill_between([place(min(limits)), start + panel], top - 6, bottom + 2, color=BAD, alpha=0.1, linewidth=0)
                axes.plot([place(min(limits))] * 2, [top - 6, bottom + 2], color=BAD, linewidth=1.3)
            references = [f.reference for f in found if f is not None and f.reference is not None]
            if references:
                axes.plot([place(references[0])] * 2, [top - 6, bottom + 2], color=REAL, linewidth=1.6)
            for row, finding in enumerate(found):
                y = top + step * (row + 0.5)
                axes.plot([start, start + panel], [y, y], color=LINE, linewidth=1)
                if finding is None or finding.value is None:
                    axes.text(start + panel, y - 8, "–", fontsize=10.5, va="center", ha="right", color=MUTED)
                    continue
                if finding.interval:
                    axes.plot([place(end) for end in finding.interval], [y, y], color=FAKE, linewidth=4.5, alpha=0.4, solid_capstyle="butt")
                axes.plot([place(finding.value)], [y], "D", color=FAKE, markersize=6.4, markeredgecolor=CARD, markeredgewidth=1)
            for edge, text, side in zip((start, start + panel), words.alike([low, high]), ("left", "right"), strict=True):
                axes.text(edge, height - 10, text, fontsize=10.5, color=MUTED, va="center", ha=side)

    told = (
        f"{entry.name}: " + ", ".join(f"{one.heading.lower()} {words.number(entry.value(one.name))}" for one in shown)
        for entry in comparison.entries
    )
    return pictures.draw("comparison", width, height, f"Synthesizers by rank. {'; '.join(told)}.", paint)
