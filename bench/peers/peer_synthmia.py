"""Synth-MIA's membership attacks at the settings of its own experiments.

    PYTHONPATH=CHECKOUT PEER/bin/python peer_synthmia.py FOLDER --out FIGURES.json --seconds S

FOLDER has members.csv, strangers.csv, reference.csv and synthetic.csv, without an empty cell, and levels.json, the names of the
columns that are levels. It is in no registry: CHECKOUT is a copy of its repository. Every attack may take S seconds of a core; its
kernel densities refuse columns that depend on one another, and what they say then is written down.
"""

import argparse
import json
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
from synth_mia import attackers
from synth_mia.utils import TabularPreprocessor


def battery() -> dict[str, object]:
    """The attacks and settings of the project's published experiments (of six k of Gen-LRA three), and the default of DPI."""
    made: dict[str, object] = {f"Gen-LRA, k = {k}": attackers.GenLRA(k_nearest=k) for k in (1, 10, 100)}
    made |= {f"DPI, k = {k}": attackers.DPI(k_nearest=k) for k in (1, 5, 10, 20, 25, 50, 100)}
    others = ("DCR", "DCRDiff", "LOGAN", "DOMIAS", "MC", "LocalNeighborhood", "Classifier", "DensityEstimate")
    return made | {name: getattr(attackers, name)() for name in others}


def late(*_: object) -> None:
    raise TimeoutError("took too long")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=300)
    given = parser.parse_args()
    levels = json.loads((given.folder / "levels.json").read_text())
    frames = []
    for part in ("members", "strangers", "synthetic", "reference"):
        frame = pd.read_csv(given.folder / f"{part}.csv", dtype=dict.fromkeys(levels, "object"), keep_default_na=False)
        frames.append(frame.astype(dict.fromkeys(levels, "object") | dict.fromkeys(frame.columns.difference(levels), "float64")))
    found: dict[str, dict[str, object]] = {}
    signal.signal(signal.SIGVTALRM, late)
    for coding in ("ordinal", "one-hot"):  # that of its experiments, and its default
        plain = frames
        if coding == "ordinal":  # a flag that is up for hardly anybody is what a kernel density refuses first
            plain = [frame[[name for name in frame.columns if not name.endswith("(empty)")]] for frame in frames]
        ready = TabularPreprocessor(fit_target="synth", categorical_encoding=coding, numeric_encoding="standard")
        members, strangers, synthetic, reference, _ = ready.fit(*plain).transform(*plain)
        for name, attacker in battery().items():
            np.random.seed(1)
            started = time.process_time()
            signal.setitimer(signal.ITIMER_VIRTUAL, given.seconds)
            try:
                truth, scores = attacker.attack(members, strangers, synthetic, reference)
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                figures = attacker.eval(truth, np.nan_to_num(scores, posinf=1e300, neginf=-1e300), metrics=["roc"], target_fprs=[0.01])
                made = {"tpr": float(figures["tpr_at_fpr_0.01"]), "auc": float(figures["auc_roc"])}
            except Exception as error:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                made = {"failed": f"{type(error).__name__}: {error}"[:120]}
            found[f"{name} ({coding})"] = made | {"seconds": round(time.process_time() - started, 2)}
            given.out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
