"""anonymeter's three risks: singling out, linkability, inference.

    PEER/bin/python peer_anonymeter.py FOLDER --out FIGURES.json --attacks N

FOLDER as for peer_synthmia.py, with train.csv, holdout.csv and blocks.json, the columns of either file to link. Controls are the
holdout and the reference together.
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anonymeter.evaluators import InferenceEvaluator, LinkabilityEvaluator, SinglingOutEvaluator

COLUMNS = 20


def told(evaluator: Any, started: float) -> dict[str, float]:
    """The risk with its interval, and the rates among the training patients and among the controls behind it."""
    risk, results = evaluator.risk(confidence_level=0.95), evaluator.results(confidence_level=0.95)
    return {
        "risk": risk.value,
        "low": risk.ci[0],
        "high": risk.ci[1],
        "members": results.attack_rate.value,
        "controls": results.control_rate.value,
        "seconds": round(time.process_time() - started, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--attacks", type=int, default=500)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    levels = json.loads((given.folder / "levels.json").read_text())
    parts = {}
    for part in ("train", "holdout", "synthetic", "reference"):
        frame = pd.read_csv(given.folder / f"{part}.csv", dtype=dict.fromkeys(levels, "object"), keep_default_na=False)
        parts[part] = frame.astype(dict.fromkeys(levels, "object") | dict.fromkeys(frame.columns.difference(levels), "float64"))
    train, synthetic = parts["train"], parts["synthetic"]
    control = pd.concat([parts["holdout"], parts["reference"]], ignore_index=True)
    attacks = min(given.attacks, len(control), len(train))
    found: dict[str, Any] = {}

    def run(name: str, make: Any, **how: Any) -> None:
        started = time.process_time()
        np.random.seed(1)
        try:
            found[name] = told(make().evaluate(**how), started)
        except Exception as error:
            found[name] = {"failed": f"{type(error).__name__}: {error}"[:120], "seconds": round(time.process_time() - started, 2)}
        given.out.write_text(json.dumps(found))

    for mode in ("univariate", "multivariate"):
        run(
            f"singling out, {mode}",
            lambda: SinglingOutEvaluator(ori=train, syn=synthetic, control=control, n_attacks=attacks, max_attempts=100_000, seed=1),
            mode=mode,
        )
    blocks = json.loads((given.folder / "blocks.json").read_text())
    run(
        "linkability",
        lambda: LinkabilityEvaluator(ori=train, syn=synthetic, control=control, n_attacks=attacks, aux_cols=tuple(blocks)),
        n_jobs=1,
    )
    for secret in [*train.columns][:COLUMNS]:
        known = [name for name in train.columns if name != secret]
        run(
            f"inference of {secret}",
            lambda secret=secret, known=known: InferenceEvaluator(
                ori=train,
                syn=synthetic,
                control=control,
                aux_cols=known,
                secret=secret,
                regression=secret not in levels,
                n_attacks=attacks,
            ),
            n_jobs=1,
        )


if __name__ == "__main__":
    main()
