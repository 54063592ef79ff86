"""The checks that every synthesizer passes, ours or a third party's.

>>> from proband.contract import check                                     # doctest: +SKIP
>>> check(SequentialForest, cohort)                                        # doctest: +SKIP
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Column
from proband.schema import rules as sql
from proband.synthesizer import Synthesizer


class Breach(AssertionError):
    """A synthesizer does not keep the contract; the message says which part of it."""


Make = Callable[[], Synthesizer]


def check(make: Make, cohort: Cohort, *, n: int = 60) -> None:
    """Raise Breach at the first part of the contract that the synthesizer does not keep.

    make     gives a new, unfitted synthesizer at each call
    cohort   training patients, at least about 100, for whose columns the conditions are made
    n        synthetic patients drawn in each check
    """
    for _, one in checks(make, cohort, n=n):
        one()


def checks(make: Make, cohort: Cohort, *, n: int = 60) -> Iterator[tuple[str, Callable[[], None]]]:
    """The parts of the contract, by name, each to be called; the synthesizer is fitted once, before the first is given."""
    before = cohort.frame.clone()
    steps: list[tuple[int, int, str]] = []
    model = make().fit(cohort, seed=1, on_step=lambda done, total, what, figures: steps.append((done, total, what)))
    made = model.sample(n, seed=2)

    def unfitted() -> None:
        _refused(lambda: make().sample(1, seed=1), "sampling before fitting")

    def progress() -> None:
        _expect(bool(steps), "on_step was never called")
        _expect(all(0 <= done <= total for done, total, _ in steps), "on_step was called with done outside 0..total")
        _expect(steps[-1][0] == steps[-1][1], "the last call of on_step did not say that all is done")

    def untouched() -> None:
        _expect(cohort.frame.equals(before), "fit changed the cohort it was given")

    def shape() -> None:
        _expect(isinstance(made, Cohort), f"sample gave {type(made).__name__}, not a Cohort")
        _expect(made.schema.hash == cohort.schema.hash, "the sample does not have the cohort's schema")
        for count in (0, 1, n):
            _expect(model.sample(count, seed=3).frame.height == count, f"sample({count}) did not give {count} rows")
        _expect(len(made) == n, "two synthetic patients share the key")

    def mark() -> None:
        _expect(made.mark is not None, "the sample carries no mark")
        assert made.mark is not None
        _expect(made.mark.synthesizer == make().name, f"the mark names {made.mark.synthesizer!r}, not {make().name!r}")
        _expect(made.mark.seed == 2, "the mark does not hold the seed of the sample")
        _expect(made.mark.schema_hash == cohort.schema.hash, "the mark does not hold the schema's hash")

    def values() -> None:
        for column in cohort.schema.table.columns:
            if (problem := _wrong(made.frame[column.name], column)) is not None:
                raise Breach(f"Column {column.name!r} {problem}.")

    def rules() -> None:
        for rule in cohort.schema.rules:
            broken = int((~sql.holds(rule.sql, made.frame, cohort.schema.table).fill_null(True)).sum())
            _expect(broken == 0, f"{broken} of {n} rows break the rule {rule.sql!r}")

    def missing() -> None:
        large = model.sample(max(n, 200), seed=4).frame
        derived, _ = sql.derivations([rule.sql for rule in cohort.schema.rules], cohort.schema.table)
        for column in cohort.schema.table.columns:
            share = cohort.frame[column.name].null_count() / max(1, cohort.frame.height)
            if 0.2 <= share <= 0.8 and column.kind != "identifier" and column.name not in derived:
                lost = large[column.name].null_count() in (0, large.height)
                _expect(
                    not lost, f"column {column.name!r} is missing in {share:.0%} of the real rows, and in none or all of the synthetic ones"
                )

    def identifiers() -> None:
        for column in cohort.schema.table.columns:
            if column.kind == "identifier":
                real, fresh = cohort.frame[column.name].drop_nulls(), made.frame[column.name]
                _expect(not fresh.is_in(real.implode()).any(), f"column {column.name!r} repeats a real identifier")

    def seeded() -> None:
        _expect(model.sample(n, seed=2).frame.equals(made.frame), "the same seed gave other patients")
        _expect(not model.sample(n, seed=5).frame.equals(made.frame), "another seed gave the same patients")
        again = make().fit(cohort, seed=1).sample(n, seed=2)
        if getattr(model, "epsilon", None) is not None:  # noise that a seed brings back protects nobody
            _expect(not again.frame.equals(made.frame), "a private fit gave the same patients twice: its noise has a seed")
        else:
            _expect(again.frame.equals(made.frame), "fitting again with the same seed gave other patients")

    def conditions() -> None:
        for where in conditions_for(cohort):
            found = model.sample(n, seed=6, where=where).frame
            _expect(found.height == n, f"where={where!r} gave {found.height} rows instead of {n}")
            kept = sql.holds(where, found, cohort.schema.table).fill_null(False)
            _expect(bool(kept.all()), f"{int((~kept).sum())} of {n} rows do not satisfy where={where!r}")
            for rule in cohort.schema.rules:
                _expect(
                    bool(sql.holds(rule.sql, found, cohort.schema.table).fill_null(True).all()),
                    f"where={where!r} breaks the rule {rule.sql!r}",
                )

    def stored() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            model.save(path)
            _expect(type(model).load(path).sample(n, seed=2).frame.equals(made.frame), "a model saved and loaded gave other patients")
            _refused(lambda: model.save(path), "saving over a model that exists")
            _refused(lambda: type(model).load(Path(folder) / "nothing"), "loading a folder that does not exist")
            (path / "model.json").write_bytes(b"{")
            _refused(lambda: type(model).load(path), "loading an altered model")

    def refusals() -> None:
        _refused(lambda: model.sample(-1, seed=1), "sample(-1)")
        _refused(lambda: model.sample(1, seed=1, where="no_such_column = 1"), "a condition on an unknown column")
        _refused(lambda: model.sample(1, seed=1, where="AND ="), "a condition that is not SQL")
        for column in cohort.schema.table.columns:
            if column.kind == "identifier":
                identified = f"{sql.quote(column.name)} = 'x'"
                _refused(partial(model.sample, 1, seed=1, where=identified), "a condition on an identifier")

    def on_synthetic() -> None:
        marked = make().fit(replace(cohort, mark=made.mark), seed=1).sample(1, seed=1).mark
        plain = model.sample(1, seed=1).mark
        _expect(
            marked is not None and plain is not None and marked.details != plain.details,
            "learning from synthetic patients is not told in the mark",
        )

    for one in (
        unfitted,
        progress,
        untouched,
        shape,
        mark,
        values,
        rules,
        missing,
        identifiers,
        seeded,
        conditions,
        stored,
        refusals,
        on_synthetic,
    ):
        yield one.__name__, one


def conditions_for(cohort: Cohort) -> list[str]:
    """Conditions that some patients of the cohort satisfy: an equality and a range on single columns, missing, and a conjunction."""
    table, frame = cohort.schema.table, cohort.frame
    found: list[str] = []
    clauses: list[str] = []
    for column in table.columns:
        values = frame[column.name].drop_nulls()
        name = sql.quote(column.name)
        if column.kind == "identifier" or not len(values):
            continue
        common = values.value_counts(sort=True).sort(["count", column.name], descending=[True, False])[column.name][0]
        if column.discrete:
            found.append(f"{name} = {sql.literal(common)}")
            clauses.append(f"{name} = {sql.literal(common)}")
        elif column.kind in ("number", "integer"):
            low, high = float(values.quantile(0.3, "nearest") or 0), float(values.quantile(0.7, "nearest") or 0)
            found += [f"{name} = {common!r}", f"{name} BETWEEN {low!r} AND {high!r}"]
            clauses.append(f"{name} >= {low!r}")
        else:
            middle = values.sort()[len(values) // 2]
            found.append(f"{name} >= '{middle}'")
        if frame[column.name].null_count() > 0:
            found.append(f"{name} IS NULL")
    for size in range(min(3, len(clauses)), 1, -1):
        both = " AND ".join(clauses[:size])
        if sql.holds(both, frame, table).fill_null(False).sum() >= 3:
            return [*found, both]
    return found


def _wrong(values: pl.Series, column: Column) -> str | None:
    """What is wrong with the synthetic values of a column, if anything."""
    if values.dtype != column.dtype:
        return f"is {values.dtype}, not {column.dtype}"
    if values.dtype == pl.Float64 and (values.is_nan() | values.is_infinite()).any():
        return "holds NaN or infinity; missing is null"
    if column.categories is not None and not values.drop_nulls().is_in(list(column.categories)).all():
        return "holds a level that the schema does not have"
    if column.kind in ("number", "integer") and (
        (column.low is not None and (values < column.low).any()) or (column.high is not None and (values > column.high).any())
    ):
        return "leaves its bounds"
    if column.kind == "identifier" and (values.null_count() or values.n_unique() != len(values)):
        return "repeats an identifier or leaves one out"
    return None


def _expect(kept: bool, what: str) -> None:
    if not kept:
        raise Breach(f"The synthesizer breaks its contract: {what}.")


def _refused(act: Callable[[], object], what: str) -> None:
    try:
        act()
    except InputError:
        return
    except Exception as error:
        raise Breach(f"The synthesizer breaks its contract: {what} raised {type(error).__name__}, not InputError.") from error
    raise Breach(f"The synthesizer breaks its contract: {what} was not refused.")
