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
    from proband.compare import Auto, compare
    from proband.errors import InputError, NotReleasable, ProbandError, Unavailable
    from proband.frontier import frontier
    from proband.pipeline import demo, synthesize
    from proband.records.image_folder import read_images
    from proband.records.images import Images
    from proband.records.nifti import read_nifti, write_nifti
    from proband.records.tables import read, write
    from proband.records.waveforms import Signals, read_wfdb, write_wfdb
    from proband.release.bundle import Release, release, verify
    from proband.release.policy import Policy
    from proband.schema import Column, Grid, Rule, Schema, Table
    from proband.synthesizer import Synthesizer, find, load
    from proband.synthesizers.baselines import Bootstrap, IndependentColumns
    from proband.synthesizers.copula import GaussianCopula
    from proband.synthesizers.diffusion import TableDiffusion
    from proband.synthesizers.duel import DuelGAN
    from proband.synthesizers.forest import SequentialForest
    from proband.synthesizers.images import ImageGAN
    from proband.synthesizers.marginals import PrivateMarginals
    from proband.synthesizers.private_images import PrivateImageGAN
    from proband.synthesizers.refine import Refined, refine
    from proband.synthesizers.sequences import SequenceGAN
    from proband.synthesizers.smote import Smote
    from proband.synthesizers.tables import TableGAN
    from proband.synthesizers.waveforms import WaveformGAN
    from proband.uses.augmentation import augment
    from proband.uses.imputation import Imputed, impute
    from proband.uses.labels import fit_labeller, label, read_queue, write_queue
    from proband.uses.rebalancing import evaluate_augmentation
    from proband.validate import validate
    from proband.validate.comparison import Comparison
    from proband.validate.findings import Evidence, Finding, Limit
    from proband.validate.frontier import Frontier
    from proband.validate.report import Report
    from proband.validate.shortcuts import shortcuts
    from proband.validate.show import show
    from proband.validate.turing import read_turing, turing

__version__ = "0.1.0"

_HOME = {
    "Auto": "compare",
    "Bootstrap": "synthesizers.baselines",
    "Cohort": "cohort",
    "Column": "schema",
    "Comparison": "validate.comparison",
    "DuelGAN": "synthesizers.duel",
    "Evidence": "validate.findings",
    "Finding": "validate.findings",
    "Frontier": "validate.frontier",
    "GaussianCopula": "synthesizers.copula",
    "Grid": "schema",
    "ImageGAN": "synthesizers.images",
    "Images": "records.images",
    "Imputed": "uses.imputation",
    "IndependentColumns": "synthesizers.baselines",
    "InputError": "errors",
    "Limit": "validate.findings",
    "Mark": "cohort",
    "NotReleasable": "errors",
    "Policy": "release.policy",
    "ProbandError": "errors",
    "PrivateImageGAN": "synthesizers.private_images",
    "PrivateMarginals": "synthesizers.marginals",
    "Refined": "synthesizers.refine",
    "Release": "release.bundle",
    "Report": "validate.report",
    "Rule": "schema",
    "Schema": "schema",
    "SequenceGAN": "synthesizers.sequences",
    "SequentialForest": "synthesizers.forest",
    "Signals": "records.waveforms",
    "Smote": "synthesizers.smote",
    "Split": "cohort",
    "Synthesizer": "synthesizer",
    "Table": "schema",
    "TableDiffusion": "synthesizers.diffusion",
    "TableGAN": "synthesizers.tables",
    "Unavailable": "errors",
    "WaveformGAN": "synthesizers.waveforms",
    "augment": "uses.augmentation",
    "compare": "compare",
    "demo": "pipeline",
    "evaluate_augmentation": "uses.rebalancing",
    "find": "synthesizer",
    "fit_labeller": "uses.labels",
    "frontier": "frontier",
    "impute": "uses.imputation",
    "label": "uses.labels",
    "load": "synthesizer",
    "read": "records.tables",
    "read_images": "records.image_folder",
    "read_nifti": "records.nifti",
    "read_queue": "uses.labels",
    "read_turing": "validate.turing",
    "read_wfdb": "records.waveforms",
    "refine": "synthesizers.refine",
    "release": "release.bundle",
    "shortcuts": "validate.shortcuts",
    "show": "validate.show",
    "synthesize": "pipeline",
    "turing": "validate.turing",
    "validate": "validate",
    "verify": "release.bundle",
    "write": "records.tables",
    "write_nifti": "records.nifti",
    "write_queue": "uses.labels",
    "write_wfdb": "records.waveforms",
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
