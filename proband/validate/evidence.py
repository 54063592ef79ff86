"""Anybody's tables -> Evidence. Real parts must fit the schema; a synthetic table is judged as it is, whatever is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from proband import seeds
from proband.cohort import Cohort
from proband.errors import InputError
from proband.records import read
from proband.records.mark import find_mark
from proband.records.tables import read_frame
from proband.schema import Schema
from proband.schema.frames import to_polars
from proband.schema.values import lenient
from proband.validate.findings import Evidence

#: Columns that tools add to say that a table is synthetic; they are no part of a patient's record.
_LABELS = ("_synthetic",)

#: The fewest patients in a part that can carry an interval.
_FEWEST = 20


def gather(
    train: Any,
    holdout: Any,
    synthetic: Any,
    *,
    reference: Any = None,
    target: str | None = None,
    schema: Schema | None = None,
    seed: int = 0,
) -> tuple[Evidence, dict[str, Any]]:
    """The Evidence, and what the report says about where it comes from (sizes, hashes, columns absent or unknown, ...).

    See `proband.validate.validate` for the arguments. Without `reference`, half of the holdout's patients become it.
    """
    notes: dict[str, Any] = {}
    train = _folder(train, schema)
    if schema is None and isinstance(train, Cohort):
        schema = train.schema
    given = {"train": train, "holdout": holdout} | ({} if reference is None else {"reference": reference})
    given = {name: _folder(data, schema) for name, data in given.items()}
    frames = {name: data if isinstance(data, Cohort) else _raw(data, schema) for name, data in given.items()}
    if schema is None:
        schema, notes["proposals"] = _guessed(frames)
    real = {name: _read(data, schema) for name, data in frames.items()}
    del frames
    if target is not None:
        schema.table[target]
    if "reference" not in real:
        real["holdout"], real["reference"] = _halves(real["holdout"], seed)
    _check(real, schema)
    made, refused, odd = _synthetic(_folder(synthetic, schema), schema)
    notes |= {
        "sizes": {**{name: len(cohort) for name, cohort in real.items()}, "synthetic": len(made)},
        "split": {name: cohort.fingerprint for name, cohort in real.items()},
        "columns": sum(len(table.columns) for table in schema.tables),
        "schema_hash": schema.hash,
        "seed": seed,
        "subject": {"sha256": made.fingerprint} | ({"file": Path(synthetic).name} if isinstance(synthetic, str | Path) else {}),
        **odd,
    }
    if target is not None:
        notes["target"] = target
    if made.mark is not None:
        notes |= {"synthesizer": made.mark.synthesizer, "version": made.mark.version}
    return Evidence(real["train"], real["holdout"], real["reference"], made, target, refused), notes


def _folder(data: Any, schema: Schema | None) -> Any:
    """The cohort in a folder of linked tables; anything else as it is."""
    return read(data, schema) if isinstance(data, str | Path) and Path(data).is_dir() else data


def _raw(data: Any, schema: Schema | None) -> pl.DataFrame:
    if isinstance(data, Cohort):
        return data.frame
    if isinstance(data, str | Path):
        text = [c.name for c in schema.table.columns if c.stored == "String" and not c.numeric] if schema else ()
        frame = read_frame(data, as_text=text)
    else:
        frame = to_polars(data)
    return frame.drop([name for name in _LABELS if name in frame.columns])


def _guessed(frames: dict[str, Any]) -> tuple[Schema, list[str]]:
    """A schema for all real patients together, every proposal accepted, and the proposals in words."""
    parts = {name: data.frame if isinstance(data, Cohort) else data for name, data in frames.items()}
    first = parts["train"].columns
    for name, frame in parts.items():
        lacking = [column for column in first if column not in frame.columns]
        if lacking:
            raise InputError(f"The {name} table lacks column {lacking[0]!r}, which the training table has. Give both the same columns.")
    try:
        together = pl.concat([frame.select(first) for frame in parts.values()], how="vertical_relaxed", rechunk=False)
    except pl.exceptions.PolarsError as error:
        raise InputError(
            f"The real tables do not fit together: {str(error).splitlines()[0]}. Give columns of one type, or a schema."
        ) from error
    guessed = Schema.guess(together)
    return guessed.accept(), [f"{p.column}: {p.why}" for p in guessed.proposals]


def _read(data: Cohort | pl.DataFrame, schema: Schema) -> Cohort:
    if isinstance(data, Cohort) and data.schema == schema:
        return data
    if isinstance(data, Cohort) and schema.children:
        return Cohort(schema, data.frame, data.mark, data.linked)
    frame, media = (data.frame, data.media) if isinstance(data, Cohort) else (data, {})
    if [*frame.schema.items()] == [(c.name, c.dtype) for c in schema.table.columns]:
        return Cohort(schema, frame, media=media)
    return replace(read(frame, schema), media=media)


def _halves(holdout: Cohort, seed: int) -> tuple[Cohort, Cohort]:
    patients = holdout.patients
    order = seeds.generator(seed, "reference").permutation(len(patients))
    cut = (len(patients) + 1) // 2
    return holdout.take(patients.gather(np.sort(order[:cut]))), holdout.take(patients.gather(np.sort(order[cut:])))


def _check(real: dict[str, Cohort], schema: Schema) -> None:
    for name, cohort in real.items():
        if len(cohort) < _FEWEST:
            raise InputError(
                f"The {name} part has {len(cohort)} patients; at least {_FEWEST} are needed to tell anything. Bring more patients."
            )
    if schema.table.key is not None:
        seen = real["train"].patients
        for name in ("holdout", "reference"):
            both = int(real[name].patients.is_in(seen.implode()).sum())
            if both:
                raise InputError(
                    f"{both} patients (column {schema.table.key!r}) are both in train and in {name}: what was learned from cannot judge. "
                    f"Split by patient, with: proband split"
                )


def _synthetic(data: Any, schema: Schema) -> tuple[Cohort, dict[str, np.ndarray], dict[str, Any]]:
    """The synthetic table under the schema, its cells that the schema's types cannot hold, and its absent and unknown columns."""
    if isinstance(data, Cohort) and schema.children:
        if not data.frame.height:
            raise InputError("The synthetic cohort has no patients. Give one with patients.")
        return Cohort(schema, data.frame, data.mark, data.linked), {}, {}
    mark = data.mark if isinstance(data, Cohort) else find_mark(data) if isinstance(data, str | Path) else None
    frame, media = _raw(data, schema), data.media if isinstance(data, Cohort) else {}
    if frame.height == 0:
        raise InputError("The synthetic table has no rows. Give one with rows.")
    columns = schema.table.columns
    refused: dict[str, np.ndarray] = {}
    if [*frame.schema.items()] == [(c.name, c.dtype) for c in columns]:
        return Cohort(schema, frame, mark, media=media), refused, {}
    unknown = [name for name in frame.columns if name not in schema.table]
    absent = [c.name for c in columns if c.name not in frame.columns]
    made = []
    for column in columns:
        if column.name in absent:
            if column.name == schema.table.key:  # without it every row is a patient
                made.append(pl.int_range(frame.height, eager=True).cast(pl.String).cast(column.dtype).alias(column.name))
                continue
            made.append(pl.repeat(None, frame.height, dtype=column.dtype, eager=True).alias(column.name))
            if column.kind != "identifier":
                refused[column.name] = np.ones(frame.height, bool)
            continue
        values, mask = lenient(column, frame[column.name])
        made.append(values)
        if mask.any():
            refused[column.name] = mask
    odd: dict[str, Any] = {"absent_columns": absent} if absent else {}
    if unknown:
        odd["unknown_columns"] = unknown
    return Cohort(schema, pl.DataFrame(made), mark, media=media), refused, odd
