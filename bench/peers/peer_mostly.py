"""The engine of MOSTLY AI at its defaults; levels as the schema says, numbers encoded as it chooses.

`mostly-1` and `mostly-3` are its differentially private mode at that epsilon, delta 1e-5, a tenth of it for ranges and levels.
"""

import tempfile
import time
from functools import partial
from typing import Any

import pandas as pd
from common import LEVELS, main
from mostlyai.engine import TabularARGN
from mostlyai.engine.domain import DifferentialPrivacyConfig


def make(epsilon: float | None, train: pd.DataFrame, kinds: dict[str, str], rows: int, seed: int) -> tuple[pd.DataFrame, float]:
    more: dict[str, Any] = {}
    if epsilon is not None:
        more["differential_privacy"] = DifferentialPrivacyConfig(
            max_epsilon=0.9 * epsilon, delta=1e-5, value_protection_epsilon=0.1 * epsilon
        )
    encodings = {name: "TABULAR_CATEGORICAL" for name, kind in kinds.items() if kind in LEVELS}
    with tempfile.TemporaryDirectory() as workspace:  # it keeps the training data: nothing of it stays
        model = TabularARGN(tgt_encoding_types=encodings, workspace_dir=workspace, random_state=seed, device="cpu", **more)
        model.fit(train)
        fitted = time.perf_counter()
        return model.sample(rows), fitted


if __name__ == "__main__":
    main({"mostly": partial(make, None), "mostly-1": partial(make, 1.0), "mostly-3": partial(make, 3.0)})
