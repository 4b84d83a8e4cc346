"""`python -m shared.alerts TITLE [LINE …]`: sends an alert, as a scheduler does whose task has failed for good."""

from __future__ import annotations

import argparse

from shared.alerts import Alerts, AlertsSettings, Severity
from shared.settings import ServiceSettings, load_settings
from shared.telemetry import logging


class _Settings(ServiceSettings):
    alerts: AlertsSettings = AlertsSettings()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.alerts", description="Tells people that something is wrong")
    parser.add_argument("title", nargs="?", default="a test")
    parser.add_argument("lines", nargs="*", metavar="LINE")
    parser.add_argument("--severity", type=Severity, choices=list(Severity), default=Severity.WARNING)
    parser.add_argument("--key", help="of what is wrong, the same each time (default: the title)")
    parser.add_argument("--link", help="where to look")
    parser.add_argument("--runbook", help="a page of this repository that says what to do")
    parser.add_argument("--resolve", metavar="KEY", help="it is over: tell so whom it was told")
    arguments = parser.parse_args()
    settings = load_settings(_Settings)
    logging.configure("alerts", settings.log.level, settings.log.format)
    alerts = Alerts(settings.alerts, "operator")
    if arguments.resolve:
        alerts.resolve(arguments.resolve)
        return
    alerts.send(
        arguments.title,
        arguments.lines,
        severity=arguments.severity,
        key=arguments.key,
        link=arguments.link,
        runbook=arguments.runbook,
    )


if __name__ == "__main__":
    main()
