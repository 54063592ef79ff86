"""DoppelGANger as in gretel-synthetics (DGAN): a recurrent generator against a Wasserstein critic of whole stays.

It takes neither empty cells nor unequal lengths, so that a stay is 200 rows: of each time the gap to the one before, of each variable its
last value so far and whether it is measured now, and a flag that the stay goes on, as its own reading of long frames has it. Numbers are
ranks. Ten rows a cell of the recurrent net and batches of 100 are the DoppelGANger paper's; all else is its default.
"""

import warnings
from contextlib import suppress

import numpy as np
import pandas as pd
import torch
from gretel_synthetics.timeseries_dgan.config import DGANConfig, OutputType
from gretel_synthetics.timeseries_dgan.dgan import DGAN
from stays import KEY, Clock, Made, Ranks, main, stacked, unstacked, wide

ROWS = 200
NUMBERS = ("Age", "Height")


class Enough(Exception):
    """The clock is over: the tool has no other way to stop."""


def make(stays: pd.DataFrame, events: pd.DataFrame, n: int, seed: int, clock: Clock) -> None:
    warnings.filterwarnings("ignore", category=FutureWarning)
    np.random.seed(seed)
    torch.manual_seed(seed)
    cells, columns = stacked(stays, wide(events), ROWS)
    ranks = [Ranks(pd.Series(cells[:, :, i].ravel())) for i in range(len(columns))]
    cells = np.stack([rank.told(cells[:, :, i]) for i, rank in enumerate(ranks)], axis=2)
    lengths = (~np.isnan(cells[:, :, 0])).sum(axis=1)
    features = []
    for length, stay in zip(lengths, cells, strict=True):
        values = stay[:length, 1:]
        on = np.arange(length)[:, None] < length - 1
        features.append(np.hstack([stay[:length, :1], pd.DataFrame(values).ffill().fillna(0.5), ~np.isnan(values), on]))
    kinds = [OutputType.CONTINUOUS] * len(columns) + [OutputType.DISCRETE] * len(columns)  # the last is the flag

    own = {name: Ranks(stays[name]) for name in NUMBERS}
    levels = {name: pd.Categorical(stays[name].fillna("")) for name in stays.columns if name not in (KEY, *NUMBERS)}
    parts, types = [], []
    for name in own:
        told = own[name].told(stays[name].to_numpy(dtype=float))
        parts += [np.nan_to_num(told, nan=0.5), ~np.isnan(told)]
        types += [OutputType.CONTINUOUS, OutputType.DISCRETE]
    parts += [level.codes for level in levels.values()]
    types += [OutputType.DISCRETE] * len(levels)

    model = DGAN(DGANConfig(max_sequence_len=ROWS, sample_len=10, batch_size=100, epochs=10**6, cuda=False))

    def sample() -> Made:
        attributes, rows = model.generate_numpy(n)
        model._set_mode(True)  # generate leaves it in the other one
        rows, attributes = np.stack(rows).astype(float), attributes.astype(float)
        made = pd.DataFrame({KEY: [f"s{i}" for i in range(n)]})
        for i, (name, rank) in enumerate(own.items()):
            made[name] = rank.values(np.where(attributes[:, 2 * i + 1] > 0.5, attributes[:, 2 * i], np.nan))
        for i, (name, level) in enumerate(levels.items(), 2 * len(own)):
            made[name] = np.asarray(level.categories)[attributes[:, i].astype(int)]
        told = rows[:, :, : len(columns)]
        told[:, :, 1:][rows[:, :, len(columns) : -1] < 0.5] = np.nan
        before = np.cumsum(rows[:, :, -1] < 0.5, axis=1) - (rows[:, :, -1] < 0.5)  # the row whose flag is down is the last
        told[:, :, 0][before > 0] = np.nan
        told = np.stack([rank.values(told[:, :, i]) for i, rank in enumerate(ranks)], axis=2)
        return made[list(stays.columns)], unstacked(made[KEY], told, columns)

    steps = 0

    def progress(said: object) -> None:
        nonlocal steps
        steps += 1
        if clock.due():
            print(steps, said, flush=True)
            clock.write(sample)
        if clock.over:
            raise Enough

    with suppress(Enough):
        model.train_numpy(features, kinds, np.column_stack(parts).astype(float), types, progress_callback=progress)


if __name__ == "__main__":
    main("dgan", make)
