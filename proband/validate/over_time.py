"""The findings that only histories have, of all three questions, for one linked table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proband.validate.charts import charts_broken
from proband.validate.findings import Evidence, Finding
from proband.validate.known_values import known_values_attack
from proband.validate.moments import moment_detection, next_values
from proband.validate.recurrent import recurrent_detection
from proband.validate.sequences import sequences

Step = Callable[[int, int, str, Mapping[str, float]], None]


def over_time(evidence: Evidence, *, seed: int, table: str | None = None, on_step: Step | None = None) -> list[Finding]:
    """Twenty findings, not judged yet, each beside real patients against real patients: faithful, useful, private.

    table   the linked table whose events are judged; the first one with measures, else the first. InputError when there is none.
    """
    step = on_step or (lambda done, total, what, figures: None)
    found = sequences(evidence, seed=seed, table=table, on_step=step)
    others = (
        lambda: charts_broken(evidence, table),
        lambda: moment_detection(evidence, seed=seed, table=table),
        lambda: recurrent_detection(evidence, seed=seed, table=table),
        lambda: next_values(evidence, seed=seed, table=table),
    )
    for at, judge in enumerate(others):
        found.append(judge())
        step(at + 1, len(others), "histories: charts, discriminators, forecasts", {})
    return found + known_values_attack(evidence, seed=seed, table=table)
