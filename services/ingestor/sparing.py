"""Sends what the topics lack of a source, and passes over what they hold.

Whoever reads the topics knows a repeat among the latest purchases of its customer, not among all of them: a whole
history that is sent once more would be counted once more. So where it isn't known how far a run had come, the topics
themselves are asked.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from services.ingestor.delivery import Sender
from services.ingestor.reading import read_topic
from shared.contracts.headers import header
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from shared.kafka.producer import OutgoingRecord
from shared.settings import KafkaSettings

log = structlog.get_logger()

AT_ONCE = 5_000


class SparingSender:
    """Everything is sent until the topics have been looked at."""

    def __init__(self, sender: Sender, kafka: KafkaSettings) -> None:
        self._sender = sender
        self._kafka = kafka
        self._held: set[tuple[str, str]] = set()

    async def look(self, source: str, *, whole: bool) -> None:
        """Pass over from here on what the topics hold of this source now: by topic and event id, a hundred bytes of
        memory for each.

        Raises TransientError; BeginningGone where they have to hold the `whole` and don't.
        """
        held: set[tuple[str, str]] = set()
        for topic in (TRANSACTIONS.name, OUTCOMES.name):
            async for records in read_topic(self._kafka, topic, whole=whole, at_most=AT_ONCE):
                for record in records:
                    if header(record.headers, "ce_source") == source and (event := header(record.headers, "ce_id")):
                        held.add((topic, event))
        self._held = held
        if held:
            log.info("topics_looked_at", source=source, records=len(held))

    async def send_all(self, records: Sequence[OutgoingRecord]) -> None:
        """Return once all that the topics lacked is acknowledged. Raises TransientError."""
        lacking = [record for record in records if not self._held or _name_of(record) not in self._held]
        if lacking:
            await self._sender.send_all(lacking)


def _name_of(record: OutgoingRecord) -> tuple[str, str | None]:
    return record.topic, header(record.headers, "ce_id")
