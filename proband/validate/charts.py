"""What no chart holds: rows without a patient, times and values out of bounds, pressures upside down, jumps, drugs without a diagnosis."""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from proband.cohort import Cohort
from proband.schema import Column
from proband.stats.sequences import Events, blocks, moments, taken
from proband.validate.findings import Evidence, Finding
from proband.validate.histories import coded, events, history_table, history_variables, owners

#: Two variables are in order when, of at least so many moments of training patients, at least such a share has the one below the other.
_MOMENTS, _ORDERED = 200, 0.99

#: Moments of training patients that are searched for orders; events whose moments are in memory at once.
_SEARCHED, _EVENTS = 20_000, 1_000_000

#: A code keeps company when, of at least so many training patients who have it, such a share has the other too, which at most half of
#: all patients have; looked for among so many codes.
_PATIENTS, _ALWAYS, _CODES = 50, 0.99, 300

#: What is broken: how often it is, and how often it could have been.
Counts = dict[str, tuple[int, int]]


def charts_broken(evidence: Evidence, table: str | None = None) -> Finding:
    """Breaches per event, synthetic beside unseen patients, by what is broken.

    Bounds are the schema's. Orders between variables of one moment (diastolic below systolic), the largest jump between two values and
    the company that a code keeps (no drug without its diagnosis) are learned from the training patients. Each thing is counted among its
    own chances, so that who never takes two pressures together gains nothing by it; the total weighs each share by its chances per
    event, on the side that has more of them.
    """
    name = history_table(evidence.train.schema, table).name
    learned = _Learned.of(evidence.train, name)
    found, chances = [], []
    for parts in ((evidence.synthetic,), (evidence.holdout, evidence.reference)):
        counts: Counts = {}
        for part in parts:
            for what, (broken, of) in learned.counted(part, name).items():
                before = counts.get(what, (0, 0))
                counts[what] = before[0] + broken, before[1] + of
        rows = max(sum(part.linked[name].height for part in parts), 1)
        found.append({what: broken / max(of, 1) for what, (broken, of) in counts.items()})
        chances.append({what: of / rows for what, (_, of) in counts.items()})
    made, real = found
    weight = {what: max(side.get(what, 0.0) for side in chances) for what in made}
    shown = sorted((what for what in made if made[what] or real[what]), key=lambda what: (real[what] - made[what]) * weight[what])
    total, usual = (sum(side[what] * weight[what] for what in made) for side in found)
    why = f"Most beyond real patients: {shown[0]}." if shown else "Nothing is broken."
    title = "Breaches of what charts keep to, per event"
    rules = [{"sql": what, "synthetic": round(made[what], 5), "real": round(real[what], 5)} for what in shown]
    return Finding("faithful", "charts_broken", title, total, why, interval=(total, total), reference=usual, detail={"rules": rules})


class _Learned(NamedTuple):
    """What the training patients' charts keep to."""

    orders: list[tuple[int, int]]
    jump: np.ndarray  # (variables,) the largest difference between a value and the patient's last known one
    company: list[tuple[int, int]]  # codes of the judged table, and a code of any table that is always with it

    @staticmethod
    def of(train: Cohort, name: str) -> _Learned:
        own = events(train, name)
        numeric = np.array([column.numeric for column in history_variables(train.schema[name])], bool)
        orders = [pair for pair in _ordered(own) if numeric[list(pair)].all()]
        return _Learned(orders, np.where(numeric, _jumps(own), np.inf), _company(train, name))

    def counted(self, cohort: Cohort, name: str) -> Counts:
        """How often each thing is broken in one cohort, and could have been."""
        rows, table = cohort.linked[name], cohort.schema[name]
        found: Counts = {"a row belongs to a patient": (owners(cohort, table).null_count(), rows.height)}
        if table.order:
            time = table[table.order[0]]
            back = pl.col(time.name).cast(pl.Int64 if not time.dtype.is_numeric() else pl.Float64)
            backwards = int(rows.select((back.diff().over(table.on or "") < 0).sum()).item())
            found[f"{time.name} is known"] = rows[time.name].null_count(), rows.height
            found[f"{time.name} never runs backwards"] = backwards, rows.height
            found |= _bounded(rows[time.name], time)
        variables = history_variables(table)
        if table.measures:
            code, value = table.measures
            known = rows[code].cast(pl.String)
            found[f"{code} is declared"] = int((~known.is_in([one.name for one in variables])).fill_null(True).sum()), rows.height
            for one in variables:
                for what, (broken, of) in _bounded(rows.filter(known == one.name)[value], one).items():
                    before = found.get(what, (0, 0))
                    found[what] = before[0] + broken, before[1] + of
        else:
            for one in variables:
                found |= _bounded(rows[one.name], one)
        own = events(cohort, name)
        orders, leaps = np.zeros((len(self.orders), 2), np.int64), np.zeros(2, np.int64)
        for part in blocks(own, _EVENTS):
            _, now, before_now = moments(part)
            for count, (low, high) in zip(orders, self.orders, strict=True):
                both = ~np.isnan(now[:, low]) & ~np.isnan(now[:, high])
                count += (now[both, low] >= now[both, high]).sum(), both.sum()
            step = np.abs(now - before_now)
            leaps += (step > self.jump).sum(), (~np.isnan(step)).sum()
        for (low, high), (broken, of) in zip(self.orders, orders.tolist(), strict=True):
            found[f"{own.names[low]} < {own.names[high]}"] = broken, of
        found["no jump is larger than in training patients"] = int(leaps[0]), int(leaps[1])
        return found | self._alone(cohort, name)

    def _alone(self, cohort: Cohort, name: str) -> Counts:
        """Events of a code whose patient has nothing of the code that goes with it."""
        if not self.company:
            return {}
        sides, names, has = _codes(cohort, name)
        found = {}
        for one, other in self.company:
            mine = sides.patient[sides.variable == one]
            found[f"{names[one]} only with {names[other]}"] = int((~has[:, [other]].toarray().astype(bool).ravel()[mine]).sum()), len(mine)
        return found


def _bounded(values: pl.Series, column: Column) -> Counts:
    """How many numbers lie outside the column's bounds, of how many; nothing where it has none."""
    if column.kind not in ("number", "integer") or (column.low is None and column.high is None):
        return {}
    low, high = column.low if column.low is not None else -np.inf, column.high if column.high is not None else np.inf
    known = values.cast(pl.Float64).drop_nulls()
    return {f"{low:g} <= {column.name} <= {high:g}": (int((~known.is_between(low, high)).sum()), len(known))}


def _ordered(train: Events) -> list[tuple[int, int]]:
    """Pairs (low, high) of variables whose ranges overlap and which keep their order at nearly every moment that has both."""
    apart = max((int(train.moment.max(initial=-1)) + 1) // _SEARCHED, 1)
    _, now, _ = moments(taken(train, np.arange(0, train.patients, apart)))
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
    most = np.full(len(train.names), -np.inf)
    for part in blocks(train, _EVENTS):
        _, now, before = moments(part)
        step = np.abs(now - before)
        most = np.maximum(most, np.where(np.isnan(step), -np.inf, step).max(axis=0, initial=-np.inf))
    return np.where(np.isinf(most), np.inf, most)


def _codes(cohort: Cohort, name: str) -> tuple[Events, list[str], csr_array]:
    """The judged table as codes, the names of all codes of all linked tables, its own first, and who has which, (patients, codes)."""
    tables = sorted(cohort.schema.children, key=lambda table: table.name != name)
    sides = [coded(events(cohort, table.name), history_variables(table)) for table in tables]
    names = [
        code if table.name == name else f"{table.name}: {code}" for table, one in zip(tables, sides, strict=True) for code in one.names
    ]
    start = np.cumsum([0, *(len(one.names) for one in sides)])
    pairs = [np.unique(np.column_stack([one.patient, one.variable + at]), axis=0) for one, at in zip(sides, start[:-1], strict=True)]
    who, what = np.concatenate(pairs).T
    return sides[0], names, csr_array((np.ones(len(who), np.float32), (who, what)), shape=(len(cohort), len(names)))


def _company(train: Cohort, name: str) -> list[tuple[int, int]]:
    """For codes of the judged table, the rarest code that nearly all patients who have the one have too."""
    own, _, has = _codes(train, name)
    patients = np.asarray(has.sum(axis=0)).ravel()
    common = np.argsort(-patients, kind="stable")[:_CODES]
    some, many = has[:, common].toarray(), patients[common]
    always = (some.T @ some >= _ALWAYS * many[:, None]) & (many[:, None] >= _PATIENTS) & (many <= len(train) / 2)
    np.fill_diagonal(always, False)
    rarest = np.where(always, many, np.inf).argmin(axis=1)
    return [(int(one), int(common[rarest[at]])) for at, one in enumerate(common) if one < len(own.names) and always[at].any()]
