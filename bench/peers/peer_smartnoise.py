"""AIM, MST, DPCTGAN and PATECTGAN of smartnoise-synth at epsilon 1 and 3, delta 1e-5, for which all of it is left.

Its own search for bounds finds none at these budgets ("BinTransformer could not find bounds"), so numbers come to it in eight bins with
as many training patients each, cut without noise and for nothing: better than it could do. They leave as a number drawn evenly from
the bin. A tool is called `aim-1`: the synthesizer and epsilon. All else is at its defaults, but in `shortaim`.
"""

import time
from functools import partial

import numpy as np
import pandas as pd
import torch
from common import LEVELS, main
from snsynth import Synthesizer

DELTA, BINS = 1e-5, 8
#: AIM at its defaults does not end on 35 columns: the short one has 40 rounds in place of 560, and a model of 8 MB in place of 80.
OPTIONS = {"mst": {"delta": DELTA}, "aim": {"delta": DELTA}, "shortaim": {"delta": DELTA, "rounds": 40, "max_model_size": 8}}


def make(name: str, epsilon: float, train: pd.DataFrame, kinds: dict[str, str], rows: int, seed: int) -> tuple[pd.DataFrame, float]:
    """Everything is a category to the tool, missing one of its levels."""
    np.random.seed(seed)
    torch.manual_seed(seed)
    edges, codes = {}, pd.DataFrame(index=train.index)
    for column, kind in kinds.items():
        if kind in LEVELS:
            codes[column] = train[column].fillna("missing").astype(str)
            continue
        values = train[column].to_numpy(float)
        edges[column] = np.unique(np.nanquantile(values, np.linspace(0, 1, BINS + 1)))
        cells = np.clip(np.searchsorted(edges[column], values, side="right"), 1, max(1, len(edges[column]) - 1))
        codes[column] = np.where(np.isnan(values), 0, cells).astype(str)
    model = Synthesizer.create("aim" if name == "shortaim" else name, epsilon=epsilon, **OPTIONS.get(name, {}))
    model.fit(codes, categorical_columns=list(codes))
    fitted = time.perf_counter()
    made = model.sample(rows)
    for column in made:
        if column not in edges:
            made[column] = made[column].astype(str).replace("missing", None)
            continue
        cell, ends = made[column].astype(int).to_numpy(), edges[column]
        low, high = ends[np.maximum(cell - 1, 0)], ends[np.minimum(cell, len(ends) - 1)]
        values = np.where(cell == 0, np.nan, low + (high - low) * np.random.random(rows))
        made[column] = np.round(values) if kinds[column] == "integer" else values
    return made, fitted


if __name__ == "__main__":
    main({f"{name}-{epsilon}": partial(make, name, float(epsilon)) for name in (*OPTIONS, "dpctgan", "patectgan") for epsilon in (1, 3)})
