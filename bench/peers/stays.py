"""What the peers' scripts for stays over time share: the same reading, the same clock, the same writing. Needs pandas.

    PEER/bin/python peer_PEER_sequences.py TRAIN --out WORK --minutes 13 60 --n 1200 --seed 1

TRAIN holds stays.csv and events.csv of the training patients. The minutes are the processor's, on one core, since others may use the
machine. After 13 of them the peer samples, and goes on to 60: WORK/PEER-13 and WORK/PEER-60 hold its stays, its events and cost.json.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

KEY = "RecordID"
Made = tuple[pd.DataFrame, pd.DataFrame]


class Clock:
    """Counts the fit alone: what a sample takes is not of the budget."""

    def __init__(self, tool: str, out: Path, minutes: list[float], seed: int) -> None:
        self.tool, self.out, self.marks, self.seed = tool, out, sorted(minutes), seed
        self._started = time.process_time()

    @property
    def over(self) -> bool:
        """Nothing more is asked."""
        return not self.marks

    def due(self) -> bool:
        return not self.over and time.process_time() - self._started >= 60 * self.marks[0]

    def write(self, sample: Callable[[], Made], early: bool = False) -> None:
        """The stays and events of the mark that is due; `early`: the tool ended by its own rule, and this answers every mark left."""
        begun = time.process_time()
        stays, events = sample()
        ended = time.process_time()
        cost = {
            "tool": self.tool, "seed": self.seed, "stays": len(stays), "events": len(events),
            "fit_s": round(begun - self._started, 1), "sample_s": round(ended - begun, 1),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
            "ended_itself": early,
        }  # fmt: skip
        for mark in self.marks if early else self.marks[:1]:
            folder = self.out / f"{self.tool}-{mark:g}"
            scratch = folder.with_name(f".{folder.name}.writing")
            scratch.mkdir(parents=True, exist_ok=True)
            stays.to_csv(scratch / "stays.csv", index=False)
            events.to_csv(scratch / "events.csv", index=False)
            (scratch / "cost.json").write_text(json.dumps(cost) + "\n")
            os.replace(scratch, folder)
        print(json.dumps(cost), flush=True)
        self.marks = [] if early else self.marks[1:]
        self._started += time.process_time() - begun


def arguments() -> argparse.Namespace:
    """How every one of these scripts is called."""
    parser = argparse.ArgumentParser()
    parser.add_argument("train", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="+", required=True)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main(tool: str, make: Callable[[pd.DataFrame, pd.DataFrame, int, int, Clock], None]) -> None:
    """`make(stays, events, n, seed, clock)` fits, and writes by the clock whenever it is due until it is over."""
    given = arguments()
    text = {KEY: "object", "Gender": "object", "ICUType": "object", "died": "object", "parameter": "object"}
    stays, events = (pd.read_csv(given.train / f"{name}.csv", dtype=text) for name in ("stays", "events"))
    make(stays, events, given.n, given.seed, Clock(tool, given.out, given.minutes, given.seed))


class Ranks:
    """A variable as its rank in (0, 1) among the training values, and back to one of these: for tools that tell but one smooth shape."""

    def __init__(self, values: pd.Series) -> None:
        self._sorted = np.sort(values.dropna().to_numpy())

    def told(self, values: np.ndarray) -> np.ndarray:
        low, high = (np.searchsorted(self._sorted, values, side) for side in ("left", "right"))
        return np.where(np.isnan(values), np.nan, (low + high) / 2 / len(self._sorted))

    def values(self, ranks: np.ndarray) -> np.ndarray:
        at = np.clip(np.nan_to_num(ranks) * len(self._sorted), 0, len(self._sorted) - 1).astype(int)
        return np.where(np.isnan(ranks), np.nan, self._sorted[at])


def stacked(stays: pd.DataFrame, steps: pd.DataFrame, length: int) -> tuple[np.ndarray, list[str]]:
    """Each stay's first rows in the order of `stays`, (stays, length, columns), empty after the last; the first column is the gap."""
    gaps = steps.groupby(KEY)["minute"].diff().fillna(steps["minute"])
    rows = steps.drop(columns=[KEY, "minute"])
    rows.insert(0, "gap", gaps)
    stay, place = pd.Index(stays[KEY]).get_indexer(steps[KEY]), steps.groupby(KEY).cumcount().to_numpy()
    cells = np.full((len(stays), length, rows.shape[1]), np.nan)
    kept = place < length
    cells[stay[kept], place[kept]] = rows.to_numpy()[kept]
    return cells, list(rows.columns)


def unstacked(keys: pd.Series, cells: np.ndarray, columns: list[str]) -> pd.DataFrame:
    """The events of such cells; a row without a gap is none."""
    gaps = cells[:, :, 0]
    on = ~np.isnan(gaps)
    steps = pd.DataFrame(cells[on][:, 1:], columns=columns[1:])
    steps.insert(0, "minute", np.round(np.cumsum(np.where(on, gaps, 0), axis=1))[on])
    steps.insert(0, KEY, np.repeat(keys.to_numpy(), on.sum(axis=1)))
    return long(steps)


def wide(events: pd.DataFrame) -> pd.DataFrame:
    """A row for each stay and time, a column for each variable, empty where not measured; a second value of one minute is a second row."""
    again = events.groupby([KEY, "minute", "parameter"]).cumcount().rename("again")
    steps = events.assign(again=again).pivot(index=[KEY, "minute", "again"], columns="parameter", values="value")
    return steps.reset_index().drop(columns="again").rename_axis(columns=None)


def long(steps: pd.DataFrame) -> pd.DataFrame:
    """The events of such rows, stays and rows in their own order."""
    melted = steps.reset_index(drop=True).melt([KEY, "minute"], var_name="parameter", ignore_index=False).dropna(subset="value")
    return melted.sort_index(kind="stable")[[KEY, "minute", "parameter", "value"]].reset_index(drop=True)
