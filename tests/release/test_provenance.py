from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from proband.errors import InputError
from proband.release import provenance
from proband.release.provenance import key_id, opened, public_key, public_pem, sign, signing_key, user_key_path

HASH = "a" * 64


def private_pem(key: Any, password: bytes | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password) if password else NoEncryption())


def save_key(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_what_is_signed_is_opened(key: Ed25519PrivateKey) -> None:
    signed = opened(sign({"b.csv": HASH, "a/ü.csv": HASH}, {"seed": 7}, key))
    assert signed.subject == {"a/ü.csv": HASH, "b.csv": HASH}
    assert signed.predicate == {"seed": 7}
    assert signed.key_id == key_id(key.public_key())


def test_same_statement_and_key_same_bytes(key: Ed25519PrivateKey) -> None:
    assert sign({"a": HASH, "b": HASH}, {"x": 1, "y": 2}, key) == sign({"b": HASH, "a": HASH}, {"y": 2, "x": 1}, key)


def test_the_statement_is_in_toto_in_dsse(key: Ed25519PrivateKey) -> None:
    envelope = json.loads(sign({"a": HASH}, {"seed": 7}, key))
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert json.loads(base64.b64decode(envelope["payload"])) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "a", "digest": {"sha256": HASH}}],
        "predicateType": "urn:proband:release:1",
        "predicate": {"seed": 7},
    }


def test_any_other_byte_anywhere_is_noticed(key: Ed25519PrivateKey) -> None:
    envelope = sign({"a": HASH}, {"seed": 7}, key)
    for position in range(len(envelope)):
        for flipped in (envelope[position] ^ 1, envelope[position] ^ 32):
            changed = envelope[:position] + bytes([flipped]) + envelope[position + 1 :]
            with pytest.raises(ValueError):
                opened(changed)
    for changed in (envelope[:-1], envelope + b"\n", b" " + envelope, envelope[1:]):
        with pytest.raises(ValueError):
            opened(changed)


def test_a_signature_over_another_statement_is_refused(key: Ed25519PrivateKey) -> None:
    mine, other = json.loads(sign({"a": HASH}, {}, key)), json.loads(sign({"b": HASH}, {}, key))
    mine["signatures"] = other["signatures"]
    with pytest.raises(ValueError, match="signature does not fit"):
        opened(provenance.canonical(mine) + b"\n")


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "a//b", "./a", "", ".", "a\\b", "C:a", "a\nb", "a/", ".hidden"])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str, key: Ed25519PrivateKey) -> None:
    with pytest.raises(ValueError, match=r"outside|empty"):
        opened(sign({name: HASH}, {}, key))


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"signatures": 3}',
        b'{"signatures": [{}], "payload": {}}',
        b"1" * 5000,
        b"NaN",
    ],
    ids=["empty", "binary", "null", "list", "object", "deep", "number", "objects", "long number", "nan"],
)
def test_hostile_json_is_a_plain_complaint(hostile: bytes) -> None:
    with pytest.raises(ValueError) as raised:
        opened(hostile)
    assert len(str(raised.value)) < 100


def test_signed_nonsense_is_a_plain_complaint(key: Ed25519PrivateKey) -> None:
    for payload in (
        b"{}",
        b"[]",
        b"no",
        provenance.canonical({"_type": provenance.STATEMENT_TYPE, "predicateType": "urn:other", "subject": []}),
    ):
        signature = {
            "keyid": key_id(key.public_key()),
            "sig": base64.b64encode(key.sign(provenance._signed_bytes(payload))).decode(),
            "public_key": public_pem(key.public_key()),
        }
        envelope = {"payload": base64.b64encode(payload).decode(), "payloadType": provenance.PAYLOAD_TYPE, "signatures": [signature]}
        with pytest.raises(ValueError):
            opened(provenance.canonical(envelope) + b"\n")


@pytest.mark.parametrize(
    "subject", [[], {}, 3, None, [{"name": "a"}], [{"name": "a", "digest": {"sha256": "short"}}], [{"name": 3, "digest": {"sha256": HASH}}]]
)
def test_a_subject_of_another_form_is_refused(subject: Any) -> None:
    with pytest.raises(ValueError, match="subject"):
        provenance._subject(subject)
    with pytest.raises(ValueError, match="twice"):
        provenance._subject([{"name": "a", "digest": {"sha256": HASH}}] * 2)


def test_a_key_is_made_on_first_use_and_kept_to_oneself(own_key_folder: Path) -> None:
    first = signing_key()
    path = user_key_path()
    assert path == own_key_folder / "proband" / "key.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(one.name for one in path.parent.iterdir()) == ["key.pem", "key.pub"]
    again = signing_key()
    assert key_id(again.public_key()) == key_id(first.public_key()) == key_id(public_key(path.with_suffix(".pub")))


def test_a_key_that_another_process_just_made_is_not_overwritten(own_key_folder: Path, key: Ed25519PrivateKey) -> None:
    path = user_key_path()
    path.parent.mkdir(parents=True)
    save_key(path, private_pem(key))
    assert key_id(provenance._make(path).public_key()) == key_id(key.public_key())


def test_the_environment_names_a_key(tmp_path: Path, key: Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBAND_KEY", str(save_key(tmp_path / "key.pem", private_pem(key))))
    assert key_id(signing_key().public_key()) == key_id(key.public_key())
    assert not user_key_path().exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, key: Ed25519PrivateKey, mode: int) -> None:
    with pytest.raises(InputError, match="chmod 600"):
        signing_key(save_key(tmp_path / "key.pem", private_pem(key), mode))


def test_what_is_not_a_usable_key_is_refused(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    with pytest.raises(InputError, match="does not exist"):
        signing_key(tmp_path / "none.pem")
    with pytest.raises(InputError, match="not a private key"):
        signing_key(save_key(tmp_path / "text.pem", b"hello"))
    with pytest.raises(InputError, match="password"):
        signing_key(save_key(tmp_path / "locked.pem", private_pem(key, b"secret")))
    with pytest.raises(InputError, match="not an Ed25519 key"):
        signing_key(save_key(tmp_path / "curve.pem", private_pem(ec.generate_private_key(ec.SECP256R1()))))
    with pytest.raises(InputError, match="not a private key"):
        signing_key(save_key(tmp_path / "public.pem", public_pem(key.public_key()).encode()))


def test_what_is_not_a_public_key_is_refused(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        public_key(tmp_path / "none.pub")
    with pytest.raises(InputError, match="not a public key"):
        public_key(save_key(tmp_path / "private.pem", private_pem(key)))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_place_for_a_key_is_a_plain_complaint(own_key_folder: Path) -> None:
    own_key_folder.chmod(0o500)
    with pytest.raises(InputError, match="--key"):
        signing_key()


def test_a_file_in_place_of_the_key_folder_is_a_plain_complaint(own_key_folder: Path) -> None:
    (own_key_folder / "proband").write_text("not a folder")
    with pytest.raises(InputError, match="--key"):
        signing_key()
