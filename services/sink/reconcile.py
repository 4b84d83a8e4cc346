"""Does each record have exactly one row? Log and warehouse, compared record by record.

Up to the offsets that the sink has committed: what lies behind them must be in the warehouse. Read in windows, so that
memory grows with the faults and the refusals alone, of which the offsets are kept. Who was refused, letters tell
(`verdicts`); the other answers come from the sink's own pipeline. `make ledger` asks the same with code that shares
nothing with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from google.cloud import bigquery

from services.sink.gate import RefusalIndex
from services.sink.group_reader import group_reader
from services.sink.letters import LetterReader
from services.sink.pipeline import Rules, arrived_in
from services.sink.verdicts import Verdicts
from shared.contracts import topics
from shared.contracts.log import StampedRecord, size_of
from shared.kafka.connection import SILENCE_SECONDS
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings
from shared.warehouse.clients import RETRY
from shared.warehouse.columns import Row, Table
from shared.warehouse.tables import tables_of

log = structlog.get_logger()

WINDOW = 20_000
"""Records compared at a time, at most."""

WINDOW_BYTES = 32 * 1024 * 1024
"""Of keys, values and headers; what one poll brings beyond that is kept, too. Records of less than 1,600 bytes meet the
other bound first: each window asks a query of each table, so there should be few."""

POLL_RECORDS = 500
"""At a time, at most: by so many records a window may overrun the bound on bytes."""

SHOWN = 5
QUERY_TIMEOUT_S = 120.0

Told = tuple[str | None, int | None]
"""What is compared of a row: its event's id, where it has one, and when it says that its record came to Kafka, in
microseconds since 1970."""


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
    """Rows of another record: of another event, or of one that came to Kafka at another time."""

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
    verdicts = Verdicts(rules, index, await LetterReader(kafka, client).all())
    async with group_reader(kafka) as consumer:
        for topic in topics.ALL:
            for number in range(rules.partitions):
                at = TopicPartition(topic.name, number)
                read = functools.partial(_partition, consumer, at, client, verdicts, since_ms)
                balances += await _undisturbed(consumer, at, read)
    return balances


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
    verdicts: Verdicts,
    since_ms: int | None,
) -> list[Balance]:
    consumer.assign([at])
    first, end, newest = await extent(consumer, at)
    if since_ms is not None:
        recent = (await consumer.offsets_for_times({at: since_ms}))[at]
        first = min(end, newest if recent is None else max(first, recent.offset))
    tables = tables_of(at.topic)
    balances = {table: Balance(table.id, at.topic, at.partition, first, end, max(0, newest - end)) for table in tables}
    async for window in compared(consumer, at, client, verdicts, first, end):
        for table, balance in balances.items():
            balance.add(window.accounts[table])
        del window
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
    verdicts: Verdicts,
    first: int,
    end: int,
) -> AsyncIterator[Window]:
    """The assigned partition's records from `first` to before `end`, and what the tables hold of each window at the
    moment it was read. Raises TransientError, OffsetOutOfRangeError, or what the clients raise."""
    consumer.seek(at, first)
    low = first
    async for records, high in windows(consumer, at, end):
        window = await _compared(at, client, verdicts, records, low, high)
        del records  # else two windows are held while the next one is read: so for whoever goes through them, too
        yield window
        del window
        low = high


async def _compared(
    at: TopicPartition,
    client: bigquery.Client,
    verdicts: Verdicts,
    records: Sequence[StampedRecord],
    low: int,
    high: int,
) -> Window:
    judged = await verdicts.on(at, records, low, high)
    accounts: dict[Table, Balance] = {}
    for table in tables_of(at.topic):
        account = accounts[table] = Balance(table.id, at.topic, at.partition, low, high, 0)
        account.records, account.refused = len(records), judged.refused
        arrived = arrived_in(table)
        expected = {row["kafka_offset"]: (row.get("event_id"), row[arrived]) for row in judged.rows[table]}
        held = await asyncio.to_thread(rows_between, client, table, at, low, high)
        compare(account, expected, held, judged.optional)
    return Window(low, high, judged.rows, accounts)


async def windows(
    consumer: AIOKafkaConsumer, at: TopicPartition, end: int
) -> AsyncIterator[tuple[list[StampedRecord], int]]:
    """Records below `end`, some at a time, and the offset that each window ends before. Raises TransientError where
    none comes any more."""
    high = -1
    while high < end:
        window = await _read(consumer, at, end)
        high = end if await consumer.position(at) >= end else window[-1].offset + 1
        yield window, high
        del window


async def _read(consumer: AIOKafkaConsumer, at: TopicPartition, end: int) -> list[StampedRecord]:
    """As many records as are compared at a time, fewer at the end."""
    window: list[StampedRecord] = []
    held = 0
    heard = time.monotonic()
    while len(window) < WINDOW and held < WINDOW_BYTES and (position := await consumer.position(at)) < end:
        most = min(POLL_RECORDS, WINDOW - len(window))
        batch = (await consumer.getmany(at, timeout_ms=500, max_records=most)).get(at, ())
        if batch:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_SECONDS:
            raise TransientError(f"no records of {at.topic}-{at.partition} for {SILENCE_SECONDS:.0f} s")
        elif await consumer.position(at) == position:
            await asyncio.sleep(0)
        records = [record for record in batch if record.offset < end]
        window += records
        held += sum(map(size_of, records))
    return window


def rows_between(
    client: bigquery.Client, table: Table, at: TopicPartition, low: int, high: int
) -> list[tuple[int, Told]]:
    """The table's rows with offsets in [low, high)."""
    has_event = any(column.name == "event_id" for column in table.columns)
    query = (
        f"SELECT kafka_offset, {'event_id' if has_event else 'CAST(NULL AS STRING)'} AS event_id,"
        f" UNIX_MICROS({arrived_in(table)}) AS arrived_us"
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
    found = job.result(timeout=QUERY_TIMEOUT_S, page_size=WINDOW)
    return [(row.kafka_offset, (row.event_id, row.arrived_us)) for row in found]


def compare(
    balance: Balance,
    expected: Mapping[int, Told],
    held: Sequence[tuple[int, Told]],
    optional: frozenset[int] = frozenset(),
) -> None:
    """Enter one window into an account. `expected`: by offset, of each record that should have a row; `optional`: of
    these, which may as well have none."""
    counts = Counter(offset for offset, _ in held)
    balance.rows += len(held)
    balance.missing += sorted(expected.keys() - counts.keys() - optional)
    balance.doubled += sorted(offset for offset, count in counts.items() if count > 1)
    balance.unexpected += sorted(counts.keys() - expected.keys())
    balance.wrong += sorted({o for o, told in held if o in expected and told != expected[o]})
