"""Is it faithful over time? Lengths, gaps, rates, what is measured with what, courses of values and of codes, beside real against real."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from proband import seeds
from proband.schema import Column, Table
from proband.stats import sequences as stats
from proband.stats.sequences import Events
from proband.validate.findings import Evidence, Finding
from proband.validate.histories import coded, events, history_table, history_variables
from proband.validate.trials import FLOORS, REPEATS, Trials

#: Events that each side of a comparison holds at most: beyond, sampling error is small and the forty comparisons take minutes.
_MOST_EVENTS = 250_000

#: Events of a part that are in memory at once: of more, patients at even distances.
MOST_HELD = 1_250_000

#: What is compared in pairs at most, the commonest first: pairs cost their square.
_MOST_CODES = 100

#: Fewer real patients than this with a variable: its figures could be theirs, so they are not shown.
_FEWEST_SHOWN = 10

#: Pairs of values below which a correlation is mostly noise.
_PAIRS = 300

Step = Callable[[int, int, str, Mapping[str, float]], None]


@dataclass(frozen=True)
class Histories:
    """One linked table of the evidence: `values` as they are, `codes` with every level of a discrete variable as a code of its own, and
    those that most real patients have, `common`.

    Each has the parts train, unseen (holdout and reference), real (all three) and synthetic.
    """

    table: Table
    variables: tuple[Column, ...]
    values: Mapping[str, Events]
    codes: Mapping[str, Events]
    common: Mapping[str, Events]

    @staticmethod
    def of(evidence: Evidence, name: str | None = None) -> Histories:
        table = history_table(evidence.train.schema, name)
        variables = history_variables(table)
        train, holdout, reference, made = (
            stats.thinned(events(one, table.name), MOST_HELD)
            for one in (evidence.train, evidence.holdout, evidence.reference, evidence.synthetic)
        )
        unseen = stats.joined(holdout, reference)
        values = {"train": train, "unseen": unseen, "real": stats.joined(train, unseen), "synthetic": made}
        every = {part: coded(one, variables) for part, one in values.items()}
        patients = stats.holders(every["real"])
        found = np.flatnonzero(patients)
        kept = np.argsort(-patients, kind="stable")[: min(_MOST_CODES, len(found))]
        codes, common = ({part: stats.only(one, which) for part, one in every.items()} for which in (found, kept))
        return Histories(table, variables, values, codes, common)

    @property
    def matched(self) -> int:
        """Patients that each side of a comparison holds."""
        n = min(self.values["synthetic"].patients, self.values["unseen"].patients, self.values["real"].patients // 2)
        return max(min(n, int(_MOST_EVENTS * self.values["real"].patients / max(len(self.values["real"].time), 1))), 1)


def sequences(evidence: Evidence, *, seed: int, table: str | None = None, on_step: Step | None = None) -> list[Finding]:
    """Fourteen findings of faithfulness over time, of one linked table (the first with measures unless named), not judged yet.

    Synthetic against unseen patients, beside real patients against real patients of the same number. The floor deals out the times and
    the values of training patients anew among all events: right counts and values, and nothing that holds a history together.
    """
    histories = Histories.of(evidence, table)
    step = on_step or (lambda done, total, what, figures: None)
    ruler = _Ruler.of(histories)
    found = _compare(histories, ruler, seed, lambda done, total: step(done, total, "faithful: histories", {}))
    names, codes = histories.values["real"].names, histories.common["real"].names
    paired = tuple(names[at] for at in ruler.paired)
    gap = lambda one: float(np.nanmean(np.abs(one[0] - one[1]))) if not np.isnan(one[0] - one[1]).all() else float("nan")  # noqa: E731
    matrix = lambda one: stats.apart(one[0], one[1])  # noqa: E731
    told = [
        _finding("lengths_distance", "Distance of the numbers of events per patient", found["lengths"], _first,
                 "Kolmogorov-Smirnov distance of events per patient: the share of patients whose record is too long or too short.",
                 detail={"patient": one_patient(histories)}),
        _finding("gaps_distance", "Distance of the times between measurements", found["gaps"], _first,
                 "Kolmogorov-Smirnov distance of the gaps from one moment of a patient to the next."),
        _rates(histories, found["rates"]),
        _finding("together_error", "Error of what a patient has together", found["together"], matrix,
                 _worst("Mean difference of the share of patients who have both of two codes", found["together"], codes), most=1.0),
        _finding("at_once_error", "Error of what is measured at one moment", found["at_once"], matrix,
                 _worst("Mean difference of the share of moments with one code that have another too", found["at_once"], codes), most=1.0),
        _finding("transitions_error", "Error of what follows what", found["transitions"], matrix,
                 _worst("Mean difference of the share of moments with one code whose next moment has another", found["transitions"], codes),
                 detail=_map(codes, found["transitions"]), most=1.0),
        _finding("first_events_distance", "Distance of the times of first events", found["event_free"],
                 lambda one: float(np.abs(one[0] - one[1]).max(axis=1).mean()) if one.size else float("nan"),
                 "Largest difference of the Kaplan-Meier curves of the patients who have not had a code yet, mean over codes.", most=1.0),
        _finding("values_distance", "Distance of the values", found["values"], _mean,
                 _worst("Wasserstein distance over the real standard deviation, mean over variables", found["values"], names),
                 detail={"courses": courses(histories)}),
        _finding("first_last_distance", "Distance of the first and the last values", found["ends"], _mean,
                 "The same distance for each patient's first and last value of a variable."),
        _finding("trends_distance", "Distance of the trends", found["trends"], _mean,
                 "Kolmogorov-Smirnov distance of the slopes of patients' courses, mean over variables.", most=1.0),
        _finding("persistence_error", "Error of how values persist", found["lag1"], gap,
                 _worst("Mean difference of the correlation of a value with the patient's value before", found["lag1"], names),
                 detail=_paired(names, found["lag1"].value), most=2.0),
        _finding("persistence_within_error", "Error of how values persist within a patient", found["lag1_within"], gap,
                 _worst("The same after each patient's own mean is taken off", found["lag1_within"], names),
                 detail=_paired(names, found["lag1_within"].value), most=2.0),
        _finding("joint_values_error", "Error of how values of one moment go together", found["joint"], gap,
                 _worst("Mean difference of the correlation of two variables at one moment", found["joint"], paired), most=2.0),
        _finding("lagged_values_error", "Error of how one value foretells another", found["lagged"], gap,
                 _worst("Mean difference of the correlation of a value with the last one of another variable", found["lagged"], paired),
                 most=2.0),
    ]  # fmt: skip
    return told


@dataclass(frozen=True)
class _Ruler:
    """What both sides are measured by, learned from real patients: how far values spread, and the times at which curves are read."""

    scale: np.ndarray  # (variables,) standard deviations of the real values; NaN for levels and where all are equal
    paired: np.ndarray  # (at most 100,) the variables that most real patients have, in order
    grid: np.ndarray  # (times,)

    @staticmethod
    def of(histories: Histories) -> _Ruler:
        real = histories.values["real"]
        scale = np.full(len(real.names), np.nan)
        for at, column in enumerate(histories.variables):
            own = real.value[(real.variable == at) & ~np.isnan(real.value)]
            if column.numeric and len(own) and own.std() > 0:
                scale[at] = own.std()
        paired = np.sort(np.argsort(-stats.holders(real), kind="stable")[:_MOST_CODES])
        return _Ruler(scale, paired, np.quantile(real.time, np.linspace(0.02, 0.98, 25)) if len(real.time) else np.empty(0))


def _compare(histories: Histories, ruler: _Ruler, seed: int, on_turn: Callable[[int, int], None]) -> dict[str, Trials]:
    """Every measure on every comparison, by whole patients; see `trials.compare`."""
    generator = seeds.generator(seed, "histories", histories.table.name)
    n, turns = histories.matched, 1 + 2 * REPEATS + FLOORS
    sides = histories.values, histories.codes, histories.common
    draw = lambda part: generator.permutation(histories.values[part].patients)[:n]  # noqa: E731

    def measure(part: str, chosen: np.ndarray) -> dict[str, Any]:
        return _measured(ruler, *(stats.taken(side[part], chosen) for side in sides))

    made, unseen = draw("synthetic"), draw("unseen")
    beside = None
    found: list[dict[str, np.ndarray]] = []
    for turn in range(turns):
        if turn == 0:
            beside = measure("unseen", unseen)
            found.append(_differences(measure("synthetic", made), beside))
        elif turn <= REPEATS:
            found.append(_differences(*(measure(part, generator.choice(of, n)) for part, of in (("synthetic", made), ("unseen", unseen)))))
        elif turn <= 2 * REPEATS:
            order = generator.permutation(histories.values["real"].patients)
            found.append(_differences(*(measure("real", half) for half in (order[:n], order[n : 2 * n]))))
        else:
            loose = [stats.scattered(stats.taken(side["train"], draw("train")), generator) for side in sides]
            assert beside is not None
            found.append(_differences(_measured(ruler, *loose), beside))
        on_turn(turn + 1, turns)
    cut = 1, REPEATS + 1, 2 * REPEATS + 1
    return {
        name: Trials(found[0][name], *(np.array([one[name] for one in part]) for part in np.split(np.array(found, object), cut)[1:]))
        for name in found[0]
    }


def _measured(ruler: _Ruler, values: Events, codes: Events, common: Events) -> dict[str, Any]:
    """Everything that one side tells by itself."""
    figures = stats.summaries(values).reshape(values.patients, len(values.names), -1)
    levels = np.isnan(ruler.scale)
    _, now, before = stats.moments(stats.only(values, ruler.paired))
    now, before = (np.clip(side, *_held(side)) for side in (now, before))
    now[:, levels[ruler.paired]] = before[:, levels[ruler.paired]] = np.nan
    return {
        "lengths": values.counts.sum(axis=1),
        "gaps": stats.gaps(values),
        "rates": stats.rates(codes),
        "together": stats.together(common),
        "at_once": stats.at_once(common),
        "transitions": stats.transitions(common),
        "event_free": stats.event_free(common, ruler.grid, values),
        "values": [values.value[(values.variable == at) & ~np.isnan(values.value)] / scale for at, scale in enumerate(ruler.scale)],
        "ends": [_present(figures[:, at, place]) / scale for at, scale in enumerate(ruler.scale) for place in (4, 5)],
        "trends": [_present(figures[:, at, 6]) / scale for at, scale in enumerate(ruler.scale)],
        "lag1": np.where(levels, np.nan, stats.persistence(values, least=_PAIRS)),
        "lag1_within": np.where(levels, np.nan, stats.persistence(values, within=True, least=_PAIRS)),
        "joint": _off_diagonal(stats.correlations(now, now, _PAIRS)),
        "lagged": _off_diagonal(stats.correlations(before, now, _PAIRS)),
    }


def _held(side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 0.1 % at either end of each column: a slip of the pen must not make a correlation."""
    known = np.where(np.isnan(side).all(axis=0), 0.0, side) if len(side) else np.zeros((1, side.shape[1]))
    low, high = np.nanquantile(known, [0.001, 0.999], axis=0)
    return low, high


def _off_diagonal(found: np.ndarray) -> np.ndarray:
    return np.where(np.eye(len(found), dtype=bool), np.nan, found)


def _present(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def _differences(made: Mapping[str, Any], real: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What `_Trials` sum up: a distance per variable where it is between distributions, else the figures of both sides, made ones first."""
    found = {name: np.array([_ks(made[name], real[name])]) for name in ("lengths", "gaps")}
    pairs = ("rates", "together", "at_once", "transitions", "event_free", "lag1", "lag1_within", "joint", "lagged")
    found |= {name: np.stack([made[name], real[name]]) for name in pairs}
    for name, distance in (("values", _wasserstein), ("ends", _wasserstein), ("trends", _ks)):
        found[name] = np.array([distance(a, b) for a, b in zip(made[name], real[name], strict=True)])
    return found


def _ks(made: np.ndarray, real: np.ndarray) -> float:
    """The Kolmogorov-Smirnov distance; 1 where only one side has values, NaN where neither has ten, or they have no scale."""
    if max(len(made), len(real)) < 10 or np.isnan(made).any() or np.isnan(real).any():
        return float("nan")
    if not len(made) or not len(real):
        return 1.0
    made, real = np.sort(made), np.sort(real)
    every = np.concatenate([made, real])
    return float(np.abs(np.searchsorted(made, every, "right") / len(made) - np.searchsorted(real, every, "right") / len(real)).max())


def _wasserstein(made: np.ndarray, real: np.ndarray) -> float:
    """NaN where the real side has fewer than ten values, the spread (1, in these units) where only the synthetic side has none."""
    from scipy.stats import wasserstein_distance

    if len(real) < 10 or np.isnan(real).any():
        return float("nan")
    return float(wasserstein_distance(made, real)) if len(made) else 1.0


# What pictures show.

#: Variables whose course over time is drawn, spans of time, and synthetic patients drawn one by one.
_DRAWN, _SPANS, _HANDFUL = 6, 12, 4


def courses(histories: Histories) -> list[dict[str, Any]]:
    """Bands of the most measured numbers over time: the 10th, 50th and 90th percentile of real and of synthetic values in spans of time,
    none where fewer than ten real patients have a value, and no such variable where that is so in every span; and the courses of a few
    synthetic patients, never of real ones."""
    real, made = histories.values["unseen"], histories.values["synthetic"]
    common = [at for at in np.argsort(-real.counts.sum(axis=0), kind="stable") if histories.variables[at].numeric]
    found = []
    for at in common[:_DRAWN]:
        mine = [(side.variable == at) & ~np.isnan(side.value) for side in (real, made)]
        edges = np.unique(np.quantile(real.time[mine[0]], np.linspace(0, 1, _SPANS + 1))) if mine[0].any() else np.empty(0)
        if len(edges) < 3:
            continue
        spans = [np.clip(np.searchsorted(edges, side.time, side="right") - 1, 0, len(edges) - 2) for side in (real, made)]
        bands: list[list[list[float | None]]] = [[], []]
        for span in range(len(edges) - 1):
            inside = [own & (place == span) for own, place in zip(mine, spans, strict=True)]
            few = len(np.unique(real.patient[inside[0]])) < _FEWEST_SHOWN
            for band, side, own in zip(bands, (real, made), inside, strict=True):
                empty = few or not own.any()
                band.append([None] * 3 if empty else [_round(one) for one in np.quantile(side.value[own], [0.1, 0.5, 0.9])])
        if all(middle is None for _, middle, _ in bands[0]):
            continue
        several = np.flatnonzero(np.bincount(made.patient[mine[1]], minlength=made.patients) >= 2)[:_HANDFUL]
        drawn = [mine[1] & (made.patient == one) for one in several]
        found.append(
            {"name": histories.variables[at].name, "time": ((edges[1:] + edges[:-1]) / 2).round(4).tolist()}
            | {
                side: dict(zip(("low", "middle", "high"), map(list, zip(*band, strict=True)), strict=True))
                for side, band in zip(("real", "synthetic"), bands, strict=True)
            }
            | {"patients": [{"time": made.time[rows].tolist(), "value": made.value[rows].tolist()} for rows in drawn]}
        )
    return found


def one_patient(histories: Histories) -> dict[str, Any]:
    """The events of the synthetic patient of middling length."""
    made = histories.values["synthetic"]
    lengths = made.counts.sum(axis=1)
    middling = int(np.argsort(lengths, kind="stable")[len(lengths) // 2]) if len(lengths) else 0
    rows = made.patient == middling
    told = {"time": made.time[rows].tolist(), "variable": made.variable[rows].tolist(), "value": [_round(one) for one in made.value[rows]]}
    return {"names": list(made.names), **told}


# Findings.


def _first(one: np.ndarray) -> float:
    return float(one[0])


def _mean(one: np.ndarray) -> float:
    return float(np.nanmean(one)) if not np.isnan(one).all() else float("nan")


def _finding(
    name: str,
    title: str,
    trials: Trials,
    of: Callable[[np.ndarray], float],
    why: str,
    *,
    detail: Mapping[str, Any] | None = None,
    most: float = np.inf,
) -> Finding:
    summary = trials.summary(of, most=most)
    if np.isnan([summary["value"], summary["reference"], *summary["interval"]]).any():
        return Finding("faithful", name, title, None, "Too few patients have enough events for it, or for its doubt, to be told.")
    return Finding("faithful", name, title, why=why, detail=detail or {}, **summary)


def _worst(what: str, trials: Trials, names: tuple[str, ...]) -> str:
    """`what`, and where the synthetic patients are farthest off beyond what real patients are."""
    off = np.abs(trials.value[0] - trials.value[1]) if trials.value.ndim > 1 else trials.value
    usual = np.abs(trials.reference[:, 0] - trials.reference[:, 1]) if trials.value.ndim > 1 else trials.reference
    beyond = np.nan_to_num(off) - np.nan_to_num(usual).mean(axis=0)
    if not beyond.size or beyond.max() <= 0:
        return f"{what}."
    at = np.unravel_index(int(np.argmax(beyond)), beyond.shape)
    return f"{what}; farthest for {' and '.join(repr(names[one]) for one in at)}."


def _paired(names: tuple[str, ...], value: np.ndarray) -> dict[str, Any]:
    made, real = value
    rows = [{"name": n, "real": _round(r), "synthetic": _round(m)} for n, r, m in zip(names, real, made, strict=True) if r == r]
    return {"variables": rows}


def _map(codes: tuple[str, ...], trials: Trials, most: int = 16) -> dict[str, Any]:
    made, real = (side[:most, :most] for side in trials.value)
    return {"names": list(codes[:most]), "real": real.round(4).tolist(), "synthetic": made.round(4).tolist()}


def _rates(histories: Histories, trials: Trials) -> Finding:
    """Log rates, each code alike; those that a side never shows count as half an event among its patients."""
    least = 0.5 / histories.matched
    logs = lambda one: np.log(np.maximum(one, least))  # noqa: E731
    made, real = logs(trials.value)
    r2 = 1 - float(((made - real) ** 2).sum() / max(((real - real.mean()) ** 2).sum(), 1e-12)) if real.size else float("nan")
    order = np.argsort(real, kind="stable")
    deciles = [float(np.abs(made - real)[part].mean()) for part in np.array_split(order, min(10, len(order)))] if len(order) else []
    known = stats.holders(histories.codes["unseen"]) >= _FEWEST_SHOWN
    rows = [
        {"name": name, "real": _round(trials.value[1][at]), "synthetic": _round(trials.value[0][at])}
        for at, name in enumerate(histories.codes["real"].names)
        if known[at]
    ]
    ranked = _spearman(made, real)
    detail = {"codes": rows, "log_r2": _round(r2), "rank_correlation": _round(ranked), "by_rarity": [_round(one) for one in deciles]}
    what = f"Mean difference of log rates over {len(real)} codes (R2 {r2:.3f}, rank correlation {ranked:.3f})"
    of = lambda one: float(np.abs(logs(one[0]) - logs(one[1])).mean()) if one.size else float("nan")  # noqa: E731
    why = _worst(
        what, Trials(*(logs(one) for one in (trials.value, trials.spread, trials.reference, trials.floor))), histories.codes["real"].names
    )
    return _finding("rates_error", "Error of the rates of events", trials, of, why, detail=detail)


def _spearman(made: np.ndarray, real: np.ndarray) -> float:
    from scipy.stats import rankdata

    if len(real) < 3 or np.ptp(made) == 0 or np.ptp(real) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(made), rankdata(real))[0, 1])


def _round(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
