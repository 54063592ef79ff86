"""Structure between columns, as rules that hold in every row: copies, derived columns, order, exclusion.

Candidates are looked for in a sample of rows and verified on all of them. A rule is kept only when it could not
well be chance: each kind below counts what independent columns would have shown.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import numpy as np
import polars as pl

from proband.errors import InputError
from proband.schema import names
from proband.schema import rules as sql
from proband.schema.derived import arithmetic, cuts, functions
from proband.schema.model import Rule, Table
from proband.schema.sample import Sample

_SAMPLE_ROWS = 20_000
_MOST_OF_A_KIND = 20
#: exp(-14) is one in a million, before the number of pairs looked at is counted in.
_SURE = 14.0


def find_rules(frame: pl.DataFrame, table: Table) -> list[Rule]:
    """Rules that hold in every row of `frame` (a Cohort's columns) and are no accident.

    In the order found: `b IS NOT DISTINCT FROM a`; `x_measured = (x IS NOT NULL)`; days between dates; sums, differences, products, ratios
    and changes of unit; a grade cut from a number; `class = CASE diagnosis ...`; `a <= b`; `NOT (a AND b)`. A column is
    defined at most once, never in a circle, and its definition gives back every value and every missing one.
    """
    if frame.height < 20:
        return []
    sample = Sample.of(frame, table, _SAMPLE_ROWS)
    found: list[Rule] = []
    defined: set[str] = set()
    for kind in (_copies, _measured, _durations, arithmetic, cuts, functions):
        for column, rule in kind(sample, defined):
            if column not in defined and _defines(column, rule.sql, found, frame, table):
                found.append(rule)
                defined.add(column)
    found += _orderings(sample, found, frame, table)
    return found + _exclusions(sample, defined, frame, table)


def holding(rules: Iterable[Rule], frame: pl.DataFrame, table: Table) -> list[Rule]:
    """Those of `rules` that fit the columns of `table` and hold in every row of `frame`, missing values included."""
    kept: list[Rule] = []
    for rule in rules:
        derived, _ = _derivations([rule.sql], table)
        column = next(iter(derived), None)
        if (column and _defines(column, rule.sql, [], frame, table)) or (not column and _true(rule.sql, frame, table)):
            kept.append(rule)
    return kept


def _derivations(texts: list[str], table: Table) -> tuple[dict[str, sql.Derivation], list[str]]:
    try:
        return sql.derivations(texts, table)
    except InputError:
        return {}, texts


def _true(text: str, frame: pl.DataFrame, table: Table) -> bool:
    try:
        sql.check(text, table)
        return bool(sql.holds(text, frame, table).fill_null(True).all())
    except InputError:
        return False


def _defines(column: str, text: str, before: list[Rule], frame: pl.DataFrame, table: Table) -> bool:
    """Whether `text` is a definition of `column`, not in a circle with those before, that gives back all its values and nulls."""
    derived, _ = _derivations([*(rule.sql for rule in before), text], table)
    if column not in derived or not _true(text, frame, table):
        return False
    computed = frame.select(sql.expression(derived[column].expression, table).alias("computed")).to_series()
    return bool((computed.is_null() == frame[column].is_null()).all()) and not _inexact(computed, frame[column])


def _inexact(computed: pl.Series, real: pl.Series) -> bool:
    if computed.dtype.is_numeric() and real.dtype.is_numeric():
        return bool((computed.cast(pl.Float64) != real.cast(pl.Float64)).any())
    return computed.dtype != real.dtype or bool((computed != real).any())


def _copies(sample: Sample, defined: set[str]) -> Iterable[tuple[str, Rule]]:
    first: dict[object, str] = {}
    for name in sample.names:
        if sample.surprise(name) < _SURE:
            continue
        original = first.setdefault(sample.content(name), name)
        if original != name:
            yield name, Rule(sql=f"{sql.quote(name)} IS NOT DISTINCT FROM {sql.quote(original)}", why=f"{name} is a copy of {original}")


def _measured(sample: Sample, defined: set[str]) -> Iterable[tuple[str, Rule]]:
    """Flags that say of another column whether it is there."""
    masks: dict[bytes, list[str]] = {}
    for name in sample.names:
        mask = sample.missing(name)
        if mask.any() and not mask.all():
            masks.setdefault(mask.tobytes(), []).append(name)
    for flag in sample.flags:
        if flag in defined or sample.missing(flag).any() or sample.surprise(flag) < _SURE:
            continue
        true = sample.numbers(flag) == 1
        for mask, told, word in ((~true, "IS NOT NULL", "there"), (true, "IS NULL", "missing")):
            about = [name for name in masks.get(mask.tobytes(), []) if name != flag]
            if about:
                best = max(about, key=lambda name: (_named_after(flag, name), name not in defined))
                yield flag, Rule(sql=f"{sql.quote(flag)} = ({sql.quote(best)} {told})", why=f"{flag} says whether {best} is {word}")
                break


def _durations(sample: Sample, defined: set[str]) -> Iterable[tuple[str, Rule]]:
    """Numbers of days from one date to another, the first day counted or not."""
    dates = [name for name in sample.measures if sample.table[name].kind == "date"]
    for days in sample.measures:
        if sample.table[days].kind not in ("number", "integer") or sample.surprise(days) < _SURE:
            continue
        for start, end in itertools.permutations(dates, 2):
            between = sample.numbers(end) - sample.numbers(start)
            more = np.unique((sample.numbers(days) - between)[~np.isnan(between)])
            if len(more) == 1 and more[0] in (0, 1):
                text = f"{sql.quote(days)} = CAST({sql.quote(end)} AS INTEGER) - CAST({sql.quote(start)} AS INTEGER)"
                yield days, Rule(sql=text + (" + 1" if more[0] else ""), why=f"{days} counts the days from {start} to {end}")


def _named_after(flag: str, name: str) -> int:
    return len(name) if name.lower() in flag.lower() else 0


def _orderings(sample: Sample, before: list[Rule], frame: pl.DataFrame, table: Table) -> list[Rule]:
    """a <= b between columns of one scale; those that follow from others, in every row, are left out."""
    derived, _ = _derivations([rule.sql for rule in before], table)
    copies = {name for name, how in derived.items() if len(how.inputs) == 1}
    columns = [name for name in sample.measures if name not in copies]
    pairs = [
        (low, high, expected)
        for low, highs in sample.never_above(columns).items()
        for high in highs
        if not _related(low, high, derived) and (expected := _surprising_order(sample, low, high, table)) > 0
    ]
    kept = [(low, high, expected) for low, high, expected in pairs if _true(f"{sql.quote(low)} <= {sql.quote(high)}", frame, table)]
    edges = {(low, high) for low, high, _ in kept}
    known = {name: frame[name].is_not_null() for edge in edges for name in edge}

    def follows(low: str, high: str) -> bool:
        between = (m for m in columns if (low, m) in edges and (m, high) in edges)
        return any(not (known[low] & known[high] & ~known[m]).any() for m in between)  # where m is missing, it orders nothing

    kept = [(low, high, e) for low, high, e in kept if not follows(low, high)]
    kept.sort(key=lambda pair: -pair[2])
    why = "{} never exceeds {}; were they unrelated, {:,.0f} rows in 10,000 would"
    return [Rule(sql=f"{sql.quote(low)} <= {sql.quote(high)}", why=why.format(low, high, e)) for low, high, e in kept[:_MOST_OF_A_KIND]]


def _related(low: str, high: str, derived: dict[str, sql.Derivation]) -> bool:
    """Whether one is computed from the other, so that their order says nothing new."""
    return any(one in derived and other in derived[one].inputs for one, other in ((low, high), (high, low)))


def _surprising_order(sample: Sample, low: str, high: str, table: Table) -> float:
    """Rows in 10,000 that would break `low <= high` if the two were independent; 0 when the order is no surprise or no sense."""
    units = table[low].unit, table[high].unit
    if None not in units and units[0] != units[1]:
        return 0.0
    a, b = sample.together(low, high)
    if len(a) < 50 or (a == b).all():
        return 0.0
    middle = sorted(abs(float(np.median(x))) for x in (a, b))
    if not table[low].kind.startswith("date") and middle[1] > 10 * max(middle[0], 1e-12):
        return 0.0
    broken = 1 - np.searchsorted(np.sort(a), b, side="right").mean() / len(a)  # share of all pairs (a, b) with a > b
    if broken < max(0.005, 25 / len(a)):
        return 0.0
    related = _correlation(a, b)
    return 10_000 * float(broken) if related >= (0.1 if _same_stem(low, high) else 0.3) else 0.0


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    one, other = (np.unique(x, return_inverse=True)[1].astype(float) for x in (a, b))
    return float(np.corrcoef(one, other)[0, 1]) if one.std() > 0 and other.std() > 0 else 0.0


def _same_stem(one: str, other: str) -> bool:
    """sysBP and diaBP, sbp and dbp, surv2m and surv6m."""
    words = [{word.rstrip("0123456789m") for word in names.words(name)} - {"num", "fac", ""} for name in (one, other)]
    return bool(words[0] & words[1]) or (len(one) == len(other) == 3 and one[1:].lower() == other[1:].lower())


def _exclusions(sample: Sample, defined: set[str], frame: pl.DataFrame, table: Table) -> list[Rule]:
    """NOT (a AND b) between flags, where independent flags would have met in many rows."""
    tests: list[tuple[str, str]] = []
    for name in sample.flags:
        tests.append((name, sql.quote(name)))
    for name in sample.discrete:
        levels = table[name].categories or ()
        if len(levels) == 2:
            tests += [(name, f"{sql.quote(name)} = {sql.literal(level)}") for level in levels]
    tests = [test for test in tests if test[0] not in defined]
    if len(tests) < 2:
        return []
    together = np.zeros((len(tests), len(tests)))
    for start in range(0, frame.height, 50_000):
        rows = frame.slice(start, 50_000)
        true = np.column_stack([sql.holds(text, rows, table).fill_null(False).to_numpy() for _, text in tests]).astype(np.float32)
        together += true.T @ true
    count = np.diag(together)
    expected = np.outer(count, count) / frame.height
    enough = _SURE + 2 * math.log(len(tests))
    found = [
        (float(expected[i, j]), f"NOT ({tests[i][1]} AND {tests[j][1]})")
        for i in range(len(tests))
        for j in range(i)
        if together[i, j] == 0 and expected[i, j] >= enough and tests[i][0] != tests[j][0] and max(count[i], count[j]) < frame.height
    ]
    found.sort(key=lambda pair: (-pair[0], pair[1]))
    why = "they never meet; were they unrelated, about {:,.0f} rows would have both"
    return [Rule(sql=text, why=why.format(rows)) for rows, text in found[:_MOST_OF_A_KIND]]
