"""The discriminator's turn: can boosted trees tell synthetic patients from real ones they have not seen, and by which columns?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from proband import seeds
from proband.schema import Schema
from proband.stats.discrimination import Discrimination, auc, discriminate, roc
from proband.stats.resampling import Patients, bootstrap, percentiles
from proband.validate.clues import clues
from proband.validate.coded import Part, Tables, matrix
from proband.validate.findings import Finding

#: Trees of a discriminator, and parts of the patients, each judged by trees that learned from the others.
_TREES, _FOLDS = 100, 5

#: Table cells (rows of one side x columns) that one judge reads: 10,000 patients of 50 columns. More sharpen the judge little.
_CELLS = 500_000

#: Real against real, repeated. It is known to be near a half, and every repeat costs as much as the finding itself.
_REFERENCES = 4

Step = Callable[[int, int, str, Mapping[str, float]], None]


def detection(coded: Tables, schema: Schema, *, seed: int, on_step: Step) -> list[Finding]:
    """`detection_auc` on the values as they are, with what gives them away; `detection_auc_binned` on about 20 codes a column."""
    width = max(len(coded.columns), 1)
    n = min(coded.matched, max(_CELLS // width, 500))
    generator = seeds.generator(seed, "detection")
    made, real = coded.synthetic.patients.draw(n, generator), coded.unseen.patients.draw(n, generator)
    told, alone = clues(coded, schema, made, real, seed=seed)
    ranked = sorted(zip(coded.names, alone, strict=True), key=lambda pair: -pair[1])
    more = {"clues": told, "alone": [{"name": name, "auc": _round(value)} for name, value in ranked]}
    found: list[Finding] = []
    total = 2 * (2 + _REFERENCES)
    for name, title, read in (
        ("detection_auc", "Success of a discriminator on the values as they are", matrix),
        ("detection_auc_binned", "Success of a discriminator on values in 20 bins", _binned),
    ):
        done = len(found) * (2 + _REFERENCES)
        judged, labels, patients = _judge(coded, (coded.synthetic, made), (coded.unseen, real), read, seed=seed, importance=True)
        value = auc(judged.scores, labels)
        draws = bootstrap(_success(judged.scores, labels), patients, seeds.generator(seed, name))
        on_step(done + 1, total, "faithful: discriminator", {"auc": value})
        reference = []
        for repeat in range(_REFERENCES):
            order = seeds.generator(seed, name, repeat).permutation(coded.real.patients.count)
            one, other = ((coded.real, coded.real.patients.rows(half)) for half in (order[:n], order[n : 2 * n]))
            scores, truth, _ = _judge(coded, one, other, read, seed=seeds.integer(seed, name, repeat))
            reference.append(auc(scores.scores, truth))
            on_step(done + 2 + repeat, total, "faithful: discriminator", {"auc": reference[-1]})
        rows = coded.train.patients.draw(n, seeds.generator(seed, name, "floor"))
        scores, truth, _ = _judge(coded, (coded.train, rows), (coded.unseen, real), read, seed=seed, shuffle=True)
        on_step(done + 2 + _REFERENCES, total, "faithful: discriminator", {})
        importance = judged.importance if judged.importance is not None else np.zeros(width)
        order = np.argsort(-importance, kind="stable")[:10]
        fpr, tpr = roc(judged.scores, labels)
        low, high = percentiles(draws)
        names = ", ".join(f"'{coded.names[c]}'" for c in order[:3] if importance[c] > 0.005)
        found.append(
            Finding(
                "faithful",
                name,
                title,
                value,
                f"Of a synthetic and a real patient, boosted trees find the synthetic one in {value:.0%} of pairs (50 %: a guess). "
                + (f"What gives them away most: {names}." if names else "No single column gives them away.")
                + (f" The strongest clue: {told[0]['text']}." if name == "detection_auc" and told else ""),
                interval=(min(low, value), max(high, value)),
                reference=float(np.mean(reference)),
                reference_interval=percentiles(np.array(reference)),
                floor=auc(scores.scores, truth),
                detail={
                    "columns": [{"name": coded.names[c], "importance": round(float(importance[c]), 4)} for c in order],
                    **(more if name == "detection_auc" else {}),
                    "roc": {"fpr": [round(float(x), 4) for x in fpr], "tpr": [round(float(x), 4) for x in tpr]},
                },
            )
        )
    return found


def _round(value: float) -> float | None:
    return round(float(value), 4) if value == value else None


def _success(scores: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda rows: auc(scores[rows], labels[rows])


def _binned(tables: Tables, part: Part, rows: np.ndarray) -> np.ndarray:
    return part.fine.values[:, rows].T.astype(float)


def _judge(
    coded: Tables,
    first: tuple[Part, np.ndarray],
    second: tuple[Part, np.ndarray],
    read: Callable[[Tables, Part, np.ndarray], np.ndarray],
    *,
    seed: int,
    importance: bool = False,
    shuffle: bool = False,
) -> tuple[Discrimination, np.ndarray, Patients]:
    """The first side's rows (labelled 1) against the second's (0); `shuffle` first makes the first side's columns independent."""
    values = [read(coded, part, rows) for part, rows in (first, second)]
    if shuffle:
        values[0] = seeds.generator(seed, "floor").permuted(values[0], axis=0)
    owners = [np.unique(part.patients.code[rows], return_inverse=True)[1] for part, rows in (first, second)]
    patients = Patients(np.concatenate([owners[0], owners[1] + owners[0].max() + 1]))
    labels = np.repeat([1, 0], [len(first[1]), len(second[1])])
    judged = discriminate(
        np.concatenate(values), labels, patients.code, seed=seeds.integer(seed, "judge"), folds=_FOLDS, trees=_TREES, importance=importance
    )
    return judged, labels, patients
