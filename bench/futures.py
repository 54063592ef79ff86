"""How patients go on: 80 % intervals at the next visit of unseen patients, of whom two visits are known; PBC, `longitudinal_small/pbcseq`.

    python bench/futures.py --data DIR [--seeds 1 2 3] [--minutes 2] [--futures 200]

Of each held-out patient with three visits or more, the first two are known; 200 futures give the next visit. `covers` is the share of real
third visits from the 10 % to the 90 % quantile of the futures; `expected` the same share of the futures themselves, which is more than
80 % where values lie on a grid; `width` the mean width of that interval against that of all patients' third visits.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

import proband
from proband.schema.links import apart

SHOWN = ("bili", "albumin")


def third(frame: pl.DataFrame) -> pl.DataFrame:
    """The third visit of every patient who has one."""
    return frame.with_columns(n=pl.int_range(pl.len()).over("id")).filter(pl.col("n") == 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--futures", type=int, default=200)
    given = parser.parse_args()
    whole = proband.read(apart(pl.read_csv(given.data / "longitudinal_small" / "pbcseq.csv.gz", infer_schema_length=None)))
    heads = " | ".join(f"{name}: covers, expected, width" for name in SHOWN)
    print(f"| seed | held out | {heads} |\n|---|---|{'---|' * len(SHOWN)}", flush=True)
    for seed in given.seeds:
        train, holdout, reference = whole.split(holdout=0.2, reference=0.2, seed=seed)
        unseen = whole.take([*holdout.patients, *reference.patients])
        model = proband.SequenceGAN(minutes=given.minutes, select=False).fit(train, seed=seed)
        known = third(unseen.linked["visits"])
        first = unseen.linked["visits"].with_columns(n=pl.int_range(pl.len()).over("id")).filter(pl.col("n") < 2).drop("n")
        patients = unseen.take(known["id"])
        past = proband.Cohort(whole.schema, patients.frame, linked={"visits": first.filter(pl.col("id").is_in(known["id"].implode()))})
        ahead = pl.concat(
            [third(one.linked["visits"].sort("id", "day", maintain_order=True)) for one in model.futures(past, given.futures, seed=seed)]
        )
        cells = []
        for name in SHOWN:
            futures = ahead.drop_nulls(name).group_by("id").agg(pl.col(name).alias("futures"))
            told = known.select("id", name).drop_nulls().join(futures, on="id")
            values, ways = told[name].to_numpy(), [one.to_numpy() for one in told["futures"]]
            low, high = np.transpose([np.quantile(one, [0.1, 0.9]) for one in ways])
            covers = np.mean((values >= low) & (values <= high))
            expected = np.mean([np.mean((one >= a) & (one <= b)) for one, a, b in zip(ways, low, high, strict=True)])
            width = np.mean(high - low) / np.diff(np.nanquantile(known[name].to_numpy(), [0.1, 0.9]))[0]
            cells.append(f"{100 * covers:.0f} % of {told.height}, {100 * expected:.0f} %, {width:.2f}")
        print(f"| {seed} | {len(patients)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
