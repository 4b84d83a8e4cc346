from __future__ import annotations

from decimal import Decimal

import pytest

from services.console.wording import money, verdict_taken

TAKEN = {"verdict": "decline", "actor": "anna"}


@pytest.mark.parametrize(
    ("taken", "told"),
    [
        (TAKEN | {"verdict": "approve", "adverse_action": None}, "Approved, as anna: recorded."),
        (TAKEN, "Declined, as anna: recorded."),
        (TAKEN | {"actor": "[anna](http://x)"}, "Declined, as \\[anna\\]\\(http\\:\u2060//x\\): recorded."),
        (TAKEN | {"verdict": "*later*"}, "\\*later\\*, as anna: recorded."),
        (
            TAKEN | {"adverse_action": {"principal_reasons": [{"text": "One."}, {"text": "Two."}]}},
            "Declined, as anna: recorded. The customer has to be told: One\\. Two\\.",
        ),
        (
            TAKEN | {"adverse_action": {"principal_reasons": []}},
            "Declined, as anna: recorded. The customer has to be told your reasons.",
        ),
    ],
)
def test_a_verdict_is_told_with_what_the_customer_has_to_be_told(taken: dict[str, object], told: str) -> None:
    assert verdict_taken(taken) == told


@pytest.mark.parametrize(
    ("amount", "currency", "told"),
    [
        (Decimal("1234.5"), "USD", "1,234.50 USD"),
        (Decimal("7.125"), "KWD", "7.125 KWD"),
        (Decimal("9800"), "JPY", "9,800 JPY"),
        (253.4, "JPY", "253 JPY"),
        (1.5, "XXX", "1.50 XXX"),
        (1.5, None, "1.50"),
        (None, "KWD", "–"),
    ],
)
def test_an_amount_has_the_digits_of_its_currency(
    amount: Decimal | float | None, currency: str | None, told: str
) -> None:
    assert money(amount, currency) == told
