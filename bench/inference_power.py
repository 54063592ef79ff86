"""How often the findings on hidden values, links and descriptions raise the alarm, on the planted tables of privacy_power.py: one table.

    python bench/inference_power.py [--data DIR] [--runs 40] [--sets thyroid ...] [--sizes 600/200/200 ...] [--leaks fresh ...]

Two leaks are added: `shuffled`, the training patients themselves with one column shuffled, and `5 % copied`. An alarm is a finding
that does not pass `LIMITS`; `proven` is one whose p-value, corrected over the three, is below .05.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from privacy_power import evidence, load

from proband.cohort import Cohort
from proband.privacy.patients import gathered
from proband.validate.findings import Evidence
from proband.validate.inference import inference
from proband.validate.limits import LIMITS

NAMES = ("attribute_gain", "linkage_excess", "singling_out_excess")
LEAKS = ("fresh", "1 % copied", "5 % copied", "shuffled", "smote", "bootstrap")


def planted(cohort: Cohort, sizes: tuple[int, int, int], leak: str, draw: np.random.Generator) -> Evidence:
    given = evidence(cohort, sizes, "fresh" if leak in ("shuffled", "5 % copied") else leak, draw)
    train, fresh = given.train.frame, given.synthetic.frame
    if leak == "shuffled":
        name = train.columns[int(draw.integers(len(train.columns)))]
        made = train.with_columns(train[name].gather(draw.permutation(train.height)))
    elif leak == "5 % copied":
        count = train.height // 20
        made = pl.concat([fresh.head(fresh.height - count), train[draw.choice(train.height, count, replace=False)]])
    else:
        return given
    return replace(given, synthetic=replace(given.synthetic, frame=made))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--sets", nargs="+", default=["thyroid"])
    parser.add_argument("--sizes", nargs="+", default=["600/200/200", "1000/500/500"])
    parser.add_argument("--leaks", nargs="+", default=LEAKS)
    options = parser.parse_args()
    print(
        "| records | train / holdout / reference | table | runs | any alarm | hidden, linked, singled out | any proven | mean values | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in options.sets:
        cohort = load(name, options.data)
        for text in options.sizes:
            first, second, third = (int(part) for part in text.split("/"))
            for leak in options.leaks:
                began, alarms, proven, values = time.process_time(), [], [], []
                for run in range(options.runs):
                    given = planted(cohort, (first, second, third), leak, np.random.default_rng([run, *leak.encode()]))
                    made = given.synthetic.frame
                    found = inference(gathered(made, given.train, given.holdout, given.reference), made, seed=run)
                    alarms.append([finding.judged(LIMITS[finding.name]).passed is not True for finding in found])
                    proven.append(any(finding.detail["p"] < 0.05 for finding in found))
                    values.append([finding.value for finding in found])
                every = np.array(alarms)
                cells = [
                    name,
                    text,
                    leak,
                    str(options.runs),
                    f"{100 * every.any(axis=1).mean():.0f} %",
                    ", ".join(f"{100 * share:.0f}" for share in every.mean(axis=0)) + " %",
                    f"{100 * np.mean(proven):.0f} %",
                    ", ".join(f"{value:.3f}" for value in np.mean(values, axis=0)),
                    f"{(time.process_time() - began) / options.runs:.1f}",
                ]
                print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
