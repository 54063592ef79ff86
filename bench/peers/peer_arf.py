"""Adversarial random forests (arfpy) at their defaults. No cell may be empty: such a number is at the median beside a flag."""

import time

import numpy as np
import pandas as pd
from arfpy import arf
from common import DATES, LEVELS, main

_EMPTY = "(empty)"


def make(train: pd.DataFrame, kinds: dict[str, str], rows: int, seed: int) -> tuple[pd.DataFrame, float]:
    np.random.seed(seed)
    table = pd.DataFrame(index=train.index)
    flagged = [name for name, kind in kinds.items() if kind not in LEVELS and train[name].isna().any()]
    for name, kind in kinds.items():
        values = train[name]
        if kind in LEVELS:
            table[name] = values.fillna(_EMPTY).astype(str).astype("category")
        else:
            numbers = values.astype("int64") / 1e9 if kind in DATES else values.astype(float)
            table[name] = numbers.where(values.notna(), numbers[values.notna()].median())
    for name in flagged:
        table[f"{name} {_EMPTY}"] = train[name].isna().astype(str).astype("category")
    model = arf.arf(x=table, random_state=seed, verbose=False)
    model.forde()
    fitted = time.perf_counter()
    made = model.forge(n=rows)
    for name in flagged:
        made.loc[made[f"{name} {_EMPTY}"].astype(str) == "True", name] = np.nan
    for name, kind in kinds.items():
        if kind in LEVELS:
            made[name] = made[name].astype(object).where(made[name].astype(str) != _EMPTY, None)
        elif kind in DATES:
            made[name] = pd.to_datetime(made[name] * 1e9)
        elif kind == "integer":  # the tool knows no whole numbers
            made[name] = made[name].round()
    return made, fitted


if __name__ == "__main__":
    main({"arf": make})
