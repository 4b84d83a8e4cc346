"""Streams of purchases and outcomes, and what has to come out of them: by replay, without the service."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from aiokafka import ConsumerRecord

from services.features.pipeline import LogRecord, customers_of, decode, process
from shared.contracts.pseudonyms import OFF, Pseudonyms
from shared.contracts.records import AcceptedOutcome
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from shared.contracts.transactions import AcceptedTransaction, Limits
from shared.feature_definitions import CustomerState
from shared.feature_definitions.replay import LoggedOutcome, LoggedPurchase, features_as_of
from shared.kafka.producer import OutgoingRecord
from tests import factories
from tests.integration.features.conftest import PARTITIONS

START_US = 1_717_200_000_000_000
"""2024-06-01T00:00:00Z: in the past of every clock, so that no event lies in the future of its record."""


def purchase(number: int, customer: int = 0, *, t_us: int | None = None, **changes: Any) -> OutgoingRecord:
    name = f"cust_{customer:06d}"
    t_us = START_US + number * 60 * factories.SECOND_US if t_us is None else t_us
    body = factories.transaction_bytes(number, t_us=t_us, customer_id=name, **changes)
    return OutgoingRecord(TRANSACTIONS.name, name.encode(), body)


def poison(customer: int = 0) -> OutgoingRecord:
    return OutgoingRecord(TRANSACTIONS.name, f"cust_{customer:06d}".encode(), b"\xff no UTF-8")


def outcome(number: int, customer: int = 0, **changes: Any) -> OutgoingRecord:
    name = f"cust_{customer:06d}"
    observed_us = changes.pop("observed_us", START_US + 14 * factories.DAY_US)
    body = factories.outcome(number, customer_id=name, observed_us=observed_us, **changes)
    return OutgoingRecord(OUTCOMES.name, name.encode(), json.dumps(body).encode())


def mixed(count: int, seed: int = 1) -> list[OutgoingRecord]:
    """Purchases with repeats, late ones, conflicts, poison and outcomes among them."""
    draw = random.Random(seed)
    records: list[OutgoingRecord] = []
    for number in range(count):
        customer = draw.randrange(60)
        late = draw.random() < 0.05
        t_us = START_US + (number - (500 if late else 0)) * 3_600 * factories.SECOND_US // 10
        records.append(purchase(number, customer, t_us=t_us, amount=draw.randrange(1000, 30000) / 100))
        if draw.random() < 0.05:
            records.append(records[-1])
        if draw.random() < 0.02:
            records.append(purchase(number, customer, t_us=t_us, amount=1.0))
        if draw.random() < 0.02:
            records.append(poison(customer))
        if draw.random() < 0.3:
            records.append(outcome(number, customer, defaulted=draw.random() < 0.1))
    return records


Log = Iterable[ConsumerRecord[bytes, bytes]]


def log_records(records: Log) -> list[LogRecord]:
    """As the pipeline gets them."""
    return [
        LogRecord(one.topic, one.partition, one.offset, one.timestamp, one.key, one.value, list(one.headers))
        for one in records
    ]


def replayed_states(transactions: Log, outcomes: Log) -> dict[str, bytes]:
    """Every customer's state after the whole log, each partition of each topic as one single batch."""
    states: dict[str, CustomerState] = {}
    for topic in (transactions, outcomes):
        by_partition: dict[int, list[LogRecord]] = defaultdict(list)
        for record in log_records(topic):
            by_partition[record.partition].append(record)
        for records in by_partition.values():
            decoded = [decode(record, partitions=PARTITIONS, limits=Limits()) for record in records]
            for name in customers_of(decoded):
                states.setdefault(name, CustomerState())
            process(records, decoded, states, outcomes_seen=-1, computed_at="", limits=Limits())
    return {name: state.encode() for name, state in states.items()}


def recomputed(
    vectors: Iterable[dict[str, Any]],
    transactions: Log,
    outcomes: Log,
    pseudonyms: Pseudonyms = OFF,
) -> list[dict[str, float | None]]:
    """For each vector the features that its purchase has from exactly the records at or below its `as_of`."""
    purchases: dict[str, list[LoggedPurchase]] = defaultdict(list)
    known: dict[str, list[LoggedOutcome]] = defaultdict(list)
    for record in log_records([*transactions, *outcomes]):
        item = decode(record, partitions=PARTITIONS, limits=Limits(), pseudonyms=pseudonyms)
        if isinstance(item, AcceptedTransaction):
            purchases[item.transaction.customer_id].append(LoggedPurchase(record.offset, item, -1))
        elif isinstance(item, AcceptedOutcome):
            known[item.outcome.customer_id].append(LoggedOutcome(record.offset, item.outcome, item.observed_us))
    found = []
    for vector in vectors:
        history, as_of = purchases[vector["customer_id"]], vector["as_of"]
        (itself,) = (one.accepted for one in history if one.offset == as_of["transactions"] + 1)
        found.append(
            features_as_of(
                itself,
                history,
                known[vector["customer_id"]],
                transactions_seen=as_of["transactions"],
                outcomes_seen=as_of["outcomes"],
            )
        )
    return found
