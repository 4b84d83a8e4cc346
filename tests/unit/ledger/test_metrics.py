"""What an audit found, as metrics."""

from __future__ import annotations

import time

from prometheus_client import REGISTRY

from services.ledger import metrics
from services.ledger.audit import Audit
from services.ledger.checks import Finding


def _value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_violations_are_shown_by_check_and_mended_ones_no_longer() -> None:
    metrics.show(Audit([Finding("P3", "", 10, ["a", "b"]), Finding("P4", "", 200, ["c"])]))
    assert _value("flit_ledger_violations_records", check="P3") == 2
    assert _value("flit_feature_mismatch_ratio") == 1 / 200
    metrics.show(Audit([Finding("P3", "", 10), Finding("P4", "", 200)]))
    assert _value("flit_ledger_violations_records", check="P3") == 0
    assert _value("flit_feature_mismatch_ratio") == 0
    ended = _value("flit_ledger_last_audit_timestamp_seconds")
    assert ended is not None and abs(time.time() - ended) < 60


def test_an_audit_that_recomputed_nothing_confirms_nothing() -> None:
    metrics.show(Audit([Finding("P4", "", 100, ["a"])]))
    metrics.show(Audit([Finding("P4", "", 0)]))
    assert _value("flit_feature_mismatch_ratio") == 0.01
