"""The page about the year says what was found, that too which was not as asked for."""

from __future__ import annotations

from typing import Any

from tests.year.page import happened, page


def training(day: float, trigger: str, came: str, version: str | None = None) -> dict[str, Any]:
    return {"day": day, "trigger": trigger, "came": came, "version": version}


def found() -> dict[str, Any]:
    return {
        "plan": {"days": 365, "daily": 1500, "attributes_day": 130, "law_day": 170},
        "ledger_balanced": True,
        "alarms": {
            "attributes": {"day": 132.0, "after_days": 2.0, "after_purchases": 3000},
            "law": {"day": 230.0, "after_days": 60.0, "after_purchases": 90_000},
            "false": {"alarms": 0, "alarmed_days": 0, "a_month": 0.0, "stable_days": 72.0},
        },
        "estimates": [
            {"version": "aaaaaaaaaa", "from_day": 60.0, "to_day": 88.0, "rows": 9000, "defaults": 900, "auc": 0.6,
             "estimated_auc": 0.604, "error": 0.01, "stable": True},
        ],
        "windows": [
            {"from_day": 56, "to_day": 84, "purchases": 42_000, "auc": 0.59, "ceiling": 0.6, "gap": 0.01,
             "gap_error": 0.001, "said": 0.1, "came": 0.11},
        ],
        "last": {"gap": 0.0031, "gap_error": 0.0011},
        "trainings": [
            training(58, "schedule", "model", "aaaaaaaaaa"), training(140, "drift", "in vain"),
            training(150, "drift", "in vain"), training(250, "performance", "model", "bbbbbbbbbb"),
        ],
        "versions": [{"version": "bbbbbbbbbb"}],
        "steps": [{"day": 250.0, "version": "bbbbbbbbbb", "stage": "shadow", "by": "ladder", "reasons": []}],
    }  # fmt: skip


def test_what_happened_stands_in_its_order_and_trainings_in_vain_in_one_line() -> None:
    assert happened(found()) == [
        (58, "training (schedule): `aaaaaa`"),
        (130.0, "**the attributes change**"),
        (132.0, "drift is noticed"),
        (140, "2 trainings (drift) up to day 150: in vain"),
        (170.0, "**the law changes**"),
        (230.0, "the loss of performance is noticed"),
        (250, "training (performance): `bbbbbb`"),
        (250.0, "`bbbbbb`: shadow"),
    ]


def test_a_year_as_asked_for() -> None:
    climbed = [{"day": 260.0, "version": "bbbbbbbbbb", "stage": stage} for stage in ("canary", "probation")]
    text = page(found() | {"steps": found()["steps"] + climbed})
    assert "All as asked for." in text
    assert "| after 60.0 days, 90,000 purchases |" in text
    assert "0.0031 ± 0.0011" in text


def test_what_was_not_as_asked_for_is_said() -> None:
    text = page(found() | {"last": None})
    assert "All as asked for." not in text
    assert "at the end no model decides" in " ".join(text.split())
