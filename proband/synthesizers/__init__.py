"""What fits on patients and samples new ones. Names are loaded when first used: the game needs torch, the others do not."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proband.synthesizers.baselines import Bootstrap, IndependentColumns
    from proband.synthesizers.forest import SequentialForest
    from proband.synthesizers.tables import TableGAN

_HOME = {"Bootstrap": "baselines", "IndependentColumns": "baselines", "SequentialForest": "forest", "TableGAN": "tables"}
__all__ = ["Bootstrap", "IndependentColumns", "SequentialForest", "TableGAN"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'proband.synthesizers' has no attribute {name!r}")
    return getattr(importlib.import_module(f"proband.synthesizers.{_HOME[name]}"), name)
