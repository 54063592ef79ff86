"""Columns computed from others: arithmetic, a grade cut from a number, a level that follows from another.

Each search yields (column, rule) proposals from a sample; `structure.find_rules` verifies them on all rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from proband.schema import rules as sql
from proband.schema.model import Column, Rule
from proband.schema.sample import Sample

_PROBES = 40  # rows on which every pair is tried
_FIRST_PROBES = 5
_FEWEST_PROBES = 8
_FEWEST_VALUES = 10  # a computed column has at least so many distinct values
_FEWEST_ROWS_PER_LEVEL = 5
_MOST_CUTS = 8
_SURE = 20.0  # nats
_SCALES = (1.0, 100.0, 1000.0, 10000.0, 703.0)
_MOST_OF_A_KIND = 20


def arithmetic(sample: Sample, defined: set[str]) -> Iterator[tuple[str, Rule]]:
    """a + b, a - b, a * b, a / b, a / (b * b) (body mass index), and changes of unit (a * k + m)."""
    columns = [
        name
        for name in sample.measures
        if sample.table[name].kind in ("number", "integer") and name not in defined and sample.frame[name].n_unique() >= _FEWEST_VALUES
    ]
    if len(columns) < 2:
        return
    values = np.column_stack([sample.numbers(name) for name in columns])  # (rows, columns)
    probes = _probes(values)
    tolerances = np.column_stack([_tolerance(sample.table[name], probes[:, place]) for place, name in enumerate(columns)])
    yield from _of_one(columns, probes, tolerances, sample)
    yield from _of_two(columns, probes, tolerances, sample)


def _probes(values: np.ndarray) -> np.ndarray:
    """Rows with the fewest gaps, spread over the table."""
    order = np.argsort(np.isnan(values).sum(axis=1), kind="stable")
    full = order[: max(_PROBES, len(order) // 5)]
    return values[np.sort(full[np.linspace(0, len(full) - 1, min(_PROBES, len(full))).astype(int)])]


def _tolerance(column: Column, values: np.ndarray) -> np.ndarray:
    """How far a computed value may be from a recorded one: half a step of its grid."""
    step = column.grid.step if column.grid else 1.0 if column.kind == "integer" else 0.0
    return np.maximum(0.5001 * step, 1e-9 * np.abs(np.nan_to_num(values)))


def _of_two(columns: list[str], probes: np.ndarray, tolerances: np.ndarray, sample: Sample) -> Iterator[tuple[str, Rule]]:
    taken: set[frozenset[str]] = set()
    found: list[tuple[int, int, int, str, str]] = []
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for i, one in enumerate(columns):
            a = probes[:, [i]]
            for form, computed, symmetric in (
                ("{a} + {b}", a + probes, True),
                ("{a} - {b}", a - probes, False),
                ("{a} * {b}", a * probes, True),
                ("{a} / {b}", a / probes, False),
                ("{a} / ({b} * {b})", a / probes**2, False),
            ):
                for j, c, scale in _matches(computed, probes, tolerances, _SCALES if "/" in form else (1.0,)):
                    if len({i, j, c}) == 3 and not (symmetric and j < i):
                        text = form.format(a=sql.quote(one), b=sql.quote(columns[j]))
                        found.append((c, i, j, text if scale == 1 else f"{scale:g} * {text}", form))
    found.sort(key=lambda match: (-match[0], match[4].count("*") + match[4].count("/"), len(match[3])))
    for c, i, j, text, _ in found:
        trio = frozenset((columns[c], columns[i], columns[j]))
        if trio in taken:
            continue
        rule = _exact(columns[c], text, sample)
        if rule:
            taken.add(trio)
            yield columns[c], rule


def _matches(
    computed: np.ndarray, probes: np.ndarray, tolerances: np.ndarray, scales: tuple[float, ...]
) -> Iterator[tuple[int, int, float]]:
    """(b, c, scale) where scale * computed[:, b] is within tolerance of column c in every probe."""
    for scale in scales:
        few = np.abs(scale * computed[:_FIRST_PROBES, :, None] - probes[:_FIRST_PROBES, None, :])
        hopeful = ~(few > tolerances[:_FIRST_PROBES, None, :]).any(axis=0)  # NaN is no objection yet
        for b, c in zip(*np.nonzero(hopeful), strict=True):
            distance = np.abs(scale * computed[:, b] - probes[:, c])
            known = np.isfinite(distance)
            if known.sum() >= _FEWEST_PROBES and (distance[known] <= tolerances[known, c]).all():
                yield int(b), int(c), scale


def _of_one(columns: list[str], probes: np.ndarray, tolerances: np.ndarray, sample: Sample) -> Iterator[tuple[str, Rule]]:
    """Changes of unit. The later column is computed from the earlier one."""
    for i, source in enumerate(columns):
        a = probes[:, i]
        known = np.isfinite(a)
        if known.sum() < _FEWEST_PROBES or np.ptp(a[known]) == 0:
            continue
        low, high = int(np.nanargmin(a)), int(np.nanargmax(a))
        slopes = (probes[high] - probes[low]) / (a[high] - a[low])
        shifts = probes[low] - slopes * a[low]
        distance = np.abs(a[:, None] * slopes + shifts - probes)
        both = np.isfinite(distance)
        good = ((distance <= 2 * tolerances) | ~both).all(axis=0) & (both.sum(axis=0) >= _FEWEST_PROBES) & (slopes != 0)
        for c in np.flatnonzero(good):
            if c > i:
                x, y = sample.together(source, columns[c])
                slope, shift = np.polyfit(x, y, 1)
                doubt = 2 * float(tolerances[:, c].max()) / float(np.ptp(x))
                for text in _linear(sql.quote(source), float(slope), float(shift), doubt):
                    rule = _exact(columns[c], text, sample)
                    if rule:
                        yield columns[c], rule
                        break


def _linear(source: str, slope: float, shift: float, doubt: float) -> Iterator[str]:
    """Ways to write slope * source + shift with few digits, the shortest first."""
    for digits in range(1, 9):
        for operator, value in (("*", slope), ("/", 1 / slope if slope else math.inf)):
            rounded = float(f"{value:.{digits}g}")
            near = abs((rounded if operator == "*" else 1 / rounded) - slope) <= max(3 * doubt, 1e-9 * abs(slope)) if rounded else False
            if near:
                scaled = source if rounded == 1 else f"{source} {operator} {rounded:.12g}"
                for more in (0.0, float(f"{shift:.{digits}g}"), round(shift, 2)):
                    if abs(more - shift) <= max(0.05 * abs(shift), 0.05):
                        yield scaled if more == 0 else f"{scaled} {'+' if more > 0 else '-'} {abs(more):.12g}"


def _exact(column: str, text: str, sample: Sample) -> Rule | None:
    """The rule `column = text`, rounded to the column's decimals if that is what gives it back exactly; None when neither does."""
    described = sample.table[column]
    real = sample.numbers(column)
    decimals = described.grid.decimals if described.grid else 0 if described.kind == "integer" else None
    rounded = [] if decimals is None else [f"ROUND({text}, {decimals})"]
    for candidate in (text, *rounded):
        computed = sample.frame.select(sql.expression(candidate, sample.table).alias("computed")).to_series().to_numpy().astype(float)
        if np.array_equal(computed, real, equal_nan=True):
            return Rule(sql=f"{sql.quote(column)} = {candidate}", why=f"{column} is computed from the others in every row")
    return None


def cuts(sample: Sample, defined: set[str]) -> Iterator[tuple[str, Rule]]:
    """Flags and grades cut from a number: older = (age >= 51), or a class for each range."""
    sources = [name for name in sample.measures if sample.table[name].kind in ("number", "integer") and name not in defined]
    targets = [name for name in sample.flags + sample.discrete if name not in defined and sample.surprise(name) >= _SURE]
    if not sources or not targets:
        return
    values = np.column_stack([sample.numbers(name) for name in sources])
    for target in targets:
        codes = sample.codes(target)
        levels = [code for code in np.unique(codes) if code >= 0]
        if not 2 <= len(levels) <= _MOST_CUTS:
            continue
        rows = [values[codes == code] for code in levels]
        spans = np.array([[np.fmin.reduce(part), np.fmax.reduce(part)] for part in rows])  # (levels, 2, sources)
        for place, source in enumerate(sources):
            span = spans[:, :, place]
            order = np.argsort(span[:, 0])
            if np.isnan(span).any() or not (span[order[:-1], 1] < span[order[1:], 0]).all():
                continue
            distinct = len(np.unique(values[:, place]))
            if sample.surprise(target) - (len(levels) - 1) * math.log(distinct) < _SURE + 2 * math.log(len(sample.names)):
                continue
            rule = _cut(target, source, [levels[k] for k in order], span[order], sample)
            if rule:
                yield target, rule
                break


def _cut(target: str, source: str, levels: list[int], span: np.ndarray, sample: Sample) -> Rule | None:
    codes, absent = sample.codes(target), sample.missing(source)
    without = set(codes[absent].tolist())
    if len(without) > 1 or (codes[~absent] < 0).any():
        return None
    literals = {code: sql.literal(_value(sample, target, code)) for code in levels}
    bounds = [roundest(float(span[k, 1]), float(span[k + 1, 0])) for k in range(len(levels) - 1)]
    name, why = sql.quote(source), f"{target} follows from {source}"
    default = literals.get(without.pop()) if without else None
    if sample.table[target].kind == "boolean":
        test = f"{name} >= {bounds[0]}" if literals[levels[1]] == "TRUE" else f"{name} < {bounds[0]}"
        return Rule(sql=f"{sql.quote(target)} = " + (f"COALESCE({test}, {default})" if default else f"({test})"), why=why)
    parts = [f"WHEN {name} < {bound} THEN {literals[level]}" for bound, level in zip(bounds, levels, strict=False)]
    parts.append(f"WHEN {name} >= {bounds[-1]} THEN {literals[levels[-1]]}")
    if default:
        parts.insert(0, f"WHEN {name} IS NULL THEN {default}")
    return Rule(sql=f"{sql.quote(target)} IS NOT DISTINCT FROM CASE {' '.join(parts)} END", why=why)


def roundest(above: float, upto: float) -> str:
    """The number with the fewest digits in (above, upto].

    >>> roundest(24.96, 25.02), roundest(50, 51), roundest(-0.3, 0.2)
    ('25', '51', '0')
    """
    exponent = math.floor(math.log10(max(abs(above), abs(upto), 1e-12)))
    for power in range(exponent + 1, exponent - 18, -1):
        unit = 10.0**power
        found = round(math.floor(upto / unit + 1e-9) * unit, max(0, -power))
        if above < found <= upto:
            return f"{found:.15g}" if found else "0"
    return repr(upto)


def functions(sample: Sample, defined: set[str]) -> Iterator[tuple[str, Rule]]:
    """Levels that follow from another column's level: class = CASE diagnosis ... END, from the source with the fewest levels."""
    columns = [name for name in sample.leveled if name not in defined]
    if len(columns) < 2:
        return
    codes = np.column_stack([sample.codes(name) for name in columns])  # (rows, columns)
    counts = [np.unique(codes[:, place], return_counts=True) for place in range(len(columns))]
    follows = np.zeros((len(columns), len(columns)), bool)  # [source, target]
    for place in range(len(columns)):
        _, first, level = np.unique(codes[:, place], return_index=True, return_inverse=True)
        if counts[place][1].min() >= _FEWEST_ROWS_PER_LEVEL and len(first) <= 50:
            follows[place] = (codes[first][level] == codes).all(axis=0)
    number = 0
    for target, name in enumerate(columns):
        if sample.table[name].numeric and len(counts[target][0]) <= 2:
            continue
        sources = [
            source
            for source in np.flatnonzero(follows[:, target])
            if source != target
            and not (follows[target, source] and source > target)
            and _evidence(counts[source][1], counts[target][1]) >= _SURE + 2 * math.log(len(columns))
        ]
        for source in sorted(sources, key=lambda s: (len(counts[s][0]), s)):
            if number < _MOST_OF_A_KIND:
                number += 1
                yield name, _function(sample, columns[source], name)
                break


def _evidence(source: np.ndarray, target: np.ndarray) -> float:
    """How much more likely the target's order is as a function of the source than as a shuffle (nats).

    Log of the number of ways to order the target's values, less the cost of writing the function down.
    """
    shuffles = math.lgamma(target.sum() + 1) - sum(math.lgamma(count + 1) for count in target)
    return float(shuffles - len(source) * math.log(max(2, len(target))))


def _function(sample: Sample, source: str, target: str) -> Rule:
    pairs = sample.frame.select(source, target).unique(maintain_order=True).sort(target, source, nulls_last=True)
    by_level: dict[object, list[object]] = {}
    for given, level in pairs.iter_rows():
        by_level.setdefault(level, []).append(given)
    name = sql.quote(source)
    nulls = sample.missing(source).any() or sample.missing(target).any()
    why = f"{target} follows from {source}"
    if sample.table[target].kind == "boolean" and not nulls:
        return Rule(sql=f"{sql.quote(target)} = ({_one_of(name, by_level.get(True, []))})", why=why)
    parts = [f"WHEN {_one_of(name, given)} THEN {sql.literal(level)}" for level, given in by_level.items() if level is not None]
    relation = "IS NOT DISTINCT FROM" if nulls else "="
    return Rule(sql=f"{sql.quote(target)} {relation} CASE {' '.join(parts)} END", why=why)


def _one_of(name: str, given: list[object]) -> str:
    """name = x, name IN (x, y), or name IS NULL among them."""
    known = [sql.literal(value) for value in given if value is not None]
    tests = [f"{name} = {known[0]}" if len(known) == 1 else f"{name} IN ({', '.join(known)})"] if known else []
    if None in given:
        tests.append(f"{name} IS NULL")
    return " OR ".join(tests)


def _value(sample: Sample, name: str, code: int) -> object:
    return sample.frame[name][int(np.argmax(sample.codes(name) == code))]
