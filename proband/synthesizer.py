"""The Synthesizer protocol: what fits on patients and samples new ones; saved and loaded without pickle."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

import numpy as np

from proband.cohort import Cohort
from proband.errors import InputError, Unavailable

_OURS = {
    "gan": "proband.synthesizers.tables:TableGAN",
    "forest": "proband.synthesizers.forest:SequentialForest",
    "duel": "proband.synthesizers.duel:DuelGAN",
    "independent": "proband.synthesizers.baselines:IndependentColumns",
    "bootstrap": "proband.synthesizers.baselines:Bootstrap",
    "copula": "proband.synthesizers.copula:GaussianCopula",
    "diffusion": "proband.synthesizers.diffusion:TableDiffusion",
    "smote": "proband.synthesizers.smote:Smote",
    "marginals": "proband.synthesizers.marginals:PrivateMarginals",
}
#: What learns more than one table: found by name, but no candidate where tables are compared.
_BEYOND = {
    "images": "proband.synthesizers.images:ImageGAN",
    "private-images": "proband.synthesizers.private_images:PrivateImageGAN",
    "sequences": "proband.synthesizers.sequences:SequenceGAN",
    "waves": "proband.synthesizers.waveforms:WaveformGAN",
}
T = TypeVar("T")
_GROUP = "proband.synthesizers"
_FILES = ("model.json", "arrays.safetensors")
_FORMAT = 1
_LARGEST = {"model.json": 64 * 2**20, "arrays.safetensors": 16 * 2**30}  # bytes; beyond this a model folder is taken for an attack

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


def names() -> list[str]:
    """The names that `find` knows for tables: ours, then third parties' (entry points of the group `proband.synthesizers`)."""
    return [*_OURS, *sorted({point.name for point in metadata.entry_points(group=_GROUP)} - set(_OURS))]


def find(name: str) -> type[Synthesizer]:
    """The class called `name`. InputError when there is none; Unavailable when its package cannot be imported.

    >>> find("forest").name
    'forest'
    """
    found = [point for point in metadata.entry_points(group=_GROUP) if point.name == name]
    ours = _OURS | _BEYOND
    if name not in ours and not found:
        raise InputError(f"There is no synthesizer {name!r}. There are: {', '.join([*names(), *_BEYOND])}.")
    try:
        if name in ours:
            module, attribute = ours[name].split(":")
            return getattr(importlib.import_module(module), attribute)
        return found[0].load()
    except (ImportError, AttributeError) as error:
        raise Unavailable(f"Synthesizer {name!r} cannot be loaded: {error}. Install or update its package.") from error


def timed(name: str) -> bool:
    """Whether the synthesizer called `name` has the dial `minutes`."""
    return "minutes" in inspect.signature(find(name)).parameters


def takes(synthesizer: Synthesizer, what: str) -> bool:
    """Whether `fit` takes more than a cohort: `unfinished`, a folder from which a fit that was killed goes on, or `watch`, a picture
    that is drawn as it learns."""
    return what in inspect.signature(synthesizer.fit).parameters


def private(name: str) -> bool:
    """Whether the synthesizer called `name` has the dial `epsilon`; TableGAN has it to say why it cannot be turned."""
    return "epsilon" in inspect.signature(find(name)).parameters


def make(name: str | None = None, *, minutes: float | None = None, epsilon: float | None = None, delta: float | None = None) -> Synthesizer:
    """An unfitted synthesizer by name; without one gan, or marginals where `epsilon` asks for differential privacy.

    `minutes`, `epsilon` and `delta` go to those that have the dial, the others refuse them.
    """
    name = name or ("gan" if epsilon is None else "marginals")
    chosen: Callable[..., Synthesizer] = find(name)
    dials: dict[str, float] = {}
    if minutes is not None:
        if not timed(name):
            raise InputError(f"Synthesizer {name!r} has no dial `minutes`: it takes the time that it needs. Leave the option out.")
        dials["minutes"] = minutes
    if delta is not None and epsilon is None:
        raise InputError(f"delta = {delta!r} belongs to a guarantee, and no epsilon is given. Give both, or neither.")
    if epsilon is not None:
        if not private(name):
            raise InputError(
                f"Synthesizer {name!r} cannot keep epsilon = {epsilon!r}: it learns from patients without noise, and what stops it or "
                "chooses for it reads them too. Use the synthesizer marginals or duel, private-images for images, or leave epsilon out."
            )
        dials |= {"epsilon": epsilon} | ({} if delta is None else {"delta": delta})
    return chosen(**dials)


def load(path: str | Path) -> Synthesizer:
    """The fitted synthesizer in the model folder `path`, of whichever class wrote it."""
    return find(str(_manifest(Path(path))["synthesizer"])).load(path)


class Model(NamedTuple):
    """What a model folder holds: who wrote it, its plain data and its arrays."""

    synthesizer: str
    version: str
    config: dict[str, Any]
    arrays: dict[str, np.ndarray]


def write_model(path: str | Path, name: str, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a model folder: model.json and arrays.safetensors, in a folder beside it that is then renamed.

    config   plain JSON data, the schema included
    arrays   numpy arrays by name

    InputError when `path` exists or cannot be written, or the disk is full; nothing partial stays.
    """
    from safetensors.numpy import save

    from proband import __version__

    path = Path(path)
    if path.exists() or path.is_symlink():
        raise InputError(f"Model folder '{path}' exists already. Choose another name, or delete it first.")
    if not path.parent.is_dir():
        raise InputError(f"Model folder '{path}' cannot be written: there is no folder '{path.parent}'. Make it first.")
    scratch: Path | None = None
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.writing-", dir=path.parent))
        packed = save({key: np.ascontiguousarray(array) for key, array in arrays.items()})
        manifest = {
            "format": _FORMAT,
            "synthesizer": name,
            "version": __version__,
            "files": {"arrays.safetensors": {"sha256": hashlib.sha256(packed).hexdigest(), "bytes": len(packed)}},
            "config": dict(config),
        }
        manifest["checksum"] = _checksum(manifest)
        (scratch / "arrays.safetensors").write_bytes(packed)
        (scratch / "model.json").write_text(_written(manifest), encoding="utf-8")
        scratch.rename(path)
        scratch = None
    except OSError as error:
        raise InputError(
            f"Model folder '{path}' cannot be written: {error.strerror}. Free some space, or choose a folder you may write to."
        ) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def read_model(path: str | Path) -> Model:
    """Read and check a model folder. InputError when anything is missing, oversized, altered, linked or not ours."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as unpack

    path = Path(path)
    manifest = _manifest(path)
    declared = manifest["files"]["arrays.safetensors"]
    packed = _read(path / "arrays.safetensors", declared["bytes"])
    if hashlib.sha256(packed).hexdigest() != declared["sha256"]:
        raise _altered(path, "arrays.safetensors does not have the content that model.json declares")
    try:
        arrays = unpack(packed)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise _altered(path, "arrays.safetensors is not a safetensors file") from error
    return Model(manifest["synthesizer"], manifest["version"], manifest["config"], arrays)


def under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with `prefix`, without it."""
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def restore(path: str | Path, name: str, rebuild: Callable[[Model], T]) -> T:
    """`rebuild(model)` of the folder `path` written by the synthesizer `name`; content that does not fit together raises InputError."""
    model = read_model(path)
    if model.synthesizer != name:
        raise InputError(
            f"Model folder '{path}' was written by the synthesizer {model.synthesizer!r}, not {name!r}. Read it with proband.load."
        )
    try:
        return rebuild(model)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise _altered(Path(path), "its parts do not fit together") from error


def _manifest(path: Path) -> dict[str, Any]:
    """model.json, checked."""
    if not path.is_dir():
        raise InputError(f"Model folder '{path}' does not exist or is not a folder. Make one with: proband fit DATA --out {path}")
    strange = sorted({entry.name for entry in path.iterdir()} - set(_FILES))
    if strange:
        raise _altered(path, f"it holds {strange[0]!r}, which no model has")
    try:
        text = _read(path / "model.json").decode("utf-8")
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _altered(path, "model.json is not JSON") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise _altered(path, "model.json is not a model's")
    if manifest["format"] != _FORMAT:
        raise InputError(
            f"Model folder '{path}' has format {manifest['format']}; this proband reads {_FORMAT}. Use the proband that wrote it."
        )
    if manifest.get("checksum") != _checksum(manifest) or text != _written(manifest):
        raise _altered(path, "model.json does not have the content it had when written")
    files = manifest.get("files")
    arrays = files.get("arrays.safetensors") if isinstance(files, dict) and len(files) == 1 else None
    whole = (
        isinstance(arrays, dict)
        and isinstance(arrays.get("bytes"), int)
        and isinstance(arrays.get("sha256"), str)
        and isinstance(manifest.get("config"), dict)
        and all(isinstance(manifest.get(key), str) for key in ("synthesizer", "version"))
    )
    if not whole:
        raise _altered(path, "model.json lacks what a model has")
    return manifest


def _read(file: Path, expected: int | None = None) -> bytes:
    """The bytes of a regular file of the `expected` size, never through a link, never more than a model may hold."""
    try:
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as error:
        raise _altered(file.parent, f"{file.name} is missing") from error
    except OSError as error:
        raise _altered(file.parent, f"{file.name} is a link or cannot be read") from error
    with os.fdopen(handle, "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode) or file.is_symlink():
            raise _altered(file.parent, f"{file.name} is not a plain file")
        if found.st_size > _LARGEST[file.name]:
            raise _altered(file.parent, f"{file.name} has {found.st_size:,} bytes, more than a model may have")
        if expected is not None and found.st_size != expected:
            raise _altered(file.parent, f"{file.name} has {found.st_size:,} bytes, {expected:,} are declared")
        content = stream.read(found.st_size + 1)
    if len(content) != found.st_size:
        raise _altered(file.parent, f"{file.name} changed while it was read")
    return content


def _written(manifest: Mapping[str, Any]) -> str:
    """model.json to the letter: anything else, were it blanks, is not what was written."""
    return json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)


def _checksum(manifest: Mapping[str, Any]) -> str:
    content = json.dumps({key: value for key, value in manifest.items() if key != "checksum"}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def _altered(path: Path, what: str) -> InputError:
    return InputError(
        f"Model folder '{path}' cannot be trusted: {what}. Fit the model again, or copy the folder anew from where it was made."
    )
