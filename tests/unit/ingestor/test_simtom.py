from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import orjson
import pytest

from services.ingestor.simtom import (
    CustomerScope,
    Labels,
    Run,
    outcome_of,
    scoped_customer,
    transaction_document,
)
from shared.contracts.events import Transaction
from shared.contracts.rejections import Rejection, RejectionReason
from shared.contracts.transactions import AcceptedTransaction, Door, Limits, decode_transaction
from tests.unit.ingestor import recorded

RUN = Run.history("bnpl", date(2026, 6, 1), 20_260_601)

FLAT: dict[str, Any] = {
    "transaction_id": "txn_00000000", "customer_id": "cust_000001", "product_id": "prod_004411",
    "device_id": "cust_000001_device_1", "payment_method_id": "cust_000001_pm_3", "amount": 67.51, "currency": "USD",
    "status": "completed", "purchase_context": "impulse", "risk_scenario": "impulse_purchase", "risk_score": 0.35,
    "risk_level": "medium", "installment_count": 4, "first_payment_amount": 16.88, "payment_frequency": "bi_weekly",
    "checkout_speed": "fast", "cart_abandonment_count": 0, "price_comparison_time": 40, "time_on_site_seconds": 269,
    "economic_stress_factor": 0.0, "will_default": False, "days_to_first_missed_payment": None,
    "customer_age_bracket": "55+", "customer_tenure_days": 559, "customer_income_bracket": "50k-75k",
    "customer_credit_score_range": "fair", "customer_verification_level": "verified",
    "customer_address_stability": "stable", "customer_state": "VI", "product_category": "electronics",
    "product_subcategory": "tablets", "product_brand": "Sephora", "product_price": 67.51, "product_bnpl_eligible": True,
    "product_risk_category": "medium", "device_type": "mobile", "device_os": "Android", "device_is_trusted": True,
    "payment_provider": "afterpay", "payment_type": "bnpl_account", "payment_credit_limit": 500,
    "_timestamp": "2026-06-01T00:06:06", "_record_id": 0, "_generator": "BNPLGenerator",
}  # fmt: skip
"""The first event of the run, clean: what the first of the recorded outliers was before its noise."""

DOCUMENT: dict[str, Any] = {
    "event_id": "67fe8419dece07edb7241636fe5e7b39", "source": "simtom/bnpl/2026-06-01.20260601",
    "transaction_id": "txn_00000000", "customer_id": "cust_000001-f6e48da5",
    "occurred_at": "2026-06-01T00:06:06.000000Z", "amount": 67.51, "currency": "USD", "status": "completed",
    "installments": {"count": 4, "first_payment_amount": 16.88, "frequency": "bi_weekly"},
    "customer": {"age_bracket": "55+", "tenure_days": 384, "income_bracket": "50k-75k", "credit_score_range": "fair",
                 "verification_level": "verified", "address_stability": "stable", "state": "VI"},
    "product": {"id": "prod_004411", "category": "electronics", "subcategory": "tablets", "brand": "Sephora",
                "price": 67.51, "bnpl_eligible": True, "risk_category": "medium"},
    "device": {"id": "cust_000001_device_1", "type": "mobile", "os": "Android", "is_trusted": True},
    "payment": {"method_id": "cust_000001_pm_3", "provider": "afterpay", "type": "bnpl_account", "credit_limit": 500,
                "credit_utilization": None},
    "checkout": {"purchase_context": "impulse", "checkout_speed": "fast", "cart_abandonment_count": 0,
                 "price_comparison_time": 40, "time_on_site_seconds": 269, "economic_stress_factor": 0.0},
    "source_scores": {"risk_score": 0.35, "risk_level": "medium", "risk_scenario": "impulse_purchase"},
}  # fmt: skip
"""What the documentation of the topic shows for that event."""


def mapped(
    changes: dict[str, Any] | None = None,
    *,
    without: str | None = None,
    scope: CustomerScope = "profile",
    server_day: date = recorded.RECORDED_ON,
    run: Run = RUN,
) -> tuple[dict[str, Any], Labels]:
    flat = {name: value for name, value in {**FLAT, **(changes or {})}.items() if name != without}
    return transaction_document(flat, run=run, scope=scope, server_day=server_day)


def accepted(changes: dict[str, Any] | None = None) -> tuple[AcceptedTransaction, Labels]:
    document, labels = mapped(changes)
    raw = orjson.dumps(document)
    return decode_transaction(raw, door=Door.TOPIC, received_us=recorded.RECORDED_US, limits=Limits()), labels


def observed_at(changes: dict[str, Any]) -> str | None:
    transaction, labels = accepted(changes)
    outcome = outcome_of(transaction.transaction, transaction.occurred_us, labels)
    return None if outcome is None else outcome.observed_at


def test_the_documented_example_comes_out_field_by_field_and_in_its_order() -> None:
    document, _ = mapped()
    assert orjson.dumps(document) == orjson.dumps(DOCUMENT)


def test_the_shared_decoder_finds_the_same_event_id() -> None:
    document, _ = mapped()
    del document["event_id"]
    raw = orjson.dumps(document)
    decoded = decode_transaction(raw, door=Door.TOPIC, received_us=recorded.RECORDED_US, limits=Limits())
    assert decoded.transaction.event_id == DOCUMENT["event_id"]


def test_no_label_stays_in_the_document() -> None:
    document, labels = mapped({"will_default": True, "days_to_first_missed_payment": 28})
    assert b"default" not in orjson.dumps(document)
    assert b"missed" not in orjson.dumps(document)
    assert (labels.defaulted, labels.days) == (True, 28)


@pytest.mark.parametrize(
    ("scope", "customer"),
    [("profile", "cust_000001-f6e48da5"), ("run", "cust_000001-"), ("source", "cust_000001")],
)
def test_the_customer_scope_decides_the_id(scope: CustomerScope, customer: str) -> None:
    assert scoped_customer(FLAT, run=RUN, scope=scope).startswith(customer)
    assert (scoped_customer(FLAT, run=RUN, scope=scope) == "cust_000001") == (scope == "source")


PROFILE = ("customer_age_bracket", "customer_credit_score_range", "customer_income_bracket", "customer_state",
           "customer_verification_level", "customer_address_stability")  # fmt: skip


@pytest.mark.parametrize("field", PROFILE)
def test_another_profile_is_another_person_only_in_the_profile_scope(field: str) -> None:
    other = {**FLAT, field: "else"}
    assert scoped_customer(other, run=RUN, scope="profile") != scoped_customer(FLAT, run=RUN, scope="profile")
    assert scoped_customer(other, run=RUN, scope="run") == scoped_customer(FLAT, run=RUN, scope="run")


def test_another_run_is_another_person_except_in_the_source_scope() -> None:
    other = Run.history("bnpl", date(2026, 6, 1), 7)
    assert scoped_customer(FLAT, run=other, scope="profile") != scoped_customer(FLAT, run=RUN, scope="profile")
    assert scoped_customer(FLAT, run=other, scope="run") != scoped_customer(FLAT, run=RUN, scope="run")
    assert scoped_customer(FLAT, run=other, scope="source") == scoped_customer(FLAT, run=RUN, scope="source")


@pytest.mark.parametrize("customer", [None, 17, "", "  "])
def test_what_is_no_customer_id_is_left_for_the_decoder_to_refuse(customer: object) -> None:
    assert scoped_customer({**FLAT, "customer_id": customer}, run=RUN, scope="profile") == customer


def test_the_tenure_is_the_same_on_whatever_day_the_source_is_asked() -> None:
    today, _ = mapped()
    later, _ = mapped({"customer_tenure_days": 559 + 40}, server_day=date(2027, 1, 2))
    assert today == later


@pytest.mark.parametrize(
    ("tenure", "days"), [(175, 0), (174, 0), (3, 0), (176, 1), (570.78, 570.78), (True, True), ("9", "9")]
)
def test_a_tenure_before_the_first_day_is_zero_and_what_is_no_tenure_stays_as_it_is(tenure: Any, days: Any) -> None:
    document, _ = mapped({"customer_tenure_days": tenure})
    assert document["customer"]["tenure_days"] == days


@pytest.mark.parametrize(
    ("timestamp", "occurred_at"),
    [
        ("2026-06-01T00:06:06", "2026-06-01T00:06:06.000000Z"),
        ("2026-11-23T07:20:33.480116", "2026-11-23T07:20:33.480116Z"),
        ("2026-06-01T00:06:06Z", "2026-06-01T00:06:06.000000Z"),
        ("2026-06-01T02:06:06+02:00", "2026-06-01T00:06:06.000000Z"),
        ("2026-05-31T19:06:06-05:00", "2026-06-01T00:06:06.000000Z"),
    ],
)
def test_a_time_without_a_zone_means_utc_and_one_with_a_zone_means_what_it_says(
    timestamp: str, occurred_at: str
) -> None:
    document, _ = mapped({"_timestamp": timestamp})
    assert document["occurred_at"] == occurred_at


@pytest.mark.parametrize("timestamp", ["2026-02-30T00:00:00", "yesterday", "0001-01-01T00:00:00"])
def test_a_time_that_does_not_exist_is_refused(timestamp: str) -> None:
    with pytest.raises(Rejection) as refusal:
        mapped({"_timestamp": timestamp})
    assert refusal.value.reason is RejectionReason.DATE


def test_an_unknown_field_is_kept_and_never_taken_for_one_of_ours() -> None:
    document, _ = mapped({"loyalty_tier": "gold", "event_id": "forged", "customer": "x"})
    assert document["loyalty_tier"] == "gold"
    assert document["source_event_id"] == "forged"
    assert document["source_customer"] == "x"
    assert document["event_id"] == DOCUMENT["event_id"]


def test_a_missing_field_is_absent_and_an_empty_block_too() -> None:
    flat = {name: FLAT[name] for name in ("transaction_id", "customer_id", "amount", "currency", "_timestamp")}
    document, labels = transaction_document(flat, run=RUN, scope="source", server_day=recorded.RECORDED_ON)
    assert document.keys() == {
        "event_id", "source", "transaction_id", "customer_id", "occurred_at", "amount", "currency",
    }  # fmt: skip
    assert not labels.present


def test_a_good_loan_is_known_after_two_weeks_for_each_instalment() -> None:
    assert observed_at({"installment_count": 4}) == "2026-07-27T00:06:06.000000Z"
    assert observed_at({"installment_count": 6}) == "2026-08-24T00:06:06.000000Z"


def test_a_default_is_known_on_the_day_of_the_missed_payment() -> None:
    assert observed_at({"will_default": True, "days_to_first_missed_payment": 28}) == "2026-06-29T00:06:06.000000Z"


@pytest.mark.parametrize(
    ("defaulted", "days", "reason"),
    [
        (0.0, None, RejectionReason.TYPE),
        (1, 14, RejectionReason.TYPE),
        (None, None, RejectionReason.TYPE),
        ("true", 14, RejectionReason.TYPE),
        (True, None, RejectionReason.MISSING),
        (True, 14.0, RejectionReason.TYPE),
        (True, True, RejectionReason.TYPE),
        (True, -1, RejectionReason.RANGE),
        (False, 14, RejectionReason.TYPE),
    ],
)
def test_labels_in_disorder_are_refused(defaulted: object, days: object, reason: RejectionReason) -> None:
    with pytest.raises(Rejection) as refusal:
        observed_at({"will_default": defaulted, "days_to_first_missed_payment": days})
    assert refusal.value.reason is reason


def test_a_good_loan_without_its_instalments_has_no_end_and_is_refused() -> None:
    transaction, labels = accepted()
    bare = Transaction(event_id="e", source="s", transaction_id="t", customer_id="c",
                       occurred_at="2026-06-01T00:06:06.000000Z", amount=1.0, currency="USD")  # fmt: skip
    with pytest.raises(Rejection) as refusal:
        outcome_of(bare, transaction.occurred_us, labels)
    assert refusal.value.reason is RejectionReason.MISSING


def test_an_event_without_labels_has_no_outcome() -> None:
    flat = {name: value for name, value in FLAT.items() if name not in ("will_default", "days_to_first_missed_payment")}
    _, labels = transaction_document(flat, run=RUN, scope="profile", server_day=recorded.RECORDED_ON)
    transaction, _ = accepted()
    assert outcome_of(transaction.transaction, transaction.occurred_us, labels) is None


def test_a_run_is_read_back_from_its_source() -> None:
    live = Run.live("bnpl_history", datetime(2026, 11, 23, 7, 20, 33, tzinfo=UTC))
    assert live.source == "simtom/bnpl_history/live.20261123T072033Z"
    assert Run.of_source(live.source) == live
    assert Run.of_source(RUN.source) == RUN


@pytest.mark.parametrize("source", ["producer", "simtom/bnpl", "simtom//x", "simtom/bnpl/", "other/bnpl/x", ""])
def test_a_source_of_somebody_else_is_no_run(source: str) -> None:
    assert Run.of_source(source) is None


@pytest.mark.parametrize("days", [-1, 1831, 3_000_000, 10**12])
def test_days_that_no_plan_lasts_are_refused(days: int) -> None:
    document, labels = mapped({"will_default": True, "days_to_first_missed_payment": days})
    raw = orjson.dumps(document)
    decoded = decode_transaction(raw, door=Door.TOPIC, received_us=recorded.RECORDED_US, limits=Limits())
    with pytest.raises(Rejection, match="range"):
        outcome_of(decoded.transaction, decoded.occurred_us, labels)
