"""One purchase on its way through the system, as examples in the published schemas."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from shared.contracts import events
from shared.contracts.dead_letters import dead_letter
from shared.contracts.rejections import Rejection, RejectionReason

_WHEN = "2026-06-01T00:06:06.000000Z"
_EVENT_ID = "67fe8419dece07edb7241636fe5e7b39"
_CUSTOMER_ID = "cust_000001-f6e48da5"
_FEATURES: dict[str, float | None] = {"amount": 67.51, "purchases_24h": 6.0, "amount_to_mean_30d": None}
_FEATURE_SET_VERSION = "1-4603e68b"
_FEATURE_HASH = hashlib.sha256(json.dumps(_FEATURES, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
_AS_OF = events.AsOf(transactions=1041, outcomes=312)

TRANSACTION = events.Transaction(
    event_id=_EVENT_ID, source="simtom/bnpl/2026-06-01.20260601", transaction_id="txn_00000000",
    customer_id=_CUSTOMER_ID, occurred_at=_WHEN, amount=67.51, currency="USD",
    installments=events.Installments(count=4, first_payment_amount=16.88, frequency="bi_weekly"),
    customer=events.Customer(
        age_bracket="55+", tenure_days=384, income_bracket="50k-75k", credit_score_range="fair",
        verification_level="verified", address_stability="stable", state="VI",
    ),
    product=events.Product(
        id="prod_004411", category="electronics", subcategory="tablets", brand="Sephora", price=67.51,
        bnpl_eligible=True, risk_category="medium",
    ),
    device=events.Device(id="cust_000001_device_1", type="mobile", os="Android", is_trusted=True),
    payment=events.Payment(
        method_id="cust_000001_pm_3", provider="afterpay", type="bnpl_account", credit_limit=500.0,
    ),
    checkout=events.Checkout(
        purchase_context="impulse", checkout_speed="fast", cart_abandonment_count=0, price_comparison_time=40.0,
        time_on_site_seconds=269.0, economic_stress_factor=0.0,
    ),
    source_scores=events.SourceScores(risk_score=0.35, risk_level="medium", risk_scenario="impulse_purchase"),
)  # fmt: skip

LEAST_TRANSACTION: dict[str, Any] = {
    "transaction_id": "order-4711", "customer_id": "customer-17", "occurred_at": "2026-06-01T02:06:06+02:00",
    "amount": 120, "currency": "EUR",
}  # fmt: skip
"""All that a producer has to send."""

_BROKEN = b'{"transaction_id": "order-4712", "amount": "12"}'

OTHERS: dict[str, list[Any]] = {
    "outcome": [
        events.Outcome(
            event_id=_EVENT_ID, customer_id=_CUSTOMER_ID, defaulted=False, days_to_first_missed_payment=None,
            observed_at="2026-07-27T00:06:06.000000Z",
        ),
        events.Outcome(
            event_id=_EVENT_ID, customer_id=_CUSTOMER_ID, defaulted=True, days_to_first_missed_payment=28,
            observed_at="2026-06-29T00:06:06.000000Z",
        ),
    ],
    "feature-vector": [
        events.FeatureVector(
            event_id=_EVENT_ID, customer_id=_CUSTOMER_ID, occurred_at=_WHEN, feature_set_version=_FEATURE_SET_VERSION,
            features=_FEATURES, feature_hash=_FEATURE_HASH, as_of=_AS_OF, transaction=TRANSACTION,
            computed_at="2026-06-01T00:06:06.012000Z",
        )
    ],
    "decision": [
        events.Decision(
            event_id=_EVENT_ID, customer_id=_CUSTOMER_ID, transaction_id="txn_00000000",
            decision=events.Verdict.REVIEW, probability_of_default=0.21, expected_loss=11.34,
            reasons=[events.Reason(code="purchases_24h", text="The customer made 6 purchases within 24 hours.")],
            model_version="3f9c1d20b7a64e58", policy_version="1-9a0c4e71",
            feature_set_version=_FEATURE_SET_VERSION, features=_FEATURES,
            feature_hash=_FEATURE_HASH, as_of=_AS_OF, variant="champion", shadow=[], degraded=None, channel="stream",
            occurred_at=_WHEN, decided_at="2026-06-01T00:06:06.030000Z",
        )
    ],
    "decision-update": [
        events.DecisionUpdate(
            update_id="5d0f6c52a1", event_id=_EVENT_ID, customer_id=_CUSTOMER_ID, kind=events.UpdateKind.VERDICT,
            verdict=events.Verdict.APPROVE, actor="reviewer-3", note="Called the customer.",
            updated_at="2026-06-01T09:15:00.000000Z",
        )
    ],
    "dead-letter": [
        dead_letter(
            Rejection(RejectionReason.MISSING, "customer_id", "a value that is neither null nor blank"),
            service="features", topic="bnpl-transactions", partition=2, offset=1042, received_at=_WHEN,
            key=b"customer-17", value=_BROKEN, headers=[("ce_specversion", b"1.0")],
        )
    ],
}  # fmt: skip


def examples_of(name: str) -> list[dict[str, Any]]:
    """Examples of the event called `name` in the schemas, as JSON objects."""
    if name == "transaction":
        return [_json(TRANSACTION), LEAST_TRANSACTION]
    return [_json(event) for event in OTHERS[name]]


def _json(event: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(events.encode(event))
    return body
