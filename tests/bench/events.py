"""What benchmarks put on topics: purchases, and vectors as the features service makes them, by its own functions; many,
at little cost: the vectors of a customer differ in their event alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from random import Random

from services.features.outgoing import vector_record
from services.features.pipeline import LogRecord
from shared.contracts.events import AsOf
from shared.contracts.identity import from_epoch_micros, partition_of
from shared.contracts.topics import DEFAULT_PARTITIONS, TRANSACTIONS
from shared.contracts.transactions import AcceptedTransaction
from shared.feature_definitions import CustomerState, make_vector
from shared.kafka.producer import OutgoingRecord
from tests import factories

EVENT_ID = "ce_id"
"""Its header."""

CUSTOMERS = 5_000
"""Unless told otherwise. Who comes after so many, and from which number on, is the caller's choice: a round with the
customers of the one before finds them with more purchases and larger accounts, and asks for other work."""

PURCHASES_BEFORE = 3
"""That the features of each customer's vector are of."""


def purchases(numbers: range, customers: int = CUSTOMERS, *, first: int = 0) -> Iterator[OutgoingRecord]:
    """Of a second ago, of one customer after the other. `first`: the number of the first customer."""
    t_us = _now_us() - factories.SECOND_US
    for number in numbers:
        customer = _name(first + number % customers)
        body = factories.transaction_bytes(number, t_us=t_us, event_id=f"{number:032x}", customer_id=customer)
        yield OutgoingRecord(TRANSACTIONS.name, customer.encode(), body)


def _now_us() -> int:
    return int(datetime.now(UTC).timestamp()) * factories.SECOND_US


@cache
def _of_customers() -> list[OutgoingRecord]:
    """One of each customer, of now, with an event id as long as real ones."""
    now_us = _now_us()
    return [_of(number, now_us) for number in range(CUSTOMERS)]


def _of(number: int, now_us: int) -> OutgoingRecord:
    draw, customer = Random(number), _name(number)
    state = CustomerState()
    ages_us = sorted((draw.randrange(1, 20 * factories.DAY_US) for _ in range(PURCHASES_BEFORE)), reverse=True)
    for age_us in ages_us:
        state.add_purchase(_purchase(draw, customer, now_us - age_us))
    accepted = _purchase(draw, customer, now_us - factories.SECOND_US)
    vector = make_vector(state, accepted, AsOf(transactions=number, outcomes=-1), from_epoch_micros(now_us))
    key = customer.encode()
    place = LogRecord(TRANSACTIONS.name, partition_of(key, DEFAULT_PARTITIONS), number, now_us // 1000, key, None)
    return vector_record(vector, place, None)


def _purchase(draw: Random, customer: str, t_us: int) -> AcceptedTransaction:
    return factories.accepted(
        t_us=t_us,
        event_id=f"{draw.getrandbits(128):032x}",
        customer_id=customer,
        amount=draw.randrange(500, 30_000) / 100,
        device={"id": f"{customer}_device_{draw.randrange(3)}"},
        product={"category": draw.choice(["home", "beauty", "sports", "electronics"])},
    )


def _name(customer: int) -> str:
    return f"cust_{customer:06d}"


def vectors(numbers: range, *, first: int = 0) -> Iterator[OutgoingRecord]:
    """Of as many events, of one customer after the other. `first`: the number of the first customer."""
    templates = _of_customers()
    for number in numbers:
        template = templates[number % CUSTOMERS]
        assert template.value is not None and template.key is not None
        headers, key = dict(template.headers), _name(first + number % CUSTOMERS).encode()
        old, new = headers[EVENT_ID], f"{number:032x}".encode()
        # His devices are called after him.
        value = template.value.replace(old, new).replace(template.key, key)
        home = partition_of(key, DEFAULT_PARTITIONS)
        yield replace(template, key=key, value=value, headers=[*{**headers, EVENT_ID: new}.items()], partition=home)
