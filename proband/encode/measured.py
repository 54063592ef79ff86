"""The codes of a long table as variables: a code with values is a number, one without a sign, and rare codes share groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from proband.encode.numbers import from_numbers, to_numbers
from proband.errors import InputError
from proband.schema import Column, Table
from proband.schema.grids import find_grid

#: Variables of one table that are told one by one; groups of the codes beyond them, so that few of one moment share a group.
MOST_VARIABLES, GROUPS = 200, 20
#: Quantiles of a rare code's values from which they are drawn, and the patients who must have it.
QUANTILES, FEWEST = np.linspace(0.05, 0.95, 10), 5
_THERE = "(no value)"
_NOBODY = "(none)"  # the code of rows without one


@dataclass(frozen=True)
class Measured:
    """Which variable a row's code and value are, and back.

    columns   the variables in order: codes with values, signs of rows without a value, groups of rare codes
    rare      the codes of the groups, by turn: the i-th is in group i modulo `GROUPS`
    values    (rare, quantiles) of the values of each; NaN where too few patients have any
    decimals  (rare,) with which they are written
    valued    (rare,) the share of rows with a value
    """

    table: Table
    columns: tuple[Column, ...]
    rare: tuple[str, ...]
    values: np.ndarray
    decimals: np.ndarray
    valued: np.ndarray

    @staticmethod
    def learn(table: Table, frame: pl.DataFrame, patients: np.ndarray) -> Measured:
        """From all rows of a table; `patients` (rows,) whose each is. InputError for a code that is not declared."""
        code, value = _measures(table)
        declared = {column.name: column for column in table.variables}
        rows = frame.select(code=pl.col(code).cast(pl.String), value=to_numbers(frame[value])).with_columns(patient=patients)
        seen = rows["code"].drop_nulls().unique().sort().to_list()
        unknown = [name for name in seen if name not in declared] if declared else []
        if unknown:
            raise InputError(
                f"Table {table.name!r}: code {unknown[0]!r} is not among the declared variables. Declare it, or drop its rows."
            )
        rows = rows.with_columns(pl.col("value").fill_nan(None))
        kinds = (
            rows.group_by("code", bare=pl.col("value").is_null())
            .len()
            .sort("len", "code", "bare", descending=[True, False, False], nulls_last=True)
        )
        own = lambda name: declared.get(name) or table[value].model_copy(update={"name": name, "grid": None})  # noqa: E731
        usual = kinds
        if kinds.height > MOST_VARIABLES:  # all of a code or nothing, and always the rows without one
            codes = kinds.group_by("code").agg(pl.len().alias("kinds"), pl.col("len").sum())
            codes = codes.sort(pl.col("code").is_null(), "len", "code", descending=[True, True, False])
            usual = kinds.join(codes.filter(pl.col("kinds").cum_sum() <= MOST_VARIABLES - GROUPS), on="code", how="semi", nulls_equal=True)
        common = set(usual["code"].to_list())
        numbers = [own(name) for name in (declared or seen) if (name, False) in set(usual.select("code", "bare").rows())]
        signs = [_sign(name) for name, bare in usual.select("code", "bare").sort("code").rows() if bare]
        rare = [name for name in kinds["code"].unique(maintain_order=True).to_list() if name is not None and name not in common]
        groups = [Column(name=_group(at), kind="category", categories=tuple(rare[at::GROUPS])) for at in range(min(GROUPS, len(rare)))]
        told = rows.filter(pl.col("code").is_in(rare))
        values, decimals, valued = np.full((len(rare), len(QUANTILES)), np.nan), np.zeros(len(rare), np.int32), np.zeros(len(rare))
        place = {name: at for at, name in enumerate(rare)}
        for (name,), part in told.group_by("code"):
            known, at = part.drop_nulls("value"), place[str(name)]
            if known["patient"].n_unique() >= FEWEST:
                values[at] = np.quantile(known["value"].to_numpy(), QUANTILES)
                grid = find_grid(known["value"].unique().sort().to_numpy())
                decimals[at] = grid.decimals if grid else 6
                valued[at] = known.height / part.height
        columns = (*numbers, *signs, *groups) or (_sign(None),)  # of nothing something must be told, were it that it never comes
        return Measured(table, columns, tuple(rare), values, decimals, valued)

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: at for at, name in enumerate(self.rare)}

    def told(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`rows` with columns __variable and __number: which each is, and how much. Those that no variable tells are left out."""
        code, value = _measures(self.table)
        number = pl.Series(to_numbers(rows[value])).fill_nan(None)
        name = rows[code].cast(pl.String)
        at = name.replace_strict(list(self._place), list(self._place.values()), default=None, return_dtype=pl.Int64) if self.rare else None
        marked = pl.DataFrame({"name": name, "number": number}).with_columns(at=pl.lit(None, pl.Int64) if at is None else at)
        without = pl.col("number").is_null()
        marked = marked.select(
            __variable=pl.when(pl.col("at").is_not_null())
            .then(pl.format("(rare {})", pl.col("at") % GROUPS + 1))
            .when(without & pl.col("name").is_null())
            .then(pl.lit(_sign(None).name))
            .when(without)
            .then(pl.format(f"{{}} {_THERE}", pl.col("name")))
            .otherwise(pl.col("name").fill_null(_NOBODY)),
            __number=pl.when(pl.col("at").is_not_null()).then(pl.col("at").cast(pl.Float64)).when(without).then(1.0).otherwise("number"),
        )
        known = [column.name for column in self.columns]
        return pl.concat([rows, marked], how="horizontal").filter(pl.col("__variable").is_in(known))

    def typed(self, numbers: pl.Series, column: Column) -> pl.Series:
        """The numbers of one variable in its own type: a level of a group by its place among the rare codes."""
        if not column.discrete:
            return from_numbers(to_numbers(numbers), column).alias(column.name)
        levels = {1.0: "yes"} if column.name.endswith(_THERE) else {float(self._place[name]): name for name in column.categories or ()}
        return numbers.cast(pl.Float64).replace_strict(levels, default=None, return_dtype=pl.String).alias(column.name)

    def numbers(self, column: Column) -> pl.Expr:
        """The inverse of `typed`, of a frame's column."""
        if not column.discrete:
            return pl.col(column.name).cast(pl.Float64)
        if column.name.endswith(_THERE):
            return pl.when(pl.col(column.name).is_not_null()).then(1.0).alias(column.name)
        return pl.col(column.name).replace_strict(self._place, default=None, return_dtype=pl.Float64)

    def rows(self, variable: pl.Series, number: pl.Series, rng: np.random.Generator) -> pl.DataFrame:
        """Code and value of rows of which the variable and its number are known: the inverse of `told`, but for values of rare codes,
        which are drawn between the quantiles of their code."""
        code, value = _measures(self.table)
        codes = {column.name: column.name.removesuffix(f" {_THERE}") for column in self.columns if column.name != _sign(None).name}
        there = variable.str.ends_with(_THERE).to_numpy()
        grouped = variable.is_in([column.name for column in self.columns if column.name.startswith("(rare ")]).to_numpy()
        found = np.where(there, np.nan, number.to_numpy().astype(float))
        names = variable.replace_strict(list(codes), list(codes.values()), default=None, return_dtype=pl.String)
        if grouped.any():
            at = np.where(grouped, np.nan_to_num(found), 0).astype(int)
            between = rng.random(len(at)) * (len(QUANTILES) - 1)
            low = np.floor(between).astype(int)
            drawn = self.values[at, low] + (between - low) * (self.values[at, low + 1] - self.values[at, low])
            scale = 10.0 ** self.decimals[at]
            drawn = np.where(rng.random(len(at)) < self.valued[at], np.round(drawn * scale) / scale, np.nan)
            found = np.where(grouped, drawn, found)
            names = pl.select(pl.when(pl.Series(grouped)).then(pl.Series(self.rare).gather(at)).otherwise(names)).to_series()
        return pl.DataFrame([names.alias(code), from_numbers(found, self.table[value]).alias(value)])

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        plain = {"columns": [column.model_dump(mode="json") for column in self.columns], "rare": list(self.rare)}
        return plain, {"values": self.values, "decimals": self.decimals, "valued": self.valued}

    @staticmethod
    def restored(table: Table, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Measured:
        """The inverse of `state`. ValueError or KeyError when the parts do not fit together."""
        columns = tuple(Column.model_validate(column) for column in config["columns"])
        rare = tuple(str(name) for name in config["rare"])
        shapes = {"values": (len(rare), len(QUANTILES)), "decimals": (len(rare),), "valued": (len(rare),)}
        if any(arrays[name].shape != shape for name, shape in shapes.items()):
            raise ValueError("the values of rare codes do not fit their codes")
        return Measured(table, columns, rare, arrays["values"], arrays["decimals"], arrays["valued"])


def _measures(table: Table) -> tuple[str, str]:
    assert table.measures is not None
    return table.measures[0], table.measures[1]


def _sign(code: str | None) -> Column:
    return Column(name=f"{_NOBODY if code is None else code} {_THERE}", kind="category", categories=("yes",))


def _group(at: int) -> str:
    return f"(rare {at + 1})"
