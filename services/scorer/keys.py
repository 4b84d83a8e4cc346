"""Who may ask. Keys are random and long, so a plain SHA-256 of one can't be turned back; the file holds nothing else.

# prefix       sha256 of the whole key, hex                                      owner   scopes       options
flit_3f9a1c2e  9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  shop-a  decide,read  expires=2027-01-01
flit_77b0e4d1  60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752  shop-a  decide,read  rate=200 burst=400

An owner may have several: a new one beside the old one until that expires. The prefix is part of the key, so a key that
turns up where it shouldn't can be told whose it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import structlog

from services.scorer.problems import Problem
from services.scorer.rate import Rate
from shared.loopback import is_loopback
from shared.telemetry.process import sleep_unless

log = structlog.get_logger()

_PREFIX = re.compile(r"flit_[0-9a-z]{8}")
_HASH = re.compile(r"[0-9a-f]{64}")
_OWNER = re.compile(r"[A-Za-z0-9._-]{1,64}")
PREFIX_LENGTH = 13
_NOBODY = bytes(32)
"""Compared with where a prefix is unknown: it shall take as long."""

EXPECTED = (
    "prefix, SHA-256 in hex, owner, scopes (decide, read, review, admin; commas between), then expires=, rate=, burst="
)


class Scope(StrEnum):
    DECIDE = "decide"
    READ = "read"
    REVIEW = "review"
    """Verdicts on decisions, by people."""
    ADMIN = "admin"


class KeysFileError(ValueError):
    """The file can't be used. The message names the file and the line."""


@dataclass(frozen=True, slots=True)
class Caller:
    name: str
    """The owner of the key."""
    scopes: frozenset[Scope] = frozenset(Scope)
    rate: Rate | None = None
    """None: what everybody may ask."""


LOCAL = Caller("local")
"""Whoever asks from this machine, where no keys are set."""


@dataclass(frozen=True, slots=True)
class _Key:
    digest: bytes
    holder: Caller
    expires_s: float
    """Since 1970; infinite where it doesn't."""


class Access:
    """Decides who a request comes from, and what it may ask for."""

    def __init__(self, keys: dict[str, _Key] | None, clock: Callable[[], float] = time.time) -> None:
        """`keys`: by prefix; None: only this machine may ask, without a key."""
        self._keys = keys
        self._clock = clock

    @staticmethod
    def load(path: Path | None, clock: Callable[[], float] = time.time) -> Access:
        """Raises KeysFileError."""
        return Access(None if path is None else _read(path), clock)

    def use(self, other: Access) -> None:
        """From now on the other's keys."""
        self._keys = other._keys

    def caller(
        self,
        authorization: str | None,
        client: str | None,
        scopes: Collection[Scope],
        *,
        host: str | None = None,
        origin: str | None = None,
    ) -> Caller:
        """Who asks for something that any of `scopes` allows. `host`: whom the request says it is for; `origin`: the
        page that sends it, where a browser does.

        Raises Problem: 401 without a known key that is still valid, 403 with one of other scopes, and for a stranger
        where no keys are set.
        """
        if self._keys is None:
            if client is None or not is_loopback(client):
                raise Problem(403, "forbidden", "without keys only this machine may ask", expected="a loopback address")
            if host is not None and not _is_local_name(host):
                # A browser here that shows a stranger's page, whose name was made to lead to this machine.
                raise Problem(403, "forbidden", "without keys only this machine's own name will do", field="Host")
            if origin is not None and origin.partition("://")[2] != host:
                # A browser here that shows a stranger's page, which may send to any address what needs no answer.
                raise Problem(403, "forbidden", "without keys no other page may ask", field="Origin")
            return LOCAL
        scheme, _, text = (authorization or "").partition(" ")
        text = text.strip()
        key = self._keys.get(text[:PREFIX_LENGTH])
        same = hmac.compare_digest(key.digest if key else _NOBODY, hashlib.sha256(text.encode()).digest())
        if key is None or not same or scheme.lower() != "bearer" or key.expires_s <= self._clock():
            raise Problem(
                401,
                "unauthorized",
                "the key is missing, not known or no longer valid",
                field="Authorization",
                expected="Bearer <key>",
                headers={"WWW-Authenticate": 'Bearer realm="flit-risk"'},
            )
        if key.holder.scopes.isdisjoint(scopes):
            wanted = " or ".join(scopes)
            raise Problem(403, "scope", "this key is for something else", field="Authorization", expected=wanted)
        return key.holder


class KeysReloader:
    """Looks at the keys file every so often. A file that isn't sound is refused and logged once; the last one stays."""

    def __init__(self, path: Path, access: Access, *, interval_s: float) -> None:
        self._path = path
        self._access = access
        self._interval_s = interval_s
        self._seen = b""
        self._told = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set."""
        while not stop.is_set():
            await asyncio.to_thread(self.look)
            await sleep_unless(stop, self._interval_s)

    def look(self) -> None:
        try:
            content = self._path.read_bytes()
            if content == self._seen:
                return
            self._access.use(Access.load(self._path))
        except (OSError, KeysFileError) as error:
            if str(error) != self._told:
                self._told = str(error)
                log.error("keys_refused", error=str(error))
            return
        if self._seen:
            log.info("keys_read_anew", path=str(self._path))
        self._seen, self._told = content, ""


def new_key(owner: str, scopes: Collection[Scope], expires: str | None = None) -> tuple[str, str]:
    """A fresh key, and its line for the file. Raises ValueError for what such a line can't hold."""
    prefix = f"flit_{secrets.token_hex(4)}"
    key = f"{prefix}_{secrets.token_hex(24)}"
    line = f"{prefix}  {hashlib.sha256(key.encode()).hexdigest()}  {owner}  {','.join(scopes)}"
    line += f"  expires={expires}" if expires else ""
    if _parse(line.split()) is None:
        raise ValueError(f"no line of a keys file: {line}")
    return key, line


def _is_local_name(host: str) -> bool:
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    return name.lower() == "localhost" or is_loopback(name.removeprefix("[").removesuffix("]"))


def _read(path: Path) -> dict[str, _Key]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeysFileError(f"{path}: {error}") from None
    keys: dict[str, _Key] = {}
    for number, line in enumerate(lines, 1):
        parts = line.partition("#")[0].split()
        if not parts:
            continue
        key = _parse(parts)
        if key is None:
            raise KeysFileError(f"{path}, line {number}: expected {EXPECTED}")
        if parts[0] in keys:
            raise KeysFileError(f"{path}, line {number}: this prefix stands there twice")
        keys[parts[0]] = key
    if not keys:
        raise KeysFileError(f"{path}: no key in it")
    return keys


def _parse(parts: list[str]) -> _Key | None:
    if len(parts) < 4 or not _PREFIX.fullmatch(parts[0]) or not _HASH.fullmatch(parts[1]):
        return None
    options = dict(part.partition("=")[::2] for part in parts[4:])
    if (
        not _OWNER.fullmatch(parts[2])
        or options.keys() - {"expires", "rate", "burst"}
        or len(options) != len(parts) - 4
    ):
        return None
    try:
        scopes = frozenset(Scope(name) for name in parts[3].split(","))
        expires = _moment(options["expires"]) if "expires" in options else float("inf")
        rate = None
        if "rate" in options or "burst" in options:
            per_second = float(options["rate"])
            rate = Rate(per_second, int(options.get("burst", max(1, round(2 * per_second)))))
            if not 0 < rate.per_second < 1e9 or rate.burst < 1:
                return None
    except (ValueError, KeyError, OverflowError):
        return None
    return _Key(bytes.fromhex(parts[1]), Caller(parts[2], scopes, rate), expires)


def _moment(text: str) -> float:
    """A day (its beginning) or a time, in UTC unless it says otherwise."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
