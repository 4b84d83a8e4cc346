"""What the monitor of models tells: drift, performance before and after outcomes are known, input not to be trusted."""

from __future__ import annotations

from deploy.monitoring.alerts import DRIFT, LOOKS
from deploy.monitoring.dashboards.panels import Panel, Query

MONITORING = (
    Panel(
        "What the monitor found", "1 while its last look amounts to it: more than chance explains.", "none",
        [Query("max by (concern) (last_over_time(flit_monitor_concern[1d]))", "{{concern}}")], kind="bargauge",
        limits=(1,), alerts=("FeatureDrift",),
    ),
    Panel(
        "Drift of the probability and of segments", "Population stability index of a week from the reference.",
        "none",
        [
            Query("max by (version) (last_over_time(flit_prediction_drift_score[1d]))", "probability"),
            Query("topk(10, max by (segment) (last_over_time(flit_segment_drift_score[1d])))", "{{segment}}"),
        ],
        kind="bargauge", limits=(DRIFT,), alerts=("FeatureDrift",),
    ),
    Panel(
        "AUC, expected and realized",
        "Expected: of the latest four weeks, from probabilities alone. Realized: of the latest that have matured.",
        "percentunit",
        [
            Query("max by (version) (last_over_time(flit_estimated_auc[1d]))", "expected {{version}}"),
            Query("max by (version) (last_over_time(flit_model_auc[1d]))", "realized {{version}}"),
        ],
    ),
    Panel(
        "Log-loss and Brier score", "Of four weeks: realized, estimated of the same, expected of the latest.",
        "none",
        [
            Query("max by (source) (last_over_time(flit_model_log_loss_nats[1d]))", "log-loss {{source}}"),
            Query("max by (source) (last_over_time(flit_model_brier_score[1d]))", "Brier {{source}}"),
        ],
    ),
    Panel(
        "Error of the estimated AUC", "Realized less estimated, of the same purchases: near nought it can be trusted.",
        "none",
        [Query("max by (version) (last_over_time(flit_auc_estimate_error[1d]))", "{{version}}")], kind="stat",
        width=6,
    ),
    Panel(
        "Calibration error", "Mean distance of probability and default rate, on matured outcomes of four weeks.",
        "percentunit",
        [Query("max by (version) (last_over_time(flit_model_calibration_error_ratio[1d]))", "{{version}}")],
        kind="stat", width=6,
    ),
    Panel(
        "Slope of the calibration", "Of outcomes on log-odds: 1 is right, below it the model is too sure.", "none",
        [Query("max by (version) (last_over_time(flit_model_calibration_slope_ratio[1d]))", "{{version}}")],
        kind="stat", width=6,
    ),
    Panel(
        "Last look of the monitor", "How long ago the purchases were that it looked at.", "s",
        [Query(f"time() - max({LOOKS})", "age")], kind="stat", width=6,
    ),
    Panel(
        "Profit of approving below break-even", "In hundredths of a percent of the volume of four weeks.", "none",
        [Query("max by (source) (last_over_time(flit_model_profit_basis_points[1d]))", "{{source}}")],
        kind="bargauge",
    ),
    Panel(
        "Age of purchases at their decision", "Over the monitor's last week.", "s",
        [Query("max by (quantile) (last_over_time(flit_decision_event_age_seconds[1d]))", "quantile {{quantile}}")],
        kind="bargauge",
    ),
    Panel(
        "Input that can't be trusted",
        "Of the monitor's last week: decisions by the fallback, dead letters for each decision.", "percentunit",
        [
            Query("max(last_over_time(flit_degraded_decisions_ratio[1d]))", "by the fallback"),
            Query("max by (reason) (last_over_time(flit_dead_letters_per_decision_ratio[1d]))", "refused: {{reason}}"),
        ],
        kind="bargauge", alerts=("ModelConcern", "DecisionsDegraded", "RecordsRefused"),
    ),
    Panel(
        "Looks of the monitor", "By what came of them, in the last hour.", "none",
        [Query("sum by (result) (increase(flit_monitor_looks_total[1h]))", "{{result}}")],
        alerts=("ModelsUnwatched",),
    ),
)  # fmt: skip
