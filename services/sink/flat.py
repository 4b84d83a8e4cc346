"""Our nested transaction back to the flat field names of simtom, which the dbt project downstream knows. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.contracts.identity import EPOCH
from shared.contracts.transactions import BLOCKS, LABELS
from shared.contracts.wire import JsonObject

FLAT_NAMES: dict[tuple[str, str], str] = {
    ("installments", "count"): "installment_count",
    ("installments", "frequency"): "payment_frequency",
    ("payment", "method_id"): "payment_method_id",
    ("payment", "credit_utilization"): "credit_utilization",
    **{("customer", name): f"customer_{name}" for name in (
        "age_bracket", "tenure_days", "income_bracket", "credit_score_range", "verification_level",
        "address_stability", "state")},
    **{("product", name): f"product_{name}" for name in (
        "id", "category", "subcategory", "brand", "price", "bnpl_eligible", "risk_category")},
    **{("device", name): f"device_{name}" for name in ("id", "type", "os", "is_trusted")},
    **{("payment", name): f"payment_{name}" for name in ("provider", "type", "credit_limit")},
    **{(block, name): name for block, names in {
        "installments": ("first_payment_amount",),
        "checkout": ("purchase_context", "checkout_speed", "cart_abandonment_count", "price_comparison_time",
                     "time_on_site_seconds", "economic_stress_factor"),
        "source_scores": ("risk_score", "risk_level", "risk_scenario"),
    }.items() for name in names},
}  # fmt: skip
"""(block, field) of a transaction to simtom's name of it."""

_TOP_LEVEL = ("transaction_id", "customer_id", "amount", "currency", "status")
_TIME = "_timestamp"
_HANDLED = frozenset({"event_id", "source", "occurred_at", "schema_version", *_TOP_LEVEL, *BLOCKS}) | LABELS
"""Of the top level. `event_id` has a column of its own, `source` stands in the typed table, the time is renamed."""

_ABSENT_WHEN_NULL = ("payment", "credit_utilization")
"""simtom leaves the key out where it knows none."""


def flat_body(document: JsonObject, occurred_us: int) -> JsonObject:
    """`document`: an accepted transaction as it came, unknown fields included; `occurred_us`: its event time.

    Unknown fields keep their name at the top level; one inside a block gets the block's name in front. Where that name
    is taken (or a label's), `extra_` is put before it, so that nothing is lost and nothing overwritten.
    """
    flat: JsonObject = {name: document[name] for name in _TOP_LEVEL if name in document}
    flat[_TIME] = naive_time(occurred_us)
    extras = [(name, value) for name, value in document.items() if name not in _HANDLED]
    for block in BLOCKS:
        for field, value in (document.get(block) or {}).items():
            name = FLAT_NAMES.get((block, field))
            if name is None:
                extras.append((f"{block}_{field}", value))
            elif (block, field) != _ABSENT_WHEN_NULL or value is not None:
                flat[name] = value
    for name, value in extras:
        while name in flat or name in LABELS:
            name = f"extra_{name}"
        flat[name] = value
    return flat


def naive_time(micros: int) -> str:
    """As simtom writes a time: UTC without saying so, and no fraction where it is zero."""
    moment: datetime = EPOCH + timedelta(microseconds=micros)
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat()
