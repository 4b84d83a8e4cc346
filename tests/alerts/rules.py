"""The rules of an alert, as a timeline knows them."""

from __future__ import annotations

from deploy.monitoring.rules import alerting_rules
from tests.alerts.timeline import Rule

RULES = tuple(
    Rule(rule["alert"], rule["labels"]["severity"]) for group in alerting_rules()["groups"] for rule in group["rules"]
)


def rules_of(alert: str) -> list[Rule]:
    """One, or an objective's page and its ticket."""
    return [rule for rule in RULES if rule.alert == alert]
