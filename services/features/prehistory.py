"""What came before the first record that the log still has: what a rebuild needs of it, and whether anybody has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Literal

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.features import log_ends
from services.features.metrics import REBUILD_GAPS
from services.features.past import PastRecord, gaps, runs_without
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from shared.feature_state import Position
from shared.settings import KafkaSettings

if TYPE_CHECKING:
    from services.features.warehouse import Past, Stretch

log = structlog.get_logger()

SINK_GROUP = "flit-sink"
"""Whose commits say how far rows are durable."""

SHOWN = 5


class RecordsMissing(Exception):
    """Neither log nor warehouse has records that the states were made of."""


class Prehistory:
    """The rows of the warehouse in place of the records that retention has taken."""

    def __init__(
        self,
        kafka: KafkaSettings,
        open_past: Callable[[], Past],
        *,
        expired: bool,
        loaded: bool,
        on_gaps: Literal["wait", "accept"],
    ) -> None:
        """`expired`: whether the warehouse is asked for what retention has taken. `loaded`: whether the past begins
        with what was loaded in bulk. `on_gaps`: `accept` goes on without what nobody has; `wait` raises
        RecordsMissing."""
        self._kafka = kafka
        self._open = open_past
        self._expired = expired
        self.has_loaded = loaded
        self._accepts = on_gaps == "accept"
        self._past: Past | None = None

    async def stretches(
        self, consumer: AIOKafkaConsumer, partition: int, reached: Position, target: Position
    ) -> list[Stretch]:
        """What has to be read of the warehouse between two positions, in the order in which to take it in.

        Raises RecordsMissing, and TransientError where the warehouse doesn't answer: an outage of it is never taken
        for a gap.
        """
        wanted = [
            (TopicPartition(TRANSACTIONS.name, partition), reached.transactions + 1, target.transactions + 1),
            (TopicPartition(OUTCOMES.name, partition), reached.outcomes + 1, target.outcomes + 1),
        ]
        first = await consumer.beginning_offsets([tp for tp, _, _ in wanted])
        found: list[Stretch] = []
        missing = 0
        for tp, low, end in wanted:
            high = min(first[tp], end)
            if low >= high:
                REBUILD_GAPS.labels(tp.topic, partition).set(0)
                continue
            log.warning("records_expired", topic=tp.topic, partition=partition, after=low - 1, first=first[tp])
            stretches, lacking = await self._look(tp, low, high)
            found += stretches
            missing += lacking
        if missing and not self._accepts:
            raise RecordsMissing(
                f"partition {partition} lacks {missing} records, see rebuild_gap; FEATURES__REBUILD_GAPS=accept goes on"
                " without them"
            )
        return found

    def records(self, stretch: Stretch) -> AsyncIterator[list[PastRecord]]:
        """In order of their offsets. Only of stretches that `stretches` gave."""
        return self._opened().records(stretch)

    def loaded(self, topic: str, partition: int) -> AsyncIterator[list[PastRecord]]:
        """What was loaded in bulk, before the first record of the log."""
        return self._opened().loaded(topic, partition)

    def _opened(self) -> Past:
        if self._past is None:
            self._past = self._open()
        return self._past

    async def _look(self, tp: TopicPartition, low: int, high: int) -> tuple[list[Stretch], int]:
        """The stretches of [low, high), and how many records nobody has."""
        if not self._expired:
            self._tell(tp, [range(low, high)], "FEATURES__REBUILD_FROM_WAREHOUSE is off")
            return [], high - low
        past = self._opened()
        stretches = await past.survey(tp.topic, tp.partition, low, high)
        if all(stretch.found == stretch.high - stretch.low for stretch in stretches):
            REBUILD_GAPS.labels(tp.topic, tp.partition).set(0)
            return stretches, 0
        settled = (await log_ends.committed(self._kafka, SINK_GROUP, [tp])).get(tp, 0)
        runs: list[range] = []
        for stretch in stretches:
            if stretch.found < stretch.high - stretch.low:
                runs += runs_without(stretch.low, stretch.high, await past.accounted(stretch))
        lacking = gaps(runs, settled)
        why = f"the sink has committed {settled}" if settled < high else "the sink had written them"
        self._tell(tp, lacking, why)
        return stretches, sum(map(len, lacking))

    def _tell(self, tp: TopicPartition, lacking: list[range], why: str) -> None:
        missing = sum(map(len, lacking))
        REBUILD_GAPS.labels(tp.topic, tp.partition).set(missing)
        if missing:
            log.error(
                "rebuild_gap",
                topic=tp.topic,
                partition=tp.partition,
                records=missing,
                offsets=[f"{run.start}-{run.stop - 1}" for run in lacking[:SHOWN]],
                detail=why,
                mode="accept" if self._accepts else "wait",
            )
