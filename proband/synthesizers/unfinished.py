"""Work that may be killed: where learning stands, in a folder beside what it will make, so that the same call goes on from there."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from proband.errors import InputError
from proband.game.play import Progress
from proband.synthesizer import read_model, write_model

NAME = "unfinished"


@dataclass(frozen=True)
class Unfinished:
    """A folder of progress by part. What was kept for another cohort, seed or setting, or was altered, is passed over.

    key   says whose progress it is: equal keys, equal work
    """

    folder: Path
    key: str

    @staticmethod
    def of(folder: str | Path, *facts: Any) -> Unfinished:
        """The folder, made if need be; InputError where it cannot be made. `facts` are all that the work depends on."""
        folder = Path(folder)
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"Unfinished work cannot be kept in '{folder}': {error.strerror}. Name a folder that you may write to."
            ) from error
        return Unfinished(folder, hashlib.sha256(repr(facts).encode()).hexdigest())

    def read(self, part: str) -> Progress | None:
        """The last progress of a part; None where it has to begin."""
        for path in reversed(self._kept(part)):
            try:
                model = read_model(path)
                if model.config["key"] != self.key:
                    continue
                tensors = {key: torch.from_numpy(array) for key, array in model.arrays.items()}
                return Progress(int(model.config["step"]), [(int(at), float(loss)) for at, loss in model.config["looks"]], tensors)
            except (InputError, KeyError, TypeError, ValueError):
                continue
        return None

    def write(self, part: str, progress: Progress) -> None:
        """Keep this progress, and then no earlier one."""
        before, path = self._kept(part), self.folder / f"{part}-{progress.step:09d}"
        if path in before:  # of other work
            shutil.rmtree(path, ignore_errors=True)
        config = {"key": self.key, "step": progress.step, "looks": [list(look) for look in progress.looks]}
        arrays = {key: np.asarray(tensor.detach().numpy()) for key, tensor in progress.tensors.items()}
        write_model(path, NAME, config, arrays)
        for old in before:
            if old != path:
                shutil.rmtree(old, ignore_errors=True)

    def _kept(self, part: str) -> list[Path]:
        """Folders of the part, by step."""
        return sorted(path for path in self.folder.glob(f"{part}-*") if path.name.removeprefix(f"{part}-").isdigit())
