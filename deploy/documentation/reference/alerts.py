"""The alerts of Prometheus, from their declarations."""

from __future__ import annotations

from deploy.documentation import markdown
from deploy.monitoring.rules import alert_names, alerting_rules, annotations_of


def page() -> str:
    severities: dict[str, list[str]] = {}
    for group in alerting_rules()["groups"]:
        for rule in group["rules"]:
            severities.setdefault(rule["alert"], []).append(rule["labels"]["severity"])
    rows = [
        [
            f"[{name}](../operations/runbooks/{name}.md)",
            " and ".join(severities[name]),
            markdown.safe(annotations_of(name)["summary"]),
        ]
        for name in sorted(alert_names())
    ]
    return markdown.page(
        "Alerts",
        "Each leads to its run-book. A `page` wants somebody now, a `ticket` in working hours. How they are made: "
        "[observability](../operations/observability.md); what jobs tell people beside them: "
        "[alerts of jobs](../operations/alerts.md).",
        markdown.table(["alert", "severity", "when"], rows),
    )
