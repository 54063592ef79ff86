"""PNG files signed as C2PA asks: "created by an algorithm that learned", in a manifest that other people's viewers read.

Content Credentials (C2PA specification 2.1; digital source type by IPTC), written by c2pa-python. The certificate is the signer's own: made
from the key that signs the release, and on nobody's list of trusted ones, so viewers show the claim and call its signer unknown.
"""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proband.cohort import Mark
from proband.errors import InputError, Unavailable
from proband.release.provenance import key_id

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_YEARS = datetime.datetime(2025, 1, 1), datetime.datetime(2055, 1, 1)  # no clock is read


def sign_images(folder: Path, mark: Mark, key: Ed25519PrivateKey) -> int:
    """Put a signed manifest into every PNG under `folder`; how many. The files differ each time: a manifest has a random name.

    Unavailable without c2pa-python, InputError for a PNG that cannot be signed.
    """
    c2pa = library()
    settings = {"builder": {"thumbnail": {"enabled": False}}, "verify": {"remote_manifest_fetch": False}}
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = sorted(folder.rglob("*.png"))
    with c2pa.Context.from_dict(settings) as context:
        for path in files:
            made = io.BytesIO()
            try:
                signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"ed25519", certificate(key), private, None))
                builder = c2pa.Builder(json.dumps(_manifest(path.name, mark)), context=context)
                builder.sign(signer, "image/png", io.BytesIO(path.read_bytes()), made)
            except c2pa.C2paError as error:
                raise InputError(f"Image '{path.name}' cannot be signed as C2PA asks: {error}. Release without c2pa.") from error
            path.write_bytes(made.getvalue())
    return len(files)


def library() -> Any:
    """c2pa-python. Unavailable where it is not installed."""
    try:
        import c2pa
    except ImportError as error:
        raise Unavailable("C2PA needs c2pa-python. Run: pip install 'proband[c2pa]'") from error
    return c2pa


def certificate(key: Ed25519PrivateKey) -> bytes:
    """A certificate (PEM) of the key by itself, the same each time, with what C2PA asks of one that signs (specification 2.1, 14.5.1)."""
    public = key.public_key()
    name = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "proband"), x509.NameAttribute(NameOID.COMMON_NAME, f"key {key_id(public)[:16]}")]
    )
    may = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign", "encipher_only"),
        False,
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(int(key_id(public)[:16], 16) | 1)
        .not_valid_before(_YEARS[0])
        .not_valid_after(_YEARS[1])
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, decipher_only=False, **may), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, None)
    )
    return made.public_bytes(Encoding.PEM)


def _manifest(title: str, mark: Mark) -> dict[str, Any]:
    maker = {"name": f"proband {mark.synthesizer}", "version": mark.version}
    created = {"action": "c2pa.created", "digitalSourceType": SOURCE, "softwareAgent": maker}
    return {
        "claim_generator_info": [{"name": "proband", "version": mark.version}],
        "title": title,
        "format": "image/png",
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }
