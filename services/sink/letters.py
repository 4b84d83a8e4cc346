"""Which records were refused, as their letters say: whoever refuses a record sends its letter before it goes on.

Settings can't tell it: they may be others by now. Letters are read where they are cheapest to have, out of the
warehouse as far as the sink has mirrored them, and the rest from their topic; where rows are missing, all that the
topic (90 days) still has. The sink sends none itself: those of the ingestor are of no record (partition -1), those of
the features service of purchases and outcomes, those of the scorer of vectors.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, OffsetOutOfRangeError
from google.cloud import bigquery

from services.sink.bigquery import AWAY
from services.sink.group_reader import group_reader
from services.sink.refused import HASH_BYTES, NOBODY, LettersUnreadable, Refused
from services.sink.up_to_ends import batches_up_to
from shared.contracts.rejections import RejectionReason
from shared.contracts.topics import DEAD_LETTERS, FEATURES, TRANSACTIONS
from shared.contracts.wire import UNREADABLE
from shared.kafka import groups
from shared.kafka.connection import admin_client
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings
from shared.warehouse import tables
from shared.warehouse.clients import RETRY

JUDGE = "flit-features"
"""The group that judges purchases."""

READ_AT_ONCE = 4
"""Takeovers that ask at the same time: each has a consumer and two queries of its own."""

QUERY_TIMEOUT_S = 120.0
PAGE_ROWS = 20_000
POLL_RECORDS = 500

Source = tuple[str, int]
"""Topic and partition where refused records lay."""


@dataclass(frozen=True, slots=True)
class Letters:
    """All of them, at one moment."""

    refused: Mapping[Source, Refused] = field(default_factory=dict)
    settled: Mapping[int, int] = field(default_factory=dict)
    """Partition of bnpl-transactions → the offset below which every record was judged before the letters were read."""
    complete: bool = False
    """Whether none was lost: then a settled record without a letter was accepted, whatever the settings say."""

    def of(self, at: TopicPartition) -> Refused:
        return self.refused.get((at.topic, at.partition), NOBODY)

    def settled_below(self, at: TopicPartition) -> int:
        """Of other topics 0: their records are read without a setting that could be another by now."""
        return self.settled.get(at.partition, 0) if at.topic == TRANSACTIONS.name else 0


class LetterReader:
    """Reads letters when it is asked for them."""

    def __init__(self, kafka: KafkaSettings, client: bigquery.Client) -> None:
        self._kafka = kafka
        self._client = client
        self._turn = asyncio.Semaphore(READ_AT_ONCE)

    async def all(self) -> Letters:
        """Raises TransientError, or what the clients raise."""
        purchases = [TopicPartition(TRANSACTIONS.name, number) for number in range(self._kafka.partitions)]
        async with admin_client(self._kafka) as admin:
            # Before the letters: what was judged by then has sent them by then.
            settled = await groups.committed(admin, JUDGE, purchases)
        refused, complete = await self._undisturbed(_Wanted())
        return Letters(refused, {at.partition: offset for at, offset in settled.items()}, complete)

    async def between(self, partition: int, low: int, high: int) -> Refused:
        """Of the offsets in [low, high] of bnpl-transactions, which must have been judged. Raises TransientError,
        LettersUnreadable."""
        source = TRANSACTIONS.name, partition
        try:
            async with self._turn:
                refused, _ = await self._undisturbed(_Wanted(source, low, high))
        except (KafkaError, *AWAY) as error:
            kind = LettersUnreadable if isinstance(error, CorruptRecordException) else TransientError
            raise kind(f"letters of {source[0]}-{partition}: {error!r}"[:500]) from error
        return refused.get(source, NOBODY)

    async def _undisturbed(self, wanted: _Wanted) -> tuple[dict[Source, Refused], bool]:
        """Once more where retention has taken letters meanwhile."""
        while True:
            try:
                async with group_reader(self._kafka) as consumer:
                    return await self._read(consumer, wanted)
            except OffsetOutOfRangeError:
                continue

    async def _read(self, consumer: AIOKafkaConsumer, wanted: _Wanted) -> tuple[dict[Source, Refused], bool]:
        """Who was refused, and whether these are all that ever were."""
        places = [TopicPartition(DEAD_LETTERS.name, number) for number in range(self._kafka.partitions)]
        consumer.assign(places)
        first = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
        # Before the warehouse: what was committed by now has its rows by now.
        committed = {at: await consumer.committed(at) or 0 for at in places}
        counts = await asyncio.to_thread(_mirrored, self._client, committed)
        mirrored = {
            at
            for at in places
            if counts.get(at.partition, 0) == committed[at] and first[at] <= committed[at] <= ends[at]
        }
        begins = {at: committed[at] if at in mirrored else first[at] for at in places}
        refused: _Entered = defaultdict(dict)
        for place in await asyncio.to_thread(_rows, self._client, wanted):
            wanted.enter(refused, place)
        async for place in _on_topic(consumer, begins, ends):
            wanted.enter(refused, place)
        found = {source: Refused(hashes) for source, hashes in refused.items()}
        return found, all(at in mirrored or first[at] == 0 for at in places)


class _Place(msgspec.Struct, frozen=True):
    """What counts of a letter."""

    reason: str
    topic: str
    partition: int
    offset: int
    value_sha256: str | None = None


_Entered = defaultdict[Source, dict[int, tuple[bytes, ...]]]
_places = msgspec.json.Decoder(_Place)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which letters: all, or those of a stretch of one partition, both ends included."""

    source: Source | None = None
    low: int = 0
    high: int = 0

    def enter(self, refused: _Entered, place: _Place) -> None:
        """Note the record of a letter, if it is wanted, and the letter says that it has no row."""
        # A vector whose event was decided for another purchase is refused a decision, and nothing else.
        undecided = place.topic == FEATURES.name and place.reason == RejectionReason.CONFLICT.value
        if place.partition < 0 or undecided:
            return
        source = place.topic, place.partition
        if self.source is None or (self.source == source and self.low <= place.offset <= self.high):
            known = refused[source].get(place.offset)
            if place.value_sha256 is None or known == ():
                refused[source][place.offset] = ()
                return
            digest = bytes.fromhex(place.value_sha256)[:HASH_BYTES]
            if digest not in (known or ()):
                refused[source][place.offset] = (*(known or ()), digest)


async def _on_topic(
    consumer: AIOKafkaConsumer, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> AsyncIterator[_Place]:
    """Raises TransientError where none comes any more."""
    for at, offset in begins.items():
        consumer.seek(at, offset)
    async for batches in batches_up_to(consumer, ends, max_records=POLL_RECORDS):
        for records in batches.values():
            for record in records:
                try:
                    place = _places.decode(record.value or b"")
                except UNREADABLE:
                    continue  # no letter of ours
                yield place


def _mirrored(client: bigquery.Client, below: Mapping[TopicPartition, int]) -> dict[int, int]:
    """Partition of the letters' topic → how many of the offsets below this one have a row."""
    asked = [f"(kafka_partition = {at.partition} AND kafka_offset < {offset})" for at, offset in below.items()]
    query = (
        "SELECT kafka_partition, COUNT(DISTINCT kafka_offset) AS found"
        f" FROM `{client.project}.{tables.DEAD_LETTERS.id}`"
        f" WHERE {tables.DEAD_LETTERS.ever} AND kafka_topic = @topic AND ({' OR '.join(asked)})"
        " GROUP BY kafka_partition"
    )
    found = _asked(client, query, [("topic", "STRING", DEAD_LETTERS.name)])
    return {row.kafka_partition: row.found for row in found}


def _rows(client: bigquery.Client, wanted: _Wanted) -> list[_Place]:
    query = (
        "SELECT DISTINCT reason, source_topic, source_partition, source_offset, value_sha256"
        f" FROM `{client.project}.{tables.DEAD_LETTERS.id}`"
        f" WHERE {tables.DEAD_LETTERS.ever} AND source_topic IS NOT NULL"
        " AND source_partition >= 0 AND source_offset IS NOT NULL"
    )
    values: list[tuple[str, str, str | int]] = []
    if wanted.source is not None:
        query += (
            " AND source_topic = @topic AND source_partition = @partition"
            " AND source_offset >= @low AND source_offset <= @high"
        )
        topic, partition = wanted.source
        values += [("topic", "STRING", topic), ("partition", "INT64", partition)]
        values += [("low", "INT64", wanted.low), ("high", "INT64", wanted.high)]
    found = _asked(client, query, values)
    return [
        _Place(row.reason, row.source_topic, row.source_partition, row.source_offset, row.value_sha256) for row in found
    ]


def _asked(
    client: bigquery.Client, query: str, values: Sequence[tuple[str, str, str | int]]
) -> Sequence[bigquery.table.Row]:
    parameters = [bigquery.ScalarQueryParameter(*value) for value in values]
    config = bigquery.QueryJobConfig(query_parameters=parameters, use_query_cache=False)
    job = client.query(query, job_config=config, retry=RETRY, timeout=QUERY_TIMEOUT_S)
    return list(job.result(timeout=QUERY_TIMEOUT_S, page_size=PAGE_ROWS))
