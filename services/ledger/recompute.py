"""Features once more, written down from their definition as a person would: lists, filters and sums over the log.

Deliberately naive and independent of the code that serves: no tiles, no incremental state. Slow and easy to check.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

DAY = 86_400_000_000
MINUTE = 60_000_000
WINDOWS = {"1h": (60 * MINUTE, MINUTE), "24h": (DAY, 15 * MINUTE), "7d": (7 * DAY, 60 * MINUTE), "30d": (30 * DAY, DAY)}
"""Length and hop in microseconds."""

TOO_LATE_BEHIND = 48
REMEMBERED = 128
DISTINCT_CAP = 32
PERIODS = {"weekly": 7, "bi_weekly": 14, "monthly": 30}
DIGITS = {"JPY": 0, "KRW": 0, "KWD": 3}

RANKS: dict[str, tuple[str, str, list[str]]] = {
    "credit_score_rank": ("customer", "credit_score_range", ["poor", "fair", "good", "excellent"]),
    "verification_rank": ("customer", "verification_level", ["unverified", "partial", "verified"]),
    "income_rank": ("customer", "income_bracket", ["<25k", "25k-50k", "50k-75k", "75k-100k", "100k+"]),
    "address_stability_rank": ("customer", "address_stability", ["frequent_mover", "new", "stable"]),
    "product_risk_rank": ("product", "risk_category", ["low", "medium", "high"]),
    "purchase_context_rank": ("checkout", "purchase_context", ["normal", "impulse", "rushed"]),
    "checkout_speed_rank": ("checkout", "checkout_speed", ["slow", "normal", "fast", "very_fast"]),
}
FIELDS: dict[str, tuple[str, str]] = {
    "installment_count": ("installments", "count"),
    "tenure_days": ("customer", "tenure_days"),
    "product_bnpl_eligible": ("product", "bnpl_eligible"),
    "device_trusted": ("device", "is_trusted"),
    "credit_limit": ("payment", "credit_limit"),
    "credit_utilization": ("payment", "credit_utilization"),
    "cart_abandonment_count": ("checkout", "cart_abandonment_count"),
    "price_comparison_seconds": ("checkout", "price_comparison_time"),
    "time_on_site_seconds": ("checkout", "time_on_site_seconds"),
}
CATEGORIES = {"electronics", "clothing", "home", "beauty", "sports", "unknown"}


@dataclass(frozen=True, slots=True)
class Buy:
    """A purchase as the log holds it."""

    offset: int
    t: int
    minor: int
    currency: str
    device: str | None
    category: str | None
    method: str | None
    count: int
    period: int
    event_id: str


@dataclass(frozen=True, slots=True)
class Known:
    """An outcome as the log holds it."""

    offset: int
    event_id: str
    day: int
    defaulted: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """The purchase that features are of."""

    body: Mapping[str, Any]
    t: int
    """Microseconds since 1970."""
    attributes: Mapping[str, float | None]
    """The features that tell of itself alone."""


def subject_of(body: Mapping[str, Any], t: int) -> Subject:
    return Subject(body, t, attributes(body, t))


def minor_of(amount: float, currency: str) -> int:
    scale: int = 10 ** DIGITS.get(currency, 2)
    return round(amount * scale)


def amount_of(body: Mapping[str, Any]) -> float:
    """In whole minor units: what it has beyond them is rounding noise of up to a millionth, or it is refused."""
    scale: int = 10 ** DIGITS.get(body["currency"], 2)
    return minor_of(body["amount"], body["currency"]) / scale


def buy_of(offset: int, t: int, body: dict[str, Any], event_id: str) -> Buy:
    terms = body.get("installments") or {}
    category = (body.get("product") or {}).get("category")
    return Buy(
        offset=offset,
        t=t,
        minor=minor_of(body["amount"], body["currency"]),
        currency=body["currency"],
        device=(body.get("device") or {}).get("id"),
        category=category if category is None or category in CATEGORIES else "unknown",
        method=(body.get("payment") or {}).get("method_id"),
        count=terms.get("count") or 4,
        period=PERIODS.get(terms.get("frequency") or "bi_weekly", 14),
        event_id=event_id,
    )


def features(subject: Subject, earlier: list[Buy], outcomes: list[Known]) -> dict[str, float | None]:
    """Every feature of the purchase.

    `earlier`: the customer's other purchases at or below the vector's `as_of`, in log order, repeats left out.
    `outcomes`: the customer's outcomes at or below it, in log order, repeats included.
    """
    body, t, answers = subject.body, subject.t, dict(subject.attributes)
    times = sorted((buy.t for buy in earlier), reverse=True)
    if len(times) > TOO_LATE_BEHIND and t < times[TOO_LATE_BEHIND]:
        return answers | dict.fromkeys(_rolling({}, body, t, [], []), None)
    return answers | _rolling({}, body, t, [buy for buy in earlier if buy.t <= t], outcomes)


def attributes(body: Mapping[str, Any], t: int) -> dict[str, float | None]:
    """The features that tell of the purchase itself, made at `t`."""
    amount = amount_of(body)
    answers: dict[str, float | None] = {"amount": amount}
    answers["is_night"] = float((t % DAY) // (60 * MINUTE) < 6)
    for name, (block, field) in FIELDS.items():
        value = (body.get(block) or {}).get(field)
        answers[name] = None if value is None else float(value)
    for name, (block, field, values) in RANKS.items():
        value = (body.get(block) or {}).get(field)
        answers[name] = float(values.index(value)) if value in values else None
    first = (body.get("installments") or {}).get("first_payment_amount")
    share = math.inf if first is None or not amount else first / amount
    answers["first_payment_share"] = share if share < math.inf else None
    device = (body.get("device") or {}).get("type")
    for name, kind in (("device_is_mobile", "mobile"), ("device_is_tablet", "tablet")):
        answers[name] = float(device == kind) if device in {"mobile", "desktop", "tablet"} else None
    payment = body.get("payment")
    answers["credit_is_stretched"] = None if payment is None else float(payment.get("credit_utilization") is not None)
    limit = (payment or {}).get("credit_limit")
    answers["amount_to_credit_limit"] = amount / limit if limit and limit >= 0.01 else None
    return answers


def _rolling(
    answers: dict[str, float | None], body: Mapping[str, Any], t: int, past: list[Buy], outcomes: list[Known]
) -> dict[str, float | None]:
    currency = body["currency"]
    scale = 10 ** DIGITS.get(currency, 2)
    for label, (length, hop) in WINDOWS.items():
        left = (t - length) // hop * hop
        inside = [buy for buy in past if buy.t >= left]
        cents = [buy.minor for buy in inside if buy.currency == currency]
        answers[f"purchases_{label}"] = float(len(inside))
        answers[f"devices_{label}"] = _distinct([buy.device for buy in inside])
        answers[f"payment_methods_{label}"] = _distinct([buy.method for buy in inside])
        answers[f"categories_{label}"] = float(len({buy.category for buy in inside} - {None}))
        answers[f"amount_sum_{label}"] = sum(cents) / scale
        answers[f"amount_mean_{label}"] = sum(cents) / len(cents) / scale if cents else None
        answers[f"amount_max_{label}"] = max(cents) / scale if cents else None
        answers[f"amount_std_{label}"] = _deviation(cents) / scale if cents else None
        if label == "30d":
            nights = sum((buy.t % DAY) // (60 * MINUTE) < 6 for buy in inside)
            answers["night_share_30d"] = nights / len(inside) if inside else None
            mean = answers["amount_mean_30d"]
            answers["amount_to_mean_30d"] = amount_of(body) / mean if mean else None
    answers["seconds_since_last_purchase"] = (t - max(buy.t for buy in past)) / 1e6 if past else None
    answers["open_exposure"] = sum(_owed(buy, t // DAY) for buy in past if buy.currency == currency) / scale
    standing = _standing(outcomes)
    bad = sum(known.defaulted for known in standing if known.day < t // DAY)
    good = sum(not known.defaulted for known in standing if known.day < t // DAY)
    answers["defaults_known"], answers["on_time_known"] = float(bad), float(good)
    answers["default_share_known"] = bad / (bad + good) if bad + good else None
    return answers


def _deviation(cents: list[int]) -> float:
    n = len(cents)
    return math.sqrt(n * sum(x * x for x in cents) - sum(cents) ** 2) / n


def _distinct(ids: list[str | None]) -> float:
    # Told apart by 32-bit hashes: part of the definition, since that is what fits into a customer's state.
    return float(min(len({_short(name) for name in ids if name is not None}), DISTINCT_CAP))


@lru_cache(maxsize=65_536)
def _short(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=4).digest()


def _owed(buy: Buy, today: int) -> int:
    """Minor units of the instalments that fall due after `today`; the last one carries the remainder."""
    part = buy.minor // buy.count
    total = 0
    for k in range(1, buy.count + 1):
        if buy.t // DAY + k * buy.period > today:
            total += part if k < buy.count else buy.minor - part * (buy.count - 1)
    return total


def _standing(outcomes: list[Known]) -> list[Known]:
    """The outcome that counts for each purchase: the last one logged, unless 128 others were logged in between."""
    standing: list[Known] = []
    for known in outcomes:
        for former in standing[-REMEMBERED:]:
            if former.event_id == known.event_id:
                standing.remove(former)
                break
        standing.append(known)
    return standing


def differences(
    served: dict[str, float | None], recomputed: dict[str, float | None], *, same_set: bool = True
) -> list[str]:
    """Names of features that differ beyond the last digits of a double.

    `same_set`: whether what was served is of the feature set that is recomputed here. Of another one, that of a release
    before a feature was added, what both have is compared.
    """
    if served == recomputed:  # to the last bit, as nearly always
        return []
    return [
        name
        for name in sorted(served.keys() | recomputed.keys() if same_set else served.keys() & recomputed.keys())
        if name not in served or name not in recomputed or not _equal(served[name], recomputed[name])
    ]


def _equal(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
