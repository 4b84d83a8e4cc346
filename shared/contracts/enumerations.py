"""The values that the enumerated fields may have.

A value that isn't known becomes `unknown`, with a warning: a new category must not stop the stream. `currency` and
`status` are different, since a wrong guess there is a wrong decision: they are refused.
"""

from __future__ import annotations

from typing import Any

import msgspec

from shared.contracts import events, money
from shared.contracts.rejections import InputWarning, Rejection, RejectionReason

UNKNOWN = "unknown"

BLOCK_TYPES: dict[str, type[msgspec.Struct]] = {
    "installments": events.Installments,
    "customer": events.Customer,
    "product": events.Product,
    "device": events.Device,
    "payment": events.Payment,
    "checkout": events.Checkout,
    "source_scores": events.SourceScores,
}

STATUSES = frozenset({"completed", "pending"})

VALUES: dict[tuple[str, str], tuple[str, ...]] = {
    ("installments", "frequency"): ("weekly", "bi_weekly", "monthly"),
    ("customer", "age_bracket"): ("18-24", "25-34", "35-44", "45-54", "55+"),
    ("customer", "income_bracket"): ("<25k", "25k-50k", "50k-75k", "75k-100k", "100k+"),
    ("customer", "credit_score_range"): ("poor", "fair", "good", "excellent"),
    ("customer", "verification_level"): ("unverified", "partial", "verified"),
    ("customer", "address_stability"): ("frequent_mover", "new", "stable"),
    ("product", "category"): ("electronics", "clothing", "home", "beauty", "sports"),
    ("product", "risk_category"): ("low", "medium", "high"),
    ("device", "type"): ("mobile", "desktop", "tablet"),
    ("device", "os"): ("Android", "iOS", "Windows", "macOS", "Linux"),
    ("payment", "provider"): ("affirm", "afterpay", "klarna", "sezzle"),
    ("payment", "type"): ("bnpl_account",),
    ("checkout", "purchase_context"): ("normal", "impulse", "rushed"),
    ("checkout", "checkout_speed"): ("slow", "normal", "fast", "very_fast"),
    ("source_scores", "risk_level"): ("low", "medium", "high", "very_high"),
    ("source_scores", "risk_scenario"): (
        "low_risk_purchase", "impulse_purchase", "credit_stretched", "high_risk_behavior",
    ),
}  # fmt: skip
"""Known values by block and field; where they have an order, from small to large."""

_FIELDS: dict[str, list[tuple[str, frozenset[str]]]] = {
    block: [(field, frozenset(values)) for (owner, field), values in VALUES.items() if owner == block]
    for block in BLOCK_TYPES
}


def normalise(body: dict[str, Any], warnings: list[InputWarning]) -> None:
    """Replace unknown values in the blocks of `body` by `unknown`; refuse an unknown currency or status."""
    currency, status = body["currency"], body.get("status", "completed")
    for field, value, known in (("currency", currency, money.MINOR_DIGITS), ("status", status, STATUSES)):
        if not isinstance(value, str):
            raise Rejection(RejectionReason.TYPE, field, "a string")
        if value not in known:
            raise Rejection(RejectionReason.ENUM, field, "one of " + ", ".join(sorted(known)))
    for block_name, fields in _FIELDS.items():
        block = body.get(block_name)
        if isinstance(block, dict):
            for field, values in fields:
                value = block.get(field)
                if isinstance(value, str) and value not in values:
                    if value != UNKNOWN:
                        warnings.append(InputWarning.UNKNOWN_VALUE)
                    block[field] = UNKNOWN
