"""Decisions: what is decided, how fast, and on what."""

from __future__ import annotations

from deploy.monitoring.dashboards.panels import Dashboard, Panel, Query, quantiles

DECISIONS = Dashboard(
    "flit-decisions",
    "Flit Risk: decisions",
    "What is decided at both doors, how long it takes, and what the checkout is answered.",
    [
        Panel(
            "Checkout answered", "Share of REST answers that are no error of ours, over an hour.",
            "percentunit", [Query("1 - flit:checkout_failed:ratio_rate1h", "answered")], kind="stat",
            limits=(0.9995, 0.999), falling=True, alerts=("CheckoutFails",), width=6,
        ),
        Panel(
            "Degraded", "Share of decisions made by the policy's fallback, over an hour.", "percentunit",
            [Query("flit:decision_degraded:ratio_rate1h", "degraded")], kind="stat", limits=(0.001, 0.01),
            alerts=("DecisionsDegraded", "NoModel"), width=6,
        ),
        Panel(
            "Checkout p99", "Of the last five minutes.", "s",
            [Query(
                "histogram_quantile(0.99, sum by (le)"
                ' (rate(flit_decision_seconds_bucket{channel="rest"}[5m])))', "p99",
            )],
            kind="stat", limits=(0.05, 0.1), alerts=("CheckoutSlow",), width=6,
        ),
        Panel(
            "Event to decision p99", "Of the last five minutes, on the stream.", "s",
            [Query("histogram_quantile(0.99, sum by (le) (rate(flit_event_to_decision_seconds_bucket[5m])))", "p99")],
            kind="stat", limits=(0.1, 0.15), alerts=("DecisionsLate",), width=6,
        ),
        Panel(
            "Decisions", "By what was decided.", "cps",
            [Query(
                'sum by (decision) (rate(flit_decisions_total{channel=~"$channel"}[$__rate_interval]))', "{{decision}}",
            )],
            stacked=True,
        ),
        Panel(
            "Decisions by variant", "By the experiment's arm; empty: no experiment.", "cps",
            [Query(
                'sum by (variant, decision) (rate(flit_decisions_total{channel=~"$channel"}[$__rate_interval]))',
                "{{variant}} {{decision}}",
            )],
        ),
        Panel(
            "Why the fallback decided", "By reason; empty: the model decided.", "cps",
            [Query(
                'sum by (degraded, channel) (rate(flit_decisions_total{channel=~"$channel"}[$__rate_interval])) > 0',
                "{{channel}} {{degraded}}",
            )],
            alerts=("DecisionsDegraded",),
        ),
        Panel(
            "Event to decision", "From the purchase's record to its decision, on the stream.", "s",
            quantiles("flit_event_to_decision_seconds"), limits=(0.15,), alerts=("DecisionsLate",),
        ),
        Panel(
            "Time to decide", "In the scorer, by door.", "s",
            quantiles("flit_decision_seconds", "channel", 'channel=~"$channel"'), limits=(0.1,),
            alerts=("CheckoutSlow",),
        ),
        Panel(
            "Age of features", "When they were decided on.", "s", quantiles("flit_feature_age_seconds"), limits=(0.1,),
            alerts=("FeaturesStale",),
        ),
        Panel(
            "REST answers", "By status and reason (docs/reference/rest.md).", "cps",
            [Query(
                "sum by (status, reason) (rate(flit_scorer_answers_total[$__rate_interval]))", "{{status}} {{reason}}",
            )],
            stacked=True, alerts=("CheckoutFails",),
        ),
        Panel(
            "Checkouts let in at once", "The limit that admission found by itself.", "short",
            [Query("max(flit_scorer_admission_limit_requests)", "limit")],
        ),
        Panel(
            "Claims",
            "won: decided here; lost: decided before; repaired: claimed before, published now; conflict: another body "
            "of the same event.",
            "cps",
            [Query(
                'sum by (channel, result) (rate(flit_scorer_claims_total{channel=~"$channel"}[$__rate_interval]))',
                "{{channel}} {{result}}",
            )],
        ),
        Panel(
            "Limiter", "1 while people look at purchases in the policy's place.", "none",
            [Query("max by (what) (flit_scorer_limiter_holds)", "{{what}}")], limits=(1,), alerts=("LimiterHolds",),
        ),
    ],
    {"channel": "flit_decisions_total"},
)  # fmt: skip
