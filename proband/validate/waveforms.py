"""Signals of a cohort, judged: spectrum, amplitude, rhythm, a discriminator and a classifier of records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from proband import seeds
from proband.schema import Schema
from proband.stats import waveforms as stats
from proband.stats.discrimination import auc
from proband.stats.resampling import Patients, bootstrap, percentiles
from proband.validate.findings import Evidence, Finding
from proband.validate.recordings import FEWEST, FEWEST_PATIENTS, Recordings
from proband.validate.trials import FLOORS, REPEATS, Trials
from proband.validate.whose_record import whose_record

#: Random convolutions that a discriminator reads beside the figures, real against real repeated, and records that it, and the classifier,
#: read of a side.
_KERNELS, _REFERENCES, _RECORDS = 60, 3, 2_000

_TREES, _FOLDS = 100, 4

#: Random convolutions that the classifier reads.
_CLASSIFIER_KERNELS = 300

#: Points of a record's course that a discriminator reads.
_POINTS = 24

#: Synthetic records in the report's picture, and samples of each at most. Of real patients it shows means only.
_SHOWN, _SHOWN_SAMPLES = 4, 1_000

Step = Callable[[int, int, str, Mapping[str, float]], None]


def waveforms(evidence: Evidence, *, seed: int, on_step: Step | None = None) -> list[Finding]:
    """Four findings of faithfulness, of two channels or more five, one of use and two of privacy; not judged yet.

    Synthetic records against those of unseen patients, beside real against real of the same number. The floor gives every sample of a
    training record to another record: right values at every time, and nothing that holds a record together.
    """
    step = on_step or (lambda done, total, what, figures: None)
    held = Recordings.of(evidence)
    turns = (
        lambda: _likeness(held, seed),
        lambda: [_detection(held, seed)],
        lambda: [_usefulness(held, evidence.train.schema, evidence.target, seed)],
        lambda: whose_record(held, seed=seed),
    )
    found: list[Finding] = []
    for at, judge in enumerate(turns):
        found += judge()
        step(at + 1, len(turns), "signals", {})
    return found


def _likeness(held: Recordings, seed: int) -> list[Finding]:
    figures = {side: _measured(values) for side, values in held.values.items()}
    generator = seeds.generator(seed, "waveforms")
    loose = _measured(_scattered(held.values["train"], generator))
    real = figures["real"]["amplitude"]
    spread = real.std(axis=0)  # (channels, 4); a figure that hardly moves is the same in all: records standardised one by one
    spread[spread < 1e-3 * np.maximum(1.0, np.abs(real).mean(axis=0))] = np.nan
    n = held.matched

    def compared(one: tuple[str, np.ndarray], other: tuple[str, np.ndarray], of: Mapping[str, np.ndarray] | None = None) -> dict[str, Any]:
        first, second = of or figures[one[0]], figures[other[0]]
        groups = {name: (rows[one[0]][one[1]], rows[other[0]][other[1]]) for name, rows in held.groups.items()}
        told = {
            what: np.stack([_gap(first[what][one[1]][a], second[what][other[1]][b]) for a, b in groups.values()])
            for what in ("spectrum", "autocorrelation", "between")
        }
        ends = (first["amplitude"][one[1]], second["amplitude"][other[1]])
        return told | {"amplitude": _wasserstein(*ends) / spread}

    rows = {side: held.patients[side].draw(n, generator) for side in ("synthetic", "unseen", "train")}
    own = {side: np.unique(held.patients[side].code[rows[side]]) for side in ("synthetic", "unseen")}
    found = [compared(("synthetic", rows["synthetic"]), ("unseen", rows["unseen"]))]
    for _ in range(REPEATS):
        drawn = {side: held.patients[side].rows(generator.choice(own[side], n)) for side in own}
        found.append(compared(("synthetic", drawn["synthetic"]), ("unseen", drawn["unseen"])))
    for _ in range(REPEATS):
        order = generator.permutation(held.patients["real"].count)
        halves = [held.patients["real"].rows(half) for half in (order[:n], order[n : 2 * n])]
        found.append(compared(("real", halves[0]), ("real", halves[1])))
    for _ in range(FLOORS):
        rows["train"] = held.patients["train"].draw(n, generator)
        found.append(compared(("train", rows["train"]), ("unseen", rows["unseen"]), loose))
    trials = {
        what: Trials(
            found[0][what],
            np.array([one[what] for one in found[1 : REPEATS + 1]]),
            np.array([one[what] for one in found[REPEATS + 1 : 2 * REPEATS + 1]]),
            np.array([one[what] for one in found[2 * REPEATS + 1 :]]),
        )
        for what in found[0]
    }
    told = [_spectrum_finding(held, figures, trials["spectrum"])]
    for name, title, what, why, most in (
        ("amplitude_distance", "Distance of how high, how loud and how steep records are", "amplitude",
         "Wasserstein distance over the real standard deviation, mean over mean, deviation, peak to peak and steepest step.", np.inf),
        ("autocorrelation_error", "Error of how a signal goes on", "autocorrelation",
         "Mean difference of the correlation of a record with itself later, over lags up to half of it.", 2.0),
        ("channels_error", "Error of how channels go together", "between",
         "Mean difference of the correlation of two channels of a record.", 2.0),
    ):  # fmt: skip
        if trials[what].value.size:
            of = (lambda one: _mean(one)) if what == "amplitude" else (lambda one: _mean(np.abs(one)))
            told.append(Finding("faithful", name, title, why=why, **trials[what].summary(of, most=most)))
    return told


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


def _measured(values: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "spectrum": stats.spectrum(values),
        "autocorrelation": stats.autocorrelation(values),
        "between": stats.between(values),
        "amplitude": stats.amplitude(values),
    }


def _scattered(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Every sample at its place, of another record each."""
    return generator.permuted(values.reshape(len(values), -1), axis=0).reshape(values.shape)


def _gap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Difference of the means; NaN where a side has too few records."""
    if min(len(first), len(second)) < FEWEST // 2:
        return np.full(first.shape[1:], np.nan)
    return first.mean(axis=0) - second.mean(axis=0)


def _wasserstein(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Between the columns of two tables, read at a hundred quantiles."""
    places = (np.arange(100) + 0.5) / 100
    return np.abs(np.quantile(first, places, axis=0) - np.quantile(second, places, axis=0)).mean(axis=0)


def _spectrum_finding(held: Recordings, figures: Mapping[str, Mapping[str, np.ndarray]], trials: Trials) -> Finding:
    hertz = [(first * _step(held), last * _step(held)) for first, last in stats.bands(held.like.values.shape[2])]
    every = trials.value[0]  # (channels, bands) of all records together
    channel, band = np.unravel_index(int(np.nanargmax(np.abs(every))), every.shape) if np.isfinite(every).any() else (0, 0)
    more = "more" if every[channel, band] > 0 else "less"
    farthest = (
        f"'{held.like.names[channel]}' between {hertz[band][0]:.3g} and {hertz[band][1]:.3g} Hz, {abs(every[channel, band]):.2f} {more} "
        "than in real records"
    )
    shown = [
        {
            "channel": name,
            "hz": [round((low + high) / 2, 4) for low, high in hertz],
            "real": np.round(figures["unseen"]["spectrum"][:, at].mean(axis=0), 3).tolist(),
            "synthetic": np.round(figures["synthetic"]["spectrum"][:, at].mean(axis=0), 3).tolist(),
        }
        for at, name in enumerate(held.like.names)
    ]
    groups = [
        {"name": name, "distance": _mean(np.abs(value)), "reference": _mean(np.abs(trials.reference[:, at]))}
        for at, (name, value) in enumerate(zip(held.groups, trials.value, strict=True))
    ]
    return Finding(
        "faithful",
        "spectrum_distance",
        "Distance of the power spectra",
        why=f"Mean difference of the logarithm of power, over bands, channels and groups of records. Farthest: {farthest}.",
        detail={"spectra": shown, "groups": [one for one in groups if one["distance"] == one["distance"]], "strips": _strips(held)},
        **trials.summary(lambda one: _mean(np.abs(one))),
    )


def _step(held: Recordings) -> float:
    """Hertz from one place of a spectrum to the next."""
    return held.like.rate_hz / held.like.values.shape[2]


def _strips(held: Recordings) -> list[dict[str, Any]]:
    """What the report draws, in physical units: of each common group the mean real record, and a few synthetic ones.

    A real patient's own record is never shown: a mean is of ten patients at least.
    """
    everybody = ["all"] if held.patients["unseen"].count >= FEWEST_PATIENTS else []
    groups = [name for name in held.groups if name != "all"] or everybody
    width = min(held.like.values.shape[2], _SHOWN_SAMPLES)
    shown = []
    for name in groups[:_SHOWN]:
        rows = {side: np.flatnonzero(held.groups[name][side]) for side in ("unseen", "synthetic")}
        scale = held.scale[:, None]
        real = held.values["unseen"][rows["unseen"], :, :width]
        made = held.values["synthetic"][rows["synthetic"][:_SHOWN], :, :width]
        shown.append(
            {
                "name": name,
                "rate_hz": held.like.rate_hz,
                "channels": list(held.like.names),
                "units": list(held.like.units),
                "real": {
                    "middle": np.round(real.mean(axis=0) * scale, 4).tolist(),
                    "spread": np.round(real.std(axis=0) * scale, 4).tolist(),
                },
                "synthetic": [np.round(one * scale, 4).tolist() for one in made],
            }
        )
    return shown


def _detection(held: Recordings, seed: int) -> Finding:
    """`signal_auc`: randomised trees see each record's power, rhythm, amplitude, course and random convolutions of it."""
    n, generator = min(held.matched, _RECORDS), seeds.generator(seed, "signal_auc")

    def drawn(side: str, patients: np.ndarray) -> np.ndarray:
        return _some(held.patients[side].rows(patients), generator)

    def judged(one: tuple[str, np.ndarray], other: tuple[str, np.ndarray], number: int) -> tuple[np.ndarray, np.ndarray, Patients]:
        seen = [_seen(held.values[side][rows]) for side, rows in (one, other)]
        owners = [np.unique(held.patients[side].code[rows], return_inverse=True)[1] for side, rows in (one, other)]
        labels = np.repeat([1, 0], [len(part) for part in seen])
        patients = Patients(np.concatenate([owners[0], owners[1] + owners[0].max() + 1]))
        return _cross_fitted(np.concatenate(seen), labels, patients.code, number), labels, patients

    sides = [(side, drawn(side, generator.permutation(held.patients[side].count)[:n])) for side in ("synthetic", "unseen")]
    scores, labels, patients = judged(sides[0], sides[1], seeds.integer(seed, "signal_auc", "judge"))
    value = auc(scores, labels)
    low, high = percentiles(bootstrap(lambda rows: auc(scores[rows], labels[rows]), patients, seeds.generator(seed, "signal_auc", "draws")))
    reference = []
    for repeat in range(_REFERENCES):
        order = seeds.generator(seed, "signal_auc", repeat).permutation(held.patients["real"].count)
        halves = [("real", drawn("real", half)) for half in (order[:n], order[n : 2 * n])]
        other, truth, _ = judged(halves[0], halves[1], seeds.integer(seed, "signal_auc", repeat))
        reference.append(auc(other, truth))
    return Finding(
        "faithful",
        "signal_auc",
        "Success of a discriminator on the signals",
        value,
        f"Of a synthetic and a real record, randomised trees find the synthetic one in {value:.0%} of pairs (50 %: a guess).",
        interval=(min(low, value), max(high, value)),
        reference=float(np.mean(reference)),
        reference_interval=percentiles(np.array(reference)),
    )


def _some(rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """All of these rows, or 2,000 at random: a patient may have thousands of records."""
    return rows if len(rows) <= _RECORDS else generator.permutation(rows)[:_RECORDS]


def _cross_fitted(values: np.ndarray, labels: np.ndarray, patients: np.ndarray, seed: int) -> np.ndarray:
    """(records,) how synthetic each looks to trees that never saw its patient. Of so many columns boosted trees take ten times as long."""
    from sklearn.ensemble import ExtraTreesClassifier

    fold = np.random.default_rng(seed).permutation(int(patients.max()) + 1)[patients] % _FOLDS
    scores = np.full(len(labels), 0.5)
    for k in range(_FOLDS):
        if len(np.unique(labels[fold != k])) == 2 and (fold == k).any():
            trees = ExtraTreesClassifier(_TREES, random_state=seed % 2**31, n_jobs=1).fit(values[fold != k], labels[fold != k])
            scores[fold == k] = trees.predict_proba(values[fold == k])[:, 1]
    return scores


def _seen(values: np.ndarray) -> np.ndarray:
    parts = [stats.spectrum(values), stats.autocorrelation(values), stats.amplitude(values), stats.course(values, _POINTS)]
    return np.hstack([*(part.reshape(len(values), -1) for part in parts), stats.between(values), stats.kernels(values, _KERNELS)])


# --- useful ---------------------------------------------------------------------------------------------------------------------


def _usefulness(held: Recordings, schema: Schema, target: str | None, seed: int) -> Finding:
    """`tstr_signals_gap`: a ridge classifier on random convolutions learns from synthetic records, and is asked about real ones."""
    name, title = "tstr_signals_gap", "Accuracy lost by training a classifier of signals on synthetic patients"
    if target is None:
        return Finding("useful", name, title, None, "Not asked: no target was named.")
    truth = {side: classes_of(held.frames[side], schema, target, held.frames["real"]) for side in ("train", "unseen", "synthetic")}
    rows = {side: np.flatnonzero(one >= 0) for side, one in truth.items()}
    if few := [side for side, one in rows.items() if len(one) < FEWEST]:
        why = f"Of the {' and the '.join(few)} records fewer than {FEWEST} have a '{target}': too few to learn from, or to ask about."
        return Finding("useful", name, title, None, why)
    generator = seeds.generator(seed, name)
    rows = {side: _some(one, generator) for side, one in rows.items()}
    truth = {side: truth[side][one] for side, one in rows.items()}
    seen = {side: stats.kernels(held.values[side][one], _CLASSIFIER_KERNELS) for side, one in rows.items()}
    size = len(rows["train"])
    n = min(size, len(rows["synthetic"]))

    def right(side: str, chosen: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """(unseen records,) 1 where a classifier that learned from these records is right."""
        learned = truth[side][chosen] if labels is None else labels
        return (_classified(seen[side][chosen], learned, seen["unseen"]) == truth["unseen"]).astype(float)

    own = generator.permutation(size)[:n]
    real, made = right("train", own), right("synthetic", generator.permutation(len(rows["synthetic"]))[:n])
    floor = right("train", own, generator.permutation(truth["train"][own]))
    reference = [
        float(np.mean(right("train", generator.choice(size, n)) - right("train", generator.choice(size, n)))) for _ in range(_REFERENCES)
    ]
    patients = Patients(held.patients["unseen"].code[rows["unseen"]])
    value = float(np.mean(real - made))
    low, high = percentiles(bootstrap(lambda at: float(np.mean(real[at] - made[at])), patients, generator))
    return Finding(
        "useful",
        name,
        title,
        value,
        f"Told from the signals alone, '{target}' of real patients is right in {real.mean():.1%} when learned from real records, in "
        f"{made.mean():.1%} from as many synthetic ones.",
        interval=(min(low, value), max(high, value)),
        reference=float(np.mean(np.abs(reference))),
        reference_interval=percentiles(np.abs(reference)),
        floor=float(np.mean(real - floor)),
    )


def classes_of(frame: pl.DataFrame, schema: Schema, target: str, real: pl.DataFrame) -> np.ndarray:
    """(records,) the class of each, -1 where it is missing: a level, or whether a number is above the real median."""
    if schema.table[target].numeric:
        middle = real[target].to_physical().cast(pl.Float64).median()
        return (frame[target].to_physical().cast(pl.Float64) > middle).cast(pl.Int64).fill_null(-1).to_numpy()
    levels = real[target].cast(pl.String).drop_nulls().unique().sort().to_list()
    places = {level: at for at, level in enumerate(levels)}
    return frame[target].cast(pl.String).replace_strict(places, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()


def _classified(values: np.ndarray, classes: np.ndarray, test: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import RidgeClassifierCV
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if len(np.unique(classes)) < 2:
        return np.full(len(test), classes[0] if len(classes) else -1)
    centre, spread = values.mean(axis=0), values.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    with threadpool_limits(1):  # see stats.discrimination
        model = RidgeClassifierCV(alphas=np.logspace(-1, 4, 8)).fit((values - centre) / spread, classes)
        return model.predict((test - centre) / spread)
