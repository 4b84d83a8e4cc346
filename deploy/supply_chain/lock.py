"""The lock as packages: names, versions, hashes, and who wants each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

PROJECT = "flit-risk (pyproject.toml)"
"""How the lock names what `pyproject.toml` itself asks for."""

_PACKAGE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]*?))?\s*\\?"
)
_HASH = re.compile(r"\s+--hash=sha256:(?P<digest>[0-9a-f]{64})\s*\\?")
_VIA = re.compile(r"\s+#\s*(?:via\s*)?(?P<name>.*)")


class LockError(ValueError):
    """A line that a lock doesn't have: an address, a package without version or hash."""


@dataclass(frozen=True, slots=True)
class Package:
    name: str
    version: str
    hashes: tuple[str, ...]
    """SHA-256 of each distribution that may be installed, hexadecimal, as in the lock."""
    wanted_by: tuple[str, ...]
    """Names of the packages that ask for it; `PROJECT` for ourselves."""
    marker: str = ""
    """Where it is installed; empty: everywhere."""

    @property
    def purl(self) -> str:
        """After the purl specification: names in lower case, with hyphens."""
        return f"pkg:pypi/{re.sub(r'[-_.]+', '-', self.name).lower()}@{self.version}"


def read_lock(text: str) -> list[Package]:
    """The packages of a lock as uv writes it, in its order.

    Raises LockError for a line that is none of package, hash and comment, and for a package without a hash: an address
    or an editable folder would be something that no advisory speaks of and no hash holds.
    """
    found: list[Package] = []
    hashes: list[str] = []
    wanted: list[str] = []
    head: re.Match[str] | None = None

    def close() -> None:
        if head is None:
            return
        if not hashes:
            raise LockError(f"{head['name']} has no hash")
        found.append(_package(head, hashes, wanted))
        hashes.clear()
        wanted.clear()

    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if hashed := _HASH.fullmatch(line):
            hashes.append(hashed["digest"])
        elif via := _VIA.fullmatch(line):
            wanted += [via["name"]] if via["name"] else []
        elif package := _PACKAGE.fullmatch(line):
            close()
            head = package
        else:
            raise LockError(f"line {number} is no package, hash or comment: {line.strip()[:80]}")
    close()
    return found


def _package(head: re.Match[str], hashes: Sequence[str], wanted: Sequence[str]) -> Package:
    return Package(head["name"], head["version"], tuple(hashes), tuple(wanted), (head["marker"] or "").strip())
