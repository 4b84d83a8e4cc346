"""What the last audit found, as metrics: served only where audits are repeated (`--every`)."""

from __future__ import annotations

import time

from prometheus_client import Gauge

from services.ledger.audit import Audit
from shared.telemetry.metrics import FEATURE_MISMATCH_RATIO

VIOLATIONS = Gauge("flit_ledger_violations_records", "Records that the last audit found wrong, by check", ["check"])
LAST_AUDIT = Gauge("flit_ledger_last_audit_timestamp_seconds", "When the last audit ended")


def show(result: Audit) -> None:
    """Also the share of vectors that the recomputation (P4) didn't confirm, where it had any to look at."""
    for finding in result.findings:
        VIOLATIONS.labels(finding.name).set(len(finding.violations))
        if finding.name == "P4" and finding.checked:
            FEATURE_MISMATCH_RATIO.set(len(finding.violations) / finding.checked)
    LAST_AUDIT.set(time.time())
