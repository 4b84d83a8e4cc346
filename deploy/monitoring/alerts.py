"""Alerts on single conditions, beside those on objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.experiments import CHAMPION

Severity = Literal["page", "ticket"]
"""page: customers notice, or soon will. ticket: it waits for a working day."""


@dataclass(frozen=True, slots=True)
class Alert:
    name: str
    severity: Severity
    expression: str
    lasts: str
    """How long it has to be so."""
    summary: str


LAG_RECORDS = 5_000
"""At the 300 a second of a busy day, what a service may be behind after a restart of some fifteen seconds."""
DRIFT = 0.1
"""services.trainer.drift.THRESHOLD."""
DRIFT_CONCERN, CONCERNS = (f'flit_monitor_concern{{concern{which}"drift"}}' for which in ("=", "!="))
LOOKS = "(last_over_time(flit_monitor_as_of_timestamp_seconds[1d]) > 0)"
"""Of each process that is or was a monitor within a day. 0: it has not looked yet."""


def _of_the_last_look(series: str) -> str:
    """Only of the process that has looked last: one that was replaced keeps its last word for a day."""
    return f"last_over_time({series}[1d]) and on (job, instance) topk(1, {LOOKS})"


SCORES = f"({_of_the_last_look('flit_drift_score')} or last_over_time(flit_drift_score[1d]) unless on () {LOOKS})"
"""The monitor's; where there is none, those of the command `drift`."""
BY_CHANCE = f"max({_of_the_last_look(DRIFT_CONCERN)}) == 0"
"""The monitor has looked, and knows of no drift that chance doesn't explain: in a week of few purchases a score is high
without any. The command `drift` alone has no such opinion."""
MODEL_DAYS = 45
"""A model is trained anew each month; this is one month missed."""
AUDIT_HOURS = 24

LAST_AUDIT = "max_over_time(flit_ledger_last_audit_timestamp_seconds[30d]) > 0"
"""Not of the latest process alone: one that ends in each of its audits has none to tell of. As far back as Prometheus
keeps, or a silence that lasts would look like none."""


def _fails_each_time(*counters: str) -> str:
    """Of one who counts what came of each time: it failed in ten minutes, and never succeeded. Of several counters the
    first that there is."""

    def times(which: str) -> str:
        counted = [f'sum(increase({name}{{result{which}"failed"}}[10m]))' for name in counters]
        return counted[0] if len(counted) == 1 else f"({' or '.join(counted)})"

    return f"{times('=')} > 0 unless {times('!=')} > 0"


REDIS_SHARE = 0.8
"""Of its `maxmemory`: there is some time left to give it more."""

OPTIONAL = "optional"
"""The label of targets that come and go, such as a training: nobody is told that they are away."""

JOBS = ("simulator", "ingestor", "features", "scorer", "sink", "trainer", "console", "ledger")
"""Ours. In a cluster one Prometheus asks everybody, and what other people run is not for our alerts to tell."""
OURS = f'job=~"{"|".join(JOBS)}"'
"""Selects our targets where a metric is one that every process has."""

ALWAYS = ("ingestor", "features", "scorer", "sink")
"""Run in every deployment. Where the last of a service's processes takes the target along (pods, `compose/scaled.yml`),
no series is left that could be 0, and only the absence tells. The others may be left out on purpose."""
GONE = " or ".join(f'absent(up{{job="{job}"}})' for job in ALWAYS)

TRAINING_HOURS = 6
"""For what a round of the models' loop may take, a training included."""
_ROUNDS = " or ".join(
    f"increase({name}[{TRAINING_HOURS}h])" for name in ("flit_watch_rounds_total", "flit_monitor_looks_total")
)
STANDS_STILL = (
    f'time() - max(process_start_time_seconds{{job="trainer",{OPTIONAL}!="yes"}}) > {TRAINING_HOURS} * 3600'
    f" unless sum({_ROUNDS}) > 0"
)
"""A round that hangs counts nothing, and its process answers. Of one that has just started the first may take long."""

UNGUARDED = (
    f'sum(rate(flit_decisions_total{{variant!~"|{CHAMPION}"}}[10m])) > 0'
    ' unless sum(increase(flit_guard_looks_total{result!="failed"}[10m])) > 0'
)

ALERTS = (
    Alert(
        "ServiceDown", "page", f'up{{{OURS},{OPTIONAL}!="yes"}} == 0 or {GONE}', "2m",
        "A service does not answer, or nothing is left of it.",
    ),
    Alert(
        "ServiceRestarts", "ticket", f"changes(process_start_time_seconds{{{OURS}}}[30m]) > 2", "0m",
        "A service ends and is started again, time after time.",
    ),
    Alert(
        "ConsumerLag", "page", f"sum by (service, topic) (flit_consumer_lag_records) > {LAG_RECORDS}", "5m",
        "A service is thousands of records behind a topic.",
    ),
    Alert(
        # By what was done, not by how much waits: of few purchases thousands wait after hours.
        "StreamStalled", "page",
        "sum by (service, topic) (flit_consumer_lag_records) > 0"
        " unless sum by (service, topic) (rate(flit_events_total[5m])) > 0", "5m",
        "A service has records of a topic before it, and takes in none of them.",
    ),
    Alert(
        "TopicHalted", "page", "max by (topic) (flit_features_halted or flit_scorer_halted) == 1", "1m",
        "A topic is not read, since most of what it brings would be refused.",
    ),
    Alert(
        "StatesRebuilding", "ticket", "max by (partition) (flit_features_rebuilding) == 1", "10m",
        "The states of a partition were lost and have been in the making for ten minutes.",
    ),
    Alert(
        "RebuildGaps", "ticket", "max by (topic, partition) (flit_features_rebuild_gaps) > 0", "0m",
        "A rebuild needs records that neither the log nor the warehouse has.",
    ),
    Alert(
        "RedisFull", "page", f"max(flit_scorer_redis_memory_ratio) > {REDIS_SHARE}", "5m",
        "Redis is nearly full: then it refuses writes, and purchases wait.",
    ),
    Alert(
        "NoModel", "page", 'max(flit_degraded{service="scorer"}) == 1', "5m",
        "No model is in service: the policy's fallback decides everything.",
    ),
    Alert(
        "ModelRefused", "ticket", "sum by (reason) (increase(flit_scorer_model_refused_total[15m])) > 0", "0m",
        "A promoted model was not put in service; the one before it decides.",
    ),
    Alert(
        "ModelOld", "ticket", f"time() - max(flit_model_trained_timestamp_seconds) > {MODEL_DAYS} * 86400", "1h",
        f"The model in service was trained more than {MODEL_DAYS} days ago.",
    ),
    Alert(
        "FeatureDrift", "ticket",
        f"max by (feature) ({SCORES}) > {DRIFT} unless on () {BY_CHANCE}", "0m",
        "A feature is distributed otherwise than when the model was trained.",
    ),
    Alert(
        "PolicyRefused", "ticket", "sum(increase(flit_scorer_policy_refused_total[15m])) > 0", "0m",
        "The policy file can not be put in service; the policy before it decides.",
    ),
    Alert(
        "LimiterHolds", "ticket", "max by (what) (flit_scorer_limiter_holds) == 1", "5m",
        "The share of declines or approvals left its bounds: people look at purchases in the policy's place.",
    ),
    Alert(
        # Also where there is no guard, or one that hangs: then nothing counts, and nothing fails.
        "ExperimentUnwatched", "ticket", f"({_fails_each_time('flit_guard_looks_total')}) or ({UNGUARDED})", "5m",
        "The guard of experiments fails at every look, or makes none: nobody would stop a bad arm.",
    ),
    Alert(
        # Of the loop, which counts its rounds as well as its looks, or of a monitor that runs by itself.
        "ModelsUnwatched", "ticket",
        f'({_fails_each_time("flit_watch_rounds_total", "flit_monitor_looks_total")}) or ({STANDS_STILL})', "5m",
        "Who looks after the models fails at every look, or makes none: no drift would be seen, and nothing trained.",
    ),
    Alert(
        "ModelConcern", "ticket",
        f"max by (concern) ({_of_the_last_look(CONCERNS)}) == 1", "0m",
        "The model does worse than it promised, or what comes in can not be trusted.",
    ),
    Alert(
        "SinkWaits", "page", "max by (table, partition) (flit_sink_waiting) == 1", "5m",
        "The warehouse has refused or not answered the appends of a table for five minutes.",
    ),
    Alert(
        "SinkWritesNothing", "page",
        'sum(rate(flit_decisions_total{channel="stream"}[10m])) > 0'
        ' unless sum(rate(flit_sink_rows_total{table="flit_ml_raw.raw_bnpl_prediction_logs"}[10m])) > 0', "5m",
        "Purchases are decided, and no row of a decision reaches the warehouse.",
    ),
    Alert(
        "LedgerUnbalanced", "page", "max by (check) (last_over_time(flit_ledger_violations_records[6h])) > 0", "0m",
        "The audit found something lost, doubled, changed or made up.",
    ),
    Alert(
        "LedgerSilent", "ticket",
        f"time() - max({LAST_AUDIT}) > {AUDIT_HOURS} * 3600", "10m",
        f"Audits were repeated, and for {AUDIT_HOURS} hours there was none.",
    ),
    Alert(
        # By who found it: the run-book goes on from there.
        "FeaturesMismatch", "page",
        "max by (job, instance, pod) (last_over_time(flit_feature_mismatch_ratio[6h])) > 0", "0m",
        "Features that were decided on differ from their recomputation.",
    ),
    Alert(
        "SourceAway", "ticket", "max(flit_ingestor_connected) == 0", "5m",
        "No stream from the source has been open for five minutes.",
    ),
    Alert(
        # Whatever keeps them away: brokers that refuse the ingestor, or a source that opens a stream and says nothing.
        "NothingIngested", "page",
        'sum(rate(flit_events_total{service="ingestor",result="acknowledged"}[10m])) == 0', "5m",
        "The ingestor runs, and for a quarter of an hour has brought nothing onto Kafka.",
    ),
    Alert(
        "SourceStopped", "page", "max(flit_ingestor_source_stopped) == 1", "0m",
        "The source is no longer read: too many of its lines were refused.",
    ),
)  # fmt: skip
