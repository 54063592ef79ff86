"""Provenance: an in-toto statement over the hashes of a release's files, signed with Ed25519 in a DSSE envelope.

Formats: in-toto Statement v1 (https://in-toto.io/Statement/v1) and DSSE v1 (github.com/secure-systems-lab/dsse). The
envelope carries the signer's public key, so that it can be checked offline; whether to trust that key is the reader's
decision, made by pinning it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from proband.errors import InputError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:proband:release:1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
KEY_VARIABLE = "PROBAND_KEY"

#: A statement lists some files, or 300,000 images; anything larger is not one of ours and is not read.
LARGEST_ENVELOPE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Signed:
    """A statement whose signature held: file name -> SHA-256, what is said about them, and who said it."""

    subject: Mapping[str, str]
    predicate: Mapping[str, Any]
    public_key: Ed25519PublicKey

    @property
    def key_id(self) -> str:
        """The signer's key id."""
        return key_id(self.public_key)


def canonical(content: Any) -> bytes:
    """JSON with sorted keys and no spaces, UTF-8: the same bytes for the same content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sign(subject: Mapping[str, str], predicate: Mapping[str, Any], key: Ed25519PrivateKey) -> bytes:
    """The signed envelope as bytes: the same for the same statement and key, since Ed25519 signatures are deterministic (RFC 8032).

    subject    file name (relative, with `/`) -> SHA-256 in hex
    predicate  plain JSON data about them
    """
    files = [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(subject.items())]
    statement = {"_type": STATEMENT_TYPE, "subject": files, "predicateType": PREDICATE_TYPE, "predicate": predicate}
    payload, public = canonical(statement), key.public_key()
    signature = {"keyid": key_id(public), "sig": _base64(key.sign(_signed_bytes(payload))), "public_key": public_pem(public)}
    return canonical({"payload": _base64(payload), "payloadType": PAYLOAD_TYPE, "signatures": [signature]}) + b"\n"


def opened(envelope: bytes) -> Signed:
    """The statement in an envelope, its signature checked. ValueError says in words what is wrong with it.

    Strict on purpose: an envelope has one canonical spelling, so that no byte of it can change unnoticed.
    """
    plain = _parsed(envelope, "the envelope")
    try:
        (signature,) = plain["signatures"]
        payload = base64.b64decode(plain["payload"], validate=True)
        raw_signature = base64.b64decode(signature["sig"], validate=True)
        public = serialization.load_pem_public_key(signature["public_key"].encode())
    except (KeyError, TypeError, AttributeError, ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("it is not a DSSE envelope with one signature and its public key") from error
    if not isinstance(public, Ed25519PublicKey):
        raise ValueError("its key is not an Ed25519 key")
    expected = {"keyid": key_id(public), "sig": _base64(raw_signature), "public_key": public_pem(public)}
    rebuilt = {"payload": _base64(payload), "payloadType": PAYLOAD_TYPE, "signatures": [expected]}
    if canonical(rebuilt) + b"\n" != envelope:
        raise ValueError("it was changed after it was written")
    try:
        public.verify(raw_signature, _signed_bytes(payload))
    except InvalidSignature as error:
        raise ValueError("its signature does not fit its content: it was changed after it was signed") from error
    statement = _parsed(payload, "the statement")
    if statement.get("_type") != STATEMENT_TYPE or statement.get("predicateType") != PREDICATE_TYPE:
        raise ValueError(f"it is not a statement of type {PREDICATE_TYPE}")
    if not isinstance(statement.get("predicate"), dict):
        raise ValueError("its predicate is not an object")
    return Signed(_subject(statement.get("subject")), statement["predicate"], public)


def _parsed(content: bytes, what: str) -> dict[str, Any]:
    try:
        plain = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is not JSON") from error
    if not isinstance(plain, dict):
        raise ValueError(f"{what} is not a JSON object")
    return plain


def _subject(entries: Any) -> dict[str, str]:
    """Names and hashes of files, refusing what would lead out of the folder."""
    try:
        subject = {entry["name"]: entry["digest"]["sha256"] for entry in entries}
    except (KeyError, TypeError) as error:
        raise ValueError("its subject is not a list of names and SHA-256 digests") from error
    if len(subject) != len(entries) or not subject:
        raise ValueError("its subject is empty or names a file twice")
    for name, digest in subject.items():
        if not isinstance(name, str) or not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError("its subject is not a list of names and SHA-256 digests")
        if (
            not name.isprintable()
            or "\\" in name
            or ":" in name
            or name != str(PurePosixPath(name))
            or ".." in name.split("/")
            or name[0] in "/."
        ):
            raise ValueError(f"its subject names a file outside the folder: {name!r}")
    return subject


def _signed_bytes(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed covers the type and the lengths."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def key_id(public: Ed25519PublicKey) -> str:
    """SHA-256 (hex) of the 32 bytes of a public key: short enough to read out over the telephone."""
    return hashlib.sha256(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def public_pem(public: Ed25519PublicKey) -> str:
    """A public key as PEM text, for `verify --key`."""
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def public_key(path: str | Path) -> Ed25519PublicKey:
    """Read a public key (PEM), to pin a signer. InputError when it is not one."""
    try:
        loaded = serialization.load_pem_public_key(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"Public key '{path}' cannot be read: {error.strerror}. Ask the signer for the file beside their key.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"'{path}' is not a public key in PEM. Give the signer's file that begins with -----BEGIN PUBLIC KEY-----."
        ) from error
    if not isinstance(loaded, Ed25519PublicKey):
        raise InputError(f"Public key '{path}' is not an Ed25519 key. Releases are signed with Ed25519.")
    return loaded


def signing_key(path: str | Path | None = None) -> Ed25519PrivateKey:
    """The private key at `path`, else at $PROBAND_KEY, else the user's own, made on first use and kept at mode 0600.

    Raises InputError when a named key is missing, is not Ed25519 in PEM, has a password, or can be read by others.
    """
    named = path or os.environ.get(KEY_VARIABLE)
    if named is None:
        home = user_key_path()
        return _read_private(home) if os.path.exists(home) else _make(home)
    if not os.path.exists(named):
        raise InputError(
            f"Key '{named}' does not exist. Make one with: openssl genpkey -algorithm ed25519 -out '{named}'; or leave the option out."
        )
    return _read_private(Path(named))


def user_key_path() -> Path:
    """Where the user's own key lies: $XDG_CONFIG_HOME/proband/key.pem, or ~/.config/proband/key.pem."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "proband" / "key.pem"


def _read_private(path: Path) -> Ed25519PrivateKey:
    try:
        with path.open("rb") as file:  # one open file: what is checked is what is read
            if os.name == "posix" and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise InputError(
                    f"Key '{path}' can be read by others. Whoever holds it can sign in your name. Close it with: chmod 600 '{path}'"
                )
            content = file.read(65536)
        loaded = serialization.load_pem_private_key(content, password=None)
    except OSError as error:
        raise InputError(f"Key '{path}' cannot be read: {error.strerror}. Give a key file of yours.") from error
    except TypeError as error:
        raise InputError(f"Key '{path}' has a password, which is not supported. Give a key without one, at mode 0600.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"Key '{path}' is not a private key in PEM. Make one with: openssl genpkey -algorithm ed25519 -out NEW.pem"
        ) from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise InputError(f"Key '{path}' is not an Ed25519 key. Make one with: openssl genpkey -algorithm ed25519 -out NEW.pem")
    return loaded


def _make(path: Path) -> Ed25519PrivateKey:
    """A new key at `path`, whole or not at all; if another process was first, its key."""
    key = Ed25519PrivateKey.generate()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, scratch = tempfile.mkstemp(prefix=".key.", dir=path.parent)  # mode 0600 from the start
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(scratch, path)  # unlike a rename, it never overwrites a key
        finally:
            Path(scratch).unlink(missing_ok=True)
        made = _read_private(path)
        path.with_suffix(".pub").write_text(public_pem(made.public_key()), encoding="ascii")
    except OSError as error:
        raise InputError(
            f"No signing key, and one cannot be made at '{path}': {error.strerror}. Give one with --key, or set {KEY_VARIABLE}."
        ) from error
    return made
