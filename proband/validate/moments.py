"""A moment of a patient's history beside what was known before it: can trees tell it from a real one, and foretell its values?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from proband import seeds
from proband.stats.discrimination import auc, discriminate
from proband.stats.resampling import Patients, bootstrap, percentiles
from proband.stats.sequences import Events, joined, moments, taken, thinned
from proband.stats.trees import boosted
from proband.validate.findings import Evidence, Finding
from proband.validate.histories import events, history_table, history_variables
from proband.validate.sequences import MOST_HELD

#: Moments of a patient that a discriminator reads, real against real repeated, and rows that a forecast learns from and is tested on.
_EACH, _REFERENCES, _ROWS = 4, 2, 3_000

#: Ends of a variable's steps beyond which they are drawn in.
_SLIPS = (0.005, 0.995)

#: Patients with an event that either side needs.
_FEWEST_PATIENTS = 10

#: Variables that are foretold: those with most successive values, if they have as many as this.
_FORETOLD, _FEWEST = 8, 200


class _Moments(NamedTuple):
    patient: np.ndarray  # (moments,)
    context: np.ndarray  # (moments, 2) time, and time since the patient's moment before
    now: np.ndarray  # (moments, variables)
    before: np.ndarray  # (moments, variables)

    @staticmethod
    def of(found: Events) -> _Moments:
        patient, now, before = moments(found)
        time = np.zeros(len(patient))
        time[found.moment] = found.time
        gap = np.append(np.nan, np.diff(time))[: len(time)]
        gap[np.append(True, np.diff(patient) != 0)[: len(time)]] = np.nan
        return _Moments(patient, np.column_stack([time, gap]), now, before)

    def rows(self, chosen: np.ndarray) -> np.ndarray:
        return np.hstack([self.context[chosen], self.before[chosen], self.now[chosen]])

    def some(self, generator: np.random.Generator) -> np.ndarray:
        """At most a few moments of every patient, at random."""
        order = np.lexsort((generator.random(len(self.patient)), self.patient))
        place = np.arange(len(order)) - np.searchsorted(self.patient[order], self.patient[order])
        return np.sort(order[place < _EACH])


def moment_detection(evidence: Evidence, *, seed: int, table: str | None = None) -> Finding:
    """`moment_auc`: boosted trees see the time, the gap, the values of a moment and those known before, and say whether it is real.

    What a row of figures a patient cannot show: a value that does not follow from the one before. Synthetic against unseen patients;
    the reference is real against real at the same number of patients.
    """
    made, unseen, train = _parts(evidence, table)
    n = min(made.patients, unseen.patients, (unseen.patients + train.patients) // 2)
    draw = seeds.generator(seed, "moments")
    sides = [taken(one, draw.permutation(one.patients)[:n]) for one in (made, unseen)]
    title = "Success of a discriminator on single moments with their past"
    if any(len(np.unique(one.patient)) < _FEWEST_PATIENTS for one in (*sides, train)):
        return Finding("faithful", "moment_auc", title, None, f"Fewer than {_FEWEST_PATIENTS} patients of a side have any event.")
    scores, labels, patients = _judged(sides[0], sides[1], draw, seed)
    value = auc(scores, labels)
    spread = bootstrap(lambda rows: auc(scores[rows], labels[rows]), Patients(patients), seeds.generator(seed, "moments", "doubt"))
    everyone, reference = joined(train, unseen), []
    for _ in range(_REFERENCES):
        order = draw.permutation(everyone.patients)
        told, truth, _ = _judged(taken(everyone, order[:n]), taken(everyone, order[n : 2 * n]), draw, seed)
        reference.append(auc(told, truth))
    low, high = percentiles(spread)
    return Finding(
        "faithful",
        "moment_auc",
        title,
        value,
        f"Of a synthetic and a real moment, trees that see what was known before find the synthetic one in {value:.0%} of pairs.",
        interval=(min(low, value), max(high, value)),
        reference=float(np.mean(reference)),
    )


def _parts(evidence: Evidence, table: str | None) -> tuple[Events, Events, Events]:
    name = history_table(evidence.train.schema, table).name
    made, holdout, reference, train = (
        thinned(events(one, name), MOST_HELD) for one in (evidence.synthetic, evidence.holdout, evidence.reference, evidence.train)
    )
    return made, joined(holdout, reference), train


def _judged(made: Events, real: Events, draw: np.random.Generator, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sides = [_Moments.of(one) for one in (made, real)]
    chosen = [one.some(draw) for one in sides]
    values = np.concatenate([one.rows(rows) for one, rows in zip(sides, chosen, strict=True)])
    labels = np.repeat([1, 0], [len(rows) for rows in chosen])
    patients = np.concatenate([sides[0].patient[chosen[0]], sides[1].patient[chosen[1]] + made.patients])
    patients = np.unique(patients, return_inverse=True)[1]
    return discriminate(values, labels, patients, seed=seeds.integer(seed, "moments")).scores, labels, patients


def next_values(evidence: Evidence, *, seed: int, table: str | None = None) -> Finding:
    """`next_value_gap`: how much worse trees foretell a patient's next value when they learned from synthetic patients.

    Root mean square error on unseen patients over the values' standard deviation, mean over variables: trained on synthetic patients
    (TSTR) minus trained on as many real ones (TRTR). The reference is what a second real training set of that size gives, the floor
    what repeating the last value gives. Of each variable's steps the 0.5 % at either end are drawn in: slips of the pen.
    """
    title = "Next values foretold worse by training on synthetic patients"
    made, unseen, train = _parts(evidence, table)
    variables = history_variables(history_table(evidence.train.schema, table))
    test = _Moments.of(unseen)
    follows = (np.isfinite(test.now) & np.isfinite(test.before)).sum(axis=0)
    follows[[not column.numeric for column in variables]] = 0
    foretold = [at for at in np.argsort(-follows, kind="stable")[:_FORETOLD] if follows[at] >= _FEWEST]
    if not foretold:
        return Finding("useful", "next_value_gap", title, None, f"No variable has {_FEWEST} values that follow another.")
    draw = seeds.generator(seed, "next values")
    n, order = min(made.patients, train.patients // 2), draw.permutation(train.patients)
    learned = [
        _Moments.of(one)
        for one in (taken(made, draw.permutation(made.patients)[:n]), taken(train, order[:n]), taken(train, order[n : 2 * n]))
    ]
    errors = np.zeros((len(foretold), 4, unseen.patients))  # last value, synthetic, real, other real: squares summed by patient
    counts = np.zeros((len(foretold), unseen.patients))
    for place, at in enumerate(foretold):
        rows = _following(test, at, draw)
        truth, values, spread = test.now[rows, at] - test.before[rows, at], _known(test, rows), max(test.now[rows, at].std(), 1e-12)
        truth = np.clip(truth, *np.quantile(truth, _SLIPS))
        guesses = [np.zeros(len(rows))]
        for one in learned:
            own = _following(one, at, draw)
            if len(own) < 20:  # nothing to learn from: the last value is all there is
                guesses.append(np.zeros(len(rows)))
                continue
            step = one.now[own, at] - one.before[own, at]
            step = np.clip(step, *np.quantile(step, _SLIPS))
            guesses.append(boosted(_known(one, own), step, kind="regression", seed=seed, trees=60)(values))
        counts[place] = np.bincount(test.patient[rows], minlength=unseen.patients)
        for kind, guess in enumerate(guesses):
            errors[place, kind] = np.bincount(test.patient[rows], ((truth - guess) / spread) ** 2, minlength=unseen.patients)

    def gaps(weights: np.ndarray) -> np.ndarray:
        """(4,) root mean square errors, mean over variables."""
        return np.asarray(np.sqrt(errors @ weights / np.maximum(counts @ weights, 1)[:, None]).mean(axis=0))

    whole = gaps(np.ones(unseen.patients))
    again = seeds.generator(seed, "next values", "doubt")
    spread = np.array([gaps(again.multinomial(unseen.patients, np.full(unseen.patients, 1 / unseen.patients))) for _ in range(200)])
    each = np.sqrt(errors.sum(axis=2) / np.maximum(counts.sum(axis=1), 1)[:, None]).tolist()
    shown = [
        {"name": variables[at].name, "last_value": round(row[0], 4), "synthetic": round(row[1], 4), "real": round(row[2], 4)}
        for at, row in zip(foretold, each, strict=True)
    ]
    low, high = percentiles(spread[:, 1] - spread[:, 2])
    return Finding(
        "useful",
        "next_value_gap",
        title,
        float(whole[1] - whole[2]),
        f"Error in standard deviations, {len(foretold)} variables: {whole[1]:.3f} learned from synthetic patients, "
        f"{whole[2]:.3f} from as many real ones, {whole[0]:.3f} by repeating the last value.",
        interval=(min(low, float(whole[1] - whole[2])), max(high, float(whole[1] - whole[2]))),
        reference=float(whole[3] - whole[2]),
        floor=float(whole[0] - whole[2]),
        detail={"forecasts": shown, "tstr": round(float(whole[1]), 4), "trtr": round(float(whole[2]), 4)},
    )


def _following(of: _Moments, at: int, draw: np.random.Generator) -> np.ndarray:
    rows = np.flatnonzero(np.isfinite(of.now[:, at]) & np.isfinite(of.before[:, at]))
    return np.sort(draw.permutation(rows)[:_ROWS])


def _known(of: _Moments, rows: np.ndarray) -> np.ndarray:
    return np.hstack([of.context[rows], of.before[rows]])
