"""Telling people, on Slack and by e-mail, once for each thing that is wrong. Where neither is set, the log is all there
is.

    alerts = Alerts(settings.alerts, "trainer")
    alerts.send("training refused", ["12 holes"], severity=Severity.CRITICAL, key="training-data", runbook="docs/…")
    alerts.resolve("training-data")

`python -m shared.alerts TITLE [LINE …]` sends one. docs/operations/alerts.md says it to operators, ADR 0030 why.
"""

from shared.alerts.alerts import Alerts
from shared.alerts.message import Severity
from shared.alerts.settings import AlertsSettings

__all__ = ["Alerts", "AlertsSettings", "Severity"]
