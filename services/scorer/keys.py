"""Who may ask. Keys are random and long, so a plain SHA-256 of one can't be turned back; the file holds nothing else.

# name  sha256 of the key, hex                                              role
shop-a  9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
ops     60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752    admin
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from services.scorer.problems import Problem

_HASH = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
ADMIN = "admin"


class KeysFileError(ValueError):
    """The file can't be used. The message names the file and the line."""


@dataclass(frozen=True, slots=True)
class Caller:
    name: str
    admin: bool = False


LOCAL = Caller("local", admin=True)
"""Whoever asks from this machine, where no keys are set."""


class Access:
    """Decides who a request comes from."""

    def __init__(self, keys: dict[bytes, Caller] | None) -> None:
        """`keys`: SHA-256 of a key to its holder; None: only this machine may ask, without a key."""
        self._keys = keys

    @staticmethod
    def load(path: Path | None) -> Access:
        """Raises KeysFileError."""
        return Access(None if path is None else _read(path))

    def caller(self, authorization: str | None, client: str | None) -> Caller:
        """Raises Problem: 401 without a known key, 403 for a stranger where no keys are set."""
        if self._keys is None:
            if client is None or not _is_loopback(client):
                raise Problem(403, "forbidden", "without keys only this machine may ask", expected="a loopback address")
            return LOCAL
        scheme, _, key = (authorization or "").partition(" ")
        found: Caller | None = None
        digest = hashlib.sha256(key.strip().encode()).digest()
        for known, holder in self._keys.items():  # all of them, so that the time says nothing about which
            if hmac.compare_digest(known, digest):
                found = holder
        if scheme.lower() != "bearer" or found is None:
            raise Problem(
                401,
                "unauthorized",
                "the key is missing or not known",
                field="Authorization",
                expected="Bearer <key>",
                headers={"WWW-Authenticate": 'Bearer realm="flit-risk"'},
            )
        return found


def new_key() -> tuple[str, str]:
    """A fresh key, and the hash of it for the file."""
    key = secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()


def _is_loopback(client: str) -> bool:
    try:
        return ipaddress.ip_address(client).is_loopback
    except ValueError:
        return False


def _read(path: Path) -> dict[bytes, Caller]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeysFileError(f"{path}: {error}") from None
    keys: dict[bytes, Caller] = {}
    for number, line in enumerate(lines, 1):
        parts = line.partition("#")[0].split()
        if not parts:
            continue
        name, digest, role = parts[0], parts[1] if len(parts) > 1 else "", parts[2:]
        if not _NAME.fullmatch(name) or not _HASH.fullmatch(digest) or role not in ([], [ADMIN]):
            raise KeysFileError(
                f"{path}, line {number}: a name, a SHA-256 in hex, and optionally `{ADMIN}` are expected"
            )
        if bytes.fromhex(digest) in keys:
            raise KeysFileError(f"{path}, line {number}: this key stands there twice")
        keys[bytes.fromhex(digest)] = Caller(name, bool(role))
    if not keys:
        raise KeysFileError(f"{path}: no key in it")
    return keys
