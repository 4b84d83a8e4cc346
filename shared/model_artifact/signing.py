"""Signatures of manifests: Ed25519 (RFC 8032) over everything that a manifest says.

A manifest holds the hashes of all files of its model, so its signature is the model's. Whoever can write into the
registry can then still take models away, or bring an old signed one back, but not slip in one of his own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from shared.model_artifact.manifest import ArtifactFault, ArtifactRefused, Manifest

_DOMAIN = b"flit-risk model manifest v1\n"
"""Before what is signed: a signature made for anything else is none of a manifest."""

_PEM_END = "-----END PUBLIC KEY-----"


class KeyFileError(ValueError):
    """A file that holds no such key, or can't be read."""


class SignerUnknown(ArtifactRefused):
    """Others may trust the key, and have the model in service."""


class ManifestSigner:
    """Signs what the trainer registers."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def from_file(cls, path: Path) -> ManifestSigner:
        """`path`: PEM, such as `openssl genpkey -algorithm ed25519` writes. Raises KeyFileError."""
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f"{path}: {error}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError(f"{path}: not an Ed25519 private key")
        return cls(key)

    def sign(self, manifest: Manifest) -> Manifest:
        """The manifest with `<key's name>:<base64>` as its signature; what it said before is left out."""
        made = base64.b64encode(self._key.sign(_content(manifest))).decode()
        return msgspec.structs.replace(manifest, signature=f"{_name(self._key.public_key())}:{made}")

    @property
    def verifier(self) -> ManifestVerifier:
        """Takes what this one signs."""
        return ManifestVerifier([self._key.public_key()])


class ManifestVerifier:
    """Takes manifests that one of its keys has signed, and no other. Several keys: while one follows another."""

    def __init__(self, keys: list[Ed25519PublicKey]) -> None:
        self._keys = {_name(key): key for key in keys}

    @classmethod
    def from_file(cls, path: Path) -> ManifestVerifier:
        """`path`: one PEM public key after the other. Raises KeyFileError, also for a file without any."""
        keys = []
        try:
            blocks = [part + _PEM_END for part in path.read_text().split(_PEM_END)[:-1]]
            for block in blocks:
                key = load_pem_public_key(block.strip().encode())
                if not isinstance(key, Ed25519PublicKey):
                    raise KeyFileError(f"{path}: a public key that isn't Ed25519")
                keys.append(key)
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f"{path}: {error}") from None
        if not keys:
            raise KeyFileError(f"{path}: no public key")
        return cls(keys)

    def check(self, manifest: Manifest) -> None:
        """Raises `ArtifactRefused` (signature), where only the key isn't known `SignerUnknown`."""
        if manifest.signature is None:
            raise ArtifactRefused(ArtifactFault.SIGNATURE, "the manifest isn't signed")
        name, _, made = manifest.signature.partition(":")
        key = self._keys.get(name)
        if key is None:
            raise SignerUnknown(ArtifactFault.SIGNATURE, "signed by a key that isn't trusted here")
        try:
            key.verify(base64.b64decode(made, validate=True), _content(manifest))
        except (InvalidSignature, binascii.Error, ValueError):
            raise ArtifactRefused(ArtifactFault.SIGNATURE, "the signature isn't that of this manifest") from None


def _content(manifest: Manifest) -> bytes:
    """What is signed: all fields but the signature, the version and the time of training included."""
    return _DOMAIN + msgspec.json.encode(msgspec.structs.replace(manifest, signature=None), order="deterministic")


def _name(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]
