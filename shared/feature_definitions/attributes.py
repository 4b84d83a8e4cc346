"""Features of the purchase alone: what the event says, as numbers.

An enumerated value becomes its rank in the declared order (0 the first); unknown or absent becomes null.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from shared.contracts import enumerations
from shared.contracts.transactions import AcceptedTransaction
from shared.feature_definitions import windows

Value = float | None

SMALLEST_LIMIT = 0.01
"""A credit limit below a cent is none: a ratio to it says nothing, and could be infinite."""


def amount(accepted: AcceptedTransaction) -> Value:
    return accepted.transaction.amount


def is_night(accepted: AcceptedTransaction) -> Value:
    return float(windows.is_night(accepted.occurred_us))


def _field(block: str, name: str) -> Callable[[AcceptedTransaction], Value]:
    """The number or flag in a field, as a float."""

    def read(accepted: AcceptedTransaction) -> Value:
        holder = getattr(accepted.transaction, block)
        value = None if holder is None else getattr(holder, name)
        return None if value is None else float(value)

    return read


def _rank(block: str, name: str) -> Callable[[AcceptedTransaction], Value]:
    """The rank of an enumerated field."""
    ranks = {value: float(i) for i, value in enumerate(enumerations.VALUES[block, name])}

    def read(accepted: AcceptedTransaction) -> Value:
        holder = getattr(accepted.transaction, block)
        return None if holder is None else ranks.get(getattr(holder, name))

    return read


def _is(block: str, name: str, wanted: str) -> Callable[[AcceptedTransaction], Value]:
    """1 where an enumerated field has this value, 0 where it has another, null where it is absent or unknown."""

    def read(accepted: AcceptedTransaction) -> Value:
        holder = getattr(accepted.transaction, block)
        value = None if holder is None else getattr(holder, name)
        return None if value is None or value == enumerations.UNKNOWN else float(value == wanted)

    return read


installment_count = _field("installments", "count")
tenure_days = _field("customer", "tenure_days")
product_eligible = _field("product", "bnpl_eligible")
device_trusted = _field("device", "is_trusted")
credit_limit = _field("payment", "credit_limit")
credit_utilization = _field("payment", "credit_utilization")
cart_abandonment = _field("checkout", "cart_abandonment_count")
price_comparison = _field("checkout", "price_comparison_time")
time_on_site = _field("checkout", "time_on_site_seconds")

credit_score = _rank("customer", "credit_score_range")
verification = _rank("customer", "verification_level")
income = _rank("customer", "income_bracket")
address_stability = _rank("customer", "address_stability")
product_risk = _rank("product", "risk_category")
purchase_context = _rank("checkout", "purchase_context")
checkout_speed = _rank("checkout", "checkout_speed")

device_is_mobile = _is("device", "type", "mobile")
device_is_tablet = _is("device", "type", "tablet")


def first_payment_share(accepted: AcceptedTransaction) -> Value:
    terms = accepted.transaction.installments
    if terms is None or terms.first_payment_amount is None or not accepted.transaction.amount:
        return None
    share = terms.first_payment_amount / accepted.transaction.amount
    return share if math.isfinite(share) else None  # a vector's JSON has no other number for it


def credit_is_stretched(accepted: AcceptedTransaction) -> Value:
    """Whether utilisation is reported at all. Null without a payment block: then nothing is known."""
    payment = accepted.transaction.payment
    return None if payment is None else float(payment.credit_utilization is not None)


def amount_to_credit_limit(accepted: AcceptedTransaction) -> Value:
    payment = accepted.transaction.payment
    if payment is None or payment.credit_limit is None or payment.credit_limit < SMALLEST_LIMIT:
        return None
    return accepted.transaction.amount / payment.credit_limit
