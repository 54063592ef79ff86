"""Can a recurrent network that reads whole histories, step by step, tell synthetic patients from real ones it has not seen?"""

from __future__ import annotations

import numpy as np

from proband import seeds
from proband.stats.discrimination import auc
from proband.stats.recurrent import echoes, told_apart
from proband.stats.resampling import Patients, bootstrap, percentiles
from proband.stats.sequences import joined, scattered, taken
from proband.validate.findings import Evidence, Finding
from proband.validate.sequences import Histories
from proband.validate.trials import REPEATS


def recurrent_detection(evidence: Evidence, *, seed: int, table: str | None = None) -> Finding:
    """`recurrent_auc`: an echo-state network reads each patient's sequence of events, and a cross-fitted ridge says whether it is real.

    It sees the order of things, to which a row of figures a patient is blind. Synthetic against unseen patients; the reference is real
    against real at the same number of patients, twenty times, by the same network. The floor deals out times and values anew.
    """
    histories = Histories.of(evidence, table)
    n, draw = histories.matched, seeds.generator(seed, "recurrent")
    some = lambda part, count: taken(histories.common[part], draw.permutation(histories.common[part].patients)[:count])  # noqa: E731
    unseen, train = some("unseen", n), some("train", n)
    real = joined(unseen, train)
    network = seeds.integer(seed, "recurrent", "network")
    known, made, loose = (echoes(one, real, seed=network) for one in (real, some("synthetic", n), scattered(train, draw)))

    def scores(first: np.ndarray, second: np.ndarray, *names: str | int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat([1, 0], [len(first), len(second)])
        return told_apart(np.vstack([first, second]), labels, seed=seeds.integer(seed, "recurrent", *names)), labels

    told, labels = scores(made, known[:n])
    value = auc(told, labels)
    doubt = seeds.generator(seed, "recurrent", "doubt")
    low, high = percentiles(bootstrap(lambda rows: auc(told[rows], labels[rows]), Patients(np.arange(len(labels))), doubt))
    halves = [np.array_split(draw.permutation(len(known)), 2) for _ in range(REPEATS)]
    reference = [auc(*scores(known[one], known[other], at)) for at, (one, other) in enumerate(halves)]
    return Finding(
        "faithful",
        "recurrent_auc",
        "Success of a recurrent network on whole histories",
        value,
        f"Of a synthetic and a real history, a network that reads them step by step finds the synthetic one in {value:.0%} of pairs.",
        interval=(min(low, value), max(high, value)),
        reference=float(np.mean(reference)),
        reference_interval=percentiles(np.array(reference)),
        floor=auc(*scores(loose, known[:n], "floor")),
    )
