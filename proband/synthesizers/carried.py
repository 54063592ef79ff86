"""The last value carried forward: real charts in which nothing ever changes. A yardstick for histories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

import polars as pl

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Table
from proband.synthesizer import OnStep, load
from proband.synthesizers.baselines import Bootstrap


class CarriedForward:
    """COPIES WHEN REAL PATIENTS WERE MEASURED, and repeats each one's first value of a variable for ever. Never release what it makes.

    The pattern of measurement is right and no course is: what a judge of courses must see, and what a forecast must beat. It is a
    Bootstrap of such charts, whose warning it carries, and whose model folder it writes.

    >>> made = CarriedForward().fit(cohort, seed=1).sample(1000, seed=2)  # doctest: +SKIP
    """

    name: ClassVar[str] = "bootstrap"

    def __init__(self) -> None:
        self._copies = Bootstrap()

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Keep the training charts, every variable at its first value; `seed` changes nothing."""
        self._copies.fit(held(cohort), seed=seed, on_step=on_step)
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` of those charts, with replacement, of patients who satisfy `where`. InputError when none does."""
        return self._copies.sample(n, seed=seed, where=where)

    def save(self, path: str | Path) -> None:
        """Write a model folder, WITH EVERY TRAINING PATIENT in it."""
        self._copies.save(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder written by `save`; raises InputError when it cannot be trusted."""
        made, copies = cls(), load(path)
        if not isinstance(copies, Bootstrap):
            raise InputError(f"Model folder '{path}' holds no copies of charts. Give one that CarriedForward wrote.")
        made._copies = copies
        return made


def held(cohort: Cohort) -> Cohort:
    """The cohort with every later value of a linked table replaced by the first that the same parent's row has of that variable.

    What is missing stays missing; keys, times, links and codes stay. First is first along the table's `order`.
    """
    return replace(cohort, linked={table.name: _held(table, cohort.linked[table.name]) for table in cohort.schema.children})


def _held(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    kept = {table.key, table.on, *table.order, *(link.column for link in table.links), *(table.measures or ())[:1]}
    changed = [table.measures[1]] if table.measures else [column.name for column in table.columns if column.name not in kept]
    over = [table.on or "", *(table.measures or ())[:1]]
    first = [pl.col(name).drop_nulls().first().over(over, order_by=list(table.order) or None).alias(name) for name in changed]
    return rows.with_columns(
        pl.when(pl.col(name).is_not_null()).then(value).alias(name) for name, value in zip(changed, first, strict=True)
    )
