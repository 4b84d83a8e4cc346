"""A logged decision as a row tells of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from shared.contracts.events import Verdict
from shared.policy import Circumstances
from shared.policy.reasons import PolicyReason
from shared.warehouse.accepted import TRANSACTION_COLUMNS
from shared.warehouse.logged import logged_case

PURCHASE = {
    "event_id": "e", "source": "s", "transaction_id": "t", "customer_id": "c", "currency": "USD", "status": "completed",
    "amount": Decimal("9.90"), "occurred_at": datetime(2026, 6, 1, tzinfo=UTC), "installments_count": 4,
}  # fmt: skip
DECIDED = {
    "decision": "review", "probability_of_default": 0.1, "degraded": None, "defaulted": None,
    "features": '{"amount": 9.9, "is_night": null}', "explored_under": None, "reasons": "[]",
    "reviewed": None, "cancelled": False,
}  # fmt: skip


def row(**changes: Any) -> dict[str, Any]:
    return dict.fromkeys(TRANSACTION_COLUMNS) | PURCHASE | DECIDED | changes


def test_a_row_is_the_purchase_with_what_was_decided() -> None:
    found = logged_case(row())
    assert (found.transaction.event_id, found.transaction.amount, found.decision) == ("e", 9.9, Verdict.REVIEW)
    assert found.features == {"amount": 9.9, "is_night": None}
    assert (found.probability, found.degraded, found.defaulted, found.explored_under) == (0.1, None, None, None)
    assert found.circumstances == Circumstances()


@pytest.mark.parametrize(
    ("reason", "circumstances"),
    [
        (PolicyReason.EXPOSURE_LIMIT, Circumstances(over_limit=True)),
        (PolicyReason.EXPLORATION, Circumstances(exploring=True)),
        (PolicyReason.DECLINE_RATE, Circumstances(declines_held=True)),
    ],
)
def test_its_reasons_tell_the_circumstances(reason: PolicyReason, circumstances: Circumstances) -> None:
    reasons = [{"code": "is_night", "text": "…"}, {"code": reason.reason.code, "text": "…"}]
    found = logged_case(row(reasons=json.dumps(reasons), explored_under="p"))
    assert (found.circumstances, found.explored_under) == (circumstances, "p")


def test_what_was_said_afterwards_stands_beside_the_decision() -> None:
    found = logged_case(row(reviewed="approve", cancelled=True))
    assert (found.decision, found.reviewed, found.cancelled) == (Verdict.REVIEW, Verdict.APPROVE, True)
    assert (logged_case(row()).reviewed, logged_case(row()).cancelled) == (None, False)


@pytest.mark.parametrize("nothing", [None, "null", "[]"])
def test_a_row_without_reasons_was_decided_in_no_special_circumstances(nothing: str | None) -> None:
    assert logged_case(row(reasons=nothing)).circumstances == Circumstances()
