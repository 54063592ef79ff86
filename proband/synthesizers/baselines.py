"""The two yardsticks: columns without any relation (the floor of faithfulness), and copies of real patients (the leak)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from proband import seeds
from proband.cohort import Cohort
from proband.encode import Codes, TableEncoder
from proband.encode.admissible import constraints
from proband.encode.frames import from_arrays, to_arrays
from proband.errors import InputError
from proband.schema import Schema
from proband.synthesizer import Model, OnStep, restore, under, write_model
from proband.synthesizers.copies import copied
from proband.synthesizers.drawing import counted, draw, marked
from proband.synthesizers.pools import Pools

_WARNING = "This holds the rows of real patients. It is a yardstick for privacy checks: never release it, nor what it samples."


class IndependentColumns:
    """Every field drawn on its own from the training patients' distribution: what a synthesizer must beat.

    Rules hold and conditions are satisfied as everywhere; beyond those no column knows of another. It stores counts and the
    sorted distinct values of numbers. A cohort with several rows a patient is learned row by row. Of linked tables, every cell is drawn
    on its own among the training patients' (a code with its value): independent events, whose values are real ones.

    >>> made = IndependentColumns().fit(cohort, seed=1).sample(1000, seed=2)  # doctest: +SKIP
    """

    name: ClassVar[str] = "independent"

    def __init__(self) -> None:
        self._encoder: TableEncoder | None = None
        self._pools: Pools | None = None  # of linked tables
        self._on_synthetic = False

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Count tokens; `seed` says only in which order the cells of linked tables are kept."""
        self._encoder, self._on_synthetic = TableEncoder.fit(_alone(cohort)), cohort.mark is not None
        self._pools = Pools.of(cohort, seeds.generator(seed, self.name, "fit")) if cohort.linked else None
        if on_step is not None:
            on_step(1, 1, "fit", {})
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` synthetic patients; every one keeps the schema's rules and satisfies `where`."""
        encoder = self._fitted()
        rng = seeds.generator(seed, self.name, "sample")
        frame = draw(encoder, n, propose=self._propose, order=range(len(encoder.fields)), where=where, rng=rng)
        schema = encoder.schema if self._pools is None else self._pools.schema
        linked = None if self._pools is None else self._pools.drawn(frame, rng)
        return marked(frame, schema, self.name, seed, where=where, on_synthetic=self._on_synthetic, linked=linked)

    def _propose(self, field: int, tokens: np.ndarray, latent: np.ndarray | None) -> np.ndarray:
        described = self._fitted().fields[field]
        return np.broadcast_to(described.counts / described.counts.sum(), (len(tokens), described.levels))

    def save(self, path: str | Path) -> None:
        """Write a model folder."""
        plain, arrays = self._fitted().state()
        config = _config(self._fitted(), plain, self._on_synthetic)
        if self._pools is not None:
            config |= {"linked": self._pools.schema.model_dump(mode="json"), "prefix": self._pools.prefix}
            arrays |= {f"linked.{key}": array for key, array in self._pools.arrays().items()}
        write_model(path, self.name, config, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder written by `save`; raises InputError when it cannot be trusted."""
        return restore(path, cls.name, cls._rebuilt)

    @classmethod
    def _rebuilt(cls, model: Model) -> Self:
        made = cls()
        made._encoder, made._on_synthetic = _restored(model)
        if "linked" in model.config:
            schema = Schema.model_validate(model.config["linked"])
            made._pools = Pools.restored(schema, str(model.config["prefix"]), under("linked.", model.arrays))
            if _first(schema) != made._encoder.schema:
                raise ValueError("the linked tables do not fit the encoder")
        return made

    def _fitted(self) -> TableEncoder:
        if self._encoder is None:
            raise InputError("This IndependentColumns has not been fitted. Call fit(cohort, seed=...) or load(path) first.")
        return self._encoder


class Bootstrap:
    """COPIES REAL PATIENTS: training rows drawn with replacement, under fresh identifiers. The leak that every privacy check must catch.

    A patient of linked tables comes with all rows in all of them, keys and links anew and intact. Never release what it makes. Fitted
    or saved, it holds every training row, and its model folder and the mark of its patients say so. Rows of the first table that
    break a rule are left out; `where` chooses among the others.

    >>> copies = Bootstrap().fit(cohort, seed=1).sample(1000, seed=2)  # doctest: +SKIP
    """

    name: ClassVar[str] = "bootstrap"

    def __init__(self) -> None:
        self._encoder: TableEncoder | None = None
        self._codes = Codes(np.zeros((0, 0), np.int32), np.zeros((0, 0), np.float32))
        self._linked: Cohort | None = None  # the training patients of linked tables, row by row as in the codes
        self._on_synthetic = False

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Keep the training rows; `seed` changes nothing."""
        encoder = TableEncoder.fit(_alone(cohort), held_by=1)  # every value as it is: this is the leak
        codes = encoder.encode(cohort.frame)
        sound = _satisfied(encoder, codes, None)
        if not sound.any():
            raise InputError("Every row breaks a rule of the schema, so there is no patient to copy. Mend or delete the rules.")
        self._encoder, self._codes, self._on_synthetic = encoder, _rows(codes, np.flatnonzero(sound)), cohort.mark is not None
        self._linked = cohort.take(cohort.patients.filter(pl.Series(sound))) if cohort.linked else None
        if on_step is not None:
            on_step(1, 1, "fit", {})
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` copies of training rows that satisfy `where`, with replacement. InputError when no training row does."""
        encoder, n = self._fitted(), counted(n)
        allowed = np.flatnonzero(_satisfied(encoder, self._codes, where))
        if not len(allowed) and n:
            raise InputError(f"No training patient satisfies {where!r}, and this synthesizer only copies. Widen the condition.")
        rng = seeds.generator(seed, self.name, "sample")
        drawn = rng.choice(allowed, n) if n else np.zeros(0, int)
        schema, linked = encoder.schema, dict[str, pl.DataFrame]()
        if self._linked is None:
            frame = encoder.decode(_rows(self._codes, drawn))
        else:
            schema, linked = self._linked.schema, copied(self._linked, drawn)
            frame = linked.pop(schema.table.name)
        more = {"warning": _WARNING}
        return marked(frame, schema, self.name, seed, where=where, on_synthetic=self._on_synthetic, more=more, linked=linked)

    def save(self, path: str | Path) -> None:
        """Write a model folder, WITH EVERY TRAINING ROW in it."""
        plain, arrays = self._fitted().state()
        config = _config(self._fitted(), plain, self._on_synthetic) | {"warning": _WARNING}
        arrays |= {"tokens": self._codes.tokens, "offsets": self._codes.offsets}
        if self._linked is not None:
            config["linked"] = self._linked.schema.model_dump(mode="json")
            for at, (_, frame) in enumerate(self._linked.tables):
                arrays |= {f"table{at}.{key}": array for key, array in to_arrays(frame).items()}
        write_model(path, self.name, config, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder written by `save`; raises InputError when it cannot be trusted."""
        return restore(path, cls.name, cls._rebuilt)

    @classmethod
    def _rebuilt(cls, model: Model) -> Self:
        made = cls()
        made._encoder, made._on_synthetic = _restored(model)
        made._codes = Codes(model.arrays["tokens"], model.arrays["offsets"])
        levels = np.array([field.levels for field in made._encoder.fields])
        shape = made._codes.tokens.shape
        if (
            shape != made._codes.offsets.shape
            or shape[1:] != levels.shape
            or (made._codes.tokens < 0).any()
            or (made._codes.tokens >= levels).any()
        ):
            raise ValueError("the rows do not fit the encoder")
        if "linked" in model.config:
            made._linked = _linked(Schema.model_validate(model.config["linked"]), model.arrays)
            if _first(made._linked.schema) != made._encoder.schema or made._linked.frame.height != len(made._codes):
                raise ValueError("the linked tables do not fit the encoder")
        return made

    def _fitted(self) -> TableEncoder:
        if self._encoder is None:
            raise InputError("This Bootstrap has not been fitted. Call fit(cohort, seed=...) or load(path) first.")
        return self._encoder


def _alone(cohort: Cohort) -> Cohort:
    """The cohort's first table."""
    return Cohort(_first(cohort.schema), cohort.frame, cohort.mark) if cohort.linked else cohort


def _first(schema: Schema) -> Schema:
    """The first table's part of a schema of linked tables."""
    return schema.model_copy(update={"tables": (schema.table.alone,), "codes": (), "proposals": ()})


def _linked(schema: Schema, arrays: dict[str, np.ndarray]) -> Cohort:
    parts = [under(f"table{at}.", arrays) for at in range(len(schema.tables))]
    frames = {table.name: from_arrays(part, table) for table, part in zip(schema.tables, parts, strict=True)}
    return Cohort(schema, frames.pop(schema.table.name), None, frames)


def _config(encoder: TableEncoder, plain: dict[str, Any], on_synthetic: bool) -> dict[str, Any]:
    return {"schema": encoder.schema.model_dump(mode="json"), "encoder": plain, "on_synthetic": on_synthetic}


def _restored(model: Model) -> tuple[TableEncoder, bool]:
    schema = Schema.model_validate(model.config["schema"])
    return TableEncoder.restored(schema, model.config["encoder"], model.arrays), bool(model.config["on_synthetic"])


def _rows(codes: Codes, rows: np.ndarray) -> Codes:
    return Codes(codes.tokens[rows], codes.offsets[rows])


def _satisfied(encoder: TableEncoder, codes: Codes, where: str | None) -> np.ndarray:
    """(rows,) True where the rules hold and `where` is satisfied."""
    frame: pl.DataFrame = encoder.decode(codes)
    sound = np.ones(len(codes), bool)
    for constraint in constraints(encoder, where):
        sound &= constraint.judge(frame)
    return sound
