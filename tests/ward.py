"""Simulated patients of a ward with a history: pulse, two pressures and now and then creatinine, at irregular times."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.schema import Column, Grid, Schema, Table

WHOLE = Grid(step=1, decimals=0)
SCHEMA = Schema(
    tables=(
        Table(
            name="stays",
            key="stay",
            columns=(
                Column(name="stay", kind="identifier"),
                Column(name="age", kind="integer", low=18, high=100),
                Column(name="died", kind="boolean"),
            ),
        ),
        Table(
            name="events",
            parent="stays",
            on="stay",
            order=("minute",),
            measures=("what", "value"),
            variables=(
                Column(name="pulse", kind="number", low=20, high=250, grid=WHOLE),
                Column(name="systolic", kind="number", low=40, high=300, grid=WHOLE),
                Column(name="diastolic", kind="number", low=10, high=200, grid=WHOLE),
                Column(name="creatinine", kind="number", low=0, high=30, grid=Grid(step=0.1, decimals=1)),
            ),
            columns=(
                Column(name="stay", kind="identifier"),
                Column(name="minute", kind="integer", low=0, high=2880),
                Column(name="what", kind="category", categories=("pulse", "systolic", "diastolic", "creatinine")),
                Column(name="value", kind="number"),
            ),
        ),
    )
)


def ward(n: int, seed: int) -> Cohort:
    """`n` stays of 3 to 20 moments. Pulse is taken at every moment and wanders around the patient's own (correlation .8 from one to the
    next), both pressures together at every second, creatinine in the sick half only; the sick die more often."""
    rng = np.random.default_rng(seed)
    names = np.array([f"{seed}-{at}" for at in range(n)])
    sick, age = rng.random(n) < 0.5, rng.integers(30, 90, n)
    moments = rng.integers(3, 21, n)
    owner = np.repeat(np.arange(n), moments)
    first = np.cumsum(moments) - moments
    gap = rng.integers(15, 120, len(owner))
    minute = np.cumsum(gap) - np.repeat(np.cumsum(gap)[first], moments)
    wander, course = rng.normal(size=len(owner)), np.zeros(len(owner))
    for at in range(20):  # the at-th moment of every patient
        now = (first + at)[moments > at]
        course[now] = wander[now] if at == 0 else 0.8 * course[now - 1] + 0.6 * wander[now]
    level = 80 + 20 * sick + 8 * rng.normal(size=n)
    pulse = np.clip(np.round(level[owner] + 8 * course), 20, 250)
    systolic = np.clip(np.round(120 + 15 * rng.normal(size=n)[owner] + 8 * rng.normal(size=len(owner))), 60, 250)
    diastolic = np.round(systolic * 0.6 + 3 * rng.normal(size=len(owner))).clip(20, systolic - 1)
    pressed, drawn = np.arange(len(owner)) % 2 == 0, sick[owner] & (rng.random(len(owner)) < 0.3)
    creatinine = np.round(np.exp(0.2 + 0.5 * rng.normal(size=n))[owner] + 0.1 * rng.normal(size=len(owner)), 1).clip(0.2)
    columns = {
        "pulse": (pulse, slice(None)),
        "systolic": (systolic, pressed),
        "diastolic": (diastolic, pressed),
        "creatinine": (creatinine, drawn),
    }
    events = pl.concat(
        pl.DataFrame({"stay": names[owner[rows]], "minute": minute[rows], "what": what, "value": values[rows]})
        for what, (values, rows) in columns.items()
    )
    died = rng.random(n) < 1 / (1 + np.exp(2.2 - 2.2 * sick - 0.03 * (age - 60)))
    stays = pl.DataFrame({"stay": names, "age": age, "died": died})
    return Cohort(SCHEMA, stays, linked={"events": events.sort("stay", "minute", maintain_order=True).cast({"value": pl.Float64})})


def with_events(cohort: Cohort, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Cohort:
    """The cohort with its events changed."""
    return Cohort(cohort.schema, cohort.frame, linked={"events": change(cohort.linked["events"])})


def resampled(cohort: Cohort, n: int, seed: int) -> Cohort:
    """`n` patients drawn with replacement under new names: a copier."""
    drawn = cohort.frame[np.random.default_rng(seed).integers(cohort.frame.height, size=n)]
    named = drawn.rename({"stay": "old"}).with_columns(pl.Series("stay", [f"copy-{at}" for at in range(n)]))
    events = named.select("stay", "old").join(cohort.linked["events"].rename({"stay": "old"}), on="old", maintain_order="left_right")
    return Cohort(cohort.schema, named.select(cohort.frame.columns), linked={"events": events.select(cohort.linked["events"].columns)})
