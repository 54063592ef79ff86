"""Cohort: patients under one Schema, real or synthetic (then it carries a mark). Split by patient, once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, Self

import numpy as np
import polars as pl

from proband import seeds
from proband.errors import InputError
from proband.schema import Schema, Table


@dataclass(frozen=True)
class Mark:
    """The label of synthetic patients: what made them. Every writer stamps it, so that nobody can forget to."""

    synthesizer: str
    version: str
    seed: int
    schema_hash: str
    details: Mapping[str, str] = field(default_factory=dict)


class Media(Protocol):
    """What a table cannot hold, one record for each row of the first table: `records.waveforms.Signals` or `records.images.Images`."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> Self:
        """Only these rows (whole numbers), in this order."""
        ...

    def content(self) -> bytes:
        """All that it holds, the same bytes on any machine: what fingerprints are made of."""
        ...


class Split(NamedTuple):
    """Three cohorts without a common patient: `train` to learn from, `holdout` to judge by, `reference` to calibrate attacks."""

    train: Cohort
    holdout: Cohort
    reference: Cohort


@dataclass(frozen=True)
class Cohort:
    """Patients' data under one schema.

    `frame` has the columns of the schema's first table, in order and of the schema's types (`Column.dtype`). Rows of one patient share
    the value of the key column; without a key every row is a patient. `linked` has a frame for each further table, by name. `media`
    has, by name, what is no table: signals or images, one for each row of `frame`.
    """

    schema: Schema
    frame: pl.DataFrame
    mark: Mark | None = None
    linked: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    media: Mapping[str, Media] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if set(self.linked) != {table.name for table in self.schema.children}:
            declared = [table.name for table in self.schema.children]
            raise InputError(
                f"The schema has the linked tables {declared}, and the frames are {list(self.linked)}. Read it with proband.read."
            )
        for table, frame in self.tables:
            where = f"table {table.name!r}: " if self.linked else ""
            expected = {column.name: column.dtype for column in table.columns}
            found = dict(frame.schema)
            if list(found) != list(expected):
                missing, extra = [n for n in expected if n not in found], [n for n in found if n not in expected]
                raise InputError(
                    f"{where}The frame does not have the schema's columns in order: missing {missing}, unknown {extra}. "
                    "Read it with proband.read."
                )
            for name, dtype in expected.items():
                if found[name] != dtype:
                    raise InputError(
                        f"{where}Column {name!r} is {found[name]}, the schema's kind needs {dtype}. Read it with proband.read."
                    )
        for name, records in self.media.items():
            if len(records) != self.frame.height:
                raise InputError(
                    f"media {name!r}: {len(records)} records for the {self.frame.height} rows of table {self.schema.table.name!r}. Give "
                    "one record for each row, in the same order."
                )

    @property
    def tables(self) -> list[tuple[Table, pl.DataFrame]]:
        """Every table with its frame, parents first."""
        return [(self.schema.table, self.frame), *((table, self.linked[table.name]) for table in self.schema.children)]

    def one_table(self, who: str) -> Cohort:
        """This cohort, if all that is known of its patients is in one table; else InputError: `who` knows no other."""
        if self.linked:
            told = ", ".join(table.name for table in self.schema.tables)
            raise InputError(
                f"{who} knows one table, and the cohort has {len(self.linked) + 1}: {told}. "
                "Use what follows patients over linked tables, or read one table alone."
            )
        if self.media:
            raise InputError(
                f"{who} knows one table, and the cohort has {', '.join(self.media)} beside it. Use what knows them too, or read the "
                "table's file alone."
            )
        return self

    @property
    def patients(self) -> pl.Series:
        """Distinct patients, in order of appearance (row numbers when the schema has no key)."""
        return self._patient_of_row.unique(maintain_order=True)

    @property
    def _patient_of_row(self) -> pl.Series:
        key = self.schema.table.key
        return self.frame[key] if key else pl.int_range(self.frame.height, eager=True).alias("patient")

    def __len__(self) -> int:
        """The number of patients."""
        return self._patient_of_row.n_unique()

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the values: names, kinds and cells, in order of columns and rows; the same on any machine.

        It ties a report to the very patients it judged. Neither file format nor mark enters: Parquet and CSV agree.
        """
        digest = hashlib.sha256()
        for at, (table, frame) in enumerate(self.tables):
            if at:
                digest.update(json.dumps(["table", table.name, frame.height]).encode() + b"\n")
            for column in table.columns:
                series = frame[column.name]
                digest.update(json.dumps([column.name, column.kind, len(series)]).encode() + b"\n")
                digest.update(np.packbits(series.is_null().to_numpy()).tobytes())
                if series.dtype == pl.String:
                    text = series.fill_null("")
                    digest.update(text.str.len_bytes().to_numpy().astype("<i8").tobytes())
                    digest.update((text.str.join("").item() if len(text) else "").encode())
                elif series.dtype == pl.Float64:  # adding 0.0 turns -0.0, which equals 0.0, into 0.0
                    digest.update((series.fill_null(0.0).to_numpy() + 0.0).astype("<f8").tobytes())
                else:
                    digest.update(series.to_physical().cast(pl.Int64).fill_null(0).to_numpy().astype("<i8").tobytes())
        for name in sorted(self.media):
            digest.update(json.dumps(["media", name, len(self.media[name])]).encode() + b"\n" + self.media[name].content())
        return digest.hexdigest()

    def take(self, patients: Iterable[object]) -> Cohort:
        """Only these patients, all their rows in all tables, in the cohort's order. Without a key, row numbers."""
        wanted = pl.Series(values=list(patients), dtype=self._patient_of_row.dtype)
        chosen = self._patient_of_row.is_in(wanted.implode())
        kept = {self.schema.table.name: self.frame.filter(chosen)}
        media = {name: records.take(np.flatnonzero(chosen.to_numpy())) for name, records in self.media.items()}
        for table in self.schema.children:
            assert table.parent is not None and table.on is not None
            owner = kept[table.parent][self.schema[table.parent].key or ""]
            rows = self.linked[table.name]
            kept[table.name] = rows.filter(rows[table.on].is_in(owner.implode()))
        return replace(self, frame=kept.pop(self.schema.table.name), linked=kept, media=media)

    def split(self, *, holdout: float = 0.2, reference: float = 0.2, seed: int) -> Split:
        """Train, holdout and reference patients, drawn at random before anything learns.

        `holdout` and `reference` are shares of the patients; train is the rest. InputError below 50 patients in any
        part: below that no interval in the report could tell a good release from a bad one.
        """
        patients = self.patients.sort()
        sizes = round(len(patients) * holdout), round(len(patients) * reference)
        train = len(patients) - sum(sizes)
        if min(train, *sizes) < 50:
            raise InputError(
                f"{len(patients)} patients are too few: the split gives {train} to train, {sizes[0]} to the holdout and {sizes[1]} to the "
                f"reference, and each needs at least 50. Bring at least 250 patients."
            )
        order = seeds.generator(seed, "split").permutation(len(patients))
        parts = np.split(order, [train, train + sizes[0]])
        return Split(*(self.take(patients.gather(np.sort(part))) for part in parts))
