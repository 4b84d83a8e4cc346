"""Every feature, declared once: name, unit, what a risk analyst wants it for, and how it is made.

To add one, add a declaration: the stream, the checkout and the history take it from here. `FEATURE_SET_VERSION` changes
by itself, and a model names the version that it was trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shared.contracts.transactions import AcceptedTransaction
from shared.feature_definitions import attributes, rolling
from shared.feature_definitions.rolling import Past
from shared.feature_definitions.windows import WINDOWS

Value = float | None

REVISION = 1
"""Raise it where the same declaration gives other values than before."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One number of the vector, or null where it can't be known."""

    name: str
    unit: str
    why: str
    of: Callable[[AcceptedTransaction, Past], Value]
    rolling: bool
    """Made from the customer's past. Null for an event that comes too late to be answered exactly."""
    compares: bool = False
    """Sets the purchase against the past: says nothing of a customer who isn't buying anything."""


def _attribute(name: str, unit: str, of: Callable[[AcceptedTransaction], Value], why: str) -> Feature:
    return Feature(name, unit, why, lambda accepted, _: of(accepted), rolling=False)


def _past(
    name: str, unit: str, of: Callable[[AcceptedTransaction, Past], Value], why: str, *, compares: bool = False
) -> Feature:
    return Feature(name, unit, why, of, rolling=True, compares=compares)


def _windows(name: str, unit: str, of: rolling.Aggregate, why: str) -> Iterable[Feature]:
    for i, window in enumerate(WINDOWS):
        yield Feature(f"{name}_{window.label}", unit, why, rolling.over(i, of), rolling=True)


FEATURES: tuple[Feature, ...] = (
    # The purchase itself
    _attribute("amount", "currency", attributes.amount, "What is at stake"),
    _attribute("installment_count", "instalments", attributes.installment_count, "A longer plan has more ways to fail"),
    _attribute("first_payment_share", "share", attributes.first_payment_share, "Paid at once, before any risk is run"),
    _attribute("is_night", "flag", attributes.is_night, "Purchases between midnight and six, UTC"),
    # The customer, as the source describes them
    _attribute("tenure_days", "days", attributes.tenure_days, "New accounts default more"),
    _attribute("credit_score_rank", "rank", attributes.credit_score, "Bureau's view, poor to excellent"),
    _attribute("verification_rank", "rank", attributes.verification, "How well we know who it is"),
    _attribute("income_rank", "rank", attributes.income, "Ability to repay"),
    _attribute("address_stability_rank", "rank", attributes.address_stability, "Reachable for collection"),
    # The basket, the device and the means of payment
    _attribute("product_risk_rank", "rank", attributes.product_risk, "Resale value attracts fraud"),
    _attribute("product_bnpl_eligible", "flag", attributes.product_eligible, "Whether the merchant may offer it"),
    _attribute("device_trusted", "flag", attributes.device_trusted, "Seen before, not tampered with"),
    _attribute("device_is_mobile", "flag", attributes.device_is_mobile, "Kind of device"),
    _attribute("device_is_tablet", "flag", attributes.device_is_tablet, "Kind of device"),
    _attribute("credit_limit", "currency", attributes.credit_limit, "What another lender trusts them with"),
    _attribute("credit_utilization", "share", attributes.credit_utilization, "How much of it is used"),
    _attribute("credit_is_stretched", "flag", attributes.credit_is_stretched, "Utilisation is reported only when high"),
    _attribute("amount_to_credit_limit", "ratio", attributes.amount_to_credit_limit, "This purchase to that limit"),
    # The way to the checkout
    _attribute("purchase_context_rank", "rank", attributes.purchase_context, "Planned, on impulse, or in a rush"),
    _attribute("checkout_speed_rank", "rank", attributes.checkout_speed, "Haste goes with regret and with fraud"),
    _attribute("cart_abandonment_count", "carts", attributes.cart_abandonment, "Hesitation before the purchase"),
    _attribute("price_comparison_seconds", "seconds", attributes.price_comparison, "Care taken over the price"),
    _attribute("time_on_site_seconds", "seconds", attributes.time_on_site, "Care taken over the choice"),
    # The customer's own past
    *_windows("purchases", "purchases", rolling.count, "Velocity: a burst of buying precedes abuse"),
    *_windows("amount_sum", "currency", rolling.amount_sum, "How much was bought, in this currency"),
    *_windows("amount_mean", "currency", rolling.amount_mean, "What is usual for this customer"),
    *_windows("amount_max", "currency", rolling.amount_max, "The largest of late"),
    *_windows("amount_std", "currency", rolling.amount_std, "How steady the amounts are (population)"),
    *_windows("devices", "devices", rolling.devices, "An account that is passed around"),
    *_windows("categories", "categories", rolling.categories, "Breadth of what is bought"),
    *_windows("payment_methods", "methods", rolling.payment_methods, "Cards being tried out"),
    _past("night_share_30d", "share", rolling.night_share_30d, "A habit of buying at night"),
    _past("seconds_since_last_purchase", "seconds", rolling.seconds_since_last, "Bursts, down to the second"),
    _past("amount_to_mean_30d", "ratio", rolling.amount_to_mean_30d, "Out of this customer's own line", compares=True),
    _past("open_exposure", "currency", rolling.open_exposure, "Instalments of earlier purchases not yet due"),
    _past("defaults_known", "loans", rolling.defaults_known, "Did not repay before"),
    _past("on_time_known", "loans", rolling.on_time_known, "Repaid before"),
    _past("default_share_known", "share", rolling.default_share_known, "Share of finished loans that failed"),
)

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)

MODEL_FEATURES: tuple[str, ...] = FEATURE_NAMES
"""All of them: prohibited bases (age bracket, state) are not declared as features at all."""


def _version() -> str:
    text = "\n".join(f"{feature.name}|{feature.unit}|{feature.rolling}" for feature in FEATURES)
    return f"{REVISION}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


FEATURE_SET_VERSION = _version()
