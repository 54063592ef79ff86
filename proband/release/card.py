"""Data card: what a person must know before using a release, on one page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from proband.cohort import Cohort
from proband.records.burned import STAMP, WATERMARK
from proband.records.images import Images
from proband.records.waveforms import Signals
from proband.release.policy import Policy
from proband.schema import Column, Table
from proband.validate.report import Report
from proband.validate.words import QUESTIONS, bound, number, span, status

#: What synthetic patients must not be used for, whatever the report says.
NOT_FOR = (
    "Not for decisions about any person: no row is one.",
    "Not as evidence of a treatment's effect, a dose or a prevalence: confirm every finding on real patients first.",
    "Not for trying to find out who was in the training data, or to link rows with other data.",
    "Not to be passed on without its label, its report and its signed statement, nor mixed unmarked into real data.",
)


@dataclass(frozen=True)
class About:
    """What only the releaser knows; an empty entry stands on the card as not stated."""

    name: str
    purpose: str = ""
    population: str = ""
    creator: str = ""
    license: str = ""
    date: str = ""


def card(synthetic: Cohort, report: Report, policy: Policy, about: About) -> str:
    """The data card as Markdown. It quotes no patient's value: columns by name, kind, unit and number of levels."""
    mark, tables = synthetic.mark, synthetic.tables
    assert mark is not None, "the bundle refuses a cohort without a mark before it gets here"
    sizes = report.context.get("sizes") or {}
    key = synthetic.schema.table.key
    unit = "all their rows in all tables" if synthetic.linked else f"all rows with the same {key} are one" if key else "every row is one"
    parts = [
        f"# {_plain(about.name)}",
        "**Synthetic patients. No row is a real person.**",
        report.verdict,
        "## What it is for",
        _items(
            ("Purpose", about.purpose),
            ("For whom", f"{policy.audience} (policy “{policy.name}”, version {policy.version})"),
            ("Made by", about.creator),
            ("Licence", about.license),
            ("Date", about.date),
        ),
        "## What it must not be used for",
        "\n".join(f"- {line}" for line in NOT_FOR),
        "## Whom it describes",
        _items(
            ("Population", about.population),
            ("Real patients learned from", _count(sizes.get("train"))),
            ("Real patients held back to judge it", _count(sizes.get("holdout"))),
            ("Real patients held back to calibrate attacks", _count(sizes.get("reference"))),
            ("Synthetic patients", f"{_count(len(synthetic))} in {'; '.join(_extent(synthetic, *one) for one in tables)}"),
            *(("Signals", _signals(held)) for held in synthetic.media.values() if isinstance(held, Signals)),
            *(("Images", _images(held)) for held in synthetic.media.values() if isinstance(held, Images)),
            ("Unit of privacy", f"the patient ({unit}), who fell on one side of the split as a whole"),
        ),
        "## How it was made",
        _items(
            ("Synthesizer", f"{mark.synthesizer}, proband {mark.version}"),
            ("Seed", str(mark.seed)),
            ("Schema", f"`{mark.schema_hash}` (schema.toml), {len(synthetic.schema.rules)} rules that hold in every row"),
            *((name, value) for name, value in sorted(mark.details.items())),
        ),
        "## What was found",
        _results(report),
        "The unfavourable end of an interval is judged. “Real v real” is the same metric of real patients against real patients.",
        "## What the limits cannot show",
        "A report covers the attacks that were tried, not every attack; limits are defaults to be argued about, not the law. Groups of "
        "patients too small to be measured may be represented badly. What can be inferred about people in general from good "
        "synthetic data can also be inferred about them.",
        "## Columns",
        *(part for table, _ in tables for part in _columns(table, titled=bool(synthetic.linked))),
        "## How to check it",
        "`proband verify` on this folder, offline, says whether every file is as it was signed. `statement.json` holds the hashes and the "
        "signature, `report.html` the whole report, `policy.toml` the limits and why, `croissant.json` this card for machines.",
    ]
    return "\n\n".join(parts) + "\n"


def _signals(signals: Signals) -> str:
    """Channels, units, rate and length in words."""
    channels = ", ".join(f"{name} ({unit})" for name, unit in zip(signals.names, signals.units, strict=True))
    return f"a record of {number(signals.seconds)} s for each row, {number(signals.rate_hz)} samples a second: {channels}"


def _images(images: Images) -> str:
    """Size, channels, range and what is in their pixels, in words."""
    height, width = images.size
    spacing = f", pixels of {number(images.spacing_mm[0])} x {number(images.spacing_mm[1])} mm" if images.spacing_mm else ""
    told = f"one for each row, {height} x {width} pixels{spacing}: {', '.join(images.channels)}, black at {number(images.low)}"
    pixels = [
        "the word SYNTHETIC in the lower left corner" if STAMP in images.burned_in else "no stamp",
        "a watermark" if any(word.startswith(WATERMARK) for word in images.burned_in) else "no watermark",
    ]
    return f"{told} and white at {number(images.high)}{images.unit and ' '}{images.unit}; in the pixels: {' and '.join(pixels)}"


def _results(report: Report) -> str:
    rows = (
        (QUESTIONS[f.question], f.title, number(f.value), span(f.interval), number(f.reference), bound(f), status(f))
        for f in report.findings
    )
    return _table(("question", "finding", "value", "95 % interval", "real v real", "limit", "result"), rows)


def _extent(synthetic: Cohort, table: Table, frame: pl.DataFrame) -> str:
    size = f"{_count(frame.height)} rows of {_count(frame.width)} columns"
    return f"{table.name}, {size}" if synthetic.linked else size


def _columns(table: Table, *, titled: bool) -> list[str]:
    """The table's columns, and below them what was measured, which has kinds and units of its own."""
    head = [f"### {_plain(table.name)}"] if titled else []
    owned = [f"Rows of {_plain(table.parent)} by {_plain(str(table.on))}."] if table.parent else []
    columns = _table(("column", "kind", "unit", "levels", "sensitive"), (_column(column) for column in table.columns))
    if table.measures is None or not table.variables:
        return [*head, *owned, columns]
    code, value = map(_plain, table.measures)
    measured = _table(("variable", "kind", "unit", "levels", "sensitive"), (_column(one) for one in table.variables))
    return [*head, *owned, columns, f"What {value} is, by {code}:", measured]


def _column(column: Column) -> tuple[str, ...]:
    levels = str(len(column.categories)) if column.categories is not None else ""
    return column.name, column.kind, column.unit or "", levels, "yes" if column.sensitive else ""


def _items(*pairs: tuple[str, str]) -> str:
    return "\n".join(f"- {_plain(name)}: {_plain(value) if value else 'not stated'}" for name, value in pairs)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *(tuple(map(_cell, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """One line, and no markup: a column's name must not become a link, an image or HTML."""
    flat = " ".join(str(text).split())
    for sign in "\\<>[]*":
        flat = flat.replace(sign, f"\\{sign}")
    return flat


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else ""
