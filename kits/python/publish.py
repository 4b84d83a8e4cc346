"""Publish purchases, one JSON object a line, and print the event id of each once the broker has it.

    echo '{"event_id": "order-1", "transaction_id": "order-1", "customer_id": "anna-42",
           "occurred_at": "2026-06-01T12:00:00Z", "amount": 129.90, "currency": "EUR"}' \\
        | tr -d '\\n' | python kits/python/publish.py

May be run again with the same lines, after whatever went wrong: each purchase brings its `event_id`, and is decided
once, however often it is published.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aiokafka import AIOKafkaProducer
from contract import SERVERS, ContractBroken, Message


async def publish(purchase: Any, message: Message, producer: AIOKafkaProducer) -> str:
    """Its event id, once all replicas in sync have the record. Raises ContractBroken, or ValueError for a number that
    JSON doesn't have, before anything is sent."""
    if not isinstance(purchase, dict):
        raise ContractBroken("$: a purchase is an object")
    message.check(purchase)
    # One made up here would be another one when the line is published again, and the purchase decided twice.
    if message.event_field not in purchase:
        raise ContractBroken(f"$: {message.event_field} is missing, by which it is known when it is sent again")
    value = json.dumps(purchase, allow_nan=False).encode()
    await producer.send_and_wait(message.topic, value, key=message.key(purchase))
    return message.event(purchase)


async def main() -> int:
    message = Message.named("transaction")
    # Idempotent: the client's own retries neither double nor reorder. All in sync: an answer survives a broker's death.
    producer = AIOKafkaProducer(bootstrap_servers=SERVERS, enable_idempotence=True, acks="all")
    await producer.start()
    refused = 0
    try:
        for number, line in enumerate(sys.stdin, 1):
            try:
                print(await publish(json.loads(line), message, producer), flush=True)
            except ValueError as wrong:
                print(f"line {number}: {wrong}", file=sys.stderr)
                refused += 1
    finally:
        await producer.stop()
    return 1 if refused else 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
