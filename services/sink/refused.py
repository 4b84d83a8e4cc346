"""Records of a partition that letters name: by place, and by what lay there. Pure.

A log that lost its end, or was made anew, has other records at the same offsets, which nobody has refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from shared.contracts.log import KafkaRecord
from shared.kafka.errors import TransientError

HASH_BYTES = 8
"""Kept of a hash: enough to tell a record from one that took its place by accident."""


class LettersUnreadable(TransientError):
    """A batch on the letters' topic is damaged: nobody gets past it, until somebody mends it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Of one partition."""

    hashes: Mapping[int, Collection[bytes]] = field(default_factory=dict)
    """Offset of a record that has a letter → the beginning of the SHA-256 of what lay there; nothing: of anything."""

    def among(self, records: Iterable[KafkaRecord]) -> frozenset[int]:
        """Offsets of those that were refused."""
        if not self.hashes:
            return frozenset()
        return frozenset(record.offset for record in records if self._is_one(record))

    def _is_one(self, record: KafkaRecord) -> bool:
        known = self.hashes.get(record.offset)
        if known is None:
            return False
        return not known or hashlib.sha256(record.value or b"").digest()[:HASH_BYTES] in known


NOBODY = Refused()
