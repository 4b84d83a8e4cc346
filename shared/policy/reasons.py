"""Why the risk is what it is: stable codes for machines, plain sentences for people.

A feature's code is its name. Its sentence states the value that raised the risk, in whichever direction it did; where
the value is absent and that raised the risk, another sentence says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from shared.contracts import enumerations
from shared.contracts.events import Reason

Wording = Callable[[float, str], str]
"""(value, currency) to a sentence."""


class PolicyReason(Enum):
    """Reasons of the policy itself. Those of its rules stand in the policy file."""

    FALLBACK_AMOUNT = (
        "policy_fallback_amount",
        "The purchase could not be scored, and its amount is above the limit for approval without a score.",
    )
    EVERYTHING = ("policy_everything", "For the time being no purchase is approved automatically.")
    EXPOSURE_LIMIT = (
        "policy_exposure_limit",
        "Together with the instalments that are still open the purchase is above the customer's limit.",
    )
    DECLINE_RATE = (
        "policy_decline_rate",
        "Unusually many purchases are being declined: a person looks at this one instead.",
    )
    APPROVED_VOLUME = (
        "policy_approved_volume",
        "More than usual has been approved lately: a person looks at this one first.",
    )
    EXPLORATION = (
        "policy_exploration",
        "Approved by chance, as one of a few, to learn from what is otherwise turned away.",
    )
    ESTIMATED_RISK = ("policy_estimated_risk", "The estimated loss is above the limit for approval.")

    reason: Reason

    def __init__(self, code: str, text: str) -> None:
        self.reason = Reason(code=code, text=text)


@dataclass(frozen=True, slots=True)
class FeatureReason:
    """The two sentences of one feature."""

    known: Wording
    unknown: str


def feature_reason(name: str, value: float | None, currency: str) -> Reason:
    """The reason that a feature's value raised the risk. KeyError for a feature without sentences."""
    wording = FEATURE_REASONS[name]
    return Reason(code=name, text=wording.unknown if value is None else wording.known(value, currency))


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.2f}"


def _counted(value: float, one: str, many: str) -> str:
    return f"{_number(value)} {one if value == 1 else many}"


def _duration(seconds: float) -> str:
    for length, one, many in ((86400, "day", "days"), (3600, "hour", "hours"), (60, "minute", "minutes")):
        if seconds >= length:
            return _counted(float(int(seconds // length)), one, many)
    return _counted(float(int(seconds)), "second", "seconds")


def _money(sentence: str) -> Wording:
    return lambda value, currency: sentence.format(f"{value:.2f} {currency}")


def _plain(sentence: str) -> Wording:
    return lambda value, _: sentence.format(_number(value))


def _share(sentence: str) -> Wording:
    return lambda value, _: sentence.format(f"{value:.0%}")


def _time(sentence: str) -> Wording:
    return lambda value, _: sentence.format(_duration(value))


def _amount_of(sentence: str, one: str, many: str) -> Wording:
    return lambda value, _: sentence.format(_counted(value, one, many))


def _flag(yes: str, no: str) -> Wording:
    return lambda value, _: yes if value else no


def _rank(sentence: str, block: str, field: str) -> Wording:
    names = enumerations.VALUES[block, field]

    def wording(value: float, _: str) -> str:
        rank = int(value)
        return sentence.format(names[rank].replace("_", " ") if 0 <= rank < len(names) else "unknown")

    return wording


FEATURE_REASONS: dict[str, FeatureReason] = {
    "amount": FeatureReason(_money("The purchase amounts to {}."), "The amount is not known."),
    "installment_count": FeatureReason(
        _amount_of("It is to be paid in {}.", "instalment", "instalments"), "The number of instalments is not known."
    ),
    "first_payment_share": FeatureReason(
        _share("The first payment covers {} of the amount."), "The first payment is not known."
    ),
    "is_night": FeatureReason(
        _flag(
            "The purchase was made between midnight and six, UTC.",
            "The purchase was made between six and midnight, UTC.",
        ),
        "The time of the purchase is not known.",
    ),
    "tenure_days": FeatureReason(
        _amount_of("The account has existed for {}.", "day", "days"), "The age of the account is not known."
    ),
    "credit_score_rank": FeatureReason(
        _rank("The credit score range is {}.", "customer", "credit_score_range"), "The credit score is not known."
    ),
    "verification_rank": FeatureReason(
        _rank("The customer's identity is {}.", "customer", "verification_level"),
        "It is not known how far the customer's identity was verified.",
    ),
    "income_rank": FeatureReason(
        _rank("The income bracket is {}.", "customer", "income_bracket"), "The income is not known."
    ),
    "address_stability_rank": FeatureReason(
        _rank("The stability of the address is: {}.", "customer", "address_stability"),
        "The stability of the address is not known.",
    ),
    "product_risk_rank": FeatureReason(
        _rank("The product's risk category is {}.", "product", "risk_category"),
        "The product's risk category is not known.",
    ),
    "product_bnpl_eligible": FeatureReason(
        _flag("The product is eligible for instalments.", "The product is not marked as eligible for instalments."),
        "It is not known whether the product is eligible for instalments.",
    ),
    "device_trusted": FeatureReason(
        _flag("The device is trusted.", "The device is not trusted."), "It is not known whether the device is trusted."
    ),
    "device_is_mobile": FeatureReason(
        _flag("The purchase was made on a mobile phone.", "The purchase was not made on a mobile phone."),
        "The kind of device is not known.",
    ),
    "device_is_tablet": FeatureReason(
        _flag("The purchase was made on a tablet.", "The purchase was not made on a tablet."),
        "The kind of device is not known.",
    ),
    "credit_limit": FeatureReason(
        _money("The credit limit of the payment method is {}."), "The credit limit of the payment method is not known."
    ),
    "credit_utilization": FeatureReason(
        _share("{} of the credit limit is in use."), "The use of the credit limit is not reported."
    ),
    "credit_is_stretched": FeatureReason(
        _flag("The credit line is reported as stretched.", "The credit line is not reported as stretched."),
        "Nothing is known of the payment method.",
    ),
    "amount_to_credit_limit": FeatureReason(
        _share("The purchase takes {} of the credit limit."), "The amount can't be compared with a credit limit."
    ),
    "purchase_context_rank": FeatureReason(
        _rank("The purchase looks {}.", "checkout", "purchase_context"), "The context of the purchase is not known."
    ),
    "checkout_speed_rank": FeatureReason(
        _rank("The checkout was {}.", "checkout", "checkout_speed"), "The speed of the checkout is not known."
    ),
    "cart_abandonment_count": FeatureReason(
        _amount_of("{} abandoned before this purchase.", "cart was", "carts were"),
        "It is not known how many carts were abandoned before.",
    ),
    "price_comparison_seconds": FeatureReason(
        _time("Prices were compared for {}."), "It is not known how long prices were compared."
    ),
    "time_on_site_seconds": FeatureReason(
        _time("The customer spent {} on the site."), "The time spent on the site is not known."
    ),
    "night_share_30d": FeatureReason(
        _share("{} of the purchases of the last 30 days were made between midnight and six, UTC."),
        "There are no purchases of the last 30 days to compare the hour with.",
    ),
    "seconds_since_last_purchase": FeatureReason(
        _time("The last purchase was {} ago."), "No earlier purchase is known."
    ),
    "amount_to_mean_30d": FeatureReason(
        _plain("The amount is {} times the customer's average of the last 30 days."),
        "There is no average of the last 30 days to compare the amount with.",
    ),
    # Features know what was asked for, and not what was approved: no debt may be told of that isn't one.
    "open_exposure": FeatureReason(
        _money("Open instalments of all purchases asked for, approved or not, add up to {}."),
        "It is not known what is still open.",
    ),
    "defaults_known": FeatureReason(
        _amount_of("{} of the customer defaulted before.", "purchase", "purchases"),
        "It is not known whether the customer defaulted before.",
    ),
    "on_time_known": FeatureReason(
        _amount_of("The customer is known to have repaid {}.", "purchase", "purchases"),
        "It is not known whether the customer repaid before.",
    ),
    "default_share_known": FeatureReason(
        _share("{} of the customer's finished purchases defaulted."),
        "No purchase of the customer has been repaid or has defaulted yet.",
    ),
}

_SPANS = {"1h": "hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
_BY_WINDOW: dict[str, tuple[Callable[[str], Wording], str]] = {
    "purchases": (
        lambda span: _amount_of(f"The customer asked for {{}} in the last {span}.", "purchase", "purchases"),
        "The purchases of the last {} are not known.",
    ),
    "amount_sum": (
        lambda span: _money(f"The purchases that the customer asked for in the last {span} add up to {{}}."),
        "The sum of the last {} is not known.",
    ),
    "amount_mean": (
        lambda span: _money(f"The customer's purchases of the last {span} average {{}}."),
        "There are no purchases of the last {} to take an average of.",
    ),
    "amount_max": (
        lambda span: _money(f"The customer's largest purchase of the last {span} was {{}}."),
        "There is no largest purchase of the last {}.",
    ),
    "amount_std": (
        lambda span: _money(f"The customer's amounts of the last {span} vary by {{}}."),
        "There are no purchases of the last {} to compare amounts of.",
    ),
    "devices": (
        lambda span: _amount_of(f"{{}} used in the last {span}.", "device was", "devices were"),
        "The devices of the last {} are not known.",
    ),
    "categories": (
        lambda span: _amount_of(
            f"The purchases of the last {span} were from {{}}.", "product category", "product categories"
        ),
        "The product categories of the last {} are not known.",
    ),
    "payment_methods": (
        lambda span: _amount_of(f"{{}} used in the last {span}.", "payment method was", "payment methods were"),
        "The payment methods of the last {} are not known.",
    ),
}
FEATURE_REASONS |= {
    f"{name}_{label}": FeatureReason(known(span), unknown.format(span))
    for name, (known, unknown) in _BY_WINDOW.items()
    for label, span in _SPANS.items()
}
