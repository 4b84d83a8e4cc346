"""`python -m deploy.monitoring.operator`: the rules as the Prometheus operator takes them, on standard output."""

from __future__ import annotations

import sys
from typing import Any

import yaml

from deploy.monitoring.rules import alerting_rules, recording_rules


def prometheus_rule() -> dict[str, Any]:
    """One object with all groups, recorded ones first."""
    groups = [group for rules in (recording_rules(), alerting_rules()) for group in rules["groups"]]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "flit-risk", "labels": {"app.kubernetes.io/part-of": "flit-risk"}},
        "spec": {"groups": groups},
    }


if __name__ == "__main__":
    yaml.safe_dump(prometheus_rule(), sys.stdout, sort_keys=False, width=120, allow_unicode=True)
