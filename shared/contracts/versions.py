"""Schema versions: what is refused, and how what an older producer sends becomes what the code reads today.

One number counts for all events. A new version brings an upcaster for each event that it changes; an event without one
for some step didn't change in it. So old records stay readable for as long as a topic or an archive holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.contracts.rejections import Rejection, RejectionReason

SCHEMA_VERSION = 1
"""What this code writes, and the newest that it reads."""

FIRST_VERSION = 1
"""Taken for a record that doesn't name its version."""

BODY_FIELD = "schema_version"
"""Where a producer that can't set headers may name it."""

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""From the body of one version to that of the next. Gives a new object; may raise `Rejection`, and nothing else."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of one event. `upcasters`: version → the step from it to the next one."""

    upcasters: Mapping[int, Upcaster]
    current: int = SCHEMA_VERSION

    def check(self, named: object) -> int:
        """The version that was named, by a header (text) or in the body; None: the first one.

        Raises `Rejection` (version) for one that doesn't exist, or not yet.
        """
        if named is None:
            return FIRST_VERSION
        # By text: no other spelling of a number ("01", "1.0", true) is a version.
        for version in range(FIRST_VERSION, self.current + 1):
            if str(named) == str(version):
                return version
        raise Rejection(RejectionReason.VERSION, BODY_FIELD, f"a version from {FIRST_VERSION} to {self.current}")

    def upcast(self, body: dict[str, Any], version: int) -> dict[str, Any]:
        """The body as the current version has it; the very same object where nothing is to be done."""
        for step in range(version, self.current):
            upcaster = self.upcasters.get(step)
            if upcaster is not None:
                body = upcaster(body)
        return body


TRANSACTION = Versions({})
OUTCOME = Versions({})
FEATURE_VECTOR = Versions({})
