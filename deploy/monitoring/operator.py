"""`python -m deploy.monitoring.operator`: the rules as the Prometheus operator takes them, on standard output.

With one more, of what Kubernetes alone runs: the nightly reconciliation. It needs kube-state-metrics.
"""

from __future__ import annotations

import sys
from typing import Any

import yaml

from deploy.monitoring.rules import RUNBOOKS, Document, alerting_rules, recording_rules

_RECONCILE = '{namespace="flit-risk",cronjob="reconcile"}'
_PROVEN = f"max(kube_cronjob_status_last_successful_time{_RECONCILE})"
NIGHT_S = 26 * 3600
"""From one night's to the next, with two hours for itself."""


def nightly_rules() -> Document:
    """Fires where no reconciliation has ended well for a night: it failed, which it does where rows and log differ, or
    was not done."""
    never = f"time() - max(kube_cronjob_created{_RECONCILE}) > {NIGHT_S} unless on () {_PROVEN}"
    rule = {
        "alert": "RowsUnproven",
        "expr": f"time() - {_PROVEN} > {NIGHT_S} or ({never})",
        "for": "10m",
        "labels": {"severity": "page"},
        "annotations": {
            "summary": "No reconciliation of the log with the warehouse has ended well since the night before last.",
            "runbook": f"{RUNBOOKS}/RowsUnproven.md",
        },
    }
    return {"groups": [{"name": "nightly", "rules": [rule]}]}


def prometheus_rule() -> dict[str, Any]:
    """One object with all groups, recorded ones first."""
    groups = [group for rules in (recording_rules(), alerting_rules(), nightly_rules()) for group in rules["groups"]]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "flit-risk", "labels": {"app.kubernetes.io/part-of": "flit-risk"}},
        "spec": {"groups": groups},
    }


if __name__ == "__main__":
    yaml.safe_dump(prometheus_rule(), sys.stdout, sort_keys=False, width=120, allow_unicode=True)
