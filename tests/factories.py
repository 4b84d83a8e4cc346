"""Valid events for tests: whole ones, of which a test changes what it is about."""

from __future__ import annotations

import json
from typing import Any

from shared.contracts.identity import from_epoch_micros
from shared.contracts.transactions import AcceptedTransaction, Door, Limits, decode_transaction

START_US = 1_780_272_366_000_000
"""2026-06-01T00:06:06Z, the moment of the example in the contract."""

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US


def transaction(number: int = 0, /, *, t_us: int | None = None, **changes: Any) -> dict[str, Any]:
    """A transaction with every block. `changes`: top-level fields; a block given as a dict adds to its default."""
    body: dict[str, Any] = {
        "event_id": f"event-{number}",
        "source": "tests",
        "transaction_id": f"txn_{number:08d}",
        "customer_id": "cust_000001",
        "occurred_at": from_epoch_micros(START_US + number * 60 * SECOND_US if t_us is None else t_us),
        "amount": 67.51,
        "currency": "USD",
        "status": "completed",
        "installments": {"count": 4, "first_payment_amount": 16.88, "frequency": "bi_weekly"},
        "customer": {
            "age_bracket": "55+", "tenure_days": 384, "income_bracket": "50k-75k", "credit_score_range": "fair",
            "verification_level": "verified", "address_stability": "stable", "state": "VI",
        },
        "product": {
            "id": "prod_004411", "category": "electronics", "subcategory": "tablets", "brand": "Sephora",
            "price": 67.51, "bnpl_eligible": True, "risk_category": "medium",
        },
        "device": {"id": "cust_000001_device_1", "type": "mobile", "os": "Android", "is_trusted": True},
        "payment": {
            "method_id": "cust_000001_pm_3", "provider": "afterpay", "type": "bnpl_account", "credit_limit": 500,
            "credit_utilization": None,
        },
        "checkout": {
            "purchase_context": "impulse", "checkout_speed": "fast", "cart_abandonment_count": 0,
            "price_comparison_time": 40, "time_on_site_seconds": 269, "economic_stress_factor": 0.0,
        },
        "source_scores": {"risk_score": 0.35, "risk_level": "medium", "risk_scenario": "impulse_purchase"},
    }  # fmt: skip
    for name, value in changes.items():
        block = body.get(name)
        body[name] = {**block, **value} if isinstance(block, dict) and isinstance(value, dict) else value
    return body


def transaction_bytes(number: int = 0, /, *, t_us: int | None = None, **changes: Any) -> bytes:
    """The same as JSON."""
    return json.dumps(transaction(number, t_us=t_us, **changes)).encode()


def accepted(number: int = 0, /, *, t_us: int | None = None, **changes: Any) -> AcceptedTransaction:
    """The same, decoded, long after it occurred."""
    raw = transaction_bytes(number, t_us=t_us, **changes)
    return decode_transaction(raw, door=Door.TOPIC, received_us=START_US + 1200 * DAY_US, limits=Limits())


def outcome(number: int = 0, /, *, defaulted: bool = False, observed_us: int, **changes: Any) -> dict[str, Any]:
    """The outcome of `transaction(number)`."""
    return {
        "event_id": f"event-{number}",
        "customer_id": "cust_000001",
        "defaulted": defaulted,
        "days_to_first_missed_payment": 14 if defaulted else None,
        "observed_at": from_epoch_micros(observed_us),
        **changes,
    }
