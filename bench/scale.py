"""Peak memory and seconds to read, profile, split, validate and attack (the privacy audit alone) a large table, one process a stage.

    python bench/scale.py [--rows 500000] [--columns 300] [--synthetic-rows 300000] [--format parquet] [--keep DIR] [--only attack]

The table is generated: numbers, integers, categories, booleans and dates that depend on a few common factors, a tenth of
the cells missing. Prints one table. Memory is the peak resident set of the stage's process, as the kernel counted it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Nothing heavy is imported here: the kernel counts a parent's memory at the moment of the fork towards its child's peak.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--columns", type=int, default=300)
    parser.add_argument("--synthetic-rows", type=int, default=300_000, help="as many as the train part of 500,000 has")
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    parser.add_argument("--keep", type=Path, help="an empty folder for the files, kept afterwards")
    parser.add_argument("--make", nargs=3, metavar=("FILE", "ROWS", "SEED"), help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=("profile", "split", "validate", "attack"), help="this stage, and those that it needs")
    parser.add_argument("--attack", type=Path, metavar="DIR", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        return make(Path(given.make[0]), int(given.make[1]), given.columns, seed=int(given.make[2]))
    if given.attack:
        return attack(given.attack, given.format)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(exist_ok=True)
        stages(folder, given.rows, given.columns, given.synthetic_rows, given.format, given.only)


def stages(folder: Path, rows: int, columns: int, synthetic_rows: int, suffix: str, only: str | None) -> None:
    real, synthetic, parts = folder / f"real.{suffix}", folder / f"synthetic.{suffix}", folder / "parts"
    for file, n, seed in ((real, rows, 0), (synthetic, synthetic_rows, 1)):
        subprocess.run([sys.executable, __file__, "--columns", str(columns), "--make", str(file), str(n), str(seed)], check=True)
    proband = [sys.executable, "-m", "proband"]
    schema = str(folder / "schema.toml")
    judged = [f"--{part}={parts / part}.{suffix}" for part in ("train", "holdout", "reference")]
    plan = {
        "read and profile": [*proband, "schema", str(real), "--accept", "--out", schema],
        "read and split": [*proband, "split", str(real), "--schema", schema, "--format", suffix, "--out", str(parts)],
        "read and validate": [
            *[*proband, "validate", *judged, f"--synthetic={synthetic}", "--schema", schema],
            *["--target", "outcome", "--out", str(folder / "report")],
        ],
        "read and attack": [sys.executable, __file__, "--format", suffix, "--attack", str(folder)],
    }
    needed = {"profile": 1, "split": 2, "validate": 3}.get(only or "", 2)
    plan = {stage: plan[stage] for at, stage in enumerate(plan) if only is None or at < needed or stage.endswith(only)}
    print(f"{rows:,} rows x {columns} columns as {suffix} ({real.stat().st_size / 2**20:,.0f} MiB), {synthetic_rows:,} synthetic rows\n")
    print("| stage | seconds | seconds of processor | peak GiB | exit |\n|---|---|---|---|---|")
    for stage, command in plan.items():
        seconds, worked, gib, code = measured(command, folder / f"{stage.split()[-1]}.log")
        print(f"| {stage} | {seconds:.0f} | {worked:.0f} | {gib:.2f} | {code} |", flush=True)
        if code not in (0, 1):  # 1: the check said no, after all the work
            sys.exit((folder / f"{stage.split()[-1]}.log").read_text())


def attack(folder: Path, suffix: str) -> None:
    """The privacy audit of the parts and the synthetic table in `folder`, and nothing else."""
    from proband.schema import Schema
    from proband.validate.evidence import gather
    from proband.validate.privacy import privacy

    train, holdout, reference = (folder / "parts" / f"{part}.{suffix}" for part in ("train", "holdout", "reference"))
    schema = Schema.load(folder / "schema.toml")
    evidence, _ = gather(train, holdout, folder / f"synthetic.{suffix}", reference=reference, schema=schema)
    for finding in privacy(evidence, seed=0):
        print(finding.name, finding.value, finding.interval, finding.why)


def measured(command: list[str], log: Path) -> tuple[float, float, float, int]:
    """Seconds, seconds of processor, peak resident GiB and exit code of one process; what it says goes to `log`."""
    started = time.perf_counter()
    with log.open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
    kilobytes = usage.ru_maxrss if sys.platform != "darwin" else usage.ru_maxrss / 1024
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, kilobytes / 2**20, os.waitstatus_to_exitcode(status)


def make(file: Path, rows: int, columns: int, *, seed: int) -> None:
    """A table of mixed columns that hang together through eight common factors."""
    import numpy as np
    import polars as pl

    weights = np.random.default_rng(7)  # the same patients' world for every seed
    draw = np.random.default_rng(seed)
    factors = draw.normal(size=(rows, 8)).astype(np.float32)
    table = {"patient_id": pl.Series(np.arange(rows)), "outcome": pl.Series((factors[:, 0] + draw.normal(size=rows) > 1).astype(np.int8))}
    for at in range(columns - 2):
        score = (factors @ weights.normal(size=8).astype(np.float32) / 3 + draw.normal(size=rows).astype(np.float32)).round(3)
        kind = at % 10
        if kind < 5:
            column = pl.Series(50 + 10 * score).cast(pl.Float64).round(1)
        elif kind < 7:
            column = pl.Series(np.exp(score + 2).astype(np.int32))
        elif kind == 7:
            column = pl.Series(np.array([f"level {level}" for level in range(6)])[np.digitize(score, [-1.5, -0.5, 0.5, 1.0, 2.0])])
        elif kind == 8:
            column = pl.Series(np.where(score > 0.7, "yes", "no"))
        else:
            column = pl.Series((18_000 + 300 * score).astype(np.int32)).cast(pl.Date)
        known = pl.Series(draw.random(rows, dtype=np.float32) >= 0.1)
        table[f"{'nnnnniicbd'[kind]}{at:03d}"] = pl.select(pl.when(known).then(column)).to_series()
    frame = pl.DataFrame(table)
    frame.write_csv(file) if file.suffix == ".csv" else frame.write_parquet(file)


if __name__ == "__main__":
    main()
