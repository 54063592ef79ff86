"""Many patients over time: seconds and peak memory of a fit from Parquet, killed (-9) in the midst of its training and called again.

    python bench/many.py --data DIR --work WORK [--patients 20000] [--events 500] [--minutes 2]

DIR holds Outcomes-a.txt and set-a.parquet (see sequences.py). Patients are stays drawn with replacement among those with more than half of
so many events, each cut at twice as many.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
from sequences import read

import proband


def many(data: Path, patients: int, events: int, seed: int) -> proband.Cohort:
    """Stays drawn with replacement among those with more than half of `events`, each cut at twice as many."""
    real = read(data)
    counts = real.linked["events"].group_by("RecordID").len().filter(pl.col("len") > events / 2)
    pool = real.frame.filter(pl.col("RecordID").is_in(counts["RecordID"].implode()))
    drawn = pool[np.random.default_rng(seed).integers(pool.height, size=patients)]
    named = drawn.rename({"RecordID": "old"}).with_columns(pl.format("{}", pl.int_range(pl.len()) + 1).alias("RecordID"))
    rows = named.select("RecordID", "old").join(real.linked["events"].rename({"RecordID": "old"}), on="old", maintain_order="left_right")
    rows = rows.filter(pl.int_range(pl.len()).over("RecordID") < 2 * events)
    return proband.Cohort(real.schema, named.select(real.frame.columns), linked={"events": rows.select(real.linked["events"].columns)})


def run(command: list[str], kill_when: Path | None) -> tuple[float, float, list[str]]:
    """Seconds, peak memory in GB, and what it said; killed with -9 ten seconds after the file `kill_when` is there."""
    start = time.time()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as work:
        peak, kill_at = 0.0, float("inf")
        while work.poll() is None:
            time.sleep(0.5)
            status = Path(f"/proc/{work.pid}/status")
            found = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
            peak = max(peak, int(found.group(1)) / 2**20 if found else 0.0)
            if kill_when is not None and kill_at == float("inf") and any(kill_when.glob("*/model.json")):
                kill_at = time.time() + 10
            if time.time() > kill_at:
                os.kill(work.pid, signal.SIGKILL)
        assert work.stderr is not None
        said = work.stderr.read().splitlines()
    return time.time() - start, peak, said


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--patients", type=int, default=20_000)
    options.add_argument("--events", type=int, default=500)
    options.add_argument("--minutes", type=float, default=2)
    asked = options.parse_args()
    folder = asked.work / "many"
    if not folder.exists():
        cohort = many(asked.data, asked.patients, asked.events, 0)
        proband.write(cohort, folder, format="parquet")
        cohort.schema.save(asked.work / "many.toml")
    rows = pl.scan_parquet(folder / "events.parquet").select(pl.len()).collect().item()
    print(f"{asked.patients} patients, {rows:,} events")
    out = asked.work / "model"
    command = [sys.executable, "-m", "proband", "fit", str(folder), "--schema", str(asked.work / "many.toml"), "--out", str(out)]
    command += ["--minutes", str(asked.minutes)]
    for name, kill_when in (("killed", Path(f"{out}.unfinished")), ("called again", None)):
        seconds, peak, said = run(command, kill_when)
        print(f"| {name} | {seconds:.0f} s | {peak:.1f} GB |\n" + "\n".join(said), flush=True)


if __name__ == "__main__":
    main()
