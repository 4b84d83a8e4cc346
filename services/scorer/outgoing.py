"""What the scorer puts on topics, as records."""

from __future__ import annotations

import msgspec

from services.scorer.claims import Claim
from services.scorer.metrics import SERVICE
from shared.contracts import topics
from shared.contracts.events import DecisionUpdate, Transaction, encode
from shared.contracts.headers import EXPOSURE_HEADER, cloud_event
from shared.kafka.producer import OutgoingRecord

_SOURCE = f"flit/{SERVICE}"


class _Address(msgspec.Struct, gc=False):
    """The part of a decision that its record is addressed by."""

    event_id: str
    customer_id: str
    decided_at: str


_ADDRESS = msgspec.json.Decoder(_Address)


def decision_record(
    claim: Claim, traceparent: str | None = None, partition: int | None = None, *, exposure: str
) -> OutgoingRecord:
    """The claimed decision, its bytes unchanged, whoever claimed it. `partition`: that of the purchase, where the
    decision knows the customer by a pseudonym, whose own partition would be another. `exposure`: what the purchase adds
    to what the customer owes, for when the accounts have to be restored: a decision doesn't tell its terms."""
    address = _ADDRESS.decode(claim.decision)
    headers = cloud_event(
        event_id=address.event_id,
        kind="decision",
        source=_SOURCE,
        time=address.decided_at,
        traceparent=traceparent,
    )
    headers.append((EXPOSURE_HEADER, exposure.encode()))
    return OutgoingRecord(topics.DECISIONS.name, address.customer_id.encode(), claim.decision, headers, partition)


def transaction_record(transaction: Transaction, traceparent: str | None = None) -> OutgoingRecord:
    """A purchase that came over REST."""
    headers = cloud_event(
        event_id=transaction.event_id,
        kind="transaction",
        source=transaction.source,
        time=transaction.occurred_at,
        traceparent=traceparent,
    )
    return OutgoingRecord(topics.TRANSACTIONS.name, transaction.customer_id.encode(), encode(transaction), headers)


def update_record(update: DecisionUpdate) -> OutgoingRecord:
    """What was said after a decision."""
    headers = cloud_event(
        event_id=update.update_id, kind="decision-update", source=_SOURCE, time=update.updated_at, traceparent=None
    )
    return OutgoingRecord(topics.DECISION_UPDATES.name, update.customer_id.encode(), encode(update), headers)
