"""What the screens show, of rows alone."""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from services.console import charts, wording
from services.console.queries.query import Row
from services.console.registered import Description, Part
from services.console.views import audit, decision, drift, letters, live, models, review, what_if
from shared.contracts.events import Verdict
from shared.policy import load_policy
from shared.policy.backtest import KnownChances, LoggedCase
from shared.policy.economics import Economics
from shared.policy.exploration import exploration_of
from tests import factories
from tests.unit.policy.test_exploration import policy_with
from tests.unit.warehouse.test_logged import row as logged_row

NOW = datetime(2026, 6, 1, 12, 0, 7, tzinfo=UTC)


def mix_row(bucket: int, verdict: str, decisions: int, fallbacks: int = 0) -> Row:
    return {"bucket": bucket, "verdict": verdict, "decisions": decisions, "fallbacks": fallbacks}


def test_the_window_holds_whole_bars_and_this_moment() -> None:
    for span in live.SPANS:
        since, until = live.window(NOW, span)
        assert since < NOW < until
        assert until - since == timedelta(seconds=span.seconds)
        assert since.timestamp() % span.step_s == 0
        assert span.seconds % span.step_s == 0


def test_a_bar_without_decisions_is_there_and_empty() -> None:
    span = live.SPANS[0]
    since, until = live.window(NOW, span)
    first = int(since.timestamp()) // span.step_s
    found = live.mix([mix_row(first, "approve", 3), mix_row(first + 2, "decline", 1, 1)], since, until, span.step_s)
    assert [sum(bar.counts.values()) for bar in found.bars[:4]] == [3, 0, 1, 0]
    assert len(found.bars) == span.seconds // span.step_s
    assert (found.decisions, found.share("approve"), found.fallback_share) == (4, 0.75, 0.25)
    assert found.per_minute == pytest.approx(4 / 15)


def test_of_no_decision_there_is_no_share() -> None:
    since, until = live.window(NOW, live.SPANS[0])
    found = live.mix([], since, until, live.SPANS[0].step_s)
    assert (found.share("approve"), found.fallback_share) == (None, None)


def test_latency_is_of_those_whose_purchase_is_known() -> None:
    decided: list[Row] = [{"event_id": str(n), "kafka_timestamp": NOW + timedelta(milliseconds=n)} for n in range(101)]
    purchases: dict[str, Row] = {str(n): {"kafka_timestamp": NOW} for n in range(100)}
    found = live.latency(decided, purchases)
    assert found is not None
    assert (found.of, found.p50, found.p95) == (100, 50, 95)
    assert live.latency(decided, {}) is None


def explanation(count: int) -> dict[str, Any]:
    parts = [
        {"feature": f"f{n}", "value": float(n), "contribution": 0.1 * n * (-1) ** n, "unit": "days", "why": "w"}
        for n in range(count)
    ]
    raw = -3.0 + math.fsum(part["contribution"] for part in parts)
    return {"base_value": -3.0, "contributions": parts, "raw_probability": 1 / (1 + math.exp(-raw))}


@pytest.mark.parametrize("count", [1, 12, 40])
def test_bars_and_base_add_up_to_the_raw_probability(count: int) -> None:
    answer = explanation(count)
    found = decision.explained(answer)
    assert found is not None
    assert 1 / (1 + math.exp(-found.log_odds)) == pytest.approx(answer["raw_probability"])
    assert len(found.bars) <= decision.SHOWN_BARS + 1
    sizes = [abs(bar.contribution) for bar in found.bars[: decision.SHOWN_BARS]]
    assert sizes == sorted(sizes, reverse=True)
    figure, said = charts.contributions(found)
    assert len(figure.data[0].x) == len(found.bars)
    assert said.startswith(found.bars[0].label)


def test_where_no_model_was_asked_nothing_is_explained() -> None:
    assert decision.explained({"base_value": None, "contributions": []}) is None


def test_every_feature_is_listed_those_without_a_contribution_last() -> None:
    stored = {"f1": 1.0, "f2": None, "other": 5.0}
    lines = decision.features(stored, explanation(3))
    assert [line.name for line in lines] == ["f2", "f1", "other"]
    assert lines[-1].contribution is None
    assert [line.name for line in decision.features(stored, None)] == ["f1", "f2", "other"]


def test_history_tells_repaid_from_not_known() -> None:
    purchases: list[Row] = [
        {"event_id": name, "home": 1, "occurred_at": NOW, "amount": Decimal("9.90"), "currency": "EUR"}
        for name in "abc"
    ]
    found = decision.history(
        purchases,
        [{"event_id": "a", "kafka_partition": 1, "decision": "approve"}],
        [{"event_id": "a", "home": 1, "defaulted": True}, {"event_id": "b", "home": 1, "defaulted": False}],
    )
    assert [(one.decision, one.outcome) for one in found] == [("approve", "defaulted"), (None, "repaid"), (None, "")]


@pytest.mark.parametrize("home", [2, -1])
def test_what_was_decided_and_became_of_somebody_elses_purchase_is_not_told(home: int) -> None:
    bought: Row = {"event_id": "a", "home": home, "occurred_at": NOW, "amount": Decimal("9.90"), "currency": "EUR"}
    [found] = decision.history(
        [bought],
        [{"event_id": "a", "kafka_partition": 1, "decision": "approve"}],
        [{"event_id": "a", "home": 1, "defaulted": True}],
    )
    assert (found.decision, found.outcome) == (None, "")


def waiting_row(event_id: str) -> Row:
    return {
        "event_id": event_id, "customer_id": "c", "prediction_timestamp": NOW, "probability_of_default": 0.05,
        "expected_loss": 1.0, "reasons": [{"code": "x", "text": "because"}], "degraded": None,
    }  # fmt: skip


def test_what_was_just_judged_no_longer_waits() -> None:
    rows = [waiting_row("a"), waiting_row("b"), waiting_row("b")]
    found = review.queue(rows, {"b": {"amount": Decimal(5), "currency": "EUR"}}, {"a"})
    assert [one.event_id for one in found] == ["b"]
    assert "5.00 EUR" in found[0].label and found[0].reasons == ["because"]


def test_the_latest_evaluation_of_a_version_counts() -> None:
    known = {
        "v": Description("logistic", "2026-06-01T00:00:00Z", "2026-01-01", "2026-05-01", 10, {"auc": 0.5}, False, {})
    }
    evaluations: list[Row] = [
        {"model_version": "v", "metrics": {"auc": 0.58}},
        {"model_version": "v", "metrics": {"auc": 0.51}},
    ]
    performance: list[Row] = [{"model_version": "v", "auc": 0.57}, {"model_version": "v", "auc": 0.61}]
    columns = models.side_by_side([Part("v", "champion"), Part("v", "shadow")], known, evaluations, performance)
    assert list(columns) == ["v", "v (shadow)"]
    assert columns["v"]["AUC, matured since"] == "0.58" and columns["v"]["AUC, live"] == "0.57"
    assert columns["v"]["May decide"].startswith("no")
    table = models.as_table(columns)
    assert table[0] == {"": "Part", "v": "champion", "v (shadow)": "shadow"}


def test_looks_are_told_apart_by_time_and_model_the_latest_first() -> None:
    def row(at: datetime, feature: str, score: float, model: str = "v") -> Row:
        return {
            "evaluated_at": at, "model_version": model, "window_from": NOW, "window_to": NOW, "events": 5,
            "feature": feature, "score": score, "drifted": score > 0.1,
        }  # fmt: skip

    earlier = NOW - timedelta(days=1)
    found = drift.looks([row(earlier, "a", 0.05), row(NOW, "a", 0.01), row(NOW, "b", 0.3)])
    assert [look.evaluated_at for look in found] == [NOW, earlier]
    assert list(found[0].scores) == ["b", "a"] and found[0].drifted == ["b"]
    assert drift.course(found, "a") == [(earlier, 0.05), (NOW, 0.01)]
    found = drift.looks([row(earlier, "a", 0.05, "before"), row(earlier, "a", 0.02), row(NOW, "a", 0.01)])
    assert drift.course(drift.of_one_reference(found), "a") == [(earlier, 0.02), (NOW, 0.01)]


def test_a_comparison_says_with_what() -> None:
    told = {str(drift.Comparison(*one)) for one in ((7, "reference"), (7, "before"), (0, ""))}
    assert told == {
        "7 days against the training window",
        "7 days against the 7 days before",
        "On demand, against the training window",
    }


@pytest.mark.parametrize(
    ("value", "whole", "shown"),
    [
        (b'{"a":1}', 7, '{\n  "a": 1\n}'),
        (b"{", 1, "{"),
        (b"\xff\x00", 2, "ff 00"),
        (b"{", 90_000, "{\n… the first 1 of 90,000 bytes"),
        (b"[" * 30_000, 30_000, "[" * 30_000),
    ],
)
def test_a_letter_is_decoded_as_far_as_it_can_be(value: bytes, whole: int, shown: str) -> None:
    assert letters.decoded(base64.b64encode(value).decode(), whole) == shown


def test_a_letter_without_a_readable_value_says_so() -> None:
    assert letters.decoded(None, None) == "(no value)"
    assert "can't be read" in letters.decoded("***", 3)


def case(probability: float, defaulted: bool | None, number: int) -> LoggedCase:
    transaction = factories.accepted(number, amount=100.0).transaction
    return LoggedCase(transaction, {}, Verdict.APPROVE, probability, None, defaulted)


def test_stricter_thresholds_approve_less_and_lose_less() -> None:
    logged = KnownChances([case(0.01 + number / 1000, number % 10 == 0, number) for number in range(50)], {}, 0)
    policy = load_policy()
    loose = what_if.trial(logged, what_if.moved(policy, Decimal("0.05"), Decimal("0.06")), Economics())
    strict = what_if.trial(logged, what_if.moved(policy, Decimal("0.01"), Decimal("0.02")), Economics())
    assert strict.proposed.approval_rate is not None and loose.proposed.approval_rate is not None
    assert strict.proposed.approval_rate < loose.proposed.approval_rate
    assert strict.proposed.expected_loss < loose.proposed.expected_loss
    assert strict.logged == loose.logged


def test_what_chance_let_through_under_a_policy_that_is_gone_counts_as_if_nobody_knew_its_outcome() -> None:
    names = ("kept", "gone", None)
    rows = [logged_row(defaulted=False, explored_under=name, probability_of_default=0.01) for name in names]
    kept = exploration_of(policy_with())
    known = what_if.cases(rows, {"kept": kept}.get)
    assert [one.defaulted for one in known.cases] == [False, None, False]
    assert (known.explored, known.unknown) == ({"kept": kept}, 1)
    trial = what_if.trial(known, load_policy(), Economics())
    assert (trial.purchases, trial.proposed.known) == (3, 2)
    assert trial.proposed.profit == pytest.approx((4 + 1) * 9.9 * Economics().margin_on_good)


def test_a_moved_policy_has_a_name_of_its_own_and_an_impossible_one_is_refused() -> None:
    policy = load_policy()
    assert what_if.moved(policy, Decimal("0.01"), Decimal("0.02")).name != policy.name
    same = policy.thresholds
    assert what_if.moved(policy, same.approve_up_to, same.decline_above).name == policy.name
    with pytest.raises(ValidationError):
        what_if.moved(policy, Decimal("0.03"), Decimal("0.02"))


def test_an_audit_names_what_does_not_hold() -> None:
    report = {
        "balanced": False,
        "checked_at": NOW.isoformat(),
        "invariants": {"P1": {"about": "all there", "violations": 0}, "P2": {"about": "once", "violations": 3}},
    }
    found = audit.audit(json.dumps(report).encode())
    assert found is not None
    assert (found.verdict, found.broken) == ("not balanced", {"P2": "once"})
    assert audit.audit(b"[]") is None and audit.audit(b"{") is None


def test_text_of_others_is_never_markup() -> None:
    assert wording.plain("[a](http://b) <b> $x$ **c**") == (
        "\\[a\\]\\(http\\:\u2060//b\\) \\<b\\> \\$x\\$ \\*\\*c\\*\\*"
    )
    assert wording.plain("help@evil.example, WWW.evil.example\n===") == (
        "help@\u2060evil\\.example, W\u2060WW\\.evil\\.example \\=\\=\\="
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s ago"), (90, "90 s ago"), (600, "10 min ago"), (7200, "2 h ago"), (1e6, "12 days ago")],
)
def test_ages_are_told_in_the_largest_unit_that_fits_twice(seconds: float, words: str) -> None:
    assert wording.ago(seconds) == words
