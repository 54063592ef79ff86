"""What the schema does not allow: rows that break a rule, and values that no real record could hold."""

from __future__ import annotations

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.schema import rules as sql
from proband.schema.model import Column
from proband.validate.coded import numbers, outside, words
from proband.validate.findings import Evidence, Finding

#: Off the grid means off by more than what arithmetic in doubles leaves behind.
_CLOSE = 1e-9


def rules_broken(evidence: Evidence) -> Finding:
    """Rows that break any rule of the schema, beside the real rate. Unknown (NULL) breaks nothing."""
    schema = evidence.train.schema
    title = "Rows that break a rule"
    if not schema.rules:
        return Finding(
            "faithful", "rules_broken", title, 0.0, "The schema has no rules.", interval=(0.0, 0.0), reference=0.0, detail={"rules": []}
        )
    made, made_any = _breaches(evidence.synthetic)
    real_parts = [_breaches(part) for part in (evidence.train, evidence.holdout, evidence.reference)]
    total = sum(part.frame.height for part in (evidence.train, evidence.holdout, evidence.reference))
    real = np.sum([counts for counts, _ in real_parts], axis=0)
    rows = max(evidence.synthetic.frame.height, 1)
    shown = [
        {"sql": rule.sql, "synthetic": round(float(m) / rows, 4), "real": round(float(r) / max(total, 1), 4)}
        for rule, m, r in zip(schema.rules, made, real, strict=True)
    ]
    share = made_any / rows
    worst = int(np.argmax(made / rows - real / max(total, 1)))
    why = (
        f"{made_any:,} of {rows:,} rows break one of {len(schema.rules)} rules; most often: {schema.rules[worst].sql}"
        if made_any
        else f"No row breaks any of the {len(schema.rules)} rules."
    )
    return Finding(
        "faithful",
        "rules_broken",
        title,
        share,
        why,
        interval=(share, share),  # counted over every row that would leave, so there is no doubt to add
        reference=sum(count for _, count in real_parts) / max(total, 1),
        detail={"rules": shown},
    )


def format_broken(evidence: Evidence) -> Finding:
    """Rows with a value of a wrong type, off its grid, beyond its bounds or of an unknown level, that no real record holds.

    The reference is the same for the holdout, beside the other real patients: a few cells of a column may lie off its grid.
    """
    columns = evidence.train.schema.table.columns
    real = (evidence.train, evidence.holdout, evidence.reference)
    broken: dict[str, int] = {}
    rows = evidence.synthetic.frame.height
    any_made, any_held_out = np.zeros(rows, bool), np.zeros(evidence.holdout.frame.height, bool)
    for column in columns:
        strange = _foreign(column, evidence.synthetic, real)
        if column.name in evidence.refused:
            strange = strange | evidence.refused[column.name]
        if strange.any():
            broken[column.name] = int(strange.sum())
            any_made |= strange
        any_held_out |= _foreign(column, evidence.holdout, (evidence.train, evidence.reference))
    share = float(any_made.mean()) if rows else 0.0
    worst = sorted(broken, key=lambda name: -broken[name])
    named = ", ".join(f"'{name}' ({broken[name] / rows:.1%})" for name in worst[:3])
    return Finding(
        "faithful",
        "format_broken",
        "Rows with a value that real records cannot hold",
        share,
        f"A wrong type, an unknown level, beyond the bounds or off the grid: {named}."
        if broken
        else "Every value has the form of real ones.",
        interval=(share, share),
        reference=float(any_held_out.mean()),
        detail={"columns": [{"name": name, "synthetic": round(broken[name] / rows, 4)} for name in worst]},
    )


def _foreign(column: Column, part: Cohort, others: tuple[Cohort, ...]) -> np.ndarray:
    """Which cells of a column the schema does not allow and no record of `others` holds."""
    values = part.frame[column.name]
    strange = _strange(column, values)
    if not strange.any():
        return strange
    held = pl.concat([other.frame[column.name] for other in others]).unique()
    return strange & ~values.is_in(held.implode()).fill_null(False).to_numpy()


def _breaches(part: Cohort) -> tuple[np.ndarray, int]:
    """Per rule, the rows that break it; and the rows that break any."""
    rules = part.schema.rules
    found = []
    broken = pl.repeat(False, part.frame.height, dtype=pl.Boolean, eager=True)
    for rule in rules:
        breach = sql.holds(rule.sql, part.frame, part.schema.table).eq_missing(False)
        found.append(int(breach.sum()))
        broken = broken | breach
    return np.array(found), int(broken.sum())


def _strange(column: Column, values: pl.Series) -> np.ndarray:
    """Which cells of one column the schema does not allow; empty cells are allowed."""
    if column.kind in ("identifier", "text"):
        return np.zeros(len(values), bool)
    if column.discrete:
        if column.kind == "boolean":
            return np.zeros(len(values), bool)
        return (words(values).is_in(list(column.categories or ())) == False).fill_null(False).to_numpy()  # noqa: E712
    found = numbers(values, column)
    strange = outside(column, found) | np.isinf(found)
    if column.grid is not None:
        with np.errstate(invalid="ignore", over="ignore"):
            off = np.abs(column.grid.snap(found) - found) > _CLOSE * np.maximum(np.abs(found), 1.0)
        strange |= off & np.isfinite(found)
    return strange
