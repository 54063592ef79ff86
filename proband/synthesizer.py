"""The Synthesizer protocol: what fits on patients and samples new ones; saved and loaded without pickle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np

from proband.cohort import Cohort

#: Called as work goes on with (done, total, what, figures): progress, live curves, a way to interrupt (raise).
OnStep = Callable[[int, int, str, Mapping[str, float]], None]


@runtime_checkable
class Synthesizer(Protocol):
    """Any object with these methods is a synthesizer; `proband.contract` checks them in earnest."""

    name: ClassVar[str]

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Learn from the train part of a cohort."""
        ...

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` synthetic patients with a mark. Every row keeps the schema's rules and satisfies `where` (SQL conjunction)."""
        ...

    def save(self, path: str | Path) -> None:
        """Write a model folder: model.json and arrays.safetensors."""
        ...

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder; a missing, oversized, altered or hostile file raises InputError."""
        ...
