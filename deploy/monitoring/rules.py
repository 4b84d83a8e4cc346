"""The declarations as Prometheus has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploy.monitoring.alerts import ALERTS, Alert
from deploy.monitoring.objectives import FAST, LEAST_BAD, OBJECTIVES, SLOW, WINDOWS, Burn, Objective

RUNBOOKS = "docs/operations/runbooks"

Document = dict[str, Any]


def recording_rules() -> Document:
    """The share of bad events of each objective over each window."""
    rules = [
        {"record": objective.recorded(window), "expr": objective.ratio(window)}
        for objective in OBJECTIVES
        for window in WINDOWS
    ]
    return {"groups": [{"name": "objectives", "rules": rules}]}


def alerting_rules() -> Document:
    burning = [rule for objective in OBJECTIVES for rule in _burn_rules(objective)]
    single = [rule_of(alert) for alert in ALERTS]
    return {"groups": [{"name": "budgets", "rules": burning}, {"name": "conditions", "rules": single}]}


def alert_names() -> list[str]:
    return [objective.alert for objective in OBJECTIVES] + [alert.name for alert in ALERTS]


def annotations_of(alert: str) -> dict[str, str]:
    summaries = {each.alert: each.summary for each in OBJECTIVES} | {each.name: each.summary for each in ALERTS}
    return _annotations(alert, summaries[alert])


def _annotations(alert: str, summary: str) -> dict[str, str]:
    return {"summary": summary, "runbook": f"{RUNBOOKS}/{alert}.md"}


def _burn_rules(objective: Objective) -> list[Document]:
    return [
        rule_of(Alert(objective.alert, "page", _burning(objective, FAST), "2m", objective.summary)),
        rule_of(Alert(objective.alert, "ticket", _burning(objective, SLOW), "15m", objective.summary)),
    ]


def _burning(objective: Objective, burns: Sequence[Burn]) -> str:
    parts = []
    for burn in burns:
        limit = f"{burn.factor:g} * {objective.budget:g}"
        enough = f"{objective.bad.replace('{window}', burn.long)} * {_SECONDS[burn.long]} >= {LEAST_BAD}"
        parts.append(
            f"({objective.recorded(burn.long)} > {limit} and {objective.recorded(burn.short)} > {limit} and {enough})"
        )
    return " or ".join(parts)


_SECONDS = {"1h": 3600, "6h": 21_600, "3d": 259_200}


def rule_of(alert: Alert) -> Document:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.lasts,
        "labels": {"severity": alert.severity},
        "annotations": _annotations(alert.name, alert.summary),
    }
