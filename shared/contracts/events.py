"""The events of the system, as they stand on the topics (JSON, UTF-8).

Times are strings in one canonical form (`identity.canonical_time`: UTC, six fractional digits, `Z`), so that the same
moment always has the same bytes. Amounts are decimal numbers in the event's currency on the wire, and whole minor
units (cents) wherever they are added up (`money.minor_units`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec


class Block(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A part of a transaction whose fields may each be absent."""


class Installments(Block, frozen=True):
    count: int | None = None
    first_payment_amount: float | None = None
    frequency: str | None = None


class Customer(Block, frozen=True):
    age_bracket: str | None = None
    tenure_days: int | None = None
    income_bracket: str | None = None
    credit_score_range: str | None = None
    verification_level: str | None = None
    address_stability: str | None = None
    state: str | None = None


class Product(Block, frozen=True):
    id: str | None = None
    category: str | None = None
    subcategory: str | None = None
    brand: str | None = None
    price: float | None = None
    bnpl_eligible: bool | None = None
    risk_category: str | None = None


class Device(Block, frozen=True):
    id: str | None = None
    type: str | None = None
    os: str | None = None
    is_trusted: bool | None = None


class Payment(Block, frozen=True):
    method_id: str | None = None
    provider: str | None = None
    type: str | None = None
    credit_limit: float | None = None
    credit_utilization: float | None = None


class Checkout(Block, frozen=True):
    purchase_context: str | None = None
    checkout_speed: str | None = None
    cart_abandonment_count: int | None = None
    price_comparison_time: float | None = None
    time_on_site_seconds: float | None = None
    economic_stress_factor: float | None = None


class SourceScores(Block, frozen=True):
    """What the source itself thought of the purchase. Never an input of a model by default."""

    risk_score: float | None = None
    risk_level: str | None = None
    risk_scenario: str | None = None


class Transaction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A purchase that asks to be paid in instalments. Holds no label."""

    event_id: str
    source: str
    transaction_id: str
    customer_id: str
    occurred_at: str
    amount: float
    currency: str
    status: str = "completed"
    installments: Installments | None = None
    customer: Customer | None = None
    product: Product | None = None
    device: Device | None = None
    payment: Payment | None = None
    checkout: Checkout | None = None
    source_scores: SourceScores | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a purchase was repaid. Nothing may use it before `observed_at`, in event time.

    A later Outcome of the same `event_id` corrects the earlier one.
    """

    event_id: str
    customer_id: str
    defaulted: bool
    days_to_first_missed_payment: int | None
    observed_at: str


class AsOf(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Offsets of one partition up to and including which records are in a vector; -1: none."""

    transactions: int
    outcomes: int


class VectorState(StrEnum):
    FRESH = "fresh"
    REBUILDING = "rebuilding"


class FeatureVector(msgspec.Struct, frozen=True, kw_only=True):
    """The features of one purchase, with the exact position in the log that they were computed from."""

    event_id: str
    customer_id: str
    occurred_at: str
    feature_set_version: str
    features: dict[str, float | None]
    feature_hash: str
    as_of: AsOf
    transaction: Transaction
    computed_at: str
    state: VectorState = VectorState.FRESH


class Verdict(StrEnum):
    """What the system answers to a purchase."""

    APPROVE = "approve"
    REVIEW = "review"
    DECLINE = "decline"


class Reason(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of the main causes that raised the risk: a stable code and a sentence for people."""

    code: str
    text: str


class ShadowScore(msgspec.Struct, frozen=True, kw_only=True):
    """What a model that doesn't decide would have said."""

    model_version: str
    probability_of_default: float
    decision: Verdict


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The one answer to one purchase. The same bytes at both doors, whichever asked first."""

    event_id: str
    customer_id: str
    transaction_id: str
    decision: Verdict
    probability_of_default: float | None
    expected_loss: float | None
    reasons: list[Reason]
    model_version: str
    policy_version: str
    feature_set_version: str
    features: dict[str, float | None]
    feature_hash: str
    as_of: AsOf
    variant: str
    shadow: list[ShadowScore]
    degraded: str | None
    channel: Literal["stream", "rest"]
    occurred_at: str
    decided_at: str


class UpdateKind(StrEnum):
    VERDICT = "verdict"
    CANCEL = "cancel"


class DecisionUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What people said after the decision: a reviewer's verdict, or a checkout that called the purchase off."""

    update_id: str
    event_id: str
    customer_id: str
    kind: UpdateKind
    verdict: Verdict | None
    actor: str
    note: str | None
    updated_at: str


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record that was refused, with its original bytes, so that it can be looked into and sent again."""

    reason: str
    detail: str
    service: str
    topic: str
    partition: int
    offset: int
    received_at: str
    key_base64: str | None
    value_base64: str | None
    value_sha256: str
    value_bytes: int
    headers: dict[str, str]


for _kind in (Transaction, Outcome, FeatureVector, Decision, DecisionUpdate, DeadLetter):
    # msgspec works a type out at its first use, and two threads that do so at once crash the process (0.22). Here it is
    # done while the module is imported, which one thread does for all.
    msgspec.json.Decoder(_kind)

_encoder = msgspec.json.Encoder()


def encode(event: msgspec.Struct) -> bytes:
    """The event as compact JSON, UTF-8. Field order is that of the class: the same event has the same bytes."""
    return _encoder.encode(event)
