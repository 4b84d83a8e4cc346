"""Redis loses states whose records retention has taken: the warehouse gives them back, bit for bit, or it is said."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from deploy.local.bigquery import BigQuery
from deploy.local.ports import Ports
from services.features import warehouse as reading
from services.features.log_ends import committed
from services.ledger import warehouse_rows
from services.ledger.book import Book
from services.ledger.log_reader import LogReader
from services.sink import erasure_rows
from shared.contracts.identity import partition_of
from shared.contracts.pseudonyms import OFF, Pseudonyms
from shared.contracts.topics import ALL, DEAD_LETTERS, FEATURES, OUTCOMES, TRANSACTIONS
from shared.kafka.producer import OutgoingRecord
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from shared.warehouse.schema import ensure_warehouse
from tests.integration.features.conftest import PARTITIONS, Features, Rig, until
from tests.integration.features.streams import START_US, mixed, outcome, poison, purchase, recomputed
from tests.integration.features.test_rebuild import HOME, by_hand, whole

INPUTS = (TRANSACTIONS.name, OUTCOMES.name)
KEY = "a key that is long enough for it, surely"
QUICK = {"SINK__LINGER_MS": "100", "METRICS__PORT": "0"}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BigQuery]:
    ports = Ports().settle()
    bigquery = BigQuery(tmp_path_factory.mktemp("warehouse"), ports.bigquery_rest, ports.bigquery_grpc)
    try:
        bigquery.start()
        yield bigquery
    finally:
        bigquery.stop()


@pytest.fixture
def warehouse(emulator: BigQuery, unique: str) -> BigQuerySettings:
    """Empty tables of this test's own."""
    settings = BigQuerySettings(
        project=f"flit-{unique}", rest_endpoint=emulator.rest_endpoint, grpc_endpoint=emulator.grpc_endpoint
    )
    ensure_warehouse(settings)
    return settings


def environment_of(warehouse: BigQuerySettings) -> dict[str, str]:
    return {
        "BIGQUERY__PROJECT": warehouse.project,
        "BIGQUERY__REST_ENDPOINT": warehouse.rest_endpoint,
        "BIGQUERY__GRPC_ENDPOINT": warehouse.grpc_endpoint,
    }


class Sink:
    """`python -m services.sink` on the rig's log."""

    def __init__(self, rig: Rig, environment: dict[str, str]) -> None:
        addresses = {"KAFKA__BOOTSTRAP_SERVERS": rig.settings.bootstrap_servers, "REDIS__URL": rig.valkey.url}
        self._environment = {**os.environ, **addresses, **QUICK, **environment}
        self._log: Path = rig.folder / "sink.log"

    async def __aenter__(self) -> None:
        with self._log.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "services.sink"), env=self._environment, stderr=output
            )

    async def __aexit__(self, *_: object) -> None:
        self._process.terminate()
        await self._process.wait()


async def sink_has_all(rig: Rig) -> bool:
    ends = {
        TopicPartition(topic, number): end
        for topic in (*INPUTS, DEAD_LETTERS.name)
        for number, end in (await rig.ends(topic)).items()
    }
    offsets = await committed(rig.settings, "flit-sink", ends)
    return all(offsets.get(place, -1) >= end for place, end in ends.items() if end)


async def expire(rig: Rig, before: dict[TopicPartition, int]) -> None:
    """What retention does, at once."""
    admin = AIOKafkaAdminClient(bootstrap_servers=rig.settings.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_records({tp: RecordsToDelete(offset) for tp, offset in before.items() if offset})
    finally:
        await admin.close()


async def share(rig: Rig, of_partition: dict[int, float]) -> dict[TopicPartition, int]:
    """Offsets at which the inputs will begin: so much of each partition is before them."""
    return {
        TopicPartition(topic, number): int(end * of_partition[number])
        for topic in INPUTS
        for number, end in (await rig.ends(topic)).items()
    }


def troubled(count: int) -> list[OutgoingRecord]:
    """Whatever a log may hold: beside what `mixed` has, corrections, empty blocks, and records in wrong partitions."""
    draw = random.Random(3)
    records = mixed(count)
    for number in range(0, count, 5):
        customer = draw.randrange(60)
        records.append(outcome(number, customer, defaulted=True))
        records.append(outcome(number, customer, defaulted=number % 2 == 0, observed_us=START_US + number * 10**11))
        bare = purchase(count + number, customer, payment=None, device={"id": None})
        empty = json.dumps(json.loads(bare.value or b"") | {"customer": {}, "product": {}}).encode()
        records.append(OutgoingRecord(bare.topic, bare.key, empty))
    lost = purchase(9_000_001, 1, t_us=START_US)
    wrong = (partition_of(lost.key or b"", PARTITIONS) + 1) % PARTITIONS
    astray = [lost, OutgoingRecord(TRANSACTIONS.name, lost.key, b"no JSON"), outcome(9_000_001, 1)]
    records += [OutgoingRecord(one.topic, one.key, one.value, partition=wrong) for one in astray]
    draw.shuffle(records)
    return records


async def letter_places(rig: Rig) -> set[tuple[str, int, int]]:
    """Of what was refused. A rebuild may send the latest letters twice."""
    return {(letter["topic"], letter["partition"], letter["offset"]) for letter in await rig.letters()}


async def audited(rig: Rig, warehouse: BigQuerySettings, pseudonyms: Pseudonyms = OFF) -> Book:
    """The ledger's own recomputation of every vector, over log and warehouse as they are now."""
    reader, client = (
        LogReader({"bootstrap_servers": rig.settings.bootstrap_servers}),
        warehouse_rows.open_client(warehouse),
    )
    await reader.start()
    try:
        first = {
            (tp.topic, tp.partition): offset
            for topic in ALL
            for tp, offset in (await reader.beginnings(topic.name)).items()
        }
        expired = await asyncio.to_thread(warehouse_rows.expired, client, first)
        book = Book(PARTITIONS, pseudonyms=pseudonyms, expired=expired)
        for topic in (DEAD_LETTERS, TRANSACTIONS, OUTCOMES, FEATURES):
            async for record in reader.read(await reader.ends(topic.name)):
                book.add(record)
        assert book.unread == []
    finally:
        await reader.close()
        client.close()
    return book


async def running(rig: Rig, **environment: str) -> Features:
    return await rig.start_ready(FEATURES__MAX_BATCH="50", **environment)


@pytest.mark.parametrize(
    "key", [pytest.param("", id="plain", marks=pytest.mark.slow), pytest.param(KEY, id="pseudonyms")]
)
async def test_states_whose_records_expired_come_back_bit_for_bit(
    rig: Rig, warehouse: BigQuerySettings, key: str
) -> None:
    settings = environment_of(warehouse) | ({"PRIVACY__PSEUDONYM_KEY": key} if key else {})
    pseudonyms = Pseudonyms(key.encode()) if key else OFF
    features = await running(rig, **settings)
    async with Sink(rig, settings):
        await rig.send(troubled(600))
        await until(rig.has_caught_up)
        await until(lambda: sink_has_all(rig))
        before, letters = await rig.states(), await letter_places(rig)
        log = {topic: await rig.records(topic) for topic in INPUTS}
        # A purchase that was loaded in bulk, and so was never in a state.
        bigquery_client(warehouse).query(
            f"INSERT INTO `{warehouse.project}.{tables.TRANSACTIONS.id}` (event_id, customer_id, occurred_at, amount,"
            " currency, kafka_timestamp, load_id) SELECT 'bulk', customer_id, occurred_at, amount, currency,"
            f" kafka_timestamp, 'load' FROM `{warehouse.project}.{tables.TRANSACTIONS.id}` LIMIT 1"
        ).result()
        # Some in the middle, nothing, and whole partitions.
        await expire(rig, await share(rig, {0: 0.6, 1: 1.0, 2: 0.0, 3: 0.3}))
        await rig.store._redis.flushall()
        await until(lambda: whole(rig))
        assert await rig.states() == before
        assert (await features.metric("flit_features_rebuilt_rows_total") or 0) > 0
        assert await letter_places(rig) == letters
        assert {line["partition"] for line in features.events("records_expired")} == {0, 1, 3}
        assert not features.events("rebuild_gap")
        seen = len(await rig.records(FEATURES.name))
        following = [purchase(20_000 + number, number % 60) for number in range(200)]
        await rig.send(following)
        await until(rig.has_caught_up)
    log = {topic: [*log[topic], *(await rig.records(topic))] for topic in INPUTS}
    once = {topic: {(one.partition, one.offset): one for one in log[topic]}.values() for topic in INPUTS}
    vectors = await rig.vectors()
    assert len(vectors) == seen + len(following)
    assert [vector["features"] for vector in vectors] == recomputed(
        vectors, once[TRANSACTIONS.name], once[OUTCOMES.name], pseudonyms
    )
    assert features.process.returncode is None
    book = await audited(rig, warehouse, pseudonyms)
    assert (book.mismatches, book.not_checkable) == ([], [])
    assert book.vectors_checked == len(vectors)
    assert book.expired.bought and book.expired.outcomes
    events = {buy.event_id for _, buy in book.expired.bought}
    bodies = await asyncio.to_thread(
        lambda: {event: body for event, _, _, body in warehouse_rows.bodies(bigquery_client(warehouse), events)}
    )
    assert bodies.keys() == events
    told = {vector["event_id"]: vector["transaction"] for vector in vectors}
    assert all(bodies[event]["amount"] == told[event]["amount"] for event in events)


async def test_a_long_past_is_read_in_stretches_and_pages_each_record_once(
    rig: Rig, warehouse: BigQuerySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "STRETCH_OFFSETS", 50)
    monkeypatch.setattr(reading, "PAGE_ROWS", 7)
    settings = environment_of(warehouse)
    await running(rig, **settings)
    async with Sink(rig, settings):
        await rig.send([poison() if number % 20 == 11 else purchase(number) for number in range(140)])
        await until(rig.has_caught_up)
        await until(lambda: sink_has_all(rig))
    past = reading.Past(warehouse, OFF, max_bytes=2**30)
    stretches = await past.survey(TRANSACTIONS.name, HOME, 10, 130)
    assert [(one.low, one.high) for one in stretches] == [(10, 50), (50, 100), (100, 130)]
    read = [record.offset for stretch in stretches async for page in past.records(stretch) for record in page]
    assert read == [number for number in range(10, 130) if number % 20 != 11]
    assert [await past.accounted(one) for one in stretches] == [set(range(one.low, one.high)) for one in stretches]
    assert [one.found for one in await past.survey(TRANSACTIONS.name, HOME, 500, 520)] == [0]


@pytest.mark.slow
async def test_an_erased_customer_does_not_come_back_from_the_warehouse(rig: Rig, warehouse: BigQuerySettings) -> None:
    settings = environment_of(warehouse)
    await running(rig, **settings)
    records = mixed(300)
    # Somebody with outcomes as well.
    erased = next(bytes(one.key or b"") for one in records if one.topic == OUTCOMES.name).decode()
    async with Sink(rig, settings):
        await rig.send(records)
        await until(rig.has_caught_up)
        await until(lambda: sink_has_all(rig))
        before = await rig.states()
        for table in (tables.TRANSACTIONS, tables.OUTCOMES):
            assert erasure_rows.empty(bigquery_client(warehouse), table, [erased]).rows
        await expire(rig, await share(rig, dict.fromkeys(range(PARTITIONS), 1.0)))
        await rig.store._redis.flushall()
        await until(lambda: whole(rig))
    assert before.pop(erased)
    assert await rig.states() == before


@pytest.mark.slow
async def test_a_gap_that_nobody_can_fill_is_waited_for_and_told_until_somebody_accepts_it(
    rig: Rig, warehouse: BigQuerySettings
) -> None:
    settings = environment_of(warehouse)
    first = await running(rig, **settings)
    async with Sink(rig, settings):
        await rig.send([purchase(number) for number in range(40)])
        await until(rig.has_caught_up)
        await until(lambda: sink_has_all(rig))
    # The sink is down: it takes in no more, and retention goes on.
    await rig.send([purchase(number) for number in range(40, 50)] + [poison()] + [purchase(50)])
    await until(rig.has_caught_up)
    whole_state = (await rig.states())["cust_000000"]
    ends = {TopicPartition(TRANSACTIONS.name, HOME): 45}
    await expire(rig, ends)
    assert await first.terminate(30) == 0
    # By hand nothing is thrown away that couldn't be made anew.
    assert await by_hand(rig, "--partition", str(HOME), **settings) == 1
    assert (await rig.states())["cust_000000"] == whole_state

    await rig.store._redis.flushall()
    waiting = await rig.start(**settings)

    async def said() -> bool:
        return bool(waiting.events("rebuild_waits"))

    await until(said)
    (gap, *_) = waiting.events("rebuild_gap")
    assert (gap["topic"], gap["partition"], gap["records"]) == (TRANSACTIONS.name, HOME, 5)
    assert gap["offsets"] == ["40-44"]
    sample = f'flit_features_rebuild_gaps{{partition="{HOME}",topic="{TRANSACTIONS.name}"}}'
    assert await waiting.metric(sample) == 5
    assert not await waiting.is_ready()
    assert not (await rig.store.standing(HOME)).whole
    assert await waiting.terminate(30) == 0

    accepting = await rig.start(FEATURES__REBUILD_GAPS="accept", **settings)
    await until(lambda: whole(rig))
    assert accepting.events("rebuild_gap")[0]["mode"] == "accept"
    assert await accepting.metric(sample) == 5
    lacking = (await rig.states())["cust_000000"]
    assert lacking != whole_state
    # Vectors from before the loss were made of what is gone now: no fault of theirs, and not in order either.
    book = await audited(rig, warehouse)
    assert (book.mismatches, book.expired.lacks(TRANSACTIONS.name, HOME)) == ([], True)
    assert len(book.not_checkable) > 0


@pytest.mark.slow
async def test_without_a_warehouse_expired_records_are_a_gap(rig: Rig) -> None:
    settings = {"FEATURES__REBUILD_FROM_WAREHOUSE": "false"}
    features = await running(rig, **settings)
    await rig.send([purchase(number) for number in range(20)])
    await until(rig.has_caught_up)
    await expire(rig, {TopicPartition(TRANSACTIONS.name, HOME): 5})
    await rig.store._redis.flushall()

    async def said() -> bool:
        return bool(features.events("rebuild_waits"))

    await until(said)
    assert features.events("rebuild_gap")[0]["offsets"] == ["0-4"]

    async def others_whole() -> bool:
        return (
            all([(await rig.store.standing(number)).whole for number in range(PARTITIONS) if number != HOME])
            and not (await rig.store.standing(HOME)).whole
        )

    await until(others_whole)
