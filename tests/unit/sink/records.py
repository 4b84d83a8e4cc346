"""Records of every topic, as they stand in the log."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec

from shared.contracts import topics
from shared.contracts.dead_letters import dead_letter
from shared.contracts.events import AsOf, Decision, DecisionUpdate, Reason, ShadowScore, UpdateKind, Verdict, encode
from shared.contracts.identity import partition_of
from shared.contracts.rejections import Rejection, RejectionReason
from shared.feature_definitions import CustomerState, make_vector
from tests.factories import DAY_US, START_US, accepted, outcome, transaction_bytes

PARTITIONS = 4
LATER_MS = (START_US + 400 * DAY_US) // 1000
COMPUTED_AT = "2026-06-01T00:06:06.020000Z"
DECIDED_AT = "2026-06-01T00:06:06.030000Z"


@dataclass(frozen=True)
class LogRecord:
    """What the sink sees of a record."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def record(
    topic: topics.Topic, value: bytes | None, *, offset: int = 0, key: str | None = "cust_000001", **changes: Any
) -> LogRecord:
    """In the partition of its key, unless told otherwise."""
    raw = None if key is None else key.encode()
    place = {"partition": 0 if raw is None else partition_of(raw, PARTITIONS), "timestamp": LATER_MS}
    return LogRecord(topic.name, offset=offset, key=raw, value=value, **(place | changes))


def vector_bytes(number: int = 0, **changes: Any) -> bytes:
    """`changes`: of the transaction."""
    vector = make_vector(
        CustomerState(), accepted(number, **changes), AsOf(transactions=number - 1, outcomes=-1), COMPUTED_AT
    )
    return encode(vector)


def decision(number: int = 0, *, customer_id: str = "cust_000001", **changes: Any) -> Decision:
    features: dict[str, float | None] = {"amount": 67.51, "seconds_since_last": None}
    made = Decision(
        event_id=f"event-{number}",
        customer_id=customer_id,
        transaction_id=f"txn_{number:08d}",
        decision=Verdict.REVIEW,
        probability_of_default=0.0625,
        expected_loss=2.53,
        reasons=[Reason(code="fair_credit", text="Credit score is only fair")],
        model_version="0123456789abcdef",
        policy_version="2026-06-01",
        feature_set_version="1",
        features=features,
        feature_hash="ab" * 32,
        as_of=AsOf(transactions=number - 1, outcomes=-1),
        variant="champion",
        shadow=[ShadowScore(model_version="other", probability_of_default=0.05, decision=Verdict.APPROVE)],
        degraded=None,
        channel="stream",
        occurred_at="2026-06-01T00:06:06.000000Z",
        decided_at=DECIDED_AT,
    )
    return msgspec.structs.replace(made, **changes)


def decision_update(number: int = 0, customer_id: str = "cust_000001", **changes: Any) -> DecisionUpdate:
    made = DecisionUpdate(
        update_id=f"update-{number}",
        event_id=f"event-{number}",
        customer_id=customer_id,
        kind=UpdateKind.VERDICT,
        verdict=Verdict.APPROVE,
        actor="reviewer",
        note="called the customer",
        updated_at=DECIDED_AT,
    )
    return msgspec.structs.replace(made, **changes)


def update_bytes(number: int = 0, customer_id: str = "cust_000001") -> bytes:
    return encode(decision_update(number, customer_id))


def letter_bytes(number: int = 0, value: bytes = b"{", *, service: str = "features", partition: int = 1) -> bytes:
    return encode(
        dead_letter(
            Rejection(RejectionReason.SYNTAX, "", "JSON"),
            service=service,
            topic=topics.TRANSACTIONS.name,
            partition=partition,
            offset=number,
            received_at=DECIDED_AT,
            key=b"cust_000001",
            value=value,
            headers=[("schema_version", b"1")],
        )
    )


def one_of_each(number: int, customer_id: str) -> dict[topics.Topic, bytes]:
    """A whole life of one purchase: a value for each topic."""
    observed = START_US + number * 60_000_000 + 56 * DAY_US
    return {
        topics.TRANSACTIONS: transaction_bytes(number, customer_id=customer_id),
        topics.OUTCOMES: json.dumps(outcome(number, observed_us=observed, customer_id=customer_id)).encode(),
        topics.FEATURES: vector_bytes(number, customer_id=customer_id),
        topics.DECISIONS: encode(decision(number, customer_id=customer_id)),
        topics.DECISION_UPDATES: update_bytes(number, customer_id),
        # Of a line that never came to Kafka: the purchases here were accepted.
        topics.DEAD_LETTERS: letter_bytes(number, service="ingestor", partition=-1),
    }
