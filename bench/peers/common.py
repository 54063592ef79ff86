"""What every peer's script shares: the same reading, the same measuring, the same writing. Needs pandas and the standard library.

    PEER/bin/python peer_PEER.py TOOL PARTS --out SYNTHETIC.csv --rows N --seed S

PARTS is a folder of `proband split --format csv`: train.csv, which alone is read, and schema.toml, which says which columns are
levels and which are numbers, so that no tool is judged on its guess. Beside SYNTHETIC.csv stands SYNTHETIC.json with the cost.
"""

import argparse
import json
import os
import resource
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

#: Kinds of the schema that are levels to a tool.
LEVELS = ("category", "ordinal", "boolean")
DATES = ("date", "datetime")

Make = Callable[[pd.DataFrame, dict[str, str], int, int], tuple[pd.DataFrame, float]]


def read(parts: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """The training patients, levels as text and dates as dates, and every column's kind; identifiers and free text left out."""
    columns = tomllib.loads((parts / "schema.toml").read_text())["tables"][0]["columns"]
    kinds = {column["name"]: column["kind"] for column in columns if column["kind"] not in ("identifier", "text")}
    text = {name: "object" for name, kind in kinds.items() if kind in LEVELS}
    frame = pd.read_csv(parts / "train.csv", usecols=list(kinds), dtype=text, low_memory=False)
    for name, kind in kinds.items():
        if kind in DATES:
            frame[name] = pd.to_datetime(frame[name])
    return frame[list(kinds)], kinds


def main(tools: dict[str, Make]) -> None:
    """Fit, sample, write; a tool's `make(train, kinds, rows, seed)` gives the synthetic rows and the seconds at which the fit was done."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tool", choices=tools)
    parser.add_argument("parts", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    train, kinds = read(given.parts)
    started, worked = time.perf_counter(), sum(os.times()[:4])
    made, fitted = tools[given.tool](train, kinds, given.rows, given.seed)
    ended = time.perf_counter()
    made = made[list(train.columns)]
    scratch = given.out.with_name(f".{given.out.name}.writing")
    made.to_csv(scratch, index=False)
    os.replace(scratch, given.out)
    cost: dict[str, Any] = {
        "tool": given.tool,
        "rows": len(made),
        "seed": given.seed,
        "fit_s": round(fitted - started, 2),
        "sample_s": round(ended - fitted, 2),
        "cpu_s": round(sum(os.times()[:4]) - worked, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
    }
    given.out.with_suffix(".json").write_text(json.dumps(cost) + "\n")
    print(json.dumps(cost))
