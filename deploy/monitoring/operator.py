"""`python -m deploy.monitoring.operator`: the rules as the Prometheus operator takes them, on standard output.

With some more, of what Kubernetes alone runs: the nightly reconciliation, audits that are jobs, a trainer in every
deployment. The first two need kube-state-metrics.
"""

from __future__ import annotations

import sys
from typing import Any

import yaml

from deploy.monitoring.alerts import Alert
from deploy.monitoring.rules import Document, alerting_rules, recording_rules, rule_of

_RECONCILE = '{namespace="flit-risk",cronjob="reconcile"}'
_PROVEN = f"max(kube_cronjob_status_last_successful_time{_RECONCILE})"
_NEVER_PROVEN = f"max(kube_cronjob_created{_RECONCILE}) unless on () {_PROVEN}"
NIGHT_S = 26 * 3600
"""From one night's to the next, with two hours for itself."""

UNPROVEN = Alert(
    # It fails where rows and log differ.
    "RowsUnproven", "page", f"time() - ({_PROVEN} or ({_NEVER_PROVEN})) > {NIGHT_S}", "10m",
    "No reconciliation of the log with the warehouse has ended well since the night before last.",
)  # fmt: skip

UNBALANCED = Alert(
    # Its metrics end with its pod; what a failed job leaves is that it failed.
    "LedgerUnbalanced", "page",
    'max by (job_name) (kube_job_status_failed{namespace="flit-risk",job_name=~"ledger-.*"}) > 0', "0m",
    "The audit found something lost, doubled, changed or made up, or could not tell.",
)  # fmt: skip
NO_TRAINER = Alert(
    "ServiceDown", "page", 'absent(up{job="trainer"})', "10m",
    "Nothing is left of the trainer, who looks after models.",
)  # fmt: skip


def cluster_rules() -> Document:
    return {"groups": [{"name": "cluster", "rules": [rule_of(each) for each in (UNPROVEN, UNBALANCED, NO_TRAINER)]}]}


def prometheus_rule() -> dict[str, Any]:
    """One object with all groups, recorded ones first."""
    groups = [group for rules in (recording_rules(), alerting_rules(), cluster_rules()) for group in rules["groups"]]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "flit-risk", "labels": {"app.kubernetes.io/part-of": "flit-risk"}},
        "spec": {"groups": groups},
    }


if __name__ == "__main__":
    yaml.safe_dump(prometheus_rule(), sys.stdout, sort_keys=False, width=120, allow_unicode=True)
