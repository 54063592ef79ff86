"""Ten thousand patients of a rare kind: are all of them so, how long does it take, and are they like the real ones?

    python bench/condition.py --data DIR [--seed 1] [-n 10000]

SUPPORT: women over 80 with respiratory or organ failure and sepsis (who lay in intensive care) and died within 180 days. The
two-sample AUC compares the other columns with those of unseen real patients of that kind, who are few: its standard error stands
beside it, and the same for unconditional rows at the same size.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import polars as pl
from judge import Coding, _boosted, _columns, two_sample
from tables import load

import proband
from proband.schema import rules

WHERE = "num_age > 80 AND fac_sex = 'female' AND fac_dzgroup = 'ARF/MOSF w/Sepsis' AND death_180d = 1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-n", type=int, default=10_000)
    parser.add_argument("--model", type=Path, help="a model folder of that split, in place of a fit")
    given = parser.parse_args()
    frame = load("support2", given.data)
    cohort = proband.read(frame, proband.Schema.guess(frame).accept())
    train, holdout, reference = cohort.split(seed=given.seed)
    model = proband.load(given.model) if given.model else proband.TableGAN().fit(train, seed=given.seed)
    seconds, made = {}, {}
    for name, where in (("all", None), ("kind", WHERE)):
        started = time.perf_counter()
        made[name] = model.sample(given.n, seed=1, where=where).frame
        seconds[name] = time.perf_counter() - started
    table = cohort.schema.table
    exact = rules.holds(WHERE, made["kind"], table).fill_null(False).mean()
    unseen = pl.concat([holdout.frame, reference.frame])
    real = unseen.filter(rules.holds(WHERE, unseen, table).fill_null(False))
    coding = Coding(_columns(cohort.schema), train.frame)
    aucs = {}
    for name, pool in (("kind", real), ("all", unseen)):
        repeats = []
        for repeat in range(10):
            fakes = made[name].sample(len(real), seed=repeat)
            repeats.append(two_sample(coding.raw(fakes), coding.raw(pool.sample(len(real), seed=repeat)), _boosted, repeat))
        aucs[name] = np.mean(repeats)
    share = rules.holds(WHERE, frame.select(c.name for c in table.columns).cast({c.name: c.dtype for c in table.columns}), table)
    print(f"{WHERE}\n{share.fill_null(False).mean():.2%} of real patients, {len(real)} of them unseen; standard error of an AUC about "
          f"{0.41 / np.sqrt(len(real)):.2f}")  # fmt: skip
    print(f"exact in {exact:.0%} of {given.n} rows; {made['kind'].n_unique()} distinct rows")
    print(f"seconds: {seconds['kind']:.1f}, unconditional {seconds['all']:.1f}, ratio {seconds['kind'] / seconds['all']:.2f}")
    print(f"two-sample AUC of {len(real)} rows a side: {aucs['kind']:.3f}, unconditional {aucs['all']:.3f}")


if __name__ == "__main__":
    main()
