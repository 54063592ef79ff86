"""Synthetic intensive-care stays under one judge: PhysioNet 2012 set A, irregular charts of 37 variables over 48 hours.

    python bench/sequences.py --data DIR [--made FOLDER...] [--n 1200] [--seed 1]
    python bench/sequences.py --data DIR --peers ENVIRONMENTS --minutes 13 60 --work WORK [--tools mostly ...]

DIR holds Outcomes-a.txt and set-a.parquet. FOLDER holds stays and events (.csv or .parquet) of synthetic patients, under its own name in
the table, and cost.json where it is known. ENVIRONMENTS holds a virtual environment for each peer (see peers/README.md): one after the
other, each in a process of its own on one core, they learn from the same training stays and are asked after so many minutes of the
processor. WORK keeps what they made, and what is there already is not made again.

`judge(train, holdout, reference, synthetic, seed)` gives the FIGURES of a cohort in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import ks_2samp

from proband import seeds
from proband.cohort import Cohort, Split
from proband.privacy.membership import neighbourhood, ratio
from proband.privacy.patients import attacked, gathered
from proband.records import write
from proband.schema import Column, Schema, Table
from proband.schema.grids import find_grid
from proband.stats import sequences as over_time
from proband.stats.classifiers import boosted_trees
from proband.stats.discrimination import auc, discriminate
from proband.stats.recurrent import echoes, told_apart
from proband.synthesizers.baselines import Bootstrap, IndependentColumns
from proband.synthesizers.carried import CarriedForward
from proband.validate.histories import events, summarised

MINUTES = 2880
#: Tools that make stays, and the environment that each lives in; ours is asked at the first mark alone.
TOOLS = {"proband": "", "mostly": "mostly", "par": "sdv", "dgan": "dgan"}
SCRIPTS = Path(__file__).parent / "peers"
PAIRS = 1000  # fewer give correlations whose own noise is above .05

COSTS = {
    "fit_s": "processor seconds of the fit, on one core",
    "sample_s": "processor seconds of 1,200 stays",
    "peak_mb": "most memory held up to the sample, MB",
}
FIGURES = {
    "events_ks": "events per stay: Kolmogorov-Smirnov distance to the holdout",
    "rate_r2": "R2 of the log event rates by variable",
    "gaps_ks": "gaps between distinct times: Kolmogorov-Smirnov distance",
    "together_stay": "mean |difference| over pairs of variables: share of stays that have both",
    "together_minute": "the same: share of the minutes with the one that have the other too",
    "values": "Wasserstein distance of the values over the real standard deviation, mean over variables",
    "lag1": f"mean |difference| of the correlation of a value with the one before; variables with {PAIRS} pairs in the holdout",
    "lag1_within": "the same after the stay's own mean is taken off",
    "two_sample_auc": "boosted trees on 259 figures a stay (7 of each variable), synthetic v holdout at equal size; 0.5 is a guess",
    "two_sample_recurrent": "a recurrent network (echo state) that reads each stay moment by moment, the same; it sees the order of values",
    "tstr": "in-hospital death on the holdout, trees that learned from synthetic stays (those figures and the statics): AUROC",
    "trtr": "the same from as many training stays",
    "outside": "share of events outside 0 to 2880 minutes",
    "backwards": "share of rows of a stay earlier than the row before",
    "negative": "share of values below 0 where the variable cannot be",
    "out_of_range": "share of values outside their variable's bounds",
    "diastolic": "share of moments with both pressures in which the diastolic is not below the systolic",
    "membership": "AUC of the nearest-neighbour attack on the figures: training v holdout stays; 0.5 is a guess",
}

#: Variables and what a living patient, or a machine that reads one, can show; wide, so that bounds take out slips (pH 735) and no patient.
BOUNDS = {
    "ALP": (1, 5000), "ALT": (1, 30000), "AST": (1, 40000), "Albumin": (0.5, 7), "BUN": (0, 300), "Bilirubin": (0, 80),
    "Cholesterol": (10, 1000), "Creatinine": (0.1, 40), "DiasABP": (0, 300), "FiO2": (0.21, 1), "GCS": (3, 15), "Glucose": (5, 2000),
    "HCO3": (1, 70), "HCT": (5, 75), "HR": (0, 300), "K": (1, 25), "Lactate": (0.1, 40), "MAP": (0, 300), "MechVent": (1, 1),
    "Mg": (0.2, 15), "NIDiasABP": (0, 300), "NIMAP": (0, 300), "NISysABP": (0, 350), "Na": (80, 200), "PaCO2": (0, 200),
    "PaO2": (0, 700), "Platelets": (1, 2500), "RespRate": (0, 120), "SaO2": (10, 100), "SysABP": (0, 350), "Temp": (15, 45),
    "TroponinI": (0, 200), "TroponinT": (0, 100), "Urine": (0, 15000), "WBC": (0, 500), "Weight": (15, 400), "pH": (6.5, 8.2),
}  # fmt: skip
UNITS = ("coronary", "cardiac surgery", "medical", "surgical")
PRESSURES = (("DiasABP", "SysABP"), ("NIDiasABP", "NISysABP"))


def read(folder: Path) -> Cohort:
    """Every stay with a measurement. The row of weights at minute 0 belongs to the statics, as Height does, and is left out."""
    long = pl.read_parquet(folder / "set-a.parquet")
    value = np.round(long["Value"].cast(pl.Float64).to_numpy(), 4)  # the file keeps float32; polars' own rounding leaves 7.3500000000000005
    long = long.select(
        pl.col("RecordID").cast(pl.String),
        pl.col("minute").cast(pl.Int64),
        pl.col("Parameter").cast(pl.String).alias("parameter"),
        pl.Series("value", value),
    )
    bounds = pl.DataFrame([(name, low, high) for name, (low, high) in BOUNDS.items()], ["parameter", "low", "high"], orient="row")
    charted = long.filter((pl.col("parameter") != "Weight") | (pl.col("minute") > 0))
    charted = charted.join(bounds, on="parameter", maintain_order="left").filter(pl.col("value").is_between("low", "high"))
    charted = charted.select("RecordID", "minute", "parameter", "value").sort("RecordID", "minute", maintain_order=True)
    first = long.filter((pl.col("minute") == 0) & pl.col("parameter").is_in(["Age", "Gender", "Height", "ICUType"]))
    statics = first.unique(["RecordID", "parameter"], keep="first", maintain_order=True).pivot(
        "parameter", index="RecordID", values="value"
    )
    outcome = pl.read_csv(folder / "Outcomes-a.txt")
    died = outcome.select(pl.col("RecordID").cast(pl.String), (pl.col("In-hospital_death") == 1).alias("died"))
    stays = statics.join(died, on="RecordID").filter(pl.col("RecordID").is_in(charted["RecordID"].implode())).sort("RecordID")
    stays = stays.select(
        "RecordID",
        pl.col("Age").cast(pl.Int64),
        pl.col("Gender").replace_strict({0.0: "female", 1.0: "male"}, default=None, return_dtype=pl.String),  # -1 is unknown
        pl.when(pl.col("Height").is_between(100, 230)).then("Height").alias("Height"),
        pl.col("ICUType").replace_strict({float(k): name for k, name in enumerate(UNITS, 1)}, default=None, return_dtype=pl.String),
        "died",
    )
    return Cohort(schema(stays, charted), stays, linked={"events": charted})


def schema(stays: pl.DataFrame, charted: pl.DataFrame) -> Schema:
    """Written by hand but for the grids, which follow from the values."""
    grid = lambda values: find_grid(*np.unique(values.drop_nulls().to_numpy(), return_counts=True))  # noqa: E731
    root = Table(
        name="stays", key="RecordID",
        columns=(
            Column(name="RecordID", kind="identifier"),
            Column(name="Age", kind="integer", low=15, high=90, unit="years"),
            Column(name="Gender", kind="category", categories=("female", "male")),
            Column(name="Height", kind="number", low=100, high=230, unit="cm", grid=grid(stays["Height"])),
            Column(name="ICUType", kind="category", categories=UNITS),
            Column(name="died", kind="boolean"),
        ),
    )  # fmt: skip
    own = {name: charted.filter(pl.col("parameter") == name)["value"] for name in BOUNDS}
    variables = tuple(
        Column(name=name, kind="number", low=low, high=high, grid=grid(own[name]) if len(own[name]) else None)
        for name, (low, high) in BOUNDS.items()
    )
    child = Table(
        name="events", parent="stays", on="RecordID", order=("minute",), measures=("parameter", "value"), variables=variables,
        columns=(
            Column(name="RecordID", kind="identifier"),
            Column(name="minute", kind="integer", low=0, high=MINUTES, unit="min"),
            Column(name="parameter", kind="category", categories=tuple(BOUNDS)),
            Column(name="value", kind="number"),
        ),
    )  # fmt: skip
    return Schema(tables=(root, child))


def split(cohort: Cohort, seed: int) -> Split:
    """2,800 stays to train, 598 to judge by (holdout), 599 more (reference)."""
    return cohort.split(holdout=598 / len(cohort), reference=599 / len(cohort), seed=seed)


def judge(train: Cohort, holdout: Cohort, reference: Cohort, synthetic: Cohort, seed: int) -> dict[str, float]:
    """The FIGURES of synthetic stays, judged by the holdout; `reference` plays the synthetic ones in the row of real against real."""
    real, made = events(holdout), events(synthetic)
    found = {
        "events_ks": float(ks_2samp(real.counts.sum(axis=1), made.counts.sum(axis=1)).statistic),
        "rate_r2": over_time.log_rate_r2(real, made),
        "gaps_ks": float(ks_2samp(over_time.gaps(real), over_time.gaps(made)).statistic),
        "together_stay": over_time.apart(over_time.together(real), over_time.together(made)),
        "together_minute": over_time.apart(over_time.at_once(real), over_time.at_once(made)),
        "values": float(np.nanmean(over_time.wasserstein(real, made))),
        "lag1": lag1(real, made, within=False),
        "lag1_within": lag1(real, made, within=True),
    }
    flat = {name: summarised(one) for name, one in (("train", train), ("holdout", holdout), ("made", synthetic))}
    found["two_sample_auc"] = two_sample(_figures(flat["holdout"]), _figures(flat["made"]), seed)
    found["two_sample_recurrent"] = two_sample_recurrent(real, made, seed)
    found |= mortality(flat["train"], flat["holdout"], flat["made"], seed)
    found |= sound(synthetic, made)
    found["membership"] = membership(flat["train"], flat["holdout"], flat["made"], seed)
    return found


def lag1(real: over_time.Events, made: over_time.Events, *, within: bool) -> float:
    """A correlation that cannot be told from the synthetic stays counts as 0."""
    theirs, ours = over_time.persistence(real, within=within, least=PAIRS), over_time.persistence(made, within=within)
    known = ~np.isnan(theirs)
    return float(np.abs(theirs - np.nan_to_num(ours))[known].mean())


def _figures(flat: Cohort) -> np.ndarray:
    """(stays, 259)"""
    return flat.frame.select(flat.frame.columns[6:]).fill_null(float("nan")).to_numpy()


def two_sample(real: np.ndarray, made: np.ndarray, seed: int) -> float:
    n = min(len(real), len(made))
    draw = seeds.generator(seed, "two-sample")
    values = np.concatenate([made[draw.permutation(len(made))[:n]], real[draw.permutation(len(real))[:n]]])
    labels = np.repeat([1, 0], n)
    return auc(discriminate(values, labels, np.arange(2 * n), seed=seed).scores, labels)


def two_sample_recurrent(real: over_time.Events, made: over_time.Events, seed: int) -> float:
    n = min(real.patients, made.patients)
    draw = seeds.generator(seed, "two-sample recurrent")
    sides = [over_time.taken(one, draw.permutation(one.patients)[:n]) for one in (made, real)]
    states, labels = np.concatenate([echoes(one, sides[1], seed=seed) for one in sides]), np.repeat([1, 0], n)
    return auc(told_apart(states, labels, seed=seed), labels)


def mortality(train: Cohort, holdout: Cohort, made: Cohort, seed: int) -> dict[str, float]:
    read = {name: _matrix(one) for name, one in (("train", train), ("holdout", holdout), ("made", made))}
    levels = np.zeros(read["train"][0].shape[1], bool)
    n = min(len(made), len(train))
    found = {}
    for name, side in (("tstr", "made"), ("trtr", "train")):
        values, died = read[side]
        rows = seeds.generator(seed, name).permutation(len(values))[:n]
        found[name] = auc(boosted_trees(values[rows], died[rows], read["holdout"][0], levels), read["holdout"][1])
    return found


def _matrix(flat: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """The statics and the figures, (stays, 266); who died, (stays,)."""
    units = [(pl.col("ICUType") == unit).cast(pl.Float64).alias(unit) for unit in UNITS]
    statics = flat.frame.select(pl.col("Age").cast(pl.Float64), (pl.col("Gender") == "male").cast(pl.Float64), "Height", *units)
    died = flat.frame["died"].fill_null(False).to_numpy().astype(int)
    return np.hstack([statics.fill_null(float("nan")).to_numpy(), _figures(flat)]), died


def sound(synthetic: Cohort, made: over_time.Events) -> dict[str, float]:
    """Shares of what no chart holds."""
    rows = synthetic.linked["events"]
    bounds = pl.DataFrame([(n, float(a), float(b)) for n, (a, b) in BOUNDS.items()], ["parameter", "low", "high"], orient="row")
    ranged = rows.join(bounds, on="parameter", how="left")
    broken = [over_time.not_below(made, low, high) for low, high in PRESSURES]
    return {
        "outside": _share(rows.select(~pl.col("minute").is_between(0, MINUTES))),
        "backwards": _share(rows.select(pl.col("minute").diff().over("RecordID") < 0)),
        "negative": _share(ranged.select((pl.col("low") >= 0) & (pl.col("value") < 0))),
        "out_of_range": _share(ranged.select((pl.col("value") < pl.col("low")) | (pl.col("value") > pl.col("high")))),
        "diastolic": sum(one for one, _ in broken) / max(sum(both for _, both in broken), 1),
    }


def _share(told: pl.DataFrame) -> float:
    return float(told.to_series().fill_null(False).mean() or 0.0) if told.height else 0.0  # type: ignore[arg-type]


def membership(train: Cohort, holdout: Cohort, made: Cohort, seed: int) -> float:
    keep = [made.frame.columns[0], *made.frame.columns[6:]]
    parts = [
        Cohort(
            Schema(tables=(one.schema.table.model_copy(update={"columns": tuple(one.schema.table[n] for n in keep)}),)),
            one.frame.select(keep),
        )
        for one in (train, holdout)
    ]
    under = attacked(gathered(made.frame.select(keep), *parts), made.frame.select(keep), seed=seed)
    return auc(under.per_patient(ratio(neighbourhood(under))), under.member)


def load(folder: Path, real: Cohort) -> Cohort:
    """Synthetic stays and events from a folder. What the schema's types cannot hold is missing."""
    frames = {}
    for table, _ in real.tables:
        file = next((folder / f"{table.name}{end}" for end in (".parquet", ".csv") if (folder / f"{table.name}{end}").exists()), None)
        if file is None:
            raise SystemExit(f"{folder} has no {table.name}.csv or {table.name}.parquet")
        frame = pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file, infer_schema=False)
        truth = lambda name, values=frame: values[name].cast(pl.String).str.to_lowercase().is_in(["true", "1", "1.0"])  # noqa: E731
        frames[table.name] = frame.select(
            truth(column.name).alias(column.name)
            if column.kind == "boolean"
            else pl.col(column.name).cast(pl.Float64, strict=False).round().cast(column.dtype, strict=False)
            if column.kind == "integer"
            else pl.col(column.name).cast(column.dtype, strict=False)
            for column in table.columns
        )
    return Cohort(real.schema, frames["stays"], linked={"events": frames["events"].sort("RecordID", maintain_order=True)})


def made_by(tool: str, train: Cohort, work: Path, environments: Path, minutes: list[float], n: int, seed: int) -> list[Path]:
    """The folders of a tool's stays, one for each mark, made unless they are there; those that it could not make are left out."""
    folders = [work / f"{tool}-{mark:g}" for mark in (minutes[:1] if tool == "proband" else minutes)]
    python = Path(sys.executable) if tool == "proband" else environments / TOOLS[tool] / "bin" / "python"
    if not all(folder.exists() for folder in folders) and python.exists():
        if not (work / "train").exists():
            work.mkdir(parents=True, exist_ok=True)
            write(train, work / "train", format="csv")
            train.schema.save(work / "train" / "schema.toml")
        command = [python, SCRIPTS / f"peer_{tool}_sequences.py", work / "train", "--out", work, "--n", n, "--seed", seed, "--minutes"]
        missing = [mark for mark, folder in zip(minutes, folders, strict=False) if not folder.exists()]
        subprocess.run(list(map(str, [*command, *missing])), env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    return [folder for folder in folders if folder.exists()]


def costs(folder: Path) -> dict[str, float]:
    """COSTS of what a folder holds, of 1,200 stays where fewer were made; nothing where they are not told."""
    if not (folder / "cost.json").exists():
        return {}
    told = json.loads((folder / "cost.json").read_text())
    return {"fit_s": told["fit_s"], "sample_s": told["sample_s"] * 1200 / told["stays"], "peak_mb": told["peak_mb"]}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--made", type=Path, nargs="*", default=[])
    options.add_argument("--peers", type=Path, metavar="ENVIRONMENTS")
    options.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    options.add_argument("--minutes", type=float, nargs="+", default=[13, 60])
    options.add_argument("--work", type=Path)
    options.add_argument("--n", type=int, default=1200)
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    if (asked.peers is None) != (asked.work is None):
        options.error("--peers and --work go together: where the environments are, and where to keep what they make")
    cohort = read(asked.data)
    parts = split(cohort, asked.seed)
    made = [path if path.is_dir() else path.parent for path in asked.made]
    for tool in asked.tools if asked.peers else ():
        made += made_by(tool, parts.train, asked.work / str(asked.seed), asked.peers, sorted(asked.minutes), asked.n, asked.seed)
    sides = {"real v real": parts.reference}
    for name, yardstick in (("resampled", Bootstrap), ("independent", IndependentColumns), ("carried forward", CarriedForward)):
        sides[name] = yardstick().fit(parts.train, seed=asked.seed).sample(asked.n, seed=asked.seed)
    sides |= {folder.name: load(folder, cohort) for folder in made}
    start, found = time.process_time(), {}
    for name, side in sides.items():
        found[name] = judge(*parts, side, asked.seed)
    counts = ", ".join(f"{len(part)} {name}" for name, part in parts._asdict().items())
    seconds = time.process_time() - start
    print(f"{len(cohort)} stays, {cohort.linked['events'].height} events: {counts}; seed {asked.seed}; {seconds:.0f} s of CPU\n")
    print("| | " + " | ".join(found) + " |\n|---|" + "---|" * len(found))
    spent = {folder.name: costs(folder) for folder in made}
    for cost in COSTS if any(spent.values()) else ():
        told = (spent.get(name, {}).get(cost) for name in found)
        print(f"| {cost} | " + " | ".join("" if one is None else f"{one:.0f}" for one in told) + " |")
    for figure in FIGURES:
        print(f"| {figure} | " + " | ".join(f"{one[figure]:.3f}" for one in found.values()) + " |")
    print()
    for name, text in (COSTS | FIGURES).items():
        print(f"{name}: {text}")


if __name__ == "__main__":
    main()
