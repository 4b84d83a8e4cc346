"""A bare hop: each record that comes in on one topic goes out on another, and nothing else.

`python -m tests.bench.peers.relay BROKERS SOURCE TARGET`, until SIGTERM; `… BROKERS - TARGET RATE COUNT` is who sends:
so many records a second, each of the size of a purchase.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from shared.kafka.connection import FETCH_WAIT_MS
from tests.factories import transaction_bytes

NUMBER = "number"
"""A header, by which a record is known again at the end."""


async def relay(brokers: str, source: str, target: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    # Waits at the broker as long as ours, which is what a quiet topic costs.
    consumer = AIOKafkaConsumer(source, bootstrap_servers=brokers, fetch_max_wait_ms=FETCH_WAIT_MS)
    producer = AIOKafkaProducer(bootstrap_servers=brokers, enable_idempotence=True, acks="all")
    await consumer.start()
    await producer.start()
    print("ready", flush=True)
    while not stop.is_set():
        fetched = await consumer.getmany(timeout_ms=100)
        records = [record for of_partition in fetched.values() for record in of_partition]
        await asyncio.gather(*[await _pass_on(producer, target, record) for record in records])
    await producer.stop()
    await consumer.stop()


async def _pass_on(producer: AIOKafkaProducer, target: str, record: ConsumerRecord) -> asyncio.Future[object]:
    headers = list(record.headers)  # as the producer wants them; the consumer gives a tuple
    sent: asyncio.Future[object] = await producer.send(target, record.value, key=record.key, headers=headers)
    return sent


async def send(brokers: str, target: str, rate: str, count: str) -> None:
    """At even times, each acknowledged."""
    producer = AIOKafkaProducer(bootstrap_servers=brokers, enable_idempotence=True, acks="all")
    await producer.start()
    began, sent = time.perf_counter(), []
    for number in range(int(count)):
        if (early := began + number / float(rate) - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        key, headers = f"cust_{number:06d}".encode(), [(NUMBER, str(number).encode())]
        sent.append(await producer.send(target, transaction_bytes(number), key=key, headers=headers))
    await asyncio.gather(*sent)
    await producer.stop()


if __name__ == "__main__":
    brokers, source, *rest = sys.argv[1:]
    uvloop.run(send(brokers, *rest) if source == "-" else relay(brokers, source, *rest))
