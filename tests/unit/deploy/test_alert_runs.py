"""What a fault run of the alerts rests on: rules shortened by one factor, and a timeline of what fired."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any, cast

import pytest

from deploy.monitoring.rules import alert_names, alerting_rules, recording_rules
from shared.telemetry.metrics import DECISIONS
from tests.alerts.calm import Seen, report_of
from tests.alerts.faults import FAULTS
from tests.alerts.floor import Floor
from tests.alerts.rules import rules_of
from tests.alerts.shortened import UNITS_S, shortened, shortened_expression
from tests.alerts.timeline import FIRING, PENDING, QUIET, Change, Rule, Timeline
from tests.system.prometheus import Prometheus

DOCUMENTS = [recording_rules(), alerting_rules()]
DOWN, SLOW = Rule("ServiceDown", "page"), Rule("CheckoutSlow", "ticket")


def rules_in(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in document["groups"] for rule in group["rules"]]


def test_every_time_is_divided_and_nothing_else_changes() -> None:
    for document in DOCUMENTS:
        for before, after in zip(rules_in(document), rules_in(shortened(document, 60)), strict=True):
            ranges = re.findall(r"\[(\d+)([smhd])\]", before["expr"])
            divided = [int(number) * UNITS_S[unit] * 1000 // 60 for number, unit in ranges]
            assert [int(number) for number in re.findall(r"\[(\d+)ms\]", after["expr"])] == divided
            assert "[" not in re.sub(r"\[\d+ms\]", "", after["expr"])
            untimed = [re.sub(r"\[\w+\]|\* [\d.]+", "", rule["expr"]) for rule in (before, after)]
            assert untimed[0] == untimed[1]
            assert {**before, "expr": "", "for": ""} == {**after, "expr": "", "for": ""}


def test_every_age_is_divided() -> None:
    ages = [
        re.findall(r"time\(\).* > \d+ \* ([\d.]+)", rule["expr"])
        for document in (alerting_rules(), shortened(alerting_rules(), 60))
        for rule in rules_in(document)
        if "time()" in rule["expr"]
    ]
    assert len(ages) >= 4 and all(ages)
    before, after = ages[: len(ages) // 2], ages[len(ages) // 2 :]
    assert [[float(number) * 60 for number in found] for found in after] == [
        [float(number) for number in found] for found in before
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("rate(a[1h]) * 3600 >= 10", "rate(a[60000ms]) * 3600 >= 10"),
        ("time() - max(a) > 45 * 86400", "time() - max(a) > 45 * 1440"),
        ("flit:x:ratio_rate5m > 14.4 * 0.01", "flit:x:ratio_rate5m > 14.4 * 0.01"),
        ("changes(a[30m]) > 2", "changes(a[30000ms]) > 2"),
    ],
)
def test_an_expression_is_shortened(before: str, after: str) -> None:
    assert shortened_expression(before, 60) == after


def test_each_alert_has_one_fault_that_makes_it_fire() -> None:
    assert sorted(alert for fault in FAULTS for alert in fault.alerts) == sorted(alert_names())
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_an_objective_s_alert_stands_for_its_page_and_its_ticket() -> None:
    assert rules_of("CheckoutSlow") == [Rule("CheckoutSlow", "page"), Rule("CheckoutSlow", "ticket")]
    assert rules_of("ServiceDown") == [DOWN]


SEEN = Seen(
    decided=990,
    answered=300,
    unseen_s=0.6,
    looking={"ledger": True, "guard": True},
    audit_age_s=500.0,
    wanted=1000.0,
    asked=400.0,
    grown={"features": 1.02, "scorer": 0.99},
)


def said(rule: Rule, state: str) -> dict[str, Any]:
    return {"labels": {"alertname": rule.alert, "severity": rule.severity, "job": "sink"}, "state": state}


def test_a_timeline_tells_when_a_rule_fired_and_when_it_had_cleared() -> None:
    timeline = Timeline(list)
    timeline.note([], 1.0)
    timeline.note([said(DOWN, PENDING)], 2.0)
    timeline.note([said(DOWN, PENDING), said(DOWN, FIRING)], 3.0)
    timeline.note([said(DOWN, FIRING)], 4.0)
    timeline.note([said(DOWN, PENDING)], 5.0)
    assert timeline.first(DOWN, 0.0, firing=True) == 3.0
    assert timeline.first(DOWN, 3.5, firing=True) == 3.5, "it was firing already"
    assert timeline.first(DOWN, 3.5, firing=False) == 5.0, "pending is no longer firing"
    assert timeline.first(SLOW, 0.0, firing=True) is None
    assert [change.state for change in timeline.changes] == [PENDING, FIRING, PENDING]
    assert timeline.first(DOWN, 3.0, firing=False) == 5.0, "from the very moment that it fired on"
    assert timeline.state(DOWN) == PENDING and timeline.state(SLOW) == QUIET


def test_a_rule_that_never_fired_has_not_cleared_before_it_was_looked_at() -> None:
    timeline = Timeline(list)
    assert timeline.first(DOWN, 7.0, firing=False) == 7.0
    assert timeline.first(DOWN, 7.0, firing=True) is None


@pytest.mark.parametrize(
    ("states", "decided", "passed"),
    [([], 950, True), ([PENDING, QUIET], 950, True), ([PENDING, FIRING, QUIET], 950, False), ([], 800, False)],
)
def test_an_hour_is_calm_if_what_came_was_decided_and_nothing_fired(
    states: list[str], decided: int, passed: bool
) -> None:
    changes = [Change(10.0 + number, DOWN, state) for number, state in enumerate(states)]
    report = report_of(changes, 10.0, 3600, replace(SEEN, decided=decided))
    assert report["passed"] is passed
    assert [each["state"] for each in report["alerts"]] == [state for state in states if state != QUIET]


@pytest.mark.parametrize(
    "blind",
    [
        {"unseen_s": 3000.0},
        {"looking": {"ledger": True, "guard": False}},
        {"audit_age_s": None},
        {"audit_age_s": 3000},
        {"broken_rules": ["SinkWaits"]},
        {"answered": 190},
        {"grown": {"features": 1.02}},
        {"grown": {"features": 1.3, "scorer": 1.0}},
    ],
)
def test_an_hour_in_which_nobody_looked_is_no_calm_one(blind: dict[str, Any]) -> None:
    assert report_of([], 0.0, 3600, SEEN)["passed"]
    assert not report_of([], 0.0, 3600, replace(SEEN, **blind))["passed"]


class Answering:
    """A Prometheus that says the same to whatever it is asked."""

    def __init__(self, *values: str) -> None:
        self._found: list[dict[str, Any]] = [{"metric": {}, "value": [0.0, value]} for value in values]
        self.asked: list[str] = []

    def query(self, expression: str) -> list[dict[str, Any]]:
        self.asked.append(expression)
        return self._found


@pytest.mark.parametrize(("values", "decided"), [(("71990.4",), 71990.4), ((), 0.0)])
def test_what_was_decided_is_the_stream_s_own_over_all_starts_of_the_scorer(
    values: tuple[str, ...], decided: float
) -> None:
    floor = object.__new__(Floor)  # without a system that runs
    prometheus = Answering(*values)
    floor.prometheus = cast(Prometheus, prometheus)
    assert floor.streamed(3599.2) == decided
    assert prometheus.asked == ['sum(increase(flit_decisions_total{channel="stream"}[3600s]))']
    assert {"channel"} <= set(DECISIONS._labelnames), "the label that it asks for"


def test_a_look_that_fails_shows_as_a_gap() -> None:
    def alerts() -> list[dict[str, Any]]:
        raise ValueError("half an answer")

    with Timeline(alerts) as timeline:
        began = time.monotonic()
        assert timeline.longest_gap_s(began, began + 60) == 60
