"""Row 43: batches that no client would write. What the broker lets in, nobody may stumble over."""

from __future__ import annotations

import asyncio
import gzip
import os
import time
from collections import Counter
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, codec
from aiokafka.errors import KafkaError

from shared.contracts.identity import partition_of
from shared.contracts.topics import TRANSACTIONS
from shared.kafka import unpacking
from shared.kafka.connection import client_arguments
from tests.bad_inputs import batches
from tests.integration.features.conftest import PARTITIONS, Rig, until
from tests.integration.features.streams import purchase

CUSTOMER = "cust_000000"
NOW_MS = int(time.time() * 1000)
KEY = CUSTOMER.encode()


def value(number: int) -> bytes:
    body = purchase(number).value
    assert body is not None
    return body


MISFRAMED_LONGER = batches.resized(batches.record(KEY, value(1), number=1), len(batches.record(KEY, value(1))) + 7)
MISFRAMED_SHORTER = batches.resized(batches.record(KEY, value(1), number=1), 20)
NULL_IN_AN_ODD_WAY = batches.record(KEY, value(1), number=1, headers=[(b"\xff\xfe", -7)])
NAMED_ODDLY = batches.record(KEY, value(1), number=1, headers=[(b"\xff\xfe", b"x")])


async def produce(rig: Rig, content: bytes) -> Any:
    producer = AIOKafkaProducer(**client_arguments(rig.settings), acks="all")
    await producer.start()
    try:
        sent = await producer.send_batch(
            batches.FinishedBatch(content), TRANSACTIONS.name, partition=partition_of(KEY, PARTITIONS)
        )
        async with asyncio.timeout(20):
            return await sent
    finally:
        await producer.stop()


def between(middle: bytes) -> bytes:
    """A batch of three: the odd record between two good ones."""
    payload = batches.record(KEY, value(0)) + middle + batches.record(KEY, value(2), number=2)
    return batches.batch(payload, 3, NOW_MS)


@pytest.mark.parametrize(
    ("middle", "reasons", "vectors"),
    [
        (MISFRAMED_LONGER, ["syntax"], {"event-0", "event-2", "event-3"}),
        (MISFRAMED_SHORTER, ["syntax"], {"event-0", "event-2", "event-3"}),
        (NAMED_ODDLY, [], {"event-0", "event-1", "event-2", "event-3"}),
        (NULL_IN_AN_ODD_WAY, [], {"event-0", "event-1", "event-2", "event-3"}),
    ],
    ids=[
        "longer than its fields",
        "shorter than its fields",
        "a header's name that is no text",
        "a length of minus seven",
    ],
)
async def test_a_batch_with_a_corrupt_record_costs_that_record_and_no_other(
    rig: Rig, middle: bytes, reasons: list[str], vectors: set[str]
) -> None:
    features = await rig.start_ready()
    try:
        await produce(rig, between(middle))
    except KafkaError as refused:
        pytest.fail(f"the broker is expected to let it in: {refused!r}")
    await rig.send([purchase(3)])
    await until(rig.has_caught_up)
    assert [letter["reason"] for letter in await rig.letters()] == reasons
    assert {vector["event_id"] for vector in await rig.vectors()} == vectors
    assert await features.terminate() == 0


BOMB = batches.batch(batches.record(KEY, bytes(2 * unpacking.MOST_BYTES)), 1, NOW_MS)
PACKED = batches.record(KEY, value(0))
JUNK_BEHIND_GZIP = batches.packed(gzip.compress(PACKED) + b"junk", 1, NOW_MS, codec=batches.GZIP)
JUNK_BEHIND_LZ4 = batches.packed(codec.lz4_encode(PACKED) + b"junk", 1, NOW_MS, codec=batches.LZ4)


@pytest.mark.parametrize(
    ("content", "reasons", "vectors"),
    [
        (JUNK_BEHIND_GZIP, [], {"event-0", "event-3"}),
        (JUNK_BEHIND_LZ4, [], {"event-0", "event-3"}),
        (BOMB, ["syntax"], {"event-3"}),
    ],
    ids=["junk behind gzip", "junk behind LZ4", "a bomb"],
)
async def test_a_compressed_batch_that_the_broker_lets_in_stops_nobody(
    rig: Rig, content: bytes, reasons: list[str], vectors: set[str]
) -> None:
    features = await rig.start_ready()
    try:
        await produce(rig, content)
    except KafkaError as refused:
        pytest.fail(f"the broker is expected to let it in: {refused!r}")
    await rig.send([purchase(3)])
    await until(rig.has_caught_up)
    assert [letter["reason"] for letter in await rig.letters()] == reasons
    assert {vector["event_id"] for vector in await rig.vectors()} == vectors
    assert await features.terminate() == 0


@pytest.mark.parametrize(
    "content",
    [
        batches.batch(batches.record(KEY, value(0)), 1, NOW_MS, checksum=1),
        batches.packed(b"no gzip at all", 1, NOW_MS, codec=batches.GZIP),
        batches.batch(batches.record(KEY, value(0))[:-5], 1, NOW_MS),
        batches.batch(batches.record(KEY, value(0)), 2, NOW_MS),
    ],
    ids=["a wrong checksum", "what is not compressed as it says", "a record cut short", "fewer records than it says"],
)
async def test_the_broker_itself_refuses_what_it_cannot_walk_through(rig: Rig, content: bytes) -> None:
    with pytest.raises((KafkaError, TimeoutError)):
        await produce(rig, content)
    assert await rig.records(TRANSACTIONS.name) == []


@pytest.mark.parametrize("home", [0, PARTITIONS - 1])
async def test_what_a_broken_disk_gives_stops_its_own_partition_alone_and_from_there_on(rig: Rig, home: int) -> None:
    """The broker hands out what lies in its file; it is the client that finds the checksum wrong."""
    mine, other = next(n for n in range(60) if lies_in(n) == home), next(n for n in range(60) if lies_in(n) != home)
    for number in range(IN_FRONT + 1):
        await rig.send([purchase(number, mine)])  # each in a batch of its own
    segment = max(rig.kafka.node_folder(1).glob(f"data/{TRANSACTIONS.name}-{home}/*.log"))
    with segment.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        (last,) = file.read(1)
        file.seek(-5, os.SEEK_END)
        file.write(bytes([last ^ 0xFF]))
    features = await rig.start(KAFKA__STALL_SECONDS="600")

    async def noticed() -> bool:
        return bool(features.events("batch_damaged"))

    await until(noticed)
    for number in range(1, 6):
        await rig.send([purchase(100 + number, other)])

        async def decided(number: int = number) -> bool:
            return len(await rig.vectors()) == IN_FRONT + number

        await until(decided)
    assert features.process.returncode is None
    (line,) = features.events("batch_damaged")
    assert (line["topic"], line["partition"], line["offset"]) == (TRANSACTIONS.name, home, IN_FRONT)
    assert Counter(vector["customer_id"] for vector in await rig.vectors()) == {name(mine): IN_FRONT, name(other): 5}
    with segment.open("r+b") as file:  # and mended: from a replica, say
        file.seek(-5, os.SEEK_END)
        file.write(bytes([last]))
    await until(rig.has_caught_up)
    assert len(await rig.vectors()) == IN_FRONT + 6
    assert len(features.events("batch_mended")) == 1
    assert await features.terminate() == 0


IN_FRONT = 7


def name(number: int) -> str:
    return f"cust_{number:06d}"


def lies_in(number: int) -> int:
    return partition_of(name(number).encode(), PARTITIONS)
