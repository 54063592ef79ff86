"""proband: synthetic patients, faithful enough for research and teaching, and nobody real.

Names are loaded when first used, so that importing proband loads neither torch nor polars.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proband.cohort import Cohort, Mark, Split
    from proband.errors import InputError, NotReleasable, ProbandError, Unavailable
    from proband.pipeline import demo, synthesize
    from proband.records.tables import read, write
    from proband.release.bundle import Release, release, verify
    from proband.release.policy import Policy
    from proband.schema import Column, Grid, Rule, Schema, Table
    from proband.synthesizer import Synthesizer, find, load
    from proband.synthesizers.baselines import Bootstrap, IndependentColumns
    from proband.synthesizers.forest import SequentialForest
    from proband.synthesizers.tables import TableGAN
    from proband.validate import validate
    from proband.validate.findings import Evidence, Finding, Limit
    from proband.validate.report import Report

__version__ = "0.1.0"

_HOME = {
    "Bootstrap": "synthesizers.baselines",
    "Cohort": "cohort",
    "Column": "schema",
    "Evidence": "validate.findings",
    "Finding": "validate.findings",
    "Grid": "schema",
    "IndependentColumns": "synthesizers.baselines",
    "InputError": "errors",
    "Limit": "validate.findings",
    "Mark": "cohort",
    "NotReleasable": "errors",
    "Policy": "release.policy",
    "ProbandError": "errors",
    "Release": "release.bundle",
    "Report": "validate.report",
    "Rule": "schema",
    "Schema": "schema",
    "SequentialForest": "synthesizers.forest",
    "Split": "cohort",
    "Synthesizer": "synthesizer",
    "Table": "schema",
    "TableGAN": "synthesizers.tables",
    "Unavailable": "errors",
    "demo": "pipeline",
    "find": "synthesizer",
    "load": "synthesizer",
    "read": "records.tables",
    "release": "release.bundle",
    "synthesize": "pipeline",
    "validate": "validate",
    "verify": "release.bundle",
    "write": "records.tables",
}
__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'proband' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"proband.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """Importing the folder `proband.validate` would put the folder in place of the function of that name: the function stays."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _HOME or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
