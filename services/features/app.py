"""The Faust app: who owns which partition, and batches to the handler."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faust
import structlog
from faust.types import TP

from services.features.handler import SERVICE, BatchHandler
from services.features.pipeline import LogRecord
from services.features.settings import FeaturesSettings
from services.features.transport import BatchTransport
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from shared.telemetry.metrics import CONSUMER_LAG

log = structlog.get_logger()

COMMIT_INTERVAL_SECONDS = 0.5
"""Committed offsets only tell others how far we are; where to resume stands in Redis."""


class FeaturesApp(faust.App):  # type: ignore[misc]
    """One agent for both topics: with equal partition counts it owns partition N of both, or of none."""

    def __init__(self, settings: FeaturesSettings, handler: BatchHandler) -> None:
        # Faust keeps a data folder even where it stores nothing.
        data = Path(os.environ.get("TMPDIR", "/tmp")) / "flit-features"  # noqa: S108 - nothing is read back from it
        super().__init__(
            f"flit-{SERVICE}",
            broker=f"kafka://{settings.kafka.bootstrap_servers.replace(',', ';kafka://')}",
            store="memory://",
            datadir=str(data),
            topic_partitions=settings.kafka.partitions,
            topic_disable_leader=True,
            topic_allow_declare=False,
            web_enabled=False,
            consumer_auto_offset_reset="earliest",
            broker_max_poll_records=settings.features.max_batch,
            broker_commit_interval=COMMIT_INTERVAL_SECONDS,
            stream_wait_empty=False,
        )
        self.kafka_settings = settings.kafka
        self.service = SERVICE
        self._handler = handler
        self.failed: asyncio.Future[None] | None = None
        """Gets the error that no retry can mend: the process has to end then."""
        self.positioned = False
        """Whether positions were read for the present assignment: the service's readiness."""
        self._progress: dict[TP, int] = {}
        topics = self.topic(
            TRANSACTIONS.name, OUTCOMES.name, key_serializer="raw", value_serializer="raw", allow_empty=True
        )
        self.agent(topics, name="take-in", concurrency=1)(self._take_in)

    def _new_transport(self) -> Any:
        return BatchTransport(self.conf.broker_consumer, self, loop=self.loop)

    async def resume_offsets(self, assigned: set[TP]) -> Mapping[TP, int]:
        """Where to go on, by partition: one past the position in Redis, or the log's beginning where that is later."""
        self.positioned = False
        earliest = await self.consumer.earliest_offsets(*assigned) if assigned else {}
        offsets: dict[TP, int] = {}
        for partition in sorted(assigned):
            position = await self._handler.resume_from(partition.partition)
            done = position.transactions if partition.topic == TRANSACTIONS.name else position.outcomes
            offsets[partition] = max(done + 1, earliest.get(partition) or 0)
        self._progress = {partition: offset - 1 for partition, offset in offsets.items()}
        self.positioned = True
        log.info("assigned", offsets={f"{tp.topic}-{tp.partition}": offset for tp, offset in offsets.items()})
        return offsets

    async def lag(self) -> dict[TP, int]:
        """Records of each assigned partition that are not in the states yet; also sets the metric."""
        lag: dict[TP, int] = {}
        for partition in self.consumer.assignment():
            end, done = self.consumer.highwater(partition), self._progress.get(partition)
            if end is not None and done is not None:
                lag[partition] = max(0, end - done - 1)
                CONSUMER_LAG.labels(SERVICE, partition.topic, partition.partition).set(lag[partition])
        return lag

    def progress(self) -> dict[TP, int]:
        """Last offset taken in, by partition."""
        return dict(self._progress)

    async def _take_in(self, stream: Any) -> None:
        async for event in stream.noack().events():
            batch = event.message.value
            partition = TP(event.message.topic, event.message.partition)
            try:
                await self._handler.handle([_log_record(record) for record in batch.records], batch.previous_offset)
            except Exception as error:  # noqa: BLE001 - handed to the process's edge, which ends it
                if self.failed is not None and not self.failed.done():
                    self.failed.set_exception(error)
                return
            self._progress[partition] = event.message.offset
            event.ack()


def _log_record(record: Any) -> LogRecord:
    return LogRecord(
        record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, list(record.headers)
    )
