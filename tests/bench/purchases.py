"""Purchases of a made-up past, as a producer sends them: the same ones whenever they are asked for."""

from __future__ import annotations

import random
from collections.abc import Iterator

from shared.contracts.identity import partition_of
from shared.contracts.topics import DEFAULT_PARTITIONS, TRANSACTIONS
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from tests import factories

START_US = 1_717_200_000_000_000
"""2024-06-01T00:00:00Z: in the past of every clock."""

APART_US = 50 * factories.SECOND_US
AT_ONCE = 2_000
"""In one round trip to the brokers."""


def purchase(number: int, customer: str) -> bytes:
    """Every block of it is there; amount, device, category and terms differ from purchase to purchase."""
    draw = random.Random(number)
    return factories.transaction_bytes(
        number,
        t_us=START_US + number * APART_US,
        event_id=f"{number:032x}",
        customer_id=customer,
        amount=draw.randrange(500, 60_000) / 100,
        device={"id": f"{customer}_device_{draw.randrange(3)}"},
        payment={"method_id": f"{customer}_pm_{draw.randrange(4)}"},
        product={"category": draw.choice(["home", "beauty", "sports", "electronics"])},
        installments={"count": draw.choice([4, 6])},
    )


def purchases(numbers: range, customers: int) -> Iterator[OutgoingRecord]:
    """Of customers who buy unequally often: the first ones most."""
    for number in numbers:
        draw = random.Random(-1 - number)
        customer = f"cust_{min(draw.randrange(customers), draw.randrange(customers)):06d}"
        key = customer.encode()
        home = partition_of(key, DEFAULT_PARTITIONS)
        yield OutgoingRecord(TRANSACTIONS.name, key, purchase(number, customer), partition=home)


async def send(producer: ReliableProducer, numbers: range, customers: int) -> None:
    """All are acknowledged when it returns."""
    for start in range(0, len(numbers), AT_ONCE):
        await producer.send_all(list(purchases(numbers[start : start + AT_ONCE], customers)))
