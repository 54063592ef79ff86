"""What no chart holds: rows without a patient, times out of order, values out of bounds, pressures upside down, impossible jumps."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.schema import Column, Table
from proband.stats.sequences import Events, moments
from proband.validate.findings import Evidence, Finding
from proband.validate.histories import events, history_table, history_variables, owners

#: Two variables are in order when, of at least so many moments of training patients, at least such a share has the one below the other.
_MOMENTS, _ORDERED = 200, 0.99

#: Moments of training patients that are searched for orders.
_SEARCHED = 20_000


def charts_broken(evidence: Evidence, table: str | None = None) -> Finding:
    """Breaches per event, synthetic beside unseen patients, by what is broken. Bounds are the schema's; orders between variables of
    one moment (diastolic below systolic) and the largest jump between two values are learned from the training patients."""
    name = history_table(evidence.train.schema, table).name
    train = events(evidence.train, name)
    numeric = np.array([column.numeric for column in history_variables(evidence.train.schema[name])], bool)
    ordered = [pair for pair in _ordered(train) if numeric[list(pair)].all()]
    jump = np.where(numeric, _jumps(train), np.inf)
    found = []
    for parts in ((evidence.synthetic,), (evidence.holdout, evidence.reference)):
        counts: dict[str, int] = {}
        rows = sum(part.linked[name].height for part in parts)
        for part in parts:
            for what, count in _counted(part, part.schema[name], ordered, jump).items():
                counts[what] = counts.get(what, 0) + count
        found.append({what: count / max(rows, 1) for what, count in counts.items()})
    made, real = found
    shown = [{"sql": what, "synthetic": round(made[what], 5), "real": round(real[what], 5)} for what in made if made[what] or real[what]]
    shown.sort(key=lambda row: float(row["real"]) - float(row["synthetic"]))  # type: ignore[arg-type]
    total = sum(made.values())
    why = f"Most beyond real patients: {shown[0]['sql']}." if shown and made else "Nothing is broken."
    title = "Breaches of what charts keep to, per event"
    return Finding(
        "faithful", "charts_broken", title, total, why, interval=(total, total), reference=sum(real.values()), detail={"rules": shown}
    )


def _counted(cohort: Cohort, table: Table, ordered: list[tuple[int, int]], jump: np.ndarray) -> dict[str, int]:
    """How often each thing is broken in one cohort."""
    rows = cohort.linked[table.name]
    found = {"a row belongs to a patient": owners(cohort, table).null_count()}
    if table.order:
        time = table[table.order[0]]
        whose = table.on or ""
        back = pl.col(time.name).cast(pl.Int64 if not time.dtype.is_numeric() else pl.Float64)
        found[f"{time.name} is known"] = rows[time.name].null_count()
        found[f"{time.name} never runs backwards"] = int(rows.select((back.diff().over(whose) < 0).sum()).item())
        found |= _bounded(rows[time.name], time)
    variables = history_variables(table)
    if table.measures:
        code, value = table.measures
        known = rows[code].cast(pl.String)
        found[f"{code} is declared"] = int((~known.is_in([one.name for one in variables])).fill_null(True).sum())
        for one in variables:
            for what, count in _bounded(rows.filter(known == one.name)[value], one).items():
                found[what] = found.get(what, 0) + count
    else:
        for one in variables:
            found |= _bounded(rows[one.name], one)
    own = events(cohort, table.name)
    _, now, before = moments(own)
    with np.errstate(invalid="ignore"):
        for low, high in ordered:
            found[f"{own.names[low]} < {own.names[high]}"] = int((now[:, low] >= now[:, high]).sum())
        leaps = (np.abs(now - before) > jump).sum(axis=0)
    found["no jump is larger than in training patients"] = int(leaps.sum())
    return found


def _bounded(values: pl.Series, column: Column) -> dict[str, int]:
    """How many numbers lie outside the column's bounds; nothing where it has none."""
    if column.kind not in ("number", "integer") or (column.low is None and column.high is None):
        return {}
    low, high = column.low if column.low is not None else -np.inf, column.high if column.high is not None else np.inf
    return {f"{low:g} <= {column.name} <= {high:g}": int((~values.cast(pl.Float64).is_between(low, high)).sum())}


def _ordered(train: Events) -> list[tuple[int, int]]:
    """Pairs (low, high) of variables whose ranges overlap and which keep their order at nearly every moment that has both."""
    _, now, _ = moments(train)
    now = now[:: max(len(now) // _SEARCHED, 1)]
    many = [at for at in range(now.shape[1]) if np.isfinite(now[:, at]).sum() >= _MOMENTS]
    if not many:
        return []
    low, high = np.full(now.shape[1], np.nan), np.full(now.shape[1], np.nan)
    low[many], high[many] = np.nanquantile(now[:, many], [0.005, 0.995], axis=0)
    found = []
    for a, b in permutations(many, 2):
        if high[a] <= low[b] or low[a] > high[b]:
            continue
        both = np.isfinite(now[:, a]) & np.isfinite(now[:, b])
        if both.sum() >= _MOMENTS and (now[both, a] < now[both, b]).mean() >= _ORDERED:
            found.append((a, b))
    return found


def _jumps(train: Events) -> np.ndarray:
    """(variables,) the largest difference between a value and the patient's last known one; infinite where nobody has two."""
    _, now, before = moments(train)
    step = np.abs(now - before)
    return np.where(np.isfinite(step), step, -np.inf).max(axis=0, initial=-np.inf).clip(min=0) + np.where(
        np.isfinite(step).any(axis=0), 0, np.inf
    )
