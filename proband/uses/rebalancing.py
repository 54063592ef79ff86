"""Does rebalancing help? Models that learned from more rare cases, judged on real held-out patients beside doing nothing.

Oversampling is known to leave the ranking as it was and to ruin the risks (van den Goorbergh et al., JAMIA 2022), so every
rebalanced model stands here also recalibrated, and beside the plain model with its threshold moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from proband import seeds
from proband.cohort import Cohort
from proband.errors import InputError, Unavailable
from proband.schema.rules import columns
from proband.stats.classifiers import CLASSIFIERS
from proband.stats.prediction import (
    calibration_intercept,
    calibration_line,
    calibration_slope,
    log_odds,
    prior_shift,
    rankings,
    risks,
    youden_threshold,
)
from proband.stats.resampling import Patients, percentiles
from proband.synthesizer import OnStep, Synthesizer, find
from proband.uses.augmentation import rows_needed
from proband.uses.features import Features, folds, met, owners
from proband.validate.coded import numbers, words
from proband.validate.words import number

#: What is measured of every model on the held-out patients, in the order of the table.
FIGURES = (
    "AUROC", "average precision", "Brier score", "calibration slope", "calibration intercept", "sensitivity", "specificity",
    "worst group's AUROC", "worst group's risk gap",
)  # fmt: skip
NOTHING = "nothing"
_FOLDS = 3  # parts of the training patients: two or three numbers are learned from them, and every fold fits a synthesizer anew
_FEWEST = 20  # cases below which nothing can be told
_FEWEST_OF_GROUP = 10  # cases, and as many others, that make a group among the held-out patients
_REPEATS = 200


@dataclass(frozen=True)
class Rebalancing:
    """What came out. `frame` has one row a model, method and figure: value and gain over doing nothing, each with its 95 % interval.

    `notes` says how it was measured: target, where, prevalence, patients, cases, groups, synthesizer, seed.
    """

    frame: pl.DataFrame
    notes: Mapping[str, Any]

    def table(self) -> str:
        """One Markdown table: a row a model and method, a column a figure, each with its interval."""
        return as_table(self.frame, ["model", "method"])

    def picture(self) -> str:
        """One SVG, to stand alone: a panel a figure, a line a method, a dot and an interval a model."""
        from proband.uses.panels import panels  # matplotlib takes a second to load

        return panels(self.frame, f"Predicting {self.notes['target']} in {self.notes['held-out patients']:,} held-out patients")


def evaluate_augmentation(
    train: Cohort,
    holdout: Cohort,
    *,
    target: str,
    where: str | None = None,
    prevalence: float = 0.5,
    synthesizer: str | Callable[[], Synthesizer] = "forest",
    subgroups: Sequence[str] = (),
    seed: int = 0,
    on_step: OnStep | None = None,
) -> Rebalancing:
    """Compare doing nothing, moving the threshold, class weights, SMOTENC and synthetic patients, on real held-out patients.

    target       what is predicted (SQL condition), such as "died = 1"; rows where it is unknown are left out
    where        what is made more of; the target unless told
    prevalence   the share of the training rows that satisfies `where` after rebalancing, in all three ways
    synthesizer  a name that `proband.find` knows, or what makes an unfitted one; fitted on `train`, and anew for each of three folds
    subgroups    columns by whose levels (numbers: thirds of the training patients) the worst group is sought

    A logistic regression and boosted trees learn from every column but those that `target` reads or a rule ties to them. Plain and
    rebalanced models call a case at a risk of one half; "threshold shift" and every recalibrated model at the threshold with the
    largest sensitivity + specificity on folds of the training patients. Recalibrated: by the prior shift of the odds (only when
    `where` is the target), and by a logistic line learned on the folds. The worst group's risk gap is the largest
    |mean risk - share of cases|. Intervals: 200 bootstrap samples of patients.

    InputError when a part has too few cases or the two share a patient; Unavailable without imbalanced-learn.
    """
    _smotes()
    group_of = target if where is None else where
    _check(train, holdout, target, group_of)
    made = find(synthesizer) if isinstance(synthesizer, str) else synthesizer
    features = Features(train, target=columns(target, train.schema.table))
    known, held = ~np.isnan(met(target, train)), ~np.isnan(met(target, holdout))
    learn, judge = _kept(train, known), _kept(holdout, held)
    truth = met(target, judge)
    task = _Task(features, target, group_of, prevalence, made, f"synthetic ({made.name})" if hasattr(made, "name") else "synthetic")
    step = on_step or (lambda done, total, what, figures: None)

    fold = folds(owners(learn), _FOLDS, seeds.generator(seed, "rebalancing", "folds"))
    outcome, values = met(target, learn), features(learn.frame)
    # Every arm's predictions: of training rows by models that saw neither their patients nor anything made from them, and of the holdout.
    across: dict[tuple[str, str], np.ndarray] = {}
    final: dict[tuple[str, str], np.ndarray] = {}
    learned: dict[str, float] = {}
    for k in range(_FOLDS + 1):
        fit, test = (fold != k, values[fold == k]) if k < _FOLDS else (np.ones(len(fold), bool), features(judge.frame))
        arms = task.arms(_kept(learn, fit), seed=seeds.integer(seed, "rebalancing", k))
        for arm, rows in arms.items():
            for model, classifier in CLASSIFIERS.items():
                told = classifier(rows.values, rows.outcomes, test, features.levels, rows.weights)
                if k < _FOLDS:
                    across.setdefault((model, arm), np.empty(len(fold)))[fold == k] = told
                else:
                    final[model, arm], learned[arm] = told, float(np.average(rows.outcomes, weights=rows.weights))
        step(k + 1, _FOLDS + 1, "rebalancing: models", {})

    ordered = [(model, arm) for model in CLASSIFIERS for arm in learned]
    methods = [one for key in ordered for one in _methods(*key, across[key], final[key], outcome, learned, where in (None, target))]
    groups = _groups(subgroups, learn, judge, truth)
    frame = _judged(methods, truth, list(groups.values()), owners(judge), seed)
    notes = {
        "target": target, "where": group_of, "prevalence": prevalence, "synthesizer": task.name, "seed": seed,
        "training patients": len(learn), "cases": int(outcome.sum()), "held-out patients": len(judge), "held-out cases": int(truth.sum()),
        "groups": list(groups),
    }  # fmt: skip
    return Rebalancing(frame, notes)


class _Rows(NamedTuple):
    """What a model learns from."""

    values: np.ndarray
    outcomes: np.ndarray
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class _Task:
    features: Features
    target: str
    where: str
    prevalence: float
    made: Callable[[], Synthesizer]
    name: str

    def arms(self, part: Cohort, *, seed: int) -> dict[str, _Rows]:
        """The training sets of one part: as it is, weighted, with SMOTENC's rows, with synthetic patients."""
        values, outcomes = self.features(part.frame), met(self.target, part)
        group = np.nan_to_num(met(self.where, part))
        n = rows_needed(group, self.prevalence, self.where)
        few = group.sum()
        weights = np.where(group > 0, self.prevalence / (1 - self.prevalence) * (len(group) - few) / few, 1.0)
        synthetic = self.made().fit(part, seed=seed).sample(n, seed=seed, where=self.where)
        told = met(self.target, synthetic)
        fine = ~np.isnan(told)
        more = _Rows(self.features(synthetic.frame)[fine], told[fine])
        oversampled = smotenc(values, outcomes, group, self.features.levels, n, seed=seed)
        plain = _Rows(values, outcomes)
        return {
            NOTHING: plain,
            "class weights": _Rows(values, outcomes, weights),
            "SMOTENC": _Rows(*(np.concatenate(pair) for pair in zip(plain[:2], oversampled, strict=True))),
            self.name: _Rows(*(np.concatenate(pair) for pair in zip(plain[:2], more[:2], strict=True))),
        }


class _Method(NamedTuple):
    model: str
    name: str
    risks: np.ndarray  # (held-out rows,)
    threshold: float


def _methods(
    model: str, arm: str, across: np.ndarray, final: np.ndarray, outcome: np.ndarray, learned: Mapping[str, float], shifts: bool
) -> list[_Method]:
    """One arm as it is, with its threshold moved, and recalibrated."""
    found = [_Method(model, arm, final, 0.5)]
    if arm == NOTHING:
        found.append(_Method(model, "threshold shift", final, youden_threshold(across, outcome)))
    elif shifts:
        moved, folded = (prior_shift(risk, learned[arm], float(outcome.mean())) for risk in (final, across))
        found.append(_Method(model, f"{arm}, prior shift", moved, youden_threshold(folded, outcome)))
    intercept, slope = calibration_line(across, outcome)
    if not np.isnan(slope):
        moved, folded = (risks(intercept + slope * log_odds(risk)) for risk in (final, across))
        found.append(_Method(model, f"{arm}, recalibrated", moved, youden_threshold(folded, outcome)))
    return found


def as_table(frame: pl.DataFrame, by: Sequence[str]) -> str:
    """Markdown: a row for each combination of the columns `by`, a cell a figure."""
    lines = [f"| {' | '.join([*by, *FIGURES])} |", "|---" * (len(by) + len(FIGURES)) + "|"]
    for names, rows in frame.group_by(by, maintain_order=True):
        cells = [
            "–" if value is None else number(value) + (f" ({number(low)} to {number(high)})" if low is not None else "")
            for value, low, high in rows.select("value", "low", "high").iter_rows()
        ]
        lines.append(f"| {' | '.join([*map(str, names), *cells])} |")
    return "\n".join(lines)


def _judged(methods: list[_Method], truth: np.ndarray, groups: list[np.ndarray], patients: Patients, seed: int) -> pl.DataFrame:
    generator = seeds.generator(seed, "rebalancing", "bootstrap")
    drawn = np.array([np.bincount(patients.redraw(generator), minlength=len(truth)) for _ in range(_REPEATS)])
    found = np.array([_figures(m, truth, groups, np.vstack([np.ones(len(truth), int), drawn])) for m in methods])
    rows = []
    for at, method in enumerate(methods):
        plain = next(k for k, other in enumerate(methods) if (other.model, other.name) == (method.model, NOTHING))
        for f, figure in enumerate(FIGURES):
            value, gain = found[at, f], found[at, f] - found[plain, f]
            rows.append((method.model, method.name, figure, *_estimate(value[0], value[1:]), *_estimate(gain[0], gain[1:])))
    names = ["model", "method", "figure", "value", "low", "high", "gain", "gain_low", "gain_high"]
    return pl.DataFrame(rows, schema={n: pl.String if at < 3 else pl.Float64 for at, n in enumerate(names)}, orient="row")


def _figures(method: _Method, truth: np.ndarray, groups: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """FIGURES of every sample; (figures, samples), NaN where undefined. weights: (samples, rows), how often each row was drawn."""
    told, called = method.risks, method.threshold <= method.risks
    size, cases = weights.sum(axis=1), weights @ truth
    auroc, precision = rankings(told, truth, weights)
    lines = [(calibration_slope(told[one], truth[one]), calibration_intercept(told[one], truth[one])) for one in _drawn(weights)]
    aurocs, gaps = [np.full(len(weights), np.nan)], [np.full(len(weights), np.nan)]
    with np.errstate(invalid="ignore"):
        for group in groups:
            inside = weights[:, group]
            aurocs.append(rankings(told[group], truth[group], inside)[0])
            gaps.append(np.abs(inside @ (told - truth)[group]) / inside.sum(axis=1))
        return np.array(
            [
                auroc,
                precision,
                weights @ (told - truth) ** 2 / size,
                *np.array(lines).T,
                weights @ (truth * called) / cases,
                weights @ ((1 - truth) * ~called) / (size - cases),
                np.fmin.reduce(aurocs),
                np.fmax.reduce(gaps),
            ]
        )


def _drawn(weights: np.ndarray) -> list[np.ndarray]:
    """The rows of every sample, each as often as it was drawn."""
    return [np.repeat(np.arange(weights.shape[1]), one) for one in weights]


def _estimate(value: float, draws: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """The value and its interval; None for what is undefined."""
    draws = draws[~np.isnan(draws)]
    if np.isnan(value):
        return None, None, None
    return float(value), *(percentiles(draws) if len(draws) >= _REPEATS / 2 else (None, None))


def _groups(names: Sequence[str], train: Cohort, holdout: Cohort, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Name to members among the held-out rows, for groups with enough cases and others."""
    found: dict[str, np.ndarray] = {}
    for name in names:
        column = train.schema.table[name]
        if column.numeric:
            low, high = np.nanquantile(numbers(train.frame[name], column), [1 / 3, 2 / 3])
            values = numbers(holdout.frame[name], column)
            ends = f"{name} up to {number(low)}", f"{name} above {number(low)} to {number(high)}", f"{name} above {number(high)}"
            found |= dict(zip(ends, (values <= low, (values > low) & (values <= high), values > high), strict=True))
        else:
            text = words(holdout.frame[name])
            found |= {f"{name} = {level}": (text == level).fill_null(False).to_numpy() for level in text.drop_nulls().unique().sort()}
    return {name: members for name, members in found.items() if min(truth[members].sum(), (1 - truth[members]).sum()) >= _FEWEST_OF_GROUP}


def _check(train: Cohort, holdout: Cohort, target: str, where: str) -> None:
    if train.schema != holdout.schema:
        raise InputError("Training and held-out patients have different schemas. Read both with one schema.")
    for name, part in (("training", train), ("held-out", holdout)):
        part.one_table("evaluate_augmentation")
        if part.mark is not None:
            raise InputError(f"The {name} patients carry the mark of synthetic ones. Only real patients can judge: give those.")
        for condition in {target, where}:
            found = met(condition, part)
            cases, others = int(np.nansum(found)), int((found == 0).sum())
            if min(cases, others) < _FEWEST:
                raise InputError(
                    f"{condition!r} holds for {cases} of the {name} patients and not for {others}; it takes {_FEWEST} of each "
                    f"to tell anything. Widen the condition, or bring more patients."
                )
    key = train.schema.table.key
    if key is not None and train.patients.is_in(holdout.patients.implode()).any():
        raise InputError(f"Training and held-out patients overlap (column {key!r}). Split by patient, with: proband split")


def _kept(cohort: Cohort, rows: np.ndarray) -> Cohort:
    return replace(cohort, frame=cohort.frame.filter(pl.Series(rows)))


def smotenc(
    values: np.ndarray, outcomes: np.ndarray, group: np.ndarray, levels: np.ndarray, n: int, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(values, outcomes) of `n` rows between neighbours of the group, by imbalanced-learn's SMOTENC (Chawla et al., JAIR 2002).

    It knows no missing values: a flag stands beside each number that has some, the median in its place, and the flag takes it out again.
    Numbers are standardised, or the one with the widest range would choose the neighbours.
    """
    classes = _smotes()
    told = np.flatnonzero(~levels)
    empty = np.isnan(values)
    flagged = told[empty[:, told].any(axis=0)]
    middle = np.array([np.nanmedian(values[:, c]) if not empty[:, c].all() else 0.0 for c in told])
    filled = np.where(empty[:, told], middle, values[:, told])
    centre, spread = filled.mean(axis=0), np.maximum(filled.std(axis=0), 1e-12)
    coded = np.where(empty[:, levels], -1.0, values[:, levels])
    table = np.column_stack([(filled - centre) / spread, coded, empty[:, flagged], outcomes])
    discrete = list(range(len(told), table.shape[1]))
    few = int(group.sum())
    given: dict[str, Any] = {"sampling_strategy": {1: few + n}, "random_state": seed % 2**31, "k_neighbors": min(5, few - 1)}
    sampler = classes["SMOTENC"](categorical_features=discrete, **given) if len(told) else classes["SMOTEN"](**given)
    made = sampler.fit_resample(table, group.astype(int))[0][len(table) :]
    found = np.empty((n, values.shape[1]))
    found[:, told] = made[:, : len(told)] * spread + centre
    found[:, levels] = np.where((codes := made[:, len(told) : len(told) + levels.sum()]) < 0, np.nan, codes)
    flags = made[:, len(told) + levels.sum() : -1] > 0
    found[:, flagged] = np.where(flags, np.nan, found[:, flagged])
    return found, made[:, -1]


def _smotes() -> dict[str, Any]:
    try:
        from imblearn.over_sampling import SMOTEN, SMOTENC
    except ImportError as error:
        raise Unavailable("SMOTENC, which this compares with, is not installed. Install it with: pip install 'proband[augment]'") from error
    return {"SMOTENC": SMOTENC, "SMOTEN": SMOTEN}
