"""The Gaussian copula, TVAE and CTGAN of sdv 2.0 at their defaults; levels and numbers as the schema says."""

import time
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import DATES, LEVELS, main
from sdv.metadata import Metadata
from sdv.single_table import CTGANSynthesizer, GaussianCopulaSynthesizer, TVAESynthesizer


def make(synthesizer: Any, train: pd.DataFrame, kinds: dict[str, str], rows: int, seed: int) -> tuple[pd.DataFrame, float]:
    """sdv samples from a fixed seed of its own; ours rules the training."""
    np.random.seed(seed)
    torch.manual_seed(seed)
    columns: dict[str, dict[str, str]] = {}
    for name, kind in kinds.items():
        columns[name] = {"sdtype": "categorical" if kind in LEVELS else "datetime" if kind in DATES else "numerical"}
    metadata = Metadata.load_from_dict({"tables": {"patients": {"columns": columns}}, "relationships": []})
    model = synthesizer(metadata)
    model.fit({"patients": train})
    fitted = time.perf_counter()
    return model.sample(rows)["patients"], fitted


if __name__ == "__main__":
    main(
        {
            "copula": partial(make, GaussianCopulaSynthesizer),
            "tvae": partial(make, partial(TVAESynthesizer, enable_gpu=False)),
            "ctgan": partial(make, partial(CTGANSynthesizer, enable_gpu=False)),
        }
    )
