from __future__ import annotations

import re

import pytest

from shared.feature_definitions import MODEL_FEATURES
from shared.policy import FEATURE_REASONS, feature_reason
from shared.policy.reasons import PolicyReason

SENTENCE = re.compile(r"[A-Z0-9].*\.")
VALUES = (0.0, 1.0, 2.0, 7.5, 90_061.0)


def test_every_feature_of_a_model_has_its_sentences_and_nothing_else_has() -> None:
    assert set(FEATURE_REASONS) == set(MODEL_FEATURES)


@pytest.mark.parametrize("name", MODEL_FEATURES)
def test_a_reason_is_a_sentence_whatever_the_value(name: str) -> None:
    texts = [feature_reason(name, value, "USD") for value in (*VALUES, None)]
    for reason in texts:
        assert reason.code == name
        assert SENTENCE.fullmatch(reason.text)
        assert not re.search(r"[{}_]|\bnan\b|None", reason.text)
    assert texts[-1].text not in {reason.text for reason in texts[:-1]}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("amount", 393.4, "The purchase amounts to 393.40 EUR."),
        ("tenure_days", 1.0, "The account has existed for 1 day."),
        ("credit_score_rank", 1.0, "The credit score range is fair."),
        ("checkout_speed_rank", 3.0, "The checkout was very fast."),
        ("seconds_since_last_purchase", 7300.0, "The last purchase was 2 hours ago."),
        ("device_trusted", 0.0, "The device is not trusted."),
        ("purchases_24h", 5.0, "The customer asked for 5 purchases in the last 24 hours."),
        ("credit_utilization", None, "The use of the credit limit is not reported."),
    ],
)
def test_sentences_read_as_people_speak(name: str, value: float | None, text: str) -> None:
    assert feature_reason(name, value, "EUR").text == text


def test_policy_reasons_have_codes_that_no_feature_has() -> None:
    codes = [reason.reason.code for reason in PolicyReason]
    assert len(set(codes)) == len(codes)
    assert not set(codes) & set(MODEL_FEATURES)
    assert all(SENTENCE.fullmatch(reason.reason.text) for reason in PolicyReason)
