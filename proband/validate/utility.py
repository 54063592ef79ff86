"""Is it useful? Models trained on synthetic patients and tested on real ones, beside models trained on real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from proband import seeds
from proband.errors import InputError
from proband.stats.classifiers import CLASSIFIERS
from proband.stats.discrimination import auc
from proband.stats.prediction import average_precision, brier, calibration_slope
from proband.stats.resampling import Patients, bootstrap, percentiles
from proband.validate.coded import Part, Tables, level_columns, matrix, numbers, tables, words
from proband.validate.findings import Evidence, Finding
from proband.validate.groups import groups

#: Table cells (rows x columns) that a model learns from at most.
_CELLS = 1_000_000

#: Real samples that stand in for the synthetic one, to see how far two real training sets differ.
_REFERENCES = 4

#: A group needs this many cases and as many controls among the unseen patients for its AUROC to mean something.
_FEWEST = 50

#: A group in which a smaller loss of AUROC than this cannot be told from chance has nothing to say.
_SEEN = 0.10

Step = Callable[[int, int, str, Mapping[str, float]], None]


@dataclass(frozen=True)
class _Measure:
    name: str  # of the finding
    title: str
    label: str  # in the report's table
    of: Callable[[np.ndarray, np.ndarray], float]  # (probabilities, outcomes)
    sign: int  # 1: higher is better, -1: lower is better


def _slope(probabilities: np.ndarray, outcomes: np.ndarray) -> float:
    """The calibration slope, 0 for predictions that do not vary: they say nothing."""
    slope = calibration_slope(probabilities, outcomes)
    return 0.0 if np.isnan(slope) else slope


_GAPS = (
    _Measure("tstr_auroc_gap", "AUROC lost by training on synthetic patients", "AUROC", auc, 1),
    _Measure(
        "tstr_average_precision_gap", "Average precision lost by training on synthetic patients", "average precision", average_precision, 1
    ),
    _Measure("tstr_brier_gap", "Brier score gained (worse) by training on synthetic patients", "Brier score", brier, -1),
)
_SLOPE = _Measure("tstr_calibration_slope", "Calibration slope of models trained on synthetic patients", "calibration slope", _slope, 1)

_NAMES = {m.name: m.title for m in (*_GAPS, _SLOPE)} | {
    "augmentation_auroc_gain": "AUROC gained by adding synthetic patients to the real ones",
    "subgroup_auroc_gap": "AUROC surely lost in the worst group by training on synthetic patients",
}


@dataclass(frozen=True)
class Outcome:
    """A yes-or-no outcome made of the target column: `meaning` says what yes is."""

    column: str
    meaning: str
    positive: str | None = None  # the level that is yes, and every other is no
    not_positive: str | None = None  # the level that is no, and every other is yes
    above: float | None = None  # numbers above are yes

    def read(self, part: Part, tables: Tables) -> np.ndarray:
        """1, 0, or NaN where the target is missing; (rows,)."""
        column = tables.columns[tables.names.index(self.column)]
        series = part.frame[self.column]
        if self.above is not None:
            values = numbers(series, column)
            return np.where(np.isnan(values), np.nan, values > self.above)
        text = words(series)
        yes = text == self.positive if self.positive is not None else text != self.not_positive
        return yes.cast(float).fill_null(float("nan")).to_numpy()


def utility(evidence: Evidence, *, seed: int, on_step: Step | None = None, coded: Tables | None = None) -> list[Finding]:
    """All findings of the second question, not judged yet; without a target each says that it was not asked.

    Every model is fitted on as many synthetic as real patients, and tested on holdout and reference together.
    InputError when the target cannot be one, or the real patients have only one class of it.
    """
    if evidence.target is None:
        return [Finding("useful", name, title, None, "Not asked: no target was named.") for name, title in _NAMES.items()]
    coded = coded or tables(evidence, seed=seed)
    step = on_step or (lambda done, total, what, figures: None)
    outcome = binary(evidence.target, coded)
    if coded.names == [evidence.target]:
        why = f"The table has no column but '{evidence.target}' to predict it from."
        return [Finding("useful", name, title, None, why) for name, title in _NAMES.items()]
    data = _Data.of(coded, outcome, seed)
    _check(outcome, data)
    return _findings(coded, outcome, data, seed, step)


def binary(target: str, coded: Tables) -> Outcome:
    """The yes-or-no question asked of a target column.

    A boolean is itself, a column of two values its rarer one. With more levels: any but the most frequent (a diagnosis
    against none); to ask about one level, pass a boolean column of it. Other numbers: above the real median.
    """
    if target not in coded.names:
        raise InputError(f"Target {target!r} is an identifier or free text, which cannot be predicted. Name an outcome column.")
    coding = coded.codings[coded.names.index(target)]
    series = coded.real.frame[target]
    if coding.column.numeric:
        values = coded.real.numbers(coding.column)
        values = values[~np.isnan(values)]
        distinct = np.unique(values)
        if not len(distinct):
            raise InputError(f"Target {target!r} is missing in every real patient. Name another outcome.")
        middle = float(distinct[0]) if len(distinct) <= 2 else float(np.median(values))
        if middle >= distinct[-1] and len(distinct) > 2:
            middle = float(distinct[-2])  # more than half of the patients have the highest value
        return Outcome(
            target, f"{target} above {float(f'{middle:.3g}'):g}" if len(distinct) > 2 else f"{target} = {distinct[-1]:g}", above=middle
        )
    counts = words(series).drop_nulls().value_counts()
    levels = counts.sort(["count", counts.columns[0]], descending=[True, False])[counts.columns[0]].to_list()
    if not levels:
        raise InputError(f"Target {target!r} is missing in every real patient. Name another outcome.")
    if coding.column.kind == "boolean":
        return Outcome(target, target, positive="true")
    if len(levels) <= 2:
        return Outcome(target, f"{target} = {levels[-1]}", positive=levels[-1])
    return Outcome(target, f"{target} other than {levels[0]}", not_positive=levels[0])


@dataclass(frozen=True)
class _Data:
    """Rows with a known outcome of each part, as trees take them, without the target's column."""

    values: dict[str, np.ndarray]
    outcomes: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    levels: np.ndarray

    @staticmethod
    def of(coded: Tables, outcome: Outcome, seed: int) -> _Data:
        most = max(_CELLS // max(len(coded.columns), 1), 500)
        others = [at for at, name in enumerate(coded.names) if name != outcome.column]
        values, outcomes, kept = {}, {}, {}
        for name in ("train", "unseen", "synthetic"):
            part: Part = getattr(coded, name)
            truth = outcome.read(part, coded)
            rows = np.flatnonzero(~np.isnan(truth))
            if name != "unseen" and len(rows) > most:
                rows = np.sort(seeds.generator(seed, "rows to learn from", name).permutation(rows)[:most])
            values[name], outcomes[name], kept[name] = matrix(coded, part, rows)[:, others], truth[rows].astype(int), rows
        return _Data(values, outcomes, kept, level_columns(coded)[others])


def _check(outcome: Outcome, data: _Data) -> None:
    for name, shown in (("train", "training"), ("unseen", "holdout")):
        found = np.unique(data.outcomes[name])
        if len(found) < 2:
            raise InputError(
                f"Target {outcome.column!r} has one class in the {shown} patients, so nothing can be predicted. "
                f"Name an outcome that some have and some have not."
            )


def _findings(coded: Tables, outcome: Outcome, data: _Data, seed: int, step: Step) -> list[Finding]:
    generator = seeds.generator(seed, "utility")
    n = min(len(data.outcomes["train"]), len(data.outcomes["synthetic"]))
    truth, test = data.outcomes["unseen"], data.values["unseen"]
    real, made = (generator.permutation(len(data.outcomes[name]))[:n] for name in ("train", "synthetic"))
    total, done = len(CLASSIFIERS) * (4 + 2 * _REFERENCES), 0
    fitted: dict[str, dict[str, np.ndarray]] = {}
    references: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    floor_values = generator.permuted(data.values["train"][real], axis=0)
    # Two bootstrap samples of the same real patients: as far apart as two training sets of this size are by chance.
    draws = [[generator.integers(len(data.outcomes["train"]), size=n) for _ in range(2)] for _ in range(_REFERENCES)]
    train_values, train_truth = data.values["train"], data.outcomes["train"]
    for model, fit in CLASSIFIERS.items():
        sets = {
            "trtr": (train_values[real], train_truth[real]),
            "tstr": (data.values["synthetic"][made], data.outcomes["synthetic"][made]),
            "floor": (floor_values, train_truth[real]),
        }
        sets["both"] = tuple(np.concatenate([sets["trtr"][k], sets["tstr"][k]]) for k in (0, 1))  # type: ignore[assignment]
        fitted[model] = {}
        for name, (values, outcomes) in sets.items():
            fitted[model][name] = fit(values, outcomes, test, data.levels)
            done += 1
            step(done, total, "useful: models", {})
        references[model] = []
        for pair in draws:
            one, other = (fit(train_values[rows], train_truth[rows], test, data.levels) for rows in pair)
            references[model].append((one, other))
            done += 2
            step(done, total, "useful: models", {})
    patients = Patients(coded.unseen.patients.code[data.rows["unseen"]])
    judge = _Judge(fitted, references, truth, patients, seed)
    detail = {"models": judge.table(), "subgroups": []}
    findings = [judge.gap(measure, outcome, detail if measure.name == "tstr_auroc_gap" else {}) for measure in _GAPS]
    findings += [judge.slope(), judge.augmentation(), _subgroups(coded, data, judge)]
    return findings


@dataclass(frozen=True)
class _Judge:
    """Predictions for the unseen patients by model and training set, and what their differences come to."""

    fitted: Mapping[str, Mapping[str, np.ndarray]]
    references: Mapping[str, list[tuple[np.ndarray, np.ndarray]]]
    truth: np.ndarray
    patients: Patients
    seed: int

    def gap(self, measure: _Measure, outcome: Outcome, detail: Mapping[str, Any]) -> Finding:
        """How much worse than trained on real patients, for the model that loses more."""

        def lost(real: np.ndarray, other: np.ndarray, rows: np.ndarray | slice = slice(None)) -> float:
            return measure.sign * (measure.of(real[rows], self.truth[rows]) - measure.of(other[rows], self.truth[rows]))

        gaps = {model: lost(made["trtr"], made["tstr"]) for model, made in self.fitted.items()}
        worst = max(gaps, key=lambda model: gaps[model])
        made = self.fitted[worst]
        draws = bootstrap(lambda rows: lost(made["trtr"], made["tstr"], rows), self.patients, seeds.generator(self.seed, measure.name))
        reference = np.array([max(lost(*self.references[model][k]) for model in self.references) for k in range(_REFERENCES)])
        values = {name: measure.of(made[name], self.truth) for name in ("trtr", "tstr")}
        return Finding(
            "useful",
            measure.name,
            measure.title,
            gaps[worst],
            f"Predicting {outcome.meaning} in real patients, {measure.label}: {values['trtr']:.3f} when trained on real patients, "
            f"{values['tstr']:.3f} on as many synthetic ones ({worst}).",
            interval=_interval(gaps[worst], draws),
            reference=float(reference.mean()),
            reference_interval=percentiles(reference),
            floor=max(lost(made["trtr"], made["floor"]) for made in self.fitted.values()),
            detail=detail,
        )

    def slope(self) -> Finding:
        slopes = {model: _SLOPE.of(made["tstr"], self.truth) for model, made in self.fitted.items()}
        worst = min(slopes, key=lambda model: slopes[model] - _SLOPE.of(self.fitted[model]["trtr"], self.truth))
        made = self.fitted[worst]
        draws = bootstrap(
            lambda rows: _SLOPE.of(made["tstr"][rows], self.truth[rows]), self.patients, seeds.generator(self.seed, _SLOPE.name)
        )
        reference = np.array([_SLOPE.of(one, self.truth) for one, _ in self.references[worst]] + [_SLOPE.of(made["trtr"], self.truth)])
        return Finding(
            "useful",
            _SLOPE.name,
            _SLOPE.title,
            slopes[worst],
            f"1: the risks are right; below 1 too extreme; 0: they say nothing; below 0: upside down ({worst}; trained on real patients "
            f"{_SLOPE.of(made['trtr'], self.truth):.2f}).",
            interval=_interval(slopes[worst], draws),
            reference=float(reference.mean()),
            reference_interval=percentiles(reference),
            floor=_SLOPE.of(made["floor"], self.truth),
        )

    def augmentation(self) -> Finding:
        def gained(rows: np.ndarray | slice, model: str) -> float:
            made = self.fitted[model]
            return auc(made["both"][rows], self.truth[rows]) - auc(made["trtr"][rows], self.truth[rows])

        best = max(self.fitted, key=lambda model: auc(self.fitted[model]["trtr"], self.truth))
        value = gained(slice(None), best)
        draws = bootstrap(lambda rows: gained(rows, best), self.patients, seeds.generator(self.seed, "augmentation"))
        why = f"AUROC of {best} on real patients when synthetic ones are added to the real training patients, minus without them."
        name = "augmentation_auroc_gain"
        return Finding("useful", name, _NAMES[name], value, why, interval=_interval(value, draws))

    def _on_synthetic(self, model: str, measure: _Measure) -> Callable[[np.ndarray], float]:
        return lambda rows: measure.of(self.fitted[model]["tstr"][rows], self.truth[rows])

    def table(self) -> list[dict[str, Any]]:
        """One row a model and measure, with the interval of what training on synthetic patients gives."""
        rows = []
        for model, made in self.fitted.items():
            for measure in (*_GAPS, _SLOPE):
                generator = seeds.generator(self.seed, "table", model, measure.name)
                tstr = measure.of(made["tstr"], self.truth)
                draws = bootstrap(self._on_synthetic(model, measure), self.patients, generator)
                interval = _interval(tstr, draws)
                found = {name: _round(measure.of(made[name], self.truth)) for name in ("trtr", "tstr", "both", "floor")}
                rows.append(
                    {"model": model, "measure": measure.label, **found, "interval": [_round(end) for end in interval or ()] or None}
                )
        return rows


def _subgroups(coded: Tables, data: _Data, judge: _Judge) -> Finding:
    """The AUROC that boosted trees surely lose in the group that loses most, among groups large enough to show a loss of 0.1."""
    from scipy.stats import norm

    name = "subgroup_auroc_gap"
    group = groups(coded, 2 * _FEWEST)
    truth = judge.truth
    model = list(judge.fitted)[-1]
    made = judge.fitted[model]
    found: list[_Group] = []
    for label, member in zip(group.names, group.members(coded.unseen, data.rows["unseen"]), strict=True):
        if min(truth[member].sum(), (1 - truth[member]).sum()) >= _FEWEST:
            found.append(_Group(label, np.flatnonzero(member)))
    # The worst of many groups is far out by chance alone: what counts is the loss beyond doubt, over all groups together.
    doubt = float(norm.ppf(1 - 0.05 / max(len(found), 1)))
    spread = [doubt * _spread(one.rows, judge, made, seeds.generator(judge.seed, name, one.name)) for one in found]
    kept = [(one, wide) for one, wide in zip(found, spread, strict=True) if wide <= _SEEN]
    if not kept:
        why = f"No group is large enough to show a loss of {_SEEN:g}: it takes about {_FEWEST} cases and {_FEWEST} controls and often more."
        return Finding("useful", name, _NAMES[name], None, why)
    wide_of = np.array([wide for _, wide in kept])

    def gaps(real: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.array([auc(real[one.rows], truth[one.rows]) - auc(other[one.rows], truth[one.rows]) for one, _ in kept])

    def surely(real: np.ndarray, other: np.ndarray) -> float:
        return float(np.maximum(gaps(real, other) - wide_of, 0).max())

    lost = gaps(made["trtr"], made["tstr"])
    worst = int(np.argmax(lost - wide_of))
    value = surely(made["trtr"], made["tstr"])
    reference = np.array([surely(one, other) for one, other in judge.references[model]])
    shown = [
        {"name": kept[at][0].name, **{k: _round(auc(made[k][kept[at][0].rows], truth[kept[at][0].rows])) for k in ("trtr", "tstr")}}
        for at in np.argsort(-lost, kind="stable")[:20]
    ]
    hit = f"'{kept[worst][0].name}' is hit hardest: {lost[worst]:.3f} lost, of which {value:.3f} beyond doubt"
    why = f"Of {len(kept)} groups {hit} ({model})."
    return Finding(
        "useful",
        name,
        _NAMES[name],
        value,
        why,
        interval=(value, value),  # the end of an interval already
        reference=float(reference.mean()),
        reference_interval=percentiles(reference),
        floor=surely(made["trtr"], made["floor"]),
        detail={"subgroups": shown},
    )


@dataclass(frozen=True)
class _Group:
    name: str
    rows: np.ndarray  # among the unseen patients with a known outcome


def _spread(rows: np.ndarray, judge: _Judge, made: Mapping[str, np.ndarray], generator: np.random.Generator) -> float:
    """The standard error of the AUROC lost in these rows, by bootstrap of patients."""
    real, other, truth = made["trtr"][rows], made["tstr"][rows], judge.truth[rows]
    draws = bootstrap(lambda at: auc(real[at], truth[at]) - auc(other[at], truth[at]), Patients(judge.patients.code[rows]), generator, 100)
    return float(np.nanstd(draws))


def _interval(value: float, draws: np.ndarray) -> tuple[float, float] | None:
    draws = draws[~np.isnan(draws)]
    if np.isnan(value) or len(draws) < 20:
        return None
    low, high = percentiles(draws)
    return min(low, value), max(high, value)


def _round(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
