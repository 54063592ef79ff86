"""Verify: is this release as it was signed? Offline, and without trusting anything that it finds."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from proband.cohort import Mark
from proband.errors import InputError, ProbandError
from proband.records.mark import UNKNOWN, find_mark, is_synthetic
from proband.records.watermark import SURE, Found
from proband.records.waveforms import header_mark
from proband.release.pixels import SUFFIXES as IMAGE_SUFFIXES
from proband.release.pixels import mark_of, watermark_of
from proband.release.provenance import LARGEST_ENVELOPE_BYTES, Signed, key_id, opened, public_key

#: The signed statement's file name inside a release.
STATEMENT = "statement.json"
DATA_SUFFIXES = (".csv", ".csv.gz", ".parquet")
#: Of a recording the header carries the label, the others its samples; an image carries its own.
_HEADER, _BESIDE = ".hea", (".dat", ".synthetic.json")
_LABELLED = (*DATA_SUFFIXES, _HEADER, *IMAGE_SUFFIXES)

Status = Literal["intact", "tampered", "other signer", "unsigned", "labelled", "watermarked", "unlabelled"]

_WORDS: dict[Status, str] = {
    "intact": "Intact: every file is as it was signed.",
    "tampered": "Tampered: this is not what was signed.",
    "other signer": "Signed by another key than the one you gave.",
    "unsigned": "Unsigned: labelled as synthetic, but there is no signed statement. Nobody answers for it.",
    "labelled": "Synthetic, labelled, but without its signed folder: whether it was changed cannot be told.",
    "watermarked": "Synthetic by its watermark: the label in its header is gone. Whether it was changed cannot be told.",
    "unlabelled": "Not labelled: nothing says that these patients are synthetic. Treat them as real.",
}


@dataclass(frozen=True)
class Fault:
    """One file that is not as it was signed: changed, missing, extra, or a link."""

    name: str
    what: str


@dataclass(frozen=True)
class Verification:
    """What was found at `path`.

    status   intact; tampered; other signer (not the pinned key); unsigned (labelled data without the statement that a
             release or a pinned key calls for); labelled (a lone data file, or a folder of nothing else, with its label); watermarked (a
             lone image without its label whose pixels have the watermark); unlabelled
    faults   when tampered: every file that changed, is missing or was added
    signer   key id of whoever signed, when the signature holds
    vouched  whether the caller pinned that key; otherwise anybody could have signed
    mark     what made the patients, where a label was found
    watermark  of a lone image file: how far the watermark stands out, and how often chance gives as much
    """

    path: Path
    status: Status
    faults: tuple[Fault, ...] = ()
    signer: str | None = None
    vouched: bool = False
    mark: Mark | None = None
    watermark: Found | None = None

    @property
    def synthetic(self) -> str:
        """ "yes", by the label or by the watermark (p < 1e-6), else "unknown": nothing in a file can show that it is real."""
        return "yes" if self.mark is not None or (self.watermark is not None and self.watermark.p < SURE) else "unknown"

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong: a release as it was signed, or a lone file known as synthetic, which has no signature to break."""
        return self.status in ("intact", "labelled", "watermarked")

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data, for machines."""
        plain = asdict(self)
        more = {"mark": self.mark and {**asdict(self.mark)}, "watermark": self.watermark and self.watermark._asdict()}
        return {**plain, "path": str(self.path), "ok": self.ok, "synthetic": self.synthetic, "message": str(self), **more}

    def __str__(self) -> str:
        lines = [_WORDS[self.status], *(f"  {_shown(fault.name)}: {fault.what}" for fault in self.faults)]
        if self.mark is not None and self.mark != UNKNOWN:
            lines.append(f"Made by {self.mark.synthesizer} {self.mark.version}, seed {self.mark.seed}.")
        if self.watermark is not None:
            there = "found" if self.watermark.p < SURE else "not found"
            lines.append(f"Watermark {there}: p = {self.watermark.p:.1g}, and {SURE:g} or less is asked for.")
        if self.signer is not None:
            trust = (
                "the key that you gave" if self.vouched else "not vouched for: compare the key id with the signer's own, or pin their key"
            )
            lines.append(f"Signed by key {self.signer} ({trust}).")
        return "\n".join(lines)


def verify(path: str | Path, key: str | Path | Ed25519PublicKey | None = None, *, watermark: str | None = None) -> Verification:
    """Check a release folder, or a data file taken out of one: a table, a recording, an image (.png, .jpg, .dcm, .nii, .nii.gz).

    key        the signer's public key (PEM file) to pin; without it any valid signature is accepted, and the answer says so
    watermark  the key that an image's watermark is sought with; the one that everybody knows unless told

    A data file that still lies beside its statement is checked with its whole folder. Raises InputError when `path` or
    `key` cannot be read; whatever is wrong inside is an answer, not an error.
    """
    path, pinned = Path(path), key if key is None or isinstance(key, Ed25519PublicKey) else public_key(key)
    if not os.path.exists(path):
        raise InputError(
            f"'{path}' does not exist. Give a release folder, or a data file ({', '.join((*DATA_SUFFIXES, *IMAGE_SUFFIXES))})."
        )
    try:
        if path.is_dir():
            return _folder(path, pinned)
        return _folder(path.parent, pinned) if (path.parent / STATEMENT).is_file() else _file(path, pinned, watermark)
    except OSError as error:
        raise InputError(f"'{error.filename or path}' cannot be read: {error.strerror}. Ask for the right to read it.") from error


def _file(path: Path, pinned: Ed25519PublicKey | None, watermark: str | None) -> Verification:
    mark = _mark(path)
    found = watermark_of(path, watermark) if path.name.lower().endswith(IMAGE_SUFFIXES) else None
    known: Status = "labelled" if mark is not None else "watermarked" if found is not None and found.p < SURE else "unlabelled"
    return Verification(path, known if pinned is None or known == "unlabelled" else "unsigned", mark=mark, watermark=found)


def _folder(folder: Path, pinned: Ed25519PublicKey | None) -> Verification:
    present = _entries(folder)
    if STATEMENT not in present:
        found = [_mark(folder / name) for name in sorted(present) if name.lower().endswith(_LABELLED)]
        mark = next((one for one in found if one is not None), None)
        plain = [name for name, entry in present.items() if not stat.S_ISDIR(entry.st_mode)]
        alone = all(name.lower().endswith((*_LABELLED, *_BESIDE)) for name in plain)  # data, and no release that lost its statement
        status: Status = "unlabelled" if mark is None or None in found else "labelled" if alone and pinned is None else "unsigned"
        return Verification(folder, status, mark=mark)
    try:
        signed = _signed(folder / STATEMENT, present[STATEMENT])
    except ValueError as error:
        return Verification(folder, "tampered", (Fault(STATEMENT, str(error)),))
    faults = [*_changed(folder, signed, present), *_added(signed, present)]
    if faults:
        return Verification(folder, "tampered", tuple(faults), signer=signed.key_id)
    data = [folder / name for name in sorted(signed.subject) if name.lower().endswith(_LABELLED)]
    marks = [_mark(one) for one in data]
    known = pinned is None or key_id(pinned) == signed.key_id
    status = "unlabelled" if not marks or None in marks else "intact" if known else "other signer"
    return Verification(folder, status, signer=signed.key_id, vouched=pinned is not None and known, mark=marks[0] if marks else None)


def _signed(statement: Path, entry: os.stat_result) -> Signed:
    if not stat.S_ISREG(entry.st_mode):
        raise ValueError("it is not a plain file")
    if entry.st_size > LARGEST_ENVELOPE_BYTES:
        raise ValueError(f"it is larger than {LARGEST_ENVELOPE_BYTES} bytes")
    return opened(statement.read_bytes())


def _changed(folder: Path, signed: Signed, present: dict[str, os.stat_result]) -> list[Fault]:
    faults = []
    for name, digest in sorted(signed.subject.items()):
        if name not in present:
            faults.append(Fault(name, "missing"))
        elif not stat.S_ISREG(present[name].st_mode):
            faults.append(Fault(name, "replaced by a link or something else that is not a plain file"))
        elif sha256(folder / name) != digest:
            faults.append(Fault(name, "changed"))
    return faults


def _added(signed: Signed, present: dict[str, os.stat_result]) -> list[Fault]:
    folders = {parent for name in signed.subject for parent in _parents(name)}
    return [
        Fault(name, "extra: it was not signed")
        for name in sorted(present)
        if name not in signed.subject and name not in folders | {STATEMENT}
    ]


def _parents(name: str) -> set[str]:
    parts = name.split("/")
    return {"/".join(parts[:end]) for end in range(1, len(parts))}


def _entries(folder: Path) -> dict[str, os.stat_result]:
    """Everything under the folder by its relative name, links not followed."""
    found = {}
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(folder / prefix) as entries:
            for entry in entries:
                name = prefix + entry.name
                found[name] = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{name}/")
    return found


def _shown(name: str) -> str:
    """A file name that cannot move the cursor or recolour the terminal."""
    return name if name.isprintable() else ascii(name)


def _mark(path: Path) -> Mark | None:
    """The label inside a data file; one too damaged to be read has none, and a sidecar beside an unlabelled file labels nothing."""
    try:
        if path.name.endswith(_HEADER):
            return header_mark(path)
        if path.name.lower().endswith(IMAGE_SUFFIXES):
            return mark_of(path)
        return find_mark(path) if is_synthetic(path) else None
    except (ProbandError, OSError, ValueError, pl.exceptions.PanicException):
        return None


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
