"""What an attacker who can fit the same synthesizer learns of the most isolated patients, by shadow models: one table.

    python bench/shadows.py [SET ...] [--data DIR] [--patients 1000] [--seeds 1 2 3 4 5] [--synthesizers bootstrap smote forest independent]

A cohort is drawn anew for each seed and 60 % of it learned from; the likelihood ratio of eight shadows is taken on the 100 most isolated
patients, half of them members. `bootstrap` and `smote` give training patients away and must be caught; `independent` knows columns alone.
Means over seeds, lowest to highest in brackets. Fifty controls can show a rate of 10 % false positives, not of 1 %.
"""

import argparse
import platform
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
from tables import TARGETS, head, load

import proband
from proband.cohort import Cohort
from proband.privacy.shadows import shadows

HEAD = ("AUC", "lower end above .5", "TPR at 10 % (%)", "s a cohort")


def made(name: str, rows: int, cohort: Cohort, seed: int) -> pl.DataFrame:
    return proband.find(name)().fit(cohort, seed=seed).sample(rows, seed=seed).frame


def spread(values: list[float], digits: int) -> str:
    return f"{np.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["thyroid"], metavar="SET", help=", ".join(TARGETS))
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--patients", type=int, default=1000, help="in all, drawn at random")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--synthesizers", nargs="+", default=["bootstrap", "smote", "forest", "independent"])
    given = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("proband", "polars", "scikit-learn", "imbalanced-learn"))
    seeds = " ".join(map(str, given.seeds))
    print(f"{versions}, Python {platform.python_version()}; {given.patients} patients, seeds {seeds}\n\n{head(('', *HEAD))}", flush=True)
    for name in given.sets:
        frame = load(name, given.data)
        schema = proband.Schema.guess(frame).accept()
        for synthesizer in given.synthesizers:
            found, begun = [], time.process_time()
            for seed in given.seeds:
                train, *unseen = proband.read(frame.sample(min(given.patients, frame.height), seed=seed), schema).split(seed=seed)
                make = partial(made, synthesizer, len(train))
                found.append(shadows(make, train, unseen, make(train, seed), seed=seed))
            rates = [100 * rate.value for one in found if (rate := one.true_positive_rate(0.1)) is not None]
            caught = f"{sum(one.auc.low > 0.5 for one in found)} of {len(found)}"
            seconds = f"{(time.process_time() - begun) / len(found):.0f}"
            cells = [spread([one.auc.value for one in found], 2), caught, spread(rates, 0) if rates else "", seconds]
            print(f"| {name} | {synthesizer} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
