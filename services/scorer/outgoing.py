"""What the scorer puts on topics, as records."""

from __future__ import annotations

import msgspec

from services.scorer.claims import Claim
from services.scorer.metrics import SERVICE
from shared.contracts import topics
from shared.contracts.events import DecisionUpdate, encode
from shared.contracts.headers import EXPOSURE_HEADER, cloud_event
from shared.contracts.rejections import InputWarning, Rejection
from shared.contracts.transactions import AcceptedTransaction, Door, Limits, decode_transaction
from shared.contracts.versions import SCHEMA_VERSION
from shared.kafka.producer import OutgoingRecord

_SOURCE = f"flit/{SERVICE}"


class _Address(msgspec.Struct, gc=False):
    """The part of a decision that its record is addressed by."""

    event_id: str
    customer_id: str
    decided_at: str


_ADDRESS = msgspec.json.Decoder(_Address)


def decision_record(claim: Claim, traceparent: str | None, partition: int, *, exposure: str) -> OutgoingRecord:
    """The claimed decision, its bytes unchanged, whoever claimed it. `partition`: that of the purchase, which the
    decision's own key doesn't give where it knows the customer by a pseudonym. `exposure`: what the purchase adds
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


def transaction_record(
    accepted: AcceptedTransaction, partition: int, *, received_us: int, limits: Limits, traceparent: str | None = None
) -> OutgoingRecord:
    """A purchase that came over REST, as it came: with fields and values that we don't know, for whoever reads the
    topic. `partition`: the customer's, so that the client needn't find it once more. `received_us`, `limits`: of its
    decoding."""
    transaction = accepted.transaction
    headers = cloud_event(
        event_id=transaction.event_id,
        kind="transaction",
        source=transaction.source,
        time=transaction.occurred_at,
        traceparent=traceparent,
    )
    value = encode(transaction)
    if not _UNKNOWN.isdisjoint(accepted.warnings):
        value = _as_it_came(accepted, received_us, limits) or value
    return OutgoingRecord(topics.TRANSACTIONS.name, transaction.customer_id.encode(), value, headers, partition)


_UNKNOWN = frozenset({InputWarning.EXTRA_FIELD, InputWarning.UNKNOWN_VALUE})


def _as_it_came(accepted: AcceptedTransaction, received_us: int, limits: Limits) -> bytes | None:
    """The document with what identifies the purchase put in. None where a reader of the topic would not take it for the
    same purchase: what is put in may bring it over a limit."""
    transaction = accepted.transaction
    identified = {name: getattr(transaction, name) for name in ("event_id", "source", "occurred_at")}
    value = msgspec.json.encode(accepted.document | identified)
    try:
        read = decode_transaction(
            value, door=Door.TOPIC, received_us=received_us, limits=limits, schema_version=str(SCHEMA_VERSION)
        )
    except Rejection:
        return None
    return value if read.transaction == transaction else None


def update_record(update: DecisionUpdate) -> OutgoingRecord:
    """What was said after a decision."""
    headers = cloud_event(
        event_id=update.update_id, kind="decision-update", source=_SOURCE, time=update.updated_at, traceparent=None
    )
    return OutgoingRecord(topics.DECISION_UPDATES.name, update.customer_id.encode(), encode(update), headers)
