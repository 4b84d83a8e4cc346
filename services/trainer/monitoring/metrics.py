"""Metrics of the monitor, beside `flit_drift_score` and `flit_model_auc` of shared/telemetry/metrics.py.

Each shows the last look. `source`: `realized` on matured outcomes, `estimated` from the probabilities of the same
purchases, `expected` from those of the latest four weeks, whatever has matured.
"""

from __future__ import annotations

import numpy as np
from prometheus_client import Counter, Gauge

from services.trainer.monitoring.alarms import PREDICTION, SEGMENT, WEEK, Finding
from services.trainer.monitoring.look import Concern, Look, concerns
from services.trainer.monitoring.performance import Estimate, Realized
from shared.contracts.identity import epoch_micros
from shared.telemetry.metrics import DRIFT_SCORE, FEATURE_MISMATCH_RATIO, MODEL_AUC

LOOKS = Counter("flit_monitor_looks_total", "Looks of the monitor", ["result"])
AS_OF = Gauge("flit_monitor_as_of_timestamp_seconds", "The stream's own time of the last look")
CONCERN = Gauge("flit_monitor_concern", "1 while the last look amounts to it", ["concern"])
PREDICTION_DRIFT = Gauge("flit_prediction_drift_score", "Stability index of the probability over a week", ["version"])
SEGMENT_DRIFT = Gauge("flit_segment_drift_score", "Stability index of a segment's mix over a week", ["segment"])
ESTIMATED_AUC = Gauge("flit_estimated_auc", "AUC expected of what was lent in the latest four weeks", ["version"])
LOG_LOSS = Gauge("flit_model_log_loss_nats", "Log-loss of four weeks", ["version", "source"])
BRIER = Gauge("flit_model_brier_score", "Brier score of four weeks", ["version", "source"])
PROFIT = Gauge("flit_model_profit_basis_points", "Profit of the volume of four weeks", ["version", "source"])
CALIBRATION_ERROR = Gauge("flit_model_calibration_error_ratio", "ECE of matured outcomes of four weeks", ["version"])
CALIBRATION_SLOPE = Gauge(
    "flit_model_calibration_slope_ratio", "Slope of outcomes on log-odds, 1 is right", ["version"]
)
AUC_ESTIMATE_ERROR = Gauge("flit_auc_estimate_error", "Realized less estimated AUC of the same purchases", ["version"])
EVENT_AGE = Gauge("flit_decision_event_age_seconds", "From a purchase to its decision over a week", ["quantile"])
DEGRADED_SHARE = Gauge("flit_degraded_decisions_ratio", "Share of a week's decisions made by a fallback")
DEAD_SHARE = Gauge("flit_dead_letters_per_decision_ratio", "Dead letters for each decision of a week", ["reason"])


def show(look: Look) -> None:
    """Set all of them to what the look found."""
    version = look.model_version
    AS_OF.set(epoch_micros(look.as_of) / 1e6)
    found = concerns(look)
    for concern in Concern:
        CONCERN.labels(concern).set(concern in found)
    DRIFT_SCORE.clear()  # another model may have other features
    for finding in look.weekly():
        DRIFT_SCORE.labels(finding.name).set(finding.score)
    _show_drift(look.drift, version)
    whole = look.latest("four weeks", matured=True)
    if whole is not None and whole.realized is not None and whole.on_matured is not None:
        MODEL_AUC.labels(version).set(whole.realized.auc)
        CALIBRATION_ERROR.labels(version).set(whole.realized.ece)
        CALIBRATION_SLOPE.labels(version).set(whole.realized.calibration_slope)
        AUC_ESTIMATE_ERROR.labels(version).set(whole.realized.auc - whole.on_matured.auc.value)
        _show_figures(whole.realized, version, "realized")
        _show_figures(whole.on_matured, version, "estimated")
    latest = look.latest("four weeks", matured=False)
    if latest is not None:
        ESTIMATED_AUC.labels(version).set(latest.estimate.auc.value)
        _show_figures(latest.estimate, version, "expected")
    for quantile, seconds in look.freshness.age_s.items():
        EVENT_AGE.labels(f"{quantile:g}").set(seconds)
    DEGRADED_SHARE.set(look.freshness.degraded_share)
    DEAD_SHARE.clear()
    for reason, letters in look.quality.dead_letters.items():
        DEAD_SHARE.labels(reason).set(letters / max(look.quality.decisions, 1))
    FEATURE_MISMATCH_RATIO.set(np.nan if look.quality.mismatch_share is None else look.quality.mismatch_share)


def _show_drift(drift: tuple[Finding, ...], version: str) -> None:
    for finding in drift:
        if finding.days == WEEK and finding.kind == PREDICTION:
            PREDICTION_DRIFT.labels(version).set(finding.score)
        elif finding.days == WEEK and finding.kind == SEGMENT:
            SEGMENT_DRIFT.labels(finding.name).set(finding.score)


def _show_figures(figures: Realized | Estimate, version: str, source: str) -> None:
    for gauge, name in ((LOG_LOSS, "log_loss"), (BRIER, "brier"), (PROFIT, "profit_bp")):
        value = getattr(figures, name)
        gauge.labels(version, source).set(value if isinstance(value, float) else value.value)
