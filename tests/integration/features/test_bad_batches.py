"""Record batches that no client writes: what the broker lets in must not stop a partition."""

from __future__ import annotations

import asyncio
import base64
import gzip

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from shared.contracts.identity import partition_of
from shared.contracts.topics import TRANSACTIONS
from tests.bad_inputs.batches import GZIP, FinishedBatch, batch, packed, record, resized
from tests.bad_inputs.rows import Subject
from tests.integration.features.conftest import PARTITIONS, Rig, until
from tests.integration.features.streams import START_US
from tests.integration.features.test_bad_inputs import assert_nothing_unhandled

NOW_MS = START_US // 1000
KEY = b"cust_000001"
HOME = partition_of(KEY, PARTITIONS)


def purchase(number: int) -> bytes:
    return Subject(number, KEY.decode(), START_US).purchase()


async def send(rig: Rig, content: bytes) -> int:
    """The batch as it is onto the customer's partition; its offset. Raises KafkaError where the broker refuses it."""
    producer = AIOKafkaProducer(
        bootstrap_servers=rig.settings.bootstrap_servers, acks="all", request_timeout_ms=5_000, retry_backoff_ms=50
    )
    await producer.start()
    try:
        acknowledged = await producer.send_batch(FinishedBatch(content), TRANSACTIONS.name, partition=HOME)
        return int((await acknowledged).offset)
    finally:
        await producer.stop()


REFUSED = {
    "a wrong checksum": batch(record(KEY, purchase(0)), 1, NOW_MS, checksum=1),
    "nothing compressed": packed(b"\x1f\x8b no gzip", 1, NOW_MS, codec=GZIP),
    "compressed and cut": packed(gzip.compress(record(KEY, purchase(0)) * 50)[:-12], 50, NOW_MS, codec=GZIP),
    "fewer records than it says": batch(record(KEY, purchase(0)), 3, NOW_MS),
    "more records than it says": batch(record(KEY, purchase(0)) + record(KEY, b"", number=1), 1, NOW_MS),
    "an unknown codec": packed(record(KEY, purchase(0)), 1, NOW_MS, codec=7),
}


async def test_the_broker_refuses_a_batch_that_it_can_not_walk_through(rig: Rig) -> None:
    for name, content in REFUSED.items():
        with pytest.raises(KafkaError):
            await asyncio.wait_for(send(rig, content), 30)
            pytest.fail(f"accepted: {name}")
    assert await rig.records(TRANSACTIONS.name) == []


async def test_a_corrupt_record_in_a_compressed_batch_gets_a_letter_and_its_neighbours_their_vectors(rig: Rig) -> None:
    features = await rig.start_ready()
    payload = record(KEY, purchase(0)) + resized(record(KEY, purchase(1), number=1), 5_000)
    payload += resized(record(KEY, purchase(2), number=2), 3) + record(KEY, purchase(3), number=3)
    first = await send(rig, batch(payload, 4, NOW_MS))
    await send(rig, batch(record(KEY, purchase(4)), 1, NOW_MS))
    await until(rig.has_caught_up)
    assert [vector["event_id"] for vector in await rig.vectors()] == ["event-0", "event-3", "event-4"]
    letters = await rig.letters()
    assert [(one["reason"], one["offset"]) for one in letters] == [("syntax", first + 1), ("syntax", first + 2)]
    assert [base64.b64decode(one["value_base64"]) for one in letters] == [purchase(1), purchase(2)]
    assert await features.terminate() == 0
    assert_nothing_unhandled(features)


@pytest.mark.parametrize("compressed", [True, False])
async def test_a_header_whose_name_is_no_text_does_not_stop_the_partition(rig: Rig, compressed: bool) -> None:
    features = await rig.start_ready()
    odd = record(KEY, purchase(1), number=1, headers=[(b"\xff\xfe", b"x"), (b"ce_id", b"\xff")])
    payload = record(KEY, purchase(0)) + odd + record(KEY, b"{", number=2, headers=[(b"\xc3", b"")])
    await send(rig, batch(payload, 3, NOW_MS, compressed=compressed))
    await until(rig.has_caught_up)
    assert [vector["event_id"] for vector in await rig.vectors()] == ["event-0", "event-1"]
    (letter,) = await rig.letters()
    assert (letter["reason"], letter["headers"]) == ("syntax", {"\ufffd": ""})
    assert await features.terminate() == 0
    assert_nothing_unhandled(features)
