"""Release: the synthetic tables, their label, its evidence and a signature in one folder. Whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from proband.cohort import Cohort
from proband.errors import InputError, NotReleasable
from proband.records.burned import burned
from proband.records.folder import write_tables
from proband.records.image_folder import has_images
from proband.records.images import Images
from proband.records.tables import read, write
from proband.release.c2pa import library, sign_images
from proband.release.card import About, card
from proband.release.croissant import croissant
from proband.release.gate import judge
from proband.release.policy import Policy
from proband.release.provenance import LARGEST_ENVELOPE_BYTES, sign, signing_key
from proband.release.verify import STATEMENT, Verification, sha256, verify
from proband.validate.report import Report

__all__ = ["Release", "Verification", "release", "verify"]


@dataclass(frozen=True)
class Release:
    """A release folder. `verify` says whether to believe it; the other members read it without checking."""

    path: Path

    @staticmethod
    def open(path: str | Path) -> Release:
        """The release in the folder `path`. InputError when there is no such folder."""
        path = Path(path)
        if not path.is_dir():
            raise InputError(f"'{path}' is not a folder. Give the folder that `proband release` wrote.")
        return Release(path)

    def verify(self, key: str | Path | Ed25519PublicKey | None = None) -> Verification:
        """Whether every file is as it was signed; `key` pins the signer's public key."""
        return verify(self.path, key)

    @cached_property
    def report(self) -> Report:
        """The report that the gate judged, under the policy's limits."""
        return Report.load(self.path / "report.json")

    @cached_property
    def policy(self) -> Policy:
        """The policy under which it left."""
        return Policy.load(self.path / "policy.toml")


def release(
    synthetic: Cohort,
    report: Report,
    policy: Policy | str | Path,
    into: str | Path,
    *,
    purpose: str = "",
    population: str = "",
    creator: str = "",
    license: str = "",
    date: str = "",
    key: str | Path | Ed25519PrivateKey | None = None,
    format: str = "parquet",
    name: str = "synthetic",
    stamp: bool = True,
    watermark: bool | str = True,
    c2pa: bool = False,
) -> Release:
    """Judge the report under the policy and, if it passes, write a signed folder `into`, which must not exist.

    report      about these very patients: `report.context["subject"]["sha256"]` is `synthetic.fingerprint`
    policy      a Policy, the name of a built-in one, or a policy file
    purpose     what the release is for; some policies insist on it
    population, creator, license, date   for the data card: who the real patients were, who releases, a licence's URL, YYYY-MM-DD
    key         Ed25519 private key (PEM file) to sign with; the user's own, made on first use, unless given
    format      of the data, parquet or csv
    name        of the release, and of its data file; linked tables are a file each, named as the table
    stamp, watermark   of images: what is put into their pixels, unless they have it; see `proband.write`
    c2pa        sign every PNG as C2PA asks, too; each release then has bytes of its own

    Raises NotReleasable with every reason when the patients carry no mark, the report is about others, or a limit is
    broken or could not be judged; InputError when something given is wrong or the folder cannot be written. Either
    way nothing is left behind. The same input and key give the same bytes: no clock is read.
    """
    into, policy = Path(into), policy if isinstance(policy, Policy) else Policy.load(policy)
    _check_names(format, name)
    policy.check_purpose(purpose)
    _check_subject(synthetic, report)
    decision = judge(report, policy)
    if not decision.passed:
        reasons = "\n".join(f"- {reason}" for reason in decision.reasons)
        raise NotReleasable(f"Not releasable under policy {policy.name!r}, version {policy.version}:\n{reasons}")
    signer = key if isinstance(key, Ed25519PrivateKey) else signing_key(key)
    if c2pa:
        library()  # asked for before anything is written
    if os.path.lexists(into):
        raise InputError(f"Output folder '{into}' exists. Choose another name or remove it; nothing is overwritten.")
    about = About(name, purpose.strip(), population.strip(), creator.strip(), license.strip(), date.strip())
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f".{into.name}.", dir=into.parent))
    except OSError as error:
        raise InputError(f"Output folder '{into}' cannot be made: {error.strerror}. Choose a place that exists and is yours.") from error
    try:
        released = _labelled(synthetic, stamp, watermark)
        _write_data(scratch, released, about, format)
        if c2pa:
            assert released.mark is not None, "_check_subject refused a cohort without a mark"
            sign_images(scratch, released.mark, signer)
        _describe(scratch, released, decision.report, policy, about, format)
        predicate = _predicate(released, decision.report, policy, about)
        if has_images(scratch):  # what a reader of the release finds, beside what was judged: the same without labels in its pixels
            found = read(scratch / about.name, synthetic.schema).fingerprint
            predicate["patients"] |= {"fingerprint": found, "judged": synthetic.fingerprint}
        envelope = sign(_hashes(scratch), predicate, signer)
        if len(envelope) > LARGEST_ENVELOPE_BYTES:
            raise InputError(f"{len(envelope):,} bytes of statement for so many files, and {LARGEST_ENVELOPE_BYTES:,} are read. Part them.")
        (scratch / STATEMENT).write_bytes(envelope)
        scratch.chmod(0o777 & ~_umask())
        scratch.rename(into)
    except OSError as error:
        raise InputError(f"Output folder '{into}' cannot be written: {error.strerror}. Free some space or choose another place.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # after an error or Ctrl-C; the renamed folder is out of reach
    return Release(into)


def _labelled(synthetic: Cohort, stamp: bool, watermark: bool | str) -> Cohort:
    """The cohort as it leaves: with the stamp and the watermark in the pixels of its images."""
    media = {
        name: burned(held, stamp=stamp, watermark=watermark) if isinstance(held, Images) else held for name, held in synthetic.media.items()
    }
    return replace(synthetic, media=media)


def _write_data(folder: Path, synthetic: Cohort, about: About, format: str) -> None:
    if synthetic.media:  # a folder of its own: the table, and the records that it names
        write(synthetic, folder / about.name, format=format, stamp=False, watermark=False)
    elif synthetic.linked:
        write_tables(synthetic, folder, format)
    else:
        write(synthetic, folder / f"{about.name}.{format}")


def _describe(folder: Path, synthetic: Cohort, report: Report, policy: Policy, about: About, format: str) -> None:
    first = synthetic.schema.table.name
    if synthetic.linked:
        data = {table.name: f"{table.name}.{format}" for table in synthetic.schema.tables}
    else:
        data = {first: f"{about.name}/{first}.{format}" if synthetic.media else f"{about.name}.{format}"}
    synthetic.schema.save(folder / "schema.toml")
    report = report.outside()
    report.save(folder / "report.html")
    report.save(folder / "report.json")
    policy.save(folder / "policy.toml")
    (folder / "card.md").write_text(card(synthetic, report, policy, about), encoding="utf-8")
    described = croissant(synthetic, report, about, folder, data)
    (folder / "croissant.json").write_text(json.dumps(described, ensure_ascii=False, allow_nan=False, indent=1) + "\n", encoding="utf-8")


def _hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _predicate(synthetic: Cohort, report: Report, policy: Policy, about: About) -> dict[str, Any]:
    """What the signer says about the files: how they were made, on what evidence and under which policy they left."""
    mark = synthetic.mark
    assert mark is not None, "_check_subject refused a cohort without a mark"
    findings = [
        {"name": f.name, "value": f.value, "interval": f.interval, "limit": f.limit and str(f.limit), "passed": f.passed}
        for f in report.findings
    ]
    return {
        "name": about.name,
        "purpose": about.purpose,
        "date": about.date or None,
        "label": "synthetic",
        "synthesizer": {"name": mark.synthesizer, "version": mark.version, "seed": mark.seed, "details": dict(mark.details)},
        "schema": {"sha256": synthetic.schema.hash, "learned": mark.schema_hash},
        "patients": {"count": len(synthetic), "fingerprint": synthetic.fingerprint},
        "policy": {"name": policy.name, "version": policy.version, "sha256": policy.hash},
        "report": {"passed": report.passed, "verdict": report.verdict, "findings": _finite(findings)},
        "split": report.context.get("split"),
    }


def _check_subject(synthetic: Cohort, report: Report) -> None:
    """Only synthetic patients leave, and only on evidence that is about them."""
    if synthetic.mark is None:
        raise NotReleasable("These patients carry no mark of a synthesizer: they count as real, and real patients never leave.")
    subject = report.context.get("subject")
    judged = subject.get("sha256") if isinstance(subject, dict) else subject
    if judged is None:
        raise NotReleasable("The report does not say which patients it judged (its context has no subject). Run the validation again.")
    if judged != synthetic.fingerprint:
        raise NotReleasable(
            f"The report is about other patients: it judged {str(judged)[:12]}..., these are {synthetic.fingerprint[:12]}.... "
            f"Validate this very file, and release it unchanged and under the same schema."
        )


def _check_names(format: str, name: str) -> None:
    if format not in ("parquet", "csv"):
        raise InputError(f"Format {format!r} is unknown. Use parquet or csv.")
    if not name or not name.isprintable() or name.startswith(".") or any(sign in name for sign in "/\\:"):
        raise InputError(f"Name {name!r} cannot be a file's name. Use letters, digits, hyphens and spaces.")


def _finite(plain: Any) -> Any:
    """JSON has no infinity: an open end of an interval is null."""
    if isinstance(plain, list | tuple):
        return [_finite(one) for one in plain]
    if isinstance(plain, dict):
        return {name: _finite(value) for name, value in plain.items()}
    return None if isinstance(plain, float) and plain in (float("inf"), float("-inf")) else plain


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
