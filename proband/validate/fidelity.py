"""Is it faithful? Columns, pairs and triples, missing values, associations, tails, rare levels and groups, beside real against real."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from proband import seeds
from proband.stats.divergences import Codes, associations, distances, total_variation
from proband.stats.marginals import shares, tail_ends, tail_shares
from proband.validate.allowed import format_broken, rules_broken
from proband.validate.coded import MISSING, Part, Tables, tables
from proband.validate.detection import detection
from proband.validate.findings import Evidence, Finding
from proband.validate.groups import groups, surely_lost
from proband.validate.trials import Trials, compare

#: Columns beyond these are sampled: pairs, triples and the association picture cost their square, cube and square.
_MOST_PAIRS, _MOST_TRIPLES, _MOST_ASSOCIATED = 1_000, 300, 40

#: Cells with fewer real patients than this are merged before they are shown: a rare value can name a person.
_FEWEST_SHOWN = 10

#: Shares of patients between which a level counts as rare.
_RARE = (0.005, 0.05)

Step = Callable[[int, int, str, Mapping[str, float]], None]


def fidelity(evidence: Evidence, *, seed: int, on_step: Step | None = None, coded: Tables | None = None) -> list[Finding]:
    """All findings of the first question, not judged yet. `coded`: the tables, when the caller has made them already."""
    coded = coded or tables(evidence, seed=seed)
    step = on_step or (lambda done, total, what, figures: None)
    pairs = _some(list(combinations(range(len(coded.columns)), 2)), _MOST_PAIRS, seed)
    triples = _triples(len(coded.columns), seed)
    shown = _associated(coded)
    shown_pairs: list[tuple[int, ...]] = list(combinations(shown, 2))
    holes = _Holes(coded)
    ends = _ends(coded)
    rare = _rare_levels(coded)
    group = groups(coded)

    measures = {
        "columns": lambda a, b: distances(a.fine, b.fine, [(at,) for at in range(len(coded.columns))]),
        "pairs": lambda a, b: distances(a.fine, b.fine, pairs),
        "triples": lambda a, b: distances(a.coarse, b.coarse, triples),
        "holes": lambda a, b: np.array([total_variation(*(shares(holes.codes(one.fine), holes.size) for one in (a, b)))]),
        "associations": lambda a, b: np.stack([associations(one.coarse, shown_pairs) for one in (a, b)]),
        "tails": lambda a, b: np.stack([_tail_shares(one.part, one.rows, coded, ends) for one in (a, b)]),
        "rare": lambda a, b: np.append(_level_counts(a.part, a.rows)[rare], len(a.rows)),
        "groups": lambda a, b: np.stack([np.append(group.counts(one.part, one.rows), len(one.rows)) for one in (a, b)]),
    }
    found = compare(coded, measures, seed=seed, on_turn=lambda done, total: step(done, total, "faithful: comparing", {}))
    findings = [
        *_columns(coded, found["columns"]),
        _pairs(coded, found["pairs"], pairs),
        _summed("triples_distance", "Distance of the joint distribution of three columns", found["triples"], "triples of columns"),
        _missingness(coded, found["holes"]),
        *_associations(coded, found["associations"], shown, shown_pairs),
        _tails(coded, found["tails"], ends),
        _rare(coded, found["rare"], rare),
        _subgroups(found["groups"], group.names),
        rules_broken(evidence),
        format_broken(evidence),
    ]
    return findings + detection(coded, evidence.train.schema, seed=seed, on_step=step)


# Columns, pairs and triples.


def _columns(coded: Tables, trials: Trials) -> list[Finding]:
    reference, floor = trials.reference.mean(0), trials.floor.mean(0)
    excess = trials.value - reference
    worst = int(np.argmax(excess)) if len(excess) else 0
    rows = [
        {
            "name": column.name,
            "kind": column.kind,
            "distance": _round(trials.value[at]),
            "reference": _round(reference[at]),
            "floor": _round(floor[at]),
        }
        | _cells(coded, at)
        for at, column in enumerate(coded.columns)
    ]
    names = ", ".join(f"'{coded.names[at]}'" for at in np.argsort(-excess, kind="stable")[:3] if excess[at] > 0)
    return [
        Finding(
            "faithful",
            "columns_distance",
            "Distance of the columns, one at a time",
            why=f"The share of patients that stands in the wrong bin, averaged over columns. Farthest from real: {names or 'none'}.",
            detail={"columns": rows},
            **trials.summary(lambda one: float(one.mean()), most=1.0),
        ),
        Finding(
            "faithful",
            "worst_column_distance",
            "Distance of the worst column beyond real against real",
            why=f"Column '{coded.names[worst]}' is farthest from its distribution in real patients, beyond what chance gives.",
            detail={"column": coded.names[worst]},
            **trials.summary(lambda one: float((one - reference).max()), least=-1.0, most=1.0),
        ),
    ]


def _cells(coded: Tables, at: int) -> dict[str, list[Any]]:
    """Labels and shares of one column's codes; those with few real patients become one."""
    coding = coded.codings[at]
    size = len(coding.labels)
    real = np.bincount(coded.unseen.fine.values[at], minlength=size)
    made = np.bincount(coded.synthetic.fine.values[at], minlength=size)
    codes = [*range(2, size), 0, 1]
    kept = [k for k in codes if real[k] >= _FEWEST_SHOWN and coding.labels[k] != "other"]
    rest = [k for k in codes if k not in kept]
    labels = [coding.labels[k] for k in kept]
    shown = [[counts[k] for k in kept] for counts in (real, made)]
    if sum(real[k] + made[k] for k in rest):
        labels.append("other")
        for row, counts in zip(shown, (real, made), strict=True):
            row.append(sum(counts[k] for k in rest))
    return {
        "labels": labels,
        **{name: [_round(c / max(sum(row), 1)) for c in row] for name, row in zip(("real", "synthetic"), shown, strict=True)},
    }


def _pairs(coded: Tables, trials: Trials, pairs: list[tuple[int, ...]]) -> Finding:
    reference, floor = trials.reference.mean(0), trials.floor.mean(0)
    order = np.argsort(-(trials.value - reference), kind="stable")[:20]
    worst = [
        {
            "columns": [coded.names[c] for c in pairs[at]],
            "distance": _round(trials.value[at]),
            "reference": _round(reference[at]),
            "floor": _round(floor[at]),
        }
        for at in order
    ]
    title = "Distance of the joint distribution of two columns"
    return _summed("pairs_distance", title, trials, "pairs of columns", detail={"worst": worst})


def _summed(name: str, title: str, trials: Trials, what: str, detail: dict[str, Any] | None = None) -> Finding:
    count = len(trials.value)
    if not count:
        return _nothing(name, title, f"The table has too few columns for {what}.")
    why = (
        f"The share of patients in the wrong cell, averaged over {count} {what}; the floor has the columns right and their dependence gone."
    )
    return Finding("faithful", name, title, why=why, detail=detail or {}, **trials.summary(lambda one: float(one.mean()), most=1.0))


def _triples(columns: int, seed: int) -> list[tuple[int, ...]]:
    if columns < 3:
        return []
    if columns <= 13:  # 286 triples
        return list(combinations(range(columns), 3))
    generator = seeds.generator(seed, "triples")
    drawn = {tuple(sorted(generator.choice(columns, 3, replace=False).tolist())) for _ in range(_MOST_TRIPLES)}
    return sorted(drawn)


def _some(every: list[tuple[int, ...]], most: int, seed: int) -> list[tuple[int, ...]]:
    if len(every) <= most:
        return every
    chosen = np.sort(seeds.generator(seed, "pairs").permutation(len(every))[:most])
    return [every[at] for at in chosen]


# Missing values.


class _Holes:
    """The patterns of missing cells: the 19 most frequent in real patients, and all others as one."""

    size = 20

    def __init__(self, coded: Tables) -> None:
        rows = np.packbits(coded.real.fine.values == MISSING, axis=0)  # (bytes, rows)
        patterns, counts = np.unique(rows, axis=1, return_counts=True)
        kept = np.argsort(-counts, kind="stable")[: self.size - 1]
        self.known = {patterns[:, at].tobytes(): code for code, at in enumerate(kept)}

    def codes(self, fine: Codes) -> np.ndarray:
        rows = np.ascontiguousarray(np.packbits(fine.values == MISSING, axis=0).T)  # (rows, bytes)
        patterns, back = np.unique(rows.view(f"V{rows.shape[1]}").ravel() if len(rows) else rows[:, 0], return_inverse=True)
        return np.array([self.known.get(p.tobytes(), self.size - 1) for p in patterns], int)[back]


def _missingness(coded: Tables, trials: Trials) -> Finding:
    real, made = ((part.fine.values == MISSING).mean(1) for part in (coded.unseen, coded.synthetic))
    rows: list[dict[str, Any]] = [
        {"name": name, "real": _round(r), "synthetic": _round(s)}
        for name, r, s in zip(coded.names, real, made, strict=True)
        if r > 0 or s > 0
    ]
    worst = max(rows, key=lambda row: abs(row["real"] - row["synthetic"]), default=None)
    why = "Which values are missing together: the share of patients with the wrong pattern. " + (
        f"Largest difference in one column: '{worst['name']}', {worst['real']:.1%} in real patients, {worst['synthetic']:.1%} here."
        if worst
        else "Nothing is missing."
    )
    summary = trials.summary(lambda one: float(one[0]), most=1.0)
    return Finding(
        "faithful", "missingness_distance", "Distance of the patterns of missing values", why=why, detail={"columns": rows}, **summary
    )


# Associations.


def _associated(coded: Tables) -> list[int]:
    """The columns whose associations are measured: all, or in a wide table the 40 that are associated most in real patients."""
    count = len(coded.columns)
    if count <= _MOST_ASSOCIATED:
        return list(range(count))
    few = coded.real.coarse.take(np.arange(0, coded.real.coarse.rows, max(coded.real.coarse.rows // 2000, 1)))
    pairs = list(combinations(range(count), 2))
    strength = np.zeros(count)
    for (a, b), found in zip(pairs, associations(few, pairs), strict=True):
        strength[a] += found**2
        strength[b] += found**2
    return sorted(np.argsort(-strength, kind="stable")[:_MOST_ASSOCIATED].tolist())


def _associations(coded: Tables, trials: Trials, shown: list[int], pairs: list[tuple[int, ...]]) -> list[Finding]:
    title, lost_title = "Error of the associations between columns", "Share of the dependence between columns that is lost"
    if not pairs:
        why = "The table has one column: nothing to be associated with."
        return [_nothing("association_error", title, why), _nothing("dependence_lost", lost_title, why)]
    made, real = trials.value
    worst = int(np.argmax(np.abs(made - real)))
    names = " and ".join(f"'{coded.names[c]}'" for c in pairs[worst])
    where = {column: at for at, column in enumerate(shown)}
    matrices = []
    for values in (real, made):
        matrix = np.eye(len(shown))
        for (a, b), value in zip(pairs, values, strict=True):
            matrix[where[a], where[b]] = matrix[where[b], where[a]] = value
        matrices.append([[_round(v) for v in row] for row in matrix])
    error = Finding(
        "faithful",
        "association_error",
        title,
        why=f"Mean difference of the strength of association (0 to 1) over {len(pairs)} pairs of columns. Largest for {names}.",
        detail={"names": [coded.names[c] for c in shown], "real": matrices[0], "synthetic": matrices[1]},
        **trials.summary(lambda one: float(np.abs(one[0] - one[1]).mean()), most=1.0),
    )
    # How much of the real dependence is there: the strengths of both sides multiplied and summed, over what two real
    # groups give. The noise of the two sides is independent, so it cancels in the mean, and no size is favoured.
    whole = float(np.mean([one[0] @ one[1] for one in trials.reference]))
    bottom = float(np.mean([one[0] @ one[1] for one in trials.floor]))
    if whole - bottom < 1e-3 * len(pairs):
        why = "Real columns hardly depend on each other: there is no dependence to lose, and this cannot be told."
        return [error, Finding("faithful", "dependence_lost", lost_title, None, why)]
    summary = trials.summary(lambda one: 1 - float(one[0] @ one[1] - bottom) / (whole - bottom), least=-np.inf)
    why = "0: the columns depend on each other as they do in real patients; 1: no more than independent columns; below 0: more than real."
    return [error, Finding("faithful", "dependence_lost", lost_title, why=why, **summary)]


# Tails, rare levels and groups.


def _ends(coded: Tables) -> list[tuple[int, float, float]]:
    """(column, low end, high end) of the numbers' tails, an end at infinity where there is none to speak of.

    A tail is 1 % of the patients, more where that would be fewer than 10. An end on which many share a value, such as a
    detection limit, is no tail but a bin of its own.
    """
    found = []
    for at, column in enumerate(coded.columns):
        if not column.numeric:
            continue
        values = coded.real.numbers(column)
        present = np.mean(~np.isnan(values)) * coded.matched
        share = max(0.01, 10 / max(present, 1))
        if share > 0.05:
            continue
        low, high = tail_ends(values, share)
        below, above = tail_shares(values, (low, high))
        low, high = low if below <= 2 * share else -np.inf, high if above <= 2 * share else np.inf
        if np.isfinite(low) or np.isfinite(high):
            found.append((at, low, high))
    return found


def _tail_shares(part: Part, rows: np.ndarray, coded: Tables, ends: list[tuple[int, float, float]]) -> np.ndarray:
    pairs = [tail_shares(part.numbers(coded.columns[at])[rows], (low, high)) for at, low, high in ends]
    return np.array(pairs).reshape(-1)


def _tails(coded: Tables, trials: Trials, ends: list[tuple[int, float, float]]) -> Finding:
    title = "Error of the extremes"
    if not ends:
        return _nothing("tails_error", title, "No number has a tail with enough patients to speak of.")
    made, real = trials.value
    worst = int(np.argmax(np.abs(made - real)))
    name = f"the {'high' if worst % 2 else 'low'} end of '{coded.names[ends[worst // 2][0]]}'"
    why = f"Patients below the real 1st and above the 99th percentile, too many or too few, relative to their number. Farthest: {name}."
    expected = _tail_shares(coded.real, np.arange(coded.real.frame.height), coded, ends).sum()
    summary = trials.summary(lambda one: float(np.abs(one[0] - one[1]).sum() / expected))
    return Finding("faithful", "tails_error", title, why=why, **summary)


def _level_counts(part: Part, rows: np.ndarray) -> np.ndarray:
    """How many rows have each level of each discrete column, one after the other."""
    table = part.levels.take(rows)
    counts = [np.bincount(row, minlength=int(size)) for row, size in zip(table.values, table.sizes, strict=True)]
    return np.concatenate(counts or [np.zeros(0, int)])


def _rare_levels(coded: Tables) -> np.ndarray:
    """Places in `_level_counts` of the levels that few real patients have."""
    rows = coded.real.frame.height
    found = _level_counts(coded.real, np.arange(rows)) / rows
    proper = np.concatenate([np.arange(size) >= 2 for size in coded.real.levels.sizes] or [np.zeros(0, bool)])
    return np.flatnonzero(proper & (found >= _RARE[0]) & (found <= _RARE[1]))


def _rare(coded: Tables, trials: Trials, rare: np.ndarray) -> Finding:
    """Rare patients misplaced beyond doubt: of each level what is surely lost or surely too much, weighted by its patients."""
    name, title = "rare_levels_error", "Patients with a rare level who are surely missing or too many"
    if not len(rare):
        return _nothing(name, title, "No level is held by 0.5 to 5 % of the patients.")
    rows = coded.real.frame.height
    real = _level_counts(coded.real, np.arange(rows))[rare]  # all real patients: few are rare
    enough = real / rows * coded.matched >= 10
    if not enough.any() and real.sum() / rows * coded.matched < 10:
        return Finding(
            "faithful", name, title, None, "All rare levels together have fewer than ten patients on either side: too few to tell."
        )

    def counts(one: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Synthetic and real patients of each level that has enough, or of all together when none has."""
        return (one[:-1][enough], real[enough]) if enough.any() else (one[:-1].sum(keepdims=True), real.sum(keepdims=True))

    def misplaced(one: np.ndarray) -> float:
        made, expected = counts(one)
        lost = surely_lost(made, expected, int(one[-1]), rows)
        kept = 1 - surely_lost(expected, made, rows, int(one[-1]))
        surplus = np.minimum(1 / np.maximum(kept, 1e-12) - 1, 1.0)
        return float(np.maximum(lost, surplus) @ expected / expected.sum())

    value = misplaced(trials.value)
    shares_made, shares_real = trials.value[:-1] / trials.value[-1], real / rows
    absent, inflated = int(np.sum(shares_made == 0)), int(np.sum(shares_made > 2 * shares_real))
    why = (
        f"Of {len(real)} levels that 0.5 to 5 % of real patients have, {absent} are absent and {inflated} more than twice as frequent; "
        f"{value:.0%} of such patients are missing or too many beyond doubt."
    )
    # The value is the end of an interval already, as for the groups below.
    return Finding("faithful", name, title, why=why, **(trials.summary(misplaced, most=1.0) | {"interval": (value, value)}))


def _nothing(name: str, title: str, why: str) -> Finding:
    """Where a table has nothing of the kind, nothing of the kind is wrong with it."""
    return Finding("faithful", name, title, 0.0, why, interval=(0.0, 0.0), reference=0.0, reference_interval=(0.0, 0.0))


def _subgroups(trials: Trials, names: tuple[str, ...]) -> Finding:
    title = "Largest share of a group of patients that is surely missing"
    if not names:
        return Finding("faithful", "subgroups_error", title, None, "No group would have 30 patients on either side: too few to see a loss.")

    def worst(one: np.ndarray) -> float:
        return float(_lost(one).max())

    made, real = trials.value
    lost = _lost(trials.value)
    at = int(np.argmax(lost))
    rates = made[:-1] / max(made[-1], 1), real[:-1] / max(real[-1], 1)
    order = np.lexsort((rates[0] / np.maximum(rates[1], 1e-12), -lost))
    shown = [{"name": names[k], "real": _round(rates[1][k]), "synthetic": _round(rates[0][k])} for k in order[:40]]
    why = (
        f"Of {len(names)} groups the one that lost most is '{names[at]}': {rates[1][at]:.1%} of real patients, {rates[0][at]:.1%} here."
        if lost[at] > 0
        else f"None of {len(names)} groups has surely lost patients."
    )
    # The value is the end of an interval already (5 % over all groups together), so it carries no second one.
    summary = trials.summary(worst, most=1.0) | {"interval": (float(lost[at]), float(lost[at]))}
    return Finding("faithful", "subgroups_error", title, why=why, detail={"groups": shown}, **summary)


def _lost(one: np.ndarray) -> np.ndarray:
    made, real = one
    return surely_lost(made[:-1], real[:-1], int(made[-1]), int(real[-1]))


def _round(value: float) -> float:
    return round(float(value), 4)
