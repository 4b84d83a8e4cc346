"""A log of the sink's own, with a warehouse behind it, and the sink as a process that can be killed."""

from __future__ import annotations

import asyncio
import os
import sys
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.local.ports import free_port
from deploy.local.processes import ManagedProcess
from deploy.local.stack import EmbeddedStack
from services.ledger.chain import Followed, beginning, follow
from services.ledger.warehouse_rows import chains
from services.sink.pipeline import Rules
from services.sink.reconcile import Balance, reconcile
from services.sink.settings import SinkSection, SinkSettings
from shared.contracts import topics
from shared.contracts.identity import partition_of
from shared.contracts.transactions import Limits
from shared.feature_state import EMPTY, FeatureStateStore, Move, Position
from shared.kafka.connection import admin_client, client_arguments
from shared.settings import BigQuerySettings, KafkaSettings, MetricsSettings, RedisSettings
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import Table
from shared.warehouse.tables import STREAMED
from tests.unit.sink.records import PARTITIONS, one_of_each

PROJECT = "flit-sink-test"
RULES = Rules(PARTITIONS, Limits())
QUICK = {"SINK__LINGER_MS": "100", "SINK__MAX_ROWS": "100"}
"""Many small appends, so that a kill falls between two of them or into one."""

Place = tuple[str, int, int]


async def until(condition: Callable[[], Awaitable[bool]], what: str, timeout_s: float = 60.0) -> None:
    """Wait for a condition; fail naming it."""
    try:
        async with asyncio.timeout(timeout_s):
            while not await condition():  # noqa: ASYNC110 - what is waited for happens in another process
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s:g} s: {what}") from None


@dataclass
class World:
    """The log so far, and what the warehouse must hold of it."""

    stack: EmbeddedStack
    folder: Path
    written: list[Place] = field(default_factory=list)
    """Every record of the log."""
    without_row: set[Place] = field(default_factory=set)
    arrived_ms: dict[Place, int] = field(default_factory=dict)
    """When each record came to Kafka."""
    next_number: int = 0
    starts: int = 0

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.stack.kafka.bootstrap_servers, partitions=PARTITIONS)

    @property
    def bigquery(self) -> BigQuerySettings:
        running = self.stack.bigquery
        return BigQuerySettings(
            project=PROJECT, rest_endpoint=running.rest_endpoint, grpc_endpoint=running.grpc_endpoint
        )

    def settings(self) -> SinkSettings:
        """Of a sink in this process."""
        return SinkSettings(
            kafka=self.kafka,
            redis=RedisSettings(url=self.stack.valkey.url),
            bigquery=self.bigquery,
            metrics=MetricsSettings(port=0),
            sink=SinkSection(linger_ms=100, max_rows=100),
        )

    def environment(self) -> dict[str, str]:
        return {**self.stack.environment(), "BIGQUERY__PROJECT": PROJECT, "KAFKA__PARTITIONS": str(PARTITIONS)}

    def sink(self, **settings: str) -> SinkProcess:
        self.starts += 1
        return SinkProcess(self.environment() | QUICK | settings, self.folder / f"sink-{self.starts}.log")

    async def send(
        self, records: Iterable[tuple[topics.Topic, bytes | None, str | None, int | None]], *, rows: bool = True
    ) -> list[Place]:
        """Produce (topic, value, key, partition or None); `rows`: whether each should get its row."""
        producer = AIOKafkaProducer(**client_arguments(self.kafka), linger_ms=5)
        await producer.start()
        try:
            pending = []
            for topic, value, key, partition in records:
                raw = None if key is None else key.encode()
                home = 0 if raw is None else partition_of(raw, PARTITIONS)
                pending.append(
                    await producer.send(topic.name, value, key=raw, partition=home if partition is None else partition)
                )
            answers = await asyncio.gather(*pending)
        finally:
            await producer.stop()
        places = [(answer.topic, answer.partition, answer.offset) for answer in answers]
        self.written += places
        self.arrived_ms |= {place: answer.timestamp for place, answer in zip(places, answers, strict=True)}
        if not rows:
            self.without_row.update(places)
        return places

    async def commit(self, service: str, *read: topics.Topic) -> None:
        """As a service that has taken in all that these topics hold."""
        consumer = AIOKafkaConsumer(
            **client_arguments(self.kafka), group_id=f"flit-{service}", enable_auto_commit=False
        )
        await consumer.start()
        try:
            places = [TopicPartition(topic.name, number) for topic in read for number in range(PARTITIONS)]
            consumer.assign(places)
            await consumer.commit(await consumer.end_offsets(places))
        finally:
            await consumer.stop()

    async def send_lives(self, count: int) -> None:
        """`count` purchases with everything that follows: a record on each of the six topics for each."""
        lives = [
            (topic, value, customer, None)
            for number in range(self.next_number, self.next_number + count)
            for customer in [f"cust_{number % 37:06d}"]
            for topic, value in one_of_each(number, customer).items()
        ]
        self.next_number += count
        await self.send(lives)

    async def judge_all(self, refused: Iterable[Place] = ()) -> None:
        """As the features service does once it has judged every transaction and outcome of the log."""
        store = FeatureStateStore.connect(self.stack.valkey.url)
        ends: dict[str, Counter[int]] = defaultdict(Counter)
        for topic, partition, offset in self.written:
            ends[topic][partition] = max(ends[topic][partition], offset)
        try:
            for number in range(PARTITIONS):
                new = Position(
                    ends[topics.TRANSACTIONS.name].get(number, -1), ends[topics.OUTCOMES.name].get(number, -1)
                )
                offsets = [offset for topic, partition, offset in refused if partition == number]
                if (await store.standing(number)).position is None:
                    await store.begin(number, EMPTY)
                await store.commit([Move(number, await store.position(number), new, {}, offsets)])
        finally:
            await store.close()

    def rows(self, table: Table) -> Counter[Place]:
        """How many rows there are of each place."""
        listed = bigquery_client(self.bigquery).query(
            f"SELECT kafka_topic, kafka_partition, kafka_offset FROM `{PROJECT}.{table.id}` "
            f"WHERE {table.partition_by} >= TIMESTAMP '1970-01-01 00:00:00+00'"
        )
        return Counter(tuple(row.values()) for row in listed.result(page_size=20_000))

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """`{project}` in the SQL stands for ours."""
        answer = bigquery_client(self.bigquery).query(sql.replace("{project}", PROJECT)).result()
        return [tuple(row.values()) for row in answer]

    async def count(self) -> int:
        """Rows of all tables."""
        return sum([sum((await asyncio.to_thread(self.rows, table)).values()) for table in STREAMED])

    async def rows_reach(self, count: int) -> None:
        async def enough() -> bool:
            return await self.count() >= count

        await until(enough, f"{count} rows are there")

    def assert_exact(self) -> None:
        """Each record has one row in each table of its topic, or none where it should have none, and that is all."""
        for table in STREAMED:
            expected = {place for place in self.written if place[0] == table.topic} - self.without_row
            assert self.rows(table) == Counter(expected), table.id
        self.assert_chained()

    def chains(self) -> dict[int, Followed]:
        """The chain of decisions of each partition, followed as the ledger does."""
        found = chains(bigquery_client(self.bigquery))
        return {partition: follow(beginning(partition), rows) for partition, rows in found.items()}

    def assert_chained(self) -> None:
        """Each decision's row follows the one before it, and holds what was hashed."""
        for partition, found in self.chains().items():
            assert (found.older, found.beside, found.breaks) == ([], [], []), partition
        for of_partition in chains(bigquery_client(self.bigquery)).values():
            assert [row for row in of_partition if row.kept_sha256 not in (row.record_sha256, None)] == []

    async def committed(self) -> dict[TopicPartition, int]:
        """By the sink's group."""
        async with admin_client(self.kafka) as admin:
            offsets = await admin.list_consumer_group_offsets("flit-sink")
        return {partition: found.offset for partition, found in offsets.items()}

    async def lag(self) -> int:
        """Records that the sink's group hasn't committed."""
        committed = await self.committed()
        ends: Counter[TopicPartition] = Counter()
        for topic, number, offset in self.written:
            partition = TopicPartition(topic, number)
            ends[partition] = max(ends[partition], offset + 1)
        return sum(max(0, end - max(0, committed.get(partition, 0))) for partition, end in ends.items())

    async def caught_up(self, timeout_s: float = 60.0) -> None:
        async def nothing_left() -> bool:
            return await self.lag() == 0

        await until(nothing_left, "the sink has committed the whole log", timeout_s)

    async def balances(self) -> list[Balance]:
        store = FeatureStateStore.connect(self.stack.valkey.url)
        try:
            return await reconcile(self.kafka, bigquery_client(self.bigquery), store, RULES)
        finally:
            await store.close()


class SinkProcess:
    """`python -m services.sink`, ended with the block whatever happened in it."""

    def __init__(self, environment: dict[str, str], log_file: Path) -> None:
        self.port = free_port()
        self.process = ManagedProcess(
            "sink",
            [sys.executable, "-m", "services.sink"],
            log_file=log_file,
            environment={**os.environ, **environment, "METRICS__PORT": str(self.port), "PYTHONPATH": str(Path.cwd())},
        )

    async def __aenter__(self) -> SinkProcess:
        self.process.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.process.stop)

    def kill(self) -> None:
        self.process.kill()

    async def ready(self) -> None:
        async def answers() -> bool:
            assert self.process.running, self.process.log_file.read_text()[-3000:]
            return await asyncio.to_thread(self._status) == 200

        await until(answers, "the sink is ready")

    def _status(self) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=2) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0
