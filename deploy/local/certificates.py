"""Certificates of a small authority of one's own, as PEM files: for the embedded parts' TLS, and for their tests."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.local.ports import LOOPBACK

VALID = timedelta(days=30)
"""Longer than any stack of a test or a demo; short enough that nobody comes to rely on them."""
SKEW = timedelta(hours=1)
"""A clock that is behind by so much still takes them."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key."""

    certfile: Path
    keyfile: Path
    storefile: Path
    """Key and certificates in one file: what Java calls a key store of type PEM."""


class Authority:
    """Signs certificates; its own, which others trust, is `cafile`. New ones at each start: keys stay in memory."""

    def __init__(self, folder: Path, name: str = "flit-local-ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        # Both extensions are what Python's strict checking (3.13's default) asks for.
        public = self._key.public_key()
        built = (
            _builder(self._name, self._name, public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(_usage(signs=True), critical=True)
        )
        self._certificate = built.sign(self._key, hashes.SHA256())
        self.cafile = folder / f"{name}.pem"
        self.cafile.write_bytes(_pem(self._certificate))

    def issue(self, name: str, *, expired: bool = False) -> Identity:
        """A certificate for `name`, good for a client and for a server on this machine. `expired`: since a day."""
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key()
        hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(LOOPBACK))]
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        built = (
            _builder(_named(name), self._name, public, expired=expired)
            .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(issuer, critical=False)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        )
        certificate = _pem(built.sign(self._key, hashes.SHA256())) + _pem(self._certificate)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        made = Identity(*(self._folder / f"{name}{ending}" for ending in (".crt", ".key", ".store")))
        made.certfile.write_bytes(certificate)
        for file, content in ((made.keyfile, secret), (made.storefile, secret + certificate)):
            file.touch(mode=0o600)
            file.write_bytes(content)
        return made


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, expired: bool = False
) -> x509.CertificateBuilder:
    end = datetime.now(UTC) - timedelta(days=1) if expired else datetime.now(UTC) + VALID
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - VALID - SKEW)
        .not_valid_after(end)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
