"""The declarations as Prometheus has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploy.monitoring.alerts import ALERTS, Severity
from deploy.monitoring.objectives import FAST, LEAST_EVENTS, OBJECTIVES, SLOW, WINDOWS, Burn, Objective

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
    single = [_rule(alert.name, alert.severity, alert.expression, alert.lasts) for alert in ALERTS]
    return {"groups": [{"name": "budgets", "rules": burning}, {"name": "conditions", "rules": single}]}


def alert_names() -> list[str]:
    return [objective.alert for objective in OBJECTIVES] + [alert.name for alert in ALERTS]


def annotations_of(alert: str) -> dict[str, str]:
    summaries = {each.alert: each.summary for each in OBJECTIVES} | {each.name: each.summary for each in ALERTS}
    return {"summary": summaries[alert], "runbook": f"{RUNBOOKS}/{alert}.md"}


def _burn_rules(objective: Objective) -> list[Document]:
    return [
        _rule(objective.alert, "page", _burning(objective, FAST), "2m"),
        _rule(objective.alert, "ticket", _burning(objective, SLOW), "15m"),
    ]


def _burning(objective: Objective, burns: Sequence[Burn]) -> str:
    parts = []
    for burn in burns:
        limit = f"{burn.factor:g} * {objective.budget:g}"
        enough = f"{objective.total.replace('{window}', burn.long)} * {_SECONDS[burn.long]} >= {LEAST_EVENTS}"
        parts.append(
            f"({objective.recorded(burn.long)} > {limit} and {objective.recorded(burn.short)} > {limit} and {enough})"
        )
    return " or ".join(parts)


_SECONDS = {"1h": 3600, "6h": 21_600, "3d": 259_200}


def _rule(name: str, severity: Severity, expression: str, lasts: str) -> Document:
    return {
        "alert": name,
        "expr": expression,
        "for": lasts,
        "labels": {"severity": severity},
        "annotations": annotations_of(name),
    }
