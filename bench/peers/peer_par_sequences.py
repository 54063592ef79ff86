"""PAR of sdv 2.0: a recurrent net that tells the next row of a stay, all columns of it at once, each as a normal with a chance to be empty.

Its loss reads the values of a stay that is shorter than the longest from the padding, so that every stay is as many rows here: those of
its first times, then empty ones. Numbers are normal scores of their ranks. An epoch is one step of the optimiser on all stays, whose
loss is a loop over columns and stays: of 400 stays it takes 9 s, of 1,600 stays 56 s. It learns from 400 of them, so that an hour holds
more than its default of 128 epochs, and at more than a second a stay is asked for 300.
"""

import warnings
from collections.abc import Iterator
from itertools import count

import deepecho.models.par as par
import numpy as np
import pandas as pd
import torch
from scipy.stats import norm
from sdv.metadata import Metadata
from sdv.sequential import PARSynthesizer
from stays import KEY, Clock, Made, Ranks, main, stacked, unstacked, wide

ROWS = 96
STAYS, ASKED = 400, 300
NUMBERS = ("Age", "Height")


def make(stays: pd.DataFrame, events: pd.DataFrame, n: int, seed: int, clock: Clock) -> None:
    warnings.filterwarnings("ignore")
    np.random.seed(seed)
    torch.manual_seed(seed)
    cells, columns = stacked(stays, wide(events), ROWS)
    ranks = [Ranks(pd.Series(cells[:, :, i].ravel())) for i in range(len(columns))]
    some = np.sort(np.random.permutation(len(stays))[:STAYS])
    told = np.stack([norm.ppf(rank.told(cells[some, :, i])) for i, rank in enumerate(ranks)], axis=2)
    frame = pd.DataFrame(told.reshape(-1, len(columns)), columns=columns)
    statics = stays.iloc[some].loc[stays.index[some].repeat(ROWS)].reset_index(drop=True)
    known = {KEY: {"sdtype": "id"}} | {name: {"sdtype": "numerical"} for name in (*columns, *NUMBERS)}
    known = {name: known.get(name, {"sdtype": "categorical"}) for name in (*statics.columns, *columns)}
    metadata = Metadata.load_from_dict({"tables": {"stays": {"columns": known, "sequence_key": KEY}}, "relationships": []})
    model = PARSynthesizer(metadata, context_columns=[name for name in stays.columns if name != KEY], cuda=False)

    def sample() -> Made:
        made = model.sample_sequences(min(n, ASKED))["stays"]
        made[KEY] = "s" + made.groupby(KEY, sort=False).ngroup().astype(str)
        first = made.drop_duplicates(KEY)[list(stays.columns)]
        rows = made[columns].to_numpy(dtype=float).reshape(len(first), -1, len(columns))
        told = np.stack([rank.values(norm.cdf(rows[:, :, i])) for i, rank in enumerate(ranks)], axis=2)
        return first, unstacked(first[KEY], told, columns)

    class Bar:
        """In place of the bar of progress over the epochs: it ends by the clock."""

        def __init__(self, whole: range, **more: object) -> None:
            pass

        def set_description(self, said: str) -> None:
            pass

        def __iter__(self) -> Iterator[int]:
            for epoch in count():
                yield epoch
                if clock.due():
                    print(epoch + 1, "epochs", flush=True)
                    model._fitted = True  # but for the epochs to come
                    clock.write(sample)
                if clock.over:
                    return

    par.tqdm = Bar
    model.fit({"stays": pd.concat([statics, frame], axis=1)})


if __name__ == "__main__":
    main("par", make)
