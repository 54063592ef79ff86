"""What ties a report to the patients that it judged: equal values, equal fingerprint, and nothing else is equal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from proband.cohort import Cohort
from proband.records.tables import read, write
from proband.schema import Column, Schema, Table


def cohort(values: dict[str, list[object]], **kinds: str) -> Cohort:
    columns = tuple(
        Column(name=name, kind=kinds.get(name, "category"), categories=None if name in kinds else ("",))  # type: ignore[arg-type]
        for name in values
    )
    schema = Schema(tables=(Table(name="patients", columns=columns),))
    return Cohort(schema, pl.DataFrame(values, schema={column.name: column.dtype for column in columns}))


def test_it_is_the_same_on_every_machine(real: Cohort) -> None:
    assert real.fingerprint == "e8da82a6afa4861da852cc7e3103b7a44df16a50678ba6021831e31568e303a3"


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz"])
def test_neither_file_format_nor_mark_enters(tmp_path: Path, synthetic: Cohort, suffix: str) -> None:
    write(synthetic, tmp_path / f"a{suffix}")
    assert read(tmp_path / f"a{suffix}", synthetic.schema).fingerprint == synthetic.fingerprint
    assert replace(synthetic, mark=None).fingerprint == synthetic.fingerprint


def test_order_of_rows_and_columns_enters(real: Cohort) -> None:
    assert replace(real, frame=real.frame.reverse()).fingerprint != real.fingerprint
    assert cohort({"a": ["x"], "b": ["x"]}).fingerprint != cohort({"b": ["x"], "a": ["x"]}).fingerprint


def test_values_cannot_trade_places() -> None:
    assert cohort({"a": ["ab", "c"]}).fingerprint != cohort({"a": ["a", "bc"]}).fingerprint
    assert cohort({"a": [""]}).fingerprint != cohort({"a": [None]}).fingerprint
    assert cohort({"a": [0.0]}, a="number").fingerprint != cohort({"a": [None]}, a="number").fingerprint
    assert cohort({"a": [1]}, a="integer").fingerprint != cohort({"a": [1.0]}, a="number").fingerprint
    assert cohort({"a": []}).fingerprint != cohort({"a": [""]}).fingerprint


def test_minus_zero_is_zero() -> None:
    assert cohort({"a": [0.0]}, a="number").fingerprint == cohort({"a": [-0.0]}, a="number").fingerprint


def test_pieces_in_memory_do_not_enter(real: Cohort) -> None:
    pieces = pl.concat([real.frame.head(5), real.frame.tail(7)], rechunk=False)
    assert replace(real, frame=pieces).fingerprint == real.fingerprint
