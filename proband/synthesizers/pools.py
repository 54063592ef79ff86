"""The rows of linked tables, each cell drawn on its own: right counts and right values, and nothing that holds a history together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.encode.frames import from_arrays, to_arrays
from proband.encode.tables import fresh_prefix
from proband.schema import Schema, Table


@dataclass(frozen=True)
class Pools:
    """For each table but the first: how many rows a parent's row owns, in ascending order, and its columns, each in an order of its own.

    A code and its value stay together, since one tells what the other means.
    """

    schema: Schema
    prefix: str
    counts: dict[str, np.ndarray]
    frames: dict[str, pl.DataFrame]

    @staticmethod
    def of(cohort: Cohort, draw: np.random.Generator) -> Pools:
        frames, counts = {table.name: frame for table, frame in cohort.tables}, {}
        shuffled = {}
        for table in cohort.schema.children:
            parent, rows = cohort.schema[table.parent or ""], frames[table.name]
            owners = frames[parent.name].select(pl.col(parent.key or "").alias("owner"))
            owned = rows.group_by(pl.col(table.on or "").alias("owner")).len()
            counts[table.name] = owners.join(owned, on="owner", how="left")["len"].fill_null(0).sort().cast(pl.Int64).to_numpy()
            orders = _orders(table, rows.height, rows.height, draw)
            shuffled[table.name] = pl.DataFrame([rows[column.name].gather(orders[column.name]) for column in table.columns])
        return Pools(cohort.schema, fresh_prefix(cohort), counts, shuffled)

    def drawn(self, first: pl.DataFrame, draw: np.random.Generator) -> dict[str, pl.DataFrame]:
        """Rows for the patients in `first`, by table: keys fresh, links into other tables missing, in the order of the table's `order`."""
        made = {self.schema.table.name: first}
        for table in self.schema.children:
            parent, pool = self.schema[table.parent or ""], self.frames[table.name]
            owners = made[parent.name][parent.key or ""]
            known = self.counts[table.name]
            many = known[draw.integers(len(known), size=len(owners))] if len(known) else np.zeros(len(owners), np.int64)
            owner, rows = np.repeat(np.arange(len(owners)), many), int(many.sum())
            orders = _orders(table, pool.height, rows, draw)
            columns = [pool[column.name].gather(orders[column.name]) for column in table.columns]
            frame = pl.DataFrame(columns).with_columns(owners.gather(owner).alias(table.on or ""))
            fresh = [c.name for c in table.columns if c.kind == "identifier" and c.name != table.on]
            linked = [link.column for link in table.links]
            number = pl.int_range(rows).cast(pl.String).str.zfill(6)
            frame = frame.with_columns(
                pl.lit(f"{self.prefix}{table.name}-").add(number).alias(name) for name in fresh if name not in linked
            )
            frame = frame.with_columns(pl.lit(None, pl.String).alias(name) for name in linked)
            along = pl.DataFrame({"owner": owner}).hstack(frame.select(pl.col(name).alias(f"order {name}") for name in table.order))
            made[table.name] = frame[along.select(pl.arg_sort_by(along.columns, maintain_order=True)).to_series()]
        del made[self.schema.table.name]
        return made

    def arrays(self) -> dict[str, np.ndarray]:
        """As they lie in a model folder."""
        found = {}
        for table in self.schema.children:
            found[f"{table.name}.counts"] = self.counts[table.name]
            found |= {f"{table.name}.{key}": array for key, array in to_arrays(self.frames[table.name]).items()}
        return found

    @staticmethod
    def restored(schema: Schema, prefix: str, arrays: dict[str, np.ndarray]) -> Pools:
        """The inverse of `arrays`; KeyError or ValueError where they do not fit the schema."""
        counts, frames = {}, {}
        for table in schema.children:
            own = {key.removeprefix(f"{table.name}."): array for key, array in arrays.items() if key.startswith(f"{table.name}.")}
            counts[table.name] = own.pop("counts")
            frames[table.name] = from_arrays(own, table)
            if (
                counts[table.name].ndim != 1
                or (counts[table.name] < 0).any()
                or (counts[table.name].any() and not frames[table.name].height)
            ):
                raise ValueError("the counts do not fit the rows")
        return Pools(schema, prefix, counts, frames)


def _orders(table: Table, rows: int, wanted: int, draw: np.random.Generator) -> dict[str, np.ndarray]:
    """Which row of the pool each column takes: all, shuffled, when as many are wanted as there are, else drawn with replacement."""
    pick = (lambda: draw.permutation(rows)) if wanted == rows else (lambda: draw.integers(max(rows, 1), size=wanted))
    found = {column.name: pick() for column in table.columns}
    if table.measures:
        found[table.measures[1]] = found[table.measures[0]]
    return found
