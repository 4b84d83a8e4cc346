"""The same features in pandas: purchases grouped by customer, a function applied to each group.

As an analyst writes it: what the purchase itself says column by column, what lies before it by a slice of the group for
each window. Purchases have to be in the order of time, all in one currency, and without outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from shared.contracts import enumerations
from shared.feature_definitions import FEATURE_NAMES
from shared.feature_definitions.replay import LoggedPurchase
from shared.feature_definitions.state import terms_of
from shared.feature_definitions.totals import DISTINCT_CAP
from shared.feature_definitions.windows import MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_SECOND, NIGHT_HOURS, WINDOWS

RANKED = {
    "credit_score_rank": ("customer", "credit_score_range"),
    "verification_rank": ("customer", "verification_level"),
    "income_rank": ("customer", "income_bracket"),
    "address_stability_rank": ("customer", "address_stability"),
    "product_risk_rank": ("product", "risk_category"),
    "purchase_context_rank": ("checkout", "purchase_context"),
    "checkout_speed_rank": ("checkout", "checkout_speed"),
}
COPIED = {
    "tenure_days": "customer.tenure_days",
    "product_bnpl_eligible": "product.bnpl_eligible",
    "device_trusted": "device.is_trusted",
    "credit_limit": "payment.credit_limit",
    "credit_utilization": "payment.credit_utilization",
    "cart_abandonment_count": "checkout.cart_abandonment_count",
    "price_comparison_seconds": "checkout.price_comparison_time",
    "time_on_site_seconds": "checkout.time_on_site_seconds",
}
BLOCKS = ("installments", "customer", "product", "device", "payment", "checkout")


def frame_of(purchases: Sequence[LoggedPurchase]) -> pd.DataFrame:
    """One row for each purchase: `block.field` for every field, and what the decoder has made of it."""
    rows = []
    for purchase in purchases:
        accepted = purchase.accepted
        transaction = accepted.transaction
        count, period = terms_of(transaction)
        row: dict[str, Any] = {
            "event_id": transaction.event_id,
            "customer_id": transaction.customer_id,
            "t_us": accepted.occurred_us,
            "amount": transaction.amount,
            "minor": accepted.amount_minor,
            "instalments": count,
            "period_days": period,
        }
        for name in BLOCKS:
            block = getattr(transaction, name)
            row |= {f"{name}.{field}": getattr(block, field) for field in block.__struct_fields__}
        rows.append(row)
    return pd.DataFrame(rows)


def features_of_everybody(frame: pd.DataFrame) -> pd.DataFrame:
    """A row of features for each purchase, by `event_id`; nothing known is NaN."""
    features = _of_the_purchase(frame)
    whole = pd.concat([features, frame], axis=1).loc[:, lambda both: ~both.columns.duplicated()]
    past = whole.groupby("customer_id", sort=False, group_keys=False)[whole.columns.tolist()].apply(_of_the_past)
    made = pd.concat([whole, past], axis=1).set_index("event_id")
    return made[list(FEATURE_NAMES)].astype(float)


def _of_the_purchase(frame: pd.DataFrame) -> pd.DataFrame:
    made = pd.DataFrame(index=frame.index)
    for name, (block, field) in RANKED.items():
        ranks = {value: rank for rank, value in enumerate(enumerations.VALUES[block, field])}
        made[name] = frame[f"{block}.{field}"].map(ranks)
    for name, column in COPIED.items():
        made[name] = frame[column].astype(float)
    made["amount"] = frame["amount"]
    made["installment_count"] = frame["installments.count"]
    made["first_payment_share"] = frame["installments.first_payment_amount"] / frame["amount"]
    made["is_night"] = (frame["t_us"] // MICROS_PER_HOUR % 24).isin(NIGHT_HOURS)
    made["device_is_mobile"] = frame["device.type"] == "mobile"
    made["device_is_tablet"] = frame["device.type"] == "tablet"
    made["credit_is_stretched"] = frame["payment.credit_utilization"].notna()
    made["amount_to_credit_limit"] = frame["amount"] / frame["payment.credit_limit"]
    made["defaults_known"] = made["on_time_known"] = 0.0
    made["default_share_known"] = np.nan
    return made


def _of_the_past(group: pd.DataFrame) -> pd.DataFrame:
    """`group`: one customer's purchases."""
    t_us = group["t_us"].to_numpy()
    firsts = {
        window.label: t_us.searchsorted((t_us - window.length_us) // window.hop_us * window.hop_us)
        for window in WINDOWS
    }
    days = group["t_us"] // MICROS_PER_DAY
    rows = [
        {
            **{
                name: value
                for label, first in firsts.items()
                for name, value in _window(group.iloc[first[i] : i], label).items()
            },
            "seconds_since_last_purchase": (t_us[i] - t_us[i - 1]) / MICROS_PER_SECOND if i else np.nan,
            "open_exposure": _exposure(group.iloc[:i], days.iloc[:i], days.iloc[i]),
        }
        for i in range(len(group))
    ]
    made = pd.DataFrame(rows, index=group.index)
    made["amount_to_mean_30d"] = group["amount"] / made["amount_mean_30d"]
    return made


def _window(past: pd.DataFrame, label: str) -> dict[str, float]:
    minor = past["minor"]
    made = {
        f"purchases_{label}": len(past),
        f"amount_sum_{label}": minor.sum() / 100,
        f"amount_mean_{label}": minor.mean() / 100,
        f"amount_max_{label}": minor.max() / 100,
        f"amount_std_{label}": minor.std(ddof=0) / 100,
        f"devices_{label}": min(past["device.id"].nunique(), DISTINCT_CAP),
        f"categories_{label}": past["product.category"].nunique(),
        f"payment_methods_{label}": min(past["payment.method_id"].nunique(), DISTINCT_CAP),
    }
    if label == WINDOWS[-1].label:
        made[f"night_share_{label}"] = past["is_night"].mean()
    return made


def _exposure(past: pd.DataFrame, days: pd.Series, today: int) -> float:
    """Of instalments that fall due later than today, in whole cents until the last step."""
    part = past["minor"] // past["instalments"]
    left = past["instalments"] - ((today - days) // past["period_days"]).clip(upper=past["instalments"])
    rest = past["minor"] - part * past["instalments"]
    return float((part * left + rest.where(left > 0, 0)).sum()) / 100
