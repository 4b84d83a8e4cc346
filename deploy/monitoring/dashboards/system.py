"""System: is everything up, and are the objectives kept?"""

from __future__ import annotations

from deploy.monitoring.alerts import OURS, REDIS_SHARE
from deploy.monitoring.dashboards.panels import Dashboard, Panel, Query
from deploy.monitoring.objectives import FAST, OBJECTIVES, Objective


def _budget(objective: Objective) -> Panel:
    """How fast its budget goes: 1 is as fast as it lasts for 30 days."""
    return Panel(
        objective.alert,
        f"{objective.summary} Shown: how many times as fast as allowed the budget of {objective.budget:.2%} goes.",
        "none",
        [Query(f"{objective.recorded('1h')} / {objective.budget:g}", "over an hour")],
        kind="stat",
        limits=(1, FAST[0].factor),
        alerts=(objective.alert,),
        width=6,
    )


SYSTEM = Dashboard(
    "flit-system",
    "Flit Risk: system",
    "The first page to look at: what is up, how fast budgets burn, what is restarted.",
    [
        Panel(
            "Services up", "Each target that Prometheus asks: 1 while it answers.", "none",
            [Query(f"min by (job) (up{{{OURS}}})", "{{job}}")], kind="stat", limits=(1,), falling=True,
            alerts=("ServiceDown",), width=18,
        ),
        Panel(
            "Alerts firing", "Alerts of ours that fire now, of either severity.", "none",
            [Query('count(ALERTS{alertstate="firing",severity=~"page|ticket"}) or vector(0)', "firing")],
            kind="stat", limits=(1,), width=6,
        ),
        *(_budget(objective) for objective in OBJECTIVES),
        Panel(
            "Events", "Events by service, each counted by what it became.", "cps",
            [Query('sum by (service) (rate(flit_events_total{service=~"$service"}[$__rate_interval]))', "{{service}}")],
        ),
        Panel(
            "Records waiting", "What each service has yet to process, over all of its topics.", "short",
            [Query('sum by (service) (flit_consumer_lag_records{service=~"$service"})', "{{service}}")],
            limits=(5000,), alerts=("ConsumerLag", "StreamStalled"),
        ),
        Panel(
            "Starts in the last hour", "How often each process was started anew: a deployment is one.", "none",
            [Query(f"max by (job) (changes(process_start_time_seconds{{{OURS}}}[1h]))", "{{job}}")], kind="bargauge",
            limits=(1, 3), alerts=("ServiceRestarts",),
        ),
        Panel(
            "Memory", "Resident memory of each process.", "bytes",
            [Query(f"max by (job) (process_resident_memory_bytes{{{OURS}}})", "{{job}}")],
        ),
        Panel(
            "Redis", "What it holds, of what it may: full, it refuses writes.", "percentunit",
            [Query("max(flit_scorer_redis_memory_ratio)", "in use")], limits=(REDIS_SHARE,), alerts=("RedisFull",),
        ),
        Panel(
            "Processor", "Cores that each process keeps busy.", "none",
            [Query(f"sum by (job) (rate(process_cpu_seconds_total{{{OURS}}}[$__rate_interval]))", "{{job}}")],
            stacked=True,
        ),
        Panel(
            "Time for a batch", "The slowest of a hundred batches, by service.", "s",
            [Query(
                "histogram_quantile(0.99, sum by (le, service)"
                ' (rate(flit_batch_seconds_bucket{service=~"$service"}[$__rate_interval])))', "{{service}}",
            )],
        ),
    ],
    {"service": "flit_events_total"},
)  # fmt: skip
