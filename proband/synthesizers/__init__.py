"""What fits on patients and samples new ones. Names are loaded when first used: the game needs torch, the others do not."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proband.synthesizers.baselines import Bootstrap, IndependentColumns
    from proband.synthesizers.copula import GaussianCopula
    from proband.synthesizers.diffusion import TableDiffusion
    from proband.synthesizers.duel import DuelGAN
    from proband.synthesizers.forest import SequentialForest
    from proband.synthesizers.images import ImageGAN
    from proband.synthesizers.private_images import PrivateImageGAN
    from proband.synthesizers.sequences import SequenceGAN
    from proband.synthesizers.smote import Smote
    from proband.synthesizers.tables import TableGAN
    from proband.synthesizers.waveforms import WaveformGAN

_HOME = {
    "Bootstrap": "baselines",
    "DuelGAN": "duel",
    "GaussianCopula": "copula",
    "ImageGAN": "images",
    "IndependentColumns": "baselines",
    "SequentialForest": "forest",
    "PrivateImageGAN": "private_images",
    "Smote": "smote",
    "TableDiffusion": "diffusion",
    "TableGAN": "tables",
    "SequenceGAN": "sequences",
    "WaveformGAN": "waveforms",
}
__all__ = [
    "Bootstrap",
    "DuelGAN",
    "GaussianCopula",
    "ImageGAN",
    "IndependentColumns",
    "PrivateImageGAN",
    "SequenceGAN",
    "SequentialForest",
    "Smote",
    "TableDiffusion",
    "TableGAN",
    "WaveformGAN",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'proband.synthesizers' has no attribute {name!r}")
    return getattr(importlib.import_module(f"proband.synthesizers.{_HOME[name]}"), name)
