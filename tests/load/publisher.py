"""Publishes purchases for a program that has no event loop of asyncio, such as locust.

A process of its own (`python -m tests.load.publisher BOOTSTRAP_SERVERS`): a line in is `id TAB key TAB value`, a line
out `id TAB what became of it`, which is `ok` once the record is acknowledged by all replicas.
"""

from __future__ import annotations

import asyncio
import sys

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from shared.contracts.topics import TRANSACTIONS

OK = "ok"
LONGEST_LINE = 1 << 22
"""Bytes: more than any broker takes."""


def line_of(record_id: str, key: str, value: bytes) -> bytes:
    """JSON has neither a tab nor an end of line that isn't escaped."""
    return b"%s\t%s\t%s\n" % (record_id.encode(), key.encode(), value)


def answer_of(line: bytes) -> tuple[str, str]:
    """The record's id, and what became of it."""
    record_id, _, outcome = line.decode().rstrip("\n").partition("\t")
    return record_id, outcome


async def publish(bootstrap_servers: str) -> None:
    """Until the input ends; then all that was taken has its answer."""
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, enable_idempotence=True)
    await producer.start()
    under_way: set[asyncio.Task[None]] = set()
    try:
        async for line in reader:
            record_id, key, value = line.rstrip(b"\n").split(b"\t", 2)
            sending = asyncio.create_task(_send(producer, record_id, key, value))
            under_way.add(sending)
            sending.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
    finally:
        await producer.stop()


async def _send(producer: AIOKafkaProducer, record_id: bytes, key: bytes, value: bytes) -> None:
    try:
        await producer.send_and_wait(TRANSACTIONS.name, value, key=key)
        outcome = OK
    except KafkaError as error:
        outcome = f"{type(error).__name__}: {error}".replace("\n", " ")
    sys.stdout.buffer.write(record_id + b"\t" + outcome.encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(publish(sys.argv[1]))
