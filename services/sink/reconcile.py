"""Does each record have exactly one row? Log and warehouse, compared record by record.

Up to the offsets that the sink has committed: what lies behind them must be in the warehouse. Read in windows, so that
memory grows with the faults alone, of which the offsets are kept. The answers come from the sink's own pipeline; `make
ledger` asks the same with code that shares nothing with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from google.cloud import bigquery

from services.sink.gate import Gate, RefusalIndex
from services.sink.lane import SERVICE
from services.sink.pipeline import Rules, build
from shared.contracts import topics
from shared.contracts.log import StampedRecord
from shared.kafka.connection import SILENCE_SECONDS, client_arguments
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings
from shared.warehouse.clients import RETRY
from shared.warehouse.columns import Row, Table
from shared.warehouse.tables import tables_of

log = structlog.get_logger()

WINDOW = 20_000
"""Records compared at a time, at most."""

SHOWN = 5
QUERY_TIMEOUT_S = 120.0

EventId = str | None


@dataclass
class Balance:
    """One table's account of one topic partition."""

    table: str
    topic: str
    partition: int
    first: int
    """First offset compared: that the log still holds, or that is recent enough."""
    end: int
    """Where the sink's committed offset stands: records below it are compared."""
    behind: int
    """Records of the log at or beyond that."""
    records: int = 0
    refused: int = 0
    rows: int = 0
    """Rows of the records compared, repeats included."""
    missing: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    unexpected: list[int] = field(default_factory=list)
    """Rows of records that were refused, or that the log doesn't hold."""
    wrong: list[int] = field(default_factory=list)
    """Rows that are another event's."""

    @property
    def balanced(self) -> bool:
        return not (self.missing or self.doubled or self.unexpected or self.wrong)

    def add(self, part: Balance) -> None:
        """Enter the account of a part of the records, which follows those that were entered before."""
        self.records += part.records
        self.refused += part.refused
        self.rows += part.rows
        self.missing += part.missing
        self.doubled += part.doubled
        self.unexpected += part.unexpected
        self.wrong += part.wrong

    def faults(self) -> str:
        """The first few offsets of each kind of fault."""
        kinds = {"missing": self.missing, "twice": self.doubled, "unexpected": self.unexpected, "wrong": self.wrong}
        return "; ".join(
            f"{len(offsets)} {kind}: {', '.join(map(str, offsets[:SHOWN]))}{' …' if len(offsets) > SHOWN else ''}"
            for kind, offsets in kinds.items()
            if offsets
        )


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive records of a partition, compared."""

    low: int
    """The first offset that was compared."""
    high: int
    """The offset that it ends before."""
    rows: Mapping[Table, list[Row]]
    """What the records should have, by table."""
    accounts: Mapping[Table, Balance]
    """Of these records alone."""


async def reconcile(
    kafka: KafkaSettings, client: bigquery.Client, index: RefusalIndex, rules: Rules, days: float | None = None
) -> list[Balance]:
    """The balances of all tables and partitions, of the records of the last `days` (None: of all). Raises
    TransientError, or what the clients raise."""
    balances: list[Balance] = []
    since_ms = None if days is None else int((time.time() - days * 86_400) * 1000)
    async with group_reader(kafka) as consumer:
        for topic in topics.ALL:
            for number in range(rules.partitions):
                at = TopicPartition(topic.name, number)
                read = functools.partial(_partition, consumer, at, client, index, rules, since_ms)
                balances += await _undisturbed(consumer, at, read)
    return balances


@asynccontextmanager
async def group_reader(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """For partitions assigned by hand: it doesn't join the sink's group, it only reads its offsets."""
    consumer = AIOKafkaConsumer(
        **client_arguments(kafka),
        group_id=f"flit-{SERVICE}",
        enable_auto_commit=False,
        fetch_max_wait_ms=50,
        # What retention takes on the way is an error: passed over, all rows up to the log's end would seem made up.
        auto_offset_reset="none",
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def refusals_between(index: RefusalIndex, at: TopicPartition, low: int, high: int) -> frozenset[int]:
    """Offsets in [low, high) that were refused because of state. Raises TransientError, also where the states are being
    rebuilt: who was refused isn't known then, and a row of such a record could not be taken back."""
    if at.topic != topics.TRANSACTIONS.name or low >= high:
        return frozenset()
    return await Gate(index, at.partition).refused(low, high - 1)


async def _undisturbed(
    consumer: AIOKafkaConsumer, at: TopicPartition, read: Callable[[], Awaitable[list[Balance]]]
) -> list[Balance]:
    """Once more where retention has moved on meanwhile: a record that was gone before it was read has a row, and
    rightly."""
    while True:
        with contextlib.suppress(OffsetOutOfRangeError):
            balances = await read()
            if (await consumer.beginning_offsets([at]))[at] <= balances[0].first:
                return balances
        log.info("retention_moved_on", topic=at.topic, partition=at.partition)


async def _partition(
    consumer: AIOKafkaConsumer,
    at: TopicPartition,
    client: bigquery.Client,
    index: RefusalIndex,
    rules: Rules,
    since_ms: int | None,
) -> list[Balance]:
    consumer.assign([at])
    first, end, newest = await extent(consumer, at)
    if since_ms is not None:
        recent = (await consumer.offsets_for_times({at: since_ms}))[at]
        first = min(end, newest if recent is None else max(first, recent.offset))
    tables = tables_of(at.topic)
    balances = {table: Balance(table.id, at.topic, at.partition, first, end, max(0, newest - end)) for table in tables}
    async for window in compared(consumer, at, client, index, rules, first, end):
        for table, balance in balances.items():
            balance.add(window.accounts[table])
    return list(balances.values())


async def extent(consumer: AIOKafkaConsumer, at: TopicPartition) -> tuple[int, int, int]:
    """Of a partition: the first offset that the log holds, where what is to be compared ends, where the log ends."""
    first = (await consumer.beginning_offsets([at]))[at]
    newest = (await consumer.end_offsets([at]))[at]
    # A log that has lost its end holds less than was committed: what it held can't be compared any more.
    return first, min(newest, max(first, await consumer.committed(at) or 0)), newest


async def compared(
    consumer: AIOKafkaConsumer,
    at: TopicPartition,
    client: bigquery.Client,
    index: RefusalIndex,
    rules: Rules,
    first: int,
    end: int,
) -> AsyncIterator[Window]:
    """The assigned partition's records from `first` to before `end`, and what the tables hold of each window at the
    moment it was read. Raises TransientError, OffsetOutOfRangeError, or what the clients raise."""
    consumer.seek(at, first)
    low = first
    async for records, high in windows(consumer, at, end):
        refused = await refusals_between(index, at, low, high)
        built = build(at.topic, records, rules, refused)
        accounts: dict[Table, Balance] = {}
        for table in tables_of(at.topic):
            account = accounts[table] = Balance(table.id, at.topic, at.partition, low, high, 0)
            account.records, account.refused = len(records), sum(built.refused.values())
            expected = {row["kafka_offset"]: row.get("event_id") for row in built.rows[table]}
            held = await asyncio.to_thread(_rows, client, table, at, low, high)
            compare(account, expected, held)
        yield Window(low, high, built.rows, accounts)
        low = high


async def windows(
    consumer: AIOKafkaConsumer, at: TopicPartition, end: int
) -> AsyncIterator[tuple[list[StampedRecord], int]]:
    """Records below `end`, some at a time, and the offset that each window ends before. Raises TransientError where
    none comes any more."""
    window: list[StampedRecord] = []
    heard = time.monotonic()
    while (position := await consumer.position(at)) < end:
        batch = await consumer.getmany(at, timeout_ms=500, max_records=WINDOW - len(window))
        if batch:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_SECONDS:
            raise TransientError(f"no records of {at.topic}-{at.partition} for {SILENCE_SECONDS:.0f} s")
        window += [record for record in batch.get(at, ()) if record.offset < end]
        if len(window) >= WINDOW:
            yield window, window[-1].offset + 1
            window = []
            heard = time.monotonic()  # what was done with the window isn't the log's silence
        elif not batch and await consumer.position(at) == position:
            await asyncio.sleep(0)
    yield window, end


def _rows(client: bigquery.Client, table: Table, at: TopicPartition, low: int, high: int) -> list[tuple[int, EventId]]:
    """(offset, event id) of the table's rows with offsets in [low, high)."""
    has_event = any(column.name == "event_id" for column in table.columns)
    query = (
        f"SELECT kafka_offset, {'event_id' if has_event else 'CAST(NULL AS STRING)'} AS event_id"
        f" FROM `{client.project}.{table.id}`"
        f" WHERE {table.ever}"
        " AND kafka_topic = @topic AND kafka_partition = @partition AND kafka_offset >= @low AND kafka_offset < @high"
    )
    values: Sequence[tuple[str, str, str | int]] = (
        ("topic", "STRING", at.topic),
        ("partition", "INT64", at.partition),
        ("low", "INT64", low),
        ("high", "INT64", high),
    )
    parameters = [bigquery.ScalarQueryParameter(*value) for value in values]
    config = bigquery.QueryJobConfig(query_parameters=parameters, use_query_cache=False)
    job = client.query(query, job_config=config, retry=RETRY, timeout=QUERY_TIMEOUT_S)
    return [(row.kafka_offset, row.event_id) for row in job.result(timeout=QUERY_TIMEOUT_S, page_size=WINDOW)]


def compare(balance: Balance, expected: dict[int, EventId], held: Sequence[tuple[int, EventId]]) -> None:
    """Enter one window into an account. `expected`: offset to event id of each record that should have a row."""
    counts = Counter(offset for offset, _ in held)
    balance.rows += len(held)
    balance.missing += sorted(expected.keys() - counts.keys())
    balance.doubled += sorted(offset for offset, count in counts.items() if count > 1)
    balance.unexpected += sorted(counts.keys() - expected.keys())
    balance.wrong += sorted({o for o, event in held if o in expected and event != expected[o]})
