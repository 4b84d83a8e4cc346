"""Keys of a world's own: its scorer takes only models that were signed with one."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from shared.model_artifact.signing import ManifestSigner

PRIVATE_KEY, PUBLIC_KEYS = "signing-key.pem", "trusted-keys.pem"


def new_signer(folder: Path) -> ManifestSigner:
    """Make a key, and put both halves into the folder."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / PRIVATE_KEY).write_bytes(private)
    (folder / PUBLIC_KEYS).write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return ManifestSigner(key)
