"""Models: which decides, how old and how good it is, and what has changed since it was trained."""

from __future__ import annotations

from deploy.monitoring.alerts import DRIFT, MODEL_DAYS
from deploy.monitoring.dashboards.monitoring import MONITORING
from deploy.monitoring.dashboards.panels import Dashboard, Panel, Query

MODELS = Dashboard(
    "flit-models",
    "Flit Risk: models",
    "Models in service, trainings, experiments and drift. What a training tells is shown for a day after it.",
    [
        Panel(
            "In service", "Each model of the scorer with its role.", "none",
            [Query('max by (version, role) (flit_model_info{job="scorer"})', "{{role}} {{version}}")], kind="stat",
            alerts=("NoModel", "ModelRefused"), width=12,
        ),
        Panel(
            "Age of the model", "Since it was trained.", "s",
            [Query("time() - max(flit_model_trained_timestamp_seconds)", "age")], kind="stat",
            limits=((MODEL_DAYS - 15) * 86_400, MODEL_DAYS * 86_400), alerts=("ModelOld",), width=6,
        ),
        Panel(
            "No model", "1 while the policy's fallback decides everything.", "none",
            [Query('max(flit_degraded{service="scorer"})', "degraded")], kind="stat", limits=(1,), alerts=("NoModel",),
            width=6,
        ),
        Panel(
            "AUC on matured outcomes", "As the last training or evaluation had it.", "percentunit",
            [Query("max by (version) (last_over_time(flit_model_auc[1d]))", "{{version}}")], width=12,
        ),
        Panel(
            "Drift",
            "Of a week from the reference. `monitor` tells the population stability index, `drift` Wasserstein's"
            f" distance in standard deviations; from {DRIFT} on either counts.",
            "none",
            [Query("topk(15, max by (feature) (last_over_time(flit_drift_score[1d])))", "{{feature}}")],
            kind="bargauge", limits=(DRIFT,), alerts=("FeatureDrift",),
        ),
        *MONITORING,
        Panel(
            "Features not confirmed", "Share of vectors that the ledger's recomputation didn't confirm.", "percentunit",
            [Query("max(last_over_time(flit_feature_mismatch_ratio[6h]))", "not confirmed")], kind="stat",
            limits=(0.000001,), alerts=("FeaturesMismatch",), width=6,
        ),
        Panel(
            "Models refused", "Promoted, and not put in service, in the last hour.", "none",
            [Query("sum(increase(flit_scorer_model_refused_total[1h])) or vector(0)", "refused")], kind="stat",
            limits=(1,), alerts=("ModelRefused",), width=6,
        ),
        Panel(
            "Model failures", "Times in the last hour that the model in service failed to answer.", "none",
            [Query("sum(increase(flit_scorer_model_failures_total[1h])) or vector(0)", "failed")], kind="stat",
            limits=(1,), alerts=("DecisionsDegraded",), width=6,
        ),
        Panel(
            "Policy", "The policy in service.", "none",
            [Query("max by (policy) (flit_scorer_policy_info)", "{{policy}}")], kind="stat", alerts=("PolicyRefused",),
            width=6,
        ),
        Panel(
            "Examples of the last training", "Matured purchases, by part.", "short",
            [Query("max by (part) (last_over_time(flit_training_examples[1d]))", "{{part}}")], kind="bargauge",
        ),
        Panel(
            "Time of the last training", "By step.", "s",
            [Query("max by (step) (last_over_time(flit_training_seconds[1d]))", "{{step}}")], kind="bargauge",
        ),
        Panel(
            "Evidence against an arm", "As a share of what stops the experiment.", "percentunit",
            [Query(
                "max by (arm, guardrail) (last_over_time(flit_experiment_evidence_ratio[1h]))", "{{arm}} {{guardrail}}",
            )],
            limits=(1,), alerts=("ExperimentUnwatched",),
        ),
        Panel(
            "Looks of the guard", "By what came of them, in the last hour.", "none",
            [Query("sum by (result) (increase(flit_guard_looks_total[1h]))", "{{result}}")],
            alerts=("ExperimentUnwatched",),
        ),
        Panel(
            "Promotions", "Trainings of the last day, by whether the model went into service.", "none",
            [Query("sum by (result) (increase(flit_promotions_total[1d]))", "{{result}}")], kind="bargauge",
        ),
    ],
)  # fmt: skip
