"""The ledger of a cohort: who looked at its patients, what for, and what privacy that cost. Append-only; every entry seals those before.

A look is charged before it is taken. Charges of differential privacy add up over the cohort's life (in rho, see `budget`), and so do
audits, since a report read often enough tells who is in it (Ganev and De Cristofaro, arXiv 2312.05114). Above either limit the
ledger says no.

A line is one entry in JSON, with its own SHA-256 and that of the line before. An altered, moved or missing line is found, but for
lines cut off the end: keep a `head` elsewhere, and `holds` tells. Whoever rewrites the whole file is found in that way alone.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from proband.errors import InputError, NotReleasable, ProbandError, Unavailable
from proband.privacy.budget import epsilon_of, rho_of
from proband.privacy.domain import ready
from proband.schema import Schema

EPSILON, DELTA = 10.0, 1e-5  # over a cohort's life, unless told
AUDITS = 100
FIT, AUDIT = "fit", "audit"
_LARGEST = 64 * 2**20  # bytes; a larger file is no ledger of ours


@dataclass(frozen=True)
class Entry:
    """One look: when (UTC), what kind (fit or audit), what for, and its rho; None: without any guarantee."""

    at: str
    kind: str
    what: str
    rho: float | None

    def __str__(self) -> str:
        cost = "no guarantee" if self.rho is None else f"rho {self.rho:.4g}" if self.rho else "an audit"
        return f"{self.at}  {self.what} ({cost})"


class _Read(NamedTuple):
    """A ledger as it stood at one moment: the first line's facts, the entries, and the seal of every line."""

    facts: dict[str, Any]
    entries: list[Entry]
    seals: list[str]

    @property
    def spent(self) -> tuple[float, int, int]:
        return _spent(self.facts, self.entries)


class Ledger:
    """The ledger in the file `path`.

    >>> ledger = Ledger.begin("cohort.ledger", "ward 7, 2019 to 2024")         # doctest: +SKIP
    >>> ledger.charge("fit", "marginals, epsilon 1", rho=rho_of(1, 1e-5))      # doctest: +SKIP
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @staticmethod
    def begin(path: str | Path, name: str, *, epsilon: float = EPSILON, delta: float = DELTA, audits: int = AUDITS) -> Ledger:
        """A new ledger for the cohort called `name`, or InputError when the file exists.

        epsilon, delta   the loss of privacy that its patients may suffer over its life, all private fits together
        audits           how many audits and reports may read it
        """
        rho_of(epsilon, delta)  # says what is wrong with them
        if audits < 1:
            raise InputError(f"audits = {audits!r} lets nobody look. Give a whole number, 1 or more.")
        ledger = Ledger(path)
        head = {"proband_ledger": 1, "at": _now(), "cohort": name, "epsilon": epsilon, "delta": delta, "audits": audits}
        scratch = ledger.path.with_name(f".{ledger.path.name}.{os.getpid()}.writing")
        try:
            with open(os.open(scratch, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as opened:
                opened.write(_line(head, ""))
                opened.flush()
                os.fsync(opened.fileno())
            os.link(scratch, ledger.path)  # whole or not at all, and never over another
        except FileExistsError:
            raise InputError(f"Ledger '{path}' exists already. A cohort has one ledger for life.") from None
        finally:
            scratch.unlink(missing_ok=True)
        return ledger

    @property
    def limits(self) -> dict[str, Any]:
        """What the cohort's life allows: epsilon, delta and audits; and the cohort's name."""
        return self._read().facts

    @property
    def entries(self) -> list[Entry]:
        """All looks so far, the first one first. InputError when the chain is broken."""
        return self._read().entries

    @property
    def head(self) -> str:
        """The seal of the last entry, which seals all before it."""
        return self._read().seals[-1]

    def holds(self, head: str) -> bool:
        """Whether an entry with this seal (or the beginning of one, 16 digits at least) is still there: nothing up to it was cut off."""
        return len(head) >= 16 and any(seal.startswith(head) for seal in self._read().seals)

    def spent(self) -> tuple[float, int, int]:
        """(epsilon at the ledger's delta of all private fits together, fits without a guarantee, audits)."""
        return self._read().spent

    def __str__(self) -> str:
        read = self._read()
        (epsilon, open_fits, audits), limits = read.spent, read.facts
        lines = [*map(str, read.entries), f"Spent: epsilon {epsilon:.3g} of {limits['epsilon']:g} (delta {limits['delta']:g})"]
        lines += [f"Fits without any guarantee: {open_fits}"] if open_fits else []
        lines += [f"Audits and reports: {audits} of {limits['audits']}"]
        return "\n".join([*lines, f"Head: {read.seals[-1][:16]} (keep it elsewhere: it proves that nothing was cut off)"])

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data, for machines."""
        read = self._read()
        epsilon, open_fits, audits = read.spent
        spent = {"epsilon": epsilon, "fits_without_guarantee": open_fits, "audits": audits}
        return {**spent, "limits": read.facts, "head": read.seals[-1], "entries": [asdict(entry) for entry in read.entries]}

    def charge(self, kind: str, what: str, *, rho: float | None = None) -> Entry:
        """Enter a look before it is taken. NotReleasable, and no entry, when the life's budget does not bear it.

        kind     "fit" or "audit"
        rho      what a private fit costs; None for one without a guarantee, and for audits
        """
        if kind not in (FIT, AUDIT) or (kind == AUDIT and rho is not None):
            raise ProbandError(f"Fault in proband: a ledger takes no entry of kind {kind!r} with rho {rho}.")
        if rho is not None and not (math.isfinite(rho) and rho > 0):
            raise ProbandError(f"Fault in proband: a private fit was entered at rho {rho}.")
        with self._alone() as file:
            content = self._content()
            read = _parsed(self.path, content)
            entry = Entry(_now(), kind, what, 0.0 if kind == AUDIT else rho)
            self._refuse(read.facts, read.entries, entry)
            line = _line({"at": entry.at, "kind": kind, "what": what, "rho": rho}, read.seals[-1])
            os.lseek(file, 0, os.SEEK_SET)
            os.ftruncate(file, len(content))  # the half of a line that a kill left behind
            os.lseek(file, len(content), os.SEEK_SET)
            try:
                while line:
                    line = line[os.write(file, line) :]
                os.fsync(file)
            except OSError:
                os.ftruncate(file, len(content))
                raise
        return entry

    def _refuse(self, facts: dict[str, Any], entries: Sequence[Entry], entry: Entry) -> None:
        epsilon, _, audits = _spent(facts, entries)
        if entry.kind == AUDIT and audits >= facts["audits"]:
            raise NotReleasable(
                f"Ledger '{self.path}' allows {facts['audits']} audits over the cohort's life, and all are spent. The last ones:\n"
                + _last([e for e in entries if e.kind == AUDIT])
            )
        after, _, _ = _spent(facts, [*entries, entry])
        if entry.kind == FIT and entry.rho is not None and after > facts["epsilon"] * (1 + 1e-6):
            raise NotReleasable(
                f"Ledger '{self.path}' allows epsilon {facts['epsilon']:g} over the cohort's life (delta {facts['delta']:g}). Spent are "
                f"{epsilon:.3g}; with {entry.what} it would be {after:.3g}. Spent on:\n"
                + (_last([e for e in entries if e.kind == FIT and e.rho is not None]) or "  nothing yet")
            )

    def _read(self) -> _Read:
        return _parsed(self.path, self._content())

    def _content(self) -> bytes:
        """All whole lines. A line that a kill cut in two was never charged: it is not one."""
        try:
            if self.path.stat().st_size > _LARGEST:
                raise InputError(f"'{self.path}' is too large for a ledger.")
            content = self.path.read_bytes()
        except FileNotFoundError:
            raise InputError(f"There is no ledger '{self.path}'. Begin one: Ledger.begin, or proband fit with --epsilon.") from None
        return content[: content.rfind(b"\n") + 1]

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """The file, open, for one process at a time. The system lets go of it when a process is killed."""
        try:
            import fcntl
        except ImportError as error:
            raise Unavailable("A ledger needs file locks as Linux and macOS have them. Keep it on such a machine.") from error
        try:
            file = os.open(self.path, os.O_RDWR)
        except FileNotFoundError:
            raise InputError(f"There is no ledger '{self.path}'. Begin one: Ledger.begin, or proband fit with --epsilon.") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)


def ledger_of(data: Any, ledger: str | Path | None = None) -> Path | None:
    """The file of a cohort's ledger: the one given, or beside the data; None for a frame without one."""
    if ledger is not None:
        return Path(ledger)
    return Path(f"{data}.ledger") if isinstance(data, str | Path) else None


def enter_fit(ledger: Path | None, model: Any, schema: Schema, *, report: str | None = None, tuning: bool = False) -> bool:
    """Enter a fit of `model` before it begins, and the `report` that will follow. NotReleasable when the ledger is spent.

    A fit for `tuning`, whose model is thrown away, costs what any fit costs, and is called so.

    Gives back whether one is kept. A private fit begins the ledger where there is none; others are entered where there is one.
    """
    rho = getattr(model, "rho", None)
    if rho is not None:
        ready(schema)  # a fit that will be refused costs nothing
    if ledger is None or not (ledger.exists() or rho is not None):
        return False
    if rho is None and getattr(model, "epsilon", None) is not None:
        raise InputError(
            f"Synthesizer {model.name!r} promises privacy and does not say what a fit costs (`rho`), so no ledger can keep it."
        )
    if not ledger.exists():
        with contextlib.suppress(InputError):  # another fit was quicker
            Ledger.begin(ledger, ledger.stem)
    kept = Ledger(ledger)
    if report is not None:
        kept.charge(AUDIT, report)  # first: where none is left, no fit is paid for
    what = model.name if rho is None else f"{model.name}, epsilon {model.epsilon:g}, delta {model.delta:g}"
    kept.charge(FIT, f"tuning: {what}" if tuning else what, rho=rho)
    return True


def foresee(ledger: Path | None, models: Sequence[Any], what: str) -> None:
    """NotReleasable when the ledger, or one begun now, does not bear a fit and a report of each of `models`. Nothing is entered."""
    rho = math.fsum(model.rho for model in models if getattr(model, "rho", None) is not None)
    if ledger is None or not (ledger.exists() or rho):
        return
    new = _Read({"epsilon": EPSILON, "delta": DELTA, "audits": AUDITS}, [], [])
    facts, entries, _ = Ledger(ledger)._read() if ledger.exists() else new
    left = facts["audits"] - _spent(facts, entries)[2]
    if len(models) > left:
        raise NotReleasable(
            f"Ledger '{ledger}' allows {facts['audits']} audits over the cohort's life. {left} are left, and this takes {len(models)}."
        )
    if rho:
        Ledger(ledger)._refuse(facts, entries, Entry(_now(), FIT, what, rho))


def enter_open_fit(ledger: Path | None, what: str) -> None:
    """Enter something that is learned of the patients without any guarantee, where their ledger is kept."""
    if ledger is not None and ledger.exists():
        Ledger(ledger).charge(FIT, what)


def enter_audit(ledger: Path | None, what: str) -> None:
    """Enter a report that reads the patients, where their ledger is kept. NotReleasable when no audit is left."""
    if ledger is not None and ledger.exists():
        Ledger(ledger).charge(AUDIT, what)


def standing(ledger: Path | None) -> dict[str, Any]:
    """How the ledger stands, for a report: name, head, limits and what is spent; under the key "ledger", or nothing where none is kept."""
    if ledger is None or not ledger.exists():
        return {}
    found = Ledger(ledger).as_dict()
    del found["entries"]
    return {"ledger": {"name": ledger.name, **found}}


def is_ledger(path: Path) -> bool:
    """Whether the file begins as a ledger does."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(17) == b'{"proband_ledger"'
    return False


def verify_ledger(path: Path) -> tuple[bool, str]:
    """Whether the chain is whole, and in words. InputError when there is no such file."""
    if not path.is_file():
        raise InputError(f"There is no ledger '{path}'.")
    try:
        read = Ledger(path)._read()
    except InputError as tampered:
        return False, str(tampered)
    said = f"Intact: {len(read.entries)} entries, head {read.seals[-1][:16]}."
    return True, f"{said} Entries cut off the end show only beside a head that was kept elsewhere."


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _plain(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode()


def _line(content: dict[str, Any], before: str) -> bytes:
    sealed = content | {"before": before}
    return _plain(sealed | {"seal": hashlib.sha256(_plain(sealed)).hexdigest()}) + b"\n"


def _parsed(path: Path, content: bytes) -> _Read:
    """What the lines say; InputError at the first that does not fit the one before."""
    facts, entries, seals = None, [], [""]
    for number, line in enumerate(content.splitlines(), 1):
        try:
            found = json.loads(line)
            if not isinstance(found, dict):
                raise ValueError("it is no entry")
            sealed, own = {key: value for key, value in found.items() if key != "seal"}, found["seal"]
            if own != hashlib.sha256(_plain(sealed)).hexdigest():
                raise ValueError("it was changed")
            if found["before"] != seals[-1]:
                raise ValueError("it does not follow from the line before")
            if facts is None:
                if found["proband_ledger"] != 1:
                    raise ValueError("it is of another version")
                facts = {"cohort": str(found["cohort"]), "epsilon": float(found["epsilon"]), "delta": float(found["delta"])}
                facts["audits"] = int(found["audits"])
            else:
                rho = 0.0 if found["kind"] == AUDIT else found["rho"]
                if found["kind"] not in (FIT, AUDIT) or not (rho is None or (math.isfinite(rho) and rho >= 0)):
                    raise ValueError("it gives back what was spent")
                entries.append(Entry(str(found["at"]), str(found["kind"]), str(found["what"]), None if rho is None else float(rho)))
        except (ValueError, KeyError, TypeError) as error:
            why = str(error) if type(error) is ValueError else "it is no entry"
            raise InputError(f"Ledger '{path}', line {number}, was tampered with: {why}. Restore it from a copy.") from error
        seals.append(own)
    if facts is None:
        raise InputError(f"'{path}' is empty: it is no ledger. Restore it from a copy.")
    return _Read(facts, entries, seals[1:])


def _spent(facts: dict[str, Any], entries: Sequence[Entry]) -> tuple[float, int, int]:
    rho = math.fsum(entry.rho for entry in entries if entry.kind == FIT and entry.rho is not None)
    open_fits = sum(entry.kind == FIT and entry.rho is None for entry in entries)
    return (epsilon_of(rho, facts["delta"]) if rho else 0.0), open_fits, sum(entry.kind == AUDIT for entry in entries)


def _last(entries: Sequence[Entry], most: int = 20) -> str:
    shown = [f"  {entry}" for entry in entries[-most:]]
    return "\n".join([f"  ({len(entries) - most} earlier ones)", *shown] if len(entries) > most else shown)
