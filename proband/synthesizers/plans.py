"""Plans of histories: how often each variable will be measured in all, how high, which way, told with the patients' own columns.

Which tests a patient gets, and at what level they run, hang together across all variables; a forest of tables tells that better than a
network that goes step by step, which is then told what it has to come to.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch

from proband.cohort import Cohort
from proband.encode.numbers import to_numbers
from proband.encode.sequences import StepEncoder, Steps
from proband.game.sequences import PLAN, Historian
from proband.schema import Column, Schema, Table
from proband.synthesizers import linked

MOST = 60  # variables; a plan of more is more columns than a forest tells well


def made(schema: Schema, table: Table, steps: StepEncoder) -> bool:
    """Whether histories of this table have plans: measures of the patients themselves."""
    return table.measures is not None and table.parent == schema.table.name and len(steps.variables) <= MOST


def of(net: Historian, steps: Steps, owners: int) -> torch.Tensor:
    """(owners, variables, PLAN) how often each variable was measured, its mean score, and the mean score of the later half of its values
    less that of the earlier; NaN where there are none to tell from."""
    tokens = torch.from_numpy(steps.tokens[:, 1:].astype(np.int64))
    there = tokens > 0
    scores = net.score[tokens + net.steps.starts[1:]] * there
    owner = torch.tensor(steps.owner)
    summed = lambda x: torch.zeros(owners, net.variables).index_add(0, owner, x.float())  # noqa: E731
    often = summed(there)
    so_far = there.cumsum(0, dtype=torch.int32) - there.int()  # of all owners before, too
    before = so_far - (often.int().cumsum(0, dtype=torch.int32) - often.int())[owner]
    half = (often / 2).floor()
    rise = summed(scores * (before >= (often - half)[owner])) - summed(scores * (before < half[owner]))
    told = [often, torch.where(often > 0, summed(scores) / often, torch.nan), torch.where(half > 0, rise / half, torch.nan)]
    return torch.stack(told, -1)


def none(owners: int, net: Historian) -> torch.Tensor:
    """Nothing is planned."""
    return torch.full((owners, net.variables, PLAN), torch.nan)


def added(root: Cohort, table: Table, plan: torch.Tensor) -> Cohort:
    """The patients' own table with the plans of their histories as columns."""
    columns, series = [], []
    for variable in range(plan.shape[1]):
        often, *scores = _names(table, variable)
        columns.append(Column(name=often, kind="integer", low=0))
        series.append(pl.Series(often, plan[:, variable, 0].numpy().astype(np.int64)))
        for at, (name, most) in enumerate(zip(scores, (1, 2), strict=True), 1):
            columns.append(Column(name=name, kind="number", low=-most, high=most))
            series.append(pl.Series(name, plan[:, variable, at].numpy().round(2).astype(float)).fill_nan(None))
    first = root.schema.table.model_copy(update={"columns": (*root.schema.table.columns, *columns)})
    return Cohort(root.schema.model_copy(update={"tables": (first,)}), root.frame.with_columns(series))


def read(frame: pl.DataFrame, table: Table, steps: StepEncoder, net: Historian) -> torch.Tensor:
    """The plans that stand in the rows of `frame`; none where it has no such columns."""
    plan = none(frame.height, net)
    for variable in range(len(steps.variables)):
        for at, name in enumerate(_names(table, variable)):
            if name in frame.columns:
                plan[:, variable, at] = torch.from_numpy(to_numbers(frame[name])).float()
    return plan


def _names(table: Table, variable: int) -> list[str]:
    return [f"{linked.PLAN} {table.name} {variable} {what}" for what in ("often", "level", "rise")]
