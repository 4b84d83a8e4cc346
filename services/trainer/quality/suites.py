"""What is expected of each frame. Declared once: the checks, the pages and the tests all read it from here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.row_conditions import Column

from services.trainer.gates.leakage import MOST_TOLD_BY_ONE
from services.trainer.quality.frames import CATEGORIES, EARLY_FOR_ITS_VOLUME, MUCH_FOR_ITS_VOLUME
from shared.contracts import money
from shared.contracts.enumerations import STATUSES, UNKNOWN
from shared.contracts.transactions import MAX_INSTALLMENTS
from shared.feature_definitions.state import PERIOD_DAYS

MOST_ODD_DAYS = 0.05
"""Of those that are learnt from. A day on which hardly anything was lent (Redis was away, a holiday) teaches little,
and nothing wrong; many of them are a feed that is broken."""
LEAST_KNOWN_SHARE = 0.99
MOST_UNKNOWN_SHARE = 0.05
"""Of a category: a new one comes slowly, a broken feed at once."""
LEAST_DEFAULT_RATE, MOST_DEFAULT_RATE = 0.002, 0.4
LONGEST_PLAN_DAYS = MAX_INSTALLMENTS * max(PERIOD_DAYS.values())


@dataclass(frozen=True, slots=True)
class Declared:
    """What the suites have to know of the code that they check for."""

    feature_names: Sequence[str]
    shares: Sequence[str]
    """Features that lie between 0 and 1."""
    never_negative: Sequence[str]


def suites(declared: Declared) -> dict[str, list[Expectation]]:
    """By the name of the frame that each is about."""
    return {
        "transactions": list(_transactions()),
        "repeated_transactions": [
            gxe.ExpectColumnValuesToBeBetween(column="bodies", min_value=1, max_value=1),
        ],
        "transactions_by_day": list(_volume()),
        "outcomes": list(_outcomes()),
        "features": list(_features(declared)),
        "training_examples": list(_examples()),
        "training_columns": [
            # Neither a label, nor anything that a decision or a repayment has written, nor less than was declared.
            gxe.ExpectTableColumnsToMatchSet(column_set=sorted(declared.feature_names), exact_match=True),
        ],
        "training_examples_by_day": list(_volume(mostly=1 - MOST_ODD_DAYS)),
        "training_leakage": [
            gxe.ExpectColumnValuesToBeBetween(column="auc", max_value=MOST_TOLD_BY_ONE),
        ],
    }


def _transactions() -> Iterable[Expectation]:
    yield gxe.ExpectTableRowCountToBeBetween(min_value=1)
    for name in ("event_id", "customer_id", "occurred_at", "amount", "currency", "status"):
        yield gxe.ExpectColumnValuesToNotBeNull(column=name, mostly=1.0 if name != "customer_id" else 0.5)
    # Of whom is erased nothing is left that tells of him.
    yield gxe.ExpectColumnValuesToNotBeNull(column="fingerprint", row_condition=Column("customer_id").is_not_null())
    yield gxe.ExpectColumnValueLengthsToBeBetween(column="event_id", min_value=1, max_value=128)
    yield gxe.ExpectColumnProportionOfUniqueValuesToBeBetween(column="event_id", min_value=0.9)
    yield gxe.ExpectColumnValuesToBeBetween(column="amount", min_value=0)
    yield gxe.ExpectColumnMeanToBeBetween(column="amount", min_value=1)
    yield gxe.ExpectColumnValuesToBeInSet(column="currency", value_set=sorted(money.MINOR_DIGITS))
    yield gxe.ExpectColumnValuesToBeInSet(column="status", value_set=sorted(STATUSES))
    yield gxe.ExpectColumnValuesToBeBetween(column="installments_count", min_value=1, max_value=MAX_INSTALLMENTS)
    yield gxe.ExpectColumnValuesToBeBetween(column="customer_tenure_days", min_value=0)
    yield gxe.ExpectColumnValuesToBeBetween(column="payment_credit_limit", min_value=0)
    for name, values in CATEGORIES.items():
        yield gxe.ExpectColumnValuesToBeInSet(column=name, value_set=[*values, UNKNOWN])
        yield gxe.ExpectColumnValuesToNotBeInSet(column=name, value_set=[UNKNOWN], mostly=1 - MOST_UNKNOWN_SHARE)


def _volume(mostly: float = 1.0) -> Iterable[Expectation]:
    yield gxe.ExpectColumnValuesToBeUnique(column="day")
    yield gxe.ExpectColumnValuesToBeBetween(
        column="share_of_median", min_value=EARLY_FOR_ITS_VOLUME, max_value=MUCH_FOR_ITS_VOLUME, mostly=mostly
    )


def _outcomes() -> Iterable[Expectation]:
    yield gxe.ExpectTableRowCountToBeBetween(min_value=1)
    # Two customers' purchases may come under one event id, each with an outcome of its own.
    yield gxe.ExpectCompoundColumnsToBeUnique(column_list=["event_id", "home"])
    yield gxe.ExpectColumnValuesToNotBeNull(column="defaulted")
    yield gxe.ExpectColumnValuesToBeInSet(column="has_purchase", value_set=[True], mostly=LEAST_KNOWN_SHARE)
    yield gxe.ExpectColumnValuesToBeBetween(column="days_after", min_value=0, max_value=5 * 366)
    yield gxe.ExpectColumnValuesToBeBetween(column="days_to_first_missed_payment", min_value=0, max_value=5 * 366)
    # A default says when, a good loan has nothing to say; the contract allows either to be missing.
    for defaulted, when in ((True, gxe.ExpectColumnValuesToNotBeNull), (False, gxe.ExpectColumnValuesToBeNull)):
        of_these = Column("defaulted") == defaulted
        yield when(column="days_to_first_missed_payment", row_condition=of_these, mostly=LEAST_KNOWN_SHARE)


def _features(declared: Declared) -> Iterable[Expectation]:
    yield gxe.ExpectTableRowCountToBeBetween(min_value=1)
    about = ("event_id", "occurred_at", "feature_set_version", "feature_hash", "state")
    yield gxe.ExpectTableColumnsToMatchSet(column_set=sorted({*about, *declared.feature_names}), exact_match=True)
    yield gxe.ExpectColumnValuesToMatchRegex(column="feature_hash", regex="^[0-9a-f]{64}$")
    yield gxe.ExpectColumnValuesToBeInSet(column="state", value_set=["fresh"], mostly=LEAST_KNOWN_SHARE)
    yield gxe.ExpectColumnValuesToNotBeNull(column="amount")
    for name in declared.shares:
        yield gxe.ExpectColumnValuesToBeBetween(column=name, min_value=0, max_value=1)
    for name in declared.never_negative:
        yield gxe.ExpectColumnValuesToBeBetween(column=name, min_value=0)
    # Unknown only to those who come too late to be answered exactly.
    yield gxe.ExpectColumnValuesToNotBeNull(column="purchases_30d", mostly=LEAST_KNOWN_SHARE)


def _examples() -> Iterable[Expectation]:
    yield gxe.ExpectTableRowCountToBeBetween(min_value=1)
    yield gxe.ExpectColumnValuesToBeUnique(column="event_id")
    yield gxe.ExpectColumnValuesToBeInSet(column="label", value_set=[0, 1])
    yield gxe.ExpectColumnMeanToBeBetween(column="label", min_value=LEAST_DEFAULT_RATE, max_value=MOST_DEFAULT_RATE)
    yield gxe.ExpectColumnValuesToBeBetween(column="weight", min_value=1)
    # Before that, defaults show and good loans don't.
    yield gxe.ExpectColumnValuesToBeBetween(column="days_mature", min_value=0)
    yield gxe.ExpectColumnValuesToBeBetween(column="days_to_mature", min_value=1, max_value=LONGEST_PLAN_DAYS)
