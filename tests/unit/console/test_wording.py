from __future__ import annotations

import pytest

from services.console.wording import verdict_taken

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
