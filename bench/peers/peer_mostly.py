"""The engine of MOSTLY AI at its defaults; levels as the schema says, numbers encoded as it chooses."""

import tempfile
import time

import pandas as pd
from common import LEVELS, main
from mostlyai.engine import TabularARGN


def make(train: pd.DataFrame, kinds: dict[str, str], rows: int, seed: int) -> tuple[pd.DataFrame, float]:
    encodings = {name: "TABULAR_CATEGORICAL" for name, kind in kinds.items() if kind in LEVELS}
    with tempfile.TemporaryDirectory() as workspace:  # it keeps the training data: nothing of it stays
        model = TabularARGN(tgt_encoding_types=encodings, workspace_dir=workspace, random_state=seed, device="cpu")
        model.fit(train)
        fitted = time.perf_counter()
        return model.sample(rows), fitted


if __name__ == "__main__":
    main({"mostly": make})
