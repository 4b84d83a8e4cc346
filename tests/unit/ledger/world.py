"""A log and a warehouse of which everything balances, for tests that break one thing."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRecord

from services.ledger import checks
from services.ledger.book import Book
from services.ledger.checks import Finding, Mirrored
from services.ledger.expired import Expired
from shared.contracts.identity import partition_of
from shared.contracts.transactions import AcceptedTransaction, Door, Limits, decode_transaction
from shared.feature_definitions import FEATURE_SET_VERSION, CustomerState, features_of
from tests.factories import DAY_US, START_US

PARTITIONS = 4


def record(
    topic: str, offset: int, key: str, body: dict[str, Any] | bytes, partition: int | None = None
) -> ConsumerRecord:
    value = body if isinstance(body, bytes) else json.dumps(body).encode()
    where = partition_of(key.encode(), PARTITIONS) if partition is None else partition
    return ConsumerRecord(topic, where, offset, 0, 0, key.encode(), value, None, 0, 0, ())


def accepted(body: dict[str, Any]) -> AcceptedTransaction:
    """As the door at the topic reads it."""
    return decode_transaction(
        json.dumps(body).encode(), door=Door.TOPIC, received_us=START_US + 500 * DAY_US, limits=Limits()
    )


@dataclass
class World:
    """Two purchases of one customer, everything about them as it should be; tests break one thing."""

    purchases: list[dict[str, Any]] = field(default_factory=list)
    transactions: list[ConsumerRecord] = field(default_factory=list)
    vectors: list[ConsumerRecord] = field(default_factory=list)
    decisions: list[ConsumerRecord] = field(default_factory=list)
    letters: list[ConsumerRecord] = field(default_factory=list)
    acknowledged: dict[str, int] = field(default_factory=dict)
    rows: dict[str, dict[tuple[int, int], list[Mirrored]]] = field(default_factory=dict)
    committed: dict[str, dict[tuple[str, int], int]] = field(default_factory=dict)
    scope: dict[tuple[str, int], int] = field(default_factory=dict)
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    lag: dict[str, int] = field(default_factory=dict)
    erased: frozenset[str] = frozenset()
    expired: Expired = field(default_factory=Expired)

    def book(self) -> Book:
        book = Book(PARTITIONS, self.scope, erased=self.erased, expired=self.expired)
        for record in (*self.letters, *self.transactions, *self.vectors, *self.decisions):
            book.add(record)
        for record in self.transactions:
            book.confirm_asked(record)
        return book

    def findings(self) -> dict[str, Finding]:
        book = self.book()
        found = [
            checks.acknowledged_events(book, self.acknowledged),
            checks.one_decision(book, {}),
            checks.warehouse_rows(book, self.rows, self.ends),
            checks.recomputed_features(book),
            checks.refused_records(book),
            checks.durable_before_commit(book, self.committed, self.rows),
            checks.caught_up(self.lag, 10),
            checks.degraded_is_said(book),
        ]
        return {finding.name: finding for finding in found}

    def broken(self) -> set[str]:
        """Names of the checks that don't balance."""
        return {name for name, finding in self.findings().items() if not finding.balanced}


def balanced_world() -> World:
    world = World()
    state = CustomerState()
    place = partition_of(b"c1", PARTITIONS)
    for offset in range(2):
        body = {
            "event_id": f"e{offset}", "source": "shop", "transaction_id": f"t{offset}", "customer_id": "c1",
            "occurred_at": f"2026-06-01T00:0{offset}:00.000000Z", "amount": 10.5 + offset, "currency": "USD",
            "status": "completed",
        }  # fmt: skip
        bought = accepted(body)
        vector = {
            "event_id": body["event_id"], "customer_id": "c1", "occurred_at": body["occurred_at"], "state": "fresh",
            "features": features_of(state, bought), "as_of": {"transactions": offset - 1, "outcomes": -1},
            "transaction": body, "feature_set_version": FEATURE_SET_VERSION,
        }  # fmt: skip
        state.add_purchase(bought)
        decision = {
            "event_id": body["event_id"],
            "customer_id": "c1",
            "transaction_id": body["transaction_id"],
            "occurred_at": body["occurred_at"],
            "degraded": None,
            "channel": "stream",
            "model_version": "m1",
            "decision": "approve",
            "features": vector["features"],
            "as_of": vector["as_of"],
        }
        world.purchases.append(body)
        world.transactions.append(record("bnpl-transactions", offset, "c1", body))
        world.vectors.append(record("bnpl-features", offset, "c1", vector))
        world.decisions.append(record("risk-decisions", offset, "c1", decision))
    world.acknowledged = {"shop": 2}
    mirrored = {"bnpl-transactions", "bnpl-features", "risk-decisions"}
    for topic, tables in checks.TABLES.items():
        for table in tables:
            world.rows[table] = {(place, i): [Mirrored(f"e{i}")] for i in range(2)} if topic in mirrored else {}
    world.committed = {
        "flit-features": {("bnpl-transactions", place): 2},
        "flit-scorer": {("bnpl-features", place): 2},
        "flit-sink": {(topic, place): 2 for topic in mirrored},
    }
    world.ends = {(topic, place): 10 for topic in checks.TABLES}
    return world


def add_letter(world: World, value: bytes) -> None:
    """Refuse a third record, with a letter that claims `value` for its bytes."""
    place = partition_of(b"c1", PARTITIONS)
    world.transactions.append(record("bnpl-transactions", 2, "c1", b"{broken"))
    letter = {
        "reason": "syntax", "topic": "bnpl-transactions", "partition": place, "offset": 2,
        "value_base64": base64.b64encode(value).decode(), "value_sha256": hashlib.sha256(value).hexdigest(),
    }  # fmt: skip
    world.letters.append(record("dead-letters", 0, "c1", letter))
    world.rows["flit_ml_raw.dead_letters"] = {(place, 0): [Mirrored(None)]}


def add_anothers_purchase(world: World, event_id: str = "e0", offset: int = 5) -> tuple[int, int]:
    """Another customer's, with its vector, under an id that is taken. Gives where both lie."""
    place = partition_of(b"c2", PARTITIONS), offset
    body = world.purchases[0] | {"customer_id": "c2", "event_id": event_id}
    vector = json.loads(world.vectors[0].value) | {
        "event_id": event_id, "customer_id": "c2", "transaction": body,
        "as_of": {"transactions": offset - 1, "outcomes": -1},
    }  # fmt: skip
    world.transactions.append(record("bnpl-transactions", offset, "c2", body))
    world.vectors.append(record("bnpl-features", offset, "c2", vector))
    for table in (*checks.TABLES["bnpl-transactions"], *checks.TABLES["bnpl-features"]):
        world.rows[table][place] = [Mirrored(event_id)]
    world.ends |= {(topic, place[0]): 10 for topic in checks.TABLES}
    world.committed["flit-features"]["bnpl-transactions", place[0]] = offset + 1
    world.committed["flit-scorer"]["bnpl-features", place[0]] = offset + 1
    return place


def add_letter_of_the_vector(world: World, place: tuple[int, int], reason: str = "conflict") -> None:
    value = world.vectors[-1].value
    letter = {
        "reason": reason, "topic": "bnpl-features", "partition": place[0], "offset": place[1],
        "value_base64": base64.b64encode(value).decode(), "value_sha256": hashlib.sha256(value).hexdigest(),
    }  # fmt: skip
    world.letters.append(record("dead-letters", 0, "c2", letter))
    world.rows["flit_ml_raw.dead_letters"] = {(place[0], 0): [Mirrored(None)]}


def add_second_body(world: World, body: dict[str, Any]) -> None:
    """A third record on the topic, and its row."""
    world.transactions.append(record("bnpl-transactions", 2, "c1", body))
    place = partition_of(b"c1", PARTITIONS)
    for table in checks.TABLES["bnpl-transactions"]:
        world.rows[table][place, 2] = [Mirrored(body["event_id"])]
    world.committed["flit-features"]["bnpl-transactions", place] = 3


def spoil_a_feature(world: World) -> None:
    body = json.loads(world.vectors[1].value)
    body["features"]["amount_sum_24h"] += 0.01
    world.vectors[1] = record("bnpl-features", 1, "c1", body)


def only_the_first_is_judged(world: World) -> None:
    place = partition_of(b"c1", PARTITIONS)
    world.scope = {(topic, place): 1 for topic in ("bnpl-transactions", "bnpl-features", "risk-decisions")}
